"""docs/live.html, opened from its file in headless Chromium and used as a reader would.

What the cells become is read by the judge, out of the state on the page. Chromium is looked for on
the PATH; without it the tests are skipped, or fail where NCA_BROWSER=required. Screenshots stay in
tests/browser/screenshots.
"""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path

from nca_lib import live
from nca_lib.data import load_digits
from nca_lib.evaluation import judge_for, read_by_judge
from nca_lib.kinds import MNIST

import numpy as np
import pytest
import torch
from chromium import CHROMIUM, FLAGS, MISSING, expect, needs_chromium, sync_playwright
from pointer import SEVEN, drag, on_pad

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import make_live_page  # noqa: E402

pytestmark = needs_chromium
SCREENSHOTS = Path(__file__).parent / "screenshots"
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
GROWN = 64  # steps
LONGEST = 2 * 32**0.5  # style in which cells live; see nca_lib/live/world.js
CHANGED = 96  # steps until another digit has grown out of one


# ---- the page ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The page as it is made now, in a file."""
    path = tmp_path_factory.mktemp("page") / "live.html"
    path.write_text(make_live_page.make_page(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, MISSING
    SCREENSHOTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, made):
    """Opens the page, for instance in dark; nothing may be requested, and no error be told."""
    contexts, errors, requests = [], [], []

    def open_it(clock=False, viewport=DESK, **options):
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(f"{message.type}: {message.text}"))
        page.on("request", lambda request: requests.append(request.url))
        if clock:  # time that passes only when the test says so
            page.clock.install(time=0)
            page.clock.pause_at(1000)
        page.goto(made.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert errors == []
    assert {url for url in requests if not url.startswith("data:")} <= {made.as_uri()}


LIVE = "const live = document.getElementById('live').live, { world, stage } = live;"


def ask(page, expression: str, given=None):
    """The value of an expression that may use `live`, its `world` and `stage`, and `given`."""
    return page.evaluate(f"(given) => {{ {LIVE} return {expression}; }}", given)


def wait(page, condition: str, seconds: float = 30) -> None:
    """Until it holds. (Playwright's own wait_for_function needs eval: the page forbids it.)"""
    page.evaluate(
        f"""async (seconds) => {{ {LIVE} const end = performance.now() + 1000 * seconds;
        while (!({condition})) {{
          if (performance.now() > end) throw new Error("this never came true");
          await new Promise(requestAnimationFrame);
        }} }}""",
        seconds,
    )


def steps(page) -> int:
    return ask(page, "world.grid.steps")


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def slide(page, name: str, key: str) -> None:
    """Move a slider by a key: "End", "Home", "ArrowRight"."""
    page.get_by_role("slider", name=name).press(key)


def live_on(page, count: int) -> None:
    """As many steps more, as quickly as the page makes them."""
    slide(page, "speed", "End")
    wait(page, f"world.grid.steps >= {steps(page) + count}")


def grown(page):
    """The page, once its digit has grown."""
    live_on(page, GROWN - min(GROWN, steps(page)))
    return page


# ---- what is on it -------------------------------------------------------------------------------


def ink(page) -> torch.Tensor:
    """`[H, W]` in [0, 1]."""
    values, height, width = ask(page, "[[...world.grid.channel(0)], world.height, world.width]")
    return torch.tensor(values).view(height, width).clamp(0, 1)


def digits(page) -> torch.Tensor:
    """The ink of every digit on the grid, around its centre of mass: `[N, 1, 28, 28]`."""
    everything = ink(page)
    height, width = everything.shape
    owner = torch.tensor(ask(page, "[...world.grid.owner]")).view(height + 2, width + 2)
    found = []
    for k in range(ask(page, "world.digits.length")):
        own = everything * (owner[1:-1, 1:-1] == k)
        y, x = [
            int((own.sum(1 - axis) @ torch.arange(float(own.shape[axis])) / own.sum()).round())
            for axis in (0, 1)
        ]
        padded = torch.nn.functional.pad(own, (14, 14, 14, 14))
        found.append(padded[y : y + 28, x : x + 28])
    return torch.stack(found)[:, None]


def judged(page) -> list[int]:
    """What the judge reads on the page, digit by digit."""
    return read_by_judge(judge_for(MNIST), digits(page))[0].tolist()


def cell(page, y: float, x: float) -> tuple[float, float]:
    """Where a cell is in the window: (x, y)."""
    box = page.locator(".nca-stage").bounding_box()
    height, width = ask(page, "[world.height, world.width]")
    return (
        box["x"] + (x + 0.5) / width * box["width"],
        box["y"] + (y + 0.5) / height * box["height"],
    )


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
    print("ink after", [round(each) for each in since], "ms")
    assert min(since) < 2000
    wait(page, f"world.grid.steps >= {GROWN}")
    assert judged(page) == [3]
    for name in ("8", "Pause", "Ten-second tour"):
        box = button(page, name).bounding_box()
        assert box["y"] + box["height"] < DESK["height"]
    picture(page, "desk_light")


def test_a_wound_by_the_mouse_heals(open_page):
    page = grown(open_page())
    assert judged(page) == [3]
    before, cells = ink(page), ask(page, "world.population()[0]")
    page.mouse.move(*cell(page, 20, 3))
    page.mouse.down()
    page.mouse.move(*cell(page, 8, 24), steps=8)
    stood = steps(page)  # while the mouse cuts, time stands still: a wound would heal unseen
    assert ask(page, "world.population()[0]") < 0.85 * cells
    assert (ink(page) - before).abs().sum() > 0.15 * before.sum()
    expect(page.get_by_role("status")).to_contain_text("Erased")
    expect(page.locator(".nca-hint")).to_contain_text("another digit")
    picture(page, "wound")
    assert steps(page) == stood
    page.mouse.up()
    live_on(page, 2 * GROWN)
    assert judged(page) == [3]
    assert ask(page, "world.population()[0]") == pytest.approx(cells, rel=0.1)


def test_a_label_switched_in_mid_life_becomes_the_other_digit(open_page):
    page = grown(open_page())
    before = steps(page)
    ask(page, "window.grid = world.grid")
    button(page, "8").click()
    live_on(page, CHANGED)
    assert judged(page) == [8]
    assert ask(page, "window.grid === world.grid")  # it was not planted anew
    assert steps(page) >= before + CHANGED
    assert button(page, "8").get_attribute("aria-pressed") == "true"
    assert button(page, "3").get_attribute("aria-pressed") == "false"


def test_two_seeds_make_two_digits_that_are_told_apart(open_page):
    page = open_page()
    button(page, "96").click()
    page.get_by_label("a tap on the paper plants").select_option("8")
    page.mouse.click(*cell(page, 20, 20))
    assert ask(page, "world.digits.map((digit) => digit.label)") == [3, 8]
    live_on(page, GROWN)
    assert judged(page) == [3, 8]
    page.mouse.click(*cell(page, 48, 48))  # the first is chosen
    assert ask(page, "world.digits.length") == 2
    button(page, "1").click()
    live_on(page, CHANGED)
    assert judged(page) == [1, 8]
    picture(page, "two_seeds")


def test_erased_for_good_it_says_what_to_do(open_page):
    page = open_page()
    slide(page, "brush", "End")
    for y in range(2, 28, 8):
        drag(page, cell(page, y, 0), cell(page, y, 27))
    expect(page.get_by_role("status")).to_contain_text("All cells are dead")
    expect(page.locator(".nca-hint")).to_contain_text("plant a seed")
    button(page, "5").click()
    live_on(page, GROWN)
    assert judged(page) == [5]


def test_ten_digits_side_by_side_stay_what_they_are(open_page):
    """Each has a sheet of its own; without it they had grown into each other after 400 steps."""
    page = open_page()
    button(page, "all 10").click()
    ask(page, "(() => { for (let k = 0; k < 1500; k++) world.step(); })()")
    assert judged(page) == list(range(10))
    outside = "[...world.grid.channel(1)].every((v, k) => !v || !world.grid.walls[world.grid.at("
    assert ask(page, outside + "(k / world.width) | 0, k % world.width)])")
    y, x = ask(
        page,
        """(() => { const k = [...world.grid.walls.keys()].findIndex((i) => (
        i > 3 * world.grid.wide && world.grid.walls[i])), w = world.grid.wide;
        return [((k / w) | 0) - 1, k % w - 1]; })()""",
    )
    page.mouse.click(*cell(page, y, max(x, 1)))
    assert ask(page, "world.digits.length") == 10  # no seed is planted between the sheets
    button(page, "56").click()
    assert ask(page, "world.grid.walls") is None


def test_hints_go_on_to_what_was_not_tried_yet(open_page):
    page = grown(open_page())
    hint = page.locator(".nca-hint")
    for words, act in (
        ("cut", lambda: drag(page, cell(page, 20, 3), cell(page, 8, 24))),
        ("another digit", lambda: button(page, "7").click()),
        ("Write a digit", lambda: drag(page, *on_pad(page, SEVEN))),
        ("Grow all", lambda: button(page, "all 10").click()),
        (
            "larger canvas",
            lambda: (button(page, "96").click(), page.mouse.click(*cell(page, 20, 20))),
        ),
        ("hidden", lambda: button(page, "hidden").click()),
    ):
        expect(hint).to_contain_text(words)
        act()
    expect(hint).to_have_text("")


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_no_button_moves_when_words_change(open_page, viewport):
    page = open_page(viewport=viewport)
    text = (Path(live.__file__).parent / "live.js").read_text(encoding="utf-8")
    hints = re.findall(r'^  \w+: "(.+)",$', text.split("const HINTS")[1].split("};")[0], re.M)
    assert len(hints) == 6
    places = set()
    for said in (
        "",
        "A word.",
        "The 3 is told to become an 8. Press Play to see it.",
    ):
        ask(page, "live.say(given)", said)
        for hint in ("", *hints):
            ask(page, "live.hint.textContent = given", hint)
            places.add(button(page, "7").bounding_box()["y"])
    assert len(places) == 1


# ---- handwriting ---------------------------------------------------------------------------------


def test_a_drawing_is_read_and_all_digits_follow_its_hand(open_page):
    page = grown(open_page())
    assert not any(ask(page, "[...world.style]"))
    drag(page, *on_pad(page, SEVEN))
    expect(page.get_by_label("This is a")).to_have_value("7")
    style = ask(page, "[...world.style]")
    assert np.linalg.norm(style) > 1
    live_on(page, GROWN)
    assert judged(page) == [7]
    picture(page, "own_hand")
    button(page, "Grow all 10").click()
    assert ask(page, "world.digits.map((digit) => digit.label)") == list(range(10))
    live_on(page, GROWN)
    assert ask(page, "[...world.style]") == style
    assert sum(a == b for a, b in zip(judged(page), range(10), strict=True)) >= 8
    picture(page, "all_in_own_hand")
    page.get_by_label("This is a").select_option("1")  # the reader knows better
    assert ask(page, "world.label") == 1
    assert ask(page, "[...world.style]") != style


def test_a_hand_that_no_cell_can_live_in_is_moved_nearer(open_page):
    """A six that is said to be a one: its code is far from all that was trained."""
    page = open_page()
    drag(page, *on_pad(page, SEVEN))
    expect(page.get_by_label("This is a")).to_be_visible(timeout=30_000)
    for label in range(10):
        page.get_by_label("This is a").select_option(str(label))
        assert np.linalg.norm(ask(page, "[...world.style]")) <= LONGEST + 0.01
    ask(page, "live.usePicture(new Float32Array(784).fill(0.9), 1)")  # all ink
    assert np.linalg.norm(ask(page, "[...world.style]")) == pytest.approx(LONGEST, rel=1e-3)


def test_the_rule_that_writes_can_also_read(open_page):
    """Nine of ten of MNIST's digits, by the label that explains them best."""
    page, digits = open_page(), load_digits("embedded").test.limit(30)
    read = "live.read(Float32Array.from(given)).then(() => Number(live.reading.value))"
    found = [ask(page, read, image.flatten().tolist()) for image in digits.images]
    right = sum(a == b for a, b in zip(found, digits.labels.tolist(), strict=True))
    assert right >= 0.85 * len(found)


def test_a_dot_on_the_pad_is_too_small(open_page):
    page = open_page()
    drag(page, *on_pad(page, [(0.5, 0.5), (0.52, 0.5)]))
    expect(page.get_by_role("status")).to_contain_text("too small")
    expect(page.get_by_label("This is a")).to_be_hidden()


def test_hands_of_others(open_page):
    page = open_page()
    button(page, "Random").click()
    assert np.linalg.norm(ask(page, "[...world.style]")) > 1
    button(page, "Average").click()
    assert not any(ask(page, "[...world.style]"))
    button(page, "1").click()
    for k, name in enumerate(live.FEATURES):
        measured = []
        for key in ("Home", "End"):
            button(page, "Average").click()
            slide(page, name, key)
            button(page, "Restart").click()
            live_on(page, GROWN)
            measured.append(live.features(ink(page)[None])[0, k].item())
        assert np.linalg.norm(ask(page, "[...world.style]")) == pytest.approx(2, rel=0.01)
        print(name, measured)
        assert measured[1] > measured[0] + 0.05 * abs(measured[0])


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
    page.clock.run_for(1000)
    assert steps(page) == before
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
    assert steps(page) == 0
    assert ask(page, "world.population()[0]") == 1
    page.clock.run_for(500)
    assert steps(page) > 50


def test_fire_rate_is_the_share_of_cells_that_update(open_page):
    page = grown(open_page())
    button(page, "Pause").click()
    shares = []
    for key in ("Home", "End"):
        slide(page, "fire rate", key)
        lived, before = ask(page, "[world.population()[0], [...world.grid.channel(2)]]")
        button(page, "One step").click()
        after = ask(page, "[...world.grid.channel(2)]")
        shares.append(sum(a != b for a, b in zip(before, after, strict=True)) / lived)
    assert shares == [pytest.approx(0.1, abs=0.07), pytest.approx(1, abs=0.07)]


def test_the_brush_has_a_size(open_page):
    page = grown(open_page())
    button(page, "Pause").click()
    lost = []
    for key in ("Home", "End"):
        slide(page, "brush", key)
        before = ask(page, "world.population()[0]")
        middle = cell(page, 14, 14)
        drag(page, middle, (middle[0] + 6, middle[1]))  # less than a cell, more than a tap
        lost.append(before - ask(page, "world.population()[0]"))
    assert lost[0] <= 3
    assert lost[1] > 80


def test_views_show_other_channels(open_page):
    page = grown(open_page())
    button(page, "Pause").click()
    shown = []
    for name in ("ink", "life", "anchor", "hidden"):
        button(page, name).click()
        assert ask(page, "stage.view") == name
        wanted = ask(page, f"[...world.grid.picture({name!r})]")
        shown.append(ask(page, "stage.canvas.toDataURL()"))
        assert max(wanted) > 0.2
        assert button(page, name).get_attribute("aria-pressed") == "true"
        picture(page, name, clip=page.locator(".nca-stage").bounding_box())
    assert len(set(shown)) == 4


def test_canvases(open_page):
    page = open_page()
    for name, side in (("56", 56), ("96", 96), ("all 10", 128), ("28", 28)):
        button(page, name).click()
        assert ask(page, "[world.height, world.width]") == [side, side]
        assert ask(page, "stage.canvas.width % world.width") == 0
    assert ask(page, "world.digits.length") == 1


# ---- the tour ------------------------------------------------------------------------------------


def test_the_tour_runs_through_and_ends_with_ten_digits(open_page):
    page = open_page(clock=True)
    button(page, "life").click()
    button(page, "Ten-second tour").click()
    page.clock.run_for(1900)
    assert judged(page) == [3]
    assert ask(page, "stage.view") == "ink"
    assert button(page, "ink").get_attribute("aria-pressed") == "true"
    cells = ask(page, "world.population()[0]")
    page.clock.run_for(1300)
    assert ask(page, "world.population()[0]") < 0.85 * cells
    picture(page, "tour_cut")
    page.clock.run_for(1600)
    assert judged(page) == [3]
    assert ask(page, "world.population()[0]") > 0.95 * cells
    page.clock.run_for(1800)
    assert judged(page) == [8]
    page.clock.run_for(1400)
    assert ask(page, "[world.alive, stage.strokes.length]") == [False, 2]
    picture(page, "tour_writing")
    page.clock.run_for(2000)
    assert ask(page, "world.digits.map((digit) => digit.label)") == list(range(10))
    assert np.linalg.norm(ask(page, "[...world.style]")) > 1
    assert sum(a == b for a, b in zip(judged(page), range(10), strict=True)) >= 8
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
    assert judged(page) == [8 if when > 6000 else 3]


# ---- everybody -----------------------------------------------------------------------------------


def touch(page, *places) -> None:
    """A finger comes down, moves through the places in the window, and leaves."""
    session = page.context.new_cdp_session(page)
    points = [[{"x": x, "y": y}] for x, y in places]
    kinds = ["touchStart", *["touchMove"] * (len(points) - 1), "touchEnd"]
    for kind, point in zip(kinds, [*points, []], strict=True):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": point})


def along(*places, parts: int = 8):
    """More places on the lines between places."""
    return [
        tuple(a + (b - a) * k / parts for a, b in zip(start, end, strict=True))
        for start, end in pairwise(places)
        for k in range(parts + 1)
    ]


def test_fingers_erase_plant_and_write(open_page):
    page = grown(open_page(viewport=PHONE, has_touch=True, is_mobile=True))
    button(page, "Pause").tap()
    page.evaluate("scrollTo(0, 0)")
    cells = ask(page, "world.population()[0]")
    touch(page, *along(cell(page, 3, 14), cell(page, 25, 14)))
    assert ask(page, "world.population()[0]") < 0.8 * cells
    assert page.evaluate("scrollY") == 0
    button(page, "56").tap()  # at once: the finger's stroke doesn't glide on
    page.evaluate("scrollTo(0, 0)")
    page.touchscreen.tap(*cell(page, 5, 6))
    assert ask(page, "world.digits.length") == 2
    touch(page, *along(*on_pad(page, SEVEN)))
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
        page.keyboard.press({"Left": "ArrowLeft", "Right": "ArrowRight", "Up": "ArrowUp",
                             "Down": "ArrowDown"}.get(key, key))  # fmt: skip


def test_keys_do_everything(open_page):
    page = grown(open_page())
    page.evaluate("document.activeElement.blur()")
    tab_to(page, ".nca-play")
    press(page, "Enter")  # pause
    assert ask(page, "live.playing") is False
    tab_to(page, ".nca-stage")
    expect(page.get_by_text("Arrows move, Enter erases")).to_be_visible()
    assert ask(page, "stage.ring") == [14, 14]
    before = ask(page, "world.population()[0]")
    press(page, "Left Left Up Enter")
    assert ask(page, "stage.ring") == [13, 12]
    assert ask(page, "world.population()[0]") < before - 10
    tab_to(page, "[aria-label='canvas'] button:nth-child(3)")
    press(page, "Enter")
    tab_to(page, ".nca-stage")
    at = ask(page, "stage.at")
    press(page, "Shift+ArrowUp " * 6 + "Shift+ArrowLeft " * 6 + "Space")
    assert ask(page, "stage.at") == [max(0, at[0] - 30), max(0, at[1] - 30)]
    assert ask(page, "world.digits.length") == 2
    tab_to(page, ".nca-labels button:nth-child(6)")
    press(page, "Space")
    assert ask(page, "world.digits.map((digit) => digit.label)") == [3, 5]
    tab_to(page, ".nca-pad")
    expect(page.get_by_text("Arrows move, Space lowers the pen")).to_be_visible()
    press(page, "Up " * 6 + "Left " * 4 + "Space " + "Right " * 8 + "Down Left Down " * 5)
    press(page, "Down " * 4 + "Space")
    picture(page, "keys_on_pad")
    assert ask(page, "[live.pad.strokes.length, live.pad.stroke]") == [1, None]
    press(page, "Enter")
    expect(page.get_by_label("This is a")).to_have_value("7")
    assert np.linalg.norm(ask(page, "[...world.style]")) > 1
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
    assert judged(page) == [3]
    expect(page.get_by_role("status")).to_contain_text("Press Play")
    wait(page, "(window.frames_ = (window.frames_ ?? 0) + 1) > 30")
    assert steps(page) == GROWN
    button(page, "8").click()
    expect(page.get_by_role("status")).to_contain_text("Press Play")
    button(page, "Play").click()
    live_on(page, CHANGED)
    assert judged(page) == [8]


def test_a_phone_scrolls_one_way_only(open_page):
    page = grown(open_page(viewport=PHONE))
    drag(page, *on_pad(page, SEVEN))
    expect(page.get_by_label("This is a")).to_have_value("7")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    controls = page.locator("button, input, select, canvas")
    for control in filter(lambda each: each.is_visible(), controls.all()):
        box = control.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
        assert min(box["width"], box["height"]) >= 20, control.inner_html()
    box = page.locator(".nca-stage").bounding_box()
    assert box["y"] >= -1  # it was scrolled to, when the drawing was read
    live_on(page, GROWN)
    picture(page, "phone", full_page=True)


def luminance(rgb) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(a, b) -> float:
    """Of two colours, [r, g, b] from 0 to 255, as WCAG has it."""
    light, dark = sorted((luminance(np.array(c) / 255) for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_light_and_dark(open_page):
    papers, backgrounds = [], []
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme, reduced_motion="reduce")
        colours = ask(page, "stage.colours")
        assert contrast(colours["ink"], colours["paper"]) > 7
        for name in ("orange", "blue"):  # the ring; life
            assert contrast(colours[name], colours["paper"]) > 3
        corner = ask(page, "[...stage.canvas.getContext('2d').getImageData(1, 1, 1, 1).data]")
        assert corner[:3] == colours["paper"]
        papers.append(colours["paper"])
        backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        picture(page, f"desk_{scheme}_calm")
    assert papers[0] != papers[1]
    assert backgrounds[0] != backgrounds[1]
    page.emulate_media(color_scheme="light", reduced_motion="reduce")  # while it is open
    wait(page, f"stage.colours?.paper[0] === {papers[0][0]}")


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": PHONE}])
def test_axe_finds_no_serious_fault(open_page, options):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(reduced_motion="reduce", **options)
    drag(page, *on_pad(page, SEVEN))
    expect(page.get_by_label("This is a")).to_be_visible()
    button(page, "Pause").click()
    found = axe.run(page).response
    for each in found["violations"]:
        print(each["impact"], each["id"], [node["html"] for node in each["nodes"]])
    serious = [e["id"] for e in found["violations"] if e["impact"] in ("serious", "critical")]
    assert serious == []
    rules = axe.run(page, options={"resultTypes": ["passes"]}).response["passes"]
    assert {"color-contrast", "button-name", "label", "select-name"} <= {e["id"] for e in rules}


# ---- the file ------------------------------------------------------------------------------------


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
