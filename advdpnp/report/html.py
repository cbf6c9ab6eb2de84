"""The report as one HTML file that opens anywhere: pictures inside, tables that scroll, no script, no network."""

import base64
import re
from html import escape
from itertools import pairwise
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; --line: #8884; --head: #8882; --link: #0b5cad }
@media (prefers-color-scheme: dark) { :root { --link: #7ab8ff } }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1rem 1.25rem 4rem }
h1, h2, h3 { line-height: 1.25; scroll-margin-top: 1rem }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1.5rem }
p, li { max-width: 70ch }
p:has(img) { max-width: none }
a { color: var(--link) }
code { font-size: .92em; overflow-wrap: anywhere }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px }
.wide { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: 15px; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { background: var(--head) }
nav { columns: 20rem; margin: 1rem 0 }
nav a { display: block; padding: .15rem 0 }
summary { cursor: pointer; padding: .3rem 0 }
td summary { padding: 0 }
"""


def html_page(text: str, folder: Path) -> str:
    """Markdown as a whole page: a list of its sections before the first, each picture found in `folder` inside.

    A picture that is not there stays a link. Raw HTML of the report (folded rows) is kept.
    """
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = reader.parse(text)
    sections: dict[str, str] = {}
    title = "Report"
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            plain = "".join(part.content for part in inline.children or () if part.type in ("text", "code_inline"))
            opening.attrSet("id", name := _anchor(plain, sections))
            if opening.tag == "h1":
                title = plain
            if opening.tag == "h2":
                sections[name] = plain
        for image in (part for part in inline.children or () if part.type == "image"):
            image.attrSet("src", embedded(folder / str(image.attrGet("src")), str(image.attrGet("src"))))
    body = reader.renderer.render(tokens, reader.options, {})
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    links = "".join(f'<a href="#{name}">{escape(plain)}</a>' for name, plain in sections.items())
    first = body.find("<h2")
    if first >= 0:
        body = f"{body[:first]}<details><summary>All sections</summary><nav>{links}</nav></details>\n{body[first:]}"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    start = f'<!doctype html>\n<html lang="en"><head>{head}<title>{escape(title)}</title><style>{STYLE}</style></head>'
    return f"{start}\n<body>\n{body}</body></html>\n"


KINDS = {".png": "png", ".svg": "svg+xml"}


def embedded(path: Path, otherwise: str) -> str:
    """A picture as a data URI, or `otherwise` where there is no such file."""
    if path.suffix not in KINDS or not path.is_file():
        return otherwise
    return f"data:image/{KINDS[path.suffix]};base64," + base64.b64encode(path.read_bytes()).decode()


def _anchor(plain: str, taken: dict[str, str]) -> str:
    """'The paper's claims' -> 'the-papers-claims', as GitHub has it; numbered where two sections have one name."""
    name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
    return name if name not in taken else f"{name}-{len(taken)}"
