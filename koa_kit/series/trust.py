"""What would let a notebook say what it has not found out: typed numbers, swallowed errors, the files of another."""

from __future__ import annotations

import ast
import builtins
import math
import re
from collections.abc import Iterator

SCORES = {"accuracy", "balanced_accuracy", "qwk", "mae", "kl1_recall", "ece"}
"""Claims that say nothing without an interval, except as one value per row of a comparison."""

_SILENCERS = {"filterwarnings", "simplefilter", "catch_warnings", "suppress", "redirect_stderr"}
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?\s?%|(?<![\w.])\d+\.\d+")
_TEST_SPLIT = re.compile(r"test|.*\bsplit\b.*['\"]test['\"].*", re.DOTALL)


def claim_faults(claims: dict) -> Iterator[str]:
    """Claims that are not finite, and scores and differences that have no interval or lie outside it."""
    for name, value in claims.items():
        if name in SCORES and isinstance(value, int | float):
            yield f"claims {name} without an interval"
        parts = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
        middle = parts.get("value", parts.get("difference"))
        if isinstance(middle, int | float):
            if not all(isinstance(parts.get(end), int | float) for end in ("low", "high")):
                yield f"claims {name} without an interval"
            elif not parts["low"] <= middle <= parts["high"]:
                yield f"claims {name} outside its interval"
        if isinstance(value, float) and not math.isfinite(value):
            yield f"claims that {name} is {value}"
        yield from claim_faults({f"{name} {key}": part for key, part in parts.items()})


def typed_numbers(tree: ast.AST) -> tuple[set[float], set[str]]:
    """Numbers typed in a piece of code, and names that are given one as it is."""
    numbers = {number for node in ast.walk(tree) if (number := _number(node)) is not None}
    given = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and _is_typed(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            given |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return numbers, given


def code_faults(tree: ast.AST, typed: set[float], given: set[str], others: set[str]) -> Iterator[str]:
    """Faults of a cell of a notebook with these `typed_numbers` that lies beside notebooks called `others`."""
    # phantom knees have a test split that anybody may draw again
    drawn = {id(part) for node in ast.walk(tree) if _is_of_phantoms(node) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or {"Exception", "BaseException"} & _names(node.type, builtin=True)
            silent = all(isinstance(line, ast.Pass | ast.Continue) or ast.unparse(line) == "..." for line in node.body)
            if broad or silent:
                yield "swallows errors: name the one that is expected, and show it"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if _TEST_SPLIT.fullmatch(node.value) and id(node) not in drawn:
                yield "opens the test split: held_out_results has held-out knees"
            if found := sorted(other for other in {*others, "results.json"} if other in node.value):
                yield f"reads what another notebook wrote ({found[0]}): each stands alone"
        elif isinstance(node, ast.Call):
            yield from _call_faults(node, typed, given)


def _call_faults(call: ast.Call, typed: set[float], given: set[str]) -> Iterator[str]:
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", "")
    if name in _SILENCERS:
        yield f"silences warnings or errors ({name})"
    elif name == "finish":
        for claim in call.keywords:
            if not _names(claim.value) - given:
                yield f"claims {claim.arg} as typed, not as computed"
    elif name in ("bullet", "print"):
        if name == "bullet" and not any(_names(argument) - given for argument in call.args):
            yield "has a bullet in which nothing is computed"
        texts = [part.value for part in ast.walk(call) if isinstance(part, ast.Constant)]
        for number in _NUMBER.findall(" ".join(text for text in texts if isinstance(text, str))):
            value = float(number.rstrip("% ")) / (100 if "%" in number else 1)
            if value not in {*typed, 0.95}:
                yield f"prints the number {number} as typed, not as computed"


def _number(node: ast.AST) -> float | None:
    value = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _is_of_phantoms(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("load_cohort('phantom').")


def _is_typed(value: ast.AST) -> bool:
    """Whether a value is a number, or several, that nothing computes."""
    parts = [_number(part) is not None for part in ast.walk(value) if isinstance(part, ast.Constant)]
    return bool(parts) and all(parts) and not any(isinstance(part, ast.Name) for part in ast.walk(value))


def _names(tree: ast.AST, *, builtin: bool = False) -> set[str]:
    """Names that a piece of code reads, but for those of Python itself."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names if builtin else names - set(dir(builtins))
