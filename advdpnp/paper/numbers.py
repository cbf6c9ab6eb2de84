"""The numbers that the paper reports, and when ours agrees with one of them."""

import csv
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from advdpnp.config import DATASETS, SHIPPED
from advdpnp.errors import UserError, nearest

Values = Callable[[int | str, str, str, str, str], float | None]  # table, dataset, backbone, method, column

PAPER_DIR = SHIPPED / "data" / "paper"
OURS = "Adv-DPNP"  # the row of the paper's own method
TABLES = (1, 2, 3, 4, 5, 6, 7, 8)
FIGURES = ("figure2", "figure3", "figure4")  # drawn in the paper without numbers
TINY = 1e-9  # 53.68 - 52.68 is not quite 1 in binary


# --- The reported numbers -----------------------------------------------------------------------------------


class Reported(NamedTuple):
    """One cell of one of the paper's tables."""

    table: int
    dataset: str
    backbone: str
    method: str
    column: str
    value: float


_KEYS = {"dataset", "backbone", "method", "eps_255", "iterations", "random_starts", "attack_loss"}


def _column(table: int, row: Mapping[str, str], name: str) -> str:
    """The long-form column of a cell: Tables 3 and 6-8 spread one quantity over several rows of their file."""
    match table:
        case 3:
            return f"{name}_eps{row['eps_255']}"
        case 6:
            return f"{name.removeprefix('ce_')}_{row['iterations']}"
        case 7:
            return f"starts_{row['random_starts']}"
        case 8:
            return row["attack_loss"]
    return name


@cache
def reported_table(table: int) -> tuple[Reported, ...]:
    """Every cell of Table `table`, in the paper's order. Raises UserError for an unknown table or a missing file."""
    if table not in TABLES:
        raise UserError(f"the paper has no table {table!r}; {nearest(table, TABLES)}")
    path = PAPER_DIR / f"table{table}.csv"
    if not path.is_file():
        raise UserError(f"{path}: the reported numbers are missing; restore them with `git checkout data/paper`.")
    cells = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            where = row.get("dataset", "cifar10"), row.get("backbone", "resnet18"), row.get("method", OURS)
            cells += [
                Reported(table, *where, _column(table, row, name), float(value))
                for name, value in row.items()
                if name not in _KEYS
            ]
    return tuple(cells)


@cache
def _index(table: int) -> Mapping[tuple[str, str, str, str], float]:
    return {cell[1:5]: cell.value for cell in reported_table(table)}


def reported(table: int | str, *, dataset: str, backbone: str, method: str, column: str) -> float | None:
    """The paper's number for a cell, or None where it has none (the figures have none at all).

    Raises UserError for an unknown table.
    """
    return None if table in FIGURES else _index(table).get((dataset, backbone, method, column))


def paper_values(table: int | str, dataset: str, backbone: str, method: str, column: str) -> float | None:
    """`reported` in the shape that claims look values up with."""
    return reported(table, dataset=dataset, backbone=backbone, method=method, column=column)


@dataclass(frozen=True)
class Cell:
    """One cell of a table or figure of ours beside the paper's; None where there is no number.

    `low` and `high` are the 95 % interval (intervals.py), `interval` says what it is over; `by_seed` has each seed's
    own value. The fields are the columns of results/<tier>/tables/<table>.csv.
    """

    table: int | str  # 4, or "figure2"
    dataset: str
    backbone: str
    method: str
    column: str
    ours: float | None = None
    std: float | None = None
    seeds: int = 0
    paper: float | None = None
    difference: float | None = None
    verdict: str = "not run"
    low: float | None = None
    high: float | None = None
    interval: str = ""
    images: int | None = None
    by_seed: str = ""


ACROSS = (6, 7, 8)  # tables whose claims compare the columns of a row with each other


def values_from(cells: Iterable[Cell]) -> Values:
    """A lookup like `paper_values` over cells of ours.

    A cell of Tables 6-8 that rests on fewer images than another of its row counts as missing, because its difference
    from that one would be one of images.
    """
    index: dict[tuple, Cell] = {}
    most: dict[tuple, int] = {}  # images of a method's row
    for cell in cells:
        if cell.ours is not None:
            where = cell.table, cell.dataset, cell.backbone, cell.method
            index[*where, cell.column] = cell
            most[where] = max(most.get(where, 0), cell.images or 0)

    def values(table: int | str, dataset: str, backbone: str, method: str, column: str) -> float | None:
        cell = index.get((table, dataset, backbone, method, column))
        if cell is None or (table in ACROSS and (cell.images or 0) < most[table, dataset, backbone, method]):
            return None
        return cell.ours

    return values


def methods_of(table: int | str, dataset: str, backbone: str) -> tuple[str, ...]:
    """The methods the paper compares in a block of a table or figure, in its order."""
    if table == "figure2":
        return ("AT", OURS)
    cells = reported_table(5 if table == "figure3" else 6 if table == "figure4" else table)
    return tuple(dict.fromkeys(c.method for c in cells if (c.dataset, c.backbone) == (dataset, backbone)))


# --- Verdicts -----------------------------------------------------------------------------------------------

VERDICTS = ("match", "near", "differs", "not run", "smaller protocol", "not reported")
FULL_TEST_SET = DATASETS["cifar10"].test_images  # the smallest test set of the paper's tables


class Band(NamedTuple):
    """How far ours may lie from the paper's: absolute (in the column's unit) or as a fraction of the paper's number."""

    match: float
    near: float
    relative: bool = False


# Set before anything was measured; repeatability() below says what the paper's own numbers are worth.
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


def table_rows(table: int) -> dict[tuple[str, str, str], dict[str, float]]:
    """{(dataset, backbone, method): {column: value}} of one of the paper's tables."""
    rows: dict[tuple[str, str, str], dict[str, float]] = {}
    for cell in reported_table(table):
        rows.setdefault(cell[1:4], {})[cell.column] = cell.value
    return rows
