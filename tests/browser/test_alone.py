"""The widgets on a page without a kernel, out of what Jupyter saves of them."""

from __future__ import annotations

import json

from nca_lib import live, load
from nca_lib.evaluation import judge_for, read_by_judge
from nca_lib.kinds import MNIST
from nca_lib.widgets import GrowthPlayer, LiveDigit, grow_frames

import ipywidgets
import numpy as np
import pytest
import torch
from chromium import CHROMIUM, FLAGS, MISSING, expect, needs_chromium, sync_playwright

pytestmark = needs_chromium

MOUNT = """async ([esm, saved]) => {
  const element = document.body.appendChild(document.createElement("div"));
  window.model = await window.pages.mountSaved(element, esm, saved);
}"""
STATE = """() => { const { size, cells } = window.model.get("seen");
  const c = cells.buffer; return [size, Array.from(new Float32Array(c))]; }"""


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, MISSING
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def show(browser):
    """Opens a page with one widget in it; its model is `window.model`. Nothing may be requested."""
    errors, requests = [], []
    page = browser.new_page(viewport={"width": 900, "height": 1300})
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))

    def open_page(widget, calm=False):
        page.emulate_media(reduced_motion="reduce" if calm else "no-preference")
        (saved,) = (
            each
            for each in ipywidgets.Widget.get_manager_state(widgets=[widget])["state"].values()
            if each["model_name"] == "AnyModel"
        )
        page.evaluate(
            """async (text) => { window.pages = await import(
            URL.createObjectURL(new Blob([text], { type: "text/javascript" }))); }""",
            live.module("page_model.js"),
        )
        saved = json.loads(json.dumps(saved))
        page.evaluate(MOUNT, [saved["state"].pop("_esm"), saved])
        return page

    yield open_page
    page.close()
    assert errors == []
    assert [url for url in requests if not url.startswith("blob:")] == []


def ink_of(canvas) -> np.ndarray:
    """What a canvas of the player shows, a number a cell: 0 is ink, 255 paper."""
    values = canvas.evaluate(
        """c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, out = [];
        for (let y = 5; y < c.height; y += 10) for (let x = 5; x < c.width; x += 10)
          out.push(d[4 * (y * c.width + x)]);
        return out; }"""
    )
    return np.array(values).reshape(28, 28)


@pytest.fixture(scope="module")
def rule():
    return load("unified")


def test_the_player_scrubs_and_plays_without_a_kernel(show, rule):
    growths = [grow_frames(rule, digit, steps=40) for digit in (3, 8)]
    page = show(GrowthPlayer(growths, ["a 3", "an 8"]))
    canvases, slider = page.locator("canvas.nca-growth"), page.get_by_role("slider", name="step")
    expect(canvases).to_have_count(2)
    expect(canvases.nth(1)).to_have_attribute("aria-label", "The growth of an 8 at step 0: ink")

    def shown(k: int) -> int:
        """The step whose picture a canvas shows: the nearest of all."""
        wanted = 255 * (1 - growths[k][:, 0].clamp(0, 1))
        return int((wanted - torch.tensor(ink_of(canvases.nth(k)))).abs().sum((1, 2)).argmin())

    slider.focus()
    slider.press("End")
    assert [shown(0), shown(1)] == [40, 40]
    slider.fill("17")
    assert [shown(0), shown(1)] == [17, 17]
    assert page.evaluate("window.model.get('step')") == 17
    page.evaluate("window.model.set('step', 12)")  # as Python would
    assert shown(0) == 12
    expect(slider).to_have_attribute("aria-valuetext", "12 of 40")
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible(timeout=15_000)  # it has ended
    assert [shown(0), page.evaluate("window.model.get('step')")] == [40, 40]
    page.get_by_role("button", name="Play").click()  # from the beginning
    page.get_by_role("button", name="Stop").click()
    assert 0 <= shown(0) < 40


def test_the_slider_draws_before_its_event_is_over(show, rule):
    """No decoding, no messages, no waiting: the picture of a step is there at once."""
    page = show(GrowthPlayer(grow_frames(rule, 3, steps=40)))
    page.wait_for_function("document.querySelector('canvas').ariaLabel?.includes('step 0')")
    changed = page.evaluate(
        """() => { const c = document.querySelector("canvas"), s = document.querySelector("input");
        const look = () => c.toDataURL(), before = look();
        s.value = 40; s.dispatchEvent(new Event("input"));
        return look() !== before; }"""
    )
    assert changed


def test_the_player_shows_other_channels_and_other_growths(show, rule):
    growth = grow_frames(rule, 3, steps=40)
    player = GrowthPlayer(growth)
    page = show(player)
    canvas = page.locator("canvas.nca-growth")
    page.get_by_role("slider", name="step").fill("40")
    ink = ink_of(canvas)
    page.get_by_role("button", name="life").click()
    expect(canvas).to_have_attribute("aria-label", "The growth of a picture at step 40: life")
    wanted = 255 * (1 - growth[40, 1].clamp(0, 1))
    assert np.abs(ink_of(canvas) - wanted.numpy()).max() <= 1
    assert not np.array_equal(ink_of(canvas), ink)


def test_the_scheme_is_that_of_the_page_around(show, rule):
    """JupyterLab, an editor and the site say theirs in the body; else it is the system's."""
    page = show(LiveDigit(rule, 3), calm=True)
    widget = page.locator(".nca-live")
    expect(widget).to_have_attribute("data-scheme", "light")
    paper = widget.evaluate("e => getComputedStyle(e).getPropertyValue('--nca-paper')")
    page.emulate_media(color_scheme="dark")
    expect(widget).to_have_attribute("data-scheme", "dark")
    assert widget.evaluate("e => getComputedStyle(e).getPropertyValue('--nca-paper')") != paper
    for name, light, dark in (
        ("theme", "light", "dark"),
        ("vscodeThemeKind", "vscode-light", "vscode-dark"),
        ("jpThemeLight", "true", "false"),
    ):
        for value, scheme in ((light, "light"), (dark, "dark")):
            page.evaluate("([k, v]) => { document.body.dataset[k] = v; }", [name, value])
            expect(widget).to_have_attribute("data-scheme", scheme)


def alive(page):
    page.wait_for_function("window.model.get('seen')?.cells", timeout=30_000)
    (height, width), cells = page.evaluate(STATE)
    return torch.tensor(cells).view(1, -1, height, width)


def read(state) -> int:
    """What the judge reads in a state."""
    return int(read_by_judge(judge_for(MNIST), state[:, :1].clamp(0, 1))[0][0])


def test_the_live_digit_lives_and_tells_its_state(show, rule):
    page = show(LiveDigit(rule, 3), calm=True)  # grown at once, then time stands still
    page.get_by_role("button", name="One step").click()
    assert read(alive(page)) == 3
    page.get_by_role("button", name="8", exact=True).click()
    assert page.evaluate("window.model.get('label')") == 3  # not yet told
    for _ in range(96):
        page.get_by_role("button", name="One step").click()
    page.wait_for_function("window.model.get('label') === 8")
    assert read(alive(page)) == 8


def test_python_puts_a_label_a_style_and_a_state_into_the_page(show, rule):
    page = show(LiveDigit(rule, 3), calm=True)
    style = torch.linspace(-1, 1, rule.config.style_dim)
    grown = rule.grow(7, style[None], rule.trained_steps)[-1]
    page.evaluate("([label, code]) => window.model.set({ label, code })", [7, style.tolist()])
    page.evaluate(
        """cells => window.model.set({ told: { number: 1, size: [28, 28],
        cells: new DataView(new Float32Array(cells).buffer) } })""",
        grown.flatten().tolist(),
    )
    state = alive(page)
    assert torch.equal(state, grown)
    assert page.evaluate("window.model.get('label')") == 7
    for _ in range(40):
        page.get_by_role("button", name="One step").click()
    page.wait_for_timeout(600)  # it looks for changes four times a second
    later = alive(page)
    wanted = rule.grow(7, style[None], 3 * rule.trained_steps)[-1]
    assert read(later) == 7
    assert (later[:, 0] - wanted[:, 0]).abs().mean() < 0.02


def test_a_coloured_rule_lives_too(show):
    from nca_lib.kinds import Kind
    from nca_lib.rule import NCA, RuleConfig

    rule = NCA(
        RuleConfig(channels=9, hidden=8, label_dim=2, style_dim=0), Kind(("a", "b"), 4, (20, 30))
    )
    page = show(LiveDigit(rule.eval(), "b"), calm=True)
    page.get_by_role("button", name="One step").click()
    assert alive(page).shape == (1, 9, 20, 30)
