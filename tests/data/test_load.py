import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from knee_files import SIZE, bright_knee, knee_tree, save

from koa_kit.cohort import COLUMNS
from koa_kit.data import load_cohort, read_radiograph
from koa_kit.errors import KoaError
from koa_kit.phantom import phantom_cohort


@pytest.fixture
def tree(tmp_path):
    """A user's own folder: three patients in train and three in val."""
    return knee_tree(tmp_path / "mine")


@pytest.fixture
def load(tmp_path):
    """`load_cohort` of 32-pixel knees with a cache of its own."""
    return partial(load_cohort, cache_dir=tmp_path / "cache", size=SIZE)


def written(tmp_path, suffix=""):
    return [path for path in (tmp_path / "cache").rglob(f"*{suffix}") if path.is_file()]


def test_a_folder_becomes_one_array_and_one_table_row_for_row(tree, load, tmp_path):
    cohort = load(tree)
    assert isinstance(cohort.images, np.memmap)
    assert cohort.images.shape == (12, SIZE, SIZE)
    assert cohort.splits == {"train": 6, "val": 6}
    assert set(COLUMNS) <= set(cohort.table)
    for image, row in zip(cohort.images, cohort.table.itertuples(), strict=True):
        assert np.array_equal(image, read_radiograph(tree / row.file)[0])
        assert row.file == f"{row.split}/{row.kl}/{row.patient}{row.side}.png"
    files = written(tmp_path)
    assert {path.suffix for path in files} == {".json", ".npy", ".parquet"}  # No pickle.
    assert all(json.loads(path.read_text()) for path in files if path.suffix == ".json")


def test_the_second_load_is_the_same_cohort_without_reading_a_file(tree, load, monkeypatch):
    first = load(tree)
    monkeypatch.setattr("koa_kit.data.sources.split_folders.decode_radiograph", None)
    second = load(tree)
    assert second.fingerprint == first.fingerprint
    assert np.array_equal(second.images, first.images)
    pd.testing.assert_frame_equal(second.table, first.table)


def test_a_changed_knee_is_noticed_and_changes_the_fingerprint(tree, load):
    first = load(tree)
    changed = save(tree / first.table["file"][3], bright_knee(99))
    os.utime(changed, (1, 1))
    second = load(tree)
    assert np.array_equal(second.images[3], bright_knee(99))
    assert second.fingerprint != first.fingerprint


def test_the_same_knees_elsewhere_have_the_same_fingerprint(tree, load, tmp_path):
    shutil.copytree(tree, tmp_path / "copy" / "mine")
    assert load(tmp_path / "copy" / "mine").fingerprint == load(tree).fingerprint
    assert len(written(tmp_path, ".npy")) == 1


def test_another_folder_of_equal_names_sizes_and_dates_is_not_taken_for_the_first(tree, load, tmp_path):
    other = Path(shutil.copytree(tree, tmp_path / "copy" / "mine"))
    file = load(tree).table["file"][3]
    save(other / file, bright_knee(99))
    size = max((folder / file).stat().st_size for folder in (tree, other))
    for folder in (tree, other):  # Pillow reads on to the image's end: bytes behind it do not matter.
        (folder / file).write_bytes((folder / file).read_bytes().ljust(size, b"\0"))
        os.utime(folder / file, (1, 1))
    assert np.array_equal(load(tree).images[3], read_radiograph(tree / file)[0])
    assert np.array_equal(load(other).images[3], bright_knee(99))


def test_a_damaged_cache_is_made_again(tree, load, tmp_path):
    first = load(tree)
    images = written(tmp_path, ".npy")[0]
    images.write_bytes(images.read_bytes()[:500])
    again = load(tree)
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(again.images[5], read_radiograph(tree / again.table["file"][5])[0])


def test_every_refused_file_is_listed_in_one_error_and_nothing_is_written(tree, load, tmp_path):
    files = sorted(tree.rglob("*.png"))
    files[0].write_bytes(files[0].read_bytes()[:-300])
    save(files[1], bright_knee(size=SIZE + 1))
    save(tree / "val" / "2" / "NOSIDE.png", bright_knee())
    save(tree / "val" / "3" / "VAL00L.png", bright_knee())
    (tree / "train" / "1" / "notes.txt").write_text("hello")
    shutil.rmtree(tree / "val" / "4")
    with pytest.raises(KoaError, match="5 things are wrong") as caught:
        load(tree)
    expected = [files[0].name, files[1].name, "NOSIDE.png", "val/4: the grade folder is missing"]
    expected.append("val/3/VAL00L.png: the same knee as val/0/VAL00L.png")
    assert [part for part in expected if part not in str(caught.value)] == []
    assert written(tmp_path) == []


def test_after_twenty_refused_files_only_their_number_is_given(load, tmp_path):
    root = knee_tree(tmp_path / "mine", patients=13)
    for file in root.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(KoaError, match="and 32 more") as caught:
        load(root)
    assert str(caught.value).count(".png") == 20


def test_a_patient_in_two_splits_is_refused_by_name(tree, load, tmp_path):
    save(tree / "val" / "0" / "TRAIN00L.png", bright_knee(5))
    with pytest.raises(KoaError, match=r"two splits[\s\S]*patient TRAIN00"):
        load(tree)
    assert written(tmp_path) == []


def test_a_test_split_and_recrops_of_it_are_left_out_with_the_reason(load, tmp_path):
    root = knee_tree(tmp_path / "mine", splits=("train", "val", "test", "auto_test"))
    cohort = load(root)
    assert cohort.splits == {"train": 6, "val": 6}
    reasons = cohort.excluded.set_index("part")
    assert reasons["images"].to_dict() == {"auto_test": 6, "test": 6}
    assert "test patients" in reasons.loc["auto_test", "reason"]
    assert "by name" in reasons.loc["test", "reason"]
    assert load(root, splits=["test"]).splits == {"test": 6}


def test_an_unknown_split_or_name_is_answered_with_the_choices(tree, load):
    with pytest.raises(KoaError, match="Choose from train, val"):
        load(tree, splits=["valid"])
    with pytest.raises(KoaError, match=r"no folder 'oai'[\s\S]*oai-kl224"):
        load("oai")


def test_a_cache_that_cannot_be_written_says_what_to_do(tree, load, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KoaError, match="KOA_CACHE_DIR"):
        load(tree, cache_dir=tmp_path / "file")


def test_two_processes_that_build_at_once_agree(tmp_path):
    root = knee_tree(tmp_path / "mine", patients=20)
    code = (
        "import sys; from koa_kit.data import load_cohort; "
        f"print(load_cohort(sys.argv[1], cache_dir=sys.argv[2], size={SIZE}).images.sum())"
    )
    command = [sys.executable, "-c", code, str(root), str(tmp_path / "cache")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = [process.communicate(timeout=60)[0] for process in both]
    assert sums[0] == sums[1] != ""
    assert len(written(tmp_path, ".npy")) == 1


def test_of_a_published_data_set_an_extra_knee_is_left_out_and_an_altered_or_missing_one_named(data_home, tmp_path):
    folder = data_home / "oai-kl224"
    save(folder / "train" / "0" / "OTHERL.png", bright_knee(9))
    cohort = load_cohort("oai-kl224")
    assert (cohort.name, cohort.splits) == ("oai-kl224", {"train": 10, "val": 10})
    assert cohort.excluded["part"].tolist() == ["train/0/OTHERL.png"]
    files = sorted(folder.rglob("VAL*.png"))
    save(files[0], bright_knee(9))
    files[1].unlink()
    with pytest.raises(KoaError) as caught:
        load_cohort("oai-kl224", cache_dir=tmp_path / "other")
    assert f"{files[0].name}: its bytes differ" in str(caught.value)
    assert f"{files[1].name}: missing" in str(caught.value)
    assert not list((tmp_path / "other").rglob("*.npy"))


def test_a_data_set_of_which_the_manifest_says_no_size_is_read_in_the_size_asked_for(data_home, tmp_path):
    path = tmp_path / "data_manifest.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    del content["datasets"]["oai-kl224"]["pixels"]
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert load_cohort("oai-kl224", size=SIZE).images.shape == (20, SIZE, SIZE)


def test_the_test_split_is_opened_only_by_name_and_must_be_here(data_home, published):
    with pytest.raises(KoaError, match="test: the split is not here"):
        load_cohort("oai-kl224", splits=["test"])
    shutil.copytree(published / "test", data_home / "oai-kl224" / "test")
    assert load_cohort("oai-kl224").splits == {"train": 10, "val": 10}
    assert load_cohort("oai-kl224", splits=["test"]).splits == {"test": 10}


def test_a_phantom_is_drawn_once(load, monkeypatch):
    drawn = []

    def draw(patients, *, size, seed):
        drawn.append(seed)
        return phantom_cohort(patients, size=size, seed=seed)

    monkeypatch.setattr("koa_kit.phantom.cohort.phantom_cohort", draw)
    assert load("phantom", patients=3).splits == {"train": 2, "val": 2, "test": 2}
    assert load("phantom", patients=3, splits=["test", "val"]).splits == {"val": 2, "test": 2}
    load("phantom", patients=3, seed=1)
    assert drawn == [0, 1]


@pytest.fixture
def two_experts(tmp_path):
    """Data folder with a small digital-knee: strips a, b, c and a deep square, and one of each oddity known of it."""
    grades = ["0Normal", "1Doubtful", "2Mild", "3Moderate", "4Severe"]
    first, second = (tmp_path / "digital-knee" / expert for expert in ("MedicalExpert-I", "MedicalExpert-II"))
    for folder in (expert / grade for expert in (first, second) for grade in grades):
        folder.mkdir(parents=True)
    for seed, (stem, kl) in enumerate({"a": 0, "b": 2, "c": 4}.items()):
        strip = np.repeat(np.tile(bright_knee(seed, 162), 2)[:, :300, None], 3, axis=2)
        save(first / grades[kl] / f"{stem}.png", strip)
        if stem != "c":
            save(second / grades[1 if stem == "a" else kl] / f"{stem}.png", strip)
    save(first / "3Moderate" / "deep.png", bright_knee(4, 200).astype(np.uint16) * 257)
    save(first / "0Normal" / "both.png", np.tile(bright_knee(8, 160), 4))
    strip[3, 3, 2] += 1
    save(first / "0Normal" / "marked.png", strip)
    shutil.copy(first / "0Normal/a.png", first / "0Normal/a_again.png")
    shutil.copy(first / "2Mild/b.png", first / "3Moderate/b.png")
    return tmp_path


def test_two_experts_strips_become_one_padded_square_cohort(two_experts, load):
    cohort = load("digital-knee", data_dir=two_experts, size=64)
    assert cohort.images.shape == (3, 64, 64)
    assert cohort.table["patient"].tolist() == ["a", "deep", "c"]
    assert cohort.table["kl_expert2"].tolist() == [1, pd.NA, pd.NA]
    assert set(zip(cohort.table["split"], cohort.table["side"], strict=True)) == {("external", "?")}
    first = cohort.images[0]
    height = round(162 * 64 / 300)
    margin = (64 - height) // 2
    assert not first[:margin].any()
    assert not first[margin + height :].any()
    assert first[margin : margin + height].min() > 0


def test_oddities_of_two_experts_images_are_left_out_by_name_and_reason(two_experts, load):
    excluded = load("digital-knee", data_dir=two_experts).excluded
    parts = ["two knees in one image", "MedicalExpert-I/0Normal/marked.png", "files under two grades", "repeated files"]
    assert excluded["part"].tolist() == parts
    assert excluded["images"].tolist() == [1, 1, 2, 1]
    assert "640 pixels wide" in excluded["reason"][0]
    assert "colour channels differ" in excluded["reason"][1]


def test_a_data_set_that_is_for_testing_only_or_holds_no_images_says_so(two_experts, load):
    with pytest.raises(KoaError, match="for testing only"):
        load("digital-knee", data_dir=two_experts, splits=["train"])
    with pytest.raises(KoaError, match="load_followup"):
        load("oai-followup")


def test_6604_real_knees_are_cached_within_30_seconds_and_opened_within_a_fifth(real_data, tmp_path):
    start = time.perf_counter()
    cohort = load_cohort("oai-kl224", data_dir=real_data, cache_dir=tmp_path)
    built = time.perf_counter() - start
    opened = []
    for _ in range(3):  # The best of three: other work on the machine is not what is measured.
        start = time.perf_counter()
        again = load_cohort("oai-kl224", data_dir=real_data, cache_dir=tmp_path)
        opened.append(time.perf_counter() - start)
    assert cohort.splits == again.splits == {"train": 5778, "val": 826}
    assert cohort.images.shape == (6604, 224, 224)
    assert built < 30
    assert min(opened) < 0.2
