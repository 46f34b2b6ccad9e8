"""The frame of a notebook: what it refuses, what it prints, what it keeps."""

import json

import numpy as np
import pandas as pd
import pytest

from koa_kit.errors import KoaError
from koa_kit.series.session import NotebookSession, begin


def test_a_session_prints_versions_device_and_settings(capsys, tmp_path):
    session = begin("phantom", "smoke", 5, "", tmp_path)
    text = capsys.readouterr().out
    assert "koa_kit 0.1.0 · torch 2." in text
    assert "device cpu" in text
    assert "data set phantom · scale smoke · seed 5" in text
    assert session.data_dir is None, '"" stands for the usual place'


def test_the_same_seed_draws_the_same_numbers(tmp_path):
    import torch

    draws = []
    for _ in range(2):
        begin("phantom", "smoke", 5, "", tmp_path)
        draws.append((np.random.rand(), torch.rand(1).item()))  # noqa: NPY002
    assert draws[0] == draws[1]


@pytest.mark.parametrize(
    ("dataset", "scale", "seed", "message"),
    [
        ("fantom", "smoke", 0, "fantom"),
        ("phantom", "smoky", 0, "Choose from smoke, laptop, full"),
        ("phantom", "smoke", -1, "whole number"),
        ("phantom", "smoke", "0", "whole number"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused(dataset, scale, seed, message):
    with pytest.raises(KoaError, match=message):
        begin(dataset, scale, seed)


def test_results_keep_the_cohorts_fingerprint_and_the_claims(tmp_path, capsys):
    session = begin("phantom", "smoke", 0, "", tmp_path)
    cohort = session.cohort(patients=15, size=32)
    session.bullet(f"{len(cohort)} knees")
    session.finish("01_data", knees=np.int64(len(cohort)), share=np.float32(0.5), table=pd.Series({"KL0": 1}))
    results = json.loads((tmp_path / "01_data" / "results.json").read_text(encoding="utf-8"))
    assert results["fingerprint"] == cohort.fingerprint
    assert results["claims"] == {"knees": 30, "share": 0.5, "table": {"KL0": 1}}
    assert results["versions"]["koa_kit"] == "0.1.0"
    printed = capsys.readouterr().out
    assert cohort.fingerprint in printed
    assert "• 30 knees" in printed


def test_the_same_knees_are_printed_once_and_others_anew(tmp_path, capsys):
    session, printed = NotebookSession("phantom", "smoke", 0, None, tmp_path), []
    for seed in (0, 0, 1):
        fingerprint = session.cohort(seed=seed, patients=15, size=32).fingerprint
        text = capsys.readouterr().out
        printed.append(fingerprint in text if text else "nothing")
    assert printed == [True, "nothing", True]


@pytest.mark.parametrize("claims", [{}, {"auc": float("nan")}, {"knees": object()}, {"deep": [1, {"x": np.inf}]}])
def test_a_claim_that_is_no_finite_number_is_refused_and_nothing_written(tmp_path, claims):
    with pytest.raises(KoaError):
        NotebookSession("phantom", "smoke", 0, None, tmp_path).finish("01_data", **claims)
    assert list(tmp_path.iterdir()) == []
