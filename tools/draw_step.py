"""The README's diagram of one step, docs/step.svg: light on light pages, dark on dark ones."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from nca_lib.checkpoint import write_atomically

from matplotlib import rc_context

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from course import diagram  # noqa: E402

TITLE = "One step: perceive, network, fire mask, plus the state, alive mask"
ON_DARK = {
    diagram.PAPER: "#1b1d21",
    diagram.EDGE: "#34373c",
    diagram.INK: "#e9e6df",
    diagram.SOFT: "#a6abb2",
    diagram.NETWORK: "#22303c",
    diagram.SEEN: "#7cc0ea",
    diagram.CONDITION: "#dc9acb",
    diagram.FIRE: "#f09a5b",
    diagram.ALIVE: "#4fc3a3",
}


def style() -> str:
    """Colours for a reader whose system is dark; matplotlib writes each as an inline style."""
    rules = [
        f'[style*="{name}: {light}"]{{{name}:{dark} !important}}'
        for light, dark in ON_DARK.items()
        for name in ("fill", "stroke")
    ]
    return f"<style>@media (prefers-color-scheme: dark){{{''.join(rules)}}}</style>"


def main() -> None:
    content, metadata = io.BytesIO(), {"Title": TITLE, "Date": None, "Creator": None}
    with rc_context({"svg.hashsalt": "step"}):  # the same file each time
        diagram.step_diagram().savefig(content, format="svg", metadata=metadata)
    text = content.getvalue().decode().replace("</svg>", f"{style()}</svg>")
    write_atomically(ROOT / "docs" / "step.svg", text.encode())


if __name__ == "__main__":
    main()
