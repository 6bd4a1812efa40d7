"""A headless browser for all tests in this folder.

Without Chromium or playwright they are skipped, or fail where NCA_BROWSER=required.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from browsers import CHROMIUM, chromium


@pytest.fixture(scope="module")  # no longer: its event loop would disturb other tests
def browser():
    if not CHROMIUM:
        missing = "no Chromium, or no playwright"
        (pytest.fail if os.environ.get("NCA_BROWSER") == "required" else pytest.skip)(missing)
    with chromium() as launched:
        yield launched


@pytest.fixture
def new_page(browser):
    """Makes pages; no error may be reported on one, and nothing be requested from elsewhere."""
    contexts, errors, requests = [], [], []

    def make(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        page.on("request", lambda request: requests.append(request.url))
        return page

    yield make
    for context in contexts:
        context.close()
    assert errors == []
    here = ("data:", "blob:", "file:")
    assert [url for url in requests if not url.startswith(here)] == []
