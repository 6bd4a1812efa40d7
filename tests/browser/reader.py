"""What a reader of a page does and sees: drags, drawings, digits that a classifier reads."""

from nca_lib.classifier import load_classifier

import numpy as np
import pytest
import torch
from scipy.ndimage import center_of_mass

SEVEN = [(0.28, 0.2), (0.72, 0.2), (0.45, 0.85)]  # a stroke on the pad, (x, y) from 0 to 1


def classify(ink) -> list[int]:
    """What the classifier reads in pictures `[N, 1, 28, 28]`."""
    with torch.inference_mode():
        return load_classifier()(ink.clamp(0, 1)).argmax(1).tolist()


def drag(page, *points) -> None:
    """Press the mouse, move it through the points in the window, and let go."""
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=8)
    page.mouse.up()


def on_pad(page, stroke=SEVEN):
    """Points on the pad in the window, (x, y)."""
    pad = page.locator(".nca-pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]


def live_on(place, count: int) -> None:
    """Let the digit in an element live for as many steps more, as quickly as the page can."""
    place.get_by_role("slider", name="speed").press("End")
    place.evaluate(
        """async (element, count) => { const { world } = element.live, first = world.grid.steps;
        const end = performance.now() + 60000;
        while (world.grid.steps < first + count) {
          if (performance.now() > end) throw new Error("too slow, or dead");
          await new Promise(requestAnimationFrame); } }""",
        count,
    )


def digits(place) -> torch.Tensor:
    """The ink of every digit on the grid, around its centre of mass: `[N, 1, 28, 28]`."""
    ink, owner, height, width, count = place.evaluate(
        """element => { const { grid, height, width, digits } = element.live.world;
        return [[...grid.channel(0)], [...grid.owner], height, width, digits.length]; }"""
    )
    ink = np.reshape(ink, (height, width)).clip(0, 1)
    owner = np.reshape(owner, (height + 2, width + 2))[1:-1, 1:-1]
    found = []
    for k in range(count):
        own = ink * (owner == k)
        y, x = (round(middle) for middle in center_of_mass(own))
        found.append(np.pad(own, 14)[y : y + 28, x : x + 28])
    return torch.from_numpy(np.stack(found)).float()[:, None]


def cut(page, place) -> float:
    """Drag the mouse over a digit while time stands still: the share of its ink that is gone."""
    place.get_by_role("button", name="Pause").click()
    canvas = place.locator(".nca-stage")
    canvas.scroll_into_view_if_needed()
    before, box = digits(place).sum(), canvas.bounding_box()
    y = box["y"] + 0.7 * box["height"]
    drag(page, (box["x"] + 0.2 * box["width"], y), (box["x"] + 0.8 * box["width"], y))
    lost = float(1 - digits(place).sum() / before)
    place.get_by_role("button", name="Play").click()
    return lost


def serious_faults(page) -> list:
    """Serious accessibility faults that axe finds, with the elements."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options={"preload": False}).response  # reads no file by itself
    assert {"color-contrast", "button-name"} <= {rule["id"] for rule in found["passes"]}
    return [
        (fault["id"], [node["html"][:200] for node in fault["nodes"]])
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
