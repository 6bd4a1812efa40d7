"""docs/live.html, opened from its file and used as a reader would; a classifier reads the cells."""

import base64
import io
import json
import re
import struct
import zlib
from itertools import pairwise

import nca_lib as nca
from nca_lib import live

import make_live_page
import numpy as np
import pytest
from browsers import expect
from PIL import Image
from reader import SEVEN, classify, digits, drag, live_on, on_pad, serious_faults

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
GROWN, CHANGED = 64, 96  # steps until a digit has grown, and until another has grown out of it
LONGEST = 2 * 32**0.5  # style that still grows digits; see nca_lib/live/world.js
LIVE = """const live = document.getElementById("live").live, { world, stage } = live;
  const steps = world.grid.steps, cells = world.population()[0], style = [...world.style];
  const labels = world.digits.map((digit) => digit.label);"""
MIDDLE = [(20, 3), (8, 24)]  # a cut across the digit, cells (y, x)


@pytest.fixture
def open_page(new_page):
    """Opens the page, for instance in dark."""

    def open_it(clock=False, viewport=DESK, **options):
        page = new_page(viewport=viewport, **options)
        if clock:  # time that passes only when the test says so
            page.clock.install(time=0)
            page.clock.pause_at(1000)
        page.goto(make_live_page.PAGE.as_uri())
        return page

    return open_it


def ask(page, expression: str, given=None):
    """The value of an expression that may use what `LIVE` names, and `given`."""
    return page.evaluate(f"(given) => {{ {LIVE} return {expression}; }}", given)


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
    box, unit = page.locator(".nca-stage").bounding_box(), ask(page, "1 / world.width")
    return box["x"] + (x + 0.5) * unit * box["width"], box["y"] + (y + 0.5) * unit * box["width"]


def written(page):
    """The reader writes a seven; the list in which its label is chosen."""
    drag(page, *on_pad(page))
    chosen = page.get_by_label("This is a")
    expect(chosen).to_have_value("7", timeout=30_000)
    return chosen


def test_a_digit_grows_by_itself_heals_and_turns_into_another(open_page):
    page = open_page()
    assert ask(run(page, 24), "performance.now()") < 5000  # ms; the machine may be busy
    for name in ("8", "Pause", "Ten-second tour"):  # above the fold
        box = button(page, name).bounding_box()
        assert box["y"] + box["height"] < DESK["height"]
    assert read(run(page, GROWN)) == [3]
    before = ask(page, "(window.grid = world.grid, cells)")
    page.mouse.move(*cell(page, *MIDDLE[0]))
    page.mouse.down()
    page.mouse.move(*cell(page, *MIDDLE[1]), steps=8)
    stood = ask(page, "steps")  # while the mouse cuts, time stands still: healing would hide it
    assert ask(page, "cells") < 0.85 * before
    expect(page.get_by_role("status")).to_contain_text("Erased")
    assert ask(page, "steps") == stood
    page.mouse.up()
    assert read(run(page, 2 * GROWN)) == [3]
    assert ask(page, "cells") == pytest.approx(before, rel=0.1)
    button(page, "8").click()
    assert read(run(page, CHANGED)) == [8]
    assert ask(page, "window.grid === world.grid")  # it was not planted anew
    assert [button(page, name).get_attribute("aria-pressed") for name in "83"] == ["true", "false"]


def test_several_digits_on_a_canvas(open_page):
    page = open_page()
    button(page, "96").click()
    page.get_by_label("a tap on the paper plants").select_option("8")
    page.mouse.click(*cell(page, 20, 20))
    assert read(run(page, GROWN)) == ask(page, "labels") == [3, 8]
    page.mouse.click(*cell(page, 48, 48))  # the first is selected
    button(page, "1").click()
    assert read(run(page, CHANGED)) == ask(page, "labels") == [1, 8]
    button(page, "all 10").click()  # each on a sheet of its own, or they grow into each other
    ask(page, "(() => { for (let k = 0; k < 1500; k++) world.step(); })()")
    assert read(page) == list(range(10))


def test_hints_go_on_to_what_was_not_tried_yet_and_no_button_moves(open_page):
    page, places = run(open_page(viewport=PHONE), GROWN), set()
    ask(page, "live.lookAt()")
    for words, act in (
        ("cut", lambda: drag(page, *(cell(page, *place) for place in MIDDLE))),
        ("another digit", lambda: button(page, "7").click()),
        ("Write a digit", lambda: written(page)),
        ("Grow all", lambda: button(page, "all 10").click()),
        ("larger canvas", lambda: ask(page, "(live.setCanvas('many'), live.tap(20, 20))")),
        ("hidden", lambda: button(page, "hidden").click()),
        ("^$", lambda: ask(page, "live.say('From now on it is an 8. Press Play to see it.')")),
    ):
        expect(page.locator(".nca-hint")).to_have_text(re.compile(words))
        act()
        places.add(button(page, "7").evaluate("element => element.offsetTop"))
    assert len(places) == 1


def test_a_drawing_is_read_and_all_digits_take_on_its_handwriting(open_page):
    page = run(open_page(), GROWN)
    drag(page, *on_pad(page, [(0.5, 0.5), (0.52, 0.5)]))
    expect(page.get_by_role("status")).to_contain_text("too small")
    assert not any(ask(page, "style"))
    chosen, own = written(page), ask(page, "style")
    assert np.linalg.norm(own) > 1
    assert read(run(page, GROWN)) == [7]
    button(page, "Grow all 10").click()
    assert ask(page, "labels") == list(range(10))
    run(page, GROWN)
    assert ask(page, "style") == own
    assert sum(a == b for a, b in zip(read(page), range(10), strict=True)) >= 8
    for label in range(10):  # the reader knows better: a seven that is said to be something else
        chosen.select_option(str(label))  # has a code far from all that was trained
        assert ask(page, "world.label") == label
        assert np.linalg.norm(ask(page, "style")) <= LONGEST + 0.01
    ask(page, "live.usePicture(new Float32Array(784).fill(0.9), 1)")  # all ink
    assert np.linalg.norm(ask(page, "style")) == pytest.approx(LONGEST, rel=1e-3)


@pytest.mark.parametrize("side", [0.2, 0.4])  # the digit is two thirds as high
def test_small_drawings_are_read(open_page, side):
    page = open_page()
    drag(page, *on_pad(page, [(0.4 + side * x, 0.4 + side * y) for x, y in SEVEN]))
    expect(page.get_by_label("This is a")).to_have_value("7", timeout=30_000)


def png(pixels) -> bytes:
    """Numbers in [0, 1], `[H, W]`, as a file."""
    Image.fromarray((255 * np.asarray(pixels)).astype(np.uint8)).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def give(page, way: str, content: bytes, name="digit.png", kind="image/png") -> None:
    """Choose a file, drop it on the pad, or paste it."""
    if way == "choose":
        file = {"name": name, "mimeType": kind, "buffer": content}
        page.locator("input[type=file]").set_input_files(file)
        return
    page.evaluate(
        """([way, text, name, type]) => {
        const data = new DataTransfer(), options = { bubbles: true, cancelable: true };
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        data.items.add(new File([bytes], name, { type }));
        const event = way === "drop" ? new DragEvent(way, { dataTransfer: data, ...options })
          : new ClipboardEvent(way, { clipboardData: data, ...options });
        document.querySelector(way === "drop" ? ".nca-pad" : "body").dispatchEvent(event); }""",
        [way, base64.b64encode(content).decode(), name, kind],
    )


def test_a_picture_is_chosen_dropped_or_pasted(open_page):
    page, some = open_page(), nca.mnist().test.limit(3)
    page.on("filechooser", lambda chooser: None)  # from now on none is shown
    tab_to(page, ".nca-file button")
    with page.expect_file_chooser():
        press(page, "Enter")
    for way, image, label in zip(
        ("choose", "drop", "paste"), some.images, some.labels, strict=True
    ):
        large = image[0].repeat_interleave(40, 0).repeat_interleave(40, 1)  # [1120, 1120]
        give(page, way, png(0.9 - 0.7 * large))
        expect(page.get_by_role("status")).to_contain_text(
            f"{label} in your handwriting. The picture: dark ink on light paper; the digit was",
            timeout=30_000,
        )
        assert np.linalg.norm(ask(page, "style")) > 1


def png_of(width: int, height: int) -> bytes:
    """A black picture of any size, in a small file."""
    pack = zlib.compressobj()
    rows = [pack.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
              (b"IDAT", b"".join(rows) + pack.flush()), (b"IEND", b"")]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_what_is_no_picture_of_a_digit_is_refused_in_one_line(open_page):
    page, svg = open_page(), b"<svg xmlns='http://www.w3.org/2000/svg' width='99' height='99' "
    svg += b"onload='document.title=1'><script>document.title = 2</script>"
    svg += b"<image href='https://example.org/x.png'/></svg>"
    title = page.title()
    for name, kind, content, words in (
        ("a.png", "image/png", b"", "can't be read"),
        ("a.png", "image/png", b"no picture", "can't be read"),
        ("a.txt", "text/plain", b"no picture", "can't be read"),
        ("a.png", "image/png", png(np.eye(60))[:-60], "can't be read"),
        ("a.svg", "image/svg+xml", svg, "can't be read"),
        ("a.png", "image/png", svg, "can't be read"),
        ("a", "", svg, "can't be read"),
        ("a.png", "image/png", png_of(20_000, 20_000), "too many pixels"),
        ("a.png", "image/png", png_of(3000, 4), "too small or too narrow"),
        ("a.png", "image/png", png_of(300, 200), "no digit found"),
    ):
        for way in ("choose", "paste"):
            ask(page, "live.say('')")
            give(page, way, content, name, kind)
            expect(page.get_by_role("status")).to_have_text(
                re.compile(f"^The picture: [^\n]*{words}[^\n]*$"), timeout=30_000
            )
    assert page.title() == title
    assert not any(ask(page, "style"))


def test_where_a_browser_falsifies_pixels_writing_works_and_pictures_are_refused(open_page):
    page = open_page()
    page.evaluate(
        """() => { CanvasRenderingContext2D.prototype.getImageData = (x, y, w, h) =>
        new ImageData(w, h, crypto.getRandomValues(new Uint8ClampedArray(4 * w * h))); }"""
    )
    give(page, "choose", png(np.eye(60)))
    expect(page.get_by_role("status")).to_contain_text("hides its pixels")
    written(page)


def test_the_model_that_writes_can_also_read(open_page):
    """Nine of ten of MNIST's digits, by the label that explains them best."""
    page, pictures = open_page(), nca.mnist().test.limit(30)
    reading = "live.read(Float32Array.from(given)).then(() => Number(live.reading.value))"
    found = [ask(page, reading, image.flatten().tolist()) for image in pictures.images]
    right = sum(a == b for a, b in zip(found, pictures.labels.tolist(), strict=True))
    assert right >= 0.85 * len(found)


def test_random_and_mean_styles_and_their_directions(open_page):
    page = open_page()
    button(page, "Random").click()
    assert np.linalg.norm(ask(page, "style")) > 1
    button(page, "Mean").click()
    for k, axis in enumerate(ask(page, "live.directions.map((each) => each.axis)")):
        assert np.linalg.norm(ask(page, "style")) == pytest.approx(2 * k**0.5, rel=0.01)
        slide(page, live.FEATURES[k], "End")  # the directions are orthogonal
        assert np.dot(ask(page, "style"), axis) == pytest.approx(2, rel=0.01)


def test_time_speed_fire_rate_and_brush(open_page):
    page = open_page(clock=True)
    for key, rate in (("Tab", 30), ("ArrowRight", 60), ("Home", 1), ("End", 240)):
        slide(page, "speed", key)
        before = ask(page, "steps")
        page.clock.run_for(4000)
        assert ask(page, "steps") - before == pytest.approx(4 * rate, rel=0.05, abs=1)
    button(page, "Restart").click()
    assert ask(page, "[steps, cells]") == [0, 1]
    page.clock.run_for(500)
    assert ask(page, "steps") > GROWN
    button(page, "Pause").click()
    for key, share in (("Home", 0.1), ("End", 1)):
        slide(page, "fire rate", key)
        before = ask(page, "(window.channel = world.grid.channel(2), [steps, cells])")
        button(page, "One step").click()
        page.clock.run_for(1000)
        changed = ask(page, "world.grid.channel(2).filter((v, k) => v !== channel[k]).length")
        assert changed / before[1] == pytest.approx(share, abs=0.07)
        assert ask(page, "steps") == before[0] + 1
    for key, least, most in (("Home", 0, 3), ("End", 80, 300)):
        slide(page, "brush", key)
        before, (x, y) = ask(page, "cells"), cell(page, 14, 14)
        drag(page, (x, y), (x + 6, y))  # less than a cell, more than a tap
        assert least <= before - ask(page, "cells") <= most
    for y in range(2, 28, 8):
        drag(page, cell(page, y, 0), cell(page, y, 27))
    page.clock.run_for(1000)
    expect(page.get_by_role("status")).to_contain_text("All cells are dead")
    expect(page.locator(".nca-hint")).to_contain_text("plant a seed")
    button(page, "5").click()
    assert ask(page, "[world.label, cells]") == [5, 1]


def test_views_and_canvases(open_page):
    page, shown = run(open_page(), GROWN), set()
    button(page, "Pause").click()
    for name in ("ink", "alive", "origin", "hidden"):
        button(page, name).click()
        assert max(ask(page, "[...world.grid.picture(given)]", name)) > 0.2
        shown.add(ask(page, "stage.canvas.toDataURL()"))
    assert len(shown) == 4
    for name, side in (("56", 56), ("96", 96), ("all 10", 128), ("28", 28)):
        button(page, name).click()
        size = ask(page, "[world.height, world.width, stage.canvas.width % world.width]")
        assert size == [side, side, 0]


def test_the_tour_runs_through_and_ends_with_ten_digits(open_page):
    page, seen = open_page(clock=True), []
    button(page, "alive").click()
    button(page, "Ten-second tour").click()
    for after, expected in ((1900, [3]), (1300, None), (1600, [3]), (1800, [8])):
        page.clock.run_for(after)
        seen.append(ask(page, "cells"))
        assert expected in (None, read(page))
    assert ask(page, "stage.view") == "ink"
    assert seen[1] < 0.85 * seen[0]  # cut, and then healed
    assert seen[2] > 0.95 * seen[0]
    page.clock.run_for(1400)
    assert ask(page, "[world.alive, stage.strokes.length]") == [False, 2]
    page.clock.run_for(2000)
    assert ask(page, "labels") == list(range(10))
    assert np.linalg.norm(ask(page, "style")) > 1
    assert sum(a == b for a, b in zip(read(page), range(10), strict=True)) >= 8
    page.clock.run_for(1000)
    before = ask(page, "steps")
    page.clock.run_for(4000)
    assert ask(page, "steps") - before == pytest.approx(120, abs=2)  # time is as quick as before
    assert ask(page, "[stage.strokes, stage.ring, live.playing]") == [None, None, True]


@pytest.mark.parametrize("when", [1000, 2500, 7000])  # it grows, is cut, is written
def test_who_does_anything_ends_the_tour(open_page, when):
    page = open_page(clock=True)
    button(page, "Ten-second tour").click()
    page.clock.run_for(when)
    slide(page, "speed", "ArrowLeft")
    page.clock.run_for(5000)
    before = ask(page, "steps")
    page.clock.run_for(4000)
    assert ask(page, "steps") - before == pytest.approx(60, abs=2)
    assert ask(page, "[stage.strokes, stage.ring, live.size]") == [None, None, "one"]
    assert read(page) == [8 if when > 6000 else 3]


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


def tab_to(page, selector: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(s) => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"no way to {selector} by the Tab key")


def press(page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(f"Arrow{key}" if key in ("Left", "Right", "Up", "Down") else key)


def test_keys_do_everything(open_page):
    page = run(open_page(), GROWN)
    page.evaluate("document.activeElement.blur()")
    tab_to(page, ".nca-play")
    press(page, "Enter")  # pause
    tab_to(page, ".nca-stage")
    expect(page.get_by_text("Arrows move, Enter erases")).to_be_visible()
    before = ask(page, "cells")
    press(page, "Left Left Up Enter")
    assert ask(page, "[stage.ring, live.playing]") == [[13, 12], False]
    assert ask(page, "cells") < before - 10
    tab_to(page, "[aria-label='canvas'] button:nth-child(3)")
    press(page, "Enter")
    tab_to(page, ".nca-stage")
    press(page, "Shift+ArrowUp " * 6 + "Shift+ArrowLeft " * 6 + "Space")
    tab_to(page, ".nca-labels button:nth-child(6)")
    press(page, "Space")
    assert ask(page, "labels") == [3, 5]
    tab_to(page, ".nca-pad")
    expect(page.get_by_text("Arrows move, Space lowers the pen")).to_be_visible()
    press(page, "Up " * 6 + "Left " * 4 + "Space Escape Space " + "Right " * 8)
    press(page, "Down Left Down " * 5 + "Down " * 4 + "Space")
    assert ask(page, "[live.pad.strokes.length, live.pad.stroke]") == [1, None]
    press(page, "Enter")
    expect(page.get_by_label("This is a")).to_have_value("7", timeout=30_000)
    assert page.evaluate("document.activeElement.className") == "nca-pad"
    tab_to(page, "#tour")  # out of the pad, round to the beginning
    press(page, "Enter")
    expect(page.get_by_role("status")).to_contain_text("One cell grows")


def test_on_a_phone_fingers_erase_plant_and_write_and_it_scrolls_one_way(open_page):
    page = run(open_page(viewport=PHONE, has_touch=True, is_mobile=True), GROWN)
    button(page, "Pause").tap()
    page.evaluate("scrollTo(0, 0)")
    before = ask(page, "cells")
    touch(page, cell(page, 3, 14), cell(page, 25, 14))
    assert ask(page, "cells") < 0.8 * before
    assert page.evaluate("scrollY") == 0
    button(page, "56").tap()  # at once: the finger's stroke doesn't glide on
    page.evaluate("scrollTo(0, 0)")
    page.touchscreen.tap(*cell(page, 5, 6))
    assert len(ask(page, "labels")) == 2
    touch(page, *on_pad(page))
    expect(page.get_by_label("This is a")).to_have_value("7", timeout=30_000)
    run(page, 5)  # the picture was scrolled to, and lives
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    for control in page.locator("button, input, select, canvas").filter(visible=True).all():
        assert min(control.bounding_box()[side] for side in ("width", "height")) >= 20


def test_reduced_motion_begins_grown_and_still_in_light_and_dark(open_page):
    seen = []
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme, reduced_motion="reduce")
        corner = ask(page, "[...stage.canvas.getContext('2d').getImageData(1, 1, 1, 1).data]")
        assert corner[:3] == ask(page, "stage.colours.paper")
        seen.append((corner[0], page.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert seen[0][0] > 200 > 100 > seen[1][0]
    assert seen[0][1] != seen[1][1]
    page.emulate_media(color_scheme="light", reduced_motion="reduce")  # while it is open
    page.wait_for_timeout(500)
    assert ask(page, "stage.colours.paper[0]") == seen[0][0]
    assert ask(page, "[steps, live.playing]") == [GROWN, False]
    assert read(page) == [3]
    button(page, "8").click()
    expect(page.get_by_role("status")).to_contain_text("Press Play")
    button(page, "Play").click()
    assert read(run(page, CHANGED)) == [8]


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": PHONE}])
def test_axe_finds_no_serious_fault(open_page, options):
    page = open_page(reduced_motion="reduce", **options)
    written(page)
    button(page, "Pause").click()
    assert serious_faults(page) == []


def test_the_committed_page_is_the_one_that_is_made_now():
    """The directions alone may differ in their last digits between machines."""
    pattern = re.compile(r"directions: (\[.*?\]) \}")
    texts = make_live_page.PAGE.read_text(encoding="utf-8"), make_live_page.make_page()
    axes = [[d["axis"] for d in json.loads(pattern.search(text)[1])] for text in texts]
    assert pattern.sub("", texts[0]) == pattern.sub("", texts[1]), "python tools/make_live_page.py"
    assert np.abs(np.subtract(*axes)).max() < 5e-3
    assert len(texts[0].encode()) <= make_live_page.MOST == 500_000
    assert "default-src 'none'" in texts[0]
