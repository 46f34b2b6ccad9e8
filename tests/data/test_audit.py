import json
import shutil
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from knee_files import SIZE, bright_knee, knee_tree, save
from typer.testing import CliRunner

from koa_kit.commands.data import app
from koa_kit.data import figures, load_cohort, progression
from koa_kit.data.audit import (
    audit_cohort,
    cohort_followup,
    knee_pairs,
    leak_of_image_split,
    patient_overlap,
    provenance,
)
from koa_kit.errors import KoaError

koa_data = partial(CliRunner().invoke, app)


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    yield
    plt.close("all")


@pytest.fixture
def odd_cohort(tmp_path):
    """Knees of five patients per split: one inverted on file, one a copy of another; ``auto_test`` next to them."""
    root = knee_tree(tmp_path / "mine", patients=5)
    save(root / "train" / "2" / "TRAIN02L.png", 255 - bright_knee(20))
    shutil.copy(root / "train" / "0" / "TRAIN00L.png", root / "val" / "0" / "VAL00L.png")
    (root / "auto_test" / "0").mkdir(parents=True)
    save(root / "auto_test" / "0" / "VAL00L.png", bright_knee(1))
    return load_cohort(root, cache_dir=tmp_path / "cache", size=SIZE)


def test_the_audit_counts_grades_patients_and_sides(odd_cohort):
    result = audit_cohort(odd_cohort)
    assert result.classes.loc["train"].tolist() == [2, 2, 2, 2, 2, 10]
    row = result.patients.loc["val"]
    assert row[["patients", "knees", "left", "right", "both_knees"]].tolist() == [5, 10, 5, 5, 5]
    assert row["same_grade"] == 0
    assert row["within_one"] == pytest.approx(0.8)


def test_the_audit_finds_the_inverted_knee_the_copy_and_the_excluded_folder(odd_cohort):
    result = audit_cohort(odd_cohort)
    assert result.inverted["inverted"].to_dict() == {"train": 1, "val": 0}
    assert result.duplicates[["knee_id", "split"]].to_numpy().tolist() == [["TRAIN00L", "train"], ["VAL00L", "val"]]
    assert result.excluded["part"].tolist() == ["auto_test"]
    assert "into training" in result.summary()
    leak = "the same film: train/0/TRAIN00L.png = val/0/VAL00L.png  IN TWO SPLITS (train & val)"
    assert leak in result.summary()


def test_the_sealed_split_of_real_knees_is_not_audited():
    done = koa_data(["audit", "oai-kl224", "--split", "test"])
    assert done.exit_code == 1
    assert "sealed" in str(done.exception)


def test_a_knee_and_its_negative_are_found_as_one_picture(odd_cohort, tmp_path):
    root = tmp_path / "mine"
    save(root / "val" / "4" / "VAL04L.png", bright_knee(20))
    result = audit_cohort(load_cohort(root, cache_dir=tmp_path / "cache", size=SIZE))
    assert result.duplicates["group"].nunique() == 2


def test_a_shared_patient_would_be_counted_and_pairs_are_of_patients_with_both_knees(odd_cohort):
    assert len(knee_pairs(odd_cohort.table)) == 10
    assert len(knee_pairs(odd_cohort.table.iloc[1:])) == 9
    assert patient_overlap(odd_cohort.table)["patients"].to_dict() == {"train & val": 0}
    pooled = odd_cohort.table.assign(split=np.where(odd_cohort.table["side"] == "L", "train", "val"))
    assert patient_overlap(pooled)["patients"].to_dict() == {"train & val": 10}


def test_counts_that_differ_from_the_published_are_named(data_home, published):
    cohort = load_cohort("oai-kl224")
    assert audit_cohort(cohort).differs_from_published == ()
    fewer = cohort.take(np.arange(1, len(cohort)))
    assert "train: grades [1, 2, 2, 2, 2] differ from the published" in audit_cohort(fewer).differs_from_published[0]


def test_the_command_prints_tables_for_a_reader_and_json_for_a_script(data_home):
    assert "patients in two splits: train & val 0" in koa_data(["audit", "oai-kl224"]).stdout
    content = json.loads(koa_data(["audit", "oai-kl224", "--json"]).stdout)
    assert content["classes"][0] == {"split": "train", "KL0": 2, "KL1": 2, "KL2": 2, "KL3": 2, "KL4": 2, "total": 10}


def test_list_and_show_say_what_is_here_and_under_which_licence(data_home):
    here = {row["name"]: row["here"] for row in json.loads(koa_data(["list", "--json"]).stdout)}
    assert here["oai-kl224"].endswith("oai-kl224")
    assert here["digital-knee"] == "not here"
    shown = koa_data(["show", "oai-kl224"]).stdout
    assert "CC BY 4.0" in shown
    assert "10.17632/56rmx5bjcr.1" in shown


@pytest.mark.parametrize("command", ["list", "fetch", "verify", "audit", "show"])
def test_every_command_shows_an_example(command):
    assert f"Example: koa data {command}" in koa_data([command, "--help"], env={"COLUMNS": "200"}).stdout


def test_the_figures_show_the_knees_they_name(odd_cohort):
    sheet = figures.contact_sheet(odd_cohort, rows_per_grade=2, split="train")
    assert sum(len(ax.images) for ax in sheet.axes) == 10
    shown = figures.inverted_figure(odd_cohort, n=3)
    on_file, as_read = (ax.images[0].get_array() for ax in shown.axes)
    assert np.array_equal(as_read, bright_knee(20))
    assert np.array_equal(on_file, 255 - bright_knee(20))
    counts = figures.class_counts_figure(odd_cohort)
    assert [bar.get_height() for bars in counts.containers for bar in bars] == [2] * 10
    agreement = figures.pair_agreement_figure(odd_cohort)
    assert "Same grade in 0% of 10 patients" in agreement.get_title() + agreement.get_title(loc="left")


def test_a_cohort_of_mirrored_pairs_has_equal_mean_knees_after_flipping(tmp_path):
    root = knee_tree(tmp_path / "mine", patients=5)
    for left in root.rglob("*L.png"):
        pixels = bright_knee(int(left.stem[-3:-1]))
        pixels[:10, :12] = 255
        save(left, pixels)
        right = next(root.rglob(f"{left.stem[:-1]}R.png"))
        save(right, pixels[:, ::-1])
    cohort = load_cohort(root, cache_dir=tmp_path / "cache", size=SIZE)
    left, right = figures.mean_knees(cohort)
    assert np.allclose(left, right[:, ::-1])
    assert not np.allclose(left, right)
    titles = [ax.get_title(loc="left") for ax in figures.mean_knee_figure(cohort).axes]
    assert "r = 1.000" in titles[2]
    assert "r = 1.000" not in titles[1]


def test_split_by_image_most_val_knees_would_meet_their_patient_in_training(odd_cohort):
    many = pd.DataFrame({"patient": np.repeat(np.arange(2000), 2)})
    for val_share in (0.1, 0.5):  # the other knee is anywhere among the rest
        leak = leak_of_image_split(many, val_share=val_share, seed=3)
        assert leak == pytest.approx(1 - val_share, abs=0.05)
        assert leak == leak_of_image_split(many, val_share=val_share, seed=3)
    assert leak_of_image_split(many.drop_duplicates("patient"), val_share=0.5) == 0
    with pytest.raises(KoaError, match="one side of the split empty"):
        leak_of_image_split(odd_cohort.table, val_share=1.0)


def test_follow_up_is_of_the_cohorts_own_knees_and_where_there_is_none_the_figure_says_so(odd_cohort, tmp_path):
    table = tmp_path / "oai-followup" / "kl_by_visit.csv"
    table.parent.mkdir()
    rows = ["9000001,L,0,1,15", "9000001,L,48,2,15", "9000001,R,0,0,15", "9000002,L,0,4,15"]
    table.write_text("patient,side,months,kl,reading_project\n" + "\n".join(rows) + "\n")
    nothing = cohort_followup(odd_cohort, data_dir=tmp_path)
    assert nothing.empty
    assert progression(nothing).columns.tolist() == ["n", "reached_kl2", "one_grade_worse"]
    assert "no follow-up" in figures.progression_figure(progression(nothing)).texts[0].get_text()
    oai = replace(odd_cohort, table=odd_cohort.table.assign(patient=["9000001"] * 10 + ["9000003"] * 10))
    oai = oai.take(np.flatnonzero(oai.table.duplicated(["patient", "side"]).eq(False)))
    assert cohort_followup(oai, data_dir=tmp_path / "elsewhere").empty
    followup = cohort_followup(oai, data_dir=tmp_path)
    assert followup[["side", "months", "kl"]].to_numpy().tolist() == [["L", 0, 1], ["L", 48, 2], ["R", 0, 0]]
    bars = figures.progression_figure(progression(followup)).patches
    assert [bar.get_height() for bar in bars] == [1.0]
    table.write_text("nonsense\n")
    with pytest.raises(KoaError, match="lacks the columns"):
        cohort_followup(oai, data_dir=tmp_path)


def test_the_source_of_a_published_cohort_is_named_and_of_ones_own_asked_for(odd_cohort, data_home):
    source = provenance(load_cohort("oai-kl224"))
    assert "CC BY 4.0" in source["licence"]
    assert source["doi"] == "10.17632/56rmx5bjcr.1"
    assert "not in the manifest" in provenance(odd_cohort)["title"]


def test_the_real_train_and_val_knees_hold_84_inverted_images_and_share_no_patient(real_data):
    result = audit_cohort(load_cohort("oai-kl224", data_dir=real_data))
    assert result.inverted["inverted"].to_dict() == {"train": 70, "val": 14}
    assert result.overlap["patients"].to_dict() == {"train & val": 0}
    assert result.duplicates.empty
    assert result.patients["both_knees"].to_dict() == {"train": 2889, "val": 413}
    assert result.differs_from_published == ()
