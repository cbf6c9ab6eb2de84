"""Sphinx settings of the book: notebooks are shown as they were executed, and nothing is fetched."""

import dataclasses
import importlib.util
import re
import shutil
import sys
from html import escape
from pathlib import Path

from advdpnp import __version__
from advdpnp.config import load_tier
from advdpnp.store import results_root

sys.path.insert(0, str(Path(__file__).parent))
from build import TIERS

project = "Adv-DPNP: a reproducible companion"
author = "the authors of this companion"
release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx.ext.mathjax", "sphinx_copybutton"]
exclude_patterns = ["files"]
default_role = "code"
templates_path = ["templates"]

nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
copybutton_selector = "div.highlight-ipython3 pre, div.highlight-bash pre, div.highlight-python pre"
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 78
add_module_names = False
toc_object_entries = False

html_theme = "furo"
html_title = project
html_static_path = ["static", str(results_root() / "book" / "static")]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_favicon = "static/icon.svg"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_domain_indices = False  # api/index lists the modules
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#332288", "color-brand-content": "#332288"},
    "dark_css_variables": {"color-brand-primary": "#88ccee", "color-brand-content": "#88ccee"},
}

# One file of MathJax from a package on PyPI: formulas need no network, and no fonts.
mathjax_path = "tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "local"}}

MEASURED_ELSEWHERE = "several tiers: each number names its own"
NO_NUMBERS = "no tier: nothing on this page was measured"
LABELS = {
    "index": MEASURED_ELSEWHERE,
    "docs/figures": MEASURED_ELSEWHERE,
    "instruments/images": MEASURED_ELSEWHERE,
    "instruments/prototypes": "theory beside the paper's numbers: no network was trained for this page",
    "costs": MEASURED_ELSEWHERE,
    "docs/findings": MEASURED_ELSEWHERE,
    "docs/ledger": MEASURED_ELSEWHERE,
    "docs/speed": MEASURED_ELSEWHERE,
    "notebooks/method": "demo tier: a live example on 8x8 digits; not the paper's protocol",
}


def tier_label(page: str) -> str:
    """What a page's numbers are, for the line at its top."""
    tier = page.split("/")[0]
    if tier in TIERS and load_tier(tier).policy.comparable:
        return f"{tier} tier: {load_tier(tier).label}"
    if tier in TIERS:
        return f"{tier} tier: {load_tier(tier).label.split(': ', 1)[-1]}; not the paper's protocol"
    if page.startswith("notebooks/exercises"):
        return "no tier: exercises on small data"
    return LABELS.get(page, NO_NUMBERS)


def tier_tabs(app, page: str) -> str:
    """Links to the same table, figure or report in the other tiers, as tabs; nothing where there is one tier only."""
    tier, _, name = page.partition("/")
    there = [each for each in TIERS if f"{each}/{name}" in app.env.found_docs]
    if tier not in there or len(there) < 2:
        return ""
    tabs = [
        f'<a href="{app.builder.get_relative_uri(page, f"{each}/{name}")}"'
        f"{' aria-current=page' if each == tier else ''}>{each}</a>"
        for each in there
    ]
    return f'<nav class="tier-tabs" aria-label="This page in each tier">tier {"".join(tabs)}</nav>'


def show_label(app, page, template, context, doctree) -> None:
    if "body" in context:
        label = f'<p class="tier-label tier-{escape(page.split("/")[0])}">{escape(tier_label(page))}</p>'
        context["body"] = tier_tabs(app, page) + label + context["body"]


def plain(text: str) -> str:
    parts = text.split("`")
    parts[::2] = [re.sub(r"([|*_\\])", r"\\\1", part) for part in parts[::2]]
    parts[::2] = [re.sub(r"(?<!\S)\\\*(\w+)\\\*(?!\w)", r"*\1*", part) for part in parts[::2]]  # one *stressed* word
    return "``".join(parts)


def plain_docstring(app, what, name, thing, options, lines) -> None:
    """Docstrings are plain text with `code`, not reStructuredText; a dataclass also lists its fields."""
    lines[:] = plain("\n".join(lines)).split("\n")
    if what == "class" and dataclasses.is_dataclass(thing):
        lines += ["", *field_list(thing)]


def field_list(thing: type) -> list[str]:
    """What `advdpnp.config.setting` knows of each field."""
    known = [field for field in dataclasses.fields(thing) if "meaning" in field.metadata]
    return [f"* ``{field.name} = {field.default!r}``: {plain(field.metadata['meaning'])}" for field in known]


def copy_mathjax(app) -> None:
    package = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent
    target = Path(app.outdir) / "_static"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(package / "static" / "mathjax" / "tex-svg.js", target / "tex-svg.js")


def setup(app) -> None:
    app.connect("builder-inited", copy_mathjax)
    app.connect("html-page-context", show_label)
    app.connect("autodoc-process-docstring", plain_docstring)
