"""The widgets on a page without a kernel, from what Jupyter saves of them."""

import json
from pathlib import Path

import nca_lib as nca
from nca_lib.visual.widgets import GrowthPlayer, LiveDigit

import ipywidgets
import pytest
import torch
from browsers import expect
from reader import classify

ALIVE = Path(__file__).parents[2] / "docs" / "site" / "alive.js"
MOUNT = """async ([alive, esm, saved]) => {
  const address = URL.createObjectURL(new Blob([alive], { type: "text/javascript" }));
  const element = document.body.appendChild(document.createElement("div"));
  window.widget = await (await import(address)).mountSaved(element, esm, saved); }"""


@pytest.fixture
def show(new_page):
    """Opens a page with one widget in it; its model is `window.widget`."""

    def open_page(widget, calm=False):
        page = new_page(viewport={"width": 900, "height": 1300})
        page.emulate_media(reduced_motion="reduce" if calm else "no-preference")
        states = ipywidgets.Widget.get_manager_state(widgets=[widget])["state"].values()
        (saved,) = (each for each in states if each["model_name"] == "AnyModel")
        saved = json.loads(json.dumps(saved))
        page.evaluate(MOUNT, [ALIVE.read_text(), saved["state"].pop("_esm"), saved])
        return page

    return open_page


@pytest.fixture(scope="module")
def model():
    return nca.load("unified")


def ink_of(canvas) -> torch.Tensor:
    """What a canvas of the player shows, a number a cell: 0 is ink, 255 paper."""
    values = canvas.evaluate(
        """c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, out = [];
        for (let y = 5; y < c.height; y += 10) for (let x = 5; x < c.width; x += 10)
          out.push(d[4 * (y * c.width + x)]);
        return out; }"""
    )
    return torch.tensor(values).view(28, 28)


def test_the_player_scrubs_and_plays_without_a_kernel(show, model):
    frames = model.grow([3, 8], steps=40)
    page = show(GrowthPlayer(frames.unbind(1), ["a 3", "an 8"], model.spec))
    canvases, slider = page.locator("canvas.nca-growth"), page.get_by_role("slider", name="step")
    label = "The growth of an 8 at step 0: ink"
    expect(canvases.nth(1)).to_have_attribute("aria-label", label)  # it is decoded

    def shown() -> list[int]:
        """The steps whose pictures the canvases show: the nearest of all."""
        wanted = 255 * (1 - frames[:, :, 0].clamp(0, 1))
        return [int((wanted[:, k] - ink_of(canvases.nth(k))).abs().sum((1, 2)).argmin())
                for k in range(2)]  # fmt: skip

    slider.press("End")
    assert shown() == [40, 40]
    changed = slider.evaluate(
        """s => { const c = document.querySelector("canvas"), before = c.toDataURL();
        s.value = 17; s.dispatchEvent(new Event("input"));
        return c.toDataURL() !== before; }"""
    )  # at once: no decoding, no messages
    assert changed
    assert (shown(), page.evaluate("window.widget.get('step')")) == ([17, 17], 17)
    page.evaluate("window.widget.set('step', 12)")  # as Python would
    assert shown() == [12, 12]
    expect(slider).to_have_attribute("aria-valuetext", "12 of 40")
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible(timeout=15_000)  # it has ended
    assert (shown(), page.evaluate("window.widget.get('step')")) == ([40, 40], 40)
    page.get_by_role("button", name="alive").click()
    label = "The growth of a 3 at step 40: alive"
    expect(canvases.first).to_have_attribute("aria-label", label)
    wanted = 255 * (1 - frames[40, 0, 1].clamp(0, 1))
    assert (ink_of(canvases.first) - wanted).abs().max() <= 1


def test_the_scheme_is_that_of_the_page_around(show, model):
    """JupyterLab, an editor and the site say theirs in the body; else it is the system's."""
    page = show(LiveDigit(model, 3), calm=True)
    page.emulate_media(color_scheme="dark")
    expect(page.locator(".nca-live")).to_have_attribute("data-scheme", "dark")
    for name, light, dark in (
        ("theme", "light", "dark"), ("vscodeThemeKind", "vscode-light", "vscode-dark"),
        ("jpThemeLight", "true", "false"),
    ):  # fmt: skip
        for value, scheme in ((light, "light"), (dark, "dark")):
            page.evaluate("([k, v]) => { document.body.dataset[k] = v; }", [name, value])
            expect(page.locator(".nca-live")).to_have_attribute("data-scheme", scheme)


def state(page) -> torch.Tensor:
    """The cell state that the page sent last, `[1, C, H, W]`."""
    page.wait_for_timeout(600)  # it looks for changes four times a second
    (height, width), cells = page.evaluate(
        """() => { const { size, cells } = window.widget.get("from_browser");
        return [size, Array.from(new Float32Array(cells.buffer))]; }"""
    )
    return torch.tensor(cells).view(1, -1, height, width)


def step(page, count: int) -> None:
    for _ in range(count):
        page.get_by_role("button", name="One step").click()


def test_the_live_digit_sends_its_state_and_takes_label_style_and_state(show, model):
    page = show(LiveDigit(model, 3), calm=True)  # grown at once, then time stands still
    step(page, 1)
    assert classify(state(page)[:, :1]) == [3]
    page.get_by_role("button", name="8", exact=True).click()
    step(page, 96)
    assert classify(state(page)[:, :1]) == [8]
    assert page.evaluate("window.widget.get('label')") == 8
    style = torch.linspace(-1, 1, model.config.style_dim)
    frames = model.grow(7, style[None], 3 * model.steps)
    page.evaluate(
        """([label, style_values, cells]) => window.widget.set({ label, style_values,
          from_python: { number: 1, size: [28, 28],
            cells: new DataView(new Float32Array(cells).buffer) } })""",
        [7, style.tolist(), frames[model.steps].flatten().tolist()],
    )
    assert torch.equal(state(page), frames[model.steps])
    step(page, 2 * model.steps)
    later = state(page)[:, :1]
    assert classify(later) == [7]
    assert (later - frames[-1, :, :1]).abs().mean() < 0.02


def test_a_coloured_model_lives_too_and_a_reading_one_says_what_it_does(show):
    spec = nca.ImageSpec(("a", "b"), 4, (20, 30))
    widget = LiveDigit(nca.NCA(spec, channels=9, hidden=8, label_dim=0), "b")
    page = show(widget, calm=True)
    step(page, 1)
    assert state(page).shape == (1, 9, 20, 30)
    widget.file = nca.checkpoint.resolve("reader").read_bytes()
    with pytest.raises(Exception, match="this model classifies pictures"):
        show(widget)
