"""A real browser: Debian's chromium, driven by Playwright."""

import os
import shutil
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="session")
def chromium():
    """The browser; without one these tests are skipped, except in CI, which installs it."""
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "CI installs chromium, and it is not here"
        pytest.skip("no chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shots() -> Path:
    """Where screenshots of phantoms are kept to be looked at."""
    folder = Path(os.environ.get("KOA_SHOTS", "build/screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@pytest.fixture
def page(chromium):
    """A new page, 1120 pixels wide; an error of a script on it fails the test."""
    made = chromium.new_page(viewport={"width": 1120, "height": 1500})
    made.set_default_timeout(120_000)  # a busy machine is slow, not wrong
    errors = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    yield made
    made.close()
    assert errors == []
