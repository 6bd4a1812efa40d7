"""The live rule: the rule running in the reader's browser, in a notebook or on a page.

`rule.js` computes a step, `encoder.js` infers styles; `world.js` holds digits that live together,
`stage.js` draws them and listens to the pointer, `pad.js` is written on, and `live.js` is the page.
"""

from __future__ import annotations

import re
from importlib.resources import files

PARTS = (
    "rule.js", "encoder.js", "world.js", "pad.js", "stage.js", "controls.js", "style.js", "tour.js",
    "live.js",
)  # fmt: skip
OWN_IMPORT = re.compile(r'^import [^;]*? from "\./[\w.]+";\n', re.M)


def module(*parts: str) -> str:
    """The parts (default: all) joined into one ES module that imports nothing.

    A notebook's widget and a page opened as a file can't import a second file.
    """
    texts = [(files(__name__) / part).read_text(encoding="utf-8") for part in parts or PARTS]
    return "\n".join(OWN_IMPORT.sub("", text) for text in texts)
