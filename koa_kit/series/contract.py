"""The notebook contract as a machine checks it: findings in executed notebooks, committed ones and their results."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import statistics
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from koa_kit.paths import plain_file
from koa_kit.series.trust import claim_faults, code_faults, typed_numbers

PARAMETERS = ("DATASET", "SCALE", "SEED", "DATA_DIR", "OUT_DIR")
RESULT_KEYS = ("notebook", "dataset", "scale", "seed", "fingerprint", "versions", "claims")
LARGEST, LONGEST_TEXT, SMALLEST_PICTURE = 60_000, 100, 150
MEDIAN_LINES, CELL_LINES, NOTEBOOK_LINES = 5, 25, 120

HARMLESS_STDERR = re.compile("running over TCP without encryption|frozen modules|PYDEVD_DISABLE_FILE_VALIDATION")
"""Lines on stderr that Jupyter itself prints; anything else there is a finding."""

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_REMOTE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)\s*=\s*[\"']?(?:https?:)?//", re.IGNORECASE)
_FILES = re.compile(
    "open|(read|write)_(text|bytes)|mkdir|makedirs|unlink|rmtree|touch|r?glob|iterdir|listdir|scandir|savefig|savez?|"
    "(read|to)_(csv|parquet|pickle|json|excel|feather|hdf)|load_(run|file)|read_(predictions|embeddings|record)|"
    "load|loadtxt|fromfile|tofile|dump|imread|imsave"
)
_TRAINING_CALLS = {"backward", "zero_grad"}


def check_executed(notebook) -> list[str]:
    """Findings in an executed notebook (nbformat 4, with its widget state), each with its cell.

    Errors, also those caught by Output widgets, which papermill does not see; stderr other than `HARMLESS_STDERR`;
    text outputs over 100 lines; pictures of fewer than 150 x 150 pixels; HTML that would load from the network.
    """
    widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    unseen = dict(widgets)
    findings: list[str] = []

    def check_widgets(label: str, keys) -> None:
        """Check the Output widgets `keys` and those they refer to, each under the first cell that shows it."""
        for key in keys:
            if model := unseen.pop(key, None):
                outputs = model.get("state", {}).get("outputs") or ()
                findings.extend(f"{label}: {fault}" for fault in _output_faults(outputs))
                check_widgets(label, re.findall(r"IPY_MODEL_(\w+)", json.dumps(model)))

    for position, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code":
            label = f"cell [{cell.execution_count}]" if cell.execution_count else f"cell number {position}"
            findings += [f"{label}: {fault}" for fault in _output_faults(cell.outputs)]
            views = (output.get("data", {}).get(WIDGET_VIEW) for output in cell.outputs)
            check_widgets(f"{label}, Output widget", [view["model_id"] for view in views if view])
    check_widgets("Output widget", list(unseen))
    return findings


def _output_faults(outputs) -> Iterator[str]:
    """Findings in one cell's or one Output widget's outputs."""
    lines = 0
    for output in outputs:
        data, kind = output.get("data", {}), output.get("name") or output["output_type"]
        if kind == "error":
            yield _one_line(f"{output.get('ename', 'error')}: {output.get('evalue', '')}")
        elif kind == "stderr":
            text = "\n".join(line for line in output["text"].splitlines() if not HARMLESS_STDERR.search(line))
            if text.strip():
                yield f"printed on stderr: {_one_line(text)}"
        elif kind == "stdout" or data.keys() <= {"text/plain", WIDGET_VIEW}:
            lines += len((output.get("text") or data.get("text/plain", "")).splitlines())
        if png := data.get("image/png"):
            width, height = _size(png)
            if width * height < SMALLEST_PICTURE**2:
                yield f"shows a picture of {width} x {height} pixels ({SMALLEST_PICTURE} x {SMALLEST_PICTURE} at least)"
        if _REMOTE.search(data.get("text/html", "")):
            yield "shows HTML that loads something from the network"
    if lines > LONGEST_TEXT:
        yield f"prints {lines} lines of text ({LONGEST_TEXT} at most)"


def _size(png: str) -> tuple[int, int]:
    """Width and height of a PNG in base64, which stand in its first chunk."""
    try:
        return struct.unpack(">II", base64.b64decode(png[:32])[16:24])
    except (ValueError, TypeError, struct.error):
        return 0, 0


def _one_line(text: str, length: int = 400) -> str:
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def check_results(path: Path) -> list[str]:
    """Findings if a notebook's ``results.json`` is missing, is no JSON, lacks a key, claims nothing, or claims wrongly.

    Wrong are a claim that is not finite, and a score or a difference without an interval or outside it.
    """
    try:
        results = json.loads(plain_file(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [f"wrote no {path.name} into {path.parent.name}/: its last cell must"]
    except (OSError, ValueError, RecursionError) as error:
        return [f"{path.name} cannot be read: {error}"]
    if missing := [key for key in RESULT_KEYS if key not in (results if isinstance(results, dict) else ())]:
        return [f"{path.name} lacks {', '.join(missing)}"]
    if results["notebook"] != path.parent.name:
        return [f"{path.name} is of another notebook, {results['notebook']}"]
    if not isinstance(results["claims"], dict) or not results["claims"]:
        return [f"{path.name} claims nothing"]
    return [f"{path.name} {fault}" for fault in claim_faults(results["claims"])]


def check_committed(path: str | os.PathLike) -> list[str]:
    """What keeps a notebook from being committed, empty if nothing does: the rules below, and a valid notebook."""
    import nbformat

    path = Path(path)
    try:
        notebook = nbformat.read(plain_file(path), as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises half a dozen unrelated types for a broken file
        return [f"not a valid notebook: {_one_line(str(error))}"]
    findings = _notebook_faults(notebook, path.stat().st_size)
    others = {other.stem for other in path.parent.glob("*.ipynb")} - {path.stem}
    code = [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]
    faults = [(number, fault) for number, cell in code for fault in _cell_faults(cell)]
    with suppress(SyntaxError):  # of which _cell_faults speaks
        trees = [(number, cell, ast.parse(cell.source)) for number, cell in code]
        own = [tree for _, cell, tree in trees if "parameters" not in cell.metadata.get("tags", ())]
        typed = typed_numbers(ast.Module(own, []))
        faults += [(number, fault) for number, _, tree in trees for fault in code_faults(tree, *typed, others)]
    return findings + [f"cell number {number}: {fault}" for number, fault in dict.fromkeys(sorted(faults))]


def _notebook_faults(notebook, size: int) -> list[str]:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lines = [_count_lines(cell) for cell in code] or [0]
    median, tagged = statistics.median(lines), sum("parameters" in cell.metadata.get("tags", ()) for cell in code)
    more = notebook.metadata.keys() - {"kernelspec", "language_info", "widgets"}
    more |= {key for cell in notebook.cells for key in cell.metadata.keys() - {"tags"}}
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    rules = (
        (size > LARGEST, f"{size:,} bytes ({LARGEST:,} at most)"),
        ("widgets" in notebook.metadata, "carries widget state"),
        (kernel != "python3", 'names no kernel python3: choose "Python 3" in Jupyter and save'),
        (more, "carries metadata other than the kernel, the language and the cells' tags"),
        (tagged != 1, f"has {tagged} cells tagged parameters, not one"),
        (median > MEDIAN_LINES, f"median code cell of {median:g} lines ({MEDIAN_LINES} at most)"),
        (sum(lines) > NOTEBOOK_LINES, f"{sum(lines)} lines of code ({NOTEBOOK_LINES} at most)"),
        (not code or "finish(" not in code[-1].source, "its last code cell does not write results.json"),
    )
    return [text for broken, text in rules if broken]


def _count_lines(cell) -> int:
    """Lines of a cell that are not blank."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def _cell_faults(cell) -> list[str]:
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        return [f"is not plain Python: {error.msg}"]
    tags, count = cell.metadata.get("tags", ()), _count_lines(cell)
    files = sorted(filter(_FILES.fullmatch, _calls(tree)))
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While)]
    rules = (
        (cell.outputs or cell.execution_count is not None, "committed with outputs or an execution count"),
        (count > CELL_LINES, f"{count} lines ({CELL_LINES} at most)"),
        ("raises-exception" in tags, "is tagged raises-exception: show an expected error with try and except"),
        (any(isinstance(node, ast.ClassDef) for node in ast.walk(tree)), "defines a class: classes are the library's"),
        (any(_calls(loop) & _TRAINING_CALLS for loop in loops), "holds a training loop: training is the library's"),
        (files, f"handles files ({', '.join(files)}): that is the library's"),
    )
    faults = [text for broken, text in rules if broken]
    return [*faults, *_parameter_faults(tree.body)] if "parameters" in tags else faults


def _parameter_faults(statements: list[ast.stmt]) -> Iterator[str]:
    names = []
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name), *_], value=ast.Constant()):
                names.append(name)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant()):
                names.append(name)
            case _:
                yield f"only literals belong in the parameters cell, not `{ast.unparse(statement)}`"
    if sorted(names) != sorted(PARAMETERS):
        yield f"sets {', '.join(names) or 'nothing'}, not {', '.join(PARAMETERS)}"


def _calls(tree: ast.AST) -> set[str]:
    """Names of the functions and methods called anywhere in a piece of code."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {getattr(function, "id", "") or getattr(function, "attr", "") for function in calls}


if __name__ == "__main__":
    findings = [f"{path}: {finding}" for path in sys.argv[1:] for finding in check_committed(path)]
    sys.exit("\n".join(findings) or None)
