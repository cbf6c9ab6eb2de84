"""Drawings from text that other places draw themselves: a Mermaid flowchart as SVG, the table of layers as bands."""

import re
from html import escape
from textwrap import wrap

NODE = re.compile(r"(\w+)(?:\[\(?(.*?)\)?\])?$")
EDGE = re.compile(r"^\s*(.+?)\s*--(?:\s*(.+?)\s*--)?>\s*(.+?)\s*$")
BOX, GAP_X, GAP_Y, LINE = 200, 30, 56, 20  # pixels


def flowchart(source: str) -> str:
    """A Mermaid flowchart (boxes, arrows, words on arrows) as SVG, from top to bottom, which fits any page.

    Raises ValueError for other lines.
    """
    labels: dict[str, str] = {}
    edges: list[tuple[str, str, str]] = []
    head, *lines = [line for line in source.splitlines() if line.strip()]
    if head.split() != ["flowchart", "LR"]:
        raise ValueError(f"expected a drawing that begins 'flowchart LR', got {head!r}")
    for line in lines:
        if (parts := EDGE.match(line)) is None:
            raise ValueError(f"expected an arrow, got {line!r}")
        ends = []
        for end in (parts[1], parts[3]):
            name, label = NODE.match(end).groups()
            labels[name] = label or labels.get(name, name)
            ends.append(name)
        edges.append((*ends, parts[2] or ""))
    return svg(labels, edges)


def rows_of(labels: dict[str, str], edges: list[tuple[str, str, str]]) -> dict[str, int]:
    """Each box as far up as its arrows allow; one that nothing leads to stands just above what it leads to."""
    arrows = [(a, b) for a, b, _ in edges if a != b]
    row = dict.fromkeys(labels, 0)
    for _ in labels:
        for a, b in arrows:
            row[b] = max(row[b], row[a] + 1)
    led_to = {b for _, b in arrows}
    for name in labels:
        if name not in led_to:
            row[name] = min((row[b] for a, b in arrows if a == name), default=1) - 1
    return row


def svg(labels: dict[str, str], edges: list[tuple[str, str, str]]) -> str:
    row = rows_of(labels, edges)
    lines = {name: wrap(label, 22) for name, label in labels.items()}
    height = {name: LINE * len(text) + 20 for name, text in lines.items()}
    rows = [[name for name in labels if row[name] == k] for k in range(max(row.values()) + 1)]
    wide = max(len(names) for names in rows) * (BOX + GAP_X) - GAP_X + 20
    y, place = 10, {}
    for names in rows:
        x = (wide - len(names) * (BOX + GAP_X) + GAP_X) / 2
        for name in names:
            place[name] = (x, y)
            x += BOX + GAP_X
        y += max(height[name] for name in names) + GAP_Y
    high = y - GAP_Y + 10
    parts = [arrow(place, height, *edge) for edge in edges]
    for name, (x, y) in place.items():
        texts = enumerate(escape(line) for line in lines[name])
        words = "".join(f'<text x="{x + BOX / 2:g}" y="{y + 26 + LINE * k:g}">{line}</text>' for k, line in texts)
        parts.append(f'<rect x="{x:g}" y="{y:g}" width="{BOX}" height="{height[name]:g}" rx="6"/>{words}')
    said = "; ".join(f"{labels[a]} leads to {labels[b]}" + (f" ({text})" if text else "") for a, b, text in edges)
    return (
        f'<div class="drawing"><svg width="{wide:g}" height="{high:g}" viewBox="0 0 {wide:g} {high:g}" role="img" '
        f'aria-label="{escape(said)}"><defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0L10 5L0 10z"/></marker></defs>{"".join(parts)}</svg></div>'
    )


def arrow(place: dict, height: dict, a: str, b: str, text: str) -> str:
    """From the bottom of one box to the top of another, or round a box's own right side."""
    (x1, y1), (x2, y2) = place[a], place[b]
    if a == b:
        x, top, bottom = x1 + BOX, y1 + height[a] / 4, y1 + 3 * height[a] / 4
        out = x + 34
        path, at = f"M{x:g} {bottom:g}C{out:g} {bottom + 8:g} {out:g} {top - 8:g} {x + 2:g} {top:g}", (out, bottom - 8)
    else:
        x1, x2, y1 = x1 + BOX / 2, x2 + BOX / 2, y1 + height[a]
        bend = (y1 + y2) / 2
        path, at = f"M{x1:g} {y1:g}C{x1:g} {bend:g} {x2:g} {bend:g} {x2:g} {y2 - 2:g}", ((x1 + x2) / 2 + 8, bend)
    words = f'<text x="{at[0]:g}" y="{at[1]:g}" class="word">{escape(text)}</text>' if text else ""
    return f'<path d="{path}" class="arrow" marker-end="url(#tip)"/>{words}'


def with_layers(markdown: str) -> str:
    """A page with its table | layer | modules | as bands, the top one first. Raises ValueError where there is none."""
    table = re.search(r"^\| layer \| modules \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", markdown, re.MULTILINE)
    if table is None:
        raise ValueError("expected a table | layer | modules |")
    bands = []
    for line in table[1].splitlines():
        what, modules = (part.strip() for part in line.strip("|").split("|"))
        chips = "".join(f"<code>{escape(name)}</code>" for name in re.findall(r"`([^`]+)`", modules))
        bands.append(f"<li><span>{escape(what)}</span><div>{chips}</div></li>")
    drawn = f'<ol class="layers" aria-label="Layers, from the command line down">{"".join(bands)}</ol>\n'
    return markdown[: table.start()] + drawn + markdown[table.end() :]
