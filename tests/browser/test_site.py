"""The site, built as `make site` does and opened from its files."""

import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from browsers import expect
from reader import classify, cut, digits, drag, live_on, on_pad, serious_faults

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # the build runs chapters
ROOT = Path(__file__).resolve().parents[2]
SIZES = {"phone": (360, 740), "desk": (1280, 900)}
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
CHAPTER_5 = next(f"notebooks/{name}" for name in CHAPTERS if name.startswith("05"))
PAGES = ["index", CHAPTER_5, "api/model"]  # a front, a chapter, an API page
ALIVE = """[...document.querySelectorAll(".nca-saved")].every(
  (place) => place.querySelector(".nca-live button"))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that the site is built into; a warning would have been an error."""
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, str(ROOT / "tools" / "make_site.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def visit(new_page, site):
    """Opens a page from its file: what lives there lives on a server, too."""

    def open_page(name, size="desk", **options):
        width, height = SIZES[size]
        page = new_page(viewport={"width": width, "height": height}, **options)
        page.goto(f"{site.as_uri()}/{name}.html")
        page.wait_for_function(ALIVE)
        return page

    return open_page


def test_the_front_lives(visit):
    page = visit("index")
    place = page.locator("#live")
    live_on(place, 64)
    assert cut(page, place) > 0.15
    live_on(place, 128)
    assert classify(digits(place)) == [3]
    drag(page, *on_pad(page))
    expect(page.get_by_label("This is a")).to_have_value("7", timeout=30_000)
    page.get_by_role("button", name="Ten-second tour").click()
    expect(page.get_by_role("status")).to_contain_text("One cell grows")


def test_the_widgets_of_a_chapter_live(visit):
    page = visit(CHAPTER_5)
    player = page.locator(".nca-saved", has=page.locator("canvas.nca-growth")).last
    player.get_by_role("slider", name="step").press("End")
    expect(player.locator("canvas").first).to_have_attribute("aria-label", re.compile("step [1-9]"))
    place = page.locator(".nca-saved .nca-live:has(.nca-stage)").first
    place.scroll_into_view_if_needed()  # who is not seen rests
    live_on(place, 64)
    assert classify(digits(place)) == [3]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_its_pictures_and_folded_solutions(visit, chapter):
    page = visit(f"notebooks/{chapter}")
    pictures = page.locator("article img")
    assert pictures.count() > 3
    for picture in pictures.all():
        assert picture.evaluate("async (each) => { await each.decode(); return each.width; }") > 100
        assert len(picture.get_attribute("alt").split()) > 1
    for solution in page.locator("article details").all():
        inside = solution.locator(":scope > :not(summary)").first
        expect(inside).to_be_hidden()
        solution.locator("summary").click()
        expect(inside).to_be_visible()


def test_links_inside_the_site_lead_somewhere(site):
    texts = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    named = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in texts.items()}
    for path, text in texts.items():
        for link in re.findall(r'<(?:a|img|script|link)\b[^>]*?(?:href|src)="([^"]+)"', text):
            if not re.match(r"[a-z]+:", link):
                name, _, anchor = urllib.parse.unquote(link).partition("#")
                target = (path.parent / name.split("?")[0]).resolve() if name else path
                assert target.is_file(), f"{path.name}: {link}"
                assert not anchor or anchor in named[target], f"{path.name}: {link}"


@pytest.mark.parametrize(
    ("size", "scheme"), [("phone", "light"), ("desk", "light"), ("desk", "dark")]
)
@pytest.mark.parametrize("name", [*PAGES, "README"])
def test_pages_scroll_one_way_only(visit, name, size, scheme):
    page = visit(name, size, color_scheme=scheme, reduced_motion="reduce")
    hidden = """[document.documentElement, document.querySelector(".content")].map(
      (element) => element.scrollWidth - element.clientWidth)"""
    assert page.evaluate(hidden) == [0, 0]  # nothing stands out on the right


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_fault(visit, name, scheme):
    assert serious_faults(visit(name, color_scheme=scheme, reduced_motion="reduce")) == []
