"""Is one method better than another? Differences on the same knees, with intervals, and McNemar's test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import check_predictions
from koa_kit.error_analysis.statistics.intervals import bootstrap, check_level, percentile_interval
from koa_kit.errors import KoaError


def aligned(a: pd.DataFrame, b: pd.DataFrame, *, names: tuple[str, str] = ("a", "b")) -> pd.DataFrame:
    """`b` with its rows in the order of `a`'s knees.

    Raises
    ------
    KoaError
        If the two are not of the same knees, or a knee has another reader's grade or patient in one of them.
    """
    for predictions, name in ((a, names[0]), (b, names[1])):
        check_predictions(predictions, where=name)
    # the usual case, and at twenty thousand knees a tenth of the time of sorting them out
    same = _equal(a, b, "knee_id")
    odd = [] if same else sorted(set(a["knee_id"].astype(str)) ^ set(b["knee_id"].astype(str)))
    if odd:
        raise KoaError(
            f"{len(odd)} knees are in one table of predictions only, so nothing can be paired.",
            where=f"{names[0]} and {names[1]}, for example knee {odd[0]}",
            remedy="Predict the same split of the same cohort with both models.",
        )
    if not same:
        b = b.set_index(b["knee_id"].astype(str)).loc[a["knee_id"].astype(str)]
    b = b.reset_index(drop=True)
    for column in ("kl", "patient"):
        if _equal(a, b, column):
            continue
        differ = a[column].astype(str).to_numpy() != b[column].astype(str).to_numpy()
        if differ.any():
            raise KoaError(
                f"{int(differ.sum())} knees have another {column} in the other table.",
                where=f"{names[0]} and {names[1]}, knee {a['knee_id'].to_numpy()[differ][0]}",
                remedy="Predict the same cohort with both models.",
            )
    return b


def _equal(a: pd.DataFrame, b: pd.DataFrame, column: str) -> bool:
    """A column is the same in both, row by row; of other types it may be the same and is called different."""
    return a[column].reset_index(drop=True).equals(b[column].reset_index(drop=True))


def paired_difference(
    a: pd.DataFrame, b: pd.DataFrame, metric: str = "accuracy", *, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> dict:
    """`metric` of `a` minus that of `b` on the same knees, with a percentile interval over the same draws of patients.

    Returns
    -------
    dict
        ``metric``, ``a``, ``b``, ``difference``, ``low``, ``high``, ``n_knees``, ``n_patients``.

    Raises
    ------
    KoaError
        If the two are not of the same knees, or the metric is unknown.
    """
    check_level(draws, level)
    b = aligned(a, b)
    first, second = (bootstrap(each, [metric], draws=draws, seed=seed)[metric] for each in (a, b))
    gap = first - second
    low, high, _ = percentile_interval(gap[0], gap[1:], level)
    return {
        "metric": metric,
        "a": float(first[0]),
        "b": float(second[0]),
        "difference": float(gap[0]),
        "low": low,
        "high": high,
        "n_knees": len(a),
        "n_patients": int(a["patient"].nunique()),
    }


def mcnemar(a: pd.DataFrame, b: pd.DataFrame) -> dict:
    """McNemar's test that `a` and `b` are right equally often, from the knees only one of them gets right.

    It counts knees as independent, which two knees of one patient are not quite: prefer the interval of
    `paired_difference` when the two disagree.

    Returns
    -------
    dict
        ``both``, ``only_a``, ``only_b``, ``neither`` (knees), ``p_exact`` (two-sided binomial) and ``p_mid``, the
        mid-p version, less conservative (Fagerland, Lydersen and Laake 2013). Both are 1 if no knee tells them apart.
    """
    from scipy.stats import binom, binomtest

    b = aligned(a, b)
    a_right = (a["pred"] == a["kl"]).to_numpy(bool)
    b_right = (b["pred"] == b["kl"]).to_numpy(bool)
    only_a, only_b = int((a_right & ~b_right).sum()), int((b_right & ~a_right).sum())
    told = only_a + only_b
    p_exact = float(binomtest(only_a, told, 0.5).pvalue) if told else 1.0
    point = float(binom.pmf(only_a, told, 0.5)) if told else 0.0
    return {
        "both": int((a_right & b_right).sum()),
        "only_a": only_a,
        "only_b": only_b,
        "neither": int((~a_right & ~b_right).sum()),
        "p_exact": p_exact,
        "p_mid": p_exact - point / (2 if only_a == only_b else 1),
    }


def compare(
    predictions: Mapping[str, pd.DataFrame],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] = ("accuracy", "qwk", "kl1_recall"),
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """One row a method and metric, each method on the same knees and the same draws of patients.

    Parameters
    ----------
    predictions
        Method name to predictions.
    baseline
        Method the others are compared with; omitted, the first.

    Returns
    -------
    DataFrame
        ``method``, ``metric``, ``value``, ``low``, ``high``, ``difference`` (method minus baseline),
        ``difference_low``, ``difference_high``, ``p_mcnemar`` (mid-p; it is about accuracy and stands in that row
        only), ``n_knees``, ``n_patients``, ``baseline``. The baseline's own differences and p are nan.

    Raises
    ------
    KoaError
        If there is no method, the baseline is none of them, or two are not of the same knees.
    """
    check_level(draws, level)
    if not predictions:
        raise KoaError("There is nothing to compare.", remedy="Give a dict of method name to predictions.")
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    baseline = next(iter(predictions)) if baseline is None else baseline
    if baseline not in predictions:
        raise KoaError(
            f"There is no method {baseline!r}.", where="baseline", remedy=f"Choose from {', '.join(predictions)}."
        )
    reference = predictions[baseline]
    drawn = {
        name: bootstrap(aligned(reference, table, names=(baseline, name)), metrics, draws=draws, seed=seed)
        for name, table in predictions.items()
    }
    rows = []
    for name in predictions:
        for metric in metrics:
            own, gap = drawn[name][metric], drawn[name][metric] - drawn[baseline][metric]
            low, high, _ = percentile_interval(own[0], own[1:], level)
            row = {"method": name, "metric": metric, "value": float(own[0]), "low": low, "high": high}
            row |= dict.fromkeys(("difference", "difference_low", "difference_high", "p_mcnemar"), np.nan)
            if name != baseline:
                row["difference"] = float(gap[0])
                row["difference_low"], row["difference_high"], _ = percentile_interval(gap[0], gap[1:], level)
                if metric == "accuracy":
                    row["p_mcnemar"] = mcnemar(predictions[name], reference)["p_mid"]
            row |= {"n_knees": len(reference), "n_patients": reference["patient"].nunique(), "baseline": baseline}
            rows.append(row)
    return pd.DataFrame(rows)
