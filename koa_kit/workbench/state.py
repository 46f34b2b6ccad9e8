"""What an analyst has chosen on the workbench, as frozen records."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Annotated

from pydantic import Field

from koa_kit.configuration import OneOf, choices
from koa_kit.error_analysis.decisions.decision import DecisionRule
from koa_kit.error_analysis.gallery import SORTS
from koa_kit.grades import GRADES
from koa_kit.workbench.selection.filters import Filters

MATRICES = {
    "counts": "knees",
    "row": "% of the reader's grade",
    "column": "% of the model's grade",
    "change": "change from the original",
}
"""What a cell of the confusion matrix may show."""
PAGE = 8
"""Knees on a page of the gallery: two rows of four."""

BESIDE = {"mirror": "its mirror image", "other": "the patient's other knee"}


@choices
class Viewing:
    """How radiographs are shown; a narrow window shows small differences."""

    level: Annotated[float, Field(ge=0, le=255)] = 127.5  # grey level in the middle
    window: Annotated[float, Field(ge=1, le=256)] = 256  # grey levels from black to white
    inverted: bool = False  # bone is dark
    beside: Annotated[str, OneOf(BESIDE)] = "mirror"


@choices
class WorkbenchState:
    """What an analyst has chosen.

    Attributes
    ----------
    filters, decision
        Which knees count, and how logits become grades.
    matrix, sort
        One of `MATRICES`, and one of `koa_kit.error_analysis.gallery.SORTS`.
    true, pred
        The cell of the matrix whose knees are shown; ``pred`` ``None`` for a whole row, both ``None`` for all knees.
    page, knee
        Of the gallery, from 0; ``knee_id`` of the knee shown large, "" for the first of the gallery.
    viewing
        Window, level and inversion of radiographs shown large.

    Raises
    ------
    KoaError
        If a choice does not exist.
    """

    filters: Filters = field(default_factory=Filters)
    decision: DecisionRule = field(default_factory=DecisionRule)
    matrix: Annotated[str, OneOf(MATRICES)] = "counts"
    true: Annotated[int | None, OneOf((None, *GRADES))] = 1
    pred: Annotated[int | None, OneOf((None, *GRADES))] = None
    sort: Annotated[str, OneOf(SORTS)] = "closest"
    page: Annotated[int, Field(ge=0)] = 0
    knee: str = ""
    viewing: Viewing = field(default_factory=Viewing)

    def change(self, **changes) -> WorkbenchState:
        """State with these attributes changed; where other knees are chosen, the gallery starts on its first page."""
        if changes.keys() & {"filters", "decision", "true", "pred", "sort"}:
            changes = {"page": 0} | changes
        return replace(self, **changes)
