"""The paper against itself: what its tables, its text and its geometry say of the same thing."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from advdpnp.config import DATASETS
from advdpnp.errors import UserError
from advdpnp.names import BACKBONES, block_name, column_name
from advdpnp.names import DATASETS as NAMES
from advdpnp.paper.numbers import (
    OURS,
    PAPER_DIR,
    TINY,
    methods_of,
    paper_values,
    reported,
    reported_table,
    table_rows,
)
from advdpnp.paper.verdict import column_kind

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
            findings.append(Finding(where, f"{what} of Adv-DPNP on {NAMES[dataset]} is the same", one == two, detail))
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
            Finding("Tables 6, 7", f"40 iterations, one start, {NAMES[dataset]}: close up to the step", close, detail)
        )
        detail = f"Table 7 {twenty:.2f}, Table 6 {single:.2f} ({twenty - single:+.2f})"
        what = f"40 iterations, {NAMES[dataset]}: 20 starts (Table 7) are no weaker than one run (Table 6)"
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
        what = f"margin in {column_name(stated.column)} on {block_name(*stated[2:4])}, up to rounding"
        detail = f"text {stated.margin}, table {own - rival:.2f} ({own:.2f} against {name} {rival:.2f})"
        findings.append(Finding(f"text, Table {stated.table}", what, ok, detail))
    for dataset, column, angle in STATED_ANGLES:
        value = _ours(4, dataset, column)
        findings.append(
            Finding(
                "text, Table 4",
                f"{column_name(column)} on {NAMES[dataset]}",
                value == angle,
                f"text {angle:.2f}, table {value:.2f}",
            )
        )
    for attack, epsilon, step, steps in STATED_STEPS:
        rule = Fraction(5, 2) * epsilon / steps
        printed = f"{float(step):g}" if step > 1 else f"{float(step * 255):g}/255"
        detail = f"stated {printed}, rule {float(rule * 255):g}/255"
        findings.append(Finding("text", f"step size of {attack} is 2.5 epsilon / iterations", step == rule, detail))
    columns = dict.fromkeys(cell.column for cell in reported_table(7))
    has_loss = any(column_kind(c) == "loss" for c in columns)
    what = "the loss said to change marginally with random starts is reported"
    findings.append(Finding("text, Table 7", what, has_loss, f"columns: {', '.join(map(column_name, columns))}"))
    return findings


def _aa_findings() -> list[Finding]:
    """'Never drops below second place in AA' is said of Table 2, whose rivals are not those of Table 1."""
    findings = []
    for dataset in ("cifar10", "cifar100"):
        rows = {k[2]: r["aa"] for t in (1, 2) for k, r in table_rows(t).items() if k[:2] == (dataset, "resnet18")}
        order = sorted(rows, key=rows.get, reverse=True)
        place = order.index(OURS) + 1
        detail = f"place {place} of {len(order)}: " + ", ".join(f"{m} {rows[m]:.2f}" for m in order[: max(place, 2)])
        what = f"first or second in AutoAttack on {NAMES[dataset]} among the rows of both tables"
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
            what = (
                f"{column_name(column)} of {method} on {NAMES[dataset]} is possible for unit features and unit centers"
            )
            detail = f"{row[column]:.3f}, at least {least_scr(row['min_sep']):.3f} at MinSep {row['min_sep']:.2f}; "
            detail += f"it implies a mean distance of about {implied:.1f}, where unit vectors are at most 2 apart"
            possible = row[column] >= least_scr(row["min_sep"]) - 0.0005 - TINY
            findings.append(Finding("Table 4", what, possible, detail))
    return findings


class Gap(NamedTuple):
    """PGD-20 minus AutoAttack, in points, of one row of Tables 1 and 2."""

    value: float
    row: tuple[str, str, str]  # dataset, backbone, method


def _gaps() -> list[Gap]:
    column = {1: "pgd_linf", 2: "pgd20"}
    return [Gap(r[column[t]] - r["aa"], where) for t in column for where, r in table_rows(t).items()]


@cache
def widest_gap() -> Gap:
    """The row of the paper in which AutoAttack finds most beyond PGD-20."""
    return max(_gaps())


def _gap_findings() -> list[Finding]:
    """A wide gap between PGD-20 and AutoAttack is a sign of masked gradients; the paper's data sets should agree."""
    most = widest_gap()
    dataset, backbone, method = most.row
    elsewhere = max(gap for gap in _gaps() if gap.row[0] != dataset)
    place = f"{block_name(*elsewhere.row[:2])}, {elsewhere.row[2]}"
    found = f"{most.value:.2f} ({method}, {BACKBONES[backbone]}), {elsewhere.value:.2f} elsewhere ({place})"
    what = f"PGD-20 minus AutoAttack is no wider on {NAMES[dataset]} than elsewhere"
    return [Finding("Tables 1, 2", what, most.value <= elsewhere.value, found)]


def consistency() -> list[Finding]:
    """Every check of the reported numbers against each other, against the text and against geometry."""
    return [
        *_row_findings(), *_budget_findings(), *_repeat_findings(), *_restart_findings(), *_text_findings(),
        *_aa_findings(), *_gap_findings(), *_scr_findings(),
    ]  # fmt: skip
