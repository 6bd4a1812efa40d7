"""Speed of the live model in headless Chromium, on one core: `python benchmarks/live.py`.

Prints JSON: steps per second of grown digits, alone and side by side on larger grids, and how many
digits would keep 30 steps per second; the same in a widget of JupyterLab; and the time of a move of
the growth player's slider until its picture is on the canvas. In the same run: PyTorch's engines.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import nca_lib as nca
from nca_lib import live
from nca_lib.checkpoint import shipped_file
from nca_lib.visual.widgets import GrowthPlayer

import ipywidgets
import nbformat
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from browsers import METADATA, chromium, jupyter, run_all  # noqa: E402

SECONDS = 5.0
GROWN = 128  # steps before the clock starts
IMPORT = """const load = (text) => import(
    URL.createObjectURL(new Blob([text], { type: "text/javascript" })));"""
CLOCK = """const start = performance.now();
  let steps = 0, spent = 0;
  for (; spent < 1000 * seconds; spent = performance.now() - start, steps++) step();
  const rate = Math.round((10000 * steps) / spent) / 10;"""
MEASURE = f"""async ([text, file, labels, seconds, grown]) => {{
  {IMPORT}
  const live = await load(text);
  const model = new live.Model(Uint8Array.from(atob(file), (c) => c.charCodeAt(0)));
  const [height, width] = model.size, grid = new live.Grid(model, height, width * labels.length);
  const conditions = labels.map((label) => model.condition(label));
  labels.forEach((_, k) => grid.plant(height >> 1, width * k + (width >> 1), k));
  const step = () => grid.step(conditions);
  for (let k = 0; k < grown; k++) step();
  {CLOCK}
  return {{ rate, cells_with_ink: grid.channel(0).filter((value) => value > 0.5).length }};
}}"""
NOTEBOOK = f"""async ([seconds, grown]) => {{
  const {{ world }} = document.querySelector(".nca-live").live;
  world.restart(3);
  const step = () => world.step();
  for (let k = 0; k < grown; k++) step();
  {CLOCK}
  return rate;
}}"""
MOVES = f"""async ([pages, esm, saved]) => {{
  {IMPORT}
  await (await load(pages)).mountSaved(document.body, esm, saved);
  const slider = document.querySelector("input[type=range]"), times = [];
  while (!document.querySelector("canvas").ariaLabel) await new Promise((r) => setTimeout(r, 10));
  for (let step = 0; step <= slider.max; step++) {{
    const start = performance.now();
    slider.value = step;
    slider.dispatchEvent(new Event("input"));
    for (const canvas of document.querySelectorAll("canvas")) {{
      canvas.getContext("2d").getImageData(0, 0, 1, 1); // until it is drawn
    }}
    times.push(performance.now() - start);
  }}
  times.sort((a, b) => a - b);
  return {{ median: times[times.length >> 1], most: times[times.length - 1] }};
}}"""


def in_chromium(script: str, data: list) -> dict:
    """What a script returns in a fresh browser."""
    with chromium() as browser:
        return browser.new_page().evaluate(script, data) | {"browser": browser.version}


def steps_of(labels: list[int]) -> dict:
    """Steps per second of these digits side by side."""
    file = base64.b64encode(shipped_file("unified").read_bytes()).decode()
    text = live.module("model.js", "grid.js")
    return in_chromium(MEASURE, [text, file, labels, SECONDS, GROWN])


def slider_moves() -> dict:
    """Milliseconds of a move of the growth player's slider, two growths side by side."""
    frames = nca.load("unified").grow([3, 8], steps=96)
    player = GrowthPlayer(frames.unbind(1), ["3", "8"], frames.spec)
    states = ipywidgets.Widget.get_manager_state(widgets=[player])["state"].values()
    (saved,) = (each for each in states if each["model_name"] == "AnyModel")
    saved = json.loads(json.dumps(saved))
    pages = (ROOT / "docs" / "site" / "alive.js").read_text(encoding="utf-8")
    return in_chromium(MOVES, [pages, saved["state"].pop("_esm"), saved])


@torch.inference_mode()
def in_pytorch(engine: str) -> float:
    """Steps per second of one grown 3."""
    model, steps, done = nca.load("unified"), 50, 0
    condition = model.condition(3)
    state = model(model.seed(), condition, GROWN)
    model(state, condition, steps, engine=engine)  # warm
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        model(state, condition, steps, engine=engine)
        done += steps
    return round(done / (time.perf_counter() - start), 1)


def in_notebook() -> float:
    """Steps per second of one grown 3 in a `LiveDigit`, in JupyterLab."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        path = Path(folder) / "notebooks" / "live.ipynb"
        path.parent.mkdir()
        source = "from nca_lib.visual.widgets import LiveDigit\nLiveDigit()"
        cells = [nbformat.v4.new_code_cell(source)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=METADATA), path)
        with jupyter("lab", Path(folder)) as address:
            page = browser.new_page()
            page.goto(address.format(path.name))
            run_all(page)
            page.wait_for_selector(".nca-live", timeout=90_000)
            return page.evaluate(NOTEBOOK, [SECONDS, GROWN])


def main() -> None:
    if hasattr(os, "sched_setaffinity"):  # the browser inherits it
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    digits = {str(label): steps_of([label])["rate"] for label in (1, 3, 8)}
    many = {n: steps_of([k % 10 for k in range(n)]) for n in (4, 10, 16)}
    dense = in_pytorch("dense")
    print(json.dumps({
        "one grown digit, steps per second": digits,
        "several side by side": many,
        "one grown 3 in JupyterLab, steps per second": in_notebook(),
        "a move of the player's slider, milliseconds": slider_moves(),
        "digits at once that keep 30 steps per second": {
            n: round(n * row["rate"] / 30, 1) for n, row in many.items()},
        "PyTorch's dense engine, steps per second": dense,
        "PyTorch's fastest engine, steps per second": in_pytorch("auto"),
        "ratio of the live model to the dense engine": round(digits["3"] / dense, 2),
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
