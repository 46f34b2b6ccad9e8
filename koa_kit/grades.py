"""The five Kellgren-Lawrence grades and their names."""

from __future__ import annotations

GRADES = (0, 1, 2, 3, 4)


LABEL_NAMES = ("Normal", "Doubtful", "Minimal", "Moderate", "Severe")


def grade_label(grade: int) -> str:
    """Grade and its name on one line, for example ``KL1 Doubtful``."""
    return f"KL{grade} {LABEL_NAMES[grade]}"
