"""A progress bar for work that reports how far it is."""

from __future__ import annotations

import sys


class Bar:
    """Progress bar that appears at the first report; on a terminal only, so that logs stay readable."""

    def __init__(self, what: str):
        from rich.console import Console
        from rich.progress import Progress, TaskID

        self.what, self.progress = what, Progress(console=Console(stderr=True), disable=not sys.stderr.isatty())
        self.task: TaskID | None = None

    def __enter__(self):
        return self

    def __call__(self, done: int, total: int) -> None:
        if self.task is None:
            self.progress.start()
            self.task = self.progress.add_task(self.what, total=total)
        self.progress.update(self.task, completed=done, total=total)
        if done >= total:
            self.progress.stop()

    def __exit__(self, *_):
        self.progress.stop()
