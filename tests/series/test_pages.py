"""Pages show what a notebook shows, open without a network, and leave out what only drives the machine."""

import base64
import io
import json
import re

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from koa_kit.series.contract import WIDGET_VIEW
from koa_kit.series.execution import NotebookRun
from koa_kit.series.pages import PLOTLY, outline, write_index, write_page

LABEL = "KL1 </script><b>doubtful</b>"
SERIES = ("02_prompts", "03_losses", "04_training")
SLIDER = {WIDGET_VIEW: {"model_id": "abc", "version_major": 2, "version_minor": 0}, "text/plain": "IntSlider()"}


def picture(width=900, height=300, grey=128):
    """A grey PNG in base64, as a notebook holds it."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width), grey, np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def code(source, shown=None, printed=None, tags=()):
    """An executed cell that shows this data by MIME type, or prints this text."""
    outputs = [new_output("display_data", data=shown)] if shown else []
    outputs += [new_output("stream", name="stdout", text=printed)] if printed else []
    return new_code_cell(source, outputs=outputs, execution_count=1, metadata={"tags": list(tags)})


@pytest.fixture
def notebook():
    """An executed notebook with one output of each kind."""
    text = "# 03 · What is a *good* answer?\n\nMay a knee change its `grade` in the **mirror**?\n\nLoss: $p_1 < p_2$."
    injected = 'DATASET = "phantom"\nSEED = 0\nDATA_DIR = ""\nOUT_DIR = "/somewhere/build"'
    figure = {"data": [{"type": "bar", "x": [LABEL], "y": [3]}], "layout": {"height": 320}}
    return new_notebook(
        cells=[
            new_markdown_cell(text),
            code("SEED = 0", tags=["parameters"]),
            code(injected, tags=["injected-parameters"]),
            code("print(knees)", printed="12 knees & 6 patients"),
            code("knees.head()", {"text/html": "<table><tr><td>KL4</td></tr></table>", "text/plain": "KL4"}),
            code("draw(knees)", {"image/png": picture(), "text/plain": "<Figure>"}),
            code("click(knees)", {PLOTLY: figure, "text/plain": "Figure"}),
            code("slider", SLIDER),
            code("explorer", SLIDER | {"text/html": "<p>a still picture</p>"}),
            code("slider.value = 3", printed="driven", tags=["hide"]),
            code("secret_setup()", {"text/plain": "its output"}, tags=["hide-input"]),
        ]
    )


def run_of(folder, notebook, name="03_losses", results=None, findings=()):
    """Run record of a notebook written into `folder`."""
    nbformat.write(notebook, folder / f"{name}.ipynb")
    (folder / f"{name}.json").write_text(results or "{}", encoding="utf-8")
    places = (folder / f"{name}.ipynb", folder / "pages" / f"{name}.html", folder / f"{name}.json")
    return NotebookRun(name, *places, "phantom", "smoke", 0, 12.34, 812.0, tuple(findings))


@pytest.fixture
def page(notebook, tmp_path):
    finding = "cell [4]: printed on stderr: <knee>"
    return write_page(run_of(tmp_path, notebook, findings=[finding]), SERIES, tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "part",
    [
        "<title>03 · What is a good answer? · koa_kit</title>",
        'href="02_prompts.html"',
        'href="04_training.html"',
        'href="../index.html"',
        "12 knees &amp; 6 patients",
        "<td>KL4</td>",
        f"data:image/png;base64,{picture()}",
        "$p_1 &lt; p_2$",  # a formula reads as written where nothing typesets it
        "<p>a still picture</p>",
        "<code>DATASET = phantom</code>",
        "<code>SEED = 0</code>",
        "its output",  # of a cell whose input is hidden
    ],
)
def test_a_page_shows_title_links_text_tables_pictures_formulas_and_settings(page, part):
    assert part in page


@pytest.mark.parametrize("part", ["driven", "secret_setup", "IntSlider()", "/somewhere/build"])
def test_a_page_leaves_out_what_drives_widgets_and_folders_of_this_machine(page, part):
    assert part not in page


def test_a_page_loads_nothing_from_the_network(page):
    assert "//" not in re.sub(r"<script>.*?</script>|base64,[\w+/=]+", "", page, flags=re.DOTALL)
    assert "@import" not in page


def test_plotly_comes_from_one_shared_file_and_labels_cannot_end_its_script(page, tmp_path):
    assert '<script src="../plotly.min.js"></script>' in page
    assert (tmp_path / "plotly.min.js").stat().st_size > 1_000_000
    assert re.search(r'Plotly\.newPlot\(\s*"figure-6-0"', page)
    assert LABEL not in page
    assert page.count("</script>") == 2


def test_plotly_is_left_out_where_no_figure_needs_it(notebook, tmp_path):
    notebook.cells = [cell for cell in notebook.cells if cell.source != "click(knees)"]
    text = write_page(run_of(tmp_path, notebook), SERIES, tmp_path).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "This notebook failed" not in text
    assert not (tmp_path / "plotly.min.js").exists()


def test_a_widget_without_html_says_how_to_use_it(page):
    assert page.count("Interactive control: run the notebook to use it.") == 1


def test_findings_stand_on_top_of_the_page(page):
    assert page.index("This notebook failed.") < page.index("12 knees")
    assert "cell [4]: printed on stderr: &lt;knee&gt;" in page


def test_the_first_heading_is_the_title_and_the_first_paragraph_the_question(notebook):
    assert outline(notebook) == ("03 · What is a good answer?", "May a knee change its grade in the mirror?")
    listed = new_notebook(cells=[new_markdown_cell("# Data\n- one\n- two\n\nWhat knees do *I* have?")])
    assert outline(listed) == ("Data", "What knees do I have?")
    assert outline(new_notebook()) == ("", "")


def test_the_index_has_a_card_per_notebook_with_picture_numbers_and_state(notebook, tmp_path):
    claims = {"knees": 1000, "kl1_recall": 0.31415, "qwk": {"value": 0.5, "low": 0.4, "high": 0.6}, "note": "x"}
    results = json.dumps({"claims": claims, "versions": {"torch": "2.0"}})
    notebook.cells.append(code("cover(knees)", {"image/png": picture(2000, 1000, grey=40)}, tags=["cover"]))
    green = run_of(tmp_path, notebook, results=results)
    failed = run_of(tmp_path, new_notebook(), "04_training", findings=["stopped"])
    index = write_index([green, failed], tmp_path / "index.html").read_text(encoding="utf-8")
    assert index.count('<li class="card">') == 2
    for part in (
        'href="pages/03_losses.html"',
        "May a knee change its grade in the mirror?",
        "<dt>kl1 recall</dt><dd>0.314</dd>",
        "<dt>knees</dt><dd>1,000</dd>",
        "<dt>qwk</dt><dd>0.50 (0.40 to 0.60)</dd>",
        "12.3 s",
        "812 MB peak",
        "1 of 2 notebooks failed",
        "torch 2.0",
        "no medical device",
    ):
        assert part in index
    (data,) = re.findall(r"data:image/png;base64,([^\"]+)", index)
    with Image.open(io.BytesIO(base64.b64decode(data))) as thumbnail:
        assert thumbnail.size == (640, 320)
        assert thumbnail.getpixel((0, 0)) == (40, 40, 40), "the cell tagged cover goes first"
