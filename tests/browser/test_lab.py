"""Chapters 5 and 6 in a real JupyterLab, and 6 in Notebook 7."""

import contextlib
import re
import shutil
import time
from pathlib import Path

import pytest
from browsers import expect, jupyter, run_all
from reader import cut

NOTEBOOKS = Path(__file__).resolve().parents[2]
# Notebook 7 stumbles over a schema of its own when it starts, whatever is opened.
NOT_OURS = ("notebook", "Cannot read properties of undefined (reading 'schema')")


@pytest.fixture(scope="module")
def run_chapter(browser, tmp_path_factory):
    """Opens a chapter in "lab" or "notebook", runs all its cells and returns the page."""
    errors, addresses = [], {}
    with contextlib.ExitStack() as stack:
        context = browser.new_context(viewport={"width": 1280, "height": 1400})

        def run(app: str, number: str):
            if app not in addresses:
                own = tmp_path_factory.mktemp(app)
                for folder in ("notebooks", "course"):
                    shutil.copytree(NOTEBOOKS / folder, own / "notebooks" / folder)
                addresses[app] = stack.enter_context(jupyter(app, own))
            (chapter,) = (NOTEBOOKS / "notebooks").glob(f"{number}_*.ipynb")
            page = context.new_page()
            page.on("pageerror", lambda error: errors.append((app, str(error))))
            page.goto(addresses[app].format(f"notebooks/{chapter.name}"))
            run_all(page)
            expect(page.get_by_text("javascript error")).to_have_count(0)
            return page

        yield run
        context.close()
    assert [error for error in errors if error != NOT_OURS] == []


@pytest.fixture(scope="module")
def chapter5(run_chapter):
    return run_chapter("lab", "05")


@pytest.fixture(scope="module")
def chapter6(run_chapter):
    return run_chapter("lab", "06")


def cell_with(page, selector: str):
    """The first cell whose output shows this, in the middle of the window."""
    page.bring_to_front()
    cell = page.locator(".jp-CodeCell", has=page.locator(selector)).first
    cell.locator(selector).first.scroll_into_view_if_needed()
    return cell


def steps_of(cell) -> int:
    """How many steps the live digit has made."""
    return int(cell.locator(".nca-steps").inner_text().removeprefix("step "))


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


def test_the_player_scrubs_and_sends_its_step_to_the_kernel(chapter5):
    page, cell = chapter5, cell_with(chapter5, "canvas.nca-growth")
    slider, canvas = cell.get_by_role("slider", name="step"), cell.locator("canvas.nca-growth")
    slider.focus()
    expect(canvas).to_have_attribute("aria-label", re.compile("at step"))  # it is decoded
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    for _ in range(5):
        slider.press("ArrowRight")  # and JupyterLab does not go to the next cell
    assert canvas.evaluate("canvas => canvas.toDataURL()") != before
    step = slider.input_value()
    expect(canvas).to_have_attribute("aria-label", re.compile(f"at step {step}: ink"))
    page.wait_for_timeout(500)
    assert kernel_says(page, "print(player.step)") == step


def test_the_digit_lives_in_the_notebook_and_its_state_reaches_python(chapter5):
    page, cell = chapter5, cell_with(chapter5, "canvas.nca-stage")
    page.wait_for_function("document.querySelector('.nca-steps').textContent !== 'step 0'")
    cell.get_by_role("button", name="8", exact=True).click()
    first, end = steps_of(cell), time.monotonic() + 60
    while steps_of(cell) < first + 96:
        assert time.monotonic() < end
        time.sleep(0.2)
    cell.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(1000)  # it looks four times a second for what is new
    kernel_says(page, "from nca_lib.classifier import load_classifier")
    read = "load_classifier()(alive.state[:, :1].clamp(0, 1)).argmax().item()"
    assert kernel_says(page, f"print(alive.label, {read})") == "8 8"
    kernel_says(page, "alive.label = 1")
    one = cell.get_by_role("button", name="1", exact=True)
    expect(one).to_have_attribute("aria-pressed", "true", timeout=10_000)
    kernel_says(page, "alive.show(torch.zeros_like(alive.state))")
    page.wait_for_timeout(1500)
    assert kernel_says(page, "print(alive.state.abs().sum().item())") == "0.0"


def test_pointer_and_keys_erase_in_the_notebook_also_without_its_kernel(chapter6):
    page, cell = chapter6, cell_with(chapter6, "canvas.nca-stage")
    place, canvas = cell.locator(".nca-live"), cell.locator("canvas.nca-stage")
    page.wait_for_timeout(1500)
    assert cut(page, place) > 0.05
    canvas.focus()
    canvas.press("ArrowUp")  # and JupyterLab does not go to the cell above
    expect(canvas).to_be_focused()
    expect(cell.locator("[role=status]", has_text="Row 14")).to_be_visible()
    page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.shutdown()"
    )
    before = steps_of(cell)
    page.wait_for_timeout(1000)
    assert steps_of(cell) > before
    assert cut(page, place) > 0.05


def test_notebook_7_shows_the_living_digit_and_takes_the_pointer(run_chapter):
    page = run_chapter("notebook", "06")
    cell = cell_with(page, "canvas.nca-stage")
    page.wait_for_timeout(1500)
    assert cut(page, cell.locator(".nca-live")) > 0.05
