"""The results page says what the published tables say."""

import numpy as np
import pytest

from koa_kit import error_analysis as ea
from koa_kit.comparison.source import published_grid
from koa_kit.errors import KoaError
from koa_kit.paths import resource
from koa_kit.pretrained import load_pretrained
from results.make_tables import PAGES, filled, findings


@pytest.mark.parametrize(("page", "tables"), [("results/README.md", 11), ("docs/findings.md", 1)])
def test_a_page_is_what_its_tables_say(page, tables):
    assert page in PAGES
    text = (resource("results").parent / page).read_text(encoding="utf-8")
    assert text.count("<!-- table:") == text.count("<!-- end -->") >= tables
    assert filled(text) == text, "run python -m results.make_tables"


def test_a_finding_is_the_difference_of_the_mean_scores_of_the_development_patients():
    arms = published_grid("sides-cpu").holdout
    mean = {arm: np.mean([ea.compute_metrics(table)["accuracy"] for table in arms[arm].values()]) for arm in arms}
    this, instead, points, *_ = findings().splitlines()[2].strip("| ").split(" | ")
    assert (this, instead) == ("Symmetry Loss", "a random flip")
    assert points.startswith(f"{100 * (mean['symmetry'] - mean['random-flip']):+.1f} (")


def test_what_stands_between_marks_is_written_anew_and_the_rest_is_kept():
    text = "Before.\n\n<!-- table: model -->\nold\n<!-- end -->\n\nAfter.\n"
    found = filled(text)
    assert found.startswith("Before.\n\n<!-- table: model -->\n\n| model |")
    assert found.endswith("<!-- end -->\n\nAfter.\n")
    assert "old" not in found
    accuracy = 100 * ea.compute_metrics(load_pretrained().predictions)["accuracy"]
    assert f"| val, 826 | {accuracy:.1f} (" in found


def test_an_unknown_table_is_refused():
    with pytest.raises(KoaError, match="no table 'grids'"):
        filled("<!-- table: grids sides-cpu -->\n<!-- end -->")
