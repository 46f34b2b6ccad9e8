"""Folders as they are found: stray files, damaged images, links, pipes, odd names, and files exchanged unseen."""

import os
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from knee_files import SIZE, bright_knee, knee_tree, save
from typer.testing import CliRunner

from koa_kit import cli
from koa_kit.data import load_cohort, read_radiograph
from koa_kit.data.files import reserve, survey
from koa_kit.errors import KoaError

STRAYS = {
    "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
    "desktop.ini": b"[.ShellClassInfo]\r\n",
    ".DS_Store": b"\0\0\0\1Bud1",
    "._TRAIN00L.png": b"\0\5\x16\7",
    "Icon\r": b"",
    "README": b"hello",
    "labels.csv": b"patient,kl\n",
    "list of knees.txt": b"P5 is a knee",
    "nothing": b"",
}


@pytest.fixture
def tree(tmp_path):
    """A user's own folder: three patients in train and three in val, named so that a name is no flag of the shell."""
    return knee_tree(tmp_path / "mine")


@pytest.fixture
def load(tmp_path, monkeypatch):
    """`load_cohort` of 32-pixel knees with a cache of its own."""
    monkeypatch.setenv("KOA_CACHE_DIR", str(tmp_path / "cache"))
    return partial(load_cohort, size=SIZE)


@pytest.fixture
def user():
    """A folder of one's own on a machine where one may not read everything, whoever runs the tests."""
    home = Path(tempfile.mkdtemp(prefix="koa-user-"))
    load_cohort(knee_tree(home / "first"), size=SIZE, cache_dir=home / "cache")  # what is imported late is imported now
    for path in (home, *home.rglob("*")):
        os.chown(path, 65534 if os.geteuid() == 0 else -1, -1)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield home
    if root:
        os.seteuid(0)
    for path in (home, *home.rglob("*")):
        path.chmod(0o700)
    shutil.rmtree(home)


def reasons(cohort) -> dict[str, str]:
    return dict(zip(cohort.excluded["part"], cohort.excluded["reason"], strict=True))


@pytest.mark.parametrize("place", ["train", "train/0", "val/4", "train/0/@eaDir"])
def test_a_stray_file_stops_nothing_and_is_listed(tree, load, place):
    before = load(tree)
    for name, content in STRAYS.items():
        (tree / place).mkdir(exist_ok=True)
        (tree / place / name).write_bytes(content)
    cohort = load(tree)
    assert cohort.fingerprint == before.fingerprint
    assert set(reasons(cohort)) == {f"{place}/{name}".replace("\r", "\\r") for name in STRAYS}
    assert set(cohort.excluded["images"]) == {0}


def test_what_a_file_browser_writes_down_again_and_again_does_not_make_the_knees_be_read_again(tree, load, monkeypatch):
    (tree / "train" / "0" / ".DS_Store").write_bytes(b"one")
    first = load(tree)
    (tree / "train" / "0" / ".DS_Store").write_bytes(b"another")
    monkeypatch.setattr("koa_kit.data.sources.split_folders.decode_radiograph", None)
    assert load(tree).fingerprint == first.fingerprint


@pytest.mark.parametrize("name", ["TRAIN09L.bmp", "TRAIN09L", "TRAIN09L.dcm", "TRAIN09L.webp"])
def test_a_radiograph_of_a_kind_that_is_not_read_is_never_passed_over_in_silence(tree, load, name):
    file = save(tree / "elsewhere.bmp", bright_knee()).rename(tree / "train" / "0" / name)
    if name.endswith(".dcm"):
        file.write_bytes(bytes(128) + b"DICM" + bytes(100))
    with pytest.raises(KoaError, match=f"{name}: an image of a kind that is not read"):
        load(tree)


def test_one_bad_image_is_named_and_one_can_go_on_without_it(tree, load):
    good = load(tree)
    bad = good.table["file"][[1, 7]].tolist()
    (tree / bad[0]).write_bytes((tree / bad[0]).read_bytes()[:-300])
    (tree / bad[1]).write_bytes(b"")
    with pytest.raises(KoaError, match="2 things are wrong") as caught:
        load(tree)
    assert all(file in str(caught.value) for file in (*bad, "--skip-refused", "skip_refused=True"))
    cohort = load(tree, skip_refused=True)
    kept = good.take(np.flatnonzero(~good.table["file"].isin(bad)))
    assert cohort.table["file"].tolist() == kept.table["file"].tolist()
    assert np.array_equal(cohort.images, kept.images)
    assert cohort.fingerprint != good.fingerprint
    assert {part: reason.startswith("refused: ") for part, reason in reasons(cohort).items()} == dict.fromkeys(
        bad, True
    )
    assert cohort.excluded["images"].tolist() == [1, 1]
    with pytest.raises(KoaError, match="2 things are wrong"):  # Not from the cache of the one that was asked for.
        load(tree)


def test_going_on_without_refused_images_does_not_go_on_without_a_grade_or_with_nothing(tree, load):
    shutil.rmtree(tree / "val" / "4")
    with pytest.raises(KoaError, match="val/4: the grade folder is missing") as caught:
        load(tree, skip_refused=True)
    assert "--skip-refused" not in str(caught.value)
    for file in tree.rglob("*.png"):
        file.write_bytes(b"")
    (tree / "val" / "4").mkdir()
    with pytest.raises(KoaError, match="no image was found"):
        load(tree, skip_refused=True)


def test_with_every_image_in_order_going_on_without_the_refused_gives_the_same_cohort(tree, load):
    assert load(tree, skip_refused=True).fingerprint == load(tree).fingerprint


def test_audit_training_and_evaluation_go_on_without_refused_images_if_asked_to(load, tmp_path):
    tree = knee_tree(tmp_path / "mine", patients=5, size=224)
    (tree / "train" / "0" / "TRAIN00L.png").write_bytes(b"")
    koa = partial(CliRunner().invoke, cli.app)
    assert isinstance(koa(["data", "audit", str(tree)]).exception, KoaError)
    audit = koa(["data", "audit", str(tree), "--skip-refused"])
    assert "1 refused image(s) were left out, 19 are used:\n  train/0/TRAIN00L.png" in audit.stderr
    assert "left out: train/0/TRAIN00L.png, 1 image(s): refused" in audit.stdout
    train = ["train", "x", "--dataset", str(tree), "--runs", str(tmp_path / "runs"), "--set", "epochs=1"]
    assert isinstance(koa(train).exception, KoaError)
    assert "1 refused image(s) were left out, 19 are used" in koa([*train, "--skip-refused"]).stderr
    evaluate = ["evaluate", str(tmp_path / "runs" / "x"), "--dataset", str(tree)]
    assert isinstance(koa(evaluate).exception, KoaError)
    assert "qwk" in koa([*evaluate, "--skip-refused"]).stdout


def test_links_that_lead_nowhere_or_back_and_pipes_stop_nothing_where_there_is_no_image(tree, load):
    (tree / "train" / "0" / "loop").symlink_to("..", target_is_directory=True)
    (tree / "train" / "self").symlink_to("self")
    (tree / "train" / "0" / "gone.txt").symlink_to("nowhere")
    os.mkfifo(tree / "train" / "0" / "pipe")
    (tree / "train" / "0" / "zero").symlink_to("/dev/zero")
    cohort = load(tree)
    assert len(cohort) == 12
    assert reasons(cohort) == {
        "train/0/gone.txt": "a link that leads nowhere",
        "train/0/loop/": "a link to a folder above it",
        "train/0/pipe": "no file but a pipe, a socket or a device",
        "train/0/zero": "no file but a pipe, a socket or a device",
        "train/self": "a link that leads nowhere",
    }


def test_an_image_that_is_a_pipe_a_device_a_dead_link_or_oddly_named_is_refused_by_name(tree, load):
    folder = tree / "train" / "0"
    os.mkfifo(folder / "TRAIN10L.png")
    (folder / "TRAIN11L.png").symlink_to("/dev/zero")
    (folder / "TRAIN12L.png").symlink_to("nowhere")
    save(folder / "TRAIN13\nL.png", bright_knee())
    save(tree / "x.png", bright_knee()).rename(os.fsdecode(os.fsencode(folder) + b"/TRAIN\xff\xfeL.png"))
    save(folder / "TRAIN14\x1b[31mL.png", bright_knee())
    with (folder / "TRAIN15L.png").open("wb") as huge:
        huge.truncate(1 << 40)
    with pytest.raises(KoaError, match="7 things are wrong") as caught:
        load(tree)
    text = str(caught.value)
    assert text.count("a pipe, a socket or a device") == 2
    assert "TRAIN12L.png: a link that leads nowhere" in text
    assert r"TRAIN13\nL.png: its name" in text
    assert r"TRAIN\udcff\udcfeL.png: its name" in text
    assert r"TRAIN14\x1b[31mL.png: its name" in text
    assert "over 512 MB" in text
    assert len(load(tree, skip_refused=True)) == 12


def test_images_behind_links_are_read(tree, load, tmp_path):
    before = load(tree)
    (tree / "val").rename(tmp_path / "away")
    (tree / "val").symlink_to(tmp_path / "away", target_is_directory=True)
    file = tree / before.table["file"][0]
    file.rename(tmp_path / "one.png")
    file.symlink_to(tmp_path / "one.png")
    assert load(tree).fingerprint == before.fingerprint


def test_a_folder_of_an_odd_name_is_read_and_shown(tree, load, tmp_path):
    for name in (b"two\nlines", b"no \xff text", b"x" * 255, "Röntgen 膝".encode(), b"~"):
        odd = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
        shutil.copytree(tree, odd)
        cohort = load(odd)
        assert len(cohort) == 12
        repr(cohort).encode()
        assert "\n" not in repr(cohort)


@pytest.mark.parametrize("name", ["x" * 300, "~nobody-of-this-name/x", "a\0b", "/proc/1/fd", "/dev/null", "\udcff"])
def test_a_folder_that_cannot_be_is_no_folder(load, name):
    with pytest.raises(KoaError):
        load(name)


def test_a_folder_below_a_thousand_others_is_surveyed(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("deep", dir_fd=here)
    for name in ["deep", *["d"] * 2500]:
        os.mkdir("d", dir_fd=(there := os.open(name, os.O_RDONLY, dir_fd=here)))
        os.close(here)
        here = there
    os.close(here)
    try:
        (one,) = survey(tmp_path, ["deep"])
        assert one.fault == "the folder cannot be read (File name too long)"
    finally:  # Python's own way of removing it does not reach that deep.
        subprocess.run(["rm", "-r", str(tmp_path / "deep")], check=True)


def test_a_subfolder_that_may_not_be_read_is_named_and_does_not_matter_where_it_is_no_grade(user):
    load = partial(load_cohort, size=SIZE, cache_dir=user / "cache")
    tree = knee_tree(user / "mine")
    before = load(tree)
    (tree / "train" / "lost+found").mkdir(mode=0)
    (tree / "private").mkdir(mode=0)
    cohort = load(tree)
    assert cohort.fingerprint == before.fingerprint
    assert reasons(cohort)["train/lost+found/"] == "the folder cannot be read (Permission denied)"
    (tree / "val" / "3").chmod(0)
    with pytest.raises(KoaError, match=r"val/3/: the folder cannot be read \(Permission denied\)"):
        load(tree, skip_refused=True)
    (tree / "val").chmod(0)
    with pytest.raises(KoaError, match="val/: the folder cannot be read") as caught:
        load(tree)
    assert "missing" not in str(caught.value)
    tree.chmod(0)
    with pytest.raises(KoaError, match="Permission denied"):
        load(tree)
    user.chmod(0)
    with pytest.raises(KoaError):
        load(tree)


def test_an_image_that_may_not_be_read_is_refused_by_name(user):
    tree = knee_tree(user / "mine")
    (tree / "val" / "0" / "VAL00L.png").chmod(0)
    with pytest.raises(KoaError, match=r"val/0/VAL00L.png: cannot be read \(Permission denied\)"):
        load_cohort(tree, size=SIZE, cache_dir=user / "cache")


def test_a_knee_changed_in_place_with_its_size_and_time_kept_is_read_again(tree, load):
    file = tree / load(tree).table["file"][3]
    size = 2 * file.stat().st_size
    for seed in (1, 2):  # Pillow reads on to the image's end: bytes behind it do not matter.
        content = save(tree / "new.png", bright_knee(seed)).read_bytes().ljust(size, b"\0")
        with file.open("r+b") as opened:
            opened.write(content)
        os.utime(file, (1, 1))
        assert np.array_equal(load(tree).images[3], bright_knee(seed))


def test_a_folder_put_in_the_place_of_another_with_equal_names_sizes_and_times_is_read(tree, load, tmp_path):
    other = Path(shutil.copytree(tree, tmp_path / "other" / "mine"))
    for seed, path in enumerate(sorted(other.rglob("*.png"))):
        save(path, bright_knee(500 + seed))
    for path in sorted(tree.rglob("*.png")):
        twin = other / path.relative_to(tree)
        size = max(path.stat().st_size, twin.stat().st_size)
        for file in (path, twin):
            file.write_bytes(file.read_bytes().ljust(size, b"\0"))
            os.utime(file, (1, 1))
    first = load(tree)
    tree.rename(tmp_path / "away")
    other.rename(tree)
    second = load(tree)
    assert second.fingerprint != first.fingerprint
    for image, file in zip(second.images, second.table["file"], strict=True):
        assert np.array_equal(image, read_radiograph(tree / file)[0])


def test_the_disk_has_room_for_pixels_before_they_are_written(tmp_path):
    np.lib.format.open_memmap(tmp_path / "images.npy", "w+", dtype=np.uint8, shape=(100, 224, 224))
    reserve(tmp_path / "images.npy")
    facts = (tmp_path / "images.npy").stat()
    assert 512 * facts.st_blocks >= facts.st_size


def test_two_experts_folders_keep_their_strays_to_themselves(tmp_path, load):
    grades = ["0Normal", "1Doubtful", "2Mild", "3Moderate", "4Severe"]
    for expert in ("MedicalExpert-I", "MedicalExpert-II"):
        for number, grade in enumerate(grades):
            save(tmp_path / "digital-knee" / expert / grade / f"{number}.png", bright_knee(number, 100))
    folder = tmp_path / "digital-knee" / "MedicalExpert-I" / "2Mild"
    for name, content in STRAYS.items():
        (folder / name).write_bytes(content)
    cohort = load("digital-knee", data_dir=tmp_path)
    assert len(cohort) == 5
    assert len(cohort.excluded) == len(STRAYS)
    os.mkfifo(folder / "pipe.png")
    (folder / "bad.png").write_bytes(b"")
    with pytest.raises(KoaError, match="2 things are wrong"):
        load("digital-knee", data_dir=tmp_path)
    assert len(load("digital-knee", data_dir=tmp_path, skip_refused=True)) == 5
