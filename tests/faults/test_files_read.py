"""Every file that the kit reads, changed in every way: it is refused by name, or gives what is in it, checked."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from bright_knees import bright_knees
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutants import PLACES, changed_array, changed_bytes, changed_csv, changed_table, changed_text_record, put
from simulated_predictions import simulate_predictions

from koa_kit.comparison.published import PREDICTIONS, SIMILARITIES, read_arms
from koa_kit.comparison.tables import COLUMNS, TABLE, as_table, read_table
from koa_kit.data.manifest import load_manifest
from koa_kit.data.sources.followup import load_followup
from koa_kit.engine.identity import read_identity, write_identity
from koa_kit.engine.resume import load_state, save_state
from koa_kit.error_analysis.predictions import probabilities, read_embeddings, read_predictions, similarities
from koa_kit.errors import KoaError
from koa_kit.model import read_record
from koa_kit.paths import resource
from koa_kit.series.contract import check_committed, check_results
from koa_kit.series.run import check_parameters, find_notebooks
from koa_kit.training import TrainConfig, fit
from koa_kit.training.run import read_history
from koa_kit.workbench.reviews.log import ReviewLog
from koa_kit.workbench.reviews.review import Review

EACH = max(8, int(os.environ.get("KOA_FAULTS", "130")) // 16)
KNEES = 12


@dataclass(frozen=True)
class Kind:
    """A kind of file: its `name`, who reads it, what is drawn as its changes, and what must be true of what is read.

    `read` takes the folder; `right(value, path)` raises or is false if the value is not what the file holds.
    """

    name: str
    read: Callable
    changes: Callable
    right: Callable
    folder: str = ""


def bytes_or(other: Callable) -> Callable:
    """Changes of a file: of its bytes, or those that `other` draws of what is in it."""
    return lambda content: st.one_of(changed_bytes(content), *[other(content)] * 2)


def parquet(content: bytes):
    """Changes of the table in a parquet file, of those that parquet can hold."""
    import io

    def written(table):
        buffer = io.BytesIO()
        try:
            table.to_parquet(buffer)
        except Exception:
            return content[:100]
        return buffer.getvalue()

    return changed_table(pd.read_parquet(io.BytesIO(content))).map(written)


def npy(content: bytes):
    """Changes of the array in a file of numpy's."""
    import io

    def written(array):
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()

    return changed_array(np.load(io.BytesIO(content))).map(written)


def choices_are_those_of_the_file(config, path):
    kept = json.loads(json.dumps(asdict(config)))
    said = json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8"))))
    return kept == json.loads(json.dumps(asdict(TrainConfig()))) | said


def record_is_that_of_the_file(record, path):
    said = json.loads(path.read_text(encoding="utf-8"))
    return json.loads(json.dumps(record["spec"].record())) == said["spec"] and record["versions"] == said["versions"]


def facts_are_those_of_the_file(facts, path):
    said = json.loads(path.read_text(encoding="utf-8"))
    return facts == {name: said[name] for name in ("cohort", "cohort_fingerprint", "processes") if name in said}


def state_is_whole(state, path):
    return state["history"] == [{"loss": 0.5}] and state["weights"].tolist() == list(range(100))


def history_is_numbers(history, path):
    assert np.isfinite(history[["loss", "val_accuracy", "seconds"]].to_numpy(float)).all()
    return history["epoch"].tolist() == list(range(1, len(history) + 1)) != []


def answers_follow_from_similarities(table, path):
    s, p = similarities(table), probabilities(table)
    softmax = np.exp(s - s.max(1, keepdims=True))
    assert abs(softmax / softmax.sum(1, keepdims=True) - p).max() < 2e-3
    assert (p[np.arange(len(p)), table["pred"]] >= p.max(1) - 2e-3).all()
    assert table["knee_id"].is_unique
    return set(table["side"]) <= set("LR?") and set(table["kl"]) <= set(range(5))


def vectors_are_finite(vectors, path):
    return vectors.shape[:2] == (KNEES, 2) and np.isfinite(vectors).all()


def reviews_are_reviews(table, path):
    return all(Review(**json.loads(row.to_json())) for _, row in table.iterrows())


def visits_exist(table, path):
    return set(table["side"]) <= set("LR") and set(table["kl"]) <= set(range(5)) and table["patient"].notna().all()


def trials_are_named_once(table, path):
    return set(COLUMNS) <= set(table) and table["cell"].is_unique and len(table)


def arms_are_answers(arms, path):
    return all(answers_follow_from_similarities(t, path) for seeds in arms.values() for t in seeds.values())


def data_sets_are_entries(manifest, path):
    return set(manifest) == set(yaml.safe_load(path.read_text(encoding="utf-8"))["datasets"])


def nothing(found, path):
    """Of a notebook: that there is nothing to be said against it, or that there is."""
    return found is None or isinstance(found, list)


JSON, YAML = (bytes_or(partial(changed_text_record, kind=kind)) for kind in ("json", "yaml"))
CSV, BARS = bytes_or(changed_csv), bytes_or(partial(changed_csv, sep="|"))
FOLLOWUP = partial(load_followup, raw=True)
KINDS = (
    Kind("config.yaml", lambda f: TrainConfig.read(f / "config.yaml"), YAML, choices_are_those_of_the_file),
    Kind("model.json", read_record, JSON, record_is_that_of_the_file),
    Kind("state/run.json", read_identity, JSON, facts_are_those_of_the_file),
    Kind("state/state.pt", load_state, changed_bytes, state_is_whole),
    Kind("history.csv", lambda f: read_history(f / "history.csv"), CSV, history_is_numbers),
    Kind("predictions.parquet", lambda f: read_predictions(f / "predictions.parquet"), bytes_or(parquet),
         answers_follow_from_similarities),
    Kind("embeddings.npy", lambda f: read_embeddings(f / "embeddings.npy", KNEES), bytes_or(npy), vectors_are_finite),
    Kind("verdicts.jsonl", lambda f: ReviewLog(f / "verdicts.jsonl").read(), changed_bytes, reviews_are_reviews),
    Kind("oai-followup/kl_by_visit.csv", FOLLOWUP, CSV, visits_exist),
    Kind("oai-followup/kxr_sq_bu00.txt", FOLLOWUP, BARS, visits_exist),
    Kind(TABLE, read_table, CSV, trials_are_named_once),
    Kind(f"published/{PREDICTIONS}", lambda f: read_arms(f / "published"), bytes_or(parquet), arms_are_answers),
    Kind("manifest.yaml", lambda f: load_manifest(f / "manifest.yaml"), YAML, data_sets_are_entries),
    Kind("00_x.ipynb", lambda f: check_parameters(f / "00_x.ipynb"), JSON, nothing),
    Kind("01_x.ipynb", lambda f: check_committed(f / "01_x.ipynb"), JSON, nothing),
    Kind("results.json", lambda f: check_results(f / "results.json"), JSON, nothing),
)  # fmt: skip
MAY_BE_ABSENT, FINDINGS = ("state/state.pt", "state/run.json", "verdicts.jsonl"), ("01_x.ipynb", "results.json")
BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with one sound file of each kind."""
    import torch

    home = tmp_path_factory.mktemp("sound")
    config = TrainConfig(image_size=32, epochs=1, batch_size=20)
    run = fit(bright_knees(), config, home / "run").folder
    for name in ("config.yaml", "model.json", "history.csv"):
        shutil.copy(run / name, home)
    write_identity(home, {"cohort": "bright", "cohort_fingerprint": "0a1b", "processes": 1})
    save_state(home, {"history": [{"loss": 0.5}], "weights": torch.arange(100.0)})
    answers = simulate_predictions(patients=KNEES // 2)
    answers.to_parquet(home / "predictions.parquet")
    np.save(home / "embeddings.npy", np.random.default_rng(0).normal(size=(KNEES, 2, 4)).astype(np.float32))
    log = ReviewLog(home / "verdicts.jsonl")
    for row in answers.head(3).itertuples():
        log.add(Review(reader="Ann", knee_id=row.knee_id, patient=row.patient, kl=row.kl, answer="agree"))
    (home / "oai-followup").mkdir()
    lines = [f"{row.patient},{row.side},{months},{row.kl},15" for row in answers.itertuples() for months in (0, 12)]
    (home / "oai-followup" / "kl_by_visit.csv").write_text(
        "\n".join(["patient,side,months,kl,reading_project", *lines])
    )
    lines = [f"{row.patient}|{1 + (row.side == 'L')}|15|{row.kl}" for row in answers.itertuples()]
    (home / "oai-followup" / "kxr_sq_bu00.txt").write_text("\n".join(["ID|SIDE|READPRJ|V00XRKL", *lines]))
    trials = [{"cell": f"{arm}/seed-{seed}", "method": arm, "seed": seed, "status": "finished", "cohort": "x",
               "cohort_fingerprint": "0a1b"} for arm in ("plain", "flip") for seed in (0, 1)]  # fmt: skip
    as_table(trials).to_csv(home / TABLE, index=False)
    (home / "published").mkdir()
    published = pd.concat([answers.assign(cell=t["cell"], row=t["method"], seed=t["seed"]) for t in trials])
    columns = ["cell", "row", "seed", *answers.columns[:7], *SIMILARITIES]
    published[columns].to_parquet(home / "published" / PREDICTIONS, index=False)
    shutil.copy(resource("data_manifest.yaml"), home / "manifest.yaml")
    for number in ("00", "01"):
        shutil.copy(find_notebooks([number])[0], home / f"{number}_x.ipynb")
    (home / "results.json").write_text(json.dumps(dict.fromkeys(
        ("notebook", "dataset", "scale", "seed", "fingerprint", "versions"), "x") | {"claims": {"a": 1}}))  # fmt: skip
    return home


@pytest.fixture
def folder(sound, tmp_path, request):
    """The sound files once more, of the follow-up tables only the one that is changed."""
    home = shutil.copytree(sound, tmp_path / "home", ignore=shutil.ignore_patterns("run"))
    for name in ("kl_by_visit.csv", "kxr_sq_bu00.txt"):
        if not request.node.callspec.params["name"].endswith(name):
            (home / "oai-followup" / name).unlink()
    return home


def end(kind: Kind, folder: Path) -> str:
    """How reading ends: ``refused`` or ``right``; anything else is an error."""
    try:
        value = kind.read(folder)
    except KoaError as error:
        return "refused" if str(folder) in str(error) else f"refused without naming the file: {error}"
    assert kind.right(value, folder / kind.name)
    return "right"


@pytest.mark.parametrize("name", BY_NAME)
def test_a_sound_file_is_read(name, folder):
    assert end(BY_NAME[name], folder) == "right"


@pytest.mark.parametrize("name", BY_NAME)
@settings(max_examples=EACH, deadline=None, derandomize=True, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(data=st.data())
def test_a_changed_file_is_refused_by_name_or_gives_what_is_in_it(name, sound, folder, data):
    kind = BY_NAME[name]
    path = folder / kind.name
    path.write_bytes(data.draw(kind.changes((sound / kind.name).read_bytes())))
    how = end(kind, folder)
    tried(name, how)
    assert how in ("refused", "right")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", BY_NAME)
def test_what_is_no_file_is_refused_and_never_waited_for(name, place, folder):
    kind = BY_NAME[name]
    if name == "state/run.json":  # of a finished run, its checkpoint says the same
        (folder / "model.json").unlink()
    put(folder / kind.name, place)
    if name in MAY_BE_ABSENT:  # as if there were none, or refused
        kind = replace(kind, right=lambda value, path: not value if value is None else not len(value))
    assert end(kind, folder) == "refused" or name in MAY_BE_ABSENT or name in FINDINGS


def tried(name: str, how: str) -> None:
    """Count for the figures in docs/trust.md, into the file that KOA_TALLY names."""
    if tally := os.environ.get("KOA_TALLY"):
        with open(tally, "a", encoding="utf-8") as file:
            file.write(f"{name} {how}\n")
