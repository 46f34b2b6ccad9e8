"""Caches that were damaged, changed, or left half-made: what is served is right, and what is left behind goes."""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from killing import changes, kill_at, spread
from knee_files import SIZE, knee_tree

from koa_kit.data import load_cohort
from koa_kit.engine import seals
from koa_kit.engine.array_cache import cached_array
from koa_kit.engine.scratch import HOST, scratch_folder
from koa_kit.errors import KoaError

FACTS = {"tower": "small", "knees": 20}
BUILD_COHORT = """
import koa_kit.data.sources.split_folders, koa_kit.data.cache, rich.console, rich.progress, pyarrow.parquet
from koa_kit.data import load_cohort
armed = True
load_cohort(sys.argv[2], cache_dir=sys.argv[3], size=32)
"""
BUILD_FEATURES = """
import numpy as np
from koa_kit.engine.array_cache import cached_array
armed = True
cached_array({"tower": "small", "knees": 20}, lambda: np.arange(40.0).reshape(20, 2), sys.argv[2])
"""
LIVE = """
import sys
from pathlib import Path
from koa_kit.engine.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as work:
    (work / "images.npy").write_bytes(b"half")
    print(work.name, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def load(tmp_path):
    """Loads a folder of twelve knees with a cache of its own."""
    tree = knee_tree(tmp_path / "mine")
    return partial(load_cohort, tree, cache_dir=tmp_path / "cache", size=SIZE)


def features() -> np.ndarray:
    """Two numbers of twenty knees, as computed by a tower."""
    return np.arange(40.0).reshape(20, 2)


def kinds(home: Path) -> list[str]:
    """What lies in a cache: the endings of its files' names, sorted."""
    return sorted(path.suffix for path in home.rglob("*") if path.is_file())


def one(home: Path, pattern: str) -> Path:
    (path,) = home.rglob(pattern)
    return path


def same(cohort, other) -> bool:
    """True if two cohorts hold the same knees under one fingerprint."""
    pd.testing.assert_frame_equal(cohort.table, other.table)
    pd.testing.assert_frame_equal(cohort.excluded, other.excluded)
    return cohort.fingerprint == other.fingerprint and np.array_equal(cohort.images, other.images)


def clear(home: Path) -> None:
    """Do what the next build does first, also where what was killed had just finished and nothing is to be built."""
    with scratch_folder(home, ".*"):
        pass


def overwrite(path: Path, start: int, content: bytes) -> None:
    """Change bytes of a file in place and set its time back."""
    facts = path.stat()
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize("start", [0, 5, 128, 5000, 10_000])
def test_pixels_that_were_set_to_zero_are_not_served(load, tmp_path, start):
    first = load()
    truth = np.array(first.images)
    overwrite(one(tmp_path, "images.npy"), start, bytes(2000))
    again = load()
    assert np.array_equal(again.images, truth)
    assert same(again, load())


def test_fewer_or_other_knees_are_not_served(load, tmp_path):
    first = load()
    images, table = one(tmp_path, "images.npy"), one(tmp_path, "table.parquet")
    truth = np.array(first.images)
    np.save(images, truth[:-1])
    first.table[:-1].to_parquet(table, index=False)
    assert np.array_equal(load().images, truth)
    first.table[::-1].to_parquet(table, index=False)
    assert load().table["file"].tolist() == first.table["file"].tolist()
    first.table.assign(kl=0).to_parquet(table, index=False)
    assert load().table["kl"].tolist() == first.table["kl"].tolist()


def test_a_phantom_cache_with_pixels_of_zero_is_drawn_again(tmp_path):
    draw = partial(load_cohort, "phantom", patients=3, size=SIZE, cache_dir=tmp_path)
    truth = np.array(draw().images)
    overwrite(one(tmp_path, "images.npy"), 1000, bytes(2000))
    assert np.array_equal(draw().images, truth)


@pytest.mark.parametrize("name", ["images.npy", "table.parquet", "seal.json"])
@pytest.mark.parametrize("left", [0, 100])
def test_a_cache_that_lost_a_part_of_a_file_or_all_of_it_is_made_again(load, tmp_path, name, left):
    first = load()
    truth = np.array(first.images)
    path = one(tmp_path, name)
    if left:
        path.write_bytes(path.read_bytes()[:left])
    else:
        path.unlink()
    again = load()
    assert np.array_equal(again.images, truth)
    assert kinds(tmp_path / "cache") == [".json", ".json", ".npy", ".parquet"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_note_or_seal_is_never_believed(load, tmp_path, data):
    first = load()
    path = data.draw(st.sampled_from(sorted((tmp_path / "cache").rglob("*.json"))))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    assert same(load(), first)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", "5", '{"folder": 5}', '{"sha256": ""}', "[" * 100_000, "\0", "🦵"]
)
def test_a_note_or_seal_that_is_something_else_is_never_believed(load, tmp_path, text):
    first = load()
    for path in list((tmp_path / "cache").rglob("*.json")):
        path.write_text(text, encoding="utf-8")
        assert same(load(), first)


def test_a_note_does_not_lead_to_other_knees(load, tmp_path):
    first = load()
    other = knee_tree(tmp_path / "other" / "mine", patients=4)
    load_cohort(other, cache_dir=tmp_path / "cache", size=SIZE)
    notes = sorted((tmp_path / "cache" / "cohorts").glob("*.json"))
    contents = [json.loads(note.read_text(encoding="utf-8")) for note in notes]
    for note, content, another in zip(notes, contents, contents[::-1], strict=True):
        note.write_text(json.dumps(content | {"folder": another["folder"]}), encoding="utf-8")
    assert same(load(), first)


def test_a_whole_cache_is_opened_without_reading_a_pixel_and_a_moved_one_read_once(load, tmp_path, monkeypatch):
    load()
    os.utime(one(tmp_path, "seal.json"), (time.time() + 5,) * 2)  # Sealed long after the last change.
    read = []
    monkeypatch.setattr(seals, "sha256_of", lambda file, whole=seals.sha256_of: read.append(file.name) or whole(file))
    first = load()
    assert read == []
    images = one(tmp_path, "images.npy")
    images.with_name("copy").write_bytes(images.read_bytes())
    images.with_name("copy").rename(images)
    assert same(load(), first)
    assert "images.npy" in read
    read.clear()
    os.utime(one(tmp_path, "seal.json"), (time.time() + 5,) * 2)
    load()
    assert read == []


def test_a_change_within_one_tick_of_the_clock_is_found(load, tmp_path, monkeypatch):
    just_now = [1, 2, time.time_ns() + 10**12, 4]
    monkeypatch.setattr(seals, "identity", lambda file: just_now)  # As of a file system whose clock stands still.
    truth = np.array(load().images)
    overwrite(one(tmp_path, "images.npy"), 3000, bytes(2000))
    assert np.array_equal(load().images, truth)


@pytest.mark.parametrize("how", ["zeros", "shorter", "other rows", "object", "no seal", "nothing"])
def test_features_that_were_changed_are_computed_again(tmp_path, how):
    cached_array(FACTS, features, tmp_path)
    path = one(tmp_path, "*.npy")
    if how == "zeros":
        overwrite(path, 200, bytes(50))
    elif how == "shorter":
        path.write_bytes(path.read_bytes()[:-8])
    elif how == "other rows":
        np.save(path, features()[:-1])
    elif how == "object":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif how == "no seal":
        path.with_suffix(".json").unlink()
    else:
        path.write_bytes(b"")
    assert np.array_equal(cached_array(FACTS, features, tmp_path), features())


def test_whole_features_are_computed_once(tmp_path):
    cached_array(FACTS, features, tmp_path)
    assert np.array_equal(cached_array(FACTS, None, tmp_path), features())


def test_a_cache_of_features_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KoaError, match="KOA_CACHE_DIR"):
        cached_array(FACTS, features, tmp_path / "file")


def test_a_build_killed_at_any_change_of_the_disk_is_made_good_and_leaves_nothing(load, tmp_path):
    truth = load()
    total = changes(BUILD_COHORT, tmp_path / "mine", tmp_path / "whole")
    for change in spread(total):
        home = tmp_path / f"killed-{change}"
        kill_at(change, BUILD_COHORT, tmp_path / "mine", home)
        assert same(load(cache_dir=home), truth), change
        clear(home / "cohorts")
        assert kinds(home) == [".json", ".json", ".npy", ".parquet"], change


def test_features_killed_at_any_change_of_the_disk_are_computed_again(tmp_path):
    total = changes(BUILD_FEATURES, tmp_path / "whole")
    for change in spread(total):
        kill_at(change, BUILD_FEATURES, tmp_path / str(change))
        assert np.array_equal(cached_array(FACTS, features, tmp_path / str(change)), features()), change
        clear(tmp_path / str(change) / "features")
        assert kinds(tmp_path / str(change)) == [".json", ".lock", ".npy"], change


@pytest.fixture
def living(tmp_path):
    """A process that works in a scratch folder of ``home``, and that folder."""
    command = [sys.executable, "-c", LIVE, str(tmp_path / "home")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process, tmp_path / "home" / process.stdout.readline().strip()
        process.kill()


def test_the_scratch_folder_of_a_living_process_stays_and_that_of_a_killed_one_goes(living, tmp_path):
    process, folder = living
    old = time.time() - 30 * 86_400
    os.utime(folder / "images.npy", (old, old))
    os.utime(folder, (old, old))
    with scratch_folder(tmp_path / "home"):
        assert (folder / "images.npy").is_file()
    process.kill()
    process.wait()
    with scratch_folder(tmp_path / "home") as mine:
        assert list((tmp_path / "home").glob(".koa-*-????????")) == [mine]
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize(("days", "stays"), [(0, True), (6, True), (8, False)])
@pytest.mark.parametrize("name", [".koa-00000000-11111111", ".koa-" + HOST + "-11111111", ".oai-kl224-ab3_x9kz"])
def test_a_folder_of_another_machine_or_without_a_lock_stays_for_a_week(tmp_path, name, days, stays):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "images.npy").write_bytes(b"half")
    if name.startswith(".koa-0"):
        (tmp_path / f"{name}.lock").touch()
    for path in (folder / "images.npy", folder):
        os.utime(path, (time.time() - days * 86_400,) * 2)
    with scratch_folder(tmp_path, ".*"):
        assert folder.is_dir() == stays
    assert (list(tmp_path.iterdir()) != []) == stays


def test_nothing_but_scratch_is_cleared_away_from_a_folder_that_holds_other_things(tmp_path):
    others = [".koa-downloads", ".koa-oai-kl224.lock", ".git", "oai-kl224", ".koa-0-1"]
    for name in others:
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1, 1))
    with scratch_folder(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_one_at_a_time_means_one(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom koa_kit.engine.scratch import alone\n"
        "for _ in range(10):\n"
        "    with alone(Path(sys.argv[1]) / '.lock'):\n"
        "        file = Path(sys.argv[1]) / 'in'\n        file.open('x').close()\n"
        "        time.sleep(0.01)\n        file.unlink()\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in running] == [0] * 4
    assert list(tmp_path.iterdir()) == []
