import pandas as pd
import pytest

from koa_kit.data import load_followup, progression, read_oai_tables
from koa_kit.errors import KoaError

HEADER = "patient,side,months,kl,reading_project\n"


@pytest.fixture
def tables(tmp_path):
    """Writes texts by file name into a folder ``oai-followup`` and gives the data folder above it."""

    def write(texts):
        (tmp_path / "oai-followup").mkdir()
        for name, text in texts.items():
            (tmp_path / "oai-followup" / name).write_text(text)
        return tmp_path

    return write


def test_of_two_readings_the_one_of_project_15_is_kept_and_patients_are_text_as_in_a_cohort(tables):
    home = tables({"kl_by_visit.csv": HEADER + "012,L,0,2,37\n012,L,0,1,15\n012,R,0,3,42\n012,R,0,2,37\n"})
    table = load_followup(home)
    assert table.to_numpy().tolist() == [["012", "L", 0, 1, 15], ["012", "R", 0, 2, 37]]
    assert len(load_followup(home, raw=True)) == 4


@pytest.mark.parametrize("row", ["1,X,0,2,15", "1,L,0,5,15", "1,L,7,2,15", "1,L,0,2,"])
def test_a_side_grade_or_visit_that_does_not_exist_is_refused(tables, row):
    with pytest.raises(KoaError, match=r"does not exist[\s\S]*kl_by_visit\.csv"):
        load_followup(tables({"kl_by_visit.csv": HEADER + row + "\n"}))


def test_the_oais_own_tables_are_read_with_their_labels_and_missing_values(tables):
    first = "ID|SIDE|READPRJ|VERSION|V00XRKL\n9000001|2: Left|15|1|2: 2\n9000001|1|15|1|0\n9000002|1|15|1|.: Missing\n"
    fourth = "id|side|readprj|v06xrkl\n9000001|2|15|3\n9000001|2|37|4\n"
    home = tables({"kxr_sq_bu00.txt": first, "kxr_sq_bu06.txt": fourth, "other.txt": "x"})
    readings = read_oai_tables(home / "oai-followup")
    assert readings.to_numpy().tolist() == [
        ["9000001", "L", 0, 2, 15],
        ["9000001", "R", 0, 0, 15],
        ["9000001", "L", 48, 3, 15],
        ["9000001", "L", 48, 4, 37],
    ]
    assert load_followup(home)["kl"].tolist() == [2, 3, 0]


def test_a_table_without_its_grades_is_refused_by_column(tables):
    home = tables({"kxr_sq_bu06.txt": "ID|SIDE|READPRJ|V05XRKL\n1|1|15|2\n"})
    with pytest.raises(KoaError, match=r"lacks the columns V06XRKL[\s\S]*kxr_sq_bu06\.txt"):
        load_followup(home)


def test_progression_counts_knees_by_their_highest_grade_until_the_visit():
    rows = [
        ("a", "L", 0, 1), ("a", "L", 24, 2), ("a", "L", 48, 1),
        ("b", "L", 0, 1), ("b", "L", 48, 1), ("b", "L", 72, 4),
        ("c", "R", 0, 0), ("c", "R", 12, 1),
        ("d", "R", 0, 3), ("d", "R", 48, 4),
        ("lost", "R", 0, 1),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["patient", "side", "months", "kl"])
    result = progression(table, months=48)
    assert result["n"].to_dict() == {0: 1, 1: 2, 3: 1}
    assert result.loc[1, "reached_kl2"] == 0.5
    assert result.loc[0, ["reached_kl2", "one_grade_worse"]].tolist() == [0, 1]
    assert pd.isna(result.loc[3, "reached_kl2"])
    assert progression(table, months=72).loc[1, "reached_kl2"] == 1


def test_progression_refuses_two_readings_of_a_visit():
    table = pd.DataFrame({"patient": ["a", "a"], "side": "L", "months": 0, "kl": [1, 2]})
    with pytest.raises(KoaError, match="several readings"):
        progression(table)


@pytest.mark.parametrize("beside_real_data", ["oai-followup"], indirect=True)
def test_one_in_five_real_kl1_knees_reaches_kl2_by_four_years(beside_real_data):
    table = load_followup(beside_real_data.parent)
    assert not table.duplicated(["patient", "side", "months"]).any()
    result = progression(table, months=48)
    assert result.loc[1, "reached_kl2"] == pytest.approx(0.2, abs=0.03)
    assert result.loc[0, "reached_kl2"] == pytest.approx(0.04, abs=0.01)
