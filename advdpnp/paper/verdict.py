"""Is a number of ours the paper's? The bands of each kind of column, and the word for a cell."""

import math
from typing import NamedTuple

from advdpnp.config import DATASETS
from advdpnp.errors import UserError, nearest
from advdpnp.paper.numbers import TINY

VERDICTS = ("match", "near", "differs", "not run", "smaller protocol", "not reported")
FULL_TEST_SET = DATASETS["cifar10"].test_images  # the smallest test set of the paper's tables


class Band(NamedTuple):
    """How far ours may lie from the paper's: absolute (in the column's unit) or as a fraction of the paper's number."""

    match: float
    near: float
    relative: bool = False


# Set before anything was measured; consistency.repeatability() says what the paper's own numbers are worth.
BANDS = {
    "accuracy": Band(1.0, 2.0),  # percentage points
    "angle": Band(2.0, 5.0),  # degrees
    "loss": Band(0.02, 0.05, relative=True),
    "fdr": Band(0.10, 0.25, relative=True),
    "afs": Band(0.10, 0.25, relative=True),
    "scr": Band(0.10, 0.25, relative=True),
}


def column_kind(column: str) -> str:
    """The key of BANDS for a column: 'fdr_adv' -> 'fdr', 'mean_sep' -> 'angle', 'loss_20' -> 'loss'."""
    if column in ("mean_sep", "min_sep"):
        return "angle"
    kind = column.split("_")[0]
    return kind if kind in BANDS else "accuracy"


def verdict(
    ours: float | None, paper: float | None, *, comparable: bool, n: int | None = None, kind: str = "accuracy"
) -> str:
    """One of VERDICTS for a cell: ours against the paper's, in the column's unit; `n` test images, where known.

    Only the paper's protocol (`comparable`) on whole test sets is compared: everything else is a "smaller protocol"
    whatever the numbers. "not reported": the paper has no number for this cell. The bands never widen with `n`, so that
    a small sample cannot buy a match. Raises UserError for an unknown kind.
    """
    if kind not in BANDS:
        raise UserError(f"unknown kind of column '{kind}'; {nearest(kind, BANDS)}")
    if ours is None or math.isnan(ours):
        return "not run"
    if not comparable or (n is not None and n < FULL_TEST_SET):
        return "smaller protocol"
    if paper is None or math.isnan(paper):
        return "not reported"
    band = BANDS[kind]
    unit = abs(paper) if band.relative else 1.0
    difference = abs(ours - paper) - TINY
    return "match" if difference <= band.match * unit else "near" if difference <= band.near * unit else "differs"
