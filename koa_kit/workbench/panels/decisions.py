"""Sliders from similarities to grades: what more KL1 recall costs, sets that keep a promise, knees left to a reader."""

from __future__ import annotations

from dataclasses import replace

import ipywidgets as widgets
import numpy as np

from koa_kit.error_analysis.decisions.conformal import calibration_half, set_table_of
from koa_kit.error_analysis.decisions.curves import kl1_curve, kl1_point, reject_curve
from koa_kit.error_analysis.decisions.decide import RULES, Decision
from koa_kit.error_analysis.decisions.figures import FEW
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS, INK
from koa_kit.workbench.page.html import empty, wrapped
from koa_kit.workbench.page.svg import Line, plot
from koa_kit.workbench.panels.panel import Panel, heading, side_by_side

WORDS = {
    "most_likely": "the most likely grade",
    "median_grade": "the median grade",
    "expected_grade": "thresholds of the expected grade",
}
DRAWS = 300


class DecisionsPanel(Panel):
    """KL1 bias, temperature, prior correction, rule and thresholds; conformal coverage; reject option.

    Attributes
    ----------
    bias, temperature, prior, rule, thresholds
        Controls of the `Decision`; `prior` is the share of KL1 expected, the other grades in proportion. The shares of
        training are taken to be those of the table.
    coverage, kept
        What conformal sets promise, and the share of knees the model answers itself.
    reset
        Back to the model's own decision.
    curve, sets, rejected
        The pictures.
    """

    title = "Decisions"

    def __init__(self, bench):
        super().__init__(bench)
        self._patients = bench.patients.astype(str)
        self._half = calibration_half(self._patients)
        wide = {"layout": widgets.Layout(width="330px"), "style": {"description_width": "110px"}}
        self.shares = np.bincount(bench.tables.predictions["kl"], minlength=5) / len(bench.tables.predictions)
        self.bias = widgets.FloatSlider(min=-3, max=3, step=0.05, value=0, description="KL1 bias", **wide)
        self.temperature = widgets.FloatLogSlider(
            base=2, min=-2, max=2, step=0.05, value=1, description="Temperature", readout_format=".2f", **wide
        )
        self.prior = widgets.FloatSlider(
            min=0.01, max=0.6, step=0.01, value=self._share(), description="KL1 expected", readout_format=".0%", **wide
        )
        self.rule = widgets.Dropdown(options=[(WORDS[name], name) for name in RULES], description="Grade", **wide)
        starts = Decision().thresholds
        self.thresholds = [
            widgets.FloatSlider(min=0, max=4, step=0.05, value=value, description=f"KL{k} | KL{k + 1}", **wide)
            for k, value in enumerate(starts)
        ]
        self.coverage = widgets.FloatSlider(
            min=0.5, max=0.99, step=0.01, value=0.9, description="Coverage", readout_format=".0%", **wide
        )
        self.kept = widgets.FloatSlider(
            min=0.1, max=1, step=0.01, value=0.8, description="Answered", readout_format=".0%", **wide
        )
        handlers = {"bias": "kl1_bias", "temperature": "temperature", "rule": "rule"}
        for name, attribute in handlers.items():
            self.on_value(getattr(self, name), lambda value, at=attribute: self._decide(**{at: rounded(value)}))
        self.on_value(self.prior, self._expect)
        for control in self.thresholds:
            self.on_value(
                control, lambda _: self._decide(thresholds=tuple(rounded(each.value) for each in self.thresholds))
            )
        for control in (self.coverage, self.kept):
            self.on_value(control, lambda _: self.bench.draw())
        for name in ("bias", "temperature", "prior", "rule", "coverage", "kept"):
            getattr(self, name).add_class(f"koa-{name}")
        self.reset = self.button("the model’s own decision", self._reset, "koa-own-decision")
        self.curve, self.sets, self.rejected = (widgets.HTML(layout=widgets.Layout(min_height="300px")) for _ in "123")
        self.curve.add_class("koa-curve")
        left = [heading("From similarities to a grade"), self.bias, self.temperature, self.prior, self.rule]
        left += [*self.thresholds, self.reset]
        top = side_by_side(widgets.VBox(left), self.curve)
        promised = [heading("Sets that hold the reader’s grade as often as promised"), self.coverage, self.sets]
        answered = [heading("Leave the least sure to a reader"), self.kept, self.rejected]
        half = widgets.Layout(flex="0 0 460px", width="460px")
        below = side_by_side(widgets.VBox(promised, layout=half), widgets.VBox(answered, layout=half))
        self.widget = widgets.VBox([top, below])

    def _share(self) -> float:
        # as the slider rounds it: a browser sends its own rounding back, which must not count as a choice
        return round(float(np.clip(self.shares[1], 0.01, 0.6)), 2)

    def _decide(self, **changes) -> None:
        self.bench.show(decision=replace(self.bench.state.decision, **changes))

    def _expect(self, share: float) -> None:
        if (self.shares == 0).any():
            absent = int(np.flatnonzero(self.shares == 0)[0])
            raise KoaError(
                f"No knee of this table was graded KL{absent}: the shares of training cannot be told from it.",
                where="KL1 expected",
                remedy="Use the KL1 bias instead.",
            )
        if share == self._share():
            self._decide(prior=None, trained_on=None)
            return
        others = np.where(np.arange(5) == 1, 0, self.shares)
        prior = others / others.sum() * (1 - share)
        prior[1] = share
        self._decide(prior=tuple(prior), trained_on=tuple(self.shares))

    def _reset(self) -> None:
        self.bench.show(decision=Decision())

    def render(self) -> None:
        state, tables = self.bench.state, self.bench.tables
        decision = state.decision
        with self.syncing():
            self.bias.value, self.temperature.value, self.rule.value = (
                decision.kl1_bias, decision.temperature, decision.rule,
            )  # fmt: skip
            self.prior.value = round(decision.prior[1], 2) if decision.prior else self._share()
            for control, value in zip(self.thresholds, decision.thresholds, strict=True):
                control.value = value
                control.disabled = decision.rule != "expected_grade"
        mask = tables.mask(state)
        if not mask.any():
            self.curve.value = self.sets.value = self.rejected.value = empty("No knee passes the filters.")
            return
        numbers = tables.numbers(state)
        kl, p, pred = numbers.kl[mask], numbers.p[0][mask], numbers.pred[mask]
        self.curve.value = wrapped(curve_svg(tables.undecided().s[0][mask], kl, decision))
        self.rejected.value = wrapped(reject_svg(p, kl, pred, self.kept.value))
        try:
            half = self._half[mask]
            table = set_table_of(p, kl, self._patients[mask], half, self.coverage.value, draws=DRAWS)
            self.sets.value = wrapped(sets_svg(table) + sets_words(table))
        except KoaError as error:
            self.sets.value = empty(str(error))

    def controls(self):
        def slide(control, *values):
            for value in values:
                control.value = value

        return [
            ("KL1 bias", lambda: slide(self.bias, 1.0, -1.0)),
            ("temperature", lambda: slide(self.temperature, 2.0)),
            ("KL1 expected", lambda: slide(self.prior, 0.3)),
            ("rule", lambda: slide(self.rule, "median_grade", "expected_grade")),
            ("threshold", lambda: slide(self.thresholds[0], 0.7)),
            ("own decision", self.reset.click),
            ("coverage", lambda: slide(self.coverage, 0.8, 0.9)),
            ("answered", lambda: slide(self.kept, 0.5, 0.8)),
        ]


def rounded(value: float | str) -> float | str:
    """A slider's value without the last digits: a browser sends back 4e-16 where 0 was set."""
    return value if isinstance(value, str) else round(float(value), 6)


def curve_svg(logits: np.ndarray, kl: np.ndarray, decision: Decision) -> str:
    """KL1 recall against accuracy along the KL1 bias, with where the decision stands and where the model began."""
    if not (kl == 1).any():
        return empty("None of these knees is KL1: there is no recall to show.")
    curve, now = kl1_curve(logits, kl, decision), kl1_point(logits, kl, decision)
    start = kl1_point(logits, kl, Decision())
    lines = [Line(curve["accuracy"], curve["kl1_recall"], INK)]
    points = [(start, "#6c7a86", "model"), (now, ACCENT, "now")]
    for point, colour, label in points if decision != Decision() else points[:1]:
        lines.append(Line([point["accuracy"]], [point["kl1_recall"]], colour, label, dots=True, below=label == "now"))
    least, most = (end([*curve["accuracy"], start["accuracy"], now["accuracy"]]) for end in (min, max))
    reach = float(np.floor(10 * max(0, least - 0.03)) / 10), float(min(1, np.ceil(10 * (most + 0.03)) / 10))
    title = f"KL1 recall {now['kl1_recall']:.1%} at accuracy {now['accuracy']:.1%}"
    return plot(lines, title=title, x="accuracy", y="KL1 recall", xlim=reach, size=(540, 330))


def reject_svg(p: np.ndarray, kl: np.ndarray, pred: np.ndarray, kept: float) -> str:
    """Accuracy and QWK of the knees the model answers, against their share; the chosen share marked."""
    curve = reject_curve(p, kl, pred)
    point = curve.iloc[int((curve["kept"] - kept).abs().argmin())]
    curve = curve[curve["kept"] >= FEW]
    lines = [
        Line(curve["kept"], curve["accuracy"], INK),
        Line(curve["kept"], curve["qwk"], GRADE_COLOURS[0], dashed=True),
        Line([point["kept"]], [point["accuracy"]], ACCENT, dots=True),
    ]
    bottom = float(np.floor(10 * max(0.0, np.nanmin(curve[["accuracy", "qwk"]].to_numpy()) - 0.02)) / 10)
    title = f"{point['kept']:.0%} answered: accuracy {point['accuracy']:.1%} (dashed: QWK)"
    return plot(lines, title=title, x="share of knees answered, the surest first", y="", ylim=(bottom, 1.0))


def sets_svg(table) -> str:
    """Coverage of the sets by grade with intervals, and the promise as a line."""
    lines = [Line([-0.5, 5.5], [table["promised"].iloc[0]] * 2, FAINT, dashed=True)]
    for place, (name, row) in enumerate(table.iterrows()):
        colour = INK if name == "all" else GRADE_COLOURS[place]
        lines += [
            Line([place, place], [row["low"], row["high"]], colour),
            Line([place], [row["coverage"]], colour, dots=True),
        ]
    bottom = float(np.floor(10 * max(0.0, np.nanmin([table["low"].min(), 0.8]) - 0.02)) / 10)
    everyone = table.loc["all"]
    title = f"{everyone['coverage']:.1%} of {everyone['knees']:.0f} knees held, {everyone['size']:.2f} grades a set"
    return plot(
        lines, title=title, x="grade by the reader", y="share held", xlim=(-0.5, 5.5), ylim=(bottom, 1.0),
        xticks=list(enumerate(table.index)),
    )  # fmt: skip


def sets_words(table) -> str:
    """Mean size of the sets of each grade, and what is not promised."""
    sizes = ", ".join(f"{name} {table.loc[name, 'size']:.2f}" for name in [f"KL{k}" for k in GRADES])
    return (
        f'<p class="koa-soft">Grades a set: {sizes.replace("nan", "–")}.<br>Calibrated on one half of the patients, '
        "judged on the other. The promise is for all knees together, not for each grade, and holds only where neither "
        "model nor decision was chosen on these knees.</p>"
    )
