"""A review that was accepted is in the log once and for all, whoever is killed meanwhile."""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from koa_kit.errors import KoaError
from koa_kit.workbench.reviews import log as review_log
from koa_kit.workbench.reviews.log import Review, ReviewLog

WRITER = """
import sys
from koa_kit.workbench.reviews.log import ReviewLog, Review
log = ReviewLog(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(500):
    review = Review(reader=sys.argv[2], knee_id=f"{number}L", patient=str(number), kl=number % 5, answer="agree",
                      note="é\\n" * (7 * number % 400))
    log.add(review)
    print(review.id, flush=True)
"""
HARD_NOTES = [
    "two\nlines\r\nand a tab\t",
    "she said \"no\", \\ and 'yes'",
    "<script>alert(1)</script>",
    "Größe — 膝 🦴 \u2028 \x00 \x85",
    '{"id": 1}',
    "=HYPERLINK(1)",
    "x" * 2000,
]


def review(number=0, **changes):
    whole = {"reader": "Ann", "knee_id": f"{number}L", "patient": str(number), "kl": 2, "answer": "agree"}
    return Review(**whole | changes)


@pytest.fixture
def log(tmp_path):
    return ReviewLog(tmp_path / "verdicts.jsonl")


def test_what_was_accepted_survives_a_writer_that_is_killed_while_another_goes_on(log):
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", WRITER, log.path, name], **piped) for name in ("killed", "other")]
    assert [writer.stdout.readline() for writer in both] == ["ready\n"] * 2
    for writer in both:
        print("go", file=writer.stdin, flush=True)
    killed, other = both
    accepted = [killed.stdout.readline().strip() for _ in range(150)]
    killed.kill()
    accepted += killed.communicate()[0].split()
    finished = other.communicate()[0].split()
    assert (killed.returncode, other.returncode, len(finished)) == (-9, 0, 500)
    assert 150 <= len(accepted) < 500

    log.add(review())
    raw, table = re.findall(rb'"id": "([0-9a-f]{32})".*\}\n', log.path.read_bytes()), log.read()
    assert set(accepted) | set(finished) <= set(table["id"])
    assert len(raw) == len(set(raw))
    assert list(table["id"]) == [each.decode() for each in raw]
    assert list(table.loc[table["reader"] == "other", "id"]) == finished
    # a write that crosses a page may be cut by the kill: one fragment, ended by the next writer and reported
    assert log.path.read_bytes().endswith(b"\n")
    assert len(log.damaged) <= 1


def test_a_line_torn_anywhere_is_ended_and_reported_and_costs_no_other_review(tmp_path):
    whole, torn, after = (review(number, note="é" * 5) for number in range(3))
    line = json.dumps(asdict(torn), ensure_ascii=False).encode()
    for cut in [*range(1, len(line), 11), len(line) - 1, len(line)]:
        log = ReviewLog(tmp_path / f"{cut}.jsonl")
        log.add(whole)
        with log.path.open("ab") as file:
            file.write(line[:cut])
        assert list(log.read()["id"]) == [whole.id]
        assert list(log.damaged) == [2]
        log.add(after)
        kept = [whole.id, torn.id, after.id] if cut == len(line) else [whole.id, after.id]
        for reader in (log, ReviewLog(log.path)):
            assert list(reader.read()["id"]) == kept
            assert list(reader.damaged) == ([] if cut == len(line) else [2])
        assert log.path.read_bytes().count(b"\n") == 3


def test_a_review_and_the_name_of_its_file_are_on_the_disk_before_add_returns(log, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle, sync=os.fsync: (synced.append(os.fstat(handle)), sync(handle)))
    log.add(review(0))
    file, folder = log.path.stat(), log.path.parent.stat()
    assert [(state.st_ino, state.st_size) for state in synced[:1]] == [(file.st_ino, file.st_size)]
    assert [state.st_ino for state in synced[1:]] == [folder.st_ino]


def test_a_review_comes_back_as_it_was_given_and_its_note_to_the_letter(log):
    given = [review(number, note=note) for number, note in enumerate(HARD_NOTES)]
    given += [review(98, answer="disagree", grade=np.int64(4), kl=np.int8(1)), review(99, answer="bad_image")]
    for one in given:
        log.add(one)
    assert len(log.path.read_bytes().splitlines()) == len(given) == log.path.read_bytes().count(b"\n")
    table = ReviewLog(log.path).read()
    assert list(table) == list(review_log.COLUMNS)
    grades = [None if pd.isna(grade) else grade for grade in table["grade"]]
    assert [Review(**row) for row in table.assign(grade=pd.Series(grades, dtype=object)).to_dict("records")] == given


def test_the_same_review_twice_counts_once_and_another_under_its_id_is_reported(log):
    one = review(0)
    for each in (one, one, review(1, id=one.id)):
        log.add(each)
    assert list(log.read()["knee_id"]) == ["0L"]
    assert list(log.damaged) == [3]
    assert one.id in log.damaged[3]


WHOLE = asdict(review())
ODD = [WHOLE | {"kl": 2.0}, WHOLE | {"answer": ["agree"]}, WHOLE | {"colour": "red"}, [1, 2], 7, {}]
ODD += [{name: value for name, value in WHOLE.items() if name != "id"}]
NO_JSON = [b"", b"\x00\x00\x00", b"\xff\xfe", b"not json", b"[" * 100_000]
NO_REVIEWS = [*NO_JSON, *(json.dumps(odd).encode() for odd in ODD)]


@pytest.mark.parametrize("line", NO_REVIEWS, ids=range(len(NO_REVIEWS)))  # they hold the time: no names
def test_a_line_that_is_no_review_is_reported_and_the_others_count(log, line):
    log.add(review(0))
    with log.path.open("ab") as file:
        file.write(line + b"\n")
    log.add(review(1))
    assert list(log.read()["knee_id"]) == ["0L", "1L"]
    assert list(log.damaged) == [2]
    assert log.damaged[2]


def test_only_what_was_added_is_parsed_again(log, monkeypatch):
    for number in range(3):
        log.add(review(number))
    log.read()
    lines = []
    monkeypatch.setattr(review_log, "parsed", lambda line, parse=review_log.parsed: lines.append(line) or parse(line))
    assert len(log.read()) == 3
    assert lines == []
    ReviewLog(log.path).add(review(3))
    assert list(log.read()["knee_id"]) == ["0L", "1L", "2L", "3L"]
    assert len(lines) == 1


@pytest.mark.parametrize("removed", [False, True])
def test_a_log_that_was_exchanged_is_read_anew(log, removed):
    for number in range(3):
        log.add(review(number, note="long" * 20))
    log.path.write_bytes(log.path.read_bytes() + b"damaged\n")
    assert (len(log.read()), len(log.damaged)) == (3, 1)
    if removed:
        log.path.unlink()
        assert (len(log.read()), log.damaged) == (0, {})
    log.path.write_text("".join(f"{json.dumps(asdict(review(number)))}\n" for number in range(10, 20)))
    assert list(log.read()["knee_id"]) == [f"{number}L" for number in range(10, 20)]
    assert log.damaged == {}


def test_the_last_word_of_each_reader_on_each_knee_counts(log):
    early = "2020-01-01T00:00:00.000000+00:00"
    for one in (review(0), review(1), review(0, reader="Bo", answer="bad_image")):
        log.add(one)
    log.add(review(0, answer="disagree", grade=3, time=early))
    last = [["Ann", "1L", "agree"], ["Bo", "0L", "bad_image"], ["Ann", "0L", "disagree"]]
    assert log.latest()[["reader", "knee_id", "answer"]].to_numpy().tolist() == last


def test_a_log_without_a_review_is_an_empty_table_and_creates_nothing(tmp_path):
    log = ReviewLog(tmp_path / "new" / "verdicts.jsonl")
    assert list(log.read()) == list(log.latest()) == list(review_log.COLUMNS)
    assert list(tmp_path.iterdir()) == []
    log.add(review(0))
    assert len(log.read()) == 1


def test_an_export_runs_no_formula_and_loses_nothing_else(log, tmp_path):
    notes = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "harmless = 1", 'a "b"\nc, é', ""]
    for number, note in enumerate(notes):
        log.add(review(number, note=note))
    log.add(review(99, reader="=cmd", knee_id="-9L", answer="disagree", grade=0))
    assert log.export_csv(tmp_path / "out" / "verdicts.csv") == 10
    table = pd.read_csv(tmp_path / "out" / "verdicts.csv", dtype={"patient": str}, keep_default_na=False)
    expected = [*(f"'{note}" for note in notes[:6]), *notes[6:], ""]
    assert table["note"].str.replace("\r", "\n").tolist() == [note.replace("\r", "\n") for note in expected]
    assert (table["reader"].iloc[-1], table["knee_id"].iloc[-1]) == ("'=cmd", "'-9L")
    assert table["grade"].tolist() == [*[""] * 9, "0"]
    assert list(table["id"]) == list(log.read()["id"])
    assert log.read()["note"].iloc[0] == "=1+1"
    with pytest.raises(KoaError, match="replaced by its export"):
        log.export_csv(log.path.parent / "." / log.path.name)
    assert len(log.read()) == 10


def test_a_folder_one_may_not_write_to_is_told_and_its_log_can_still_be_read():
    with tempfile.TemporaryDirectory() as folder:
        log = ReviewLog(Path(folder) / "verdicts.jsonl")
        log.add(review(0))
        Path(folder, ".verdicts.jsonl.lock").unlink(missing_ok=True)
        Path(folder).chmod(0o555)
        root = os.geteuid() == 0  # who may write everywhere
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises(KoaError, match=r"(?s)cannot be written.*verdicts.jsonl.*add it again"):
                log.add(review(1))
            with pytest.raises(KoaError, match="cannot be exported"):
                log.export_csv(Path(folder) / "verdicts.csv")
            assert len(log.read()) == 1
        finally:
            if root:
                os.seteuid(0)
            Path(folder).chmod(0o755)


def test_a_path_that_cannot_hold_a_log_and_a_log_that_another_process_holds_are_told(tmp_path, log, monkeypatch):
    monkeypatch.setattr(review_log, "PATIENCE", 0.05)
    with FileLock(log.path.with_name(".verdicts.jsonl.lock")), pytest.raises(KoaError, match="held the log"):
        log.add(review(0))
    assert log.read().empty
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "verdicts.jsonl", tmp_path):
        with pytest.raises(KoaError, match="cannot be written"):
            ReviewLog(path).add(review(0))
        with pytest.raises(KoaError, match="cannot be read"):
            ReviewLog(path).read()


def test_a_full_disk_is_told_and_the_next_review_is_whole(log, monkeypatch):
    log.add(review(0))
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda handle, line: write(handle, line[: len(line) // 2]))
        with pytest.raises(KoaError, match=r"(?s)disk is full.*Free some space"):
            log.add(review(1))
    log.add(review(2))
    assert list(log.read()["knee_id"]) == ["0L", "2L"]
    assert list(log.damaged) == [2]


OTHER_FILES = {
    "text": b"# Notes\n\nKnees.\n",
    "table": b"id,reader,note\n1,Ann,\n",
    "records": b'{"id": "7", "text": "no review"}\n{"id": "8", "text": "nor this"}\n',
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(200),
    "zeros": bytes(300),
    "one blank": b"\n",
}


@pytest.mark.parametrize("content", OTHER_FILES.values(), ids=OTHER_FILES)
def test_nothing_is_added_to_a_file_that_is_no_log(log, content):
    log.path.write_bytes(content)
    for act in (log.check, lambda: log.add(review(0)), lambda: log.add(review(0), seen="")):
        with pytest.raises(KoaError, match="no log of reviews"):
            act()
    assert log.path.read_bytes() == content


def test_a_pipe_is_no_log_and_nobody_waits_for_its_other_end(log):
    os.mkfifo(log.path)
    for act in (log.check, lambda: log.add(review(0))):
        with pytest.raises(KoaError, match="no log of reviews"):
            act()


def test_a_log_that_is_empty_or_whose_only_line_is_torn_anywhere_is_one(log):
    line = json.dumps(asdict(review(0)), ensure_ascii=False).encode()
    for cut in range(len(line)):
        log.path.write_bytes(line[:cut])
        log.check()
        log.add(review(1))
        assert len(log.read()) == 1


def test_a_review_does_not_replace_what_its_reader_said_meanwhile_and_the_same_one_comes_twice_for_free(log):
    first, second = review(0, note="osteophyte"), review(0, answer="disagree", grade=4)
    log.add(first, seen="")
    for one, seen in ((review(0, reader="Bo"), ""), (review(1), ""), (first, "")):
        log.add(one, seen=seen)
    size = log.size()
    log.add(first, seen="")
    assert log.size() == size
    with pytest.raises(KoaError, match=r"Ann agrees “osteophyte” was said of this knee meanwhile"):
        log.add(second, seen="")
    log.add(second, seen=first.id)
    assert log.latest().query("reader == 'Ann' and knee_id == '0L'")["id"].tolist() == [second.id]


REFUSED = {
    "reader": ["", "Ann ", "x" * 201],
    "patient": [9000001],
    "knee_id": [None],
    "note": ["x" * 2001, "half \ud83e"],
    "kl": [5, True, 2.0],
    "answer": ["maybe", "disagree"],
    "grade": [3],
    "id": ["7", 7],
    "time": ["yesterday", 3, *(f"2024-05-01T10:00:00{end}" for end in (".000000+02:00", ".000000", "+00:00"))],
}
CHANGES = [{name: value} for name, values in REFUSED.items() for value in values]
CHANGES += [{"answer": "disagree", "grade": grade} for grade in (2, -1, True)] + [{"answer": "bad_image", "grade": 3}]


@pytest.mark.parametrize("changes", CHANGES)
def test_what_is_no_review_is_refused(changes):
    with pytest.raises(KoaError):
        review(**changes)


def test_reviews_have_their_own_id_and_time_and_never_change(log):
    one, other = review(), review()
    assert one.id != other.id
    assert one.time <= other.time
    with pytest.raises(FrozenInstanceError):
        one.answer = "disagree"
    with pytest.raises(KoaError, match="expected"):
        log.add(asdict(one))
