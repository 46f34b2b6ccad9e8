"""What an analyst has chosen on the workbench, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from koa_kit.error_analysis.decisions.decision import DecisionRule
from koa_kit.error_analysis.gallery import SORTS
from koa_kit.errors import KoaError
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

FULL_WINDOW = 256
BESIDE = {"mirror": "its mirror image", "other": "the patient's other knee"}


@dataclass(frozen=True)
class Viewing:
    """How radiographs are shown; a narrow window shows small differences."""

    level: float = 127.5  # grey level in the middle, 0 to 255
    window: float = FULL_WINDOW  # grey levels from black to white, 1 to 256
    inverted: bool = False  # bone is dark
    beside: str = "mirror"  # one of `BESIDE`

    def __post_init__(self):
        if not 0 <= self.level <= 255 or not 1 <= self.window <= FULL_WINDOW:
            raise KoaError(
                "The window shows no radiograph.",
                where=f"level {self.level}, window {self.window}",
                remedy="A level is 0 to 255, a window 1 to 256 grey levels wide.",
            )
        if self.beside not in BESIDE:
            known = ", ".join(BESIDE)
            raise KoaError(f"Nothing called {self.beside!r} stands beside a knee.", remedy=f"Choose from {known}.")


@dataclass(frozen=True)
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
    matrix: str = "counts"
    true: int | None = 1
    pred: int | None = None
    sort: str = "closest"
    page: int = 0
    knee: str = ""
    viewing: Viewing = field(default_factory=Viewing)

    def __post_init__(self):
        for grade in (self.true, self.pred):
            if grade not in (None, *GRADES):
                raise KoaError(f"There is no grade {grade!r}.", remedy="Grades are 0 to 4.")
        for name, known in (("matrix", MATRICES), ("sort", SORTS)):
            if getattr(self, name) not in known:
                raise KoaError(f"There is no {name} {getattr(self, name)!r}.", remedy=f"Choose from {list(known)}.")
        if self.page < 0:
            raise KoaError(f"There is no page {self.page!r}.", remedy="Pages count from 0.")

    def change(self, **changes) -> WorkbenchState:
        """State with these attributes changed; where other knees are chosen, the gallery starts on its first page."""
        if changes.keys() & {"filters", "decision", "true", "pred", "sort"}:
            changes = {"page": 0} | changes
        return replace(self, **changes)
