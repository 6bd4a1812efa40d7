"""The widgets of chapter 5 in a real JupyterLab."""

import re
import shutil
from pathlib import Path

import pytest
from browsers import expect, jupyter, run_all
from reader import cut, live_on

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def page(browser, tmp_path):
    """Chapter 5 after all its cells were run."""
    errors = []
    for folder in ("notebooks", "course"):
        shutil.copytree(ROOT / folder, tmp_path / "notebooks" / folder)
    (chapter,) = (ROOT / "notebooks").glob("05_*.ipynb")
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    page.on("pageerror", lambda error: errors.append(str(error)))
    with jupyter("lab", tmp_path) as address:
        page.goto(address.format(f"notebooks/{chapter.name}"))
        run_all(page)
        yield page
        page.close()
    assert errors == []


def cell_with(page, selector: str):
    """The first cell whose output shows this, in the middle of the window."""
    cell = page.locator(".jp-CodeCell", has=page.locator(selector)).first
    cell.locator(selector).first.scroll_into_view_if_needed()
    return cell


def kernel_says(page, code: str) -> str:
    """What the chapter's kernel prints when it runs this line."""
    return page.evaluate(
        """async (code) => {
        const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
        let text = "";
        const future = kernel.requestExecute({ code, store_history: false });
        future.onIOPub = ({ content }) => { text += content.text ?? content.traceback ?? ""; };
        await future.done;
        return text.trim(); }""",
        code,
    )


def test_player_and_live_digit_in_jupyterlab_with_their_kernel_and_without(page):
    expect(page.get_by_text("javascript error")).to_have_count(0)
    cell = cell_with(page, "canvas.nca-growth")
    slider, canvas = cell.get_by_role("slider", name="step"), cell.locator("canvas.nca-growth")
    slider.focus()
    expect(canvas.first).to_have_attribute("aria-label", re.compile("at step"))  # it is decoded
    before = canvas.first.evaluate("canvas => canvas.toDataURL()")
    for _ in range(5):
        slider.press("ArrowRight")  # and JupyterLab does not go to the next cell
    assert canvas.first.evaluate("canvas => canvas.toDataURL()") != before
    page.wait_for_timeout(500)
    assert kernel_says(page, "print(player.step)") == slider.input_value()
    cell = cell_with(page, "canvas.nca-stage")
    place, canvas = cell.locator(".nca-live"), cell.locator("canvas.nca-stage")
    cell.get_by_role("button", name="8", exact=True).click()
    live_on(place, 96)
    cell.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(1000)  # it looks four times a second for what is new
    kernel_says(page, "from nca_lib.classifier import load_classifier")
    read = "load_classifier()(live.state[:, :1].clamp(0, 1)).argmax().item()"
    assert kernel_says(page, f"print(live.label, {read})") == "8 8"
    kernel_says(page, "live.label = 1")
    one = cell.get_by_role("button", name="1", exact=True)
    expect(one).to_have_attribute("aria-pressed", "true", timeout=10_000)
    canvas.press("ArrowUp")  # and JupyterLab does not go to the cell above
    expect(canvas).to_be_focused()
    cell.get_by_role("button", name="Play").click()
    page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.shutdown()"
    )
    live_on(place, 96)
    assert cut(page, place) > 0.05
