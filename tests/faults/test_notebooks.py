"""The checker checked: a fault planted in a copy of a committed notebook is named, with its cell, and nothing else is.

What execution shows is planted into the frame of each notebook, its set-up without the cohort; with ``KOA_FAULTS`` of
2000 and more (``make faults``) into the whole notebook, which so is also seen to stand alone: its folder is its own
and the cache is empty at first.
"""

import ast
import copy
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output
from series.stated import STATED, stated, stated_faults

from koa_kit.paths import resource
from koa_kit.series.contract import CELL_LINES, NOTEBOOK_LINES, PARAMETERS, RESULT_KEYS, check_committed, check_results
from koa_kit.series.execution import execute_notebook

WHOLE = int(os.environ.get("KOA_FAULTS", "0")) >= 2000
NOTEBOOKS = {path.stem: path for path in sorted(resource("notebooks").glob("[!.]*.ipynb"))}
OTHER = {name: next(other for other in NOTEBOOKS if other != name) for name in NOTEBOOKS}

SWALLOWS = "swallows errors: name the one that is expected, and show it"
# sources of a cell, and what is said of it where it is committed
COMMITTED = {
    "\n".join(["kl = 1"] * (CELL_LINES + 1)): f"{CELL_LINES + 1} lines ({CELL_LINES} at most)",
    "class Knee:\n    pass": "defines a class: classes are the library's",
    "for epoch in range(3):\n    loss.backward()": "holds a training loop: training is the library's",
    "!curl example.org": "is not plain Python: invalid syntax",
    "knees = open('knees.csv')": "handles files (open): that is the library's",
    "knees = pd.read_parquet(runs / 'predictions.parquet')": "handles files (read_parquet): that is the library's",
    "table.to_csv('/tmp/table.csv')": "handles files (to_csv): that is the library's",
    "run = load_run(Path(OUT_DIR) / 'runs' / 'plain')": "handles files (load_run): that is the library's",
    "folder = Path(OUT_DIR) / '{other}'": "reads what another notebook wrote ({other}): each stands alone",
    "path = '../results.json'": "reads what another notebook wrote (results.json): each stands alone",
    "try:\n    knees()\nexcept:\n    print('well')": SWALLOWS,
    "try:\n    knees()\nexcept Exception as e:\n    print(e)": SWALLOWS,
    "try:\n    knees()\nexcept KeyError:\n    pass": SWALLOWS,
    "try:\n    knees()\nexcept (ValueError, Exception) as e:\n    print(e)": SWALLOWS,
    "try:\n    knees()\nexcept KeyError:\n    ...": SWALLOWS,
    "with contextlib.suppress(KeyError):\n    knees()": "silences warnings or errors (suppress)",
    "warnings.filterwarnings('ignore')": "silences warnings or errors (filterwarnings)",
    "session.bullet('Accuracy is high.')": "has a bullet in which nothing is computed",
    "session.bullet(f'{len(knees)} knees, QWK 0.873.')": "prints the number 0.873 as typed, not as computed",
    "print(f'{len(knees)} knees, 87.31 % right')": "prints the number 87.31 % as typed, not as computed",
    "sealed = cohort.split('test')": "opens the test split: held_out_results has held-out knees",
    "table = cohort.table.query('split == \"test\"')": "opens the test split: held_out_results has held-out knees",
}

LAST_CELL = {
    "right=0.873": "claims right as typed, not as computed",
    "right=round(float(0.87312), 3)": "claims right as typed, not as computed",
}

SLIDER = """\
import ipywidgets as widgets
grade = widgets.IntSlider(max=4, description="grade")
def show(change):
    [0, 1, 2][change["new"]]
grade.observe(show, "value")
grade"""
BUTTON = """\
import ipywidgets as widgets
button = widgets.Button(description="read")
button.on_click(lambda _: 1 / 0)
button"""
OUTPUT = """\
import ipywidgets as widgets
film = widgets.Dropdown(options=["bone", "ink"], description="film")
shown = widgets.interactive_output(lambda f: {"bone": 1}[f], {"f": film})
display(film, shown)"""
PICTURE = """\
import matplotlib.pyplot as plt
plt.figure(figsize=(0.5, 0.5)).add_subplot().axis("off")
plt.show()"""
SWALLOWED = """\
import urllib.request
try:
    urllib.request.urlopen("http://example.org/swallowed")
except Exception:
    pass"""
PRINTED, REFUSED = "printed on stderr: ", "KoaError: A notebook "
# sources of a cell, and what is said of it after it ran, where … stands for anything
EXECUTED = {
    "[0, 1][4]": "IndexError: list index out of range",
    SLIDER: PRINTED + "The control 'grade' fails: IndexError: list index out of range",
    BUTTON: PRINTED + "The control 'read' fails: ZeroDivisionError: division by zero",
    OUTPUT: PRINTED + "The control 'film' fails: KeyError: 'ink'",
    "import warnings\nwarnings.warn('the knee is upside down')": PRINTED + "…the knee is upside down…",
    "print('KL1\\n' * 101)": "prints 102 lines of text (100 at most)",
    PICTURE: "shows a picture of … pixels (150 x 150 at least)",
    "session.finish('none', auc=float('nan'))": "KoaError: nan cannot be kept as a result…",
    "session.finish('none')": "KoaError: A notebook must claim something…",
    "import urllib.request\nurllib.request.urlopen('http://example.org')": REFUSED
    + "reaches for the network: example.org.",
    SWALLOWED: PRINTED + "A notebook reaches for the network: example.org.",
    "import requests\nrequests.get('http://192.0.2.1', timeout=3)": REFUSED + "reaches for the network: 192.0.2.1.",
    "import socket\nsocket.create_connection(('192.0.2.2', 80), timeout=3)": REFUSED
    + "reaches for the network: 192.0.2.2.",
    "import socket\nsocket.socket().bind(('', 0))": REFUSED + "reaches for the network: all addresses.",
    "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'KL1', ('192.0.2.3', 53))": REFUSED
    + "reaches for the network: 192.0.2.3.",
    "import huggingface_hub as hub\nhub.hf_hub_download('timm/resnet18', 'config.json')": "LocalEntryNotFoundError: …",
    "import subprocess\nsubprocess.run(['curl', 'example.org'])": REFUSED + "starts a program: curl.",
    "import os\nos.system('curl example.org')": REFUSED + "starts a program: curl example.org.",
    "get_ipython().system('curl example.org')": REFUSED + "starts a program: …",
    "open(OUT_DIR + '/../elsewhere.txt', 'w')": REFUSED + "changes a file outside OUT_DIR: …elsewhere.txt.",
    "import pandas as pd\npd.Series([1]).to_csv(OUT_DIR + '/../series.csv')": REFUSED
    + "changes a file outside OUT_DIR: …series.csv.",
    "import os\nos.remove(OUT_DIR + '/../kept.txt')": REFUSED + "changes a file outside OUT_DIR: …kept.txt.",
    "open(OUT_DIR + '/{other}/results.json').read()": REFUSED + "reads what it did not write: …{other}…",
    "import pandas as pd\npd.read_csv(OUT_DIR + '/runs/other/history.csv')": REFUSED
    + "reads what it did not write: …history.csv.",
    "import os\nopen(os.environ['KOA_CACHE_DIR'] + '/left.txt').read()": REFUSED
    + "reads what it did not write: …left.txt.",
}
GOOD = """\
import socket, tempfile
here = socket.create_server(("127.0.0.1", 0))
with socket.create_connection(here.getsockname()), open("own.txt", "w") as own, tempfile.TemporaryFile() as scratch:
    print("a notebook may talk to itself", file=own)
print(open("own.txt").read())"""
"""A cell without a fault."""


def filled(faults, name):
    """The faults with the name of another notebook in them."""
    return {
        source.replace("{other}", OTHER[name]): text.replace("{other}", OTHER[name]) for source, text in faults.items()
    }


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def saved(notebook, folder, name):
    """A folder with this notebook and all the others as they are committed."""
    folder.mkdir(parents=True, exist_ok=True)
    for other, path in NOTEBOOKS.items():
        (folder / path.name).write_bytes(path.read_bytes() if other != name else nbformat.writes(notebook).encode())
    return folder / f"{name}.ipynb"


def planted(name, source):
    """A copy of a notebook with one more cell before its last, and the cell's number; room is made for its lines."""
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    last = notebook.cells.index(code_of(notebook)[-1])
    notebook.cells.insert(last, new_code_cell(source))
    del notebook.cells[last]["id"]
    notebook.cells[last]["id"] = "planted"
    spare = code_of(notebook)[2:-2]
    while sum(bool(line.strip()) for cell in code_of(notebook) for line in cell.source.splitlines()) > NOTEBOOK_LINES:
        notebook.cells.remove(max(spare, key=lambda cell: len(cell.source.splitlines())))
        spare = code_of(notebook)[2:-2]
    return notebook, 1 + next(n for n, cell in enumerate(notebook.cells) if cell["id"] == "planted")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_fault_of_a_cell_is_named_with_the_cell_and_nothing_else_is(name, tmp_path):
    missed = {}
    for source, fault in filled(COMMITTED, name).items():
        notebook, number = planted(name, source)
        found = check_committed(saved(notebook, tmp_path, name))
        if found != [f"cell number {number}: {fault}"]:
            missed[source] = found
    assert missed == {}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_claim_that_is_typed_is_named_with_the_cell(name, tmp_path):
    for claim, fault in LAST_CELL.items():
        notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
        last = code_of(notebook)[-1]
        last.source = re.sub(r"finish\(\s*(\"\w+\"),", rf"finish(\1, {claim},", last.source)
        found = check_committed(saved(notebook, tmp_path, name))
        assert found == [f"cell number {notebook.cells.index(last) + 1}: {fault}"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_an_editor_leaves_in_a_notebook_is_named(name, tmp_path):
    whole = nbformat.read(NOTEBOOKS[name], as_version=4)
    assert check_committed(saved(whole, tmp_path, name)) == []
    left = "committed with outputs or an execution count"
    metadata = "carries metadata other than the kernel, the language and the cells' tags"
    numbers = {1, 2, 3, len(whole.cells) // 2, len(whole.cells)} if not WHOLE else range(1, len(whole.cells) + 1)
    for number in numbers:
        if whole.cells[number - 1].cell_type == "code":
            for change in ({"outputs": [new_output("stream", text="KL1")]}, {"execution_count": 3}):
                notebook = copy.deepcopy(whole)
                notebook.cells[number - 1].update(change)
                assert check_committed(saved(notebook, tmp_path, name)) == [f"cell number {number}: {left}"]
        notebook = copy.deepcopy(whole)
        notebook.cells[number - 1].metadata["collapsed"] = True
        assert check_committed(saved(notebook, tmp_path, name)) == [metadata]
    for change, fault in (
        ({"widgets": {}}, "carries widget state"),
        ({"papermill": {}}, metadata),
        ({"kernelspec": {"name": "mine", "display_name": "Mine"}}, "names no kernel python3"),
    ):
        notebook = copy.deepcopy(whole)
        notebook.metadata |= change
        (found,) = check_committed(saved(notebook, tmp_path, name))
        assert found.startswith(fault)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_results_that_are_missing_of_another_notebook_or_without_their_interval_are_named(name, tmp_path):
    path = tmp_path / name / "results.json"
    path.parent.mkdir()
    sound = dict.fromkeys(RESULT_KEYS, "") | {
        "notebook": name,
        "claims": {"qwk": {"value": 0.7, "low": 0.6, "high": 0.8}},
    }
    claims = {
        "claims qwk without an interval": {"qwk": 0.7},
        "claims accuracy without an interval": {"accuracy": {"value": 0.7, "low": 0.6}},
        "claims mae without an interval": {"mae": {"value": 0.7, "low": None, "high": "a"}},
        "claims gap without an interval": {"gap": {"difference": 0.1}},
        "claims qwk outside its interval": {"qwk": {"value": 0.9, "low": 0.6, "high": 0.8}},
        "claims that share KL1 is nan": {"share": {"KL1": float("nan")}},
        "claims that kappa 1 is inf": {"kappa": [0.5, float("inf")]},
        "claims nothing": {},
    }
    contents = {fault: sound | {"claims": claim} for fault, claim in claims.items()}
    for odd in ([0.7], "qwk", 0.7, True):
        path.write_text(json.dumps(sound | {"claims": odd}), encoding="utf-8")
        assert check_results(path) == ["results.json claims nothing"]
    path.unlink()
    contents[f"is of another notebook, {OTHER[name]}"] = sound | {"notebook": OTHER[name]}
    contents["lacks fingerprint"] = {key: value for key, value in sound.items() if key != "fingerprint"}
    assert check_results(path) == [f"wrote no results.json into {name}/: its last cell must"]
    for fault, content in contents.items():
        path.write_text(json.dumps(content), encoding="utf-8")
        assert check_results(path) == [f"results.json {fault}"]
    path.write_text(json.dumps(sound), encoding="utf-8")
    assert check_results(path) == []


def frame(name):
    """A notebook's parameters, its set-up without what comes after `begin`, and results that claim something."""
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    parameters, setup, *_, last = code_of(notebook)
    lines = []
    for statement in ast.parse(setup.source).body:
        lines.append(ast.unparse(statement))
        if "begin(" in lines[-1] and not isinstance(statement, ast.ImportFrom):
            break
    setup.source = "\n".join(lines)
    last.source = f'session.finish("{name}", seed=SEED)'
    notebook.cells = [parameters, setup, last]
    return notebook


@pytest.fixture(scope="module")
def runs(tmp_path_factory, session_cache):
    """Each notebook executed once with all the faults in it, with what is to be found in it, by its name."""

    def run(name):
        home = tmp_path_factory.mktemp(name)
        notebook = nbformat.read(NOTEBOOKS[name], as_version=4) if WHOLE else frame(name)
        out_dir, before = home / "results", len(code_of(notebook)) + 1
        last = notebook.cells.index(code_of(notebook)[-1])
        faults = {
            key.replace("{other}", OTHER[name]): text.replace("{other}", OTHER[name]) for key, text in EXECUTED.items()
        }
        cells = [new_code_cell(source, metadata={"tags": ["raises-exception"]}) for source in (GOOD, *faults)]
        notebook.cells[last:last] = cells
        for path in (
            out_dir / OTHER[name] / "results.json",
            out_dir / "runs" / "other" / "history.csv",
            home / "kept.txt",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}", encoding="utf-8")
            os.utime(path, (time.time() - 3600,) * 2)
        source = saved(notebook, home / "notebooks", name)
        parameters = dict(zip(PARAMETERS, ("phantom", "smoke", 0, "", str(out_dir)), strict=True))
        done = execute_notebook(source, home / "build", parameters, threads=1)
        return done, {f"cell [{before + number}]": text for number, text in enumerate(faults.values(), 1)}

    with pytest.MonkeyPatch.context() as shell, ThreadPoolExecutor(2) as pool:
        cache = tmp_path_factory.mktemp("fresh-cache") if WHOLE else session_cache
        (cache / "left.txt").write_text("KL1", encoding="utf-8")
        os.utime(cache / "left.txt", (time.time() - 3600,) * 2)
        shell.setenv("KOA_CACHE_DIR", str(cache))
        return dict(zip(NOTEBOOKS, pool.map(run, NOTEBOOKS), strict=True))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_fault_that_execution_shows_is_named_with_the_cell_and_nothing_else_is(name, runs):
    run, faults = runs[name]
    findings = list(run.findings)
    missed = {}
    for cell, text in faults.items():
        found = [finding for finding in findings if finding.startswith(cell)]
        pattern = ".*".join(map(re.escape, f"{cell}: {text}".split("…")))
        if len(found) != 1 or not re.fullmatch(pattern, found[0]):
            missed[cell] = (text, found)
        findings = [finding for finding in findings if finding not in found]
    assert (missed, findings) == ({}, [])
    assert (run.results.parents[2] / "kept.txt").exists()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_wrong_number_in_the_prose_is_named_with_the_cell(name, tmp_path):
    """In digits; a wrong number in the results: tests/series/test_the_series.py."""
    whole = nbformat.read(NOTEBOOKS[name], as_version=4)
    assert stated_faults(saved(whole, tmp_path, name)) == []
    numbers = stated(whole)
    assert len(numbers) >= 2
    for cell, number in dict.fromkeys(numbers):
        for digit in (number[0], re.search(r"\d(?=\D*$)", number).group()):
            wrong = number.replace(digit, str(8 if digit == "9" else int(digit) + 1))
            notebook = copy.deepcopy(whole)
            text = notebook.cells[cell - 1].source.replace("\N{NO-BREAK SPACE}", " ")
            notebook.cells[cell - 1].source = re.sub(rf"(?<![\w.]){re.escape(number)}(?![\d])", wrong, text, count=1)
            found = stated_faults(saved(notebook, tmp_path, name))
            assert f"does not state {number}" in found
            assert f"cell number {cell}: states {wrong}" in found or wrong in STATED[name]
