"""How well the readers' consensus can be predicted at all: the scores of the best rules that know every sign.

A knee is the posterior of its consensus, `koa_kit.phantom.readers.readers.consensus_probabilities`. An image shows at
most the signs, and given the signs the readers' errors have nothing to do with the image; so in expectation over the
readers' errors no model that sees only the image scores higher on these knees. Three things to keep in mind:

- An image shows less than the signs, so the bound is seldom reached; other knees have another one nearby.
- The score on one set of consensus grades scatters: by luck it can exceed the bound; see `sampled_noise_ceiling`.
- A model that is given more than the image, such as one reader's grade or the same knee's grade at another visit, is
  not bound by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_by_rule

_GRADES = np.array(GRADES)
_NUMBERS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class NoiseCeiling:
    """What the best rules that know the signs reach in expectation on `n` knees; see the module for what it bounds.

    Each number has a best rule of its own: no single rule reaches `accuracy`, `qwk` and `mae` together.

    Attributes
    ----------
    accuracy, qwk, mae
        Highest expected accuracy, by `accuracy_rule`; highest quadratic weighted kappa of the expected confusion, by
        `qwk_rule`, nan when all consensus is one grade; lowest expected mean absolute error, by the posterior medians.
    recall
        Expected recall of each grade under `accuracy_rule`: no bounds, another rule can find more knees of one grade
        and fewer of the others. nan for a grade that cannot occur.
    shares
        Expected share of each grade in the consensus, five numbers that sum to 1.
    """

    n: int
    accuracy: float
    qwk: float
    mae: float
    recall: tuple[float, ...]
    shares: tuple[float, ...]

    @property
    def kl1_recall(self) -> float:
        """Expected recall of KL1 under `accuracy_rule`; `kl1_frontier` shows what more of it costs."""
        return self.recall[1]


def noise_ceiling(posterior: np.ndarray) -> NoiseCeiling:
    """Best expected scores on knees with these posteriors: ``(N, 5)``, probability of each grade as the consensus.

    Another shape, no row, or a row that is no probability distribution is a `KoaError`.
    """
    posterior = _checked(posterior)
    pred = accuracy_rule(posterior)
    hit = posterior * (pred[:, None] == _GRADES)
    median = grade_by_rule(posterior, "median_grade")
    with np.errstate(invalid="ignore"):
        recall = hit.sum(axis=0) / posterior.sum(axis=0)
    return NoiseCeiling(
        n=len(posterior),
        accuracy=float(posterior.max(axis=1).mean()),
        qwk=qwk_expected(qwk_rule(posterior), posterior),
        mae=float((posterior * np.abs(median[:, None] - _GRADES)).sum(axis=1).mean()),
        recall=tuple(recall.tolist()),
        shares=tuple(posterior.mean(axis=0).tolist()),
    )


def accuracy_rule(posterior: np.ndarray) -> np.ndarray:
    """Likeliest grade of every knee, int64 ``(N,)``: no rule has a higher expected accuracy. Ties go to the lower."""
    return _checked(posterior).argmax(axis=1)


def qwk_rule(posterior: np.ndarray) -> np.ndarray:
    """Grades with the highest `qwk_expected` of all, int64 ``(N,)``.

    The rule knows M, the mean grade of these knees, and where the signs leave doubt it goes further from M than a
    knee's posterior mean m does. Source: Dinkelbach (1967), Management Science 13:492-498.
    """
    # QWK is the ratio of the sums of 2 (p - M) (m - M) and (p - M)^2 + (y - M)^2 over predictions p and consensus y. A
    # ratio r can be beaten exactly if some p makes the first less r times the second positive; its best p is the grade
    # nearest to M + (m - M) / r. The ratio which that p reaches is the next r: a few steps lead to the optimum.
    posterior = _checked(posterior)
    mean = posterior @ _GRADES
    centre, reached = mean.mean(), 0.0
    if np.allclose(mean, centre, rtol=0, atol=1e-12):
        return _nearest_grade(mean)
    # The first step, towards r = 0, sends every knee to the end of the scale on its side of M.
    best = pred = np.select([mean < centre, mean > centre], [_GRADES[0], _GRADES[-1]], _nearest_grade(centre))
    while (now := qwk_expected(pred, posterior)) > reached:
        best, reached = pred, now
        pred = _nearest_grade(centre + (mean - centre) / reached)
    return best


def qwk_expected(pred: np.ndarray, posterior: np.ndarray) -> float:
    """Quadratic weighted kappa of the expected confusion of `pred`, grades ``(N,)``, with the consensus.

    It is the QWK of a cohort in which every knee occurs very often; nan when consensus and `pred` are all one grade.
    """
    mean, square = posterior @ _GRADES, posterior @ _GRADES**2
    return float(_kappa(pred, mean, square))


def kl1_frontier(posterior: np.ndarray, points: int = 41) -> pd.DataFrame:
    """What recall of KL1 costs: the best expected accuracy at each recall from that of `accuracy_rule` up.

    Each row is the rule that adds `bias` to the logarithm of KL1's posterior and takes the likeliest grade (ties go to
    KL1). It maximises accuracy plus a price times KL1 recall (a Lagrangian), so every row is Pareto optimal: in
    expectation no rule that knows the signs has more of both.

    At most `points` rows, nearly evenly spaced in recall up to 0.999: the last knees would cost nearly all accuracy.

    Returns
    -------
    DataFrame
        ``bias`` (0 in the first row, rising), ``kl1_recall`` (rising), ``accuracy`` (falling), ``kl1_precision`` (nan
        where no knee is called KL1). A bias of log 2 counts a KL1 found like two knees of any other grade.

    No knee that can be KL1, or fewer than two points, is a `KoaError`.
    """
    posterior = _checked(posterior)
    kl1, others = posterior[:, 1], np.delete(posterior, 1, axis=1).max(axis=1)
    if points < 2:
        raise KoaError(f"{points} points make no curve.", remedy="Give 2 or more.")
    if not kl1.any():
        raise KoaError("No knee can be KL1, so its recall is undefined.", remedy="Give more knees.")
    with np.errstate(divide="ignore"):
        needed = np.log(others) - np.log(kl1)
    order = np.argsort(needed)
    biases = np.concatenate([[0.0], np.unique(needed[(needed > 0) & np.isfinite(needed)])])
    called = np.searchsorted(needed[order], biases, side="right")
    found, lost = (np.concatenate([[0.0], np.cumsum(knees[order])])[called] for knees in (kl1, others))
    # The first bias that reaches each target: rows are never repeated, and recall rises from row to row.
    end = max(found[0], 0.999 * found[-1])
    rows = np.unique(np.searchsorted(found, np.linspace(found[0], end, points)))
    accuracy = (others.sum() - lost + found) / len(posterior)
    curve = pd.DataFrame({"bias": biases, "kl1_recall": found / kl1.sum(), "accuracy": accuracy})
    return curve.assign(kl1_precision=pd.Series(found) / called).iloc[rows].reset_index(drop=True)


def sampled_noise_ceiling(posterior: np.ndarray, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """What the best rules would score on these very knees, were their readers to grade them anew `draws` times.

    Compare a model's score on the consensus at hand with this range: within it, the model cannot be distinguished from
    a perfect one on so few knees. A score above `value` is luck, not skill.

    Returns
    -------
    DataFrame
        One row per ``metric``: ``accuracy`` and ``kl1_recall`` of `accuracy_rule`, ``qwk`` of `qwk_rule`. ``value`` is
        that of `noise_ceiling`; 95 % of the draws lie from ``low`` to ``high``. Draws that leave a score undefined are
        passed over; nan where all do.

    `draws` below 1 is a `KoaError`.
    """
    posterior, expected = _checked(posterior), noise_ceiling(posterior)
    if draws < 1:
        raise KoaError(f"{draws} draws give no range.", remedy="Give at least 1.")
    rng = np.random.default_rng(seed)
    likeliest, spread = accuracy_rule(posterior), qwk_rule(posterior)
    limits = np.cumsum(posterior, axis=1)[:, :-1].T
    block = max(1, _NUMBERS_AT_ONCE // len(posterior))
    scores = []
    for start in range(0, draws, block):
        chance = rng.random((min(block, draws - start), len(posterior)))
        kl = sum((chance >= limit).astype(np.int64) for limit in limits)
        qwk = _kappa(spread, kl, kl**2)
        with np.errstate(invalid="ignore"):
            kl1_recall = ((kl == 1) & (likeliest == 1)).sum(axis=1) / (kl == 1).sum(axis=1)
        scores.append([(kl == likeliest).mean(axis=1), qwk, kl1_recall])
    names = ["accuracy", "qwk", "kl1_recall"]
    low, high = pd.DataFrame(np.concatenate(scores, axis=1).T).quantile([0.025, 0.975]).to_numpy()
    values = [getattr(expected, name) for name in names]
    return pd.DataFrame({"metric": names, "value": values, "low": low, "high": high})


def _nearest_grade(number: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(number), _GRADES[0], _GRADES[-1]).astype(np.int64)


def _kappa(pred: np.ndarray, kl: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Quadratic kappa of predictions with grades and their squares over the last axis; nan where all are one grade.

    It equals 2 cov(p, y) / (var p + var y + (mean p - mean y)^2), the concordance correlation.
    """
    p, pp = pred.mean(), (pred**2).mean()
    y, yy, py = kl.mean(axis=-1), square.mean(axis=-1), (pred * kl).mean(axis=-1)
    by_chance = np.asarray(pp + yy - 2 * p * y)
    # Means of grades differ by far more than this unless they are equal.
    defined = by_chance > 1e-12
    return np.where(defined, 2 * (py - p * y) / np.where(defined, by_chance, 1.0), np.nan)


def _checked(posterior: np.ndarray) -> np.ndarray:
    """The posterior as float64 ``(N, 5)``; `KoaError` unless every row is a probability distribution."""
    posterior = np.asarray(posterior, float)
    if posterior.ndim != 2 or posterior.shape[1] != len(GRADES) or not len(posterior):
        raise KoaError(f"A posterior of shape {posterior.shape} is not one row of five a knee.", remedy="Give (N, 5).")
    bad = ~((posterior >= 0).all(axis=1) & (np.abs(posterior.sum(axis=1) - 1) < 1e-6))
    if bad.any():
        where = f"row {bad.argmax()}: {posterior[bad.argmax()].tolist()}"
        remedy = "Take them from consensus_probabilities or grade_probabilities."
        raise KoaError(f"{bad.sum()} rows are no probabilities that sum to 1.", where=where, remedy=remedy)
    return posterior
