"""A knee's neighbours are the knees the model sees alike, in either view, and pairs too alike are found."""

import numpy as np
import pytest

from koa_kit.error_analysis import neighbours
from koa_kit.error_analysis.neighbours import near_duplicates, nearest
from koa_kit.errors import KoaError


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def embeddings():
    """60 knees with a view and a mirror image each, that share a direction as those of one model do."""
    rng = np.random.default_rng(2)
    return unit(rng.normal(0, 1, (60, 2, 16)) + 0.7)


@pytest.fixture
def patients():
    return np.array([f"p{row // 2}" for row in range(60)])


def by_hand(embeddings, one, other):
    """Best cosine of two knees, pair of views by pair of views."""
    pairs = [(embeddings[one, a], embeddings[other, b]) for a, b in ((0, 0), (0, 1), (1, 0))]
    return max(float(np.dot(a, b)) for a, b in pairs)


@pytest.mark.parametrize("views", [1, 2])
def test_neighbours_are_the_knees_with_the_largest_cosines(embeddings, views):
    given = embeddings if views == 2 else embeddings[:, 0].copy()
    reference = embeddings if views == 2 else embeddings[:, :1].repeat(2, 1)
    for row in (0, 17, 59):
        cosines = {other: by_hand(reference, row, other) for other in range(60) if other != row}
        rows, cosine = nearest(given, row, count=5)
        assert list(rows) == sorted(cosines, key=lambda other: -cosines[other])[:5]
        assert cosine == pytest.approx([cosines[other] for other in rows], abs=1e-6)
        assert cosine.dtype == np.float32


def test_knees_of_the_same_patient_are_left_out(embeddings, patients):
    embeddings[11] = embeddings[10]
    assert nearest(embeddings, 10)[0][0] == 11
    others = nearest(embeddings, 10, count=60, patients=patients)[0]
    assert sorted(others) == [row for row in range(60) if patients[row] != patients[10]]


def test_equally_near_knees_come_in_the_order_of_their_rows(embeddings):
    embeddings[[7, 21, 33, 50]] = embeddings[4]
    assert list(nearest(embeddings, 4, count=3)[0]) == [7, 21, 33]


def all_pairs(embeddings):
    pairs = [(one, other) for one in range(60) for other in range(one + 1, 60)]
    return sorted(((*pair, by_hand(embeddings, *pair)) for pair in pairs), key=lambda found: -found[2])


@pytest.mark.parametrize("cells", [1, 500, 2**22])
def test_pairs_are_the_most_similar_of_the_whole_table_whatever_the_block(embeddings, patients, monkeypatch, cells):
    monkeypatch.setattr(neighbours, "CELLS", cells)
    expected = all_pairs(embeddings)
    for limit in (expected[29][2] - 1e-4, -1):
        found = near_duplicates(embeddings, patients, above=limit, most=40)
        wanted = [pair for pair in expected if pair[2] >= limit][:40]
        assert list(zip(found["first"], found["second"], strict=True)) == [pair[:2] for pair in wanted]
        assert found["cosine"].to_numpy() == pytest.approx([pair[2] for pair in wanted], abs=1e-6)
        assert list(found["same_patient"]) == [one // 2 == other // 2 for one, other, _ in wanted]


def test_copies_are_found_in_order_and_no_more_than_asked_for(embeddings, patients, monkeypatch):
    monkeypatch.setattr(neighbours, "CELLS", 120)
    embeddings[[8, 20, 41]] = embeddings[5]
    found = near_duplicates(embeddings, patients, above=1)
    assert list(zip(found["first"], found["second"], strict=True)) == [
        (5, 8), (5, 20), (5, 41), (8, 20), (8, 41), (20, 41),
    ]  # fmt: skip
    fewer = near_duplicates(embeddings, patients, above=1, most=3)
    assert fewer.equals(found[:3])
    assert not found["same_patient"].any()


def test_no_neighbour_and_no_pair_are_no_error(embeddings, patients):
    assert [len(found) for found in nearest(embeddings[:2], 1, patients=["a", "a"])] == [0, 0]
    for table in (near_duplicates(embeddings, patients, above=1), near_duplicates(embeddings[:1], ["a"])):
        assert list(table) == ["first", "second", "cosine", "same_patient"]
        assert table.empty


def test_half_precision_and_lists_of_patients_are_taken(embeddings, patients):
    rows, cosine = nearest(embeddings.astype(np.float16), 2, patients=list(patients))
    exact = nearest(embeddings, 2, patients=patients)
    assert cosine == pytest.approx(exact[1], abs=3e-3)
    assert cosine.dtype == np.float32
    assert len(rows) == 6


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda e: e[:, :, 0, None] * np.nan, "60 knees .* no unit vector"),
        (lambda e: np.where(np.arange(60) == 33, np.inf, e.T).T, r"1 knees (.|\n)*row 33"),
        (lambda e: 2 * e, "60 knees .* no unit vector"),
        (lambda e: e.repeat(2, 1), "shape"),
        (lambda e: e[0, 0], "shape"),
        (lambda e: e[:0], "shape"),
        (lambda e: e.astype(int), "type int64"),
    ],
)
def test_embeddings_that_are_no_unit_vectors_are_refused(embeddings, patients, change, what):
    with pytest.raises(KoaError, match=what):
        nearest(change(embeddings), 0)
    with pytest.raises(KoaError, match=what):
        near_duplicates(change(embeddings), patients)


def test_rows_patients_and_limits_that_do_not_fit_are_refused(embeddings, patients):
    others = [({"row": row}, "no knee in row") for row in (-1, 60, 1.0, True, "3")]
    for wrong, what in [({"patients": patients[:3]}, "do not fit 60 knees"), ({"count": 0}, "none"), *others]:
        with pytest.raises(KoaError, match=what):
            nearest(embeddings, **{"row": 0} | wrong)
    limits = [({"above": 1.2}, "no cosine"), ({"most": 0}, "none")]
    for wrong, what in [({"patients": [None, *patients[1:]]}, "no patient"), *limits]:
        with pytest.raises(KoaError, match=what):
            near_duplicates(embeddings, **{"patients": patients} | wrong)
