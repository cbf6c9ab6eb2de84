"""The paper's numbers, what a measurement is worth beside them, its claims, and its agreement with itself."""

import csv
import math
import subprocess
import sys
from dataclasses import replace
from statistics import NormalDist

import pytest

from advdpnp.config import METHODS, ROOT
from advdpnp.errors import UserError
from advdpnp.paper import claims, numbers
from advdpnp.paper.artefacts import FEATURES
from advdpnp.paper.claims import CLAIMS, claims_markdown
from advdpnp.paper.consistency import consistency, least_scr, repeatability, simplex_angle
from advdpnp.paper.numbers import OURS, Cell, paper_values, reported, reported_table, values_from
from advdpnp.paper.verdict import BANDS, VERDICTS, column_kind, verdict


def outcomes(values):
    return {name: outcome.holds for name, outcome in claims.outcomes(values).items()}


def changed(cells):
    """The paper's numbers with some cells replaced; None removes one."""
    return lambda *cell: cells.get(cell, paper_values(*cell))


# --- The reported numbers


@pytest.mark.parametrize(
    ("table", "dataset", "backbone", "method", "column", "value"),
    [  # read by eye in the paper
        (1, "cifar10", "resnet18", "ST", "avg", 47.20),
        (1, "cifar100", "resnet18", "MART", "pgd_l1", 34.38),
        (2, "svhn", "resnet18", "DIO", "clean", 93.52),
        (2, "cifar10", "wrn34_10", "IKL", "ensemble", 53.87),
        (2, "cifar100", "resnet18", "OC", "cw", 26.43),
        (3, "cifar10", "resnet18", "AT_HE", "pgd_eps4", 66.94),
        (3, "cifar10", "resnet18", "Adv-DPNP", "aa_eps6", 58.85),
        (4, "cifar10", "resnet18", "Adv-DPNP", "mean_sep", 95.32),
        (4, "cifar100", "resnet18", "TRADES", "afs_adv", 2.779),
        (5, "cifar10", "resnet18", "HAT", "avg_accuracy", 75.92),
        (6, "cifar10", "resnet18", "Adv-DPNP", "accuracy_20", 53.33),
        (6, "cifar100", "resnet18", "Adv-DPNP", "loss_500", 2.9643),
        (7, "cifar10", "resnet18", "Adv-DPNP", "starts_10", 52.86),
        (8, "cifar100", "resnet18", "Adv-DPNP", "adv-dpnp", 30.74),
    ],
)
def test_reported_is_what_the_paper_prints(table, dataset, backbone, method, column, value):
    assert reported(table, dataset=dataset, backbone=backbone, method=method, column=column) == value


@pytest.mark.parametrize("table", numbers.TABLES)
def test_every_cell_of_the_files_is_reachable(table):
    keys = {"dataset", "backbone", "method", "eps_255", "iterations", "random_starts", "attack_loss"}
    with (numbers.PAPER_DIR / f"table{table}.csv").open(encoding="utf-8") as file:
        printed = [float(v) for row in csv.DictReader(file) for name, v in row.items() if name not in keys]
    cells = reported_table(table)
    assert [cell.value for cell in cells] == printed
    assert len({cell[:5] for cell in cells}) == len(cells), "two cells share one name"
    for cell in cells:
        assert cell.method in METHODS
        assert paper_values(*cell[:5]) == cell.value


def test_a_cell_the_paper_does_not_have_is_none():
    assert reported(2, dataset="svhn", backbone="resnet18", method="HAT", column="clean") is None
    assert paper_values("figure3", "cifar10", "resnet18", OURS, "severity_1") is None
    with pytest.raises(UserError, match="no table 9"):
        reported_table(9)


def test_a_missing_file_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(numbers, "PAPER_DIR", tmp_path)
    reported_table.cache_clear()
    with pytest.raises(UserError, match="git checkout data/paper"):
        reported_table(1)
    reported_table.cache_clear()


def test_values_from_cells():
    tables = {1: 83.5, "figure3": 70.0, 2: None}
    values = values_from(Cell(table, "cifar10", "resnet18", "AT", "clean", ours) for table, ours in tables.items())
    assert values(1, "cifar10", "resnet18", "AT", "clean") == 83.5
    assert values("figure3", "cifar10", "resnet18", "AT", "clean") == 70.0
    assert values(2, "cifar10", "resnet18", "AT", "clean") is None


def test_columns_that_a_claim_compares_rest_on_the_same_images():
    """24 % of 1,000 images after 20 steps and 22 % of 200 after 500: that is no effect of steps."""
    place = "cifar10", "resnet18", "Adv-DPNP"
    columns = (("accuracy_20", 24, 1000), ("accuracy_40", 23.9, 1000), ("accuracy_500", 22, 200))
    rows = [Cell(6, *place, c, ours, images=n) for c, ours, n in columns]
    across = values_from(rows)
    assert [across(6, *place, c) for c, *_ in columns] == [24, 23.9, None]
    down = values_from(replace(row, table=1) for row in rows)  # Table 1's claims compare methods, not columns
    assert [down(1, *place, c) for c, *_ in columns] == [24, 23.9, 22]


def test_importing_loads_nothing_heavy():
    heavy = "('torch', 'pandas', 'scipy', 'numpy')"
    code = f"import sys, advdpnp.paper.claims; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


# --- Verdicts


@pytest.mark.parametrize(
    ("ours", "printed", "options", "expected"),
    [
        (None, 53.68, {}, "not run"),
        (math.nan, 53.68, {}, "not run"),
        (53.68, 53.68, {}, "match"),
        (52.68, 53.68, {}, "match"),
        (54.69, 53.68, {}, "near"),
        (51.68, 53.68, {}, "near"),
        (51.67, 53.68, {}, "differs"),
        (53.68, None, {}, "not reported"),
        (53.68, 53.68, {"comparable": False}, "smaller protocol"),
        (53.68, None, {"comparable": False}, "smaller protocol"),
        (None, 53.68, {"comparable": False}, "not run"),
        (53.68, 53.68, {"n": 1000}, "smaller protocol"),
        (53.68, 53.68, {"n": 10_000}, "match"),
        (93.33, 95.32, {"kind": "angle"}, "match"),
        (91.00, 95.32, {"kind": "angle"}, "near"),
        (90.00, 95.32, {"kind": "angle"}, "differs"),
        (0.064, 0.059, {"kind": "fdr"}, "match"),
        (0.070, 0.059, {"kind": "fdr"}, "near"),
        (0.080, 0.059, {"kind": "fdr"}, "differs"),
        (1.26, 1.238, {"kind": "loss"}, "match"),
        (1.31, 1.238, {"kind": "loss"}, "differs"),
    ],
)
def test_verdict(ours, printed, options, expected):
    assert verdict(ours, printed, **{"comparable": True, **options}) == expected
    assert expected in VERDICTS


def test_every_column_has_a_band():
    kinds = {cell.column: column_kind(cell.column) for table in numbers.TABLES for cell in reported_table(table)}
    assert set(kinds.values()) == set(BANDS)
    assert {kinds[c] for c in ("clean", "accuracy_20", "avg_accuracy", "starts_1", "ce", "adv-dpnp")} == {"accuracy"}
    assert (kinds["fdr_adv"], kinds["mean_sep"], kinds["loss_20"]) == ("fdr", "angle", "loss")
    with pytest.raises(UserError, match="did you mean 'angle'"):
        verdict(1.0, 1.0, comparable=True, kind="angles")


# --- Claims

REFUTED = {  # by the paper's own numbers
    "abstract-clean": "SVHN, clean: 93.06 against DIO 93.52 (-0.46)",
    "abstract-robust": "CIFAR-10 (WRN-34-10), PGD-100:",
    "s1-consistent": "SVHN, clean: 93.06 against DIO 93.52 (-0.46)",
    "gap": "CIFAR-10, clean minus AutoAttack: 35.45 against IKL 29.02 (+6.43)",
    "t4-robust-afs": "CIFAR-100, AFS, adversarial: ST 1.479 against TRADES 2.779 (-1.3)",
    "t4-change-scr": "CIFAR-10, SCR change: 0.066 against IKL 0.009 (+0.057)",
}
NOT_IN_TABLES = {
    "abstract-types",
    "f2-variation",
    "f2-margins",
    "f2-align",
    "f3-severity",
    "f4-falls",
    "f4-zero",
    "f4-fgsm-weaker",
}


def test_claims_on_the_papers_own_numbers():
    found = claims.outcomes(paper_values)
    assert len(CLAIMS) == len(found)
    assert {name for name, outcome in found.items() if outcome.holds is False} == set(REFUTED)
    assert {name for name, outcome in found.items() if not outcome.ran} == NOT_IN_TABLES
    assert not [name for name, outcome in found.items() if outcome.ran and outcome.holds is None]
    for claim in CLAIMS:
        assert REFUTED.get(claim.id, "") in found[claim.id].detail
        assert all(table in (*numbers.TABLES, *numbers.FIGURES) for table in claim.tables)


def flips(claim, cell, value):
    before, after = outcomes(paper_values), outcomes(changed({cell: value}))
    assert before[claim] is True
    return after[claim]


@pytest.mark.parametrize(
    ("claim", "cell", "value"),
    [
        ("t1-st-clean", (1, "cifar10", "resnet18", "ST", "clean"), 84.0),
        ("t1-clean-cifar10", (1, "cifar10", "resnet18", "AT", "clean"), 84.63),  # a tie is no improvement
        ("t1-unforeseen", (1, "cifar100", "resnet18", "MART", "pgd_l2"), 41.0),
        ("t1-l1-cifar10", (1, "cifar10", "resnet18", "MART", "pgd_l1"), 56.0),
        ("t1-aa-cifar10", (1, "cifar10", "resnet18", OURS, "aa"), 48.99),
        ("t1-aa-cifar100", (1, "cifar100", "resnet18", OURS, "aa"), 24.5),
        ("t2-avg", (2, "cifar10", "wrn34_10", "FSR", "avg"), 70.2),
        ("t2-avg-svhn", (2, "svhn", "resnet18", "DIO", "avg"), 71.0),
        ("t2-runners-up", (2, "cifar10", "resnet18", "HAT", "avg"), 65.0),
        ("t2-aa", (2, "cifar10", "wrn34_10", "DIO", "aa"), 52.9),
        ("t2-attacks", (2, "cifar100", "resnet18", "DIO", "pgd20"), 31.0),
        ("t2-ensemble", (2, "svhn", "resnet18", "IKL", "ensemble"), 50.6),
        ("t3-pgd", (3, "cifar10", "resnet18", "AT", "pgd_eps4"), 70.72),
        ("t3-aa", (3, "cifar10", "resnet18", "DIO", "aa_eps6"), 58.9),
        ("t4-adversarial-higher", (4, "cifar100", "resnet18", "FSR", "fdr_adv"), 0.02),
        ("t4-st-clean", (4, "cifar10", "resnet18", OURS, "fdr_clean"), 0.02),
        ("t4-st-inconsistent", (4, "cifar100", "resnet18", "ST", "afs_adv"), 0.5),
        ("t4-robust-fdr", (4, "cifar10", "resnet18", "MART", "fdr_adv"), 0.7),
        ("t4-robust-scr", (4, "cifar100", "resnet18", "FSR", "scr_adv"), 0.05),
        ("t4-fdr", (4, "cifar100", "resnet18", OURS, "fdr_adv"), 0.04),
        ("t4-afs", (4, "cifar10", "resnet18", "AT", "afs_clean"), 0.25),
        ("t4-scr", (4, "cifar100", "resnet18", "AT_HE", "scr_clean"), 1.6),
        ("t4-angles", (4, "cifar10", "resnet18", "ST", "min_sep"), 95.0),
        ("t4-angles-substantial", (4, "cifar10", "resnet18", "AT_HE", "mean_sep"), 86.0),
        ("t4-change-scatter", (4, "cifar100", "resnet18", "MART", "fdr_adv"), 0.033),
        ("t5-average", (5, "cifar10", "resnet18", "AT", "avg_accuracy"), 77.0),
        ("t5-second", (5, "cifar10", "resnet18", "HAT", "avg_accuracy"), 76.5),
        ("t6-accuracy-marginal", (6, "cifar10", "resnet18", OURS, "accuracy_500"), 52.0),
        ("t6-loss-marginal", (6, "cifar100", "resnet18", OURS, "loss_500"), 3.1),
        ("t6-converges", (6, "cifar10", "resnet18", OURS, "loss_100"), 1.25),
        ("t7-accuracy-marginal", (7, "cifar10", "resnet18", OURS, "starts_20"), 51.0),
        ("t7-monotone", (7, "cifar100", "resnet18", OURS, "starts_5"), 30.9),
        ("t8-adaptive", (8, "cifar100", "resnet18", OURS, "adv-dpnp"), 29.0),
        ("t8-not-stronger", (8, "cifar10", "resnet18", OURS, "adv-dpnp"), 53.0),
    ],
)
def test_one_cell_refutes_a_claim_and_a_missing_one_leaves_it_open(claim, cell, value):
    assert flips(claim, cell, value) is False
    assert flips(claim, cell, None) is None


def test_a_block_that_was_not_run_does_not_leave_the_others_open():
    methods = numbers.methods_of(1, "cifar100", "resnet18")
    cells = {(1, "cifar100", "resnet18", method, column): None for method in methods
             for column in ("clean", "aa", "avg", "pgd_l1", "pgd_l2", "pgd_linf")}  # fmt: skip
    found = claims.outcomes(changed(cells))
    assert found["t1-st-collapses"].holds is True
    assert found["t1-st-collapses"].text == "holds on CIFAR-10; CIFAR-100 not run"
    assert found["t1-unforeseen"].text == "holds on CIFAR-10; CIFAR-100 not run"
    assert found["t1-avg-cifar100"].text == found["t1-avg-cifar100"].word == "not run"
    cells[1, "cifar10", "resnet18", "ST", "aa"] = 3.0
    assert claims.outcomes(changed(cells))["t1-st-collapses"].text == "does not hold on CIFAR-10; CIFAR-100 not run"


@pytest.mark.parametrize(
    ("states", "expected"),
    [([], True), ([True], True), ([True, None], None), ([None, False], False), ([True, False], False)],
)
def test_three_values_and(states, expected):
    assert claims.all_of(states) is expected


@pytest.mark.parametrize(
    ("states", "expected"),
    [([True, True, False], True), ([True, None, False], None), ([False, None, False], False), ([None, None], None)],
)
def test_three_values_at_least_two(states, expected):
    assert claims.at_least_so_many(2, states) is expected


class WithBounds:
    """The paper's numbers, each lead known to `half` points."""

    def __init__(self, half, cells=None):
        self.half, self.values = half, changed(cells or {})

    def __call__(self, *cell):
        return self.values(*cell)

    def difference(self, block, quantity, one, other, level):
        ours, theirs = (claims._read(self.values, block, method, quantity) for method in (one, other))
        half = self.half * NormalDist().inv_cdf((1 + level) / 2) / NormalDist().inv_cdf(0.975)
        return claims.Bounded(ours - theirs, ours - theirs - half, ours - theirs + half)

    def change(self, block, method, before, after):
        step = self.values(*block, method, after) - self.values(*block, method, before)
        return claims.Bounded(step, step - self.half, step + self.half)


def test_a_lead_that_its_interval_does_not_tell_is_not_decided():
    """0.85 points ahead of AT's clean accuracy: decided to half a point, not to two; 3 behind refutes in both."""
    for half, expected in ((0.5, True), (2.0, None)):
        outcome = claims.outcomes(WithBounds(half))["t1-clean-cifar10"]
        assert outcome.holds is expected
    assert "[-1.15, +2.85]" in outcome.detail
    assert outcome.text == "not decided"
    behind = {(1, "cifar10", "resnet18", "AT", "clean"): 88.0}
    assert claims.outcomes(WithBounds(2.0, behind))["t1-clean-cifar10"].holds is False


def test_one_of_several_rivals_is_ahead_only_by_an_interval_for_all_of_them():
    """2.2 points behind, known to 2: told of one rival, but of the best of four it may be luck."""
    behind = {(1, "cifar10", "resnet18", "AT", "clean"): 84.6 + 2.2}
    assert claims.outcomes(WithBounds(2.0, behind))["t1-clean-cifar10"].holds is None
    alone = claims.ranks([claims.T1_C10], ["clean"], without=("ST", "TRADES", "MART", "AT_HE"))
    assert alone(WithBounds(2.0, behind)).holds is False


def test_the_rival_that_decides_is_shown():
    """Two are as far ahead, one of them for certain."""
    cells = {(1, "cifar10", "resnet18", method, "clean"): 88.0 for method in ("AT", "MART")}

    class Unequal(WithBounds):
        def difference(self, block, quantity, one, other, level):
            self.half = 2.0 if other == "MART" else 20.0
            return super().difference(block, quantity, one, other, level)

    assert "against MART" in claims.outcomes(Unequal(0, cells))["t1-clean-cifar10"].detail


def test_a_lowest_value_is_told_by_its_interval_too():
    for half, expected in ((0.001, True), (1.0, None)):
        assert claims.outcomes(WithBounds(half))["t4-fdr"].holds is expected


def test_a_rise_within_the_interval_is_no_rise():
    """Table 7: 0.1 points more after more starts is one image in a thousand."""
    cells = {(7, "cifar10", "resnet18", OURS, "starts_5"): 53.35}
    assert claims.outcomes(changed(cells))["t7-monotone"].holds is False
    assert claims.outcomes(WithBounds(0.2, cells))["t7-monotone"].holds is True
    assert claims.outcomes(WithBounds(0.2))["t8-adaptive"].holds is True
    assert claims.outcomes(WithBounds(5.0))["t8-adaptive"].holds is None


def test_a_rival_that_is_already_ahead_refutes_even_with_cells_missing():
    cells = {
        (1, "cifar10", "resnet18", "AT", "clean"): 90.0,
        (1, "cifar10", "resnet18", "MART", "clean"): None,
    }
    assert outcomes(changed(cells))["t1-clean-cifar10"] is False


def test_a_margin_claim_holds_for_any_lead_and_shows_both_margins():
    cells = {(1, "cifar10", "resnet18", OURS, "clean"): 83.90}
    outcome = claims.outcomes(changed(cells))["t1-clean-cifar10"]
    assert outcome.holds is True
    assert "+0.12" in outcome.detail
    assert "text: +0.85" in outcome.detail


def test_with_no_numbers_at_all_nothing_is_decided():
    assert set(outcomes(lambda *cell: None).values()) == {None}


def figure4(fgsm, pgd):
    cells = {}
    for dataset in ("cifar10", "cifar100"):
        for attack, curve in (("fgsm", fgsm), ("pgd", pgd)):
            for e, accuracy in curve.items():
                cells["figure4", dataset, "resnet18", OURS, f"{attack}_eps{e}"] = accuracy
    found = outcomes(changed(cells))
    return found["f4-falls"], found["f4-zero"], found["f4-fgsm-weaker"]


def test_figure_4_claims():
    fgsm, pgd = {4: 70.0, 8: 58.0, 64: 15.0}, {4: 69.0, 8: 53.0, 64: 0.0, 128: 0.0}
    assert figure4(fgsm, pgd) == (True, True, True)
    assert figure4({**fgsm, 128: 16.0}, pgd) == (False, True, True)
    assert figure4(fgsm, {4: 69.0, 8: 53.0, 64: 2.0}) == (True, False, True)
    assert figure4(fgsm, {**pgd, 8: 58.5}) == (True, True, False)
    assert figure4({4: 70.0}, {4: 69.0}) == (None, False, True)


def test_figure_2_and_3_claims():
    rivals = numbers.methods_of("figure3", "cifar10", "resnet18")
    cells = {
        ("figure3", "cifar10", "resnet18", m, column): 85 - 3 * s - (m != OURS)
        for m in rivals
        for s, column in enumerate([*(f"severity_{s}" for s in range(1, 6)), "noise", "blur", "weather", "digital"], 1)
    }
    for side in FEATURES:
        better = side.startswith("gap")
        cells |= {("figure2", "mnist", "lenetspp", m, side): 1.0 + ((m == OURS) == better) for m in ("AT", OURS)}
    found = outcomes(changed(cells))
    assert found["f3-severity"] is found["f2-variation"] is found["f2-margins"] is found["abstract-types"] is True
    assert found["f2-align"] is False  # a distance of 1.0 is the origin's
    cells["figure2", "mnist", "lenetspp", OURS, "distance_adv"] = 0.12
    assert outcomes(changed(cells))["f2-align"] is True
    cells["figure3", "cifar10", "resnet18", "HAT", "severity_3"] = 76.5
    cells["figure2", "mnist", "lenetspp", "AT", "radial_adv"] = 0.5
    found = outcomes(changed(cells))
    assert found["f3-severity"] is found["f2-variation"] is False


def test_markdown_has_one_row_a_claim():
    alone = claims_markdown().splitlines()
    assert "Of" not in alone[0]
    assert len(alone) == len(CLAIMS) + 2
    assert all(line.count(" | ") == 3 for line in alone if line.startswith("| "))
    assert alone[2].endswith("| not asked |")
    both = claims_markdown(changed({(8, "cifar10", "resnet18", OURS, "adv-dpnp"): 10.0})).splitlines()
    assert "<summary><b>holds</b></summary>" in both[-1]  # many numbers are folded, few stand beside the word
    assert (
        "<summary><b>does not hold</b></summary>✗ CIFAR-10, PGD-20 on cross-entropy to PGD-20 on Eq. (7): "
        "range 43.7 (limit 0.5); ✓ CIFAR-100" in both[-1]
    )
    assert any("| **holds**: SVHN, Avg: 70.55 against DIO 69.48 (+1.07); text: +1.07 |" in line for line in alone)
    assert both[0].startswith(f"Of {len(CLAIMS)} claims on ours: ")


def test_a_claim_about_a_figure_is_judged_on_ours_alone():
    (claim,) = [claim for claim in CLAIMS if claim.id == "f2-margins"]
    cells = {
        ("figure2", "mnist", "lenetspp", method, f"gap_{side}"): angle
        for method, angle in (("AT", 9.0), (OURS, 20.0))
        for side in ("clean", "adv")
    }
    row = claims_markdown(changed(cells), [claim], whose="ours (short)").splitlines()[-1]
    assert (
        "| drawn, not printed | <details><summary><b>holds</b></summary>✓ MNIST, smallest gap, clean: 20 against AT 9 "
        "(+11); ✓ MNIST, smallest gap, adversarial: 20 " in row
    )
    assert "missing" not in row


# --- The paper against itself


def test_the_findings_are_exactly_the_known_ones():
    bad = {(f.where, f.what): f.detail for f in consistency() if not f.ok}
    assert bad == {
        ("Tables 2, 6", "PGD-20 of Adv-DPNP on CIFAR-10 is the same"): "53.68 and 53.33 (-0.35)",
        ("Tables 2, 6", "PGD-100 of Adv-DPNP on CIFAR-10 is the same"): "52.61 and 52.53 (-0.08)",
        ("Tables 2, 6", "PGD-100 of Adv-DPNP on CIFAR-100 is the same"): "30.15 and 30.37 (+0.22)",
        ("Tables 6, 7", "40 iterations, one start, CIFAR-10: close up to the step"):
            "Table 7 53.25, Table 6 52.64 (+0.61; repeats differ by up to 0.35); the steps are 0.5/255 and 1/255",
        ("Tables 6, 7", "40 iterations, CIFAR-10: 20 starts (Table 7) are no weaker than one run (Table 6)"):
            "Table 7 52.79, Table 6 52.64 (+0.15)",
        ("text", "step size of l1 PGD of Table 1 is 2.5 epsilon / iterations"): "stated 50, rule 50/255",
        ("text, Table 7", "the loss said to change marginally with random starts is reported"):
            "columns: random starts: 1, random starts: 5, random starts: 10, random starts: 20",
        ("Tables 1, 2", "first or second in AutoAttack on CIFAR-100 among the rows of both tables"):
            "place 4 of 12: AT_HE 25.73, MART 25.61, IKL 25.43, Adv-DPNP 25.39",
        ("Table 4", "SCR, clean of AT_HE on CIFAR-10 is possible for unit features and unit centers"):
            "0.332, at least 0.596 at MinSep 73.21; it implies a mean distance of about 4.0, where unit vectors are at "
            "most 2 apart",
        ("Tables 1, 2", "PGD-20 minus AutoAttack is no wider on SVHN than elsewhere"):
            "9.41 (Adv-DPNP, ResNet-18), 6.14 elsewhere (CIFAR-100, ResNet-18, PCL)",
    }  # fmt: skip


def with_cell(monkeypatch, table, method, column, value):
    """What consistency() newly objects to when one cell (CIFAR-10, ResNet-18) of a table is replaced."""
    real = reported_table
    where = (table, "cifar10", "resnet18", method, column)

    def altered(wanted):
        return tuple(cell._replace(value=value) if cell[:5] == where else cell for cell in real(wanted))

    known = {(f.where, f.what) for f in consistency() if not f.ok}
    monkeypatch.setattr(numbers, "reported_table", altered)
    numbers._index.cache_clear()
    try:
        return {f.what for f in consistency() if not f.ok and (f.where, f.what) not in known}
    finally:
        numbers._index.cache_clear()


@pytest.mark.parametrize(
    ("table", "method", "column", "value", "what"),
    [
        (1, "AT", "avg", 65.98, "Avg is the mean of clean and AA, up to rounding"),
        (1, "TRADES", "pgd_linf", 48.9, "AA <= linf PGD-20 <= clean"),
        (1, "AT", "pgd_l2", 84.0, "l1 and l2 PGD <= clean"),
        (2, "HAT", "pgd100", 52.5, "PGD-100 <= PGD-20 <= FGSM <= clean"),
        (2, "OC", "ensemble", 50.1, "Ensemble <= FGSM, PGD-20, PGD-100, C&W"),
        (2, "IKL", "ensemble", 48.0, "AA <= Ensemble"),
        (3, "AT", "aa_eps4", 71.0, "AA <= PGD at each budget"),
        (3, "AT", "aa_eps4", 58.0, "PGD and AA fall with the budget"),
        (3, "FSR", "pgd_eps6", 52.0, "accuracy at 8/255 (Tables 1, 2) <= at 6/255 (Table 3)"),
        (4, "AT", "min_sep", 74.0, "MinSep <= MeanSep"),
        (4, "Adv-DPNP", "min_sep", 96.5, "MinSep <= the regular simplex's angle"),
        (4, "Adv-DPNP", "mean_sep", 95.4, "MeanSep on CIFAR-10"),
        (
            4,
            "AT_HE",
            "scr_adv",
            0.59,
            "SCR, adversarial of AT_HE on CIFAR-10 is possible for unit features and unit centers",
        ),
        (5, "AT", "avg_accuracy", 76.26, "margin in mean accuracy on CIFAR-10, ResNet-18, up to rounding"),
        (8, "Adv-DPNP", "ce", 53.67, "PGD-20 of Adv-DPNP on CIFAR-10 is the same"),
    ],
)
def test_a_wrong_cell_is_found(monkeypatch, table, method, column, value, what):
    assert what in with_cell(monkeypatch, table, method, column, value)


def test_unit_features_have_no_smaller_scr():
    """Whatever the features: here random ones, and the farthest there are, straight behind their centers."""
    import torch

    from advdpnp.geometry import min_separation, separation_to_compactness

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    for dim in (2, 5, 30):
        draw = [torch.randn(n, dim, generator=generator, dtype=torch.float64) for n in (4, 40)]
        centers, features = (torch.nn.functional.normalize(values, dim=1) for values in draw)
        least = least_scr(min_separation(centers))
        assert separation_to_compactness(features, labels, centers) >= least
    square = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
    assert separation_to_compactness(-square[labels], labels, square) == pytest.approx(least_scr(90))


def test_the_simplex_bound():
    assert simplex_angle(2) == pytest.approx(180)
    assert simplex_angle(3) == pytest.approx(120)
    assert simplex_angle(10) == pytest.approx(96.379, abs=1e-3)
    assert simplex_angle(100) == pytest.approx(90.579, abs=1e-3)
    assert repeatability() == pytest.approx(0.35)
