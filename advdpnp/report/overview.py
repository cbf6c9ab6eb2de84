"""The picture of the first screen, as SVG and without a library: where each defense stands, Adv-DPNP minus each rival,
and how many of the paper's claims hold. Made from the rows of Tables 1 and 2, as their pages are.
"""

from collections.abc import Callable, Sequence
from html import escape

from advdpnp.names import block_name, column_name
from advdpnp.paper.artefacts import PRINTED
from advdpnp.paper.claims import WORDS
from advdpnp.paper.numbers import OURS, Cell
from advdpnp.report.differences import Comparison

WIDE, TOP, BOTTOM = 900, 50, 390  # pixels: of the picture, and where the panels begin and end
INK, FAINT, PALE = "#222222", "#5f6368", "#d5d7da"
HIGHLIGHT, AHEAD, BEHIND = "#CC6677", "#0b6b3a", "#a3203a"
BAR = {
    "holds": (AHEAD, "white"), "not decided": (PALE, INK),
    "does not hold": (BEHIND, "white"), "not run": ("white", INK),
}  # fmt: skip
SAID = {"holds": "hold", "not decided": "not decided", "does not hold": "do not hold", "not run": "not run"}
COLUMNS = ("clean", "aa")
PLACES = (  # of a name beside its point, the nearer ones first
    (9, -7, "start"), (9, 17, "start"), (-9, -7, "end"), (-9, 17, "end"), (0, -11, "middle"), (0, 22, "middle"),
    (12, -21, "start"), (12, 31, "start"), (-12, -21, "end"), (-12, 31, "end"),
)  # fmt: skip
Scale = Callable[[float], float]


def overview(cells: Sequence[Cell], against: Sequence[Comparison], words: Sequence[str] = ()) -> str:
    """The picture, of the first data set and network in `cells`; '' where fewer than two defenses were measured there.

    `against` are the differences to the rivals, `words` the verdicts on the claims; without any the bar is left out.
    ST, which defends against nothing, would squeeze the others into a corner and is left out.
    """
    here = {(c.dataset, c.backbone): None for c in cells}
    measured: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        shown = (cell.dataset, cell.backbone) == next(iter(here)) and cell.column in COLUMNS and cell.method != "ST"
        if shown and None not in (cell.ours, cell.low, cell.high):
            measured.setdefault(cell.method, {}).setdefault(cell.column, cell)
    points = {method: row for method, row in measured.items() if len(row) == len(COLUMNS)}
    if len(points) < 2:
        return ""
    rivals: dict[str, dict[str, Comparison]] = {}
    for row in against:
        if (row.dataset, row.backbone) == next(iter(here)) and row.column in COLUMNS and row.rival in points:
            rivals.setdefault(row.rival, {}).setdefault(row.column, row)
    title = _title(60, f"Where each defense stands: {block_name(*next(iter(here)))}")
    parts = [title, *_standing(points), *_against(rivals), *_claims(words)]
    high = BOTTOM + (145 if words else 60)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{high}" viewBox="0 0 {WIDE} {high}" '
        f'font-family="system-ui, sans-serif" font-size="14">\n<rect width="{WIDE}" height="{high}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _standing(points: dict[str, dict[str, Cell]]) -> list[str]:
    """Clean accuracy to the right, AutoAttack upwards, a cross of two 95 % intervals each."""
    cells = [[row[column] for row in points.values()] for column in COLUMNS]
    (x, x_ticks), (y, y_ticks) = (_scale([v for c in of for v in (c.low, c.high) if v is not None], *ends)
                                  for of, ends in zip(cells, ((60, 420), (BOTTOM, TOP)), strict=True))  # fmt: skip
    parts = []
    for tick in x_ticks:
        parts += [_line(x(tick), TOP, x(tick), BOTTOM, PALE), _text(x(tick), BOTTOM + 20, f"{tick:g}", "middle", FAINT)]
    for tick in y_ticks:
        parts += [_line(60, y(tick), 420, y(tick), PALE), _text(52, y(tick) + 5, f"{tick:g}", "end", FAINT)]
    parts.append(_text(240, BOTTOM + 42, "clean accuracy (%), better to the right", "middle"))
    parts.append(f'<g transform="rotate(-90 16 220)">{_text(16, 220, "AutoAttack (%), better upwards", "middle")}</g>')
    at = {method: (x(row["clean"].ours or 0), y(row["aa"].ours or 0)) for method, row in points.items()}
    taken = [(px - 5, py - 5, px + 5, py + 5) for px, py in at.values()]
    for method, row in sorted(points.items(), key=lambda item: item[0].startswith(OURS)):  # ours on top
        (px, py), own = at[method], method.startswith(OURS)
        colour, width = (HIGHLIGHT, 2.5) if own else ("#9aa0a6", 1.2)
        parts.append(_line(x(row["clean"].low or 0), py, x(row["clean"].high or 0), py, colour, width))
        parts.append(_line(px, y(row["aa"].low or 0), px, y(row["aa"].high or 0), colour, width))
        fill = "white" if own and method != OURS else colour  # another reading of it
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" fill="{fill}" stroke="{colour}" stroke-width="2"/>')
    for method in sorted(points, key=lambda name: not name.startswith(OURS)):  # ours chooses its place first
        parts.append(_label(method, *at[method], taken))
    return parts


def _label(name: str, x: float, y: float, taken: list[tuple[float, float, float, float]]) -> str:
    """The name beside its point, where it covers least of what is in `taken`, to which its own box is added."""
    size = 7.4 * len(name)

    def box(place: tuple[int, int, str]) -> tuple[float, float, float, float]:
        left = x + place[0] - {"start": 0, "middle": size / 2, "end": size}[place[2]]
        return left, y + place[1] - 11, left + size, y + place[1] + 3

    def covered(place: tuple[int, int, str]) -> float:
        a = box(place)
        shared = [max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1])) for b in taken]
        outside = max(0, 60 - a[0]) + max(0, a[2] - 425) + max(0, a[3] - BOTTOM)
        return sum(shared) + 100 * outside

    best = min(PLACES, key=covered)
    taken.append(box(best))
    text = _text(x + best[0], y + best[1], name, best[2], weight="bold" if name == OURS else "")
    return text.replace("<text ", '<text stroke="white" stroke-width="3" paint-order="stroke" ', 1)


def _against(rivals: dict[str, dict[str, Comparison]]) -> list[str]:
    """A row per rival, the one that Adv-DPNP is farthest ahead of first; a panel for each column."""
    if not rivals:
        return []
    order = sorted(rivals, key=lambda name: -sum(row.difference for row in rivals[name].values()))
    step = (BOTTOM - TOP) / len(order)
    values = [v for row in rivals.values() for c in row.values() for v in (c.low, c.high)]
    parts = [_title(500, f"{OURS} minus each rival, in points")]
    height = {name: TOP + step * (k + 0.5) for k, name in enumerate(order)}
    parts += [_text(590, height[name] + 5, "as printed" if name == PRINTED else name, "end") for name in order]
    for column, (left, right) in zip(COLUMNS, ((600, 735), (750, 885)), strict=True):
        x, ticks = _scale([*values, 0], left, right, 3)
        parts += [_line(x(t), TOP, x(t), BOTTOM, INK if t == 0 else PALE) for t in ticks]
        parts += [_text(x(t), BOTTOM + 20, f"{t:+g}" if t else "0", "middle", FAINT) for t in ticks]
        parts.append(_text((left + right) / 2, BOTTOM + 42, column_name(column), "middle"))
        for name in order:
            if row := rivals[name].get(column):
                colour = AHEAD if row.low > 0 else BEHIND if row.high < 0 else "#80868b"
                parts.append(_line(x(row.low), height[name], x(row.high), height[name], colour, 3))
                parts.append(f'<circle cx="{x(row.difference):.1f}" cy="{height[name]:.1f}" r="4.5" fill="{colour}"/>')
    return parts


def _claims(words: Sequence[str]) -> list[str]:
    """One bar, a part for each verdict."""
    if not words:
        return []
    parts, left = [_title(60, f"The paper's {len(words)} claims, on these numbers", BOTTOM + 88)], 60.0
    for word in BAR:
        if n := words.count(word):
            (fill, ink), size = BAR[word], n * (WIDE - 75) / len(words)
            box = f'x="{left:.1f}" y="{BOTTOM + 100}" width="{size:.1f}" height="32" fill="{fill}" stroke="{FAINT}"'
            said = f"{n} {SAID[word]}" if size > 9 * len(f"{n} {SAID[word]}") else f"{n}"
            parts += [f"<rect {box}/>", _text(left + size / 2, BOTTOM + 121, said, "middle", ink)]
            left += size
    return parts


def described(words: Sequence[str]) -> str:
    """What the picture shows, for those who cannot see it."""
    bar = ", ".join(f"{words.count(word)} {SAID[word]}" for word in WORDS if word in words)
    return (
        "Left, clean accuracy against accuracy under AutoAttack, a cross of 95 % intervals for each defense; right, "
        "Adv-DPNP minus each rival in both, green where its 95 % interval lies above zero, red where below"
        + (f"; below, the paper's claims as a bar: {bar}." if words else ".")
    )


def _scale(values: Sequence[float], start: float, end: float, most: int = 6) -> tuple[Scale, list[float]]:
    """From values to pixels, a little wider than the values, and round numbers for at most `most` ticks."""
    low, high = min(values), max(values)
    margin = 0.04 * (high - low) or 1.0
    low, high = low - margin, high + margin
    step = next(s for s in (1, 2, 5, 10, 20, 25, 50, 100) if (high - low) / s <= most)
    first = int(low // step) + 1
    ticks = [float(k * step) for k in range(first, int(high // step) + 1)]
    return lambda value: start + (value - low) / (high - low) * (end - start), ticks


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = INK, weight: str = "") -> str:
    bold = f' font-weight="{weight}"' if weight else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{bold}>{escape(text)}</text>'


def _title(x: float, text: str, y: float = 26) -> str:
    return _text(x, y, text, weight="bold")
