"""A tier's numbers as claims look them up: each value, and the 95 % bounds of a difference between two of them."""

import statistics
from collections.abc import Iterable, Mapping

import numpy as np

from advdpnp.config import RunConfig, Tier
from advdpnp.intervals import SeedVariance, paired_difference
from advdpnp.paper import artefacts
from advdpnp.paper.claims import LEVEL, Block, Bounded, Quantity
from advdpnp.paper.numbers import Cell, values_from
from advdpnp.report.tables import by_seed, cell, is_accuracy, on_same_images, per_image, seed_spread
from advdpnp.store import RESULTS, Store


class Measurements:
    """The lookup `values(table, dataset, backbone, method, column)` of claims.py, over rows of `tables.table_rows`.

    `difference` and `change` add what test images and seeds leave open (intervals.py). A metric has no image to pair:
    its bounds are the smallest and the largest difference over the seeds, so that all seeds must agree. With one seed
    in common they are as far from it as the seeds of either method are apart, where one of them has several.
    """

    def __init__(self, tier: Tier, rows: Iterable[Cell], store: Store = RESULTS):
        self.tier, self.store, self.values = tier, store, values_from(rows)
        self.spreads: dict[str, SeedVariance | None] = {}

    def __call__(self, table: int | str, dataset: str, backbone: str, method: str, column: str) -> float | None:
        return self.values(table, dataset, backbone, method, column)

    def difference(
        self, block: Block, quantity: Quantity, one: str, other: str, level: float = LEVEL
    ) -> Bounded | None:
        """A quantity of method `one` minus that of `other`, on the seeds that both have; None where none is.

        `level` is that of the bounds of an accuracy.
        """
        where = self._place(block)
        if where is None:
            return None
        sides = [artefacts.runs_of_row(self.tier, where, method) for method in (one, other)]
        sources = [self._columns(block)[column] for column in quantity.columns]
        if all(map(is_accuracy, sources)):
            of_both = (self._by_seed(runs, quantity, sources) for runs in sides)
            found = paired_difference(*of_both, self._spread(where), level)
            return None if found is None else Bounded(found.difference, found.low, found.high)
        ours, theirs = ({run.seed: self._combined(run, quantity, sources) for run in runs} for runs in sides)
        both = [ours[s] - theirs[s] for s in ours if ours[s] is not None and theirs.get(s) is not None]
        apart = max(map(_range, (ours, theirs))) if len(both) == 1 else 0.0
        return Bounded(statistics.fmean(both), min(both) - apart, max(both) + apart) if both else None

    def quantity(self, block: Block, method: str, quantity: Quantity) -> float | None:
        """One of several accuracies on the images that all of them saw, over the seeds; None for any other."""
        where, sources = self._place(block), [self._columns(block)[column] for column in quantity.columns]
        if where is None or not all(map(is_accuracy, sources)):
            return None
        runs = artefacts.runs_of_row(self.tier, where, method)
        known = self._by_seed(runs, quantity, sources)
        return 100 * statistics.fmean(float(values.mean()) for values in known.values()) if known else None

    def change(self, block: Block, method: str, before: str, after: str) -> Bounded | None:
        """Column `after` minus column `before` of the same networks; None for what is no accuracy."""
        where, columns = self._place(block), self._columns(block)
        sources = columns.get(before), columns.get(after)
        if where is None or not all(source and is_accuracy(source) for source in sources):
            return None
        runs = artefacts.runs_of_row(self.tier, where, method)
        found = paired_difference(*(by_seed(runs, source, self.store) for source in reversed(sources)))
        return None if found is None else Bounded(found.difference, found.low, found.high)

    def _place(self, block: Block) -> str | None:
        """The tier's name of a block: what stands in for another data set is not asked about it."""
        name = f"{block.dataset}/{block.backbone}"
        here = self.tier.blocks.get(name)
        return name if here and (here.dataset, here.backbone) == (block.dataset, block.backbone) else None

    def _columns(self, block: Block) -> Mapping[str, str]:
        name = block.table if isinstance(block.table, str) else f"table{block.table}"
        return artefacts.artefact(name).columns

    def _by_seed(self, runs: Iterable[RunConfig], quantity: Quantity, sources: list[str]) -> dict[int, np.ndarray]:
        """{seed: the quantity on each image, of accuracies, 1 for 100 points} of the runs that have all of it."""
        found = {}
        for run in runs:
            columns = [per_image(run, source, self.store) for source in sources]
            known = [values for values in columns if values is not None]
            if len(known) == len(columns):
                found[run.seed] = np.asarray(quantity.combine(*on_same_images(known)))
        return found

    def _combined(self, run: RunConfig, quantity: Quantity, sources: list[str]) -> float | None:
        cells = [cell(run, source, self.store) for source in sources]
        return None if any(value is None for value in cells) else quantity.combine(*cells)

    def _spread(self, block: str) -> SeedVariance | None:
        if block not in self.spreads:
            self.spreads[block] = seed_spread(self.tier, block, self.store)
        return self.spreads[block]


def _range(by_seed: Mapping[int, float | None]) -> float:
    """Largest minus smallest value over the seeds."""
    known = [value for value in by_seed.values() if value is not None]
    return max(known) - min(known) if known else 0.0
