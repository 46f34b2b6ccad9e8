"""Notebooks executed by the series: a good one is green, and each way of going wrong is named with its cell."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from koa_kit.errors import KoaError
from koa_kit.series.contract import check_committed, check_executed, check_results
from koa_kit.series.run import SeriesFailed, check_parameters, find_notebooks, out_dir_for, run_series

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = 'DATASET = "phantom"\nSCALE = "smoke"\nSEED = 0\nDATA_DIR = ""\nOUT_DIR = "build/results"'
FINISH = """\
from koa_kit.series.session import NotebookSession
NotebookSession("phantom", "smoke", SEED, None, OUT_DIR).finish({name!r}, seed_seen=SEED)"""
OUTPUT_WIDGET = """\
import ipywidgets as widgets
grade = widgets.IntSlider(max=4)
shown = widgets.interactive_output(lambda g: print(["KL0", "KL1"][g]), {"g": grade})
display(widgets.VBox([grade, shown]))"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def write_notebook(folder, name, *sources, parameters=DEFAULTS, finish=True, tags=()):
    """Path of a small notebook: a heading, the parameters cell, one cell per source, the one that writes results."""
    cells = [new_markdown_cell(f"# Knees of {name}\n\nDoes every knee have a **grade**?")]
    cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [new_code_cell(source, metadata={"tags": list(tags)}) for source in sources]
    cells += [new_code_cell(FINISH.format(name=name))] if finish else []
    path, metadata = folder / f"{name}.ipynb", {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)
    return path


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    """A series of three run once: a green notebook, one that breaks four rules, one whose cell fails."""
    home = tmp_path_factory.mktemp("series")
    kernel = "import os, sys\nprint(sys.executable, os.getenv('KOA_STRICT'), os.getenv('MPLBACKEND'), os.getcwd())"
    write_notebook(home, "00_green", kernel, "memory = bytearray(300_000_000)\nmemory[::4096] = memory[::4096]")
    faults = ["import warnings\nwarnings.warn('the knee is upside down')", "print('KL1\\n' * 101)", OUTPUT_WIDGET]
    write_notebook(home, "01_faulty", *faults, "grade.value = 3", finish=False)
    write_notebook(home, "02_failing", "grades = [0, 1]\ngrades[4]", "print('never printed')")
    with pytest.MonkeyPatch.context() as shell:
        shell.setenv("MPLBACKEND", "agg")
        with pytest.raises(SeriesFailed) as failure:
            run_series(notebook_dir=home, out_dir=home / "build", seed=7, jobs=2, timeout=240)
    green, faulty, failing = failure.value.runs
    return SimpleNamespace(home=home, failure=failure.value, green=green, faulty=faulty, failing=failing)


def test_a_good_notebook_is_green_and_keeps_its_results_seconds_and_the_peak_memory_of_its_kernel(knees):
    assert knees.green.findings == ()
    results = knees.green.load_results()
    assert results["claims"] == {"seed_seen": 7}
    assert (results["notebook"], results["seed"]) == ("00_green", 7)
    assert 0.5 < knees.green.seconds < 120
    assert 300 < knees.green.peak_mb < 3000
    assert knees.failing.peak_mb < knees.green.peak_mb


def test_the_kernel_is_this_interpreter_in_the_notebooks_own_folder(knees):
    python, *printed = nbformat.read(knees.green.notebook, as_version=4).cells[3].outputs[0].text.split()
    assert os.path.samefile(python, sys.executable)
    # the caller's MPLBACKEND=agg would turn pictures in Output widgets into text
    assert printed[:2] in (["1", "module://matplotlib_inline.backend_inline"], ["1", "None"])
    assert printed[2] == str((knees.home / "build" / "results" / "00_green").resolve())


@pytest.mark.parametrize(
    "finding",
    [
        r"cell \[3\]: printed on stderr: .*the knee is upside down",
        r"cell \[4\]: prints 102 lines of text",
        r"cell \[5\], Output widget: IndexError: list index out of range",
        r"wrote no results\.json",
    ],
)
def test_each_broken_rule_is_named_with_its_cell_and_the_copy_keeps_no_widget_state(knees, finding):
    assert "widgets" not in nbformat.read(knees.faulty.notebook, as_version=4).metadata
    assert sum(bool(re.match(finding, each)) for each in knees.faulty.findings) == 1, knees.faulty.findings


def test_a_failing_cell_is_named_once_and_later_cells_do_not_run(knees):
    assert knees.failing.findings == ("cell [3]: IndexError: list index out of range",)
    assert "never printed\n" not in knees.failing.page.read_text(encoding="utf-8")


def test_the_error_lists_every_failure_and_all_pages_are_there(knees):
    assert str(knees.failure).startswith("2 of 3 notebooks failed.")
    assert "01_faulty: cell [3]" in str(knees.failure)
    assert "02_failing: cell [3]" in str(knees.failure)
    assert all(run.page.exists() for run in knees.failure.runs)
    assert "This notebook failed" in knees.failing.page.read_text(encoding="utf-8")
    index = (knees.home / "build" / "index.html").read_text(encoding="utf-8")
    assert index.count('class="failed">failed') == 2
    assert "2 of 3 notebooks failed" in index


def test_one_notebook_run_again_keeps_the_others_cards(knees):
    again = run_series(["00"], notebook_dir=knees.home, out_dir=knees.home / "build", seed=7)
    assert [run.name for run in again] == ["00_green"]
    index = (knees.home / "build" / "index.html").read_text(encoding="utf-8")
    assert all(f"pages/{name}.html" in index for name in ("00_green", "01_faulty", "02_failing"))
    assert 'href="01_faulty.html"' in again[0].page.read_text(encoding="utf-8")


def test_a_notebook_over_its_time_is_stopped(tmp_path):
    path = write_notebook(tmp_path, "03_slow", "import time\ntime.sleep(300)")
    with pytest.raises(SeriesFailed, match="stopped: it ran longer than 5 s") as failure:
        run_series(["03"], notebook_dir=path.parent, out_dir=tmp_path / "build", timeout=5)
    assert failure.value.runs[0].seconds < 60
    assert "longer than 5 s" in failure.value.runs[0].page.read_text(encoding="utf-8")


def test_a_misspelt_parameter_is_refused_and_nothing_is_written(tmp_path):
    write_notebook(tmp_path, "04_losses", parameters=DEFAULTS.replace("SEED", "SEEED"))
    with pytest.raises(KoaError, match=r"(?s)'SEED'.*04_losses.*Did you mean SEEED\?"):
        run_series(notebook_dir=tmp_path, out_dir=tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_notebooks_are_found_by_number_and_by_name(tmp_path):
    for name in ("01_data", "03_losses", "05_error_analysis"):
        write_notebook(tmp_path, name)
    assert [path.stem for path in find_notebooks(["05", "01_data.ipynb"], tmp_path)] == ["01_data", "05_error_analysis"]
    with pytest.raises(KoaError, match=r"no notebook '03_loses'(?s:.*)Did you mean 03_losses"):
        find_notebooks(["03_loses"], tmp_path)
    with pytest.raises(KoaError, match="no notebooks"):
        find_notebooks(notebook_dir=tmp_path / "nowhere")


def test_each_data_set_and_scale_has_its_own_folder():
    assert str(out_dir_for("phantom", "smoke")) == "build"
    assert out_dir_for("oai-kl224", "laptop").as_posix() == "build/oai-kl224-laptop"


def test_warnings_and_remote_html_are_findings_but_jupyters_own_messages_are_not():
    html = {"text/html": '<script src="https://example.org/plotly.js"></script>', "text/plain": "figure"}
    texts = ("Kernel is running over TCP without encryption.\n", "3 knees left out\n")
    outputs = [new_output("stream", name="stderr", text=text) for text in texts]
    outputs.append(new_output("display_data", data=html))
    cells = [new_code_cell("knees", outputs=[output], execution_count=1) for output in outputs]
    assert [check_executed(new_notebook(cells=[cell])) for cell in cells] == [
        [],
        ["cell [1]: printed on stderr: 3 knees left out"],
        ["cell [1]: shows HTML that loads something from the network"],
    ]


def test_results_must_be_whole(tmp_path):
    path = tmp_path / "results.json"
    contents = {'{"notebook": "01_data", "claims": {}}': "lacks dataset, scale, seed", "{": "cannot be read"}
    for content, finding in contents.items():
        path.write_text(content, encoding="utf-8")
        assert finding in check_results(path)[0]


def test_every_committed_notebook_keeps_the_contract():
    notebooks = find_notebooks()
    names = "00_start_here 01_data 02_prompts 03_losses 04_training 05_error_analysis 06_ablation"
    assert [path.stem for path in notebooks][:7] == names.split()
    assert [finding for path in notebooks for finding in check_committed(path)] == []
    for path in notebooks:
        check_parameters(path)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"parameters": DEFAULTS + "\nHALF = SEED / 2"}, "only literals"),
        ({"parameters": DEFAULTS.replace("SEED", "SEEDS")}, "sets DATASET, SCALE, SEEDS"),
        ({"sources": ["class Knee:\n    pass"]}, "defines a class"),
        ({"sources": ["for epoch in range(3):\n    loss.backward()"]}, "training loop"),
        ({"sources": ["knees = open('knees.csv')"]}, "handles files (open)"),
        ({"sources": ["%matplotlib inline"]}, "not plain Python"),
        ({"sources": ["\n".join(["kl = 1"] * 26)]}, "26 lines (25 at most)"),
        ({"sources": ["\n".join(["kl = 1"] * 24)] * 5}, "lines of code (120 at most)"),
        ({"sources": ["\n".join(["kl = 1"] * 6)] * 4}, "median code cell of 6 lines"),
        ({"sources": [f"knees = {'k' * 60_000!r}"]}, "bytes (60,000 at most)"),
        ({"tags": ["raises-exception"]}, "is tagged raises-exception"),
        ({"finish": False}, "does not write results.json"),
    ],
)
def test_a_notebook_that_breaks_the_contract_cannot_be_committed(tmp_path, change, finding):
    sources = change.pop("sources", ["kl = 1"])
    path = write_notebook(tmp_path, "01_data", *sources, **change)
    assert finding in "\n".join(check_committed(path))


def test_make_format_strips_what_must_not_be_committed_and_leaves_the_rest(tmp_path):
    path = write_notebook(tmp_path, "01_data", "kl = 1")
    clean = path.read_bytes()
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].outputs = [new_output("stream", text="KL1")]
    notebook.cells[2].execution_count = 4
    notebook.cells[2].metadata |= {"collapsed": True, "papermill": {"status": "completed"}, "jupyter": {}}
    notebook.metadata["language_info"] |= {"version": "3.12", "pygments_lexer": "ipython3"}
    notebook.metadata |= {"widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}}, "papermill": {}}
    nbformat.write(notebook, path)
    assert check_committed(path) == [
        "carries widget state",
        "carries metadata other than the kernel, the language and the cells' tags",
        "cell number 3: committed with outputs or an execution count",
    ]
    recipe = subprocess.run(["make", "-n", "format"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (options,) = re.findall(r"nbstripout (.*) notebooks/", recipe.replace("\\\n", " "))
    command = [sys.executable, "-m", "nbstripout", *shlex.split(options), str(path)]
    for _ in range(2):
        subprocess.run(command, check=True)
        assert path.read_bytes() == clean


def test_a_reply_that_woke_nobody_is_found():
    """The socket of a reader that was never woken is looked at again."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor
    from queue import Empty

    from koa_kit.series import kernel

    class Socket:
        calls = 0

        async def poll(self, timeout):
            Socket.calls += 1
            await asyncio.sleep(min(timeout, 20) / 1000)
            return Socket.calls > 2

    channel = kernel.WakefulChannel.__new__(kernel.WakefulChannel)
    channel.socket = Socket()
    channel._recv = lambda: asyncio.sleep(0, {"content": "KL1"})
    # in a thread: the browser's tests leave a loop running in this one
    with ThreadPoolExecutor() as threads:
        assert threads.submit(asyncio.run, channel.get_msg()).result() == {"content": "KL1"}
        Socket.calls = -100
        with pytest.raises(Empty):
            threads.submit(asyncio.run, channel.get_msg(timeout=0.03)).result()
