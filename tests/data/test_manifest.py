import re
from collections import Counter
from pathlib import PurePosixPath

import pytest
import yaml

from koa_kit import paths
from koa_kit.data import find_dataset, load_manifest
from koa_kit.errors import KoaError


@pytest.fixture
def changed_manifest(tmp_path):
    """Writes the kit's manifest with one change and gives its path."""

    def write(change):
        content = yaml.safe_load(paths.resource("data_manifest.yaml").read_text(encoding="utf-8"))
        change(content["datasets"])
        path = tmp_path / "manifest.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return write


def test_the_kit_knows_four_data_sets():
    assert list(load_manifest()) == ["phantom", "oai-kl224", "digital-knee", "oai-followup"]
    assert "phantom" in load_manifest()
    assert "mnist" not in load_manifest()


def test_an_unknown_data_set_is_answered_with_the_known_ones():
    with pytest.raises(KoaError, match=r"'mnist'[\s\S]*phantom, oai-kl224, digital-knee, oai-followup"):
        load_manifest()["mnist"]


def test_every_published_file_has_a_hash_and_counts_and_patients_follow_from_the_paths():
    entry = load_manifest()["oai-kl224"]
    hashes = entry.file_hashes()
    assert len(hashes) == 8260 == sum(map(sum, entry.counts.values()))
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in hashes.values())
    files = [PurePosixPath(file) for file in hashes]
    counted = Counter((file.parts[0], int(file.parts[1])) for file in files)
    assert counted == {(split, kl): n for split, row in entry.counts.items() for kl, n in enumerate(row)}
    assert all(re.fullmatch(f"({entry.patient_pattern})[LR]", file.stem) for file in files)
    knees = Counter((file.stem[:-1], file.parts[0]) for file in files)  # Both knees of a patient, in one split.
    assert set(knees.values()) == {2}
    assert len({patient for patient, _ in knees}) == len(knees) == sum(entry.patients.values())


def test_digital_knee_has_as_many_images_from_either_expert():
    counts = load_manifest()["digital-knee"].counts
    assert {expert: sum(row) for expert, row in counts.items()} == {"MedicalExpert-I": 1650, "MedicalExpert-II": 1650}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda sets: sets["phantom"].update(licennce="x"), "datasets.phantom.licennce"),
        (lambda sets: sets["phantom"].update(version=1), "datasets.phantom.version"),
        (lambda sets: sets["oai-kl224"].pop("citation"), "datasets.oai-kl224.citation"),
        (lambda sets: sets["oai-kl224"]["counts"].update(val=[1, 2, 3]), "datasets.oai-kl224.counts.val"),
        (lambda sets: sets["oai-kl224"].update(default_splits=["training"]), "training"),
        (lambda sets: sets["oai-kl224"].update(patient_pattern="("), "patient_pattern"),
        (lambda sets: sets.update(mnist=None), "datasets.mnist"),
    ],
)
def test_a_manifest_with_a_wrong_key_is_refused_by_the_name_of_the_key(changed_manifest, change, named):
    with pytest.raises(KoaError, match=re.escape(named)):
        load_manifest(changed_manifest(change))


@pytest.mark.parametrize("number", ["-1", "1.9", ".nan", "true", "0653", "0x28d", "10:53", "6_53", "'653'"])
def test_only_a_plain_whole_number_is_a_count(tmp_path, number):
    text = paths.resource("data_manifest.yaml").read_text(encoding="utf-8")
    (tmp_path / "manifest.yaml").write_text(text.replace("val: 413", f"val: {number}"), encoding="utf-8")
    with pytest.raises(KoaError, match=r"datasets\.oai-kl224\.patients\.val"):
        load_manifest(tmp_path / "manifest.yaml")


def test_a_list_of_hashes_that_was_changed_is_noticed(changed_manifest):
    manifest = load_manifest(changed_manifest(lambda sets: sets["oai-kl224"].update(fingerprint="0" * 16)))
    with pytest.raises(KoaError, match=r"was changed[\s\S]*oai-kl224\.sha256\.gz"):
        manifest["oai-kl224"].file_hashes()


@pytest.mark.parametrize(
    ("name", "remedy"), [("oai-kl224", "koa data fetch oai-kl224"), ("oai-followup", "Register at")]
)
def test_a_data_set_that_is_not_here_says_how_to_get_it(tmp_path, name, remedy):
    with pytest.raises(KoaError, match=remedy):
        find_dataset(name, tmp_path)


def test_a_data_folder_that_is_the_data_set_itself_is_recognised_and_inner_folders_are_looked_through(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(KoaError, match="looks like the data set itself"):
        find_dataset("oai-kl224", tmp_path)
    inner = tmp_path / "oai-kl224" / "ClsKLData" / "kneeKL224"
    (inner / "train").mkdir(parents=True)
    assert find_dataset("oai-kl224", tmp_path) == inner


@pytest.mark.parametrize("beside_real_data", ["oai-kl224/files.csv"], indirect=True)
def test_the_real_files_table_agrees_with_the_kits_list(beside_real_data):
    lines = beside_real_data.read_text(encoding="utf-8").splitlines()[1:]
    listed = {line.split(",")[0]: line.split(",")[2] for line in lines}
    assert listed == load_manifest()["oai-kl224"].file_hashes()
