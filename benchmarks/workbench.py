"""How long an analyst waits: from an event on the workbench to its new figures, on the Python side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from benchmarks.parts import machine
from koa_kit.engine.processes import choose_device
from koa_kit.error_analysis.predictions import predictions_table, similarities
from koa_kit.pretrained.load import load_pretrained
from koa_kit.workbench import Workbench
from koa_kit.workbench.prompts.editor import PromptEditor
from koa_kit.workbench.prompts.encoder import PromptEncoder

KNEES = (826, 20_000)
EVENTS = 40


def bench_workbench(sizes: Sequence[int] = KNEES, *, events: int = EVENTS, seed: int = 0) -> dict:
    """Milliseconds from event to new figures, for tables of several sizes, with the model that comes with the kit.

    Its val predictions are the table of 826 knees; a larger one repeats them under new names, each with a little noise
    of its own, so that no two knees tie. Radiographs are not drawn: their small pictures are made once and kept.

    The record holds ``tables``, one per size: ``opening``, seconds to make the workbench after imports, and ``median``
    and ``worst_of_20`` (95th percentile) milliseconds by event, after one of each kind that is not counted.
    """
    run = load_pretrained(device="cpu")
    vectors = np.load(run.folder / "embeddings.npy")
    encoder, tables = PromptEncoder(run.model), []
    for size in sizes:
        predictions, embeddings = repeated(run.predictions, vectors, size, seed)
        started = time.perf_counter()
        bench = Workbench(
            predictions, embeddings=embeddings, prompt_editor=PromptEditor(predictions, embeddings, encoder)
        )
        opening = time.perf_counter() - started
        tables.append({"knees": size, "opening": opening, "events": timed(bench, events)})
    return {"what": "workbench", "tables": tables, "machine": machine(choose_device("cpu"))}


def repeated(
    predictions: pd.DataFrame, embeddings: np.ndarray, knees: int, seed: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """That many knees: the given ones, then copies under other names, whose embeddings lie a little beside theirs."""
    if knees <= len(predictions):
        return predictions.iloc[:knees].reset_index(drop=True), embeddings[:knees]
    rows = np.arange(knees) % len(predictions)
    number = np.char.add("-", (np.arange(knees) // len(predictions)).astype(str))
    table = predictions.iloc[rows].reset_index(drop=True)
    for name in ("knee_id", "patient"):
        table[name] = np.char.add(table[name].astype(str).to_numpy(str), number)
    noise = np.random.default_rng(seed).normal(0, 0.01, (knees, 1, embeddings.shape[-1])).astype(np.float32)
    vectors = embeddings[rows] + noise
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    # the prompts, as far as the table tells them: logits are linear in the embeddings
    own = similarities(predictions)
    words = np.linalg.lstsq(embeddings.mean(1), own, rcond=None)[0]
    logits = (vectors.mean(1) @ words)[:, None].repeat(2, 1)
    return predictions_table(table, logits), vectors


def timed(bench: Workbench, events: int) -> dict[str, dict[str, float]]:
    """Median and 95th percentile milliseconds of each kind of event on a workbench."""
    knees, words, decisions = (bench.panels[name] for name in ("Knees", "Words", "Decisions"))
    widest = bench.filters.margin.max

    def tab(title: str) -> None:
        bench.tabs.selected_index = bench.titles.index(title)

    def filtered(turn: int) -> None:
        bench.filters.margin.value = (0, widest * (0.5 + (turn % 40) / 100))

    def viewed(turn: int) -> None:
        bench.show(viewing=replace(bench.state.viewing, level=60.0 + turn))

    kinds: dict[str, tuple[str, Callable[[int], None]]] = {
        "cell": ("Knees", lambda turn: knees.matrix.pick(f"{turn % 5},{(turn * 3) % 5}")),
        "knee": ("Knees", lambda turn: bench.show(knee=bench.tables.names[(turn * 17) % len(bench.tables.names)])),
        "window": ("Knees", viewed),
        "filter": ("Knees", filtered),
        "slider": ("Decisions", lambda turn: setattr(decisions.bias, "value", round(-1 + turn / 20, 2))),
        "words": ("Words", lambda turn: setattr(words.texts[1], "value", f"A knee with doubt number {turn}.")),
    }
    found = {}
    for kind, (title, event) in kinds.items():
        tab(title)
        event(events)
        spent = []
        for turn in range(events):
            started = time.perf_counter()
            event(turn)
            spent.append(1000 * (time.perf_counter() - started))
        bench.filters.clear.click()
        found[kind] = {"median": float(np.median(spent)), "worst_of_20": float(np.percentile(spent, 95))}
    return found
