"""Which knees count: controls for every filter, and chips that take one away."""

from __future__ import annotations

from html import escape

import ipywidgets as widgets

from koa_kit.error_analysis.predictions import margin
from koa_kit.workbench.page.cards import SIDE_NAMES
from koa_kit.workbench.page.clickable import ClickableHTML
from koa_kit.workbench.page.pages import scores_html
from koa_kit.workbench.panels.panel import Panel
from koa_kit.workbench.selection.conditions import OPERATORS
from koa_kit.workbench.selection.filters import Filters, exposure_column, filterable_columns

ANY = "any"
YES_NO = {ANY: None, "yes": True, "no": False}
"""Words and what they stand for; a menu holds the words, since a menu's value None means nothing chosen."""


class FilterBar(Panel):
    """Side, split, inverted, right or wrong, margin, exposure, conditions on any column; beneath them the scores.

    Attributes
    ----------
    side, split, inverted, right, margin, exposure
        Controls; `exposure` is hidden where no column tells it.
    column, operator, value, add
        A condition on any column, and the button that adds it.
    chips
        The conditions in force; picking one takes it away.
    scores
        Scores of the knees that pass.
    """

    def __init__(self, bench):
        super().__init__(bench)
        table = bench.tables.predictions
        named = [(SIDE_NAMES.get(side, side), (side,)) for side in sorted(table["side"].astype(str).unique())]
        self.side = self._choice("Side", [(ANY, ()), *named], "sides")
        splits = [(split, (split,)) for split in sorted(table["split"].astype(str).unique())]
        self.split = self._choice("Split", [(ANY, ()), *splits], "splits")
        self.inverted = self._choice("Inverted film", [(word, word) for word in YES_NO], "inverted")
        self.right = self._choice("Model right", [(word, word) for word in YES_NO], "right")
        widest = float(margin(table).max()) + 0.05
        self.margin = self._range("Margin", widest, "margin")
        film = exposure_column(table)
        values = table[film].astype(float) if film else None
        low, high = (float(values.min()), float(values.max())) if film else (0.0, 1.0)
        self.exposure = self._range("Exposure", high + 1e-6, "exposure", low)
        self.exposure.layout.display = None if film and high > low else "none"
        kinds = filterable_columns(table)
        self.column = widgets.Dropdown(options=list(kinds), value="patient", layout=widgets.Layout(width="150px"))
        self.operator = widgets.Dropdown(options=OPERATORS, value="contains", layout=widgets.Layout(width="110px"))
        self.value = widgets.Text(placeholder="value", layout=widgets.Layout(width="130px"), continuous_update=False)
        self.add = self.button("add condition", self._add, "koa-add-condition")
        self.clear = self.button("all knees", lambda: self.bench.show(filters=Filters()), "koa-all-knees")
        for control, css in ((self.column, "koa-column"), (self.operator, "koa-operator"), (self.value, "koa-value")):
            control.add_class(css)
        self.chips = ClickableHTML().on_pick(lambda place: self.bench.guard(lambda: self._take_away(place)))
        self.scores = widgets.HTML(layout=widgets.Layout(min_height="78px"))
        self.scores.add_class("koa-filter-scores")
        row = widgets.Layout(flex_flow="row wrap", grid_gap="2px 10px", align_items="center")
        first = [self.side, self.split, self.inverted, self.right, self.margin, self.exposure]
        second = [widgets.Label("Column"), self.column, self.operator, self.value, self.add, self.clear]
        boxes = [widgets.HBox(first, layout=row), widgets.HBox(second, layout=row), self.chips, self.scores]
        self.widget = widgets.VBox(boxes)
        self._cause: tuple = (None, None)

    def _choice(self, text: str, options: list, name: str) -> widgets.Dropdown:
        made = widgets.Dropdown(options=options, description=text, layout=widgets.Layout(width="170px"))
        made.style.description_width = "initial"

        def changed(value) -> None:
            self._filter(**{name: YES_NO[value] if isinstance(value, str) else value})

        return self.on_value(made, changed).add_class(f"koa-filter-{name}")

    def _range(self, text: str, high: float, name: str, low: float = 0.0) -> widgets.FloatRangeSlider:
        # two large numbers with decimals are cut off: the place of a readout is of a fixed width
        made = widgets.FloatRangeSlider(
            value=(low, high), min=low, max=max(high, low + 1e-3), step=max(high - low, 1e-3) / 100, description=text,
            readout_format=".2f" if high < 10 else ".0f", layout=widgets.Layout(width="300px"),
        )  # fmt: skip
        made.style.description_width = "initial"

        def changed(ends: tuple[float, float]) -> None:
            # near an end of the scale the filter is open there: the default filters nothing, as a browser rounds it
            limits = (made.min, made.max)
            low, high = (
                None if abs(end - limit) < made.step / 2 else end for end, limit in zip(ends, limits, strict=True)
            )
            self._filter(**{name: None if low is high is None else (low, high)})

        return self.on_value(made, changed).add_class(f"koa-filter-{name}")

    def _filter(self, **changes) -> None:
        self.bench.show(filters=self.bench.state.filters.with_(**changes))

    def _add(self) -> None:
        operator = self.operator.value
        value = None if operator == "is missing" else self.value.value
        condition = (self.column.value, operator, value)
        self._filter(columns=(*self.bench.state.filters.columns, condition))

    def _take_away(self, place: str) -> None:
        columns = self.bench.state.filters.columns
        self._filter(columns=tuple(each for number, each in enumerate(columns) if str(number) != place))

    def render(self) -> None:
        state, tables = self.bench.state, self.bench.tables
        cause = (tables.graded(state), tables.mask(state))
        if not all(one is other for one, other in zip(cause, self._cause, strict=True)):
            self._cause = cause
            self.scores.value = scores_html(tables.shown(state), state.filters.describe(), len(tables.predictions))
        words = [Filters(columns=(condition,)).describe() for condition in state.filters.columns]
        chips = "".join(
            f'<span class="koa-chip" data-pick="{number}">{escape(text)} ×</span>' for number, text in enumerate(words)
        )
        self.chips.html = f'<div class="koa-ex">{chips}</div>' if chips else ""
        filters = state.filters
        with self.syncing():
            self.side.value, self.split.value = filters.sides, filters.splits
            words = {meant: word for word, meant in YES_NO.items()}
            self.inverted.value, self.right.value = words[filters.inverted], words[filters.right]
            for control, ends in ((self.margin, filters.margin), (self.exposure, filters.exposure)):
                low, high = ends or (None, None)
                control.value = (control.min if low is None else low, control.max if high is None else high)

    def controls(self):
        def turn(control):
            for value in [option[1] for option in control.options]:
                control.value = value
            control.value = control.options[0][1]

        def narrow(control):
            control.value = (control.min, (control.min + control.max) / 2)
            control.value = (control.min, control.max)

        def condition():
            self.column.value, self.operator.value, self.value.value = "knee_id", "contains", "1"
            self.add.click()
            self.chips.pick("0")
            self.column.value, self.value.value = "patient", ""

        named = {"side": self.side, "split": self.split, "inverted": self.inverted, "right": self.right}
        choices = [(f"filter {name}", lambda control=control: turn(control)) for name, control in named.items()]
        ranges = [("filter margin", lambda: narrow(self.margin))]
        return [*choices, *ranges, ("filter by a column", condition), ("all knees", self.clear.click)]
