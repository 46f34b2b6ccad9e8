"""The series as a student runs it, on phantom knees."""

import pytest
from series.recomputed import NOT_RECOMPUTED, changed_claims, recompute, wrong_claims

from koa_kit.paths import resource

pytestmark = pytest.mark.series
NAMES = sorted(path.stem for path in resource("notebooks").glob("*.ipynb"))


def claims(runs, name):
    return runs[name].load_results()["claims"]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_green(name, phantom_runs, check_green):
    check_green(phantom_runs[name], "phantom", "smoke")


@pytest.mark.parametrize("name", NAMES)
def test_the_claims_of_a_notebook_follow_from_what_it_left_and_a_wrong_number_is_named(name, phantom_runs):
    claimed, ignored = claims(phantom_runs, name), NOT_RECOMPUTED.get(name, set())
    right = recompute(name, phantom_runs[name].results.parents[1])
    assert wrong_claims(claimed, right, ignored) == []
    changes = [(claim, change) for claim, change in changed_claims(claimed) if claim.split()[0] not in ignored]
    assert len(changes) > 3
    assert [wrong_claims(change, right, ignored) for _, change in changes] == [[claim] for claim, _ in changes]


def test_every_notebook_fits_a_students_laptop(phantom_runs):
    """Peak memory; seconds are measured, not asserted, since machines differ and are shared."""
    assert {name: run.peak_mb for name, run in phantom_runs.items() if (run.peak_mb or 0) > 3000} == {}


def test_a_model_from_scratch_reads_phantoms_of_patients_it_never_met(phantom_runs):
    """A small network and 480 knees whose readers disagree: far above chance, clearly below the ceiling."""
    scores, chance = claims(phantom_runs, "05_error_analysis"), 0.25
    assert scores["split"] == "test"
    assert chance < scores["accuracy"]["low"] <= scores["accuracy"]["value"] < scores["ceiling_accuracy"]
    assert scores["qwk"]["low"] <= scores["qwk"]["value"] < scores["ceiling_qwk"]
    assert scores["qwk"]["value"] >= 0.65


def test_the_default_cohort_has_readers_who_disagree_and_a_known_ceiling(phantom_runs):
    data = claims(phantom_runs, "01_data")
    assert all(0.75 < kappa < 0.9 for kappa in data["reader_kappa"])
    assert 0.75 < data["ceiling_accuracy"] < 0.9
    assert data["ceiling_kl1_recall"] < data["ceiling_accuracy"]
    assert data["knees_followed_up"] == data["knees"]


@pytest.mark.parametrize(
    ("notebook", "averaged", "pooled", "both_losses"),
    [
        ("04_training", "flip averaging", "flip pooling", "symmetry consistency"),
        ("06_ablation", "plain + flip averaging", "flip-pooling", "symmetry+consistency"),
    ],
)
def test_views_agree_by_construction_under_pooling_and_averaging(phantom_runs, notebook, averaged, pooled, both_losses):
    share = claims(phantom_runs, notebook)["flip_disagreement"]
    assert share[averaged] == share[pooled] == 0
    assert share[both_losses] < share["plain"]


def test_every_row_of_a_grid_reads_synthetic_knees_and_none_beats_the_ceiling(phantom_runs):
    """QWK of chance is 0; eight rows of two short trainings each."""
    rows = claims(phantom_runs, "06_ablation")
    assert "trained here just now on phantom knees" in rows["source"]
    assert len(rows["qwk_low"]) == 8
    assert min(rows["qwk_low"].values()) > 0.2
    assert max(rows["qwk"].values()) < rows["ceiling"]["qwk"]
    assert max(rows["accuracy"].values()) < rows["ceiling"]["accuracy"]


def test_no_row_is_called_better_or_worse_while_its_interval_holds_0(phantom_runs):
    rows = claims(phantom_runs, "06_ablation")
    gap, means = rows["symmetry_minus_random_flip"], rows["accuracy"]
    assert gap["low"] <= gap["difference"] <= gap["high"]
    assert gap["difference"] == pytest.approx(means["symmetry"] - means["random-flip"])
    assert rows["verdicts"].keys() == rows["qwk_low"].keys() - {"random-flip"}
    if gap["low"] <= 0 <= gap["high"]:
        assert rows["verdicts"]["symmetry"] == "no difference"
