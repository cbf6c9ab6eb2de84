"""Adv-DPNP against each rival of a table, image by image: which of the table's orderings its images can tell.

Two methods err on much the same images, so the difference of two accuracies is known better than either of them: its
interval comes from the differences on single images, not from the two intervals of the table.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from advdpnp import protocol
from advdpnp.config import RunConfig
from advdpnp.paper import OURS, mean_interval
from advdpnp.tables import ensemble_flags, images_note, literal, paper_shaped, stored_flags
from advdpnp.tiers import Tier

TABLES = ("table1", "table2", "table3", "table5")  # those that set Adv-DPNP beside rivals on the same images
COLUMNS = (
    "table", "dataset", "backbone", "rival", "column", "ours", "theirs", "difference", "low", "high", "images", "seeds",
)  # fmt: skip
LEGEND = (
    "Adv-DPNP minus the rival, in points, on the images that both saw, each image averaged over a method's seeds "
    "first; 95 % intervals over images, in bold where they exclude zero. One comparison in twenty does so by chance, "
    "and what another seed would do is not in them"
)


class Difference(NamedTuple):
    """Percent right of both sides on the images that both saw, the difference, its 95 % interval over images."""

    ours: float
    theirs: float
    difference: float
    low: float
    high: float
    images: int


def per_image(run: RunConfig, source: str, root: Path | None = None) -> np.ndarray | None:
    """How often the run is right on each test image, [N] in 0 ... 1; None where an evaluation is missing.

    0 or 1 under one attack; the mean of both for "avg", over all corruptions for "corruptions". A column that is no
    accuracy has no such number, hence None.
    """
    if source == "avg":
        both = [per_image(run, name, root) for name in protocol.sources_of(source)]
        known = [values for values in both if values is not None]
        seen = min(map(len, known), default=0)
        return np.mean([values[:seen] for values in known], axis=0) if len(known) == len(both) else None
    flags = ensemble_flags(run, root) if source == "ensemble" else stored_flags(run, source, root)
    return None if flags is None else flags.mean(axis=tuple(range(flags.ndim - 1)))  # the last axis is the images


def compare(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> Difference:
    """Difference of two sides from `per_image` of their seeds, [N] each; the first images that all saw count.

    An image is averaged over a side's seeds before images are compared: two seeds on an image are no two images.
    """
    seen = min(map(len, (*ours, *theirs)))
    one, other = (100 * np.mean([seed[:seen] for seed in side], axis=0) for side in (ours, theirs))
    change = one - other
    mean, std = float(change.mean()), float(change.std(ddof=1)) if seen > 1 else 0.0
    return Difference(float(one.mean()), float(other.mean()), mean, *mean_interval(mean, std, seen), seen)


def rivals(tier: Tier, name: str, root: Path | None = None) -> list[dict]:
    """A row for each rival and column of a table where both were measured. Reads, computes nothing."""
    spec, number = protocol.artefact(name), int(name.removeprefix("table"))
    rows = []
    for block, methods in spec.rows.items():
        if (here := tier.blocks.get(block)) is None:
            continue
        sides = {method: protocol.runs_of_row(tier, block, method) for method in methods}
        for rival in (m for m in methods if m not in (OURS, "ST")):  # ST defends against nothing
            for column, source in spec.columns.items():
                ours, theirs = (_measured(sides[method], source, root) for method in (OURS, rival))
                if ours and theirs:
                    found = compare(ours, theirs)._asdict()
                    values = {key: round(value, 2) + 0 for key, value in found.items()}  # + 0: no -0.0
                    place = dict(zip(COLUMNS, (number, here.dataset, here.backbone, rival, column), strict=False))
                    rows.append(place | values | {"seeds": f"{len(ours)} and {len(theirs)}"})
    return rows


def _measured(runs: Iterable[RunConfig], source: str, root: Path | None) -> list[np.ndarray]:
    return [values for run in runs if (values := per_image(run, source, root)) is not None]


def markdown(rows: Sequence[Mapping], label: str) -> str:
    """The differences under the tier's `label`, a line a rival, a column for each of the table's; or one sentence."""
    if not rows:
        return "No two methods were measured on the same images."
    lines = [f"*{literal(label)}. {LEGEND}.*", ""]
    for (dataset, backbone), methods in paper_shaped([{**row, "method": row["rival"]} for row in rows]).items():
        columns = list(dict.fromkeys(column for cells in methods.values() for column in cells))
        lines += [f"**{dataset}, {backbone}**", "", f"| Adv-DPNP minus | {' | '.join(columns)} |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        for rival, cells in methods.items():
            lines.append(f"| {rival} | {' | '.join(_shown(cells.get(column)) for column in columns)} |")
        lines += ["", literal(images_note(methods)), ""]
    return "\n".join(lines)


def decided(row: Mapping) -> bool:
    """Whether the interval excludes zero."""
    return row["low"] > 0 or row["high"] < 0


def _shown(row: Mapping | None) -> str:
    if row is None:
        return "–"
    text = f"{row['difference']:+.1f}"
    return f"{f'**{text}**' if decided(row) else text} [{row['low']:+.1f}, {row['high']:+.1f}]"
