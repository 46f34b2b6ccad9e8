"""The workbench: one page to see, filter, explain, reword, decide and judge, and the state that holds it together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np
import pandas as pd

from koa_kit.error_analysis.gallery import image_finder
from koa_kit.error_analysis.predictions import check_predictions
from koa_kit.errors import KoaError
from koa_kit.prompts import prompt_set
from koa_kit.workbench.page import figures
from koa_kit.workbench.page.connection import Connection
from koa_kit.workbench.page.html import STYLE, part
from koa_kit.workbench.page.knees import KneeViews
from koa_kit.workbench.panels.attribution import AttributionPanel
from koa_kit.workbench.panels.decisions import DecisionsPanel
from koa_kit.workbench.panels.filters import FilterBar
from koa_kit.workbench.panels.knees import KneesPanel
from koa_kit.workbench.panels.label_issues import LabelIssuesPanel
from koa_kit.workbench.panels.panel import column, html
from koa_kit.workbench.panels.prompts import PromptsPanel
from koa_kit.workbench.panels.reviews import ReviewsPanel
from koa_kit.workbench.reviews.log import ReviewLog
from koa_kit.workbench.state import WorkbenchState
from koa_kit.workbench.tables import Tables, later_grades

if TYPE_CHECKING:
    from koa_kit.cohort import Cohort
    from koa_kit.workbench.prompts.editor import PromptEditor

PANELS = (KneesPanel, PromptsPanel, DecisionsPanel, AttributionPanel, LabelIssuesPanel, ReviewsPanel)
STILL = (
    "A still picture of the workbench. Run the notebook to filter, to pick cells and knees, to try other words, "
    "to move thresholds and to write reviews."
)


class Workbench:
    """Everything an analyst does with a predictions table, in one page.

    Only the tab in view is drawn; each table is computed once. An error of a control is shown in the page, and raised
    as well under ``KOA_STRICT=1``. In an exported page its HTML snapshot stands in for it.

    Parameters
    ----------
    predictions
        Predictions table.
    images
        Cohort, or uint8 images ``(N, H, W)`` row for row; omitted, everything but radiographs is shown.
    embeddings
        float32 ``(N, 2, D)`` or ``(N, D)`` unit vectors, row for row: nearest knees and near-duplicates.
    prompts
        Five texts, or a prompt set, for the tooltips of the bars; omitted, those of `prompt_editor`.
    prompt_editor
        From `koa_kit.workbench.prompts.editor.PromptEditor`: the tab "Words".
    explain
        Function ``(image, *, side, towards, rather_than, method, mirror)`` to an `Attribution`: the tab "Why".
    masks
        Function from ``knee_id`` to the true signs of a phantom, name to bool ``(H, W)``.
    followup
        Later grades; see `koa_kit.workbench.tables.later_grades`.
    baseline
        Predictions of another run of the same knees, for the matrix "change from the original".
    log
        File that keeps readers' reviews; omitted, none are kept.

    Attributes
    ----------
    state, tables
        What is chosen, and what follows from it.
    failure
        The error of the last control used, or ``None``.
    panels
        The parts, by title.

    Raises
    ------
    KoaError
        If the predictions are none, or something does not fit them.
    """

    def __init__(
        self,
        predictions: pd.DataFrame,
        images: Cohort | np.ndarray | None = None,
        *,
        embeddings: np.ndarray | None = None,
        prompts=None,
        prompt_editor: PromptEditor | None = None,
        explain: Callable | None = None,
        masks: Callable[[str], Mapping[str, np.ndarray] | None] | None = None,
        followup: pd.DataFrame | None = None,
        baseline: pd.DataFrame | None = None,
        log: str | os.PathLike | None = None,
    ):
        predictions = check_predictions(predictions).reset_index(drop=True)
        self.tables = Tables(predictions, baseline)
        self.find = None if images is None else image_finder(images, predictions)
        self.embeddings = fitting_embeddings(embeddings, len(predictions))
        self.patients = predictions["patient"].to_numpy()
        self.prompt_editor, self.explain, self.masks = prompt_editor, explain, masks
        if prompts is None and prompt_editor:
            prompts = prompt_editor.original
        # the sentences of an ensemble stand one after the other
        texts = () if prompts is None else prompt_set(prompts).prompts
        self.prompts = tuple(" / ".join(sentences) for sentences in texts)
        self.later = later_grades(predictions, followup)
        self.log = ReviewLog(log) if log else None
        if self.log is not None:
            self.log.check()
        self.views = KneeViews(predictions, self.find, self.prompts, self.later)
        self.state = WorkbenchState()
        self.failure: Exception | None = None
        self._quiet = False
        self.filters = FilterBar(self)
        self.panels: dict = {kind.title: kind(self) for kind in PANELS}
        self.titles = list(self.panels)
        shown = [panel.widget for panel in self.panels.values()]
        self.tabs = widgets.Tab(shown, titles=self.titles, selected_index=0).add_class("koa-tabs")
        self.tabs.observe(lambda _: self.guard(self.draw), "selected_index")
        self.message = html("koa-message")
        style = widgets.HTML(STYLE, layout=widgets.Layout(height="0", margin="0"))
        whole = {"width": "100%", "max_width": "1000px"}
        parts = (style, Connection(layout=widgets.Layout(margin="0")), self.filters.widget, self.message, self.tabs)
        self.widget = column(*parts, **whole).add_class("koa-workbench")
        self.draw()

    def show(self, **changes) -> Workbench:
        """The workbench with its state changed, as in ``show(true=1, pred=2)``; as it was after an error.

        A knee that no longer passes the filters is not shown large any more.
        """
        before, self.state = self.state, self.state.change(**changes)
        try:
            row = self.tables.row_of.get(self.state.knee)
            if row is not None and changes.keys() & {"filters", "decision"} and not self.tables.mask(self.state)[row]:
                self.state = self.state.change(knee="")
            self.draw()
        except Exception:
            self.state = before
            with suppress(Exception):  # the first error is the one to tell
                self.draw()
            raise
        return self

    def draw(self) -> None:
        """Draw the filters and the tab in view."""
        self.filters.render()
        self.panels[self.titles[self.tabs.selected_index or 0]].render()

    def guard(self, action: Callable[[], object]) -> None:
        """Do what a control asks for; its error is kept and shown, since ipywidgets drops what a click raises."""
        self.failure = None
        try:
            action()
            self.message.value = ""
        except Exception as error:
            self.failure = error
            self.message.value = figures.error_html(error)
            if os.environ.get("KOA_STRICT") == "1" and not self._quiet:
                raise

    def quietly(self, action: Callable[[], object]) -> Exception | None:
        """The error of a control that is expected to refuse: shown in the page, never raised."""
        self._quiet = True
        try:
            action()
        finally:
            self._quiet = False
        return self.failure

    def mended(self) -> None:
        """Forget an error that no longer holds."""
        self.failure, self.message.value = None, ""

    def knee(self) -> pd.Series | None:
        """The knee shown large, as it is graded now; ``None`` where none is chosen."""
        row = self.tables.row(self.state)
        return None if row is None else self.tables.graded(self.state).iloc[row]

    def large(self, row: int) -> str:
        """HTML of one knee, large, as it is graded and viewed now."""
        return self.views.large(self.tables.numbers(self.state), row, self.state.viewing)

    def open_knee(self, knee: str) -> None:
        """Show this knee large, in the first tab, with the row of the matrix it is in."""
        if knee not in self.tables.row_of:
            raise KoaError(f"There is no knee {knee!r}.", where="predictions")
        true = int(self.tables.predictions["kl"].iat[self.tables.row_of[knee]])
        self.state = self.state.change(true=true, pred=None, knee=knee)
        if self.tabs.selected_index == 0:
            self.draw()
        else:
            self.tabs.selected_index = 0

    def snapshot(self) -> str:
        """Scores, matrix, one knee large and a page of the gallery, as the state stands, as HTML without a kernel."""
        state, tables = self.state, self.tables
        counts, page, row = tables.counts(state), tables.page(state), tables.row(state)
        return "".join(
            [
                STYLE,
                figures.scores_html(tables.shown(state), state.filters.describe(), len(tables.predictions)),
                part.wrapped(part.say(figures.headline(counts, state))),
                part.soft(STILL),
                figures.matrix_html(counts, tables.change(state), state),
                "" if row is None else self.large(row),
                self.views.gallery(tables.numbers(state), list(page))
                if len(page)
                else figures.empty_html(counts, state),
                part.legend(self.find is not None, bool(self.prompts)),
            ]
        )

    def __repr__(self) -> str:
        return f"Workbench({figures.headline(self.tables.counts(self.state), self.state)})"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {**self.widget._repr_mimebundle_(), "text/html": self.snapshot(), "text/plain": repr(self)}


def fitting_embeddings(embeddings: np.ndarray | None, knees: int) -> np.ndarray | None:
    """The embeddings, if they are of that many knees; raises `KoaError` if not."""
    if embeddings is None:
        return None
    embeddings = np.asarray(embeddings, np.float32)
    if embeddings.ndim not in (2, 3) or len(embeddings) != knees:
        raise KoaError(
            f"Embeddings of shape {embeddings.shape} do not fit {knees} knees.",
            where="embeddings",
            remedy="Give those written beside the predictions, embeddings.npy.",
        )
    return embeddings
