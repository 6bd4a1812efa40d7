"""The live rule as one page that needs nothing else: `python tools/make_live_page.py`.

It writes docs/live.html: page.html with the live rule's module and the unified rule's file inside,
and the directions in the space of styles that change slant, weight and width.
"""

from __future__ import annotations

import base64
import json
import sys
from importlib.resources import files
from pathlib import Path

import nca_lib
from nca_lib import live
from nca_lib.checkpoints import resolve, write_atomically

PAGE = Path(__file__).resolve().parents[1] / "docs" / "live.html"
MOST = 500_000  # bytes of the page


def make_page(rule_name: str = "unified") -> str:
    """The text of the page."""
    content, rule = resolve(rule_name).read_bytes(), nca_lib.load(rule_name)
    fills = {
        "size": f"{rule.rule_parameters:,}",
        "rule": base64.b64encode(content).decode(),
        "directions": json.dumps(live.directions(rule)),
        "module": live.module(),
    }
    text = (files("nca_lib") / "live" / "page.html").read_text(encoding="utf-8")
    for name, fill in fills.items():
        assert "</script" not in fill, f"{name} would end its script"
        text = text.replace(f"{{{{{name}}}}}", fill)
    return text


if __name__ == "__main__":
    page = make_page(*sys.argv[1:]).encode()
    if len(page) > MOST:
        sys.exit(f"the page has {len(page):,} bytes, more than {MOST:,}: it was not written")
    write_atomically(PAGE, page)
    print(f"{PAGE}: {len(page):,} bytes")
