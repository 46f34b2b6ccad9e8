"""The whole series, run once a test run: on phantom knees, and on real ones where they are here."""

import pytest

from koa_kit.series.run import SeriesFailed, run_series


def run_all(cache, **options):
    """Runs by name, those that failed too, so that each notebook has its own test."""
    with pytest.MonkeyPatch.context() as shell:
        shell.setenv("KOA_CACHE_DIR", str(cache))
        try:
            runs = run_series(seed=0, **options)
        except SeriesFailed as failure:
            runs = failure.runs
    return {run.name: run for run in runs}


@pytest.fixture(scope="session")
def phantom_runs(tmp_path_factory, session_cache):
    """The series on phantom knees at smoke scale, run once."""
    return run_all(session_cache, out_dir=tmp_path_factory.mktemp("phantom"))


@pytest.fixture(scope="session")
def real_runs(tmp_path_factory, session_cache, real_data):
    """The series on the real train and val knees at laptop scale, run once."""
    real = {"dataset": "oai-kl224", "scale": "laptop", "data_dir": real_data}
    return run_all(session_cache, out_dir=tmp_path_factory.mktemp("real"), **real)


@pytest.fixture(scope="session")
def check_green():
    """Function that asserts that a run of a notebook has no fault, its results and its page."""

    def check(run, dataset, scale):
        assert run.findings == ()
        results = run.load_results()
        assert (results["notebook"], results["dataset"], results["scale"]) == (run.name, dataset, scale)
        assert results["claims"]
        assert run.page.exists()

    return check
