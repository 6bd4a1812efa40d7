"""The site, built as `make site` does, on loopback in headless Chromium.

Chromium is looked for on the PATH; without it the tests are skipped, or fail where
NCA_BROWSER=required. Screenshots stay in tests/browser/screenshots.
"""

from __future__ import annotations

import functools
import http.server
import re
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

from nca_lib.evaluation import judge_for, read_by_judge
from nca_lib.kinds import MNIST

import pytest
import torch
from chromium import CHROMIUM, FLAGS, MISSING, expect, needs_chromium, sync_playwright
from pointer import SEVEN, drag, on_pad

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tools"), str(ROOT / "tests")]
from test_structure import ORDER  # noqa: E402

pytestmark = [needs_chromium, pytest.mark.slow]
SCREENSHOTS = Path(__file__).parent / "screenshots"
SIZES = {"phone": (360, 740), "desk": (1280, 900)}
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
PAGES = ["index", "notebooks/05_growth_explorer", "api/rule"]  # a front, a chapter, an API page
ALIVE = """[...document.querySelectorAll(".nca-saved")].every(
  (place) => place.querySelector(".nca-live button"))"""
INK = """element => { const { grid, height, width } = element.live.world;
  return [Array.from(grid.channel(0)), height, width]; }"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that the site is built into; a warning would have been an error."""
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, str(ROOT / "tools" / "make_site.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address(site):
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, MISSING
    SCREENSHOTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Opens a page. Nobody else may be asked for anything, all is found, and no error is told."""
    contexts, errors, requests = [], [], []

    def open_page(name, size="desk", base=address, **options):
        width, height = SIZES[size]
        viewport = {"width": width, "height": height}
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        page.on("request", lambda request: requests.append(request.url))
        page.on("response", lambda r: r.status >= 400 and errors.append(f"{r.status}: {r.url}"))
        page.goto(f"{base}/{name}.html")
        page.wait_for_function(ALIVE)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
    here = (address, "data:", "blob:", "file:")
    assert [url for url in requests if not url.startswith(here)] == []


def wait_for_steps(place, count: int) -> None:
    """Until the digit in an element has lived for so many steps."""
    place.evaluate(
        """async (element, count) => { const end = performance.now() + 60000;
        while (!(element.live?.world.grid.steps >= count)) {
          if (performance.now() > end) throw new Error("too slow, or dead");
          await new Promise(requestAnimationFrame); } }""",
        count,
    )


def live_on(place, count: int) -> None:
    place.get_by_role("slider", name="speed").press("End")
    wait_for_steps(place, place.evaluate("element => element.live.world.grid.steps") + count)


def ink(place) -> torch.Tensor:
    """`[1, 1, H, W]` in [0, 1]."""
    values, height, width = place.evaluate(INK)
    return torch.tensor(values).view(1, 1, height, width).clamp(0, 1)


def judged(place) -> int:
    """What the judge reads."""
    return int(read_by_judge(judge_for(MNIST), ink(place))[0][0])


def cut(page, place) -> float:
    """Drag the mouse over the digit, while time stands still: the share of ink that is gone."""
    place.get_by_role("button", name="Pause").click()
    before, box = ink(place).sum(), place.locator(".nca-stage").bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.7 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.7 * box["height"], steps=8)
    page.mouse.up()
    left = ink(place).sum()
    place.get_by_role("button", name="Play").click()
    return float(1 - left / before)


# ---- the front -----------------------------------------------------------------------------------


def test_the_front_grows_a_digit_above_the_fold(visit):
    since = []
    for _ in range(3):  # the machine may be busy
        page = visit("index")
        wait_for_steps(page.locator("#live"), 10)
        since.append(page.evaluate("performance.now()"))
        if since[-1] < 2000:
            break
    print("ten steps after", [round(each) for each in since], "ms")
    assert min(since) < 2000
    wait_for_steps(page.locator("#live"), 64)
    assert judged(page.locator("#live")) == 3
    for name in ("8", "Pause", "Ten-second tour"):
        box = page.get_by_role("button", name=name, exact=True).bounding_box()
        assert box["y"] + box["height"] < SIZES["desk"][1]


def test_a_wound_on_the_front_heals_and_another_label_is_taken(visit):
    page = visit("index")
    place = page.locator("#live")
    live_on(place, 64)
    assert judged(place) == 3
    whole = ink(place).sum()
    assert cut(page, place) > 0.15
    live_on(place, 128)
    assert judged(place) == 3
    assert float(ink(place).sum()) == pytest.approx(float(whole), rel=0.1)
    place.get_by_role("button", name="8", exact=True).click()
    live_on(place, 96)
    assert judged(place) == 8


def test_a_drawing_on_the_front_is_taken_for_its_hand(visit):
    page = visit("index")
    place = page.locator("#live")
    drag(page, *on_pad(page, SEVEN))
    expect(page.get_by_label("This is a")).to_have_value("7", timeout=30_000)
    assert place.evaluate("e => Math.hypot(...e.live.world.style)") > 1
    live_on(place, 64)
    assert judged(place) == 7


def test_the_tour_begins_at_its_button(visit):
    page = visit("index")
    page.get_by_role("button", name="Ten-second tour").click()
    expect(page.get_by_role("status")).to_contain_text("One cell grows")


def test_the_front_also_lives_in_a_file(visit, site):
    page = visit("index", base=site.as_uri())
    live_on(page.locator("#live"), 64)
    assert judged(page.locator("#live")) == 3


# ---- chapters ------------------------------------------------------------------------------------


def ink_shown(canvas) -> float:
    """The share of a player's canvas that is dark."""
    return canvas.evaluate(
        """c => { const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        let sum = 0; for (let i = 0; i < d.length; i += 4) sum += 255 - d[i];
        return sum / 255 / (d.length / 4); }"""
    )


@pytest.mark.parametrize("from_file", [False, True], ids=["loopback", "file"])
def test_the_widgets_of_chapter_5_live(visit, site, from_file):
    page = visit("notebooks/05_growth_explorer", **({"base": site.as_uri()} if from_file else {}))
    player = page.locator(".nca-saved", has=page.locator("canvas.nca-growth")).last
    canvases, slider = player.locator("canvas"), player.get_by_role("slider", name="step")
    expect(canvases).to_have_count(2)
    slider.fill("0")
    assert [ink_shown(canvas) for canvas in canvases.all()] == [0, 0]  # seeds carry no ink
    slider.press("End")
    three, eight = (ink_shown(canvas) for canvas in canvases.all())
    assert 0.05 < three < eight
    place = page.locator(".nca-saved .nca-live:has(.nca-stage)")
    place.scroll_into_view_if_needed()  # who is not seen rests
    live_on(place, 64)
    assert judged(place) == 3
    page.screenshot(path=SCREENSHOTS / f"site_chapter_5_{'file' if from_file else 'loopback'}.png")


def test_the_digit_of_chapter_6_heals(visit):
    page = visit("notebooks/06_damage_and_regrowth")
    place = page.locator(".nca-saved .nca-live:has(.nca-stage)").first
    place.scroll_into_view_if_needed()
    live_on(place, 64)
    assert cut(page, place) > 0.15
    live_on(place, 128)
    assert judged(place) == 3


def test_what_needs_a_kernel_shows_a_picture_and_says_so(visit):
    still = visit("notebooks/05_growth_explorer").locator(".nca-still")
    expect(still).to_have_count(1)
    expect(still).to_contain_text("make lab")
    assert still.locator("img").evaluate("image => image.naturalWidth") == 280


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_its_pictures_and_folded_solutions(visit, chapter):
    page = visit(f"notebooks/{chapter}")
    pictures = page.locator("article img")
    assert pictures.count() > 3
    for picture in pictures.all():
        assert picture.evaluate("async (each) => { await each.decode(); return each.width; }") > 100
        assert len(picture.get_attribute("alt").split()) > 1
    solutions = page.locator("article details")
    assert solutions.count() >= 3
    for solution in solutions.all():
        inside = solution.locator(":scope > :not(summary)").first
        expect(inside).to_be_hidden()
        solution.locator("summary").click()
        expect(inside).to_be_visible()


# ---- all pages -----------------------------------------------------------------------------------


def test_every_module_has_its_entry(visit):
    page = visit("api/index")
    names = [name for name in ORDER if name != "exercises"]
    assert page.locator("article table code").all_inner_texts()[:1] == names[:1]
    for name in names:
        expect(page.locator("article").get_by_role("link", name=name, exact=True)).to_have_count(1)
        entry = page.request.get(f"{page.url.rsplit('/', 1)[0]}/{name}.html").text()
        assert f'id="module-nca_lib.{name}"' in entry
    page.get_by_role("link", name="rule", exact=True).last.click()
    expect(page.locator("#nca_lib\\.rule\\.NCA\\.rollout")).to_be_visible()
    expect(page.locator("#nca_lib\\.rule\\.RuleConfig\\.fire_rate + dd")).to_have_text(
        "probability that a cell updates in a step"
    )
    expect(page.get_by_text("Raises:").first).to_be_visible()


def test_links_inside_the_site_lead_somewhere(site):
    texts = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    named = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in texts.items()}
    count = 0
    for path, text in texts.items():
        for link in re.findall(r'<(?:a|img|script|link)\b[^>]*?(?:href|src)="([^"]+)"', text):
            if not re.match(r"[a-z]+:", link):
                name, _, anchor = urllib.parse.unquote(link).partition("#")
                target = (path.parent / name.split("?")[0]).resolve() if name else path
                assert target.is_file(), f"{path.name}: {link}"
                assert not anchor or anchor in named[target], f"{path.name}: {link}"
                count += 1
    assert count > 1000


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [*PAGES, "README", "notebooks/06_damage_and_regrowth"])
def test_pages_scroll_one_way_only(visit, name, size):
    page = visit(name, size)
    hidden = """[document.documentElement, document.querySelector(".content")].map(
      (element) => element.scrollWidth - element.clientWidth)"""
    assert page.evaluate(hidden) == [0, 0]  # nothing of the page stands out on the right
    page.screenshot(path=SCREENSHOTS / f"site_{name.replace('/', '_')}_{size}.png")


def test_the_toggle_changes_the_theme_and_the_widgets(visit):
    page = visit("index", reduced_motion="reduce")
    seen = []  # the page, and the corner of the picture
    for theme in ("auto", "dark", "light"):
        assert page.evaluate("document.body.dataset.theme") == theme
        page.wait_for_timeout(200)  # until it is drawn
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        corner = "canvas => [...canvas.getContext('2d').getImageData(1, 1, 1, 1).data]"
        seen.append((colour, page.locator(".nca-stage").evaluate(corner)))
        page.locator("button.theme-toggle:visible").click()
    for light, dark, again in zip(*seen, strict=True):
        assert light == again != dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_fault(visit, name, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(name, color_scheme=scheme, reduced_motion="reduce")
    found = Axe().run(page).response["violations"]
    for each in found:
        print(each["impact"], each["id"], [node["html"][:200] for node in each["nodes"][:5]])
    assert [e["id"] for e in found if e["impact"] in ("serious", "critical")] == []
    page.screenshot(path=SCREENSHOTS / f"site_{name.replace('/', '_')}_{scheme}.png")
