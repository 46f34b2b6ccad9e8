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
    """The published grid of real knees where the session asks for them, else a small one of phantom knees.

    Parameters
    ----------
    session
        At laptop or full scale with the data set oai-kl224 the published grid is read: no data, no training.
    published
        Preset of a grid of real knees, and its folder below ``results/``.
    preset
        Grid to train where nothing is published, on phantom knees whatever the data set; the runs are kept in
        ``OUT_DIR``, a second call reads them.
    seeds
        Trainings per row; omitted, as many as the preset says. Of a published grid all are read.

    Raises
    ------
    KoaError
        If a cell cannot be trained.
    """
    if session.dataset == REAL_KNEES and session.scale != "smoke" and published_folder(published):
        return published_grid(published)
    cohort = session.cohort(seed=0) if session.dataset == "phantom" else load_cohort("phantom")
    asked = preset_of(preset)
    cells = asked.trials(seeds=seeds)
    runs, target = session.out_dir / "runs" / preset, session.out_dir / "published" / preset
    table = run_grid(cells, runs, dataset="phantom", device="cpu")
    failed = table[table["status"] == "failed"]
    if len(failed):
        raise KoaError(f"{len(failed)} cells failed: {failed['message'].iloc[0]}", where=runs / failed["cell"].iloc[0])
    for name in (TABLE, PREDICTIONS):  # a published table only grows, and this one is to hold these cells alone
        (target / name).unlink(missing_ok=True)
    publish_trials(cells, table, runs, target, cohort)
    why = "" if session.dataset == "phantom" else f", since nothing of {session.dataset} is published for this scale"
    return grid_source(
        target, "{cells} cells trained here just now on {knees} knees, which are made up" + why, asked, cohort
    )
