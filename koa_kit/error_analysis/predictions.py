"""The predictions table: one row per knee, with what the model says about it and about its mirror image."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, RULES, grade_by_rule
from koa_kit.paths import plain_file

IDENTITY = ("knee_id", "patient", "side", "split", "kl", "file", "inverted")
SIDES = ("L", "R", "?")
VIEWS = ("", "_flip")  # suffixes of the knee as it is and of its mirror image
NUMBERS = tuple(f"{letter}{grade}{view}" for view in VIEWS for letter in "sp" for grade in GRADES)
COLUMNS = (*IDENTITY, *NUMBERS, *(f"pred{view}" for view in VIEWS))
TOLERANCE = 1e-3  # of five probabilities that add up to 1: float32 and rounded tables pass, logits do not


def read_predictions(path: str | os.PathLike) -> pd.DataFrame:
    """Predictions of a parquet file, checked by `check_predictions`; `KoaError` if it is absent or holds none."""
    path = Path(path)
    if not path.is_file():
        raise KoaError("There are no predictions here.", where=path, remedy="Train a model, or check the run's name.")
    try:
        predictions = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises several unrelated types for a damaged file
        remedy = "Predict again: the file is damaged."
        raise KoaError("The predictions cannot be read.", where=path, remedy=remedy) from error
    check_predictions(predictions, where=path)
    for view in VIEWS:
        _check_answers(predictions, view, path)
    return predictions


def read_embeddings(path: str | os.PathLike, knees: int) -> np.ndarray:
    """Embeddings ``(N, 2, D)`` of so many knees and their mirror images, as `koa_kit.predict` gives them, from a file.

    `KoaError` if the file is damaged or holds anything else.
    """
    try:
        embeddings = np.load(plain_file(path), allow_pickle=False)
    except Exception as error:  # numpy raises several unrelated types for a damaged header
        remedy = "Predict again: the file is damaged."
        raise KoaError("The embeddings cannot be read.", where=path, remedy=remedy) from error
    fits = embeddings.ndim == 3 and embeddings.shape[:2] == (knees, 2) and embeddings.dtype.kind == "f"
    if not fits or not np.isfinite(embeddings).all() or not embeddings.any(2).all():
        what = f"The embeddings are not those of {knees} knees and their mirror images."
        raise KoaError(what, where=f"{path}: {embeddings.dtype}, shape {embeddings.shape}", remedy="Predict again.")
    return embeddings


def predictions_table(table: pd.DataFrame, logits: np.ndarray, rule: str = RULES[0]) -> pd.DataFrame:
    """Predictions table from a cohort's table and logits ``(N, 2, 5)`` of each knee and its mirror image, by `rule`."""
    p = softmax(logits, axis=-1)
    columns = {name: table[name].to_numpy() for name in IDENTITY}
    for view, suffix in enumerate(VIEWS):
        for letter, values in (("s", logits), ("p", p)):
            columns |= {f"{letter}{grade}{suffix}": values[:, view, grade] for grade in GRADES}
        columns[f"pred{suffix}"] = grade_by_rule((logits if rule == RULES[0] else p)[:, view], rule)
    return pd.DataFrame(columns)


def check_predictions(predictions: pd.DataFrame, *, where: object = "predictions") -> pd.DataFrame:
    """`predictions` itself, if it is a predictions table.

    It has at least the columns `COLUMNS`: identity, ``s0…s4`` scaled similarities (logits), ``p0…p4`` probabilities,
    the same with ``_flip`` for the mirror image, ``pred`` and ``pred_flip``.

    Raises
    ------
    KoaError
        If it is anything else: no table, without a knee or column, with a missing or infinite value, a knee twice,
        grades other than 0 to 4, or probabilities that do not add up to 1. `where` is named in it.
    """
    _require(predictions, COLUMNS, where)
    if predictions.empty:
        raise KoaError("There is no knee in the predictions.", where=where, remedy="Check how they were selected.")
    for column in ("knee_id", "patient", "side"):
        if not predictions[column].map(pd.api.types.is_scalar).all():
            raise KoaError(f"A knee's {column} is no name.", where=where)
        absent = predictions[column].isna() | (predictions[column].astype(str).str.strip() == "")
        if absent.any():
            raise KoaError(f"A knee has no {column}.", where=f"{where}, row {int(absent.argmax())}")
    if len(odd := predictions.loc[~predictions["side"].isin(SIDES), "side"]):
        remedy = "A side is L or R, or ? where it is not known."
        raise KoaError(f"There is no side {odd.iloc[0]!r}.", where=where, remedy=remedy)
    if len(twice := predictions.loc[predictions["knee_id"].duplicated(), "knee_id"]):
        what, where = f"{len(twice)} knees are in the predictions twice.", f"{where}, knee {twice.iloc[0]}"
        raise KoaError(what, where=where, remedy="Predict each knee once; do not join two runs.")
    if "s5" in predictions or "p5" in predictions:
        raise _another_label_set("they have more than five grades", where)
    for column in ("kl", "pred", "pred_flip"):
        grade_column(predictions, column, where=where)
    _check_numbers(predictions, where)
    return predictions


def _require(predictions: pd.DataFrame, columns: tuple[str, ...], where: object) -> None:
    if not isinstance(predictions, pd.DataFrame):
        what = f"Predictions are a DataFrame, not {type(predictions).__name__}."
        raise KoaError(what, where=where, remedy="Read them with read_predictions(path).")
    if missing := [column for column in columns if column not in predictions]:
        what = f"The predictions lack {', '.join(missing[:6])}{' …' if len(missing) > 6 else ''}."
        remedy = "Make them with koa_kit.predict, which grades each knee and its mirror image."
        raise KoaError(what, where=where, remedy=remedy)


def _another_label_set(why: str, where: object) -> KoaError:
    what, remedy = f"The predictions are of another label set: {why}.", "Give Kellgren-Lawrence grades, KL0 to KL4."
    return KoaError(what, where=where, remedy=remedy)


def _check_numbers(predictions: pd.DataFrame, where: object) -> None:
    try:
        odd = ~np.isfinite(predictions[list(NUMBERS)].to_numpy(float))
    except (TypeError, ValueError) as error:
        raise KoaError("A similarity or probability is no number.", where=where) from error
    if odd.any():
        row, column = np.argwhere(odd)[0]
        raise KoaError(
            f"{odd.any(1).sum()} knees have a similarity or probability that is not finite.",
            where=f"{where}, knee {predictions['knee_id'].iloc[row]}, column {NUMBERS[column]}",
            remedy="The model did not train: lower the learning rate, and predict again.",
        )
    for view in VIEWS:
        p = probabilities(predictions, view)
        wrong = (p < -TOLERANCE).any(1) | (p > 1 + TOLERANCE).any(1) | (abs(p.sum(1) - 1) > TOLERANCE)
        if wrong.any():
            row = wrong.argmax()
            raise KoaError(
                f"{wrong.sum()} knees have probabilities that do not add up to 1.",
                where=f"{where}, knee {predictions['knee_id'].iloc[row]}, p0{view} to p4{view}: {p[row].round(3)}",
                remedy="p0 to p4 are the softmax of s0 to s4: predict again.",
            )


def _check_answers(predictions: pd.DataFrame, view: str, where: object) -> None:
    """Raise `KoaError` if grades or probabilities are not what the similarities say: the file was changed or mixed."""
    s, p, pred = (f(predictions, view) for f in (similarities, probabilities, lambda t, v: grade_column(t, f"pred{v}")))
    by_rule = {rule: grade_by_rule(p, rule) == pred for rule in RULES}
    # of two grades as likely, rounding may have chosen the other
    by_rule[RULES[0]] |= np.take_along_axis(p, pred[:, None], 1)[:, 0] >= p.max(1) - TOLERANCE
    agree = max(by_rule.values(), key=np.sum)
    # averaged over both views, probabilities are no softmax any more, see `flip_averaged`
    if not np.array_equal(similarities(predictions), similarities(predictions, VIEWS[1])):
        agree = agree & (abs(softmax(s, axis=1) - p) < TOLERANCE).all(1)
    if not agree.all():
        raise KoaError(
            f"{(~agree).sum()} knees have a grade or probabilities that do not follow from their similarities.",
            where=f"{where}, knee {predictions['knee_id'].iloc[agree.argmin()]}",
            remedy=f"s0{view} to s4{view} give p0{view} to p4{view}, and those pred{view}: predict again.",
        )


def checked(function: Callable) -> Callable:
    """The same function of a predictions table, which refuses what is none before it looks at it."""

    @wraps(function)
    def with_check(predictions: pd.DataFrame, *values, **options):
        return function(check_predictions(predictions), *values, **options)

    return with_check


def grade_column(predictions: pd.DataFrame, column: str = "kl", *, where: object = "predictions") -> np.ndarray:
    """Grades of one column, int64 ``(N,)``; raises `KoaError` if it is absent or holds other than whole 0 to 4."""
    _require(predictions, (column,), where)
    grades = predictions[column]
    if len(odd := grades[~grades.isin(GRADES)] if pd.api.types.is_integer_dtype(grades) else grades):
        raise _another_label_set(f"{column} is {odd.iloc[0]!r}, not a whole number 0 to 4", where)
    return grades.to_numpy(int)


def similarities(predictions: pd.DataFrame, view: str = "") -> np.ndarray:
    """Scaled cosine similarities, float64 ``(N, 5)``; `view` is "" or "_flip"."""
    return _five(predictions, "s", view)


def probabilities(predictions: pd.DataFrame, view: str = "") -> np.ndarray:
    """Probabilities of the five grades, float64 ``(N, 5)``, rows adding up to 1; `view` is "" or "_flip"."""
    return _five(predictions, "p", view)


def _five(predictions: pd.DataFrame, letter: str, view: str) -> np.ndarray:
    columns = tuple(f"{letter}{grade}{view}" for grade in GRADES)
    _require(predictions, columns, "predictions")
    return predictions[list(columns)].to_numpy(float)


def margin(predictions: pd.DataFrame) -> np.ndarray:
    """Similarity of the predicted grade's prompt minus that of the runner-up, float64 ``(N,)``."""
    return margin_of(similarities(predictions), predictions["pred"].to_numpy(int))


def margin_of(s: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """As `margin`, from similarities ``(N, 5)`` and grades ``(N,)``."""
    own = np.arange(len(GRADES)) == pred[:, None]
    return s[own] - np.where(own, -np.inf, s).max(1)


@checked
def flip_averaged(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with each knee and its mirror image averaged: a baseline of every symmetry loss without training.

    ``pred`` is the grade with the largest mean ``p``, which is no longer exactly the softmax of the mean ``s``.
    """
    _require(predictions, NUMBERS, "predictions")
    result = predictions.copy()
    for own in NUMBERS[: 2 * len(GRADES)]:
        result[own] = result[f"{own}_flip"] = (predictions[own] + predictions[f"{own}_flip"]) / 2
    result["pred"] = result["pred_flip"] = probabilities(result).argmax(1)
    return result
