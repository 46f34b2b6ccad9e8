"""Claims of each notebook at smoke scale, computed anew from what it left in ``OUT_DIR``, scores without the kit."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, recall_score

from koa_kit import error_analysis as ea
from koa_kit import phantom
from koa_kit.comparison.presets import preset
from koa_kit.comparison.source import grid_source
from koa_kit.data import load_cohort
from koa_kit.data.audit import leak_of_image_split
from koa_kit.error_analysis.statistics.conclusions import outcome
from koa_kit.losses import CONSISTENCY_FORMS, clip_koa_loss, consistency_loss
from koa_kit.model import make_towers
from koa_kit.model.figures import encode_prompts
from koa_kit.paths import resource
from koa_kit.training.figures import descend
from koa_kit.training.run import load_run

NOT_RECOMPUTED = {
    "05_error_analysis": {"heat_on_signs", "grade_kept_when_nudged"},  # they take as long as the notebook
}
AS_ROUNDED = 6e-5
"""Claims are rounded to four digits at most."""

SCORES = {
    "accuracy": lambda t: accuracy_score(t["kl"], t["pred"]),
    "qwk": lambda t: cohen_kappa_score(t["kl"], t["pred"], weights="quadratic"),
    "kl1_recall": lambda t: recall_score(t["kl"] == 1, t["pred"] == 1),
    "flip_disagreement": lambda t: float((t["pred"] != t["pred_flip"]).mean()),
}


def recompute(name: str, out_dir: Path) -> dict:
    """Claims of a notebook of seed 0 on phantom knees, without those in `NOT_RECOMPUTED`."""
    return {
        "00_start_here": start_here,
        "01_data": data,
        "02_prompts": prompts,
        "03_losses": losses,
        "04_training": training,
        "05_error_analysis": errors,
        "06_ablation": ablation,
    }[name](Path(out_dir))


def wrong_claims(claims: dict, recomputed: dict, ignored: set[str] = frozenset(), path: str = "") -> list[str]:
    """Names of claims that differ from the recomputed ones, or that only one of both has."""
    wrong = []
    for key in dict.fromkeys([*claims, *recomputed]):
        name = f"{path}{key}"
        if name in ignored:
            continue
        if key not in claims or key not in recomputed:
            wrong.append(name)
            continue
        claimed, right = claims[key], recomputed[key]
        right = right.tolist() if isinstance(right, np.ndarray) else right
        right = dict(right) if isinstance(right, pd.Series) else right
        if isinstance(right, list):
            claimed, right = dict(enumerate(claimed)), dict(enumerate(right))
        if isinstance(right, dict):
            right = {str(part): value for part, value in right.items()}
            wrong += wrong_claims({str(part): value for part, value in claimed.items()}, right, path=f"{name} ")
        elif isinstance(right, str) or right is None:
            wrong += [name] * (claimed != right)
        else:
            wrong += [name] * (not abs(claimed - right) <= AS_ROUNDED)
    return wrong


def changed_claims(claims: dict, path: str = "") -> Iterator[tuple[str, dict]]:
    """Copies of the claims with one number a little wrong, each with the name of that claim."""
    for key, value in claims.items():
        parts = dict(enumerate(value)) if isinstance(value, list) else value
        if isinstance(parts, dict):
            for name, part in changed_claims(parts, f"{path}{key} "):
                yield name, claims | {key: list(part.values()) if isinstance(value, list) else part}
        elif isinstance(value, int | float):
            yield f"{path}{key}", claims | {key: value + (1 if isinstance(value, int) else 0.001)}


def run_table(out_dir: Path, run: str) -> pd.DataFrame:
    return pd.read_parquet(out_dir / "runs" / run / "predictions.parquet")


def with_interval(table: pd.DataFrame, name: str) -> dict:
    bounds = ea.metric_intervals(table, metrics=[name], seed=0).iloc[0]
    return {"value": SCORES[name](table), "low": bounds["low"], "high": bounds["high"]}


def share_of_kl1(table: pd.DataFrame) -> dict:
    given = table.loc[table["kl"] == 1, "pred"]
    return {grade: float((given == grade).mean()) for grade in range(5)}


def start_here(out_dir: Path) -> dict:
    table, knees = run_table(out_dir, "plain"), load_cohort("phantom", seed=0).table
    counts = np.bincount(knees.loc[knees["split"] == "train", "kl"])
    return {
        "accuracy": with_interval(table, "accuracy"),
        "qwk": with_interval(table, "qwk"),
        "majority_grade": int(counts.argmax()),
        "majority_accuracy": float((knees.loc[knees["split"] == "val", "kl"] == counts.argmax()).mean()),
        "kl1_goes_to": share_of_kl1(table),
        "paper_knees_apart": 1190 - 1151,  # 71.86 % and 69.50 % of 1,656
        "paper_interval": 1.96 * np.sqrt(1190 / 1656 * (466 / 1656) / 1656),
    }


def data(out_dir: Path) -> dict:
    cohort = load_cohort("phantom", seed=0)
    table = cohort.table
    both = table.pivot(index="patient", columns="side", values="kl")
    best = phantom.noise_ceiling(phantom.consensus_probabilities(table))
    readers = [table[name] for name in sorted(table.filter(like="reader_"))]
    return {
        "knees": len(cohort.images),
        "patients": table["patient"].nunique(),
        "inverted": int(table["inverted"].sum()),
        "inverted_by_split": table.groupby("split")["inverted"].sum(),
        "shared_patients": int((table.groupby("patient")["split"].nunique() > 1).sum()),
        "duplicates": len(cohort.images) - len({image.tobytes() for image in cohort.images}),
        "same_grade_share": float((both["L"] == both["R"]).mean()),
        "image_split_leak": leak_of_image_split(table, val_share=(table["split"] == "val").mean(), seed=0),
        "reader_kappa": [cohen_kappa_score(a, b, weights="quadratic") for a, b in combinations(readers, 2)],
        "ceiling_accuracy": best.accuracy,
        "ceiling_kl1_recall": best.kl1_recall,
        "knees_followed_up": len(table),
    }


def prompts(out_dir: Path) -> dict:
    sets = yaml.safe_load((resource("koa_kit") / "prompt_sets.yaml").read_text(encoding="utf-8"))
    minilm = make_towers("lite0-minilm")
    vectors = {name: encode_prompts(minilm, name) for name in sets}
    gap = {name: np.mean([v[k] @ v[k + 1] for k in range(4)]) - v[0] @ v[4] for name, v in vectors.items()}
    others = sorted((out_dir / "runs").glob("prompts-*"))
    tables = {path.name.removeprefix("prompts-"): run_table(out_dir, path.name) for path in others}
    tables["paper"] = run_table(out_dir, "plain")
    return {
        "prompt_sets": len(sets),
        "neighbour_gap": gap,
        "kl1_recall": {name: SCORES["kl1_recall"](table) for name, table in tables.items()},
        "wordings_that_differ": beyond(ea.compare(tables, baseline="paper"), "kl1_recall"),
    }


def beyond(table: pd.DataFrame, metric: str) -> int:
    """Number of methods whose difference from the baseline has an interval without 0."""
    rows = table[table["metric"] == metric]
    return int(((rows["difference_low"] > 0) | (rows["difference_high"] < 0)).sum())


def losses(out_dir: Path) -> dict:
    val = load_cohort("phantom", seed=0).split("val")
    rows = [row for kl, n in enumerate((1, 2, 1, 1, 1)) for row in np.flatnonzero(val.table["kl"] == kl)[:n]]
    six = val.take(np.array(rows))
    plain, both = (load_run(out_dir / "runs" / name).predict(six)[0] for name in ("plain", "symmetry_consistency"))
    logits, kl = np.stack([ea.similarities(plain), ea.similarities(plain, "_flip")], axis=1), six.table["kl"].to_numpy()
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    entropy = -np.log(p[np.arange(6), :, kl]).mean(axis=0)

    def gap(loss) -> float:
        last = descend(logits, kl, loss)[-1]
        last = np.exp(last) / np.exp(last).sum(axis=2, keepdims=True)
        return np.abs(last[:, 0] - last[:, 1]).max()

    weighed = {"cross-entropy": (0, 0), "symmetry": (1, 0), "symmetry + consistency": (1, 1)}
    gaps = {
        name: gap(lambda a, b, y, s=s, c=c: clip_koa_loss(a, b, y, symmetry=s, consistency=c).total)
        for name, (s, c) in weighed.items()
    }
    s, s_flip = (torch.tensor(logits[:, view]) for view in (0, 1))
    return {
        "knees_that_change": int((plain["pred"] != plain["pred_flip"]).sum()),
        "knees_that_change_with_both_losses": int((both["pred"] != both["pred_flip"]).sum()),
        "cross_entropy": entropy[0],
        "symmetry": entropy.sum(),
        "consistency_forms": {form: consistency_loss(s, s_flip, form).item() for form in CONSISTENCY_FORMS},
        "gap_left": gaps | {"consistency alone": gap(lambda a, b, y: consistency_loss(a, b))},
    }


def training(out_dir: Path) -> dict:
    names = ["plain", "random_flip", "canonical_side", "flip_pooling", "symmetry", "symmetry_consistency"]
    tables = {name.replace("_", " "): run_table(out_dir, name) for name in names}
    tables["flip averaging"] = ea.flip_averaged(tables["plain"])
    metrics = ("accuracy", "qwk", "flip_disagreement")
    claims = {metric: {name: SCORES[metric](table) for name, table in tables.items()} for metric in metrics}
    compared = ea.compare(tables, baseline="plain", metrics=["accuracy"])
    return claims | {"methods_that_differ": beyond(compared, "accuracy")}


def errors(out_dir: Path) -> dict:
    cohort = load_cohort("phantom", seed=0)
    run = load_run(out_dir / "runs" / "symmetry_consistency")
    knees = cohort.split("test")
    table, _ = run.predict(knees)
    best = phantom.noise_ceiling(phantom.consensus_probabilities(knees.table))
    s = ea.similarities(table)
    moved = np.argmax(s + 0.5 * (np.arange(5) == 1), axis=1)
    calibrated = ea.calibrated(table, ea.temperature(run.predictions))
    return {
        "split": "test",
        "knees": cohort.fingerprint,
        "accuracy": with_interval(table, "accuracy"),
        "qwk": with_interval(table, "qwk"),
        "kl1_goes_to": share_of_kl1(table),
        "hardest_grade": int(f1_score(table["kl"], table["pred"], average=None, labels=range(5)).argmin()),
        "ceiling_accuracy": best.accuracy,
        "ceiling_qwk": best.qwk,
        "ece_after_temperature": ea.compute_metrics(calibrated)["ece"],
        "kl1_recall_with_bias": recall_score(table["kl"] == 1, moved == 1),
        "coverage_of_sets": ea.conformal_table(table, coverage=0.9, seed=0).loc["all", "coverage"],
    }


def ablation(out_dir: Path) -> dict:
    cohort = load_cohort("phantom", seed=0)
    names = ("miniature", "miniature-ordinal")
    grids = [grid_source(out_dir / "published" / name, "", preset(name), cohort) for name in names]
    grid, orders = grids[0], grids[1].with_base(grids[0])
    every = ["accuracy", "qwk", "kl1_recall", "flip_disagreement"]
    table = ea.compare_arms(grid.val, baseline="random-flip", metrics=every, seed=0).set_index(["metric", "row"])
    gap = table.loc[("accuracy", "symmetry")]
    equal = ea.compare_at_recall(
        "cdw-ce", orders.preset.baseline, chosen_on=orders.val, judged_on=orders.holdout, seed=0
    ).dropna(subset="difference")
    fair = equal.set_index("metric").loc["accuracy"]

    def mean(arms, metric, row):
        return float(np.mean([SCORES[metric](one) for one in arms[row].values()]))

    return {
        "source": f"{len(grid.cells)} cells trained here just now on phantom knees, which are synthetic",
        "knees": cohort.fingerprint,
        "seeds": len(grid.val["symmetry"]),
        **{m: {row: mean(grid.val, m, row) for row in ("plain", "random-flip", "symmetry")} for m in every[:3]},
        "qwk_low": table.loc["qwk", "low"],
        "flip_disagreement": {row: mean(grid.val, "flip_disagreement", row) for row in grid.val},
        "symmetry_minus_random_flip": interval_of(gap),
        "verdicts": {row.Index: outcome(row) for row in table.loc["accuracy"].drop("random-flip").itertuples()},
        "ordinal_qwk": {row: mean(orders.val, "qwk", row) for row in orders.val},
        "cdw_ce_at_equal_recall": interval_of(fair),
        "ceiling": grid.ceiling(),
    }


def interval_of(row: pd.Series) -> dict:
    return {"difference": row["difference"], "low": row["difference_low"], "high": row["difference_high"]}
