"""Settings of the site, for Sphinx: `make site`. No page may load anything from elsewhere."""

import re
from importlib.util import find_spec
from pathlib import Path

import nca_lib

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.pycode import ModuleAnalyzer

project = "nca_lib"
version = release = nca_lib.__version__
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]

nb_execution_mode = "off"  # make_site.py runs what has to be run
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"  # browsers set it; the other ways load a script from elsewhere
myst_heading_anchors = 3

default_role = "code"  # docstrings put code in single backticks
add_module_names = False
autodoc_default_options = {
    "members": True, "undoc-members": True, "member-order": "bysource", "ignore-module-all": True,
    "exclude-members": "set",  # which matplotlib adds to Sheet
}  # fmt: skip
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True  # as they are written
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
python_display_short_literal_types = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "nca_lib"
html_favicon = "static/favicon.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_domain_indices = False
PAPER = {"font-stack--headings": "ui-serif, 'Iowan Old Style', Palatino, Georgia, serif"}
html_theme_options = {  # the colours of nca_lib/live/page.html
    "top_of_page_buttons": [],
    "light_css_variables": PAPER | {
        "color-brand-primary": "#0072b2", "color-brand-content": "#0072b2",
        "color-background-secondary": "#f6f4ee", "color-background-border": "#dcd8cf",
    },
    "dark_css_variables": PAPER | {
        "color-brand-primary": "#7cc0ea", "color-brand-content": "#7cc0ea",
        "color-background-primary": "#131518", "color-background-secondary": "#1b1d21",
        "color-background-border": "#34373c",
    },
}  # fmt: skip

COMMENT = re.compile(r"^( {4}[a-z]\w*: .+|[A-Z][A-Z_]+(?:: .+)? = .+)  # (?=\S)", re.M)


def read_comments(app) -> None:
    """Let autodoc take the comment beside a field or a constant for its description."""
    package = Path(find_spec("nca_lib").origin).parent
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name, text = ".".join(parts).removesuffix(".__init__"), path.read_text(encoding="utf-8")
        analyzer = ModuleAnalyzer.for_string(COMMENT.sub(r"\1  #: ", text), name, str(path))
        analyzer.analyze()
        analyzer.code = text  # the pages with the source show it as it is
        ModuleAnalyzer.cache["module", name] = analyzer


def keep_sentences(app, what, name, obj, options, lines: list[str]) -> None:
    """Let Napoleon not take the first words of an attribute's description for its type."""
    if what in ("attribute", "data", "property") and lines:
        lines[0] = ": " + re.sub(r"[*|]", r"\\\g<0>", lines[0])


def mend(app, pagename, templatename, context, doctree) -> None:
    """What a screen reader stumbles over: headings of no level, lists of terms without terms."""
    for name, found, better in (
        ("furo_navigation_tree", 'role="heading"', 'role="heading" aria-level="2"'),
        ("body", "<dl>", '<dl role="none">'),  # the parameters of a long signature
    ):
        if name in context:
            context[name] = context[name].replace(found, better)


def inline_formula(writer, node) -> None:
    """A formula within a line, as MathML."""
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def formula(writer, node) -> None:
    """A formula on a line of its own; one that is too wide can be scrolled, also with keys."""
    math = convert(node.astext(), display="block")
    writer.body.append(f'<div class="nca-formula" tabindex="0" role="group">{math}</div>\n')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline_formula, None), (formula, None))
    app.connect("builder-inited", read_comments)
    app.connect("autodoc-process-docstring", keep_sentences, priority=400)  # before Napoleon
    app.connect("html-page-context", mend, priority=900)  # after Furo
