"""What the paper reports (arXiv 2504.03782, Tables 1-8), what a measurement is worth beside it, and whether the
paper agrees with itself. The claims made in its text are in claims.py.

Accuracies are in percent, angles in degrees. Standard library only, so `status` and `report` answer at once.
"""

import csv
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from advdpnp.config import DATASETS, ROOT
from advdpnp.errors import UserError, nearest

Values = Callable[[int | str, str, str, str, str], float | None]  # table, dataset, backbone, method, column

PAPER_DIR = ROOT / "data" / "paper"
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


ACROSS = ("6", "7", "8")  # tables whose claims compare the columns of a row with each other


def values_from(rows: Iterable[Mapping], field: str = "ours") -> Values:
    """A lookup like `paper_values` over long-form rows (dicts with table, dataset, backbone, method, column, `field`).

    An empty or NaN field counts as missing; so does one of Tables 6-8 that rests on fewer `images` than another of its
    row, because its difference from that one would be one of images. `table` may be written 1, "1", "table1" or
    "figure3".
    """
    index: dict[tuple, float] = {}
    images: dict[tuple, int] = {}
    most: dict[tuple, int] = {}  # of a method's row
    for row in rows:
        value = row.get(field)
        value = math.nan if value in (None, "") else float(value)
        if not math.isnan(value):
            where = str(row["table"]).removeprefix("table"), row["dataset"], row["backbone"], row["method"]
            cell = *where, row["column"]
            index[cell], images[cell] = value, int(row.get("images") or 0)
            most[where] = max(most.get(where, 0), images[cell])
    index = {c: value for c, value in index.items() if c[0] not in ACROSS or images[c] == most[c[:4]]}

    def values(table: int | str, dataset: str, backbone: str, method: str, column: str) -> float | None:
        return index.get((str(table), dataset, backbone, method, column))

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


def verdict(ours: float | None, paper: float | None, *, tier: str, n: int | None = None, kind: str = "accuracy") -> str:
    """One of VERDICTS for a cell: ours against the paper's, in the column's unit; `n` test images, where known.

    Only the paper tier on whole test sets is compared: a smaller `tier` or `n` is a "smaller protocol" whatever the
    numbers. "not reported": the paper has no number for this cell. The bands never widen with `n`, so that a small
    sample cannot buy a match. Raises UserError for an unknown kind.
    """
    if kind not in BANDS:
        raise UserError(f"unknown kind of column '{kind}'; {nearest(kind, BANDS)}")
    if ours is None or math.isnan(ours):
        return "not run"
    if tier != "paper" or (n is not None and n < FULL_TEST_SET):
        return "smaller protocol"
    if paper is None or math.isnan(paper):
        return "not reported"
    band = BANDS[kind]
    unit = abs(paper) if band.relative else 1.0
    difference = abs(ours - paper) - TINY
    return "match" if difference <= band.match * unit else "near" if difference <= band.near * unit else "differs"


# --- Does the paper agree with itself? ----------------------------------------------------------------------


class Stated(NamedTuple):
    """A margin that Sections 4.2 and 4.4 state in words: Adv-DPNP over the best adversarially trained rival."""

    margin: str  # as printed: its digits say how far rounding may move it
    table: int
    dataset: str
    backbone: str
    column: str


STATED = {
    "t1-clean-cifar10": Stated("0.85", 1, "cifar10", "resnet18", "clean"),
    "t1-clean-cifar100": Stated("1.78", 1, "cifar100", "resnet18", "clean"),
    "t1-l1-cifar10": Stated("2.7", 1, "cifar10", "resnet18", "pgd_l1"),
    "t1-l2-cifar100": Stated("1.07", 1, "cifar100", "resnet18", "pgd_l2"),
    "t1-avg-cifar10": Stated("0.92", 1, "cifar10", "resnet18", "avg"),
    "t1-avg-cifar100": Stated("1.05", 1, "cifar100", "resnet18", "avg"),
    "t2-avg-cifar10": Stated("1.01", 2, "cifar10", "resnet18", "avg"),
    "t2-avg-cifar100": Stated("0.72", 2, "cifar100", "resnet18", "avg"),
    "t2-avg-svhn": Stated("1.07", 2, "svhn", "resnet18", "avg"),
    "t2-avg-wrn": Stated("1.35", 2, "cifar10", "wrn34_10", "avg"),
    "t5-average": Stated("0.57", 5, "cifar10", "resnet18", "avg_accuracy"),
}
STATED_ANGLES = (  # Section 4.3, degrees
    ("cifar10", "mean_sep", 95.32),
    ("cifar10", "min_sep", 94.51),
    ("cifar100", "mean_sep", 89.90),
    ("cifar100", "min_sep", 89.52),
)
STATED_STEPS = (  # Sections 4.2 and 4.5: attack, epsilon, step size, iterations; "a step size of 50" has no /255
    ("linf PGD-20", Fraction(8, 255), Fraction(1, 255), 20),
    ("l2 PGD of Table 1", Fraction(128, 255), Fraction(16, 255), 20),
    ("l1 PGD of Table 1", Fraction(2000, 255), Fraction(50), 100),
    ("PGD of Table 7", Fraction(8, 255), Fraction(1, 510), 40),
)
REPEATS = (  # what, then two cells (table, column) of Adv-DPNP with ResNet-18 that report the same measurement
    ("clean accuracy", (1, "clean"), (2, "clean")),
    ("AutoAttack", (1, "aa"), (2, "aa")),
    ("Avg", (1, "avg"), (2, "avg")),
    ("PGD-20", (1, "pgd_linf"), (2, "pgd20")),
    ("PGD-20", (2, "pgd20"), (8, "ce")),
    ("PGD-20", (2, "pgd20"), (6, "accuracy_20")),
    ("PGD-100", (2, "pgd100"), (6, "accuracy_100")),
)


@dataclass(frozen=True)
class Finding:
    """One check of the paper against itself: where, what is expected, whether it is so, and the numbers."""

    where: str
    what: str
    ok: bool
    detail: str


def simplex_angle(classes: int) -> float:
    """arccos(-1 / (M - 1)) in degrees, between the corners of a regular simplex.

    The smallest angle between M directions never exceeds it, in any dimension (R. A. Rankin, 1955).
    """
    return math.degrees(math.acos(-1 / (classes - 1)))


def _falls(*numbers: float) -> bool:
    return all(a >= b for a, b in pairwise(numbers))


_WHITE_BOX = ("fgsm", "pgd20", "pgd100", "cw")
_AVERAGE = "Avg is the mean of clean and AA, up to rounding"
ROW_CHECKS = (  # table, what holds in each of its rows, test(row, classes)
    (1, _AVERAGE, lambda r, _: abs(r["avg"] - (r["clean"] + r["aa"]) / 2) <= 0.005 + TINY),
    (2, _AVERAGE, lambda r, _: abs(r["avg"] - (r["clean"] + r["aa"]) / 2) <= 0.005 + TINY),
    (1, "AA <= linf PGD-20 <= clean", lambda r, _: _falls(r["clean"], r["pgd_linf"], r["aa"])),
    (1, "l1 and l2 PGD <= clean", lambda r, _: max(r["pgd_l1"], r["pgd_l2"]) <= r["clean"]),
    (2, "PGD-100 <= PGD-20 <= FGSM <= clean", lambda r, _: _falls(r["clean"], r["fgsm"], r["pgd20"], r["pgd100"])),
    (2, "Ensemble <= FGSM, PGD-20, PGD-100, C&W", lambda r, _: r["ensemble"] <= min(r[c] for c in _WHITE_BOX)),
    (2, "AA <= Ensemble", lambda r, _: r["aa"] <= r["ensemble"]),
    (3, "AA <= PGD at each budget", lambda r, _: all(r[f"aa_eps{e}"] <= r[f"pgd_eps{e}"] for e in (2, 4, 6))),
    (3, "PGD and AA fall with the budget", lambda r, _: all(_falls(*(r[f"{a}_eps{e}"] for e in (2, 4, 6)))
                                                            for a in ("pgd", "aa"))),
    (4, "MinSep <= MeanSep", lambda r, _: r["min_sep"] <= r["mean_sep"]),
    (4, "MinSep <= the regular simplex's angle", lambda r, classes: r["min_sep"] <= simplex_angle(classes)),
)  # fmt: skip


def table_rows(table: int) -> dict[tuple[str, str, str], dict[str, float]]:
    """{(dataset, backbone, method): {column: value}} of one of the paper's tables."""
    rows: dict[tuple[str, str, str], dict[str, float]] = {}
    for cell in reported_table(table):
        rows.setdefault(cell[1:4], {})[cell.column] = cell.value
    return rows


def _row_findings() -> list[Finding]:
    findings = []
    for table, what, test in ROW_CHECKS:
        rows = table_rows(table)
        bad = [" ".join(key) for key, row in rows.items() if not test(row, DATASETS[key[0]].classes)]
        detail = f"not in {'; '.join(bad)}" if bad else f"all {len(rows)} rows"
        findings.append(Finding(f"Table {table}", what, not bad, detail))
    return findings


def _budget_findings() -> list[Finding]:
    """Table 3 stops below the budget of Tables 1 and 2 (8/255), which must be harder still."""
    full = {key: (r.get("pgd_linf", r.get("pgd20")), r["aa"]) for t in (1, 2) for key, r in table_rows(t).items()}
    rows = table_rows(3)
    bad = [k[2] for k, r in rows.items() if full[k][0] > r["pgd_eps6"] or full[k][1] > r["aa_eps6"]]
    detail = f"not for {', '.join(bad)}" if bad else f"all {len(rows)} rows"
    return [Finding("Tables 1, 2, 3", "accuracy at 8/255 (Tables 1, 2) <= at 6/255 (Table 3)", not bad, detail)]


def _ours(table: int, dataset: str, column: str) -> float:
    value = reported(table, dataset=dataset, backbone="resnet18", method=OURS, column=column)
    if value is None:
        raise UserError(f"{PAPER_DIR}: table{table}.csv has no {dataset} {column} of {OURS}; restore it from git.")
    return value


def repeatability() -> float:
    """The largest difference, in points, between two of the paper's numbers for one and the same measurement."""
    return max(abs(_ours(*_at(a, d)) - _ours(*_at(b, d))) for _, a, b in REPEATS for d in ("cifar10", "cifar100"))


def _at(cell: tuple[int, str], dataset: str) -> tuple[int, str, str]:
    return cell[0], dataset, cell[1]


def _repeat_findings() -> list[Finding]:
    findings = []
    for what, a, b in REPEATS:
        for dataset in ("cifar10", "cifar100"):
            one, two = _ours(*_at(a, dataset)), _ours(*_at(b, dataset))
            detail = f"{one:.2f} and {two:.2f} ({two - one:+.2f})"
            where = f"Tables {a[0]}, {b[0]}"
            findings.append(Finding(where, f"{what} of Adv-DPNP on {dataset} is the same", one == two, detail))
    return findings


def _restart_findings() -> list[Finding]:
    """Tables 6 and 7 share budget and 40 iterations; Table 7 halves the step, so equality is not owed."""
    findings = []
    for dataset in ("cifar10", "cifar100"):
        single = _ours(6, dataset, "accuracy_40")
        one, twenty = (_ours(7, dataset, f"starts_{n}") for n in (1, 20))
        close = abs(one - single) <= repeatability() + TINY
        detail = f"Table 7 {one:.2f}, Table 6 {single:.2f} ({one - single:+.2f}; repeats differ by up to "
        detail += f"{repeatability():.2f}); the steps are 0.5/255 and 1/255"
        findings.append(
            Finding("Tables 6, 7", f"40 iterations, one start, {dataset}: close up to the step size", close, detail)
        )
        detail = f"Table 7 {twenty:.2f}, Table 6 {single:.2f} ({twenty - single:+.2f})"
        what = f"40 iterations, {dataset}: 20 starts (Table 7) are no weaker than one run (Table 6)"
        findings.append(Finding("Tables 6, 7", what, twenty <= single, detail))
    return findings


def best_rival(stated: Stated) -> tuple[str, float]:
    """The adversarially trained rival with the highest reported value in the cell's block, and that value."""
    names = methods_of(stated.table, stated.dataset, stated.backbone)
    found = {m: paper_values(*stated[1:4], m, stated.column) for m in names if m not in ("ST", OURS)}
    values = {m: value for m, value in found.items() if value is not None}
    name = max(values, key=lambda m: values[m])
    return name, values[name]


def _text_findings() -> list[Finding]:
    findings = []
    for stated in STATED.values():
        own, (name, rival) = paper_values(*stated[1:4], OURS, stated.column), best_rival(stated)
        half_digit = 0.5 * 10 ** -len(stated.margin.partition(".")[2])
        ok = abs(own - rival - float(stated.margin)) <= half_digit + 2 * 0.005 + TINY
        what = f"margin in {stated.column} on {stated.dataset}/{stated.backbone}, up to rounding"
        detail = f"text {stated.margin}, table {own - rival:.2f} ({own:.2f} against {name} {rival:.2f})"
        findings.append(Finding(f"text, Table {stated.table}", what, ok, detail))
    for dataset, column, angle in STATED_ANGLES:
        value = _ours(4, dataset, column)
        findings.append(
            Finding("text, Table 4", f"{column} on {dataset}", value == angle, f"text {angle:.2f}, table {value:.2f}")
        )
    for attack, epsilon, step, steps in STATED_STEPS:
        rule = Fraction(5, 2) * epsilon / steps
        printed = f"{float(step):g}" if step > 1 else f"{float(step * 255):g}/255"
        detail = f"stated {printed}, rule {float(rule * 255):g}/255"
        findings.append(Finding("text", f"step size of {attack} is 2.5 epsilon / iterations", step == rule, detail))
    columns = dict.fromkeys(cell.column for cell in reported_table(7))
    has_loss = any(column_kind(c) == "loss" for c in columns)
    what = "the loss said to change marginally with random starts is reported"
    findings.append(Finding("text, Table 7", what, has_loss, f"columns: {', '.join(columns)}"))
    return findings


def _aa_findings() -> list[Finding]:
    """'Never drops below second place in AA' is said of Table 2, whose rivals are not those of Table 1."""
    findings = []
    for dataset in ("cifar10", "cifar100"):
        rows = {k[2]: r["aa"] for t in (1, 2) for k, r in table_rows(t).items() if k[:2] == (dataset, "resnet18")}
        order = sorted(rows, key=rows.get, reverse=True)
        place = order.index(OURS) + 1
        detail = f"place {place} of {len(order)}: " + ", ".join(f"{m} {rows[m]:.2f}" for m in order[: max(place, 2)])
        what = f"first or second in AA on {dataset} among the rows of both tables"
        findings.append(Finding("Tables 1, 2", what, place <= 2, detail))
    return findings


UNIT_FEATURES = ("AT_HE",)  # compares unit features with unit centers (ledger 21)


def least_scr(min_sep: float) -> float:
    """The smallest SCR, Eq. (10), that unit features and unit centers with this MinSep (degrees) can have.

    Each center's nearest rival is at least 2 sin(MinSep / 2) away, and no unit vector is more than 2 from another.
    """
    return 2 * math.sin(math.radians(min_sep) / 2) / 2


def _scr_findings() -> list[Finding]:
    """Unit features lie at most 2 from unit centers, so that SCR has a floor."""
    findings = []
    for (dataset, _, method), row in table_rows(4).items():
        for column in ("scr_clean", "scr_adv") if method in UNIT_FEATURES else ():
            implied = 2 * math.sin(math.radians(row["mean_sep"]) / 2) / row[column]
            what = f"{column} of {method} on {dataset} is possible for unit features and unit centers"
            detail = f"{row[column]:.3f}, at least {least_scr(row['min_sep']):.3f} at MinSep {row['min_sep']:.2f}; "
            detail += f"it implies a mean distance of about {implied:.1f}, where unit vectors are at most 2 apart"
            possible = row[column] >= least_scr(row["min_sep"]) - 0.0005 - TINY
            findings.append(Finding("Table 4", what, possible, detail))
    return findings


def consistency() -> list[Finding]:
    """Every check of the reported numbers against each other, against the text and against geometry."""
    return [
        *_row_findings(), *_budget_findings(), *_repeat_findings(), *_restart_findings(), *_text_findings(),
        *_aa_findings(), *_scr_findings(),
    ]  # fmt: skip
