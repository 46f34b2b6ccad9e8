"""The predictions table: what is let in, what is refused, and the free baseline."""

import numpy as np
import pandas as pd
import pytest

from koa_kit import error_analysis as ea
from koa_kit.error_analysis.predictions import COLUMNS, margin, probabilities, similarities
from koa_kit.errors import KoaError


def test_predictions_come_back_from_parquet_as_they_were_and_an_absent_or_damaged_file_is_named(predictions, tmp_path):
    predictions.to_parquet(tmp_path / "predictions.parquet", index=False)
    pd.testing.assert_frame_equal(ea.read_predictions(tmp_path / "predictions.parquet"), predictions)
    with pytest.raises(KoaError, match="no predictions"):
        ea.read_predictions(tmp_path / "none.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(KoaError, match=r"torn\.parquet"):
        ea.read_predictions(tmp_path / "torn.parquet")


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_of_the_record_is_required(predictions, column):
    with pytest.raises(KoaError, match=f"lack {column}\\."):
        ea.check_predictions(predictions.drop(columns=column))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("s2", np.nan, r"not finite.*\n.*knee 9000003R, column s2\n"),
        ("s2_flip", np.inf, "not finite"),
        ("p3", 0.9, "do not add up"),
        ("p3_flip", 0.9, "do not add up"),
        ("kl", 5, "another label set"),
        ("pred", -1, "another label set"),
        ("pred_flip", 7, "another label set"),
        ("patient", None, "no patient"),
    ],
)
def test_one_bad_knee_is_refused(predictions, column, value, said):
    predictions.loc[7, column] = value
    with pytest.raises(KoaError, match=said):
        ea.check_predictions(predictions)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda knees: knees.assign(p0=1.5, p1=-0.5, p2=0.0, p3=0.0, p4=0.0), "do not add up"),
        (lambda knees: knees.assign(kl=knees["kl"].astype(str)), "another label set"),
        (lambda knees: knees.assign(kl=knees["kl"] + 0.5), "another label set"),
        (lambda knees: knees.assign(s5=0.0, p5=0.0), "more than five"),
        (lambda knees: pd.concat([knees, knees.iloc[:1]]), "twice"),
        (lambda knees: knees.iloc[:0], "no knee"),
        (lambda knees: knees.assign(patient=[[1]] * len(knees)), "patient is no name"),
        (lambda knees: knees.assign(knee_id=[{"a": 1}] * len(knees)), "knee_id is no name"),
        (lambda knees: "runs/plain", "not str"),
    ],
)
def test_other_tables_and_what_is_no_table_are_refused(predictions, change, said):
    with pytest.raises(KoaError, match=said):
        ea.check_predictions(change(predictions))


def test_flip_averaging_is_the_mean_of_both_views_and_never_changes_when_flipped(predictions):
    averaged = ea.flip_averaged(predictions)
    mean = (probabilities(predictions) + probabilities(predictions, "_flip")) / 2
    np.testing.assert_allclose(probabilities(averaged), mean, atol=1e-6)
    np.testing.assert_array_equal(averaged["pred"], mean.argmax(1))
    assert (averaged["pred"] == averaged["pred_flip"]).all()
    assert (averaged["pred"] != predictions["pred"]).any()
    assert ea.check_predictions(averaged) is averaged
    pd.testing.assert_frame_equal(ea.flip_averaged(averaged), averaged)


def test_the_margin_is_the_lead_over_the_runner_up(predictions):
    ranked = np.sort(similarities(predictions), axis=1)
    np.testing.assert_allclose(margin(predictions), ranked[:, -1] - ranked[:, -2])


def test_reliability_and_calibration_error_match_a_loop_over_the_bins_and_keep_empty_ones(predictions):
    table, top = ea.reliability(predictions), probabilities(predictions).max(1)
    right, error = (predictions["pred"] == predictions["kl"]).to_numpy(), 0.0
    for row, low in zip(table.itertuples(), np.arange(15) / 15, strict=True):
        chosen = (top > low) & (top <= low + 1 / 15)
        assert row.knees == chosen.sum()
        if chosen.any():
            assert (row.confidence, row.accuracy) == pytest.approx((top[chosen].mean(), right[chosen].mean()))
            error += chosen.mean() * abs(top[chosen].mean() - right[chosen].mean())
    assert np.isnan(table.loc[0, "accuracy"])
    assert ea.compute_metrics(predictions)["ece"] == pytest.approx(error, abs=1e-9)


def test_a_model_scaled_three_times_too_sure_is_cooled_by_three(make_predictions):
    plain = make_predictions(200, seed=1)
    loud = ea.calibrated(plain, 1 / 3)
    assert ea.temperature(loud) == pytest.approx(3 * ea.temperature(plain), rel=1e-3)
    cooled = ea.calibrated(loud, ea.temperature(loud))
    assert ea.compute_metrics(cooled)["ece"] < ea.compute_metrics(loud)["ece"] - 0.05
    assert (probabilities(cooled).argmax(1) == loud["pred"]).all()
    with pytest.raises(KoaError, match="above 0"):
        ea.calibrated(plain, 0)


@pytest.mark.parametrize(
    "function",
    [
        *(ea.compute_metrics, ea.confusion, ea.per_grade, ea.metric_intervals, ea.reliability, ea.temperature),
        *(ea.find_label_issues, ea.unstable, ea.flip_averaged, ea.confused, ea.recall_figure, ea.flip_figure),
        *(ea.similarity_figure, ea.kl1_figure, ea.similarity_scatter, ea.confusion_figure, ea.reliability_figure),
        lambda predictions: ea.conformal_table(predictions, 0.9),
        lambda predictions: ea.apply_rule(predictions, ea.DecisionRule()),
    ],
)
def test_no_public_function_takes_a_table_that_is_no_predictions_table(predictions, function):
    twice = pd.concat([predictions, predictions[:1]])
    absent, empty = predictions.drop(columns=["pred", "patient"]), predictions[:0]
    for wrong in (twice, absent, empty, predictions.assign(p1=3.0), predictions.assign(s2=np.nan), None):
        with pytest.raises(KoaError):
            function(wrong)
