"""Sliders from similarities to grades: what more KL1 recall costs, sets that keep a promise, knees left to a reader."""

from __future__ import annotations

from dataclasses import replace

import ipywidgets as widgets
import numpy as np
import pandas as pd

from koa_kit.error_analysis.decisions.conformal import calibration_half, conformal_table_of
from koa_kit.error_analysis.decisions.curves import kl1_curve, kl1_point, reject_curve
from koa_kit.error_analysis.decisions.decision import RULES, DecisionRule
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS, INK
from koa_kit.workbench.page.html import part
from koa_kit.workbench.page.svg import Line, plot
from koa_kit.workbench.panels.panel import Panel, column, heading, html, menu, side_by_side, wide

WORDS = {
    "most_likely": "the most likely grade",
    "median_grade": "the median grade",
    "expected_grade": "thresholds of the expected grade",
}
DRAWS = 300
FEW = 0.05  # share of knees beneath which a curve of the surest says more of chance than of the model


class DecisionsPanel(Panel):
    """Controls of the `DecisionRule`, coverage of conformal sets, share of knees the model answers; three pictures.

    The prior is the expected share of KL1, the others in proportion; those of training are taken to be the table's.
    """

    title = "Decisions"

    def __init__(self, bench):
        super().__init__(bench)
        self._patients = bench.patients.astype(str)
        self._half = calibration_half(self._patients)
        self.shares = np.bincount(bench.tables.predictions["kl"], minlength=5) / len(bench.tables.predictions)
        self.bias = self._slider("KL1 bias", (-3, 3, 0.05), 0, lambda value: self._decide(kl1_bias=value), "bias")
        self.temperature = widgets.FloatLogSlider(
            base=2, min=-2, max=2, step=0.05, value=1, description="Temperature", readout_format=".2f", **wide(330, 110)
        )
        self.on_value(self.temperature, lambda value: self._decide(temperature=rounded(value)), "koa-temperature")
        self.prior = self._slider("KL1 expected", (0.01, 0.6, 0.01), self._share(), self._expect, "prior", ".0%")
        self.rule = menu({name: WORDS[name] for name in RULES}, "Grade", **wide(330, 110))
        self.on_value(self.rule, lambda value: self._decide(rule=value), "koa-rule")
        self.thresholds = [
            self._slider(f"KL{k} | KL{k + 1}", (0, 4, 0.05), value, self._move, f"threshold-{k}")
            for k, value in enumerate(DecisionRule().thresholds)
        ]
        self.coverage = self._slider("Coverage", (0.5, 0.99, 0.01), 0.9, lambda _: bench.draw(), "coverage", ".0%")
        self.kept = self._slider("Answered", (0.1, 1, 0.01), 0.8, lambda _: bench.draw(), "kept", ".0%")
        own = "the model’s own decision"
        self.reset = self.button(own, lambda: bench.show(decision=DecisionRule()), "koa-own-decision")
        names = ("curve", "sets", "rejected")
        self.curve, self.sets, self.rejected = (html(f"koa-{name}", min_height="300px") for name in names)
        controls = [self.bias, self.temperature, self.prior, self.rule, *self.thresholds, self.reset]
        top = side_by_side(column(heading("From similarities to a grade"), *controls), self.curve)
        half = {"flex": "0 0 460px", "width": "460px"}
        lead = heading("Sets that hold the reader’s grade as often as promised")
        promised = column(lead, self.coverage, self.sets, **half)
        answered = column(heading("Leave the least sure to a reader"), self.kept, self.rejected, **half)
        self.widget = column(top, side_by_side(promised, answered))

    def _slider(self, text, scale, value, action, css, form=".2f") -> widgets.FloatSlider:
        low, high, step = scale
        made = widgets.FloatSlider(
            min=low, max=high, step=step, value=value, description=text, readout_format=form, **wide(330, 110)
        )
        return self.on_value(made, lambda value: action(rounded(value)), f"koa-{css}")

    def _share(self) -> float:
        # as the slider rounds it: a browser sends its own rounding back, which must not count as a choice
        return round(float(np.clip(self.shares[1], 0.01, 0.6)), 2)

    def _decide(self, **changes) -> None:
        self.bench.show(decision=replace(self.bench.state.decision, **changes))

    def _move(self, _) -> None:
        self._decide(thresholds=tuple(rounded(control.value) for control in self.thresholds))

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

    def render(self) -> None:
        decision, tables = self.bench.state.decision, self.bench.tables
        with self.syncing():
            self.bias.value, self.temperature.value = decision.kl1_bias, decision.temperature
            self.rule.value = decision.rule
            self.prior.value = round(decision.prior[1], 2) if decision.prior else self._share()
            for control, value in zip(self.thresholds, decision.thresholds, strict=True):
                control.value, control.disabled = value, decision.rule != "expected_grade"
        mask = tables.mask(self.bench.state)
        if not mask.any():
            self.curve.value = self.sets.value = self.rejected.value = part.empty("No knee passes the filters.")
            return
        numbers = tables.numbers(self.bench.state)
        kl, p, pred = numbers.kl[mask], numbers.p[0][mask], numbers.pred[mask]
        self.curve.value = part.wrapped(curve_svg(tables.undecided().s[0][mask], kl, decision))
        self.rejected.value = part.wrapped(reject_svg(p, kl, pred, self.kept.value))
        try:
            half = self._half[mask]
            table = conformal_table_of(p, kl, self._patients[mask], half, self.coverage.value, draws=DRAWS)
            self.sets.value = sets_html(table)
        except KoaError as error:
            self.sets.value = part.empty(str(error))


def rounded(value: float) -> float:
    """A slider's value without the last digits: a browser sends back 4e-16 where 0 was set."""
    return round(float(value), 6)


def curve_svg(logits: np.ndarray, kl: np.ndarray, decision: DecisionRule) -> str:
    """KL1 recall against accuracy along the KL1 bias, with where the decision stands and where the model began."""
    if not (kl == 1).any():
        return part.empty("None of these knees is KL1: there is no recall to show.")
    curve, now = kl1_curve(logits, kl, decision), kl1_point(logits, kl, decision)
    start = kl1_point(logits, kl, DecisionRule())
    lines = [Line(curve["accuracy"], curve["kl1_recall"], INK)]
    points = [(start, "#6c7a86", "model"), (now, ACCENT, "now")]
    for point, colour, label in points if decision != DecisionRule() else points[:1]:
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


def sets_html(table: pd.DataFrame) -> str:
    """Coverage of the sets by grade with intervals, the promise as a line; their sizes, and what is not promised."""
    lines = [Line([-0.5, 5.5], [table["promised"].iloc[0]] * 2, FAINT, dashed=True)]
    for place, (name, row) in enumerate(table.iterrows()):
        colour = INK if name == "all" else GRADE_COLOURS[place]
        lines.append(Line([place, place], [row["low"], row["high"]], colour))
        lines.append(Line([place], [row["coverage"]], colour, dots=True))
    bottom = float(np.floor(10 * max(0.0, np.nanmin([table["low"].min(), 0.8]) - 0.02)) / 10)
    everyone = table.loc["all"]
    title = f"{everyone['coverage']:.1%} of {everyone['knees']:.0f} knees held, {everyone['size']:.2f} grades a set"
    picture = plot(
        lines, title=title, x="grade by the reader", y="share held", xlim=(-0.5, 5.5), ylim=(bottom, 1.0),
        xticks=list(enumerate(table.index)),
    )  # fmt: skip
    sizes = ", ".join(f"KL{k} {table.loc[f'KL{k}', 'size']:.2f}" for k in GRADES).replace("nan", "–")
    caution = (
        "Calibrated on one half of the patients, judged on the other. The promise is for all knees together, not "
        "for each grade, and holds only where neither model nor decision was chosen on these knees."
    )
    return part.wrapped(picture + part.quiet([f"Grades a set: {sizes}.", caution]))
