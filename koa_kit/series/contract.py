"""The notebook contract, as a machine checks it: pure functions from a notebook to what is wrong with it."""

from __future__ import annotations

import ast
import json
import os
import re
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from koa_kit import paths

PARAMETERS = ("DATASET", "SCALE", "SEED", "DATA_DIR", "OUT_DIR")
RESULT_KEYS = ("notebook", "dataset", "scale", "seed", "fingerprint", "versions", "claims")
LARGEST, LONGEST_TEXT = 60_000, 100
MEDIAN_LINES, CELL_LINES, NOTEBOOK_LINES = 5, 25, 120

HARMLESS_STDERR = (r"running over TCP without encryption", r"frozen modules", r"PYDEVD_DISABLE_FILE_VALIDATION")
"""Lines on stderr that Jupyter itself prints; anything else there is a finding."""

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_FILE_CALLS = {"open", "write_text", "read_text", "write_bytes", "read_bytes", "mkdir", "unlink", "rmtree"}
_TRAINING_CALLS = {"backward", "zero_grad"}
_REMOTE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)\s*=\s*[\"']?(?:https?:)?//", re.IGNORECASE)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Finding:
    """One breach of the contract: which notebook, which cell ("" for the whole notebook), what."""

    notebook: str
    cell: str
    text: str

    def __str__(self) -> str:
        return f"{self.notebook}{', ' + self.cell if self.cell else ''}: {self.text}"


def tags(cell) -> set[str]:
    """Tags of a notebook cell."""
    return set(cell.metadata.get("tags", ()))


def check_executed(notebook, name: str) -> list[Finding]:
    """What an executed notebook shows that a reader must not see, in the order of its cells.

    Parameters
    ----------
    notebook
        Executed notebook (nbformat 4), with its widget state.
    name
        Name the findings carry.

    Returns
    -------
    list of Finding
        Errors, also those caught by Output widgets, which papermill passes over; stderr other than
        `HARMLESS_STDERR`; text outputs over 100 lines; anything that would be loaded from the network.
    """
    widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    findings, seen = [], set()
    for position, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code":
            continue
        label = f"cell [{cell.execution_count}]" if cell.execution_count else f"cell number {position}"
        findings += [Finding(name, label, text) for text in _faults(cell.outputs)]
        for key in _shown_widgets(cell.outputs, widgets) - seen:
            seen.add(key)
            findings += [Finding(name, f"{label}, Output widget", text) for text in _widget_faults(widgets[key])]
    for key in widgets.keys() - seen:
        findings += [Finding(name, "Output widget", text) for text in _widget_faults(widgets[key])]
    return findings


def _widget_faults(model) -> list[str]:
    return _faults(model.get("state", {}).get("outputs") or ())


def _faults(outputs) -> list[str]:
    """Findings in one cell's or one Output widget's outputs."""
    found, lines = [], 0
    for output in outputs:
        kind = output["output_type"]
        if kind == "error":
            found.append(_plain(f"{output.get('ename', 'error')}: {output.get('evalue', '')}"))
        elif kind == "stream" and output["name"] == "stderr":
            text = "\n".join(line for line in _text(output["text"]).splitlines() if not _harmless(line))
            if text.strip():
                found.append(f"printed on stderr: {_plain(text)}")
        elif kind == "stream":
            lines += len(_text(output["text"]).splitlines())
        else:
            data = output.get("data", {})
            if data.keys() <= {"text/plain", WIDGET_VIEW}:
                lines += len(_text(data.get("text/plain", "")).splitlines())
            if _REMOTE.search(_text(data.get("text/html", ""))):
                found.append("shows HTML that loads something from the network")
    if lines > LONGEST_TEXT:
        found.append(f"prints {lines} lines of text ({LONGEST_TEXT} at most)")
    return found


def _text(value) -> str:
    return value if isinstance(value, str) else "".join(value)


def _plain(text: str, length: int = 400) -> str:
    text = " ".join(_ANSI.sub("", text).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _harmless(line: str) -> bool:
    return any(re.search(pattern, line) for pattern in HARMLESS_STDERR)


def _shown_widgets(outputs, widgets) -> set[str]:
    """Ids of the widgets a cell shows, with those inside them: a box refers to its children by ``IPY_MODEL_<id>``."""
    views = (output.get("data", {}).get(WIDGET_VIEW) for output in outputs)
    waiting = [view["model_id"] for view in views if view]
    reached: set[str] = set()
    while waiting:
        key = waiting.pop()
        if key in widgets and key not in reached:
            reached.add(key)
            waiting += re.findall(r"IPY_MODEL_(\w+)", json.dumps(widgets[key].get("state", {})))
    return reached


def check_results(path: Path, name: str) -> list[Finding]:
    """What is wrong with a notebook's ``results.json``: missing, not JSON, a key missing, no claims."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [Finding(name, "", f"wrote no {path.name} into {path.parent.name}/: its last cell must")]
    except (OSError, ValueError) as error:
        return [Finding(name, "", f"{path.name} cannot be read: {error}")]
    missing = [key for key in RESULT_KEYS if not isinstance(results, dict) or key not in results]
    if missing:
        return [Finding(name, "", f"{path.name} lacks {', '.join(missing)}")]
    return [] if results["claims"] else [Finding(name, "", f"{path.name} claims nothing")]


def check_committed(path: str | os.PathLike) -> list[Finding]:
    """What keeps a notebook from being committed, empty if nothing does.

    Checked are: no outputs, execution counts or widget state; at most 60 kB; one cell tagged ``parameters`` that sets
    exactly the five parameters to literals; median code cell of at most 5 lines, none over 25, at most 120 in all
    (blank lines do not count); no class, no training loop and no file handling in a cell; a last code cell that
    writes ``results.json``.
    """
    import nbformat

    path = Path(path)
    name, size = path.stem, path.stat().st_size
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises half a dozen unrelated types for a broken file
        return [Finding(name, "", f"not a valid notebook: {_plain(str(error))}")]
    code = [
        (f"cell number {number}", cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"
    ]
    texts = [("", f"{size:,} bytes ({LARGEST:,} at most)")] if size > LARGEST else []
    if "widgets" in notebook.metadata:
        texts.append(("", "carries widget state"))
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        texts.append(("", "names no kernel python3"))
    parameter_cells = [(label, cell) for label, cell in code if "parameters" in tags(cell)]
    if len(parameter_cells) != 1:
        texts.append(("", f"has {len(parameter_cells)} cells tagged parameters, not one"))
    texts += [(label, text) for label, cell in parameter_cells for text in _parameter_faults(cell.source)]
    lines = [sum(1 for line in cell.source.splitlines() if line.strip()) for _, cell in code]
    if lines and statistics.median(lines) > MEDIAN_LINES:
        texts.append(("", f"median code cell of {statistics.median(lines):g} lines ({MEDIAN_LINES} at most)"))
    if sum(lines) > NOTEBOOK_LINES:
        texts.append(("", f"{sum(lines)} lines of code ({NOTEBOOK_LINES} at most)"))
    for (label, cell), count in zip(code, lines, strict=True):
        if cell.outputs or cell.execution_count is not None:
            texts.append((label, "committed with outputs or an execution count"))
        if count > CELL_LINES:
            texts.append((label, f"{count} lines ({CELL_LINES} at most)"))
        texts += [(label, text) for text in _code_faults(cell.source)]
    last = code[-1][1].source if code else ""
    if not re.search(r"\b(finish|write_results)\(", last):
        texts.append(("", "its last code cell does not write results.json"))
    return [Finding(name, label, text) for label, text in texts]


def _parameter_faults(source: str) -> Iterator[str]:
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return
    names = []
    for statement in statements:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        value = getattr(statement, "value", None)
        if not isinstance(target, ast.Name) or not isinstance(value, ast.Constant):
            yield f"only literals belong in the parameters cell, not `{ast.unparse(statement)}`"
        else:
            names.append(target.id)
    if sorted(names) != sorted(PARAMETERS):
        yield f"sets {', '.join(names) or 'nothing'}, not {', '.join(PARAMETERS)}"


def _code_faults(source: str) -> Iterator[str]:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError as error:
        yield f"is not plain Python: {error.msg}"
        return
    if any(isinstance(node, ast.ClassDef) for node in nodes):
        yield "defines a class: classes are the library's"
    loops = [node for node in nodes if isinstance(node, ast.For | ast.While)]
    if any(_calls(inner) & _TRAINING_CALLS for loop in loops for inner in ast.walk(loop)):
        yield "holds a training loop: training is the library's"
    files = sorted({call for node in nodes for call in _calls(node) & _FILE_CALLS})
    if files:
        yield f"handles files ({', '.join(files)}): that is the library's"


def _calls(node: ast.AST) -> set[str]:
    if not isinstance(node, ast.Call):
        return set()
    return {getattr(node.func, "id", None) or getattr(node.func, "attr", "")}


def strip_outputs(path: str | os.PathLike) -> bool:
    """True if the notebook held outputs, counts or state; they are removed and the rest is left as it was."""
    import nbformat

    path = Path(path)
    before = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({key: value for key, value in cell.metadata.items() if key == "tags"})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    after = nbformat.writes(notebook) + "\n"
    if after == before:
        return False
    with paths.replacing(path) as temporary:
        temporary.write_text(after, encoding="utf-8")
    return True


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        strip_outputs(argument)
    faults = [finding for argument in sys.argv[1:] for finding in check_committed(argument)]
    print(*faults, sep="\n", end="\n" if faults else "")
    sys.exit(bool(faults))
