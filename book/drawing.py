"""Drawings from text that other places draw themselves: a Mermaid flowchart as SVG, the table of layers as bands."""

import re
from collections import defaultdict
from html import escape
from textwrap import wrap

NODE = re.compile(r"(\w+)(?:\[\(?(.*?)\)?\])?$")
EDGE = re.compile(r"^\s*(.+?)\s*--(?:\s*(.+?)\s*--)?>\s*(.+?)\s*$")
BOX, GAP_X, GAP_Y, LINE = 190, 70, 26, 20  # pixels


def flowchart(source: str) -> str:
    """A left-to-right Mermaid flowchart (boxes, arrows, words on arrows) as SVG. Raises ValueError for other lines."""
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


def columns_of(labels: dict[str, str], edges: list[tuple[str, str, str]]) -> dict[str, int]:
    """Each box as far left as its arrows allow; one that nothing leads to stands just before what it leads to."""
    arrows = [(a, b) for a, b, _ in edges if a != b]
    column = dict.fromkeys(labels, 0)
    for _ in labels:
        for a, b in arrows:
            column[b] = max(column[b], column[a] + 1)
    led_to = {b for _, b in arrows}
    for name in labels:
        if name not in led_to:
            column[name] = min((column[b] for a, b in arrows if a == name), default=1) - 1
    return column


def svg(labels: dict[str, str], edges: list[tuple[str, str, str]]) -> str:
    column = columns_of(labels, edges)
    stacks = defaultdict(list)
    for name in labels:
        stacks[column[name]].append(name)
    lines = {name: wrap(label, 20) for name, label in labels.items()}
    height = {name: LINE * len(text) + 20 for name, text in lines.items()}
    total = {k: sum(height[n] + GAP_Y for n in stack) - GAP_Y for k, stack in stacks.items()}
    high, place = max(total.values()) + 60, {}
    for k, stack in stacks.items():
        y = (high - total[k]) / 2
        for name in stack:
            place[name] = (10 + k * (BOX + GAP_X), y)
            y += height[name] + GAP_Y
    wide = 20 + (max(stacks) + 1) * (BOX + GAP_X) - GAP_X
    parts = [arrow(place, height, *edge) for edge in edges]
    for name, (x, y) in place.items():
        words = "".join(
            f'<text x="{x + BOX / 2:g}" y="{y + 26 + LINE * k:g}">{escape(line)}</text>' for k, line in enumerate(lines[name])
        )
        parts.append(f'<rect x="{x:g}" y="{y:g}" width="{BOX}" height="{height[name]:g}" rx="6"/>{words}')
    said = "; ".join(f"{labels[a]} leads to {labels[b]}" + (f" ({text})" if text else "") for a, b, text in edges)
    return (
        f'<div class="drawing"><svg width="{wide:g}" height="{high:g}" viewBox="0 0 {wide:g} {high:g}" role="img" '
        f'aria-label="{escape(said)}"><defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0L10 5L0 10z"/></marker></defs>{"".join(parts)}</svg></div>'
    )


def arrow(place: dict, height: dict, a: str, b: str, text: str) -> str:
    (x1, y1), (x2, y2) = place[a], place[b]
    if a == b:  # round its own top
        left, right = x1 + BOX / 3, x1 + 2 * BOX / 3
        path, middle = f"M{right:g} {y1:g}C{right + 10:g} {y1 - 34:g} {left - 10:g} {y1 - 34:g} {left:g} {y1 - 2:g}", (x1 + BOX / 2, y1 - 30)
    else:
        x1, y1, y2 = x1 + BOX, y1 + height[a] / 2, y2 + height[b] / 2
        bend = (x1 + x2) / 2
        path, middle = f"M{x1:g} {y1:g}C{bend:g} {y1:g} {bend:g} {y2:g} {x2 - 2:g} {y2:g}", (bend, (y1 + y2) / 2 - 6)
    words = f'<text x="{middle[0]:g}" y="{middle[1]:g}" class="word">{escape(text)}</text>' if text else ""
    return f'<path d="{path}" class="arrow" marker-end="url(#tip)"/>{words}'


def layers(markdown: str) -> str:
    """The table '| layer | modules |' of a page as bands, the top one first. Raises ValueError where there is none."""
    table = re.search(r"^\| layer \| modules \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", markdown, re.MULTILINE)
    if table is None:
        raise ValueError("expected a table | layer | modules |")
    bands = []
    for line in table[1].splitlines():
        what, modules = (part.strip() for part in line.strip("|").split("|"))
        chips = "".join(f"<code>{escape(name)}</code>" for name in re.findall(r"`([^`]+)`", modules))
        bands.append(f"<li><span>{escape(what)}</span><div>{chips}</div></li>")
    return f'<ol class="layers" aria-label="Layers, from the command line down">{"".join(bands)}</ol>'
