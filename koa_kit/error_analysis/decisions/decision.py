"""From five similarities to one grade: temperature, expected shares of grades, a bias for KL1, and the rule that picks.

A trained model leaves these open, and they decide how many KL1 knees it finds. What is fitted here (a bias, thresholds,
shares) is judged on knees of other patients, or it looks better than it is.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from scipy.special import softmax

from koa_kit.configuration import OneOf, choices
from koa_kit.error_analysis.arrays import five_columns
from koa_kit.error_analysis.predictions import VIEWS, checked, similarities
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, RULES, grade_by_rule

Positive = Annotated[float, Field(gt=0)]
# lists are taken too
Shares = Annotated[tuple[Positive, Positive, Positive, Positive, Positive], Field(strict=False)]


@choices
class DecisionRule:
    """How five logits become probabilities and a grade; the default is softmax and the most likely grade.

    Parameters
    ----------
    temperature
        Above 0; divides the logits first. Above 1 the probabilities become less sure.
    kl1_bias
        Added to KL1's logit last; log 2 doubles the odds of KL1 against every other grade.
    prior
        Shares of the five grades among the knees that are judged, where they are thought to differ from `trained_on`:
        the logits get log(prior / trained_on) (Saerens, Latinne and Decaestecker 2002, Neural Computation 14:21-41).
        Right only if the knees of a grade look as they did in training. Shares are divided by their sum; a share of 0
        would forbid its grade.
    trained_on
        Shares of the five grades the model was trained on; needed with `prior`.
    rule
        "most_likely"; "median_grade": the lowest grade that the knee lies at or below at least as likely as above it;
        or "expected_grade": the number of `thresholds` that the expected grade exceeds.
    thresholds
        Four rising numbers, in grades, for the rule "expected_grade".

    Raises
    ------
    KoaError
        If one of these does not hold.
    """

    temperature: Positive = 1.0
    kl1_bias: float = 0.0
    prior: Shares | None = None
    trained_on: Shares | None = None
    rule: Annotated[str, OneOf(RULES)] = RULES[0]
    thresholds: Annotated[tuple[float, float, float, float], Field(strict=False)] = (0.5, 1.5, 2.5, 3.5)

    def __post_init__(self):
        for name in ("prior", "trained_on"):
            if shares := getattr(self, name):
                object.__setattr__(self, name, tuple((np.array(shares) / np.sum(shares)).tolist()))
        if self.prior and not self.trained_on:
            what, remedy = "Expected shares of grades say nothing without those of training.", "Give trained_on too."
            raise KoaError(what, where="prior", remedy=remedy)
        if min(np.diff(self.thresholds)) <= 0:
            raise KoaError("Thresholds rise from grade to grade.", where=f"thresholds={self.thresholds}")


def changed_logits(logits: np.ndarray, decision: DecisionRule) -> np.ndarray:
    """Logits under `decision`, float64 ``(N, 5)``: divided by its temperature, then moved by its shares and bias."""
    changed = five_columns(logits, "logits") / decision.temperature
    if decision.prior is not None:
        changed += np.log(np.array(decision.prior) / np.array(decision.trained_on))
    changed[:, 1] += decision.kl1_bias
    return changed


def decide(logits: np.ndarray, decision: DecisionRule) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, float64 ``(N, 5)``, and grades, int64 ``(N,)``, of `logits` ``(N, 5)`` under `decision`.

    Ties go to the lower grade. `KoaError` if the logits are of no knee, of other than five grades, or not finite.
    """
    changed = changed_logits(logits, decision)
    p = softmax(changed, axis=1)
    if decision.rule == "expected_grade":
        return p, np.searchsorted(decision.thresholds, p @ np.array(GRADES, float))
    return p, grade_by_rule(changed if decision.rule == "most_likely" else p, decision.rule)


@checked
def apply_rule(predictions: pd.DataFrame, decision: DecisionRule) -> pd.DataFrame:
    """Predictions as they would be under `decision`, knee and mirror image alike; the given table stays as it is.

    ``s`` are the changed logits, ``p`` their softmax, ``pred`` the grade by the rule. Under another rule than
    "most_likely" ``pred`` need not be the grade with the largest ``p``. The default decision changes no grade, unless
    ``pred`` was not that of the largest ``s``: decide before `flip_averaged`, not after it.
    """
    columns = {}
    for view in VIEWS:
        s = similarities(predictions, view)
        p, columns[f"pred{view}"] = decide(s, decision)
        for letter, values in (("s", changed_logits(s, decision)), ("p", p)):
            columns |= {f"{letter}{grade}{view}": values[:, grade] for grade in GRADES}
    return predictions.assign(**columns)
