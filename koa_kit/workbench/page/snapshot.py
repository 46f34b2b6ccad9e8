"""The workbench as a page that stays as it is: for those who read, print or look at it on a code host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from koa_kit.workbench.page import pages
from koa_kit.workbench.page.html import say, soft, wrapped
from koa_kit.workbench.page.style import STYLE
from koa_kit.workbench.state import page_of

if TYPE_CHECKING:
    from koa_kit.workbench.workbench import Workbench


def snapshot_html(bench: Workbench) -> str:
    """Scores, matrix, one knee large and a page of the gallery, as the state stands; no script, no kernel."""
    state, tables = bench.state, bench.tables
    counts, chosen = tables.counts(state), page_of(tables.chosen(state), state.page)
    parts = [
        STYLE,
        pages.scores_html(tables.shown(state), state.filters.describe(), len(tables.predictions)),
        wrapped(say(pages.headline(counts, state))),
        soft(
            "A still picture of the workbench. Run the notebook to filter, to pick cells and knees, to try other "
            "words, to move thresholds and to write verdicts."
        ),
        pages.matrix_html(counts, tables.change(state), state),
    ]
    row = tables.row(state, chosen)
    if row is not None:
        parts.append(bench.large(row))
    parts.append(bench.cards(chosen) if len(chosen) else pages.empty_html(counts, state))
    parts.append(pages.legend_html(bench.find is not None, bool(bench.prompts)))
    return "".join(parts)
