import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from knee_files import SIZE, bright_knee, knee_tree, save

from koa_kit.cohort import COLUMNS
from koa_kit.data import load_cohort, read_radiograph
from koa_kit.errors import KoaError
from koa_kit.phantom import phantom_cohort


def load(root, tmp_path, **options):
    return load_cohort(root, cache_dir=tmp_path / "cache", size=SIZE, **options)


def written(tmp_path):
    cache = tmp_path / "cache"
    return [path for path in cache.rglob("*") if path.is_file()] if cache.exists() else []


def test_a_folder_becomes_one_array_and_one_table_row_for_row(tmp_path):
    cohort = load(knee_tree(tmp_path / "mine"), tmp_path)
    assert isinstance(cohort.images, np.memmap)
    assert cohort.images.shape == (12, SIZE, SIZE)
    assert cohort.splits == {"train": 6, "val": 6}
    assert set(COLUMNS) <= set(cohort.table)
    for image, row in zip(cohort.images, cohort.table.itertuples(), strict=True):
        assert np.array_equal(image, read_radiograph(tmp_path / "mine" / row.file)[0])
        assert row.file == f"{row.split}/{row.kl}/{row.patient}{row.side}.png"


def test_the_second_load_is_the_same_cohort_without_reading_a_file(tmp_path, monkeypatch):
    root = knee_tree(tmp_path / "mine")
    first = load(root, tmp_path)
    monkeypatch.setattr("koa_kit.data.sources.split_folders.decode_radiograph", None)
    second = load(root, tmp_path)
    assert second.fingerprint == first.fingerprint
    assert np.array_equal(second.images, first.images)
    pd.testing.assert_frame_equal(second.table, first.table)


def test_a_changed_knee_is_noticed_and_changes_the_fingerprint(tmp_path):
    root = knee_tree(tmp_path / "mine")
    first = load(root, tmp_path)
    changed = root / first.table["file"][3]
    save(changed, bright_knee(99))
    os.utime(changed, (1, 1))
    second = load(root, tmp_path)
    assert np.array_equal(second.images[3], bright_knee(99))
    assert second.fingerprint != first.fingerprint


def test_the_same_knees_elsewhere_have_the_same_fingerprint(tmp_path):
    first = load(knee_tree(tmp_path / "mine"), tmp_path)
    shutil.copytree(tmp_path / "mine", tmp_path / "copy" / "mine")
    assert load(tmp_path / "copy" / "mine", tmp_path).fingerprint == first.fingerprint
    assert len([path for path in written(tmp_path) if path.suffix == ".npy"]) == 1


def test_a_damaged_cache_is_made_again(tmp_path):
    root = knee_tree(tmp_path / "mine")
    first = load(root, tmp_path)
    images = next(path for path in written(tmp_path) if path.suffix == ".npy")
    images.write_bytes(images.read_bytes()[:500])
    again = load(root, tmp_path)
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(again.images[5], read_radiograph(root / again.table["file"][5])[0])


def test_every_refused_file_is_listed_in_one_error_and_nothing_is_written(tmp_path):
    root = knee_tree(tmp_path / "mine")
    files = sorted(path for path in root.rglob("*.png"))
    files[0].write_bytes(files[0].read_bytes()[:-300])
    save(files[1], bright_knee(size=SIZE + 1))
    save(root / "val" / "2" / "NOSIDE.png", bright_knee())
    (root / "train" / "1" / "notes.txt").write_text("hello")
    shutil.rmtree(root / "val" / "4")
    with pytest.raises(KoaError) as caught:
        load(root, tmp_path)
    message = str(caught.value)
    expected = [files[0].name, files[1].name, "NOSIDE.png", "notes.txt", "val/4: the grade folder is missing"]
    assert [part for part in expected if part not in message] == []
    assert "5 things are wrong" in message
    assert written(tmp_path) == []


def test_after_twenty_refused_files_only_their_number_is_told(tmp_path):
    root = knee_tree(tmp_path / "mine", patients=13)
    for file in root.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(KoaError, match="and 32 more") as caught:
        load(root, tmp_path)
    assert str(caught.value).count(".png") == 20


def test_a_patient_in_two_splits_is_refused_by_name(tmp_path):
    root = knee_tree(tmp_path / "mine")
    save(root / "val" / "0" / "TRAIN00L.png", bright_knee(5))
    with pytest.raises(KoaError, match=r"two splits[\s\S]*patient TRAIN00"):
        load(root, tmp_path)
    assert written(tmp_path) == []


def test_the_same_knee_under_two_grades_is_refused(tmp_path):
    root = knee_tree(tmp_path / "mine")
    save(root / "val" / "4" / "VAL00L.png", bright_knee(5))
    with pytest.raises(KoaError, match="the same knee as"):
        load(root, tmp_path)


def test_a_test_split_and_recrops_of_it_are_left_out_with_the_reason(tmp_path):
    root = knee_tree(tmp_path / "mine", splits=("train", "val", "test", "auto_test"))
    cohort = load(root, tmp_path)
    assert cohort.splits == {"train": 6, "val": 6}
    reasons = cohort.excluded.set_index("part")
    assert reasons["images"].to_dict() == {"auto_test": 6, "test": 6}
    assert "test patients" in reasons.loc["auto_test", "reason"]
    assert "by name" in reasons.loc["test", "reason"]
    assert load(root, tmp_path, splits=["test"]).splits == {"test": 6}


def test_an_unknown_split_or_name_is_answered_with_the_choices(tmp_path):
    with pytest.raises(KoaError, match="Choose from train, val"):
        load(knee_tree(tmp_path / "mine"), tmp_path, splits=["valid"])
    with pytest.raises(KoaError, match=r"no folder 'oai'[\s\S]*oai-kl224"):
        load_cohort("oai")
    with pytest.raises(KoaError, match="load_followup"):
        load_cohort("oai-followup")


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KoaError, match="KOA_CACHE_DIR"):
        load_cohort(knee_tree(tmp_path / "mine"), cache_dir=tmp_path / "file", size=SIZE)


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
    assert len([path for path in written(tmp_path) if path.suffix == ".npy"]) == 1


def test_a_published_data_set_gives_its_train_and_val_knees(data_home):
    cohort = load_cohort("oai-kl224")
    assert cohort.splits == {"train": 10, "val": 10}
    assert cohort.name == "oai-kl224"


def test_an_altered_or_missing_published_knee_is_named_and_an_extra_one_left_out(data_home, tmp_path):
    folder = data_home / "oai-kl224"
    save(folder / "train" / "0" / "OTHERL.png", bright_knee(9))
    assert load_cohort("oai-kl224").excluded["part"].tolist() == ["train/0/OTHERL.png"]
    files = sorted(folder.rglob("VAL*.png"))
    save(files[0], bright_knee(9))
    files[1].unlink()
    with pytest.raises(KoaError) as caught:
        load_cohort("oai-kl224", cache_dir=tmp_path / "other")
    assert f"{files[0].name}: its bytes differ" in str(caught.value)
    assert f"{files[1].name}: missing" in str(caught.value)
    assert not list((tmp_path / "other").rglob("*.npy"))


def test_the_test_split_is_opened_only_by_name_and_must_be_here(data_home, published):
    with pytest.raises(KoaError, match="test: the split is not here"):
        load_cohort("oai-kl224", splits=["test"])
    shutil.copytree(published / "test", data_home / "oai-kl224" / "test")
    assert load_cohort("oai-kl224").splits == {"train": 10, "val": 10}
    assert load_cohort("oai-kl224", splits=["test"]).splits == {"test": 10}


def test_a_phantom_is_drawn_once(tmp_path, monkeypatch):
    drawn = []

    def draw(patients, *, size, seed):
        drawn.append(seed)
        return phantom_cohort(patients, size=size, seed=seed)

    monkeypatch.setattr("koa_kit.phantom.cohort.phantom_cohort", draw)
    options = {"patients": 3, "size": SIZE, "cache_dir": tmp_path}
    assert load_cohort("phantom", **options).splits == {"train": 2, "val": 2, "test": 2}
    assert load_cohort("phantom", **options, splits=["val"]).splits == {"val": 2}
    load_cohort("phantom", seed=1, **options)
    assert drawn == [0, 1]


def test_two_experts_strips_become_one_padded_square_cohort(tmp_path):
    root = tmp_path / "digital-knee"
    names = ["0Normal", "1Doubtful", "2Mild", "3Moderate", "4Severe"]
    for expert in ("MedicalExpert-I", "MedicalExpert-II"):
        for name in names:
            (root / expert / name).mkdir(parents=True)
    strip = {stem: np.tile(bright_knee(seed, 162), 2)[:, :300] for seed, stem in enumerate(["a", "b", "c"])}
    for stem, kl in {"a": 0, "b": 2, "c": 4}.items():
        save(root / "MedicalExpert-I" / names[kl] / f"{stem}.png", np.repeat(strip[stem][..., None], 3, axis=2))
        second = root / "MedicalExpert-II" / names[1 if stem == "a" else kl] / f"{stem}.png"
        if stem != "c":
            save(second, np.repeat(strip[stem][..., None], 3, axis=2))
    save(root / "MedicalExpert-I" / "0Normal" / "both.png", np.tile(bright_knee(8, 160), 4))
    shutil.copy(root / "MedicalExpert-I/0Normal/a.png", root / "MedicalExpert-I/0Normal/a_again.png")
    shutil.copy(root / "MedicalExpert-I/2Mild/b.png", root / "MedicalExpert-I/3Moderate/b.png")
    save(root / "MedicalExpert-I" / "3Moderate" / "deep.png", bright_knee(4, 200).astype(np.uint16) * 257)

    cohort = load_cohort("digital-knee", data_dir=tmp_path, cache_dir=tmp_path / "cache", size=64)
    assert cohort.images.shape == (3, 64, 64)
    assert cohort.table["patient"].tolist() == ["a", "deep", "c"]
    assert cohort.table["kl_expert2"].tolist() == [1, pd.NA, pd.NA]
    assert set(cohort.table["split"]) == {"external"}
    assert set(cohort.table["side"]) == {"?"}
    assert cohort.excluded["images"].to_dict() == {0: 1, 1: 2, 2: 1}
    assert "640 pixels wide" in cohort.excluded["reason"][0]
    first = cohort.images[0]
    height = round(162 * 64 / 300)
    margin = (64 - height) // 2
    assert not first[:margin].any()
    assert not first[margin + height :].any()
    assert first[margin : margin + height].min() > 0


def test_the_cache_holds_no_pickle(tmp_path):
    load(knee_tree(tmp_path / "mine"), tmp_path)
    assert sorted({path.suffix for path in written(tmp_path)}) == [".json", ".npy", ".parquet"]
    assert all(json.loads(path.read_text()) for path in written(tmp_path) if path.suffix == ".json")


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
