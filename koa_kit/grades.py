"""The five Kellgren-Lawrence grades, their names, and the rules by which five probabilities become one grade."""

from __future__ import annotations

import numpy as np

GRADES = (0, 1, 2, 3, 4)
LABEL_NAMES = ("Normal", "Doubtful", "Minimal", "Moderate", "Severe")
RULES = ("most_likely", "median_grade", "expected_grade")


def grade_label(grade: int) -> str:
    """Grade and its name on one line, for example ``KL1 Doubtful``."""
    return f"KL{grade} {LABEL_NAMES[grade]}"


def grade_by_rule(probabilities: np.ndarray, rule: str = RULES[0]) -> np.ndarray:
    """Grade int64 ``(N,)`` of probabilities ``(N, 5)``; ties go to the lower grade.

    Each rule is the best guess for one cost of being wrong: "most_likely" where every mistake costs the same,
    "median_grade" (the lowest grade that is at least as likely to be reached as not) where it costs its distance in
    grades, "expected_grade" (the mean grade, rounded) where it costs the square of that distance.

    Examples
    --------
    >>> p = np.array([[0.4, 0.2, 0.1, 0.1, 0.2]])
    >>> [int(grade_by_rule(p, rule)[0]) for rule in RULES]
    [0, 1, 2]
    """
    if rule == "median_grade":
        return (probabilities.cumsum(1)[:, :-1] < 0.5).sum(1)
    if rule == "expected_grade":
        return np.searchsorted([0.5, 1.5, 2.5, 3.5], probabilities @ np.array(GRADES, float))
    return probabilities.argmax(1)
