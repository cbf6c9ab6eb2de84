"""Tables as people read them: one walk over blocks, methods and columns, and three writers of what it finds."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from advdpnp.config import PAPER_BLOCKS
from advdpnp.markdown import escape_markdown, markdown_table
from advdpnp.names import block_name, column_name, heading
from advdpnp.paper import artefacts
from advdpnp.paper.numbers import Cell
from advdpnp.report.tables import MARKS, best_and_second, format_interval, format_value, paper_shaped

LEGEND = (
    "Means over seeds [95 % intervals], best in bold, second best underlined; ST, which defends against nothing, does "
    "not compete. Intervals are over test images{seeds}"
)
OVER_SEEDS = " and seeds, whose variance is pooled over all methods trained more than once"
PAPER = "the paper"
PAPER_DATASETS = {block.partition("/")[0] for block in PAPER_BLOCKS}


class Shown(NamedTuple):
    """A cell of ours: its text, its place ("best", "second" or ""), its interval and its verdict's mark."""

    text: str
    place: str
    bounds: str
    mark: str


class Block(NamedTuple):
    """A table of one data set and network: headings, per method our cells and the paper's numbers ("" where none)."""

    dataset: str
    backbone: str
    first_header: str
    columns: tuple[str, ...]
    ours: Mapping[str, Sequence[Shown]]
    paper: Mapping[str, Sequence[str]]
    note: str

    @property
    def name(self) -> str:
        """'CIFAR-10, ResNet-18'."""
        return block_name(self.dataset, self.backbone)


def blocks(rows: list[Cell], fold: bool = True) -> Iterator[Block]:
    """The blocks of which something was measured, with the methods that were, in the paper's order; all unless `fold`.

    The paper's numbers stand only beside the data set that they are of.
    """
    for (dataset, backbone), everything in paper_shaped(rows).items():
        methods = {method: cells for method, cells in everything.items() if _ran(cells) or not fold}
        if not methods:
            continue
        columns = list(next(iter(methods.values())))
        places = {c: best_and_second(competing(methods, c), c) for c in columns}
        absent = [method for method in everything if method not in methods]
        notes = [images_note(methods), f"Not run: {', '.join(absent)}." if absent else ""]
        yield Block(
            dataset,
            backbone,
            first_header(methods),
            tuple(map(heading, columns)),
            {method: [_shown(cells[c], method, places[c]) for c in columns] for method, cells in methods.items()},
            {method: [_of_paper(cells[c]) for c in columns] for method, cells in methods.items()},
            " ".join(filter(None, notes)),
        )


def _ran(cells: Mapping[str, Cell]) -> bool:
    return any(row.ours is not None for row in cells.values())


def not_run(rows: list[Cell]) -> str:
    """The blocks of which nothing was run, in one sentence; nothing where there is none."""
    everything = paper_shaped(rows).items()
    none = [block_name(*block) for block, methods in everything if not any(map(_ran, methods.values()))]
    return f"Not run: {'; '.join(none)}." if none else ""


def _shown(row: Cell, method: str, places: tuple[set[str], set[str]]) -> Shown:
    place = "" if row.ours is None else "best" if method in places[0] else "second" if method in places[1] else ""
    return Shown(format_value(row), place, format_interval(row), MARKS.get(row.verdict, ""))


def _of_paper(row: Cell) -> str:
    return str(row.paper) if row.paper is not None and row.dataset in PAPER_DATASETS else ""


def first_header(methods: Mapping[str, Mapping[str, Cell]]) -> str:
    """What the first column of a block holds."""
    down = any(label != row.method for label, cells in methods.items() for row in cells.values())
    return "epsilon (1/255)" if down else "method"


def competing(methods: Mapping[str, Mapping], column: str) -> dict[str, float]:
    """Ours in one column by method; one method's points do not compete with each other, and ST with nobody."""
    rows = [cells[column] for cells in methods.values()]
    return {row.method: row.ours for row in rows if row.ours is not None and row.method != "ST"}


def images_note(methods: Mapping[str, Mapping]) -> str:
    """A sentence where the columns of a block rest on different numbers of test images; nothing where they do not."""
    groups: dict[int, list[str]] = {}
    for cells in methods.values():
        for column, row in cells.items():
            if row.images is not None and column not in groups.setdefault(row.images, []):
                groups[row.images].append(column)
    counts = "; ".join(
        f"the first {n:,} for {', '.join(map(column_name, groups[n]))}" for n in sorted(groups, reverse=True)
    )
    return f"Columns use different test images ({counts}): compare methods, not columns." if len(groups) > 1 else ""


def legend(rows: list[Cell]) -> str:
    """How to read the cells: one sentence or two."""
    compared = {row.verdict for row in rows} & set(MARKS)
    verdicts = "; " + ", ".join(f"{mark} {v}" for v, mark in MARKS.items()) if compared else ""
    seeds = OVER_SEEDS if any(row.interval == "images and seeds" for row in rows) else ""
    return f"{LEGEND.format(seeds=seeds)}{verdicts}."


def markdown(rows: list[Cell], label: str = "", fold: bool = True) -> str:
    """Block by block: our numbers, and below each method's the paper's. With `label`, the protocol and the legend."""
    lines = [f"*{escape_markdown(label)}. {legend(rows)}*", ""] if label else []
    for block in blocks(rows, fold):
        body = []
        for method, cells in block.ours.items():
            body.append([escape_markdown(method), *map(_markdown_cell, cells)])
            if any(block.paper[method]):
                body.append([f"*{PAPER}*", *(f"*{value}*" if value else "" for value in block.paper[method])])
        lines += [f"**{block.name}**", "", markdown_table([block.first_header, *block.columns], body), ""]
        lines += [escape_markdown(block.note), ""] if block.note else []
    missing = not_run(rows) if fold else ""
    return "\n".join([*lines, *([missing, ""] if missing else [])])


def _markdown_cell(cell: Shown) -> str:
    wrapped = {"best": f"**{cell.text}**", "second": f"<u>{cell.text}</u>"}.get(cell.place, cell.text)
    return " ".join(filter(None, (wrapped, cell.bounds, cell.mark)))


def latex(rows: list[Cell], label: str) -> str:
    """Ours as LaTeX tables (booktabs), one per block that was measured: caption with the protocol, label, intervals."""
    lines, name = ["% \\usepackage{booktabs}"], _name(rows[0].table)
    title = artefacts.ARTEFACTS[name].title if name in artefacts.ARTEFACTS else name
    for block in blocks(rows):
        caption = ". ".join([title, block.name, label, legend(rows)])
        lines += [
            r"\begin{table}",
            rf"  \caption{{{_tex(caption)}}}",
            rf"  \label{{tab:{name}-{block.dataset}-{block.backbone.replace('_', '-')}}}",
            rf"  \begin{{tabular}}{{l{'c' * len(block.columns)}}}",
            r"    \toprule",
            f"    {' & '.join([block.first_header.capitalize(), *map(_tex, block.columns)])} \\\\",
            r"    \midrule",
        ]
        for method, cells in block.ours.items():
            lines.append(f"    {' & '.join([_tex(method), *map(_latex_cell, cells)])} \\\\")
        lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _name(table: int | str) -> str:
    return str(table) if str(table).startswith("figure") else f"table{table}"


def _latex_cell(cell: Shown) -> str:
    wrap = {"best": r"\textbf{%s}", "second": r"\underline{%s}"}.get(cell.place, "%s")
    return wrap % cell.text.replace("–", "--") + (rf" {{\scriptsize {cell.bounds}}}" if cell.bounds else "")


_TEX = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
        "≈": r"$\approx$", "✓": r"\checkmark", "✗": r"$\times$"}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)


def html(block: Block, caption: str) -> str:
    """One block as HTML: our numbers with their intervals, and the paper's in a row below each method's."""
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in (block.first_header, *block.columns))
    body = []
    for method, cells in block.ours.items():
        shown = "".join(f"<td>{_html_cell(cell)}</td>" for cell in cells)
        body.append(f"<tr><th scope='row'>{escape(method)}</th>{shown}</tr>")
        if any(block.paper[method]):
            values = "".join(f"<td><small>{escape(value)}</small></td>" for value in block.paper[method])
            body.append(f"<tr class='paper'><th scope='row'><small>{PAPER}</small></th>{values}</tr>")
    note = f"<p><small>{escape(block.note)}</small></p>" if block.note else ""
    table = f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f"{table}</table>{note}"


def _html_cell(cell: Shown) -> str:
    wrap = {"best": "<b>{}</b>", "second": "<u>{}</u>"}.get(cell.place, "{}")
    small = f"<br><small>{escape(cell.bounds)}</small>" if cell.bounds else ""
    return wrap.format(escape(cell.text)) + (f" {cell.mark}" if cell.mark else "") + small
