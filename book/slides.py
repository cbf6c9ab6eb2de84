"""Write the slides of an executed notebook: `make slides`, or python book/slides.py NOTEBOOK once the book's packages
are there.

The cells' own metadata (`slideshow`) says which are slides, sub-slides, fragments, speaker notes, or left out; the tag
`hide-input` leaves out a cell's code. nbconvert makes the sections; reveal.js, MathJax, styles and pictures are put
into the one file results/slides/<notebook>.html, which therefore opens without a network.
"""

import re
import sys
from html import escape
from importlib.util import find_spec
from pathlib import Path

import nbformat
import outputs
import pictures
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from traitlets.config import Config

from advdpnp import store
from advdpnp.errors import UserError

HERE = Path(__file__).resolve().parent / "reveal"
WIDTH, HEIGHT = 1280, 720
OUTWARD = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#)[^)]*\)")  # a link to a file that does not come along
# reveal's own sections, without its page; pictures say what they show
SECTIONS = """\
{% extends 'reveal/base.html.j2' %}
{% block data_png scoped %}
<img alt="{{ output.metadata['image/png'].alt | escape_html }}"
 src="data:image/png;base64,{{ output.data['image/png'] }}">
{% endblock data_png %}
"""


def read(path: Path) -> NotebookNode:
    """An executed notebook. Raises UserError where it is missing, unreadable, not executed, or no slides."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; `make slides` executes the notebook first") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError):
        raise UserError(f"{path}: expected an executed notebook, got another file") from None
    if not any("slideshow" in cell.metadata for cell in notebook.cells):
        raise UserError(f"{path}: no cell says what it is among the slides; write slideshow.slide_type to its metadata")
    if not any(cell.get("outputs") for cell in notebook.cells):
        raise UserError(f"{path}: expected an executed notebook, got one without outputs; `make slides` executes it")
    return notebook


def shaped(notebook: NotebookNode, name: str) -> NotebookNode:
    """The notebook as slides need it: pictures described, tables plain, no links out of the file.

    Raises KeyError for a picture that nobody described.
    """
    notebook = nbformat.from_dict(notebook)
    for cell in notebook.cells:
        if "slideshow" not in cell.metadata:  # what papermill adds
            cell.metadata["slideshow"] = NotebookNode(slide_type="skip")
        if cell.cell_type == "markdown":
            cell.source = OUTWARD.sub(r"\1", cell.source)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                given = output.metadata.setdefault("image/png", NotebookNode())
                if "alt" not in given:
                    given["alt"] = pictures.alt_of_cell(name, cell.source)
            elif "text/html" in data:
                data["text/html"] = outputs.tidy_tables(data["text/html"])
    return notebook


def sections(notebook: NotebookNode) -> tuple[str, str]:
    """reveal's <section> elements and the style sheet of their code."""
    options = Config()
    options.CoalesceStreamsPreprocessor.enabled = True
    options.TagRemovePreprocessor.enabled = True
    options.TagRemovePreprocessor.remove_input_tags = {"hide-input"}
    exporter = SlidesExporter(
        config=options,
        raw_template=SECTIONS,
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    html, resources = exporter.from_notebook_node(notebook)
    return html, "\n".join(resources["inlining"]["css"])


def shipped() -> dict[str, str]:
    """Scripts and style sheets of reveal.js and MathJax, by their place on the page. Raises UserError without them."""
    packages = {name: find_spec(name) for name in ("sphinx_revealjs", "sphinx-mathjax-offline")}
    if missing := [name for name, spec in packages.items() if spec is None]:
        raise UserError(f"{missing[0].replace('_', '-')} is not installed; `make slides` installs it")
    reveal, mathjax = (Path(spec.origin).parent for spec in packages.values())
    reveal = reveal / "_static" / "revealjs"
    found = {
        "REVEAL_CSS": reveal / "dist" / "reveal.css",
        "THEME_CSS": reveal / "dist" / "theme" / "white.css",
        "REVEAL": reveal / "dist" / "reveal.js",
        "NOTES": reveal / "plugin" / "notes" / "notes.js",
        "MATHJAX": mathjax / "static" / "mathjax" / "tex-svg.js",
    }
    texts = {place: path.read_text(encoding="utf-8") for place, path in found.items()}
    texts["THEME_CSS"] = re.sub(r"@import url\([^)]*\);", "", texts["THEME_CSS"])  # its fonts: the system's do
    # inside a <script> this would end it; in a string of JavaScript both are the same
    return {place: text.replace("</script", r"<\/script") for place, text in texts.items()}


def page(notebook: NotebookNode, name: str) -> str:
    """The slides as one HTML file. Raises KeyError for a picture that nobody described, UserError without reveal.js."""
    html, code_css = sections(shaped(notebook, name))
    title = notebook.cells[0].source.partition("\n")[0].lstrip("# ")
    values = shipped() | {"SLIDES": html, "CODE_CSS": code_css, "TITLE": escape(title)}
    values |= {"OWN_CSS": (HERE / "slides.css").read_text(), "WIDTH": str(WIDTH), "HEIGHT": str(HEIGHT)}
    return re.sub(r"%([A-Z_]+)%", lambda match: values[match[1]], (HERE / "page.html").read_text())


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(f"error: expected one executed notebook, got {len(arguments)} arguments", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    try:
        target = store.results_root() / "slides" / f"{path.stem}.html"
        store.write_text(target, page(read(path), path.stem))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"open {target}: arrow keys turn the slides, S shows the notes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
