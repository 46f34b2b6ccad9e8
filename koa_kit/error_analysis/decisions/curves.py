"""What a decision costs: KL1 recall against accuracy, and knees left to a reader."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from koa_kit.error_analysis.arrays import checked_grades, checked_probabilities
from koa_kit.error_analysis.decisions.decision import DecisionRule, changed_logits, decide
from koa_kit.error_analysis.metrics import K, count_grades, metrics_of_counts
from koa_kit.grades import GRADES

ROWS = 200  # points of a curve that are kept: more than a figure can show
GAP = 1e-9  # knees closer than this on a scale are moved together: rounding could swap them


def kl1_curve(logits: np.ndarray, kl: np.ndarray, decision: DecisionRule) -> pd.DataFrame:
    """What finding KL1 costs: one row per value of the KL1 bias, all else as in `decision`, at most `ROWS` rows.

    Exact for every rule: a knee changes grade at biases of its own, and each row stands halfway between two such
    crossings. Where they are many, the rows kept lie evenly along the curve, its two ends among them. Logits are
    ``(N, 5)``, the readers' grades ``(N,)``. The decision's own bias is left aside, see `kl1_point`.

    Returns
    -------
    DataFrame
        ``kl1_bias`` rising, ``accuracy``, ``qwk``, ``kl1_recall``, ``kl1_precision``; nan where it is unknown.
    """
    changed = changed_logits(logits, replace(decision, kl1_bias=0.0))
    kl = checked_grades(kl, len(changed))
    first, (at, knee, before, after) = _crossings(changed, decision)
    biases = _along_the_curve(at, kl[knee] == 1)
    # a crossing belongs to the first bias above it: from there on its knee counts in another cell of the confusion
    place = np.searchsorted(biases, at, side="right") * K * K + kl[knee] * K
    into, out_of = (np.bincount(place + grade, minlength=len(biases) * K * K) for grade in (after, before))
    moved = np.cumsum((into - out_of).reshape(-1, K * K), axis=0)
    return _curve((moved + np.bincount(kl * K + first, minlength=K * K)).reshape(-1, K, K), biases)


def kl1_point(logits: np.ndarray, kl: np.ndarray, decision: DecisionRule) -> dict[str, float]:
    """The one point of `kl1_curve` at which `decision` stands, by column."""
    pred = decide(logits, decision)[1]
    counts = count_grades(checked_grades(kl, len(pred)), pred)
    return _curve(counts[None], np.array([decision.kl1_bias])).iloc[0].to_dict()


def _curve(counts: np.ndarray, biases: np.ndarray) -> pd.DataFrame:
    names = ("accuracy", "qwk", "kl1_recall", "kl1_precision")
    return pd.DataFrame({"kl1_bias": biases} | metrics_of_counts(counts, names))


def _crossings(changed: np.ndarray, decision: DecisionRule) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Grades ``(N,)`` far below every crossing; then of each crossing its bias, knee, grade before and grade after."""
    knees, others = np.arange(len(changed)), changed.copy()
    others[:, 1] = -np.inf
    top = others.max(1)
    lead = top - changed[:, 1]
    if decision.rule == "most_likely":
        first = others.argmax(1)
        return first, (lead, knees, first, np.ones_like(first))
    # Of w, the odds of the other grades to the likeliest of them, and e^(bias - lead), those of KL1, the median and the
    # mean move towards 1 only. The median passes from grade g to g + 1, or back, where both sides of it weigh the same.
    # The mean is 1 + pull / (weight + e^(bias - lead)) and passes a threshold t where e^(bias - lead) is
    # pull / (t - 1) - weight. Either happens only if that is above 0; at t = 1 it is infinite.
    w = np.exp(others - top[:, None])
    if decision.rule == "median_grade":
        t = np.arange(K - 1) + 0.5
        room = (w.sum(1, keepdims=True) - 2 * w.cumsum(1)[:, :-1]) * np.sign(t - 1)
    else:
        t, weight, pull = np.array(decision.thresholds), w.sum(1), w @ (np.array(GRADES, float) - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            room = pull[:, None] / (t - 1) - weight[:, None]
    first = np.where(t >= 1, room > 0, room <= 0).sum(1)
    knee, below = np.nonzero((room > 0) & np.isfinite(room))
    before = below + (t[below] > 1)
    return first, (np.log(room[knee, below]) + lead[knee], knee, before, 2 * below + 1 - before)


def _along_the_curve(at: np.ndarray, of_kl1: np.ndarray) -> np.ndarray:
    """At most `ROWS` rising biases between the crossings `at`: one beyond each end, the rest even in knees and KL1."""
    if not len(at):
        return np.zeros(1)
    order = np.argsort(at)
    at, of_kl1 = at[order], of_kl1[order]
    apart = np.flatnonzero(np.diff(at) > GAP)
    biases = np.r_[at[0] - 1, (at[apart] + at[apart + 1]) / 2, at[-1] + 1]
    gone = np.cumsum(1 / len(at) + of_kl1 / max(of_kl1.sum(), 1))
    gone = np.r_[0, gone[apart], gone[-1]]
    return biases[_evenly(gone)]


def _evenly(along: np.ndarray) -> np.ndarray:
    """At most `ROWS` positions in rising numbers `along`, evenly spaced by their value, first and last among them."""
    if len(along) <= ROWS:
        return np.arange(len(along))
    return np.unique(np.searchsorted(along, np.linspace(along[0], along[-1], ROWS)))


def reject_curve(probabilities: np.ndarray, kl: np.ndarray, grades: np.ndarray) -> pd.DataFrame:
    """How good the answers are if the least confident are left to a reader: at most `ROWS` rows, ``kept`` rising to 1.

    Probabilities and grades are those of `decide`; a knee's confidence is the probability of the grade it was given.

    Returns
    -------
    DataFrame
        ``kept``: share of knees answered, knees of equal confidence all or none. ``accuracy`` and ``qwk`` of these,
        ``threshold`` their smallest confidence. The first rows rest on few knees, and QWK falls where the kept knees
        are of fewer grades: it is nan where all are of one.
    """
    p = checked_probabilities(probabilities)
    kl, grades = checked_grades(kl, len(p)), checked_grades(grades, len(p), "grades")
    confidence = p[np.arange(len(p)), grades]
    levels, knees = np.unique(-confidence, return_counts=True)
    chosen = _evenly(np.cumsum(knees))
    row = np.searchsorted(levels[chosen], -confidence)
    counts = np.bincount(row * K * K + kl * K + grades, minlength=len(chosen) * K * K).reshape(-1, K, K).cumsum(0)
    found = metrics_of_counts(counts, ("accuracy", "qwk"))
    return pd.DataFrame({"kept": counts.sum((1, 2)) / len(p)} | found | {"threshold": -levels[chosen]})
