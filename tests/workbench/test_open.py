"""Whatever of a run is at hand is on its workbench; what cannot be opened says so."""

import nbformat
import numpy as np
import pytest

from koa_kit.attribution.maps import explain
from koa_kit.data import load_cohort
from koa_kit.error_analysis.predictions import predictions_table
from koa_kit.errors import KoaError
from koa_kit.pretrained.names import DEFAULT
from koa_kit.training import TrainConfig, fit
from koa_kit.workbench import Message, drive
from koa_kit.workbench.open import open_run
from koa_kit.workbench.server import asked_for, write_page


@pytest.fixture(scope="module")
def cohort(session_cache):
    with pytest.MonkeyPatch.context() as shell:
        shell.setenv("KOA_CACHE_DIR", str(session_cache))
        return load_cohort("phantom")


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory):
    config = TrainConfig(image_size=32, epochs=1, batch_size=64, method="canonical_side")
    return fit(cohort, config, tmp_path_factory.mktemp("runs") / "small", device="cpu")


@pytest.fixture(autouse=True)
def _strict(monkeypatch):
    monkeypatch.setenv("KOA_STRICT", "1")


def test_a_run_on_phantoms_brings_words_maps_true_signs_and_later_grades(run, cohort):
    bench = open_run(run.folder)
    assert bench.prompt_editor.original.prompts == run.model.spec.prompts.prompts
    assert set(bench.later) == set(run.predictions["knee_id"])
    assert bench.log.path == run.folder / "verdicts.jsonl"
    signs = bench.masks(bench.tables.names[5])
    assert {mask.shape for mask in signs.values()} == {cohort.images.shape[1:]}
    assert signs["joint_space_medial"].any()
    assert drive(bench) > 60
    assert "The hottest point lies" in bench.panels["Why"].summary.value
    assert bench.panels["Why"].picture.value[:4] == b"\x89PNG"


def test_a_left_knee_of_a_canonical_model_is_mirrored_before_it_is_explained(run, cohort):
    image, grades = cohort.images[0], {"towards": 2, "rather_than": 1}
    explained = open_run(run.folder).explain
    for side, mirror in (("L", True), ("R", False)):
        heat = explained(image, side=side, **grades).heat
        assert np.array_equal(heat, explain(run.model, image, mirror=mirror, **grades).heat)


def test_the_model_of_the_kit_opens_without_its_radiographs(tmp_path):
    bench = open_run(DEFAULT, split="holdout", data_dir=tmp_path, log=tmp_path / "said.jsonl")
    assert len(bench.tables.predictions) == 1184
    assert bench.find is None
    assert drive(bench) > 55


def test_another_run_of_the_same_knees_stands_beside_it(run, tmp_path):
    worse = tmp_path / "worse.parquet"
    always_normal = np.tile([1.0, 0, 0, 0, 0], (len(run.predictions), 2, 1))
    predictions_table(run.predictions, always_normal).to_parquet(worse)
    bench = open_run(run.folder, beside=worse)
    elsewhere = run.predictions.query("pred != 0").groupby("kl").size().reindex(range(5), fill_value=0)
    assert bench.tables.change(bench.state)[:, 0].tolist() == (-elsewhere).tolist()
    assert f">−{elsewhere[0]}<" in bench.show(matrix="change").panels["Knees"].matrix.html
    with pytest.raises(KoaError, match="in one table of predictions only"):
        open_run(DEFAULT, beside=worse, data_dir=tmp_path)


def test_films_can_be_filtered_by_how_bright_they_are_whatever_the_words(run, cohort):
    bench = open_run(run.folder)
    grey = bench.tables.predictions["exposure"]
    knee = bench.tables.predictions["knee_id"].iat[3]
    own = cohort.images[int((cohort.table["knee_id"] == knee).to_numpy().argmax())]
    assert grey.iat[3] == pytest.approx(own.mean())
    bench.filters.exposure.value = (bench.filters.exposure.min, float(grey.median()))
    for words in (None, "A knee one is not sure about."):
        if words:
            bench.prompt_editor.edit(1, words)
            bench.tables.reword(bench.prompt_editor.table)
        assert bench.tables.mask(bench.state).sum() == (grey < grey.median()).sum()


def test_a_table_alone_opens_without_a_model(run):
    bench = open_run(run.folder / "predictions.parquet")
    assert bench.prompt_editor is None
    assert drive(bench) > 50


def test_what_cannot_be_opened_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("KOA_STRICT")
    monkeypatch.setenv("KOA_EXPLORE_RUN", str(tmp_path / "<script>nothing"))
    shown = asked_for()
    assert isinstance(shown, Message)
    assert "There is no run here" in shown._repr_html_()
    assert "&lt;script&gt;nothing" in shown._repr_html_()
    assert "<script" not in shown._repr_html_()
    monkeypatch.setenv("KOA_STRICT", "1")
    with pytest.raises(KoaError, match="no run here"):
        open_run(tmp_path / "nothing")


def test_the_page_holds_no_path(tmp_path):
    page = write_page(tmp_path)
    source = "".join(cell.source for cell in nbformat.read(page, 4).cells)
    assert str(tmp_path) not in source
