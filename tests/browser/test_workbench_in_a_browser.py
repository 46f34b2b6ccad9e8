"""What an analyst sees: the workbench in JupyterLab and under Voilà, clicked through in a real browser."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import nbformat
import pandas as pd
import pytest
from explored import explored, free_port

from koa_kit.data import load_cohort
from koa_kit.paths import resource
from koa_kit.training import TrainConfig, fit
from koa_kit.workbench.reviews.log import ReviewLog
from koa_kit.workbench.state import PAGE

pytestmark = pytest.mark.browser
TAB = ".koa-tabs .lm-TabBar-tab"


@pytest.fixture(scope="module")
def environment(session_cache):
    return {**os.environ, "KOA_CACHE_DIR": str(session_cache), "JUPYTER_PREFER_ENV_PATH": "1"}


@pytest.fixture(scope="module")
def run(tmp_path_factory, session_cache):
    """Folder of a small run on phantoms."""
    with pytest.MonkeyPatch.context() as shell:
        shell.setenv("KOA_CACHE_DIR", str(session_cache))
        folder = tmp_path_factory.mktemp("runs") / "small"
        fit(load_cohort("phantom"), TrainConfig.for_scale("smoke", epochs=4), folder, device="cpu")
    return folder


@contextmanager
def served(command, url, *, env, log, seconds=120):
    """Run a server in the block; its output goes to `log`."""
    with open(log, "w") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            until = time.monotonic() + seconds
            while True:
                assert process.poll() is None, log.read_text()
                try:
                    urllib.request.urlopen(url, timeout=5).close()
                    break
                except OSError:
                    assert time.monotonic() < until, log.read_text()
                    time.sleep(0.3)
            yield process
        finally:
            os.killpg(process.pid, 15)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)


def text(page, selector):
    return page.locator(selector).first.inner_text()


def chosen_cell(page):
    return page.locator(".koa-cm [data-pick].koa-chosen").first.get_attribute("data-pick")


def wait_for_cards(page, grades, count):
    """Matrix, headline and gallery arrive one after the other: wait until the gallery shows these knees."""
    page.wait_for_function(
        """([grades, count]) => {
            const names = [...document.querySelectorAll('.koa-grid .koa-card .koa-name span')];
            return names.length === count && names.every(name => name.innerText === grades);
        }""",
        arg=[grades, count],
    )


def open_tab(page, title):
    page.locator(TAB, has_text=title).first.click()


def write(page, selector, words):
    page.locator(selector).first.fill(words)
    page.locator(selector).first.press("Tab")


def move_the_bias(page):
    """Draw the bias for KL1 up by keyboard, until the curve shows where the decision stands beside the model's own."""
    open_tab(page, "Decisions")
    page.wait_for_selector(".koa-curve svg")
    handle = page.locator(".koa-bias .noUi-handle").first
    assert float(handle.get_attribute("aria-valuenow")) == 0
    handle.focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    assert float(handle.get_attribute("aria-valuenow")) > 0
    page.wait_for_function("() => document.querySelector('.koa-curve svg').textContent.includes('now')")


def judge(page, reader, note):
    write(page, ".koa-reader input", reader)
    write(page, ".koa-note textarea", note)
    page.locator(".koa-agree").first.click()
    page.wait_for_function("() => document.querySelector('.koa-reviewed').innerText.includes('agrees')")


def test_the_core_of_an_analysts_day_works_under_voila(page, run, environment, shots, tmp_path):
    log = tmp_path / "verdicts.jsonl"
    cells = pd.read_parquet(run / "predictions.parquet", columns=["kl", "pred"]).value_counts()
    (true, pred), count = cells.index[0], int(cells.iloc[0])
    with explored(run, "--log", log, cwd=tmp_path, env=environment) as (_, address):
        page.goto(address, timeout=120_000)
        page.wait_for_selector(".koa-cell-1-0", timeout=120_000)
        assert chosen_cell(page) == "1,"

        page.locator(f".koa-cm [data-pick='{true},{pred}']").first.click()
        said = f"KL{true} called KL{pred}: {count} of"
        page.wait_for_function("said => document.querySelector('.koa-headline').innerText.startsWith(said)", arg=said)
        wait_for_cards(page, f"KL{true} → KL{pred}", min(count, PAGE))
        assert chosen_cell(page) == f"{true},{pred}"
        assert text(page, f".koa-cell-{true}-{pred}") == str(count)

        # through the gallery by keyboard: one step to the right, and Enter
        names = page.locator(".koa-grid .koa-card").evaluate_all("cards => cards.map(card => card.dataset.pick)")
        page.locator(".koa-grid .koa-card").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_function("name => document.querySelector('.koa-knee').innerText.includes(name)", arg=names[1])
        assert page.locator(".koa-grid .koa-chosen").get_attribute("data-pick") == names[1]

        judge(page, "Ann", "<img src=x onerror=alert(1)> osteophyte?")
        assert "<img src=x" in text(page, ".koa-reviewed")
        said = ReviewLog(log).read().iloc[0]
        assert (said["reader"], said["knee_id"], said["answer"]) == ("Ann", names[1], "agree")
        page.screenshot(path=shots / "voila-knees.png")

        move_the_bias(page)
        page.screenshot(path=shots / "voila-decisions.png")

        page.reload()
        page.wait_for_selector(".koa-cell-1-0", timeout=120_000)
        page.locator(f".koa-cm [data-pick='{true},{pred}']").first.click()
        page.wait_for_selector(f".koa-grid [data-pick='{names[1]}']")
        page.locator(f".koa-grid [data-pick='{names[1]}']").click()
        page.wait_for_function("() => document.querySelector('.koa-reviewed').innerText.includes('Ann agrees')")


def test_notebook_05_works_in_jupyterlab(page, environment, shots, tmp_path):
    """Run all, click the KL1 row, move a slider, edit a prompt, write a verdict, reload, and find it again."""
    book = nbformat.read(resource("notebooks") / "05_error_analysis.ipynb", 4)
    out = tmp_path / "results"
    for cell in book.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = cell.source.replace('"build/results"', json.dumps(str(out)))
    nbformat.write(book, tmp_path / "05.ipynb")
    settings = tmp_path / "settings" / "@jupyterlab"
    for name, values in {
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }.items():
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    port = free_port()
    folders = {"SETTINGS": tmp_path / "settings", "WORKSPACES": tmp_path / "workspaces"}
    env = environment | {f"JUPYTERLAB_{name}_DIR": str(folder) for name, folder in folders.items()}
    lab = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--port={port}", "--ServerApp.ip=127.0.0.1"]
    lab += ["--IdentityProvider.token=", "--ServerApp.password=", "--allow-root", f"--ServerApp.root_dir={tmp_path}"]
    lab += ["--LabApp.expose_app_in_browser=True", "--ServerApp.disable_check_xsrf=True"]
    base = f"http://127.0.0.1:{port}"
    with served(lab, f"{base}/api", env=env, log=tmp_path / "lab.log"):
        page.goto(f"{base}/lab/tree/05.ipynb", timeout=120_000)
        page.wait_for_selector(".jp-Notebook", timeout=120_000)
        page.wait_for_function(
            "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady", timeout=120_000
        )
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_selector(".koa-cell-1-0", timeout=240_000)
        page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'",
            timeout=240_000,
        )
        page.wait_for_timeout(1000)
        assert page.locator(".jp-OutputArea-output[data-mime-type*='stderr']").count() == 0
        results = json.loads((out / "05_error_analysis" / "results.json").read_text())
        assert results["claims"]["split"] == "test"

        page.locator(".koa-row-1").first.scroll_into_view_if_needed()
        page.locator(".koa-row-1").first.click()
        page.wait_for_function("() => document.querySelector('.koa-headline').innerText.includes('called KL1')")
        page.wait_for_function(
            "() => document.querySelector('.koa-grid .koa-chosen')?.dataset.pick"
            " === document.querySelector('.koa-grid .koa-card')?.dataset.pick"
        )
        knee = page.locator(".koa-grid .koa-card").first.get_attribute("data-pick")
        judge(page, "Bo", "narrow?")
        page.locator(".koa-workbench").first.screenshot(path=shots / "lab-knees.png")

        open_tab(page, "Words")
        page.wait_for_selector(".koa-text-1 textarea")
        write(page, ".koa-text-1 textarea", "A knee with severe narrowing of the joint space.")
        page.wait_for_function("() => /^[1-9][0-9]* of/.test(document.querySelector('.koa-changed').innerText)")
        write(page, ".koa-text-2 textarea", "<script>alert(1)</script>")
        page.wait_for_function("() => document.querySelector('.koa-undo').disabled === false")
        page.locator(".koa-workbench").first.screenshot(path=shots / "lab-words.png")

        move_the_bias(page)
        page.locator(".koa-workbench").first.screenshot(path=shots / "lab-decisions.png")

    said = ReviewLog(out / "verdicts.jsonl").read()
    assert said[["reader", "knee_id", "note"]].to_numpy().tolist() == [["Bo", knee, "narrow?"]]
    assert re.match(r"\d{4}-\d{2}-\d{2}T", said["time"].iat[0])
