"""The predictions table: one row a knee, what the model says about it and about its mirror image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, RULES, grade_by_rule

IDENTITY = ("knee_id", "patient", "side", "split", "kl", "file", "inverted")
VIEWS = ("", "_flip")
"""Suffixes of the two views: the knee as it is, and its mirror image."""

NUMBERS = tuple(f"{letter}{grade}{view}" for view in VIEWS for letter in "sp" for grade in GRADES)
COLUMNS = (*IDENTITY, *NUMBERS, *(f"pred{view}" for view in VIEWS))
TOLERANCE = 1e-3
"""How far five probabilities may add up from 1: float32 and rounded tables pass, logits do not."""


def read_predictions(path: str | os.PathLike) -> pd.DataFrame:
    """Predictions of a parquet file, checked by `check_predictions`.

    Raises
    ------
    KoaError
        If the file is absent, is no parquet, or holds something else than predictions.
    """
    path = Path(path)
    if not path.is_file():
        raise KoaError(
            "There are no predictions here.", where=path, remedy="Train a model first, or check the run's name."
        )
    try:
        predictions = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises several unrelated types for a damaged file
        raise KoaError(
            "The predictions cannot be read.", where=path, remedy="Predict again: the file is damaged."
        ) from error
    return check_predictions(predictions, where=path)


def predictions_table(table: pd.DataFrame, logits: np.ndarray, rule: str = RULES[0]) -> pd.DataFrame:
    """Predictions table from a cohort's table and logits ``(N, 2, 5)`` of each knee and its mirror image.

    ``pred`` is the grade by `rule`, one of `koa_kit.grades.RULES`.
    """
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = shifted / shifted.sum(-1, keepdims=True)
    columns = {name: table[name].to_numpy() for name in IDENTITY}
    for view, suffix in enumerate(VIEWS):
        for letter, values in (("s", logits), ("p", probabilities)):
            columns |= {f"{letter}{grade}{suffix}": values[:, view, grade] for grade in range(logits.shape[-1])}
        columns[f"pred{suffix}"] = grade_by_rule((logits if rule == RULES[0] else probabilities)[:, view], rule)
    return pd.DataFrame(columns)


def check_predictions(predictions: pd.DataFrame, *, where: object = "predictions") -> pd.DataFrame:
    """`predictions` itself, if it is a predictions table.

    Parameters
    ----------
    predictions
        At least the columns `COLUMNS`: identity, ``s0…s4`` scaled similarities (logits), ``p0…p4`` probabilities,
        the same with ``_flip`` for the mirror image, ``pred`` and ``pred_flip``.
    where
        Named in the error.

    Raises
    ------
    KoaError
        If it is no table, is empty, lacks columns, has a missing or infinite value, a knee twice, grades other than
        0 to 4 (another label set), or probabilities outside 0 to 1 or not adding up to 1.
    """
    if not isinstance(predictions, pd.DataFrame):
        raise KoaError(
            f"Predictions are a DataFrame, not {type(predictions).__name__}.",
            where=where,
            remedy="Read them with read_predictions(path).",
        )
    missing = [column for column in COLUMNS if column not in predictions]
    if missing:
        raise KoaError(
            f"The predictions lack {', '.join(missing[:6])}{' …' if len(missing) > 6 else ''}.",
            where=where,
            remedy="Make them with koa_kit.predict, which grades each knee and its mirror image.",
        )
    if predictions.empty:
        raise KoaError("There is no knee in the predictions.", where=where, remedy="Check how they were selected.")
    _check_identity(predictions, where)
    _check_grades(predictions, where)
    _check_numbers(predictions, where)
    return predictions


def _check_identity(predictions: pd.DataFrame, where: object) -> None:
    for column in ("knee_id", "patient", "side"):
        if predictions[column].isna().any():
            raise KoaError(f"A knee has no {column}.", where=f"{where}, row {int(predictions[column].isna().argmax())}")
    twice = predictions["knee_id"].duplicated()
    if twice.any():
        raise KoaError(
            f"{int(twice.sum())} knees are in the predictions twice.",
            where=f"{where}, knee {predictions['knee_id'][twice].iloc[0]}",
            remedy="Predict each knee once; do not join two runs.",
        )


def _check_grades(predictions: pd.DataFrame, where: object) -> None:
    if "s5" in predictions or "p5" in predictions:
        raise KoaError(
            "The predictions are of another label set: they have more than five grades.",
            where=where,
            remedy="Error analysis reads Kellgren-Lawrence grades, KL0 to KL4.",
        )
    for column in ("kl", "pred", "pred_flip"):
        grades = predictions[column]
        if not pd.api.types.is_integer_dtype(grades) or not grades.isin(GRADES).all():
            odd = grades if not pd.api.types.is_integer_dtype(grades) else grades[~grades.isin(GRADES)]
            raise KoaError(
                f"The predictions are of another label set: {column} is {odd.iloc[0]!r}, not a whole number 0 to 4.",
                where=where,
                remedy="Error analysis reads Kellgren-Lawrence grades, KL0 to KL4.",
            )


def _check_numbers(predictions: pd.DataFrame, where: object) -> None:
    try:
        numbers = predictions[list(NUMBERS)].to_numpy(float)
    except (TypeError, ValueError) as error:
        raise KoaError("A similarity or probability is no number.", where=where) from error
    finite = np.isfinite(numbers)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise KoaError(
            f"{int((~finite).any(1).sum())} knees have a similarity or probability that is not finite.",
            where=f"{where}, knee {predictions['knee_id'].iloc[row]}, column {NUMBERS[column]}",
            remedy="The model did not train: lower the learning rate, and predict again.",
        )
    for view in VIEWS:
        p = probabilities(predictions, view)
        wrong = (p < -TOLERANCE).any(1) | (p > 1 + TOLERANCE).any(1) | (abs(p.sum(1) - 1) > TOLERANCE)
        if wrong.any():
            row = int(wrong.argmax())
            raise KoaError(
                f"{int(wrong.sum())} knees have probabilities that do not add up to 1.",
                where=f"{where}, knee {predictions['knee_id'].iloc[row]}, p0{view} to p4{view}: {p[row].round(3)}",
                remedy="p0 to p4 are the softmax of s0 to s4: predict again.",
            )


def similarities(predictions: pd.DataFrame, view: str = "") -> np.ndarray:
    """Scaled cosine similarities, float64 ``(N, 5)``; `view` is "" or "_flip"."""
    return predictions[[f"s{grade}{view}" for grade in GRADES]].to_numpy(float)


def probabilities(predictions: pd.DataFrame, view: str = "") -> np.ndarray:
    """Probabilities of the five grades, float64 ``(N, 5)``, rows adding up to 1; `view` is "" or "_flip"."""
    return predictions[[f"p{grade}{view}" for grade in GRADES]].to_numpy(float)


def margin(predictions: pd.DataFrame) -> np.ndarray:
    """How much the predicted grade's prompt leads over the runner-up, in scaled similarity, float64 ``(N,)``."""
    return lead(similarities(predictions), predictions["pred"].to_numpy(int))


def lead(s: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """As `margin`, from similarities ``(N, 5)`` and grades ``(N,)``."""
    rows, others = np.arange(len(s)), s.copy()
    others[rows, pred] = -np.inf
    return s[rows, pred] - others.max(1) if len(s) else np.zeros(0)


def total_variation(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Half the summed distance of two distributions over grades, ``(N, 5)`` each: float64 ``(N,)``, 0 to 1."""
    return abs(p - q).sum(1) / 2


def flip_averaged(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with each knee and its mirror image averaged: the free baseline of every symmetry loss.

    ``p`` is the mean of ``p`` and ``p_flip``, ``s`` the mean of both similarities, ``pred`` the grade with the
    largest mean probability. Flipping such a model's knee changes nothing, so the ``_flip`` columns repeat the others.
    ``p`` is no longer exactly the softmax of ``s``.
    """
    check_predictions(predictions)
    result = predictions.copy()
    for letter in "sp":
        for grade in GRADES:
            mean = (predictions[f"{letter}{grade}"] + predictions[f"{letter}{grade}_flip"]) / 2
            result[f"{letter}{grade}"] = result[f"{letter}{grade}_flip"] = mean
    result["pred"] = result["pred_flip"] = probabilities(result).argmax(1)
    return result
