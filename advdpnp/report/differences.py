"""Adv-DPNP against each rival of a table, image by image: which of the table's orderings its images can tell.

Two methods err on much the same images, and a seed fixes for both where training starts and which batches come, so the
difference of two accuracies is known better than either: its interval comes from differences on single images, seed by
seed (`intervals.paired_difference`), not from the two intervals of the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from advdpnp.config import Tier
from advdpnp.intervals import holm, paired_difference
from advdpnp.markdown import escape_markdown, markdown_table
from advdpnp.names import block_name, column_name
from advdpnp.paper import artefacts
from advdpnp.paper.numbers import OURS
from advdpnp.report import mixed_protocols
from advdpnp.report.render import images_note
from advdpnp.report.tables import by_seed, paper_shaped, seed_spread
from advdpnp.store import RESULTS, Store

TABLES = ("table1", "table2", "table3", "table5")  # those that set Adv-DPNP beside rivals on the same images


@dataclass(frozen=True)
class Comparison:
    """Adv-DPNP minus a rival in one column of a table, in points, with its 95 % interval."""

    table: int
    dataset: str
    backbone: str
    rival: str
    column: str
    ours: float
    theirs: float
    difference: float
    low: float
    high: float
    p: float
    images: int
    seeds: int

    @property
    def method(self) -> str:
        """In whose row it stands."""
        return self.rival


COLUMNS = tuple(field.name for field in fields(Comparison))  # of the CSV
LEGEND = (
    "Adv-DPNP minus the rival, in points, on the images and the seeds that both have; 95 % intervals over images and "
    "seeds, in bold where they exclude zero. These comparisons are exploratory: one in twenty excludes zero by chance"
)
PRIMARY_RIVALS, PRIMARY_COLUMNS = ("AT", "TRADES"), ("clean", "aa", "avg")
PRIMARY_NOTE = (
    "The six comparisons that were named before this reading of Eq. (3) was evaluated, so that nobody can look for the "
    "one that suits. p is corrected for the six (Holm); a difference is significant where p is below 0.05."
)


def rivals(tier: Tier, name: str, store: Store = RESULTS) -> list[Comparison]:
    """A row for each rival and column of a table where both were measured. Reads, computes nothing."""
    spec, number = artefacts.artefact(name), int(name.removeprefix("table"))
    mixed_protocols.refuse(artefacts.runs_of(tier, name), store)
    rows = []
    for block, methods in spec.rows.items():
        if (here := tier.blocks.get(block)) is None:
            continue
        spread = seed_spread(tier, block, store)
        sides = {method: artefacts.runs_of_row(tier, block, method) for method in methods}
        for rival in (m for m in methods if m not in (OURS, "ST")):  # ST defends against nothing
            for column, source in spec.columns.items():
                ours, theirs = (by_seed(sides[method], source, store) for method in (OURS, rival))
                if found := paired_difference(ours, theirs, spread):
                    values = {k: round(v, 4 if k == "p" else 2) + 0 for k, v in found._asdict().items()}  # + 0: no -0.0
                    rows.append(Comparison(number, here.dataset, here.backbone, rival, column, **values))
    return rows


def primary(rows: Sequence[Comparison]) -> list[Comparison]:
    """The primary contrasts among `rivals` of Table 1, a data set and backbone at a time, with p adjusted by Holm."""
    chosen = [row for row in rows if row.rival in PRIMARY_RIVALS and row.column in PRIMARY_COLUMNS]
    found: list[Comparison] = []
    for block in dict.fromkeys((row.dataset, row.backbone) for row in chosen):
        own = [row for row in chosen if (row.dataset, row.backbone) == block]
        found += [replace(row, p=p) for row, p in zip(own, holm([row.p for row in own]), strict=True)]
    return found


def primary_markdown(rows: Sequence[Comparison], label: str = "") -> str:
    """The primary contrasts as a table, one line each; one sentence where nothing was measured."""
    if not rows:
        return "Neither AT nor TRADES was measured on the same images as Adv-DPNP."
    header = ("data set", "Adv-DPNP minus", "column", "difference [95 %]", "p (Holm)", "significant", "images", "seeds")
    body = []
    for row in rows:
        significant = "no" if row.p >= 0.05 else "**ahead**" if row.difference > 0 else "**behind**"
        p = "< 0.001" if row.p < 0.001 else f"{row.p:.3f}"
        difference = f"{row.difference:+.1f} [{row.low:+.1f}, {row.high:+.1f}]"
        place = block_name(row.dataset, row.backbone), row.rival, column_name(row.column)
        body.append((*place, difference, p, significant, f"{row.images:,}", str(row.seeds)))
    return f"*{_said(label)}{PRIMARY_NOTE}*\n\n{markdown_table(header, body)}"


def markdown(rows: Sequence[Comparison], label: str = "") -> str:
    """The differences under the tier's `label`, one line per rival, with the table's columns; or one sentence."""
    if not rows:
        return "No two methods were measured on the same images."
    lines = [f"*{_said(label)}{LEGEND}.*", ""]
    for (dataset, backbone), methods in paper_shaped(rows).items():
        columns = list(dict.fromkeys(column for cells in methods.values() for column in cells))
        body = [(rival, *(_shown(cells.get(column)) for column in columns)) for rival, cells in methods.items()]
        lines += [f"**{block_name(dataset, backbone)}**", ""]
        lines += [
            markdown_table(["Adv-DPNP minus", *map(column_name, columns)], body),
            "",
            escape_markdown(images_note(methods)),
            "",
        ]
    return "\n".join(lines)


def _said(label: str) -> str:
    return f"{escape_markdown(label)}. " if label else ""


def decided(row: Comparison) -> bool:
    """Whether the interval excludes zero."""
    return row.low > 0 or row.high < 0


def _shown(row: Comparison | None) -> str:
    if row is None:
        return "–"
    text = f"{row.difference:+.1f}"
    return f"{f'**{text}**' if decided(row) else text} [{row.low:+.1f}, {row.high:+.1f}]"
