"""Images per second of training, and the share of time spent on data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class StepClock:
    """Images a second and the share of time spent on data, over the steps of an epoch.

    Times are taken by the device itself: on a GPU by events in its stream that are read at the end only, so that a
    step never waits for them. Time between data and the end of the step before is the GPU's wait for the host, and
    counts. On other devices `now` gives the time in seconds.
    """

    def __init__(self, device: str | torch.device = "cpu", *, now: Callable[[], float] = time.perf_counter):
        self.device, self.now = torch.device(device), now
        self._restart()

    def _restart(self) -> None:
        self.first: Any = None
        self.last: Any = None
        self.spans: list[tuple] = []
        self.images = 0

    @contextmanager
    def data(self) -> Iterator[None]:
        """Block in which a batch is brought to the device and prepared."""
        begin = self._mark()
        if self.first is None:
            self.first = begin
        yield
        self.spans.append((begin, self._mark()))

    def step(self, images: int) -> None:
        """Note that a step over so many images through the image tower is at its end."""
        self.last = self._mark()
        self.images += images

    def summary(self) -> dict[str, float]:
        """``images_per_second`` and ``data_share`` (0 to 1) since the last summary; nan without a step."""
        if self.first is None or self.last is None:
            return {"images_per_second": float("nan"), "data_share": float("nan")}
        if self.device.type == "cuda":
            self.last.synchronize()
        total = max(self._between(self.first, self.last), 1e-9)
        share = sum(self._between(*span) for span in self.spans) / total
        summary = {"images_per_second": self.images / total, "data_share": share}
        self._restart()
        return summary

    def _mark(self):
        if self.device.type != "cuda":
            return self.now()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _between(self, begin, end) -> float:
        return begin.elapsed_time(end) / 1000 if self.device.type == "cuda" else end - begin
