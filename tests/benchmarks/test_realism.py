"""Phantoms beside real knees, tried on a folder whose "real" knees are phantoms of other patients."""

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.__main__ import bench
from benchmarks.realism import compare_with_real
from koa_kit.errors import KoaError
from koa_kit.phantom import write_phantom_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_phantom_files(tmp_path_factory.mktemp("own") / "knees", patients=40, size=224, seed=5)


def test_phantoms_cannot_be_told_from_other_phantoms(folder):
    table, auc = compare_with_real(folder, knees=48, towers="koa-tiny", seed=1)
    assert table.index.tolist() == ["histogram distance", "spectrum slope"]
    assert (table["halves"] > 0).all()
    assert 0.2 < auc < 0.8


def test_the_command_prints_both_measures_and_the_area(folder):
    app = typer.Typer()
    app.command()(bench)
    result = CliRunner().invoke(app, ["realism", "--dataset", str(folder), "--knees", "40", "--towers", "koa-tiny"])
    assert result.exit_code == 0
    assert "histogram distance" in result.output
    assert "AUC" in result.output


def test_too_few_knees_are_refused(folder):
    with pytest.raises(KoaError, match="too few"):
        compare_with_real(folder, knees=10)
