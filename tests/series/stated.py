"""The numbers that the prose of the notebooks states in digits, each with where it comes from."""

import inspect
import math
import re
from collections import Counter
from pathlib import Path

import nbformat

from koa_kit import error_analysis as ea

# of the paper: both accuracies are whole numbers of the 1,656 knees of the official test split
TESTED, CLIP_KOA, CLIP = 1656, 1190, 1151
PAPER = [f"{100 * CLIP_KOA / TESTED:.2f} %", f"{100 * CLIP / TESTED:.2f} %"]
LEVEL = f"{100 * inspect.signature(ea.metric_intervals).parameters['level'].default:.0f} %"
KAPPA = ["1", "0"]  # perfect, and chance
YEARS = ["1957", "2025"]  # Kellgren and Lawrence; Jeong and Lee

STATED = {
    "00_start_here": [*YEARS, *PAPER, f"{100 * (CLIP_KOA - CLIP) / TESTED:.2f}", f"{TESTED:,}", *KAPPA],
    "01_data": ["20", *KAPPA, "0.5"],  # seconds; a size in an exercise
    "02_prompts": [LEVEL, "0"],
    # minus the logarithm of 1, of a half, of a fifth; a batch of CLIP, for example; what pooling leaves
    "03_losses": ["0", f"{-math.log(1 / 2):.2f}", f"{-math.log(1 / 5):.2f}", "64", "0"],
    "04_training": [LEVEL, *["0"] * 3],
    "05_error_analysis": ["1", "0", *["70 %"] * 2, "1"],  # the best score, a close call, an example, no temperature
    "06_ablation": [*PAPER, f"{CLIP_KOA - CLIP}", f"{TESTED:,}"],
}

_NO_PROSE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|^#.*?$|^\d\. |^\| 0\d .*?$|\b0\d\b", re.DOTALL | re.MULTILINE)
_NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:\s%)?")


def stated(notebook) -> list[tuple[int, str]]:
    """Numbers in the prose, each with the number of its cell; without those of notebooks, exercises and code."""
    found = []
    for position, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "markdown":
            numbers = _NUMBER.findall(_NO_PROSE.sub(" ", cell.source))
            found += [(position, " ".join(number.split())) for number in numbers]
    return found


def stated_faults(path: Path) -> list[str]:
    """Numbers that a notebook states and that `STATED` does not yield, with the cell; and those it no longer states."""
    left, faults = Counter(STATED[path.stem]), []
    for cell, number in stated(nbformat.read(path, as_version=4)):
        if not left[number]:
            faults.append(f"cell number {cell}: states {number}")
        left[number] -= 1
    return [*faults, *(f"does not state {number}" for number in (+left))]
