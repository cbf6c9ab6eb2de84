"""An executed notebook as a page of the book: code folded, tables whole and with heads, films that can be stopped."""

import base64
import csv
import io
import re
from html import escape
from pathlib import Path

import pictures
from nbformat import NotebookNode
from PIL import Image

from advdpnp.names import block_name

SHOWN = ("ours", "low", "high", "paper", "difference", "verdict", "seeds", "images")


def shape(notebook: NotebookNode, name: str, folder: Path, films: Path) -> None:
    """Change the notebook in place; `folder` is the tier's, with tables/, and `films` where frames are written."""
    drop_overridden(notebook)
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        cell.metadata["tags"] = list(dict.fromkeys([*cell.metadata.get("tags", ()), "hide-input"]))
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                given = output.get("metadata", {}).get("image/png", {}).get("alt")
                alt = given or pictures.alt_of_cell(name, cell.source)
                data.pop("text/plain", None)  # "<Figure size ...>" says nothing beside the picture
                image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
                if getattr(image, "n_frames", 1) > 1:
                    output["data"] = NotebookNode({"text/html": film(image, films / f"{name}-{index}.png", alt)})
                else:
                    cell.metadata["mystnb"] = {"image": {"alt": alt}}
            elif "text/html" in data:
                whole = "nb.verdicts(" in cell.source and folder / "tables" / f"{name}.csv"
                html = side_by_side(whole) if whole else data["text/html"]
                output["data"] = NotebookNode({"text/html": tidy_tables(html)})
            elif "text/markdown" in data:
                data["text/markdown"] = unbroken(data["text/markdown"])


def drop_overridden(notebook: NotebookNode) -> None:
    """The default parameters, where papermill put the tier's own behind them; those begin the next cell."""
    kept = []
    injected = any("injected-parameters" in cell.metadata.get("tags", ()) for cell in notebook.cells)
    before = ""
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", ())
        if injected and "injected-parameters" in tags:
            before = cell.source.removeprefix("# Parameters\n").strip() + "\n"
        elif not (injected and "parameters" in tags):
            if before and cell.cell_type == "code":
                cell.source, before = before + cell.source, ""
            kept.append(cell)
    notebook.cells = kept


# --- Tables


BOUNDS = re.compile(r"(?<=\s)\[([-+]?[\d.]+), ([-+]?[\d.]+)\](?!\()")


def unbroken(text: str) -> str:
    """Markdown whose intervals stay on one line."""
    return BOUNDS.sub(r"[\1,&nbsp;\2]", text)


def tidy_tables(html: str) -> str:
    """HTML tables with <thead>, in a box that scrolls, without colours and sizes of their own."""
    html = re.sub(r"<style scoped>.*?</style>", "", html, flags=re.DOTALL)
    html = re.sub(r" style=(\"[^\"]*\"|'[^']*')| border=\"1\"", "", html)
    return re.sub(r"<table.*?</table>", lambda match: boxed(match.group()), html, flags=re.DOTALL)


# pandas names the index in a second row of the head; and a caption that repeats the page's protocol
INDEX_NAME = re.compile(
    r"(<thead>\s*<tr>\s*<th>)(</th>.*?</tr>)\s*<tr>\s*<th>([^<]*)</th>(?:\s*<th></th>)*\s*</tr>", re.DOTALL
)
CAPTION = re.compile(r"<caption>([^,(<]+), ([^(<]+) \(.*?\)</caption>")


def boxed(table: str) -> str:
    table = INDEX_NAME.sub(r"\1\3\2", table)
    table = CAPTION.sub(lambda match: f"<caption>{block_name(match[1], match[2])}</caption>", table)
    if "<thead" not in table:
        parts = re.fullmatch(r"(<table[^>]*>(?:<caption>.*?</caption>)?)(<tr>.*?</tr>)(.*)</table>", table, re.DOTALL)
        if parts is None:
            raise ValueError(f"expected a table whose first row is its head, got {table[:80]!r}")
        table = f"{parts[1]}<thead>{parts[2]}</thead><tbody>{parts[3]}</tbody></table>"
    return f'<div class="table-wrapper">{table}</div>'


def side_by_side(path: Path) -> str:
    """Every cell of a table from its CSV, one row per cell, none left out: pandas would cut it."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    head = "".join(f"<th>{name}</th>" for name in ("cell", *SHOWN))
    body = []
    for row in rows:
        cell = f"{row['dataset']}, {row['backbone']}, {row['method']}, {row['column']}"
        values = "".join(f"<td>{escape(row[key])}</td>" for key in SHOWN)
        body.append(f"<tr><th>{escape(cell)}</th>{values}</tr>")
    return f'<table class="cells"><tr>{head}</tr>{"".join(body)}</table>'


# --- Films


def film(image: Image.Image, path: Path, alt: str) -> str:
    """An animated PNG as one sheet of frames with controls; without a script, its still: the last frame."""
    first = 1 if getattr(image, "default_image", False) else 0  # a still that is no part of the film
    frames, waits = [], []
    for k in range(first, image.n_frames):
        image.seek(k)
        frames.append(image.convert("RGB"))
        waits.append(image.info.get("duration", 150))
    # a writer joins frames that are alike: they come apart again, but for the last, which rests
    often = [max(1, round(each / min(waits))) for each in waits[:-1]] + [1]
    frames = [frame for frame, n in zip(frames, often, strict=True) for _ in range(n)]
    width, height = frames[0].size
    sheet = Image.new("RGB", (width, height * len(frames)))
    for k, frame in enumerate(frames):
        sheet.paste(frame, (0, k * height))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    style = (
        f"aspect-ratio:{width}/{height};max-width:{width}px;background-image:url(../_static/films/{path.name});"
        f"background-size:100% {100 * len(frames)}%;background-position:0 100%"
    )
    last = len(frames) - 1
    return (
        f'<figure class="film" data-wait="{min(waits):g}"><div class="picture" role="img" aria-label="{escape(alt)}" '
        f'style="{style}"></div><div class="controls" hidden><button type="button">Play</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" aria-label="moment of the film"></div></figure>'
    )
