"""Measures of realism: known answers first, then phantoms beside phantoms of other patients, then beside real knees."""

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.realism import compare_with_real, domain_auc, histogram_distance, looks, realism, spectrum_slope
from koa_kit.data import load_cohort
from koa_kit.errors import KoaError
from koa_kit.phantom import phantom_cohort, write_phantom_files


def cloudy(images: int, slope: float, seed: int = 0, size: int = 128) -> np.ndarray:
    """Random images whose power falls with this exponent, uint8."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    radius[0, 0] = np.inf
    spectra = np.fft.fft2(rng.standard_normal((images, size, size))) * radius ** (slope / 2)
    fields = np.fft.ifft2(spectra).real
    fields /= fields.std(axis=(1, 2), keepdims=True)
    return np.clip(128 + 35 * fields, 0, 255).astype(np.uint8)


def test_pictures_ten_levels_brighter_are_ten_levels_apart():
    images = np.random.default_rng(0).integers(20, 200, (4, 32, 32)).astype(np.uint8)
    dark, bright = (looks(some, np.arange(4)).histograms for some in (images, images + 10))
    assert histogram_distance(dark, bright) == pytest.approx(10)
    assert histogram_distance(dark, dark) == 0


@pytest.mark.parametrize("slope", [-2.0, -3.0])
def test_the_slope_of_a_power_law_is_found(slope):
    found = spectrum_slope(looks(cloudy(30, slope), np.arange(30)).spectra)
    assert found == pytest.approx(slope, abs=0.12)


def test_halves_of_one_set_are_as_near_as_halves_and_another_texture_is_far():
    patients = np.repeat(np.arange(40), 2)
    real, same, other = (looks(cloudy(80, *of), patients) for of in ((-3.0, 1), (-3.0, 2), (-2.4, 3)))
    near, far = realism(real, same), realism(real, other)
    # Whole sets lie nearer to each other than halves do.
    assert near.loc["spectrum slope", "ratio"] < 3 < 10 < far.loc["spectrum slope", "ratio"]
    assert near.loc["spectrum slope", "real"] == pytest.approx(-3, abs=0.15)


def test_one_patient_has_no_halves():
    few = looks(cloudy(4, -3.0), np.zeros(4))
    with pytest.raises(KoaError, match="no halves"):
        realism(few, few)
    with pytest.raises(KoaError, match="square"):
        looks(np.zeros((3, 4, 5), np.uint8), np.zeros(3))


def test_a_classifier_tells_apart_what_differs_and_only_that():
    rng = np.random.default_rng(3)
    real, same = rng.standard_normal((2, 200, 20))
    other = same + np.eye(20)[0] * 3
    patients = np.repeat(np.arange(100), 2)
    assert 0.4 < domain_auc(real, same, patients, patients) < 0.6
    assert domain_auc(real, other, patients, patients) > 0.95


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Its "real" knees are phantoms."""
    return write_phantom_files(tmp_path_factory.mktemp("own") / "knees", patients=40, size=224, seed=5)


def test_phantoms_cannot_be_told_from_other_phantoms(folder):
    table, auc = compare_with_real(folder, knees=48, towers="koa-tiny", seed=1)
    assert table.index.tolist() == ["histogram distance", "spectrum slope"]
    assert (table["halves"] > 0).all()
    assert 0.2 < auc < 0.8


def test_the_command_prints_both_measures_and_the_area_and_refuses_too_few_knees(folder):
    few = ["realism", "--dataset", str(folder), "--towers", "koa-tiny", "--knees"]
    result = CliRunner().invoke(app, [*few, "40"])
    assert result.exit_code == 0
    assert "histogram distance" in result.output
    assert "AUC" in result.output
    assert "too few" in str(CliRunner().invoke(app, [*few, "10"]).exception)


def test_phantoms_are_as_near_to_real_knees_as_three_halves_are(real_data, session_cache):
    real = load_cohort("oai-kl224", data_dir=real_data, cache_dir=session_cache).split("train")
    synthetic = phantom_cohort(600, seed=3, shares="oai")
    rows = np.arange(0, len(real), 2)
    table = realism(
        looks(real.images[rows], real.table["patient"].to_numpy()[rows]),
        looks(synthetic.images, synthetic.table["patient"].to_numpy()),
    )
    assert table["ratio"].max() <= 3, table
