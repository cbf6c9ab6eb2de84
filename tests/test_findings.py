"""docs/findings.md: the numbers in its prose are those of the published files."""

import re
import statistics
from pathlib import Path

import numpy as np
import pytest

from advdpnp import paired, protocol
from advdpnp.fingerprint import implied_distance
from advdpnp.report import published_dir
from advdpnp.results import read_arrays
from advdpnp.tables import cell, table_rows
from advdpnp.tiers import load_tier

FINDINGS = (Path(__file__).parent.parent / "docs" / "findings.md").read_text()
# The claims that are answered by differences: where the table of findings.md starts a row with, and the column meant;
# a group that starts "l1:" names its own.
CLAIMS = {
    "highest clean accuracy": {"": "clean"},
    "highest mean of clean and AutoAttack": {"": "avg"},
    "first or second under AutoAttack": {"": "aa"},
    "ahead of the baselines": {"l1": "pgd_l1", "l2": "pgd_l2"},
    "best at smaller budgets": {f"{name} {e}/255": f"{column}_eps{e}" for e in (2, 4, 6)
                                for name, column in (("PGD", "pgd"), ("AA", "aa"))},
    "best average under corruptions": {"": "avg_accuracy"},
}  # fmt: skip
SIGNED = r"([+-]\d+\.\d)"


@pytest.fixture(scope="module")
def differences():
    """{(rival, column): row} of the published short tier on CIFAR-10."""
    short, root = load_tier("short"), published_dir("short")
    return {(row["rival"], row["column"]): row for name in paired.TABLES for row in paired.rivals(short, name, root)}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_difference_in_the_prose_is_the_published_one(claim, differences):
    (line,) = [line for line in FINDINGS.splitlines() if line.startswith(f"| {claim}")]
    shown = 0
    for group in line.split(" | ")[2].split("; "):
        label, _, numbers = group.rpartition(": ")
        column = CLAIMS[claim][label]
        for rival, *values in re.findall(rf"(\w+) {SIGNED} \[{SIGNED}, {SIGNED}\]", numbers):
            row, shown = differences[rival, column], shown + 1
            found = [row[key] for key in ("difference", "low", "high")]
            assert [float(value) for value in values] == pytest.approx(found, abs=0.0501), (rival, column)
    assert shown >= 2


def test_what_scr_compares_in_the_prose_is_the_published():
    """MeanSep and SCR imply the distance; AT_HE stands apart, whose features were stored without its normalisation."""
    tier, root = load_tier("short"), published_dir("short")
    scr, far = {}, {}
    for row in protocol.artefact("table4").rows[protocol.CIFAR10]:
        for run in protocol.runs_of_row(tier, protocol.CIFAR10, row):
            found = {name: cell(run, f"geometry.{name}", root) for name in ("mean_sep", "scr_clean", "scr_adv")}
            if found["mean_sep"] is not None and run.method not in ("ST", "AT_HE"):
                scr.setdefault(row, []).append(found["scr_clean"])
                far.setdefault(row, []).extend(
                    implied_distance(found["mean_sep"], found[f"scr_{side}"]) for side in ("clean", "adv")
                )
    rivals = [row for row in scr if protocol.VARIANT_ROWS.get(row, (row,))[0] != "Adv-DPNP"]
    ours, next_one = statistics.fmean(scr[protocol.PRINTED]), max(statistics.fmean(scr[row]) for row in rivals)
    assert f"SCR {ours:.2f}, the next robust one {next_one:.2f} |" in FINDINGS
    assert f"({ours:.2f} clean; the next robust one has {next_one:.2f})" in FINDINGS
    others = [value for row in rivals for value in far[row]]
    assert f"lie {min(others):.1f} to {max(others):.1f} times the norm of their class's weight" in FINDINGS
    assert {f"{value:.1f}" for value in far[protocol.PRINTED]} == {"0.6"}
    assert "Adv-DPNP 0.6 times that of their prototype" in FINDINGS


def test_figure_2_in_the_prose_is_the_published_one():
    rows = table_rows(load_tier("short"), "figure2", published_dir("short"))  # from the stored features
    published = {(row["method"], row["column"]): row["ours"] for row in rows}
    lines = FINDINGS.partition("\n| Figure 2 |")[2].partition("\n\n")[0].splitlines()
    columns = [name.strip(" `") for name in lines[0].strip(" |").split("|")]
    shown = {}
    for line in lines[2:]:
        method, *values = (cell.strip() for cell in line.strip(" |").split("|"))
        shown |= {(method, column): value for column, value in zip(columns, values, strict=True)}
    rounded = {cell: f"{published[cell]:.{len(value.partition('.')[2])}f}" for cell, value in shown.items()}
    assert shown == rounded
    assert shown.keys() == published.keys()


def test_the_gaps_between_prototypes_in_the_prose_are_those_of_figure_2():
    stored = published_dir("short") / "evals" / "mnist-lenetspp-adv_dpnp-s0" / "features.npz"
    centers = read_arrays(stored, "centers")["centers"]
    angles = np.sort(np.degrees(np.arctan2(centers[:, 1], centers[:, 0])))
    gaps = sorted(np.diff(angles, append=angles[0] + 360))
    assert f"gaps of {gaps[-2]:.0f} and {gaps[-1]:.0f} degrees on the circle" in FINDINGS
    assert f"(0 and 9) are {gaps[0]:.0f} degrees apart" in FINDINGS
