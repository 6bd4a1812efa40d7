"""Headless Chromium for the browser tests, looked for on the PATH.

Without it, or without playwright, the tests are skipped, or fail where NCA_BROWSER=required.
"""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["CHROMIUM", "FLAGS", "MISSING", "expect", "needs_chromium", "sync_playwright"]

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    CHROMIUM = expect = sync_playwright = None

MISSING = "NCA_BROWSER=required, but there is no Chromium or no playwright"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
needs_chromium = pytest.mark.skipif(
    not CHROMIUM and os.environ.get("NCA_BROWSER") != "required",
    reason="no Chromium, or no playwright",
)
