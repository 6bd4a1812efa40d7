"""The live model as one page that needs nothing else: `python tools/make_live_page.py`.

It writes docs/live.html: page.html with the live model's module, the unified model's file and the
directions of style inside. And docs/live.png, a picture of the page, which Chromium takes.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from importlib.resources import files
from pathlib import Path

import nca_lib
from nca_lib import live
from nca_lib.checkpoint import resolve, write_atomically

from browsers import chromium
from PIL import Image

PAGE = Path(__file__).resolve().parents[1] / "docs" / "live.html"
PICTURE = PAGE.with_suffix(".png")  # for the README
MOST = 500_000  # bytes of the page


def make_page() -> str:
    """The text of the page."""
    content, model = resolve("unified").read_bytes(), nca_lib.load("unified")
    fills = {
        "size": f"{model.parameter_count:,}",
        "model": base64.b64encode(content).decode(),
        "directions": json.dumps(live.directions(model)),
        "module": live.module(),
    }
    text = (files("nca_lib") / "live" / "page.html").read_text(encoding="utf-8")
    for name, fill in fills.items():
        assert "</script" not in fill, f"{name} would end its script"
        text = text.replace(f"{{{{{name}}}}}", fill)
    return text


def picture_of(page: Path) -> bytes:
    """A PNG of the page in a window of 1280 x 800, a digit with a fresh cut in it."""
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.emulate_media(reduced_motion="reduce")  # grown, and time stands still
        tab.goto(page.as_uri())
        for k in range(12):
            tab.evaluate("k => live.live.erase(19 - k, 6 + 1.4 * k, 1.6)", k)
        for _ in range(3):
            tab.evaluate("live.live.stepOnce()")
        content = tab.screenshot()
    small = Image.open(io.BytesIO(content)).convert("RGB").quantize(64)
    small.save(packed := io.BytesIO(), format="PNG", optimize=True)
    return packed.getvalue()


if __name__ == "__main__":
    page = make_page().encode()
    if len(page) > MOST:
        sys.exit(f"the page has {len(page):,} bytes, more than {MOST:,}: it was not written")
    write_atomically(PAGE, page)
    write_atomically(PICTURE, picture_of(PAGE))
    print(f"{PAGE}: {len(page):,} bytes, {PICTURE}: {PICTURE.stat().st_size:,} bytes")
