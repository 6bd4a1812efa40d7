"""Build the static site: the live model, the chapters, the API. `make site`

The pages are collected in a folder that looks like the repository, so that the links between them
hold; Sphinx turns them into HTML (docs/site/conf.py). Chapters with widgets are run, and the state
that Jupyter saves of each widget goes into the page, where it works without a kernel.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
import tempfile
from html import escape
from pathlib import Path

import nbformat
from folders import replace_folder
from make_live_page import PAGE, make_page
from modules import ORDER
from nbclient import NotebookClient
from run_notebooks import TIMEOUT, WIDGET, pictures_in, shows_widget
from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ROOT / "docs" / "site"
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PAGES = ["README.md", "CONTRIBUTING.md"]  # the others are found through their links
LINK = re.compile(r"(?<=\]\()(?!https?:|#)[^)#\s]+")
FIGURES = ("film_strip", "film_strips", "mosaic", "new_figure")  # they take a title
STILL = "This slider needs Python: <code>make lab</code> opens the notebook."


class Stage:
    """The folder that Sphinx reads: pages, and everything that they link to."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.linked: list[Path] = []  # pages that other pages link to

    def write(self, path: Path | str, text: str) -> None:
        """Write a file; `path` is its place in the repository."""
        place = self.folder / (ROOT / path).relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def link(self, text: str, page: Path) -> str:
        """The text of a page, its links changed to those of the site."""
        return LINK.sub(lambda match: self.link_to(match[0], page), text)

    def link_to(self, link: str, page: Path) -> str:
        target = Path(os.path.normpath(page.parent / link))
        inner = target.relative_to(ROOT).as_posix()
        name = inner.removeprefix("nca_lib/").removesuffix(".py").replace("/", ".")
        if name in ORDER or target == PAGE:  # elsewhere than in the repository
            place = "index.md" if target == PAGE else f"api/{name}.rst"
            return os.path.relpath(ROOT / place, page.parent).replace(os.sep, "/")
        if target.is_dir():
            return f"{link}/README.md"
        if target.suffix == ".md":
            self.linked.append(target)
        elif target.suffix != ".ipynb":
            place = self.folder / inner
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(target, place)
        return link


# ---- chapters, and their widgets -----------------------------------------------------------------


def run_chapter(path: Path):
    """A chapter with its outputs, and the saved state of its widgets, by their model's id.

    Cells are run up to the last one that shows a widget; later cells keep their stored outputs.
    """
    notebook = nbformat.read(path, 4)
    with_widget = [
        k
        for k, cell in enumerate(notebook.cells)
        if any(map(shows_widget, cell.get("outputs", [])))
    ]
    if not with_widget:
        return notebook, {}
    begin = nbformat.v4.new_notebook(cells=notebook.cells[: with_widget[-1] + 1])
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(begin, timeout=TIMEOUT, kernel_name="python3", resources=where).execute()
    (saved,) = begin.metadata.widgets.values()
    return notebook, saved["state"]


def inline(data) -> str:
    """JSON as a script element can hold it."""
    return json.dumps(data).replace("<", "\\u003c")


def image(content: str, name: str) -> str:
    return f'<img alt="{escape(name)}" src="data:image/png;base64,{content}">'


def on_page(number: str, models: dict, data: dict, scripts: list[str]) -> str:
    """A widget as HTML; adds its script to `scripts`, unless an earlier widget has the same.

    Widgets of other libraries need a kernel: of those the page shows the images alone.
    """
    model = models[number]
    if model["model_name"] != "AnyModel":
        images = "".join(image(content, "the picture") for content in pictures_in(models, number))
        return f'<div class="nca-still">{images}<p>{STILL}</p></div>'
    script = model["state"].pop("_esm")
    if script not in scripts:
        scripts.append(script)
    saved = inline(model | {"script": scripts.index(script)})
    instead = f"<noscript>{image(data['image/png'], data['text/plain'])}</noscript>"
    return f'<div class="nca-saved">{instead}<script type="application/json">{saved}</script></div>'


def bring_to_life(notebook, models: dict) -> None:
    """Replace each widget in the outputs by HTML that needs no kernel."""
    scripts: list[str] = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                number = output.data[WIDGET]["model_id"]
                text = on_page(number, models, output.data, scripts)
                output.data = nbformat.from_dict({"text/html": text})
    if scripts:
        mounting = (SETTINGS / "alive.js").read_text(encoding="utf-8")
        text = (
            f'<script type="application/json" id="nca-scripts">{inline(scripts)}</script>\n'
            f'<script type="module">\n{mounting}</script>'
        )
        cell = nbformat.v4.new_raw_cell(text, metadata={"format": "text/html"})
        notebook.cells.append(cell)


def title_of(source: str) -> str:
    """The title of the figure that a cell draws, for those who don't see it."""
    for node in ast.walk(ast.parse(source.replace("%matplotlib", "# "))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in FIGURES:
            for given in node.args:
                if isinstance(given, ast.Constant) and given.value and isinstance(given.value, str):
                    return given.value
    return "what the cell above draws"


def stage_chapter(path: Path, stage: Stage) -> None:
    notebook, models = run_chapter(path)
    bring_to_life(notebook, models)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = stage.link(cell.source, path)
        elif any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            cell.metadata["mystnb"] = {"image": {"alt": title_of(cell.source)}}
    stage.write(path, nbformat.writes(notebook))


# ---- the other pages -----------------------------------------------------------------------------


def stage_texts(stage: Stage) -> None:
    """The texts of the repository: README, and what can be reached from it through links."""
    stage.linked += [ROOT / page for page in PAGES]
    done = set()
    while stage.linked:
        page = stage.linked.pop()
        if page not in done:
            done.add(page)
            text = stage.link(page.read_text(encoding="utf-8"), page)
            title = "" if text.startswith("# ") else f"# {page.stem.capitalize()}\n\n"
            stage.write(page, f"---\norphan: true\n---\n{title}{text}")


def stage_cards(stage: Stage) -> None:
    """The cards of the models that come with the package."""
    folder = ROOT / "nca_lib" / "weights"
    names = sorted(path.stem for path in folder.glob("*.md"))
    for name in names:
        stage.write(folder / f"{name}.md", (folder / f"{name}.md").read_text(encoding="utf-8"))
    lines = ["# The trained models", "They come with the package.", "```{toctree}"]
    stage.write(folder / "README.md", "\n".join([*lines, *reversed(names), "```"]))


def stage_api(stage: Stage) -> None:
    """A page for each module, and a list of them in reading order."""
    rows, contents = ["| module | what it holds |", "| --- | --- |"], []
    for name in ORDER:
        folder = ROOT / "nca_lib" / name.replace(".", "/")
        path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        what = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).splitlines()[0]
        title = f"nca_lib.{name}"
        page = f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n"
        stage.write(f"api/{name}.rst", page)
        rows.append(f"| [`{name}`]({name}.rst) | {what} |")
        contents.append(f"{name} <{name}>")
    said = "In reading order: no module imports one that stands below it."
    contents = ["```{toctree}", ":hidden:", "", *contents, "```"]
    stage.write("api/index.md", "\n".join(["# API", "", said, "", *rows, "", *contents, ""]))


def stage_front(stage: Stage) -> None:
    """The live model as in docs/live.html, and links to everything else."""
    page, titles = make_page(), []
    for number, path in enumerate(CHAPTERS, 1):
        heading = nbformat.read(path, 4).cells[0].source.splitlines()[0]
        title = re.sub(r"^# (\d+\. )?", "", heading)
        titles.append(f"{number}. [{title}](notebooks/{path.name})")
    header = re.search(r"<header>\s*<h1>(.+?)</h1>(.+?)</header>", page, re.S)
    rest = re.search(r"<noscript>.+?</noscript>", page, re.S)[0]
    scripts = "".join(re.findall(r"<script.+?</script>\n", page, re.S))
    fills = {
        "title": header[1],
        "front": f'{header[2].strip()}\n<div id="live"></div>\n{rest}\n{scripts}',
        "chapters": "\n".join(titles),
        "notebooks": "\n".join(f"notebooks/{path.stem}" for path in CHAPTERS),
    }
    text = (SETTINGS / "index.md").read_text(encoding="utf-8")
    for name, fill in fills.items():
        text = text.replace(f"{{{{{name}}}}}", fill)
    stage.write("index.md", text)


def make_site(site: Path) -> int:
    """Build the site; returns 0 if it succeeded, else the old site stays."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder) / "pages")
        for path in CHAPTERS:
            stage_chapter(path, stage)
        for part in (stage_texts, stage_cards, stage_api, stage_front):
            part(stage)
        options = ["-q", "-W", "--keep-going", "-c", str(SETTINGS), "-d", f"{folder}/doctrees"]
        code = build_main([*options, str(stage.folder), f"{folder}/html"])
        if code == 0:
            replace_folder(Path(folder) / "html", site)
    return code


if __name__ == "__main__":
    sys.exit(make_site(Path(*sys.argv[1:2] or [ROOT / "site"])))
