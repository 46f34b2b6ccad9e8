"""What is known of one executed notebook."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from koa_kit.series.contract import Finding


@dataclass(frozen=True)
class NotebookRun:
    """One executed notebook.

    ``notebook``, ``page`` and ``results`` are the executed copy, its HTML page and its ``results.json``, which a failed
    run may lack; ``seconds`` count from the process's start to its end; ``peak_mb`` is the kernel's largest resident
    memory (10^6 bytes), ``None`` where it could not be read; ``findings`` are the breaches of the contract.
    """

    name: str
    notebook: Path
    page: Path
    results: Path
    dataset: str
    scale: str
    seed: int
    seconds: float = 0.0
    peak_mb: float | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def green(self) -> bool:
        """True if there is no finding."""
        return not self.findings

    @property
    def line(self) -> str:
        """Name, state, seconds and peak memory on one line."""
        memory = f"{self.peak_mb:,.0f} MB" if self.peak_mb else "memory unknown"
        return f"{self.name:<24} {'green' if self.green else 'FAILED':<6} {self.seconds:6.1f} s  {memory:>9}"

    def load_results(self) -> dict:
        """Content of ``results.json``."""
        return json.loads(self.results.read_text(encoding="utf-8"))
