"""Chapters 5 and 6 in a real JupyterLab, and 6 in Notebook 7, driven in headless Chromium.

Chromium is looked for on the PATH; without it the tests are skipped, or fail where
NCA_BROWSER=required. Screenshots stay in tests/browser/screenshots.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from chromium import CHROMIUM, FLAGS, MISSING, expect, needs_chromium, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = Path(__file__).parent / "screenshots"
pytestmark = needs_chromium
# Notebook 7 stumbles over a schema of its own when it starts, whatever is opened.
NOT_OURS = ("notebook", "Cannot read properties of undefined (reading 'schema')")
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell stays in the page
    "docmanager-extension/plugin": {"autosave": False},
}


@contextlib.contextmanager
def jupyter(app: str, own: Path):
    """JupyterLab or Notebook on loopback, with configuration of its own: yields its address.

    Args:
        app: "lab" or "notebook".
        own: where it keeps everything, and where its notebooks are: `own / "notebooks"`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    for name, values in SETTINGS.items():
        path = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    folders = {f"JUPYTER_{k}_DIR": own / k.lower() for k in ("CONFIG", "RUNTIME", "DATA")}
    folders |= {f"JUPYTERLAB_{k}_DIR": own / k.lower() for k in ("SETTINGS", "WORKSPACES")}
    folders["IPYTHONDIR"] = own / "ipython"
    env = os.environ | {k: str(v) for k, v in folders.items()} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jupyterlab" if app == "lab" else "notebook", "--no-browser"]
    command += ["--allow-root", "--expose-app-in-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={own / 'notebooks'}"]
    if app == "lab":
        command.append("--LabApp.extension_manager=readonly")  # asks no registry
    with (own / f"{app}.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            assert server.poll() is None, (own / f"{app}.log").read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=2)
                break
            time.sleep(0.2)
        tree = "lab/tree" if app == "lab" else "notebooks"
        yield f"{address}/{tree}/{{}}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def run_chapter(tmp_path_factory):
    """Opens a chapter in "lab" or "notebook", runs all its cells and returns the page."""
    assert CHROMIUM, MISSING
    SCREENSHOTS.mkdir(exist_ok=True)
    errors, addresses = [], {}
    with contextlib.ExitStack() as stack:
        browser = stack.enter_context(sync_playwright()).chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"),
            executable_path=CHROMIUM,
            args=FLAGS,
            viewport={"width": 1280, "height": 1400},
        )

        def run(app: str, name: str):
            if app not in addresses:
                own = tmp_path_factory.mktemp(app)
                shutil.copytree(ROOT / "notebooks", own / "notebooks")
                addresses[app] = stack.enter_context(jupyter(app, own))
            page = browser.new_page()
            page.on("pageerror", lambda error: errors.append((app, str(error))))
            page.goto(addresses[app].format(name))
            wait(page, "panel?.sessionContext?.session?.kernel?.status === 'idle'", 90)
            page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
            wait(
                page,
                "panel.sessionContext.session.kernel.status === 'idle' && panel.content.widgets"
                ".filter(c => c.model.type === 'code' && c.model.sharedModel.getSource().trim())"
                ".every(c => c.model.executionCount !== null)",
                240,
            )
            return page

        yield run
        browser.close()
    assert [error for error in errors if error != NOT_OURS] == []


def wait(page, condition: str, seconds: int) -> None:
    """Until the condition holds for the notebook that is open, `panel`."""
    script = (
        f"() => {{ const panel = window.jupyterapp?.shell.currentWidget; return {condition}; }}"
    )
    page.wait_for_function(script, timeout=1000 * seconds)


def pixels(picture) -> str:
    """A hash of what an <img> or <canvas> shows."""
    data = picture.evaluate(
        """async el => { if (el.tagName === 'IMG') await el.decode();
        const c = document.createElement('canvas');
        c.width = el.naturalWidth || el.width; c.height = el.naturalHeight || el.height;
        const x = c.getContext('2d'); x.drawImage(el, 0, 0);
        return Array.from(x.getImageData(0, 0, c.width, c.height).data).join(','); }"""
    )
    return hashlib.sha1(data.encode()).hexdigest()


def becomes_another(picture, before: str, seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(Exception):  # the picture is just being replaced
            if pixels(picture) != before:
                return True
        time.sleep(0.1)
    return False


def drag(page, slider, share: float) -> None:
    """Drag a slider's handle to a share of its track, with real mouse events."""
    slider.scroll_into_view_if_needed()
    track = slider.locator(".noUi-base").bounding_box()
    handle = slider.locator(".noUi-handle").bounding_box()
    y = handle["y"] + handle["height"] / 2
    page.mouse.move(handle["x"] + handle["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] * share, y, steps=8)
    page.mouse.up()


@pytest.fixture(scope="module")
def chapter5(run_chapter):
    return run_chapter("lab", "05_growth_explorer.ipynb")


@pytest.fixture(scope="module")
def chapter6(run_chapter):
    return run_chapter("lab", "06_damage_and_regrowth.ipynb")


def test_every_widget_is_shown(chapter5, chapter6):
    for page, selector, count in (
        (chapter5, "img.nca-growth", 5),
        (chapter6, "canvas.nca-brush", 1),
    ):
        expect(page.locator(selector)).to_have_count(count)
        expect(page.get_by_text("javascript error")).to_have_count(0)


def test_the_slider_scrubs_the_growth_and_play_plays_it(chapter5):
    page = chapter5
    page.bring_to_front()
    cell = page.locator(".jp-CodeCell", has=page.locator("img.nca-growth")).first
    picture, slider = cell.locator("img.nca-growth"), cell.locator(".widget-hslider")
    assert "a 3" in picture.get_attribute("title")  # what a screen reader says
    before = pixels(picture)
    drag(page, slider, 0.35)
    assert becomes_another(picture, before)
    readout = cell.locator(".widget-readout").first
    step = int(readout.inner_text())
    assert 20 < step < 50
    cell.screenshot(path=SCREENSHOTS / "05_slider.png")
    before = pixels(picture)
    cell.locator(".widget-play button").first.click()
    expect(readout).not_to_have_text(str(step), timeout=15_000)
    assert becomes_another(picture, before)


def test_the_explorer_grows_what_is_asked_for(chapter5):
    page = chapter5
    cell = page.locator(".jp-CodeCell", has=page.locator(".widget-dropdown")).first
    drag(page, cell.locator(".widget-hslider", has_text="step"), 0.5)
    picture = cell.locator("img.nca-growth").first
    time.sleep(1)
    before = pixels(picture)
    cell.locator(".widget-dropdown select").first.select_option("7")
    expect(cell.locator("b", has_text="7")).to_be_visible(timeout=30_000)
    assert becomes_another(cell.locator("img.nca-growth").first, before)
    cell.screenshot(path=SCREENSHOTS / "05_explorer.png")


def fresh_brush(page):
    """The cell with the brush, a fresh digit in it."""
    page.bring_to_front()
    page.get_by_role("button", name="a fresh digit").click()
    expect(page.locator("[role=status]", has_text="Drag over")).to_be_visible(timeout=30_000)
    return page.locator(".jp-CodeCell", has=page.locator("canvas.nca-brush")).first


@pytest.fixture
def brush(chapter6):
    return fresh_brush(chapter6)


def erased(cell) -> int:
    """How many cells the kernel says were erased."""
    status = cell.locator("[role=status]", has_text="cells were erased")
    expect(status).to_be_visible(timeout=30_000)
    return int(status.inner_text().split()[0])


def test_the_pointer_erases_and_the_kernel_hears_of_it(brush):
    page, canvas, healing = brush.page, brush.locator("canvas.nca-brush"), brush.locator("img")
    canvas.scroll_into_view_if_needed()
    box, whole = canvas.bounding_box(), pixels(healing)
    page.mouse.move(box["x"] + 90, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 190, box["y"] + 110, steps=3)
    brush.screenshot(path=SCREENSHOTS / "06_erasing.png")
    page.mouse.up()
    assert erased(brush) > 50  # a stroke without gaps, though the pointer moved in leaps
    readout = brush.locator(".widget-hslider", has_text="step").locator(".widget-readout")
    expect(readout).to_have_text("64", timeout=30_000)  # the healing plays by itself
    healed = pixels(healing)
    brush.screenshot(path=SCREENSHOTS / "06_healed.png")
    drag(page, brush.locator(".widget-hslider", has_text="step"), 0)
    assert becomes_another(healing, healed)
    assert pixels(healing) != whole
    brush.screenshot(path=SCREENSHOTS / "06_hurt.png")


def test_the_keyboard_erases_too(brush):
    canvas = brush.locator("canvas.nca-brush")
    canvas.focus()
    row = brush.locator(".widget-hslider", has_text="row").locator(".widget-readout")
    before = int(row.inner_text())
    for _ in range(3):
        canvas.press("ArrowUp")  # and JupyterLab does not go to the cell above
    expect(row).to_have_text(str(before - 3))
    expect(canvas).to_be_focused()
    canvas.press("Enter")
    assert 15 < erased(brush) < 25  # a ring of radius 2.5
    expect(brush.get_by_label("drag over it to erase")).to_be_visible()


def test_sliders_and_a_button_erase_too(brush):
    drag(brush.page, brush.locator(".widget-hslider", has_text="radius"), 0.6)
    brush.get_by_role("button", name="erase").click()
    assert erased(brush) > 50
    brush.screenshot(path=SCREENSHOTS / "06_sliders.png")
    brush.get_by_role("button", name="a fresh digit").click()
    expect(brush.locator("[role=status]", has_text="Drag over")).to_be_visible(timeout=30_000)


def test_notebook_7_shows_the_widgets_and_hears_the_pointer(run_chapter):
    page = run_chapter("notebook", "06_damage_and_regrowth.ipynb")
    brush = fresh_brush(page)
    expect(page.get_by_text("javascript error")).to_have_count(0)
    canvas, healing = brush.locator("canvas.nca-brush"), brush.locator("img.nca-growth")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 90, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 190, box["y"] + 110, steps=3)
    page.mouse.up()
    assert erased(brush) > 50
    readout = brush.locator(".widget-hslider", has_text="step").locator(".widget-readout")
    expect(readout).to_have_text("64", timeout=30_000)
    healed = pixels(healing)
    drag(page, brush.locator(".widget-hslider", has_text="step"), 0)
    assert becomes_another(healing, healed)
    brush.screenshot(path=SCREENSHOTS / "06_notebook_7.png")
