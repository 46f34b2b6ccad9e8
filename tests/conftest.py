"""Shared fixtures: where the real knees lie, if they are here, and a cache that is thrown away."""

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # side by side, each with all cores, they would only wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# what a shell begins with & ignores Ctrl-C, and so would the commands that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
pytest_plugins = ["bright_knees", "simulated_predictions"]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole notebooks first: begun last, they would leave the other workers idle."""
    items.sort(key=lambda item: item.get_closest_marker("series") is None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets: ``KOA_DATA_DIR``, else ``../shared/data``; without one, its tests are skipped."""
    folder = Path(os.environ.get("KOA_DATA_DIR", SHARED))
    if not (folder / "oai-kl224").is_dir():
        pytest.skip(f"no oai-kl224 in {folder}")
    return folder


@pytest.fixture
def beside_real_data(real_data, request) -> Path:
    """What a test names beside the images, in the folder of the data sets; without it, the test is skipped."""
    path = real_data / request.param
    if not path.exists():
        pytest.skip(f"no {request.param} in {real_data}")
    return path


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory) -> Path:
    """One cache folder for the whole test run, so that phantom knees are drawn once."""
    return tmp_path_factory.mktemp("koa-cache")


@pytest.fixture(autouse=True)
def _private_folders(monkeypatch, session_cache):
    monkeypatch.setenv("KOA_CACHE_DIR", str(session_cache))
