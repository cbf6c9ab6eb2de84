"""The numbers that the paper reports, and ours in the same shape (paper/verdict.py says when the two agree)."""

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from advdpnp.config import SHIPPED
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


def table_rows(table: int) -> dict[tuple[str, str, str], dict[str, float]]:
    """{(dataset, backbone, method): {column: value}} of one of the paper's tables."""
    rows: dict[tuple[str, str, str], dict[str, float]] = {}
    for cell in reported_table(table):
        rows.setdefault(cell[1:4], {})[cell.column] = cell.value
    return rows
