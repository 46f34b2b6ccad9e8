"""The grid a notebook compares: the published one of real knees, or a small one trained now."""

from __future__ import annotations

from koa_kit.comparison.grid import run_grid
from koa_kit.comparison.presets import preset as preset_of
from koa_kit.comparison.published import PREDICTIONS, publish_trials
from koa_kit.comparison.source import REAL_KNEES, GridSource, grid_source, published_folder, published_grid
from koa_kit.comparison.tables import TABLE
from koa_kit.data import load_cohort
from koa_kit.errors import KoaError
from koa_kit.series.session import NotebookSession


def grid_for_session(
    session: NotebookSession, *, published: str = "sides-cpu", preset: str = "miniature", seeds: int | None = None
) -> GridSource:
    """The grid published as `published` where the session asks for real knees, else `preset`, trained on phantom knees.

    The published one needs no data and no training; the other has `seeds` trainings per arm (omitted, the preset's
    number), kept in ``OUT_DIR``, where a second call reads them. Raises `KoaError` if one cannot be trained.
    """
    if session.dataset == REAL_KNEES and session.scale != "smoke" and published_folder(published):
        return published_grid(published)
    cohort = session.cohort(seed=0) if session.dataset == "phantom" else load_cohort("phantom")
    asked = preset_of(preset)
    trials = asked.trials(seeds=seeds)
    runs, target = session.out_dir / "runs" / preset, session.out_dir / "published" / preset
    table = run_grid(trials, runs, dataset="phantom", device="cpu")
    failed = table[table["status"] == "failed"]
    if len(failed):
        raise KoaError(f"{len(failed)} cells failed: {failed['message'].iloc[0]}", where=runs / failed["cell"].iloc[0])
    for name in (TABLE, PREDICTIONS):  # a published table only grows, and this one is to hold these trials alone
        (target / name).unlink(missing_ok=True)
    publish_trials(trials, table, runs, target, cohort)
    source = "{cells} cells trained here just now on {knees} knees, which are synthetic"
    if session.dataset != "phantom":
        source += f", since nothing of {session.dataset} is published for this scale"
    return grid_source(target, source, asked, cohort)
