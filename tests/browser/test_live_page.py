"""docs/live.html, opened from its file in Chromium and used as a reader would.

What the cells become is read by the classifier, out of the state on the page.
"""

import json
import re
from itertools import pairwise
from pathlib import Path

import nca_lib as nca
from nca_lib import live

import make_live_page
import numpy as np
import pytest
from browsers import expect
from reader import SCREENSHOTS, classify, digits, drag, live_on, on_pad

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
GROWN, CHANGED = 64, 96  # steps until a digit has grown, and until another has grown out of it
LONGEST = 2 * 32**0.5  # style that still grows digits; see nca_lib/live/world.js
LIVE = "const live = document.getElementById('live').live, { world, stage } = live;"
MIDDLE = [(20, 3), (8, 24)]  # a cut across the digit, cells (y, x)
SERIOUS = ("serious", "critical")  # faults, as axe has it


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The page as it is made now, in a file."""
    path = tmp_path_factory.mktemp("page") / "live.html"
    path.write_text(make_live_page.make_page(), encoding="utf-8")
    return path


@pytest.fixture
def open_page(new_page, made):
    """Opens the page, for instance in dark."""

    def open_it(clock=False, viewport=DESK, **options):
        page = new_page(viewport=viewport, **options)
        if clock:  # time that passes only when the test says so
            page.clock.install(time=0)
            page.clock.pause_at(1000)
        page.goto(made.as_uri())
        return page

    return open_it


def ask(page, expression: str, given=None):
    """The value of an expression that may use `live`, its `world` and `stage`, and `given`."""
    return page.evaluate(f"(given) => {{ {LIVE} return {expression}; }}", given)


def wait(page, condition: str) -> None:
    """Until it holds. (Playwright's own wait_for_function needs eval: the page forbids it.)"""
    page.evaluate(
        f"""async () => {{ {LIVE} const end = performance.now() + 30000;
        while (!({condition})) {{
          if (performance.now() > end) throw new Error("this never came true");
          await new Promise(requestAnimationFrame); }} }}"""
    )


def steps(page) -> int:
    return ask(page, "world.grid.steps")


def cells(page) -> int:
    return ask(page, "world.population()[0]")


def labels(page) -> list[int]:
    return ask(page, "world.digits.map((digit) => digit.label)")


def style(page) -> list[float]:
    return ask(page, "[...world.style]")


def run(page, count: int):
    live_on(page.locator("#live"), count)
    return page


def read(page) -> list[int]:
    """What the classifier reads on the page, digit by digit."""
    return classify(digits(page.locator("#live")))


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def slide(page, name: str, key: str) -> None:
    """Move a slider by a key: "End", "Home", "ArrowRight"."""
    page.get_by_role("slider", name=name).press(key)


def cell(page, y: float, x: float) -> tuple[float, float]:
    """Where a cell is in the window: (x, y)."""
    box, (height, width) = (
        page.locator(".nca-stage").bounding_box(), ask(page, "[world.height, world.width]")
    )  # fmt: skip
    return (
        box["x"] + (x + 0.5) / width * box["width"],
        box["y"] + (y + 0.5) / height * box["height"],
    )


def written(page):
    """The reader writes a seven; the list in which its label is chosen."""
    drag(page, *on_pad(page))
    chosen = page.get_by_label("This is a")
    expect(chosen).to_have_value("7", timeout=30_000)
    return chosen


def picture(page, name: str, **options) -> None:
    page.screenshot(path=SCREENSHOTS / f"page_{name}.png", **options)


# ---- growing, healing, becoming another ----------------------------------------------------------


def test_it_grows_by_itself_and_above_the_fold(open_page):
    since = []
    for _ in range(3):  # the machine may be busy
        page = open_page()
        wait(page, "world.grid.channel(0).filter((ink) => ink > 0.5).length > 30")
        since.append(page.evaluate("performance.now()"))
        if since[-1] < 2000:
            break
    assert min(since) < 2000
    wait(page, f"world.grid.steps >= {GROWN}")
    assert read(page) == [3]
    for name in ("8", "Pause", "Ten-second tour"):
        box = button(page, name).bounding_box()
        assert box["y"] + box["height"] < DESK["height"]
    picture(page, "desk_light")


def test_a_cut_by_the_mouse_heals(open_page):
    page = run(open_page(), GROWN)
    before, ink = cells(page), digits(page.locator("#live"))
    page.mouse.move(*cell(page, *MIDDLE[0]))
    page.mouse.down()
    page.mouse.move(*cell(page, *MIDDLE[1]), steps=8)
    stood = steps(page)  # while the mouse cuts, time stands still: a cut would heal unseen
    assert cells(page) < 0.85 * before
    assert digits(page.locator("#live")).sum() < 0.9 * ink.sum()
    expect(page.get_by_role("status")).to_contain_text("Erased")
    expect(page.locator(".nca-hint")).to_contain_text("another digit")
    picture(page, "cut")
    assert steps(page) == stood
    page.mouse.up()
    run(page, 2 * GROWN)
    assert read(page) == [3]
    assert cells(page) == pytest.approx(before, rel=0.1)


def test_a_label_changed_in_mid_life_changes_the_digit(open_page):
    page = run(open_page(), GROWN)
    before = steps(page)
    ask(page, "window.grid = world.grid")
    button(page, "8").click()
    run(page, CHANGED)
    assert read(page) == [8]
    assert ask(page, "window.grid === world.grid")  # it was not planted anew
    assert steps(page) >= before + CHANGED
    assert [button(page, name).get_attribute("aria-pressed") for name in "83"] == ["true", "false"]


def test_two_seeds_make_two_digits(open_page):
    page = open_page()
    button(page, "96").click()
    page.get_by_label("a tap on the paper plants").select_option("8")
    page.mouse.click(*cell(page, 20, 20))
    assert labels(page) == [3, 8]
    assert read(run(page, GROWN)) == [3, 8]
    page.mouse.click(*cell(page, 48, 48))  # the first is selected
    assert labels(page) == [3, 8]
    button(page, "1").click()
    assert read(run(page, CHANGED)) == [1, 8]


def test_erased_for_good_it_says_what_to_do(open_page):
    page = open_page()
    slide(page, "brush", "End")
    for y in range(2, 28, 8):
        drag(page, cell(page, y, 0), cell(page, y, 27))
    expect(page.get_by_role("status")).to_contain_text("All cells are dead")
    expect(page.locator(".nca-hint")).to_contain_text("plant a seed")
    button(page, "5").click()
    assert read(run(page, GROWN)) == [5]


def test_ten_digits_side_by_side_stay_what_they_are(open_page):
    """Each has a sheet of its own; without it they had grown into each other after 400 steps."""
    page = open_page()
    button(page, "all 10").click()
    ask(page, "(() => { for (let k = 0; k < 1500; k++) world.step(); })()")
    assert read(page) == list(range(10))
    walled = "(k) => world.grid.walls[world.grid.at((k / world.width) | 0, k % world.width)]"
    assert ask(page, f"[...world.grid.channel(1)].every((v, k) => !v || !({walled})(k))")
    y, x = divmod(ask(page, f"[...Array(128 * 128).keys()].findIndex({walled})"), 128)
    page.mouse.click(*cell(page, y, x))
    assert len(labels(page)) == 10  # no seed is planted between the sheets
    button(page, "56").click()
    assert ask(page, "world.grid.walls") is None


def test_hints_go_on_to_what_was_not_tried_yet(open_page):
    page = run(open_page(), GROWN)
    hint = page.locator(".nca-hint")
    for words, act in (
        ("cut", lambda: drag(page, *(cell(page, *place) for place in MIDDLE))),
        ("another digit", lambda: button(page, "7").click()),
        ("Write a digit", lambda: drag(page, *on_pad(page))),
        ("Grow all", lambda: button(page, "all 10").click()),
        ("larger canvas", lambda: (button(page, "96").click(),
                                   page.mouse.click(*cell(page, 20, 20)))),
        ("hidden", lambda: button(page, "hidden").click()),
    ):  # fmt: skip
        expect(hint).to_contain_text(words)
        act()
    expect(hint).to_have_text("")


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_no_button_moves_when_words_change(open_page, viewport):
    page, places = open_page(viewport=viewport), set()
    text = (Path(live.__file__).parent / "live.js").read_text(encoding="utf-8")
    hints = re.findall(r'^  \w+: "(.+)",$', text.split("const HINTS")[1].split("};")[0], re.M)
    assert len(hints) == 6
    for words in ("", "A word.", "From now on it is an 8. Press Play to see it."):
        ask(page, "live.say(given)", words)
        for hint in ("", *hints):
            ask(page, "live.hint.textContent = given", hint)
            places.add(button(page, "7").bounding_box()["y"])
    assert len(places) == 1


# ---- handwriting ---------------------------------------------------------------------------------


def test_a_drawing_is_read_and_all_digits_take_on_its_handwriting(open_page):
    page = run(open_page(), GROWN)
    assert not any(style(page))
    chosen, own = written(page), style(page)
    assert np.linalg.norm(own) > 1
    assert read(run(page, GROWN)) == [7]
    button(page, "Grow all 10").click()
    assert labels(page) == list(range(10))
    run(page, GROWN)
    assert style(page) == own
    assert sum(a == b for a, b in zip(read(page), range(10), strict=True)) >= 8
    picture(page, "all_in_own_handwriting")
    chosen.select_option("1")  # the reader knows better
    assert ask(page, "world.label") == 1
    assert style(page) != own


def test_a_style_that_grows_nothing_is_shortened(open_page):
    """A six that is said to be a one: its code is far from all that was trained."""
    page = open_page()
    chosen = written(page)
    for label in range(10):
        chosen.select_option(str(label))
        assert np.linalg.norm(style(page)) <= LONGEST + 0.01
    ask(page, "live.usePicture(new Float32Array(784).fill(0.9), 1)")  # all ink
    assert np.linalg.norm(style(page)) == pytest.approx(LONGEST, rel=1e-3)


def test_the_model_that_writes_can_also_read(open_page):
    """Nine of ten of MNIST's digits, by the label that explains them best."""
    page, pictures = open_page(), nca.mnist().test.limit(30)
    reading = "live.read(Float32Array.from(given)).then(() => Number(live.reading.value))"
    found = [ask(page, reading, image.flatten().tolist()) for image in pictures.images]
    right = sum(a == b for a, b in zip(found, pictures.labels.tolist(), strict=True))
    assert right >= 0.85 * len(found)


def test_a_dot_on_the_pad_is_too_small(open_page):
    page = open_page()
    drag(page, *on_pad(page, [(0.5, 0.5), (0.52, 0.5)]))
    expect(page.get_by_role("status")).to_contain_text("too small")
    expect(page.get_by_label("This is a")).to_be_hidden()


def test_random_and_mean_styles_and_their_directions(open_page):
    page = open_page()
    button(page, "Random").click()
    assert np.linalg.norm(style(page)) > 1
    button(page, "Mean").click()
    assert not any(style(page))
    button(page, "1").click()
    for k, name in enumerate(live.FEATURES):
        measured = []
        for key in ("Home", "End"):
            button(page, "Mean").click()
            slide(page, name, key)
            button(page, "Restart").click()
            run(page, GROWN)
            measured.append(live.features(digits(page.locator("#live"))[:, 0])[0, k].item())
        assert np.linalg.norm(style(page)) == pytest.approx(2, rel=0.01)
        assert measured[1] > measured[0] + 0.05 * abs(measured[0]), name


# ---- time and looks ------------------------------------------------------------------------------


def test_time_runs_at_its_speed_stands_and_begins_anew(open_page):
    page = open_page(clock=True)
    for key, rate in ((None, 30), ("ArrowRight", 60), ("End", 240), ("Home", 1)):
        if key:
            slide(page, "speed", key)
        before = steps(page)
        page.clock.run_for(4000)
        assert steps(page) - before == pytest.approx(4 * rate, rel=0.05, abs=1)
    slide(page, "speed", "End")
    button(page, "Pause").click()
    before = steps(page)
    button(page, "One step").click()
    button(page, "One step").click()
    page.clock.run_for(1000)
    assert steps(page) == before + 2
    button(page, "Play").click()
    page.clock.run_for(100)
    assert steps(page) > before + 10
    button(page, "One step").click()  # stops it
    expect(button(page, "Play")).to_be_visible()
    button(page, "Restart").click()
    assert (steps(page), cells(page)) == (0, 1)
    page.clock.run_for(500)
    assert steps(page) > 50


def test_fire_rate_and_brush(open_page):
    page = run(open_page(), GROWN)
    button(page, "Pause").click()
    shares, lost = [], []
    for key in ("Home", "End"):
        slide(page, "fire rate", key)
        lived, before = cells(page), ask(page, "[...world.grid.channel(2)]")
        button(page, "One step").click()
        after = ask(page, "[...world.grid.channel(2)]")
        shares.append(sum(a != b for a, b in zip(before, after, strict=True)) / lived)
    for key in ("Home", "End"):
        slide(page, "brush", key)
        lived, (x, y) = cells(page), cell(page, 14, 14)
        drag(page, (x, y), (x + 6, y))  # less than a cell, more than a tap
        lost.append(lived - cells(page))
    assert shares == [pytest.approx(0.1, abs=0.07), pytest.approx(1, abs=0.07)]
    assert lost[0] <= 3
    assert lost[1] > 80


def test_views_and_canvases(open_page):
    page = run(open_page(), GROWN)
    button(page, "Pause").click()
    shown = set()
    for name in ("ink", "alive", "origin", "hidden"):
        button(page, name).click()
        assert max(ask(page, f"[...world.grid.picture({name!r})]")) > 0.2
        assert button(page, name).get_attribute("aria-pressed") == "true"
        shown.add(ask(page, "stage.canvas.toDataURL()"))
    assert len(shown) == 4
    for name, side in (("56", 56), ("96", 96), ("all 10", 128), ("28", 28)):
        button(page, name).click()
        assert ask(page, "[world.height, world.width]") == [side, side]
        assert ask(page, "stage.canvas.width % world.width") == 0
    assert len(labels(page)) == 1


# ---- the tour ------------------------------------------------------------------------------------


def test_the_tour_runs_through_and_ends_with_ten_digits(open_page):
    page = open_page(clock=True)
    button(page, "alive").click()
    button(page, "Ten-second tour").click()
    page.clock.run_for(1900)
    assert (read(page), ask(page, "stage.view")) == ([3], "ink")
    before = cells(page)
    page.clock.run_for(1300)
    assert cells(page) < 0.85 * before
    page.clock.run_for(1600)
    assert read(page) == [3]
    assert cells(page) > 0.95 * before
    page.clock.run_for(1800)
    assert read(page) == [8]
    page.clock.run_for(1400)
    assert ask(page, "[world.alive, stage.strokes.length]") == [False, 2]
    page.clock.run_for(2000)
    assert labels(page) == list(range(10))
    assert np.linalg.norm(style(page)) > 1
    assert sum(a == b for a, b in zip(read(page), range(10), strict=True)) >= 8
    picture(page, "tour_end")
    page.clock.run_for(1000)
    before = steps(page)
    page.clock.run_for(4000)
    assert steps(page) - before == pytest.approx(120, abs=2)  # time is as quick as before
    assert ask(page, "[stage.strokes, stage.ring, live.playing]") == [None, None, True]


@pytest.mark.parametrize("when", [1000, 2500, 7000])  # it grows, is cut, is written
def test_who_does_anything_ends_the_tour(open_page, when):
    page = open_page(clock=True)
    button(page, "Ten-second tour").click()
    page.clock.run_for(when)
    slide(page, "speed", "ArrowLeft")
    page.clock.run_for(5000)
    before = steps(page)
    page.clock.run_for(4000)
    assert steps(page) - before == pytest.approx(60, abs=2)
    assert ask(page, "[stage.strokes, stage.ring, live.size]") == [None, None, "one"]
    assert read(page) == [8 if when > 6000 else 3]


# ---- everybody -----------------------------------------------------------------------------------


def touch(page, *places) -> None:
    """A finger comes down, moves along the lines between the places, and leaves."""
    session, kind = page.context.new_cdp_session(page), "touchStart"
    for start, end in pairwise(places):
        for k in range(9):
            x, y = (a + (b - a) * k / 8 for a, b in zip(start, end, strict=True))
            points = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
            session.send("Input.dispatchTouchEvent", points)
            kind = "touchMove"
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_fingers_erase_plant_and_write(open_page):
    page = run(open_page(viewport=PHONE, has_touch=True, is_mobile=True), GROWN)
    button(page, "Pause").tap()
    page.evaluate("scrollTo(0, 0)")
    before = cells(page)
    touch(page, cell(page, 3, 14), cell(page, 25, 14))
    assert cells(page) < 0.8 * before
    assert page.evaluate("scrollY") == 0
    button(page, "56").tap()  # at once: the finger's stroke doesn't glide on
    page.evaluate("scrollTo(0, 0)")
    page.touchscreen.tap(*cell(page, 5, 6))
    assert len(labels(page)) == 2
    touch(page, *on_pad(page))
    expect(page.get_by_label("This is a")).to_have_value("7")
    wait(page, "world.grid.steps > 5")  # the picture was scrolled to, and lives


def tab_to(page, selector: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(s) => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"no way to {selector} by the Tab key")


def press(page, keys: str) -> None:
    for key in keys.split():
        arrow = key in ("Left", "Right", "Up", "Down")
        page.keyboard.press(f"Arrow{key}" if arrow else key)


def test_keys_do_everything(open_page):
    page = run(open_page(), GROWN)
    page.evaluate("document.activeElement.blur()")
    tab_to(page, ".nca-play")
    press(page, "Enter")  # pause
    assert ask(page, "live.playing") is False
    tab_to(page, ".nca-stage")
    expect(page.get_by_text("Arrows move, Enter erases")).to_be_visible()
    assert ask(page, "stage.ring") == [14, 14]
    before = cells(page)
    press(page, "Left Left Up Enter")
    assert ask(page, "stage.ring") == [13, 12]
    assert cells(page) < before - 10
    tab_to(page, "[aria-label='canvas'] button:nth-child(3)")
    press(page, "Enter")
    tab_to(page, ".nca-stage")
    press(page, "Shift+ArrowUp " * 6 + "Shift+ArrowLeft " * 6 + "Space")
    assert labels(page) == [3, 3]
    tab_to(page, ".nca-labels button:nth-child(6)")
    press(page, "Space")
    assert labels(page) == [3, 5]
    tab_to(page, ".nca-pad")
    expect(page.get_by_text("Arrows move, Space lowers the pen")).to_be_visible()
    press(page, "Up " * 6 + "Left " * 4 + "Space " + "Right " * 8 + "Down Left Down " * 5)
    press(page, "Down " * 4 + "Space")
    assert ask(page, "[live.pad.strokes.length, live.pad.stroke]") == [1, None]
    press(page, "Enter")
    expect(page.get_by_label("This is a")).to_have_value("7")
    assert np.linalg.norm(style(page)) > 1
    assert page.evaluate("document.activeElement.className") == "nca-pad"
    tab_to(page, "#tour")  # out of the pad, round to the beginning
    press(page, "Enter")
    expect(page.get_by_role("status")).to_contain_text("One cell grows")


def test_two_keys_together_write_aslant_and_escape_begins_anew(open_page):
    page = open_page()
    page.locator(".nca-pad").focus()
    press(page, "Space")
    page.keyboard.down("ArrowDown")
    page.keyboard.down("ArrowRight")
    page.keyboard.up("ArrowDown")
    page.keyboard.up("ArrowRight")
    press(page, "Right")
    found = ask(page, "live.pad.strokes[0]")
    assert np.allclose(found, [[0.5, 0.5], [0.5, 0.55], [0.55, 0.6], [0.6, 0.6]])
    press(page, "Escape")
    assert ask(page, "[live.pad.strokes.length, live.pad.stroke]") == [0, None]


def test_reduced_motion_begins_grown_and_still(open_page):
    page = open_page(reduced_motion="reduce")
    assert [steps(page), ask(page, "live.playing")] == [GROWN, False]
    assert read(page) == [3]
    expect(page.get_by_role("status")).to_contain_text("Press Play")
    wait(page, "(window.frames_ = (window.frames_ ?? 0) + 1) > 30")
    assert steps(page) == GROWN
    button(page, "8").click()
    expect(page.get_by_role("status")).to_contain_text("Press Play")
    button(page, "Play").click()
    assert read(run(page, CHANGED)) == [8]


def test_a_phone_scrolls_one_way_only(open_page):
    page = run(open_page(viewport=PHONE), GROWN)
    written(page)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    controls = page.locator("button, input, select, canvas")
    for control in filter(lambda each: each.is_visible(), controls.all()):
        box = control.bounding_box()
        assert 0 <= box["x"] <= PHONE["width"] - box["width"]
        assert min(box["width"], box["height"]) >= 20, control.inner_html()
    assert page.locator(".nca-stage").bounding_box()["y"] >= -1  # it was scrolled to
    picture(page, "phone", full_page=True)


def contrast(*colours) -> float:
    """Of two colours, [r, g, b] from 0 to 255, as WCAG has it."""
    share = np.array(colours) / 255
    linear = np.where(share <= 0.03928, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return (light + 0.05) / (dark + 0.05)


def test_light_and_dark(open_page):
    papers, backgrounds = [], []
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme, reduced_motion="reduce")
        colours = ask(page, "stage.colours")
        assert contrast(colours["ink"], colours["paper"]) > 7
        assert contrast(colours["orange"], colours["paper"]) > 3  # the ring
        assert contrast(colours["blue"], colours["paper"]) > 3  # living cells
        corner = ask(page, "[...stage.canvas.getContext('2d').getImageData(1, 1, 1, 1).data]")
        assert corner[:3] == colours["paper"]
        papers.append(colours["paper"])
        backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert papers[0] != papers[1]
    assert backgrounds[0] != backgrounds[1]
    page.emulate_media(color_scheme="light", reduced_motion="reduce")  # while it is open
    wait(page, f"stage.colours?.paper[0] === {papers[0][0]}")


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": PHONE}])
def test_axe_finds_no_serious_fault(open_page, options):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(reduced_motion="reduce", **options)
    written(page)
    button(page, "Pause").click()
    found = [e for e in axe.run(page).response["violations"] if e["impact"] in SERIOUS]
    assert [(e["id"], [node["html"] for node in e["nodes"]]) for e in found] == []
    rules = axe.run(page, options={"resultTypes": ["passes"]}).response["passes"]
    assert {"color-contrast", "button-name", "label", "select-name"} <= {e["id"] for e in rules}


def test_the_committed_page_is_the_one_that_is_made_now(made):
    """The directions alone may differ in their last digits between machines."""
    pattern = re.compile(r"directions: (\[.*?\]) \}")
    texts = [path.read_text(encoding="utf-8") for path in (make_live_page.PAGE, made)]
    committed, now = (json.loads(pattern.search(text)[1]) for text in texts)
    assert pattern.sub("", texts[0]) == pattern.sub("", texts[1]), "python tools/make_live_page.py"
    assert [d["name"] for d in committed] == [d["name"] for d in now] == list(live.FEATURES)
    axes = [np.array([d["axis"] for d in each]) for each in (committed, now)]
    assert np.abs(axes[0] - axes[1]).max() < 5e-3
    assert make_live_page.PAGE.stat().st_size <= make_live_page.MOST == 500_000
    assert "default-src 'none'" in texts[0]
