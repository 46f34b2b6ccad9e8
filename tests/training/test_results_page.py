"""The results page says what the published tables say."""

import pytest

from koa_kit import error_analysis as ea
from koa_kit.errors import KoaError
from koa_kit.paths import resource
from koa_kit.training import load_pretrained
from koa_kit.training.results_page import filled


def test_the_page_is_what_its_tables_say():
    page = (resource("results") / "README.md").read_text(encoding="utf-8")
    assert page.count("<!-- table:") == page.count("<!-- end -->") >= 4
    assert filled(page) == page, "run python -m koa_kit.training.results_page"


def test_what_stands_between_marks_is_written_anew_and_the_rest_is_kept():
    text = "Before.\n\n<!-- table: model -->\nold\n<!-- end -->\n\nAfter.\n"
    found = filled(text)
    assert found.startswith("Before.\n\n<!-- table: model -->\n\n| model |")
    assert found.endswith("<!-- end -->\n\nAfter.\n")
    assert "old" not in found
    accuracy = 100 * ea.metrics(load_pretrained().predictions)["accuracy"]
    assert f"| val, 826 | {accuracy:.1f} (" in found


def test_an_unknown_table_is_refused():
    with pytest.raises(KoaError, match="no table 'grids'"):
        filled("<!-- table: grids sides-cpu -->\n<!-- end -->")
