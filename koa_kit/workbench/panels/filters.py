"""Which knees count: controls for every filter, and chips that take one away."""

from __future__ import annotations

from dataclasses import replace

import ipywidgets as widgets

from koa_kit.error_analysis.predictions import NUMBERS, margin
from koa_kit.workbench.page.figures import scores_html
from koa_kit.workbench.page.html import part
from koa_kit.workbench.page.knees import SIDE_NAMES
from koa_kit.workbench.panels.panel import Panel, column, html, side_by_side, wide
from koa_kit.workbench.selection.conditions import OPERATORS
from koa_kit.workbench.selection.filters import Filters, exposure_column

ANY = "any"
YES_NO = {ANY: None, "yes": True, "no": False}
"""Words and what they stand for; a menu holds the words, since a menu's value None means nothing chosen."""


class FilterBar(Panel):
    """A control per filter, conditions on any column, chips that take them away, and scores of the knees that pass."""

    def __init__(self, bench):
        super().__init__(bench)
        table = bench.tables.predictions
        sides, splits = (sorted(table[name].astype(str).unique()) for name in ("side", "split"))
        self.side = self._choice(
            "Side", [(ANY, ()), *((SIDE_NAMES.get(side, side), (side,)) for side in sides)], "sides"
        )
        self.split = self._choice("Split", [(ANY, ()), *((split, (split,)) for split in splits)], "splits")
        self.inverted = self._choice("Inverted film", [(word, word) for word in YES_NO], "inverted")
        self.right = self._choice("Model right", [(word, word) for word in YES_NO], "right")
        self.margin = self._range("Margin", 0.0, float(margin(table).max()) + 0.05, "margin")
        film = exposure_column(table)
        low, high = (float(end) for end in table[film].astype(float).agg(["min", "max"])) if film else (0.0, 1.0)
        self.exposure = self._range("Exposure", low, high + 1e-6, "exposure")
        self.exposure.layout.display = None if film and high > low else "none"
        names = [name for name in table if name not in NUMBERS]
        self.column = widgets.Dropdown(options=names, value="patient", **wide(150)).add_class("koa-column")
        self.operator = widgets.Dropdown(options=OPERATORS, value="contains", **wide(110)).add_class("koa-operator")
        self.value = widgets.Text(placeholder="value", continuous_update=False, **wide(130)).add_class("koa-value")
        self.add = self.button("add condition", self._add, "koa-add-condition")
        self.clear = self.button("all knees", lambda: bench.show(filters=Filters()), "koa-all-knees")
        self.chips = self.clickable(self._take_away)
        self.scores = html("koa-filter-scores", min_height="78px")
        first = [self.side, self.split, self.inverted, self.right, self.margin, self.exposure]
        second = [widgets.Label("Column"), self.column, self.operator, self.value, self.add, self.clear]
        rows = (side_by_side(*row, gap=10, align="center") for row in (first, second))
        self.widget = column(*rows, self.chips, self.scores)
        self._cause: tuple = (None, None)

    def _choice(self, text: str, options: list, name: str) -> widgets.Dropdown:
        def changed(value) -> None:
            self._filter(**{name: YES_NO[value] if isinstance(value, str) else value})

        made = widgets.Dropdown(options=options, description=text, **wide(170))
        return self.on_value(made, changed, f"koa-filter-{name}")

    def _range(self, text: str, low: float, high: float, name: str) -> widgets.FloatRangeSlider:
        # two large numbers with decimals are cut off: the place of a readout is of a fixed width
        made = widgets.FloatRangeSlider(
            value=(low, high), min=low, max=max(high, low + 1e-3), step=max(high - low, 1e-3) / 100, description=text,
            readout_format=".2f" if high < 10 else ".0f", **wide(300),
        )  # fmt: skip

        def changed(ends: tuple[float, float]) -> None:
            # near an end of the scale the filter is open there: the default filters nothing, as a browser rounds it
            limits = zip(ends, (made.min, made.max), strict=True)
            low, high = (None if abs(end - limit) < made.step / 2 else end for end, limit in limits)
            self._filter(**{name: None if low is high is None else (low, high)})

        return self.on_value(made, changed, f"koa-filter-{name}")

    def _filter(self, **changes) -> None:
        self.bench.show(filters=replace(self.bench.state.filters, **changes))

    def _add(self) -> None:
        value = None if self.operator.value == "is missing" else self.value.value
        condition = (self.column.value, self.operator.value, value)
        self._filter(columns=(*self.bench.state.filters.columns, condition))

    def _take_away(self, place: str) -> None:
        columns = self.bench.state.filters.columns
        self._filter(columns=tuple(each for number, each in enumerate(columns) if str(number) != place))

    def render(self) -> None:
        state, tables = self.bench.state, self.bench.tables
        filters, cause = state.filters, (tables.graded(state), tables.mask(state))
        if any(one is not other for one, other in zip(cause, self._cause, strict=True)):
            self._cause = cause
            self.scores.value = scores_html(tables.shown(state), filters.describe(), len(tables.predictions))
        words = [Filters(columns=(condition,)).describe() for condition in filters.columns]
        self.chips.html = part.chips(words) if words else ""
        with self.syncing():
            self.side.value, self.split.value = filters.sides, filters.splits
            word_of = {meant: word for word, meant in YES_NO.items()}
            self.inverted.value, self.right.value = word_of[filters.inverted], word_of[filters.right]
            for control, ends in ((self.margin, filters.margin), (self.exposure, filters.exposure)):
                low, high = ends or (None, None)
                control.value = (control.min if low is None else low, control.max if high is None else high)
