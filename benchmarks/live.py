"""Speed of the live rule in headless Chromium, on one core: `python benchmarks/live.py`.

Prints JSON: steps a second of grown digits, on 28 x 28 cells and side by side on larger grids, and
how many digits at once would keep 30 steps a second; the same of a widget in JupyterLab; and what a
move of the growth player's slider takes until its picture is on the canvas. Beside it how fast
PyTorch's dense step and the library's own rollout are here, in the same run.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import nca_lib
from nca_lib import live
from nca_lib.cells import seed_state
from nca_lib.rollout.dense import dense_rollout
from nca_lib.widgets import GrowthPlayer, grow_frames

import ipywidgets
import nbformat
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "browser"))
from chromium import CHROMIUM, FLAGS, sync_playwright
from test_lab import METADATA, jupyter, wait

SECONDS = 5.0
GROWN = 128  # steps before the clock starts
MEASURE = """async ([text, file, labels, seconds, grown]) => {
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const live = await import(url);
  const rule = live.parseRule(Uint8Array.from(atob(file), (c) => c.charCodeAt(0)).buffer);
  const grid = new live.Grid(rule, 28, 28 * labels.length);
  const genomes = labels.map((label) => rule.genome(label));
  labels.forEach((_, k) => grid.plant(14, 28 * k + 14, k));
  for (let k = 0; k < grown; k++) grid.step(genomes);
  const start = performance.now();
  let steps = 0, spent = 0;
  for (; spent < 1000 * seconds; spent = performance.now() - start, steps++) grid.step(genomes);
  const ink = grid.channel(0).filter((value) => value > 0.5).length;
  return { steps_per_second: Math.round((10000 * steps) / spent) / 10, cells_with_ink: ink };
}"""


MOVES = """async ([pages, esm, saved]) => {
  const load = (text) => import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  await (await load(pages)).mountSaved(document.body, esm, saved);
  const slider = document.querySelector("input[type=range]"), times = [];
  while (!document.querySelector("canvas").ariaLabel) await new Promise((r) => setTimeout(r, 10));
  for (let step = 0; step <= slider.max; step++) {
    const start = performance.now();
    slider.value = step;
    slider.dispatchEvent(new Event("input"));
    for (const canvas of document.querySelectorAll("canvas")) {
      canvas.getContext("2d").getImageData(0, 0, 1, 1); // until it is drawn
    }
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return { median: times[times.length >> 1], most: times[times.length - 1] };
}"""


def in_chromium(script: str, data: list) -> dict:
    """What a script returns in a fresh browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        found = browser.new_page().evaluate(script, data) | {"browser": browser.version}
        browser.close()
    return found


def steps_of(labels: list[int]) -> dict:
    """Steps a second of these digits side by side."""
    weights = (files("nca_lib") / "weights" / "unified.safetensors").read_bytes()
    file = base64.b64encode(weights).decode()
    return in_chromium(MEASURE, [live.module("rule.js"), file, labels, SECONDS, GROWN])


def slider_moves() -> dict:
    """Milliseconds of a move of the growth player's slider, two growths side by side."""
    rule = nca_lib.load("unified")
    player = GrowthPlayer([grow_frames(rule, digit, steps=96) for digit in (3, 8)], ["3", "8"])
    states = ipywidgets.Widget.get_manager_state(widgets=[player])["state"].values()
    (saved,) = (each for each in states if each["model_name"] == "AnyModel")
    saved = json.loads(json.dumps(saved))
    return in_chromium(MOVES, [live.module("page_model.js"), saved["state"].pop("_esm"), saved])


@torch.inference_mode()
def in_pytorch(rollout) -> float:
    """Steps a second of one grown 3."""
    rule, steps, done = nca_lib.load("unified"), 50, 0
    genome, seeds = rule.genome(3), torch.tensor([0])
    state = rule.rollout(seed_state(1, 16), genome, GROWN, seeds)[0]
    rollout(rule, state, genome, steps, seeds, (steps,))  # warm
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        rollout(rule, state, genome, steps, seeds, (steps,))
        done += steps
    return round(done / (time.perf_counter() - start), 1)


NOTEBOOK = """async ([seconds, grown]) => {
  const { world } = document.querySelector(".nca-live").live;
  world.restart(3);
  for (let k = 0; k < grown; k++) world.step();
  const start = performance.now();
  let steps = 0, spent = 0;
  for (; spent < 1000 * seconds; spent = performance.now() - start, steps++) world.step();
  return { steps_per_second: Math.round((10000 * steps) / spent) / 10 };
}"""


def in_notebook() -> float:
    """Steps a second of one grown 3 in a `LiveDigit`, in JupyterLab."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "notebooks" / "live.ipynb"
        path.parent.mkdir()
        cell = nbformat.v4.new_code_cell("from nca_lib.widgets import LiveDigit\nLiveDigit()")
        nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=METADATA), path)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        with jupyter("lab", Path(folder)) as address:
            page = browser.new_page()
            page.goto(address.format(path.name))
            wait(page, "panel?.sessionContext?.session?.kernel?.status === 'idle'", 90)
            page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
            page.wait_for_selector(".nca-live", timeout=90_000)
            return page.evaluate(NOTEBOOK, [SECONDS, GROWN])["steps_per_second"]


def main() -> None:
    if hasattr(os, "sched_setaffinity"):  # the browser inherits it
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    digits = {str(label): steps_of([label])["steps_per_second"] for label in (1, 3, 8)}
    many = {n: steps_of([k % 10 for k in range(n)]) for n in (4, 10, 16)}
    dense = in_pytorch(dense_rollout)
    print(json.dumps({
        "one grown digit, steps a second": digits,
        "several side by side": many,
        "one grown 3 in JupyterLab, steps a second": in_notebook(),
        "a move of the player's slider, milliseconds": slider_moves(),
        "digits at once that keep 30 steps a second": {
            n: round(n * row["steps_per_second"] / 30, 1) for n, row in many.items()},
        "PyTorch's dense step, steps a second": dense,
        "PyTorch, the library's rollout": in_pytorch(type(nca_lib.load("unified")).rollout),
        "ratio of the live rule to the dense step": round(digits["3"] / dense, 2),
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
