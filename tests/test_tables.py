"""The paper's evaluation as data (artefacts.py), and tables of ours beside the paper's (tables.py)."""

import json
import math
import re
import statistics
from dataclasses import asdict, replace

import numpy as np
import pytest

from advdpnp.config import ATTACKS, CORRUPTION_TYPES, load_tier, parse_tier
from advdpnp.errors import UserError
from advdpnp.evaluate import SPECIAL
from advdpnp.intervals import wilson
from advdpnp.paper import artefacts
from advdpnp.paper.artefacts import (
    ADDED,
    ARTEFACTS,
    CIFAR10,
    CIFAR100,
    MNIST,
    PRINTED,
    SVHN,
    VARIANT_ROWS,
    WRN,
    all_runs,
    artefact,
)
from advdpnp.paper.numbers import FIGURES as DRAWN
from advdpnp.paper.numbers import Cell, reported, reported_table
from advdpnp.report import render, tables
from advdpnp.report.render import latex, markdown
from advdpnp.report.tables import COLUMNS, best_and_second, cell, ensemble_accuracy, format_value, table_rows
from advdpnp.store import PUBLISHED, RESULTS, Store, write_csv

TABLES = [name for name in ARTEFACTS if name.startswith("table")]
FIGURES = [name for name in ARTEFACTS if name.startswith("figure")]
LABEL = "a test's protocol"
METRICS = dict.fromkeys(artefacts.GEOMETRY, 0.5)


def make_tier(name="paper", **changes):
    raw = {"label": LABEL, "blocks": {CIFAR10: None, CIFAR100: None}}
    raw |= {"policy": {"comparable": name == "paper"}} | changes
    return parse_tier(name, raw, f"{name}.toml")


def store(run, attack, values, correct=None, where=RESULTS, images=10_000):
    """An evaluation as `evaluate` leaves it; flags that give its accuracy unless `correct` says which."""
    path = where.evaluation(run, attack)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"images": images} | (values if isinstance(values, dict) else {"accuracy": values})
    path.write_text(json.dumps(found))
    if correct is None and "accuracy" in found:
        correct = np.arange(found["images"]) < round(found["accuracy"] * found["images"] / 100)
    if correct is not None:
        np.savez(path.with_suffix(".npz"), correct=np.array(correct, bool))


def one(rows, **wanted):
    (row,) = [row for row in rows if all(getattr(row, key) == value for key, value in wanted.items())]
    return row


# --- What the paper's evaluation needs


def test_the_paper_needs_32_trainings_for_its_tables_and_two_for_figure_2():
    runs = all_runs(load_tier("paper"), tuple(ARTEFACTS))
    assert len(runs) == 34 + 1  # and the other reading of Eq. (3)
    assert sum(run.dataset == "mnist" for run in runs.values()) == 2
    assert all(run_id == run.id for run_id, run in runs.items())


@pytest.mark.parametrize("method", ["OC", "PCL", "HAT", "AT_HE", "TRADES", "MART", "AT", "ST"])
def test_only_four_methods_are_trained_on_svhn_and_wrn(method):
    runs = all_runs(load_tier("paper"), tuple(ARTEFACTS)).values()
    assert not [run.id for run in runs if run.method == method and run.block in (SVHN, WRN)]


def test_every_block_has_the_methods_that_the_paper_reports():
    runs = all_runs(load_tier("paper"), tuple(ARTEFACTS)).values()
    methods = {
        block: {run.method for run in runs if run.block == block} for block in (CIFAR10, CIFAR100, SVHN, WRN, MNIST)
    }
    assert len(methods[CIFAR10]) == len(methods[CIFAR100]) == 12
    assert methods[SVHN] == methods[WRN] == {"FSR", "DIO", "IKL", "Adv-DPNP"}
    assert methods[MNIST] == {"AT", "Adv-DPNP"}


def test_hat_brings_its_standard_helper_of_the_same_seed():
    tier = make_tier(methods=["HAT"], seeds=[3], blocks={CIFAR10: None})
    assert list(all_runs(tier, ("table2",))) == ["cifar10-resnet18-st-s3", "cifar10-resnet18-hat-s3"]


def test_a_tier_trains_only_its_own_methods_seeds_and_blocks():
    tier = make_tier(methods=["AT", "Adv-DPNP"], seeds=[0, 1], more_seeds={"AT": [7]}, blocks={CIFAR10: None})
    names = [run.id.removeprefix("cifar10-resnet18-") for run in artefacts.runs_of(tier, "table1")]
    assert names == ["at-s0", "at-s1", "at-s7", "adv_dpnp-s0", "adv_dpnp-s1"]


def test_a_tier_says_which_variant_is_the_row_as_printed_and_with_which_seeds():
    variants = {"printed": {"adv_dpnp": {"pull": "sum"}}, "balanced": {"adv_dpnp": {"lambda_dnp": 0.283}}}
    tier = make_tier(
        seeds=[0, 1], variants=variants, printed="balanced", variant_seeds={"printed": [0]}, blocks={CIFAR10: None}
    )
    assert [run.id for run in artefacts.runs_of_row(tier, CIFAR10, PRINTED)] == [
        "cifar10-resnet18-adv_dpnp.balanced-s0", "cifar10-resnet18-adv_dpnp.balanced-s1",
    ]  # fmt: skip
    variants = [(run.variant, run.seed) for run in artefacts.runs_of(tier, "readings")]
    assert variants == [("", 0), ("printed", 0), ("balanced", 0), ("", 1), ("balanced", 1)]


def test_the_contrasts_are_of_the_medium_tier_alone():
    assert {run.id[16:] for run in artefacts.runs_of(load_tier("medium"), "contrasts")} == {
        f"-{method}-s{seed}" for method in ("at", "trades", "adv_dpnp", "adv_dpnp.balanced") for seed in (0, 1, 2)
    }
    assert not list(artefacts.runs_of(load_tier("short"), "contrasts"))


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_of_a_table_is_one_that_the_paper_reports(name):
    rows = table_rows(load_tier("paper"), name)
    assert rows
    for row in rows:
        where = {key: getattr(row, key) for key in ("dataset", "backbone", "method", "column")}
        where["method"] = "Adv-DPNP" if row.method == PRINTED else row.method  # the paper has one row for both
        if row.column in ADDED:
            assert (row.paper, row.verdict) == (None, "not run")
        else:
            assert row.paper == reported(int(name[5:]), **where) is not None, where
        assert row.verdict == "not run"


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_that_the_paper_reports_is_in_its_table(name):
    ours = {tuple(getattr(row, key) for key in COLUMNS[:5]) for row in table_rows(load_tier("paper"), name)}
    ours = {cell for cell in ours if cell[3] not in VARIANT_ROWS and cell[4] not in ADDED}
    assert ours == {c[:5] for c in reported_table(int(name[5:]))}


@pytest.mark.parametrize("name", ARTEFACTS)
def test_every_evaluation_is_one_that_can_be_run(name):
    evaluations = artefact(name).evaluations()
    assert evaluations
    assert set(evaluations) <= {*ATTACKS, *SPECIAL}
    assert len(set(evaluations)) == len(evaluations)


def test_derived_columns_bring_what_they_are_made_of():
    assert {"clean", "aa", "fgsm", "pgd20", "pgd100", "cw30"} <= set(artefact("table2").evaluations())
    assert artefact("table4").evaluations() == ("geometry", "guard")
    assert artefact("table6").evaluations() == (*(f"pgd{n}_random" for n in (20, 40, 100, 250, 500)), "guard")


def test_columns_show_the_attacks_of_their_captions():
    assert artefact("table1").columns["pgd_l1"] == "pgd100_l1"
    assert artefact("table1").columns["pgd_l1_free"] == "pgd100_l1_free"
    assert artefact("table2").columns["cw"] == "cw30"
    assert artefact("table3").columns["aa_eps4"] == "aa_eps4"
    assert artefact("table6").columns["loss_500"] == "pgd500_random.loss"
    assert artefact("table8").columns == {"ce": "pgd20", "adv-dpnp": "adaptive20"}


def test_an_unknown_artefact_gets_the_nearest():
    with pytest.raises(UserError, match=r"no 'tabel1' .* did you mean 'table1'\?"):
        artefact("tabel1")


# --- Cells


def test_a_quantity_that_came_later_is_missing_in_earlier_results_and_another_is_damage():
    run = make_tier().run(CIFAR10, "AT")
    store(run, "geometry", {key: 1.0 for key in METRICS if not key.startswith("scr_means")})
    assert cell(run, "geometry.scr_means_clean") is None
    store(run, "geometry", {"fdr_clean": 1.0})
    with pytest.raises(UserError, match="does not hold images, scr_clean"):
        cell(run, "geometry.scr_clean")


def test_a_cell_is_an_accuracy_a_loss_or_a_metric():
    run = make_tier().run(CIFAR10, "Adv-DPNP")
    store(run, "pgd20_random", {"accuracy": 53.1, "loss": 1.25})
    store(run, "geometry", {"fdr_clean": 0.0625})
    store(run, "corruptions", {"accuracy": 76.5, "accuracies": {}})
    assert cell(run, "pgd20_random") == 53.1
    assert cell(run, "pgd20_random.loss") == 1.25
    assert cell(run, "geometry.fdr_clean") == 0.0625
    assert cell(run, "corruptions") == 76.5
    assert cell(run, "clean") is None


def test_avg_is_the_mean_of_clean_and_autoattack():
    run = make_tier().run(CIFAR10, "Adv-DPNP")
    store(run, "clean", 84.0)
    assert cell(run, "avg") is None
    store(run, "aa", 49.0)
    assert cell(run, "avg") == 66.5


def test_the_ensemble_is_wrong_where_any_attack_succeeds():
    assert ensemble_accuracy([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 0]]) == 25.0
    assert ensemble_accuracy([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1]]) == 50.0  # on the images that all saw
    run = make_tier().run(CIFAR10, "Adv-DPNP")
    right = {name: np.ones(10, bool) for name in ("clean", "fgsm", "pgd20", "pgd100", "cw30")}
    right["clean"][0] = right["fgsm"][1] = right["pgd20"][1] = right["cw30"][2] = False
    for name in ("clean", "fgsm", "pgd20", "pgd100"):
        store(run, name, 90.0, right[name])
    assert cell(run, "ensemble") is None  # C&W is missing
    store(run, "cw30", 90.0, right["cw30"])
    assert cell(run, "ensemble") == 70.0


def test_results_may_lie_elsewhere(tmp_path):
    run = make_tier().run(CIFAR10, "Adv-DPNP")
    store(run, "clean", 80.0)
    store(run, "clean", 81.0, where=Store(tmp_path / "published"))
    assert cell(run, "clean") == 80.0
    assert cell(run, "clean", Store(tmp_path / "published")) == 81.0


# --- Rows in long form


def test_the_long_form_has_its_columns_in_order(tmp_path):
    rows = table_rows(make_tier(), "table1")
    assert len(rows) == (2 * 6 + 1) * 7
    first = write_csv(tmp_path / "table1.csv", map(asdict, rows), COLUMNS).read_text().splitlines()[0]
    assert first.startswith("table,dataset,backbone,method,column,ours,std,seeds,paper,difference,verdict,")
    assert first.endswith(",low,high,interval,images,by_seed")


def test_the_paper_tier_is_compared():
    tier = make_tier()
    run = tier.run(CIFAR10, "Adv-DPNP")
    store(run, "clean", 84.0)  # the paper: 84.63 and 49.18
    store(run, "aa", 46.0)
    rows = [row for row in table_rows(tier, "table1") if row.method == "Adv-DPNP" and row.dataset == "cifar10"]
    clean, aa, avg, missing = (one(rows, column=column) for column in ("clean", "aa", "avg", "pgd_l1"))
    assert (clean.ours, clean.paper, clean.difference, clean.verdict) == (84.0, 84.63, -0.63, "match")
    assert (aa.difference, aa.verdict) == (-3.18, "differs")
    assert (avg.ours, avg.difference, avg.verdict) == (65.0, -1.91, "near")
    assert (missing.ours, missing.seeds, missing.difference, missing.verdict) == (None, 0, None, "not run")


def test_a_part_of_the_test_set_is_a_smaller_protocol_even_in_the_paper_tier():
    tier = make_tier()
    store(tier.run(CIFAR10, "Adv-DPNP"), "clean", 84.0)
    store(tier.run(CIFAR10, "Adv-DPNP"), "aa", 49.0, images=1000)
    rows = [row for row in table_rows(tier, "table1") if row.method == "Adv-DPNP" and row.dataset == "cifar10"]
    assert one(rows, column="clean").verdict == "match"
    for column in ("aa", "avg"):
        assert one(rows, column=column).verdict == "smaller protocol"
        assert one(rows, column=column).difference is None


def test_seeds_are_averaged():
    tier = make_tier(seeds=[0, 1], more_seeds={"Adv-DPNP": [5]})
    for seed, value in ((0, 84.0), (1, 85.0), (5, 86.5)):
        store(tier.run(CIFAR10, "Adv-DPNP", seed), "clean", value)
    store(tier.run(CIFAR10, "AT", 1), "clean", 83.0)
    rows = table_rows(tier, "table1")
    row = one(rows, dataset="cifar10", method="Adv-DPNP", column="clean")
    assert (row.ours, row.seeds) == (85.17, 3)
    assert row.std == round(statistics.stdev([84, 85, 86.5]), 2) == 1.26
    row = one(rows, dataset="cifar10", method="AT", column="clean")
    assert (row.ours, row.std, row.seeds) == (83.0, None, 1)  # one seed has no spread


@pytest.mark.parametrize("name", ["demo", "short", "mine"])
def test_a_smaller_protocol_is_not_compared(name):
    tier = make_tier(name)
    store(tier.run(CIFAR10, "Adv-DPNP"), "clean", 84.63)
    row = one(table_rows(tier, "table1"), dataset="cifar10", method="Adv-DPNP", column="clean")
    assert (row.ours, row.paper) == (84.63, 84.63)
    assert (row.difference, row.verdict) == (None, "smaller protocol")


def test_a_block_that_stands_in_keeps_the_papers_number_beside_it():
    tier = make_tier("demo", blocks={CIFAR10: {"dataset": "digits"}})
    store(tier.run(CIFAR10, "AT"), "clean", 97.0)
    rows = table_rows(tier, "table1")
    row = one(rows, dataset="digits", method="AT", column="clean")
    assert (row.ours, row.paper, row.verdict) == (97.0, 83.78, "smaller protocol")
    assert {row.verdict for row in rows if row.dataset == "cifar100"} == {"not run"}  # a block it has not


def test_small_numbers_keep_their_digits():
    tier = make_tier()
    store(tier.run(CIFAR10, "ST"), "geometry", METRICS | {"fdr_clean": 0.03127, "mean_sep": 81.2345})
    rows = [row for row in table_rows(tier, "table4") if row.dataset == "cifar10" and row.method == "ST"]
    fdr, angle = one(rows, column="fdr_clean"), one(rows, column="mean_sep")
    assert (fdr.ours, fdr.paper, fdr.difference, fdr.verdict) == (0.0313, 0.029, 0.0023, "match")
    assert (angle.ours, angle.difference, angle.verdict) == (81.23, -1.01, "match")


def test_the_papers_number_is_never_rounded():
    tier = make_tier()
    store(tier.run(CIFAR10, "ST"), "geometry", METRICS | {"fdr_clean": 12.3456})  # as an undivided Eq. (8) would be
    rows = table_rows(tier, "table4")
    assert one(rows, dataset="cifar10", method="ST", column="fdr_clean").paper == 0.029
    assert one(table_rows(tier, "table6"), dataset="cifar10", column="loss_40").paper == 1.2543  # nothing run


# --- Intervals


def test_an_accuracy_has_wilsons_interval_over_its_images():
    tier = make_tier()
    store(tier.run(CIFAR10, "AT"), "clean", {"accuracy": 80.0, "correct": 8000, "images": 10_000})
    row = one(table_rows(tier, "table1"), dataset="cifar10", method="AT", column="clean")
    assert (row.low, row.high, row.interval, row.images) == (79.2, 80.77, "images", 10_000)


def test_seeds_count_by_the_variance_that_all_methods_share():
    """AT's two seeds happen to agree; TRADES' do not, and what seeds do is one thing for both."""
    tier = make_tier(seeds=[0, 1], methods=["AT", "TRADES"])
    for method, values in (("AT", (80.0, 80.0)), ("TRADES", (78.0, 82.0))):
        for seed, value in enumerate(values):
            store(tier.run(CIFAR10, method, seed), "clean", value)
    spread = tables.seed_spread(tier, CIFAR10)
    assert spread.df == 2
    # TRADES: S^2 = 8, less the 4 % of images that differ: 0.04 * 5000 / 10000 = 0.02; AT's is 0
    assert spread.variance == pytest.approx((8 - 0.02) / 2, rel=1e-3)
    rows = [one(table_rows(tier, "table1"), dataset="cifar10", method=m, column="clean") for m in ("AT", "TRADES")]
    widths = [row.high - row.low for row in rows]
    assert widths[0] == pytest.approx(widths[1], rel=0.05)
    assert {row.interval for row in rows} == {"images and seeds"}
    assert [row.by_seed for row in rows] == ["80.00 80.00", "78.00 82.00"]


def test_a_method_with_one_seed_has_the_others_variance_too():
    """More information is never a wider interval: a method trained once would look surer than one trained twice."""
    tier = make_tier(more_seeds={"TRADES": [1]}, methods=["AT", "TRADES"])
    for method, seed, value in (("AT", 0, 80.0), ("TRADES", 0, 79.0), ("TRADES", 1, 81.0)):
        store(tier.run(CIFAR10, method, seed), "clean", value)
    alone, twice = (
        one(table_rows(tier, "table1"), dataset="cifar10", method=m, column="clean") for m in ("AT", "TRADES")
    )
    assert alone.high - alone.low > twice.high - twice.low


def test_without_a_second_seed_anywhere_only_images_count():
    tier = make_tier()
    store(tier.run(CIFAR10, "AT"), "clean", 80.0, images=1000)
    row = one(table_rows(tier, "table1"), method="AT", column="clean", dataset="cifar10")
    assert (row.low, row.high) == pytest.approx(wilson(800, 1000), abs=0.01)
    assert row.interval == "images"
    assert "Intervals are over test images." in markdown(table_rows(tier, "table1"), LABEL)


def test_avg_rests_on_the_images_that_clean_and_autoattack_share():
    """One definition for the tables and for the differences: clean on 1,000 and AutoAttack on 500 is Avg on 500."""
    tier = make_tier()
    store(tier.run(CIFAR10, "AT"), "clean", 80.0, np.arange(1000) >= 200, images=1000)
    store(tier.run(CIFAR10, "AT"), "aa", 50.0, np.arange(500) >= 250, images=500)
    row = one(table_rows(tier, "table1"), method="AT", column="avg", dataset="cifar10")
    assert (row.ours, row.images) == (55.0, 500)  # 60 % and 50 % of the first 500


def test_flags_that_are_missing_are_a_missing_number():
    run = make_tier().run(CIFAR10, "AT")
    store(run, "clean", 80.0)
    RESULTS.arrays(run, "clean").unlink()
    assert cell(run, "clean") is None


def test_the_ensembles_interval_comes_from_its_flags():
    tier = make_tier()
    for name in ("clean", *artefacts.ENSEMBLE):
        store(tier.run(CIFAR10, "OC"), name, 50.0, np.arange(100) < 50)
    row = one(table_rows(tier, "table2"), method="OC", column="ensemble", dataset="cifar10")
    assert (row.ours, row.images) == (50.0, 100)
    assert (row.low, row.high) == pytest.approx(wilson(50, 100), abs=0.01)


def test_means_have_a_normal_interval_over_images_and_metrics_none():
    run = make_tier().run(CIFAR10, "Adv-DPNP")
    store(run, "pgd20_random", {"accuracy": 50.0, "loss": 1.2, "loss_std": 2.0, "images": 400})
    store(run, "geometry", METRICS)
    loss = tables.measured(run, "pgd20_random.loss")
    assert (loss.low, loss.high) == pytest.approx((1.2 - 0.196, 1.2 + 0.196), abs=1e-4)
    assert tables.measured(run, "geometry.fdr_clean")[2:] == (None, None)


def test_a_metric_of_collapsed_features_is_a_dash():
    run = make_tier().run(CIFAR10, "Adv-DPNP")
    store(run, "geometry", METRICS | {"fdr_clean": math.nan})  # 0 / 0
    assert tables.measured(run, "geometry.fdr_clean") is None
    row = one(table_rows(make_tier(), "table4"), dataset="cifar10", method="Adv-DPNP", column="fdr_clean")
    assert (row.ours, row.verdict) == (None, "not run")


@pytest.mark.parametrize(("method", "definition", "shown"), [("AT_HE", 1, False), ("AT_HE", 2, True), ("AT", 1, True)])
def test_scr_of_features_that_no_head_compares_is_a_dash(method, definition, shown):
    """AT_HE's head compares unit features (ledger 21), which the first definition did not take."""
    run = make_tier().run(CIFAR10, method)
    store(run, "geometry", METRICS | {"definition": definition})
    assert (tables.measured(run, "geometry.scr_clean") is not None) is shown
    for name in ("fdr_clean", "afs_adv", "mean_sep"):  # no centers, or nothing but centers
        assert tables.measured(run, f"geometry.{name}") is not None


@pytest.mark.parametrize("field", ["loss", "loss_std"])
def test_a_loss_that_is_no_number_is_one_sentence(field):
    run = make_tier().run(CIFAR10, "Adv-DPNP")
    store(run, "pgd20_random", {"accuracy": 50.0, "loss": 1.2, "loss_std": 2.0, "images": 400} | {field: None})
    with pytest.raises(UserError, match=f"pgd20_random: {field} is no number .damaged"):
        tables.measured(run, "pgd20_random.loss")


def test_an_interval_stands_beside_its_number():
    tier = make_tier()
    store(tier.run(CIFAR10, "Adv-DPNP"), "pgd20", {"accuracy": 53.0, "correct": 5300})
    assert "| 53.00 [52.0, 54.0] ✓ |" in markdown(table_rows(tier, "table8"), LABEL)


# --- For people


def test_best_and_second():
    values = {"AT": 50.0, "TRADES": 52.0, "Adv-DPNP": 51.0}
    assert best_and_second(values, "aa") == ({"TRADES"}, {"Adv-DPNP"})
    assert best_and_second({}, "aa") == (set(), set())
    assert best_and_second({"AT": 20.5, "MART": 20.5, "IKL": 9.0}, "aa") == ({"AT", "MART"}, {"IKL"}), "a tie is shared"


@pytest.mark.parametrize("column", ["fdr_clean", "fdr_adv", "afs_clean", "afs_adv", "loss_20"])
def test_lower_is_better_for_scatter_and_loss(column):
    assert best_and_second({"AT": 0.2, "TRADES": 0.1, "MART": 0.3}, column) == ({"TRADES"}, {"AT"})


@pytest.mark.parametrize("column", ["scr_clean", "scr_adv", "mean_sep", "min_sep", "clean", "avg_accuracy"])
def test_higher_is_better_for_the_rest(column):
    assert best_and_second({"AT": 0.2, "TRADES": 0.1, "MART": 0.3}, column) == ({"MART"}, {"AT"})


def test_numbers_read_well():
    assert format_value(Cell(1, "d", "b", "AT", "clean")) == "–"
    assert format_value(Cell(1, "d", "b", "AT", "clean", ours=83.784)) == "83.78"
    assert format_value(Cell(1, "d", "b", "AT", "aa", ours=0.3)) == "0.30"  # as many digits as the rest of its column
    assert format_value(Cell(1, "d", "b", "AT", "fdr_clean", ours=0.0313)) == "0.031"
    assert format_value(Cell(1, "d", "b", "AT", "mean_sep", ours=95.3)) == "95.30"


@pytest.fixture
def clean_rows():
    """Table 1 with clean accuracies of four methods; ST has the highest."""
    tier = make_tier(blocks={CIFAR10: None})
    for method, value in {"ST": 94.0, "AT": 83.0, "TRADES": 81.0, "Adv-DPNP": 84.0}.items():
        store(tier.run(CIFAR10, method), "clean", value)
    return [row for row in table_rows(tier, "table1") if row.dataset == "cifar10"]


def test_columns_on_fewer_images_say_so():
    """AutoAttack on 500 of 1,000 images: its column must not be read against the others."""
    tier = make_tier("short", methods=["AT"], blocks={CIFAR10: None})
    run = tier.run(CIFAR10, "AT")
    store(run, "clean", 40.0, images=1000)
    store(run, "pgd20", 30.0, images=1000)
    text = markdown(table_rows(tier, "table1"), LABEL)
    assert "compare methods" not in text
    store(run, "aa", 25.0, images=500)
    text = markdown(table_rows(tier, "table1"), LABEL)
    counts = "the first 1,000 for clean, PGD-20 (linf); the first 500 for AutoAttack, Avg"
    assert f"Columns use different test images ({counts}): compare methods, not columns." in text


def test_markdown_marks_the_best_and_the_second_among_defenses(clean_rows):
    lines = markdown(clean_rows, LABEL).splitlines()
    assert LABEL in lines[0]
    head = (
        "clean ↑ | AutoAttack ↑ | Avg ↑ | PGD-100 (l1) ↑ | PGD-100 (l1, free step) ↑ | PGD-20 (l2) ↑ | PGD-20 (linf) ↑"
    )
    assert f"| method | {head} |" in lines
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
    assert rows["Adv-DPNP"].startswith("| Adv-DPNP | **84.00** [83.3, 84.7] ✓ | – |")
    assert lines[lines.index(rows["Adv-DPNP"]) + 1].startswith("| *the paper* | *84.63* | *49.18* |")
    assert rows["AT"].startswith("| AT | <u>83.00</u> [82.2, 83.7] ✓ |")
    assert rows["TRADES"].startswith("| TRADES | 81.00 [80.2, 81.8] ✓ |")
    assert rows["ST"].startswith("| ST | 94.00 [93.5, 94.5] ✓ |")  # defends against nothing, does not compete
    assert "MART" not in rows
    assert r"Not run: AT\_HE, MART, Adv-DPNP (as printed)." in lines
    assert "Not run: CIFAR-100, ResNet-18." in markdown(table_rows(make_tier(), "table1"), LABEL)


def test_the_paper_s_numbers_stand_beside_its_own_data_sets_alone(clean_rows):
    rows = [replace(row, dataset="digits") for row in clean_rows]
    assert "84.63" not in markdown(rows, LABEL)
    (block,) = render.blocks(rows)
    assert "94.39" not in render.html(block, "x")


def test_a_column_that_the_paper_lacks_stands_without_a_number_of_the_paper_s():
    tier = make_tier()
    for method, value in (("AT", 20.0), ("Adv-DPNP", 25.0)):
        store(tier.run(CIFAR10, method), "pgd100_l1", 2 * value)
        store(tier.run(CIFAR10, method), "pgd100_l1_free", value)
    rows = table_rows(tier, "table1")
    ours = one(rows, method="AT", dataset="cifar10", column="pgd_l1_free")
    assert (ours.ours, ours.paper, ours.difference, ours.verdict) == (20.0, None, None, "not reported")
    line, *_ = [line for line in markdown(rows, LABEL).splitlines() if line.startswith("| AT |")]  # CIFAR-10, then 100
    assert re.search(r"<u>40\.00</u>[^|]* ✗ \| <u>20\.00</u>[^|]* \| – \|", line)
    text = markdown(rows, LABEL)
    assert "| *51.04* |  | *63.72* |" in text
    (block,) = render.blocks(rows)
    assert render.html(block, "x").count("<small>51.04</small>") == 1


def test_latex_marks_the_same(clean_rows):
    text = latex(clean_rows, LABEL)
    assert f"CIFAR-10, ResNet-18. {LABEL}. Means over seeds" in text
    assert r"\label{tab:table1-cifar10-resnet18}" in text
    assert r"Method & clean $\uparrow$ & AutoAttack $\uparrow$ & Avg $\uparrow$ & PGD-100 (l1) $\uparrow$ &" in text
    assert r"Adv-DPNP & \textbf{84.00} {\scriptsize [83.3, 84.7]} & -- & -- & -- & -- & -- & -- \\" in text
    assert r"AT & \underline{83.00} {\scriptsize [82.2, 83.7]} & --" in text
    assert r"ST & 94.00 {\scriptsize [93.5, 94.5]} & --" in text
    assert r"AT\_HE" not in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\begin{table}") == 1
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


def test_a_table_of_one_method_marks_nothing():
    tier = make_tier()
    store(tier.run(CIFAR10, "Adv-DPNP"), "pgd20", 53.0)
    rows = table_rows(tier, "table8")
    assert "53.00 [52.0, 54.0] ✓ |" in markdown(rows, LABEL)
    assert "**53" not in markdown(rows, LABEL)
    assert "textbf" not in latex(rows, LABEL)


def test_seeds_are_said_where_the_interval_is_over_them():
    tier = make_tier(seeds=[0, 1])
    for seed, value in ((0, 84.0), (1, 86.0)):
        store(tier.run(CIFAR10, "Adv-DPNP", seed), "clean", value)
    rows = table_rows(tier, "table1")
    text = markdown(rows, LABEL)
    assert "over test images and seeds, whose variance is pooled over all methods trained more than once" in text
    row = one(rows, dataset="cifar10", method="Adv-DPNP", column="clean")
    assert f"| 85.00 [{row.low:.1f}, {row.high:.1f}] ✓ |" in text
    assert "& 85.00 {" in latex(rows, LABEL)


def test_blocks_keep_the_papers_order():
    shaped = tables.paper_shaped(table_rows(load_tier("paper"), "table2"))
    assert list(shaped) == [
        ("cifar10", "resnet18"),
        ("cifar100", "resnet18"),
        ("svhn", "resnet18"),
        ("cifar10", "wrn34_10"),
    ]
    assert list(shaped["svhn", "resnet18"]) == ["FSR", "DIO", "IKL", "Adv-DPNP"]


# --- Figures in numbers


def store_arrays(run, name, **arrays):
    """Arrays as `evaluate` leaves them beside a JSON."""
    store(run, name, {"accuracy": 0.0})
    np.savez(RESULTS.arrays(run, name), **arrays)


def two_fans(turn, center=60.0):
    """Features of two classes, each a ray `turn` degrees either side of 0 and 90; centers 0 and `center` degrees."""
    radians = np.radians([-turn, turn, 90 - turn, 90 + turn, 0, center])
    points = np.stack([np.cos(radians), np.sin(radians)], 1)
    return points[:4], points[4:]


def test_the_figures_are_those_that_the_paper_draws():
    assert tuple(FIGURES) == DRAWN


@pytest.mark.parametrize("name", FIGURES)
def test_a_figures_rows_have_no_number_of_the_papers(name):
    rows = table_rows(load_tier("paper"), name)
    assert {(row.table, row.paper, row.difference, row.verdict) for row in rows} == {(name, None, None, "not run")}


def test_the_paper_tier_has_nothing_to_compare_a_figure_with():
    for tier, said in ((make_tier(), "not reported"), (make_tier("short"), "smaller protocol")):
        store(tier.run(CIFAR10, "Adv-DPNP"), "fgsm_eps4", {"accuracy": 70.0, "correct": 7000})
        row = one(table_rows(tier, "figure4"), dataset="cifar10", column="fgsm_eps4")
        assert (row.ours, row.paper, row.difference, row.verdict) == (70.0, None, None, said)


def test_figure_2_is_computed_from_the_stored_features():
    tier = make_tier(blocks={MNIST: None})
    run = tier.run(MNIST, "AT")
    (clean, centers), (adversarial, _) = two_fans(5), two_fans(20)
    store_arrays(run, "features", clean=clean, adv=3 * adversarial, labels=np.array([0, 0, 1, 1]), centers=centers)
    rows = [row for row in table_rows(tier, "figure2") if row.method == "AT"]
    found = {row.column: row.ours for row in rows}
    expected = {
        "angular_median_clean": 5.0,
        "angular_rms_adv": 20.0,
        "radial_clean": 0,
        "gap_clean": 90.0,
        "gap_adv": 90,
    }
    assert {column: found[column] for column in expected} == expected
    assert one(rows, column="angular_q90_adv").images == 4


def test_figure_2_shows_one_network_whatever_the_seeds():
    tier = make_tier(seeds=[0, 1], blocks={MNIST: None})
    for seed, turn in ((0, 5), (1, 20)):
        features, centers = two_fans(turn)
        store_arrays(tier.run(MNIST, "AT", seed), "features", clean=features, adv=features,
                     labels=np.array([0, 0, 1, 1]), centers=centers)  # fmt: skip
    row = one(table_rows(tier, "figure2"), method="AT", column="angular_rms_clean")
    assert (row.ours, row.seeds) == (5.0, 1)


def test_figure_3_takes_one_severity_over_all_corruptions_with_an_interval_over_images():
    tier = make_tier()
    correct = np.zeros((19, 5, 4), bool)
    correct[:, 1, :2] = True  # severity 2: two of four images right under all corruptions
    correct[0, 2, :] = True  # severity 3: all four, under one corruption of 19
    names = [name for kind in CORRUPTION_TYPES.values() for name in kind]  # the first is noise
    store(tier.run(CIFAR10, "AT"), "corruptions", {"accuracy": 100 * correct.mean(), "images": 4,
                                                   "accuracies": dict.fromkeys(names)}, correct)  # fmt: skip
    rows = [row for row in table_rows(tier, "figure3") if row.method == "AT"]
    assert [row.ours for row in rows] == [0.0, 50.0, 5.26, 0.0, 0.0, 15.0, 10.0, 10.0, 10.0]
    two = one(rows, column="severity_2")
    assert (two.low, two.high) == pytest.approx(wilson(2, 4), abs=0.01)  # four images, not 76
    assert one(rows, column="severity_2").interval == "images"


@pytest.mark.parametrize(
    ("name", "source"), [("features", "features.gap_clean"), ("corruptions", "corruptions.severity_1")]
)
def test_arrays_of_another_shape_are_refused_and_missing_ones_are_not_run(name, source):
    run = make_tier(blocks={CIFAR10: None, MNIST: None}).run(MNIST, "AT")
    store(run, name, 50.0)
    RESULTS.arrays(run, name).unlink()
    assert cell(run, source) is None
    wrong = np.zeros(3)
    store_arrays(run, name, correct=wrong, clean=wrong, adv=wrong, labels=wrong, centers=wrong)
    with pytest.raises(UserError, match=rf"{name}.npz: .* cannot be taken from it \(damaged\?\)"):
        cell(run, source)


def test_the_severities_of_figure_3_average_to_table_5_on_what_is_published():
    tier = load_tier("short")
    average = {row.method: row.ours for row in table_rows(tier, "table5", PUBLISHED)}
    for method, ours in average.items():
        rows = [row for row in table_rows(tier, "figure3", PUBLISHED) if row.method == method]
        severities = [row.ours for row in rows if row.column.startswith("severity")]
        assert len(severities) == 5
        assert statistics.fmean(severities) == pytest.approx(ours, abs=0.01)


def test_a_figure_has_no_column_for_the_paper():
    text = markdown(table_rows(load_tier("short"), "figure2", PUBLISHED), LABEL)
    assert "Means over seeds [95 % intervals]" in text
    assert "the paper*" not in text
    assert "| method | clean ↑ | PGD-40 ↑ | median angle, clean ↓ |" in text
    ours = text.partition("| Adv-DPNP |")[2]
    assert re.search(r"\| \*\*0\.\d+\*\* \| \*\*0\.\d+\*\* \| \*\*\d+\.\d+\*\* \|", ours)  # less variation, wider gap


def test_figure_4_runs_down_and_its_points_do_not_compete():
    tier = make_tier(blocks={CIFAR10: None})
    for attack, value in (("clean", 84.0), ("fgsm_eps4", 70.0), ("pgd20_fig4_eps4", 69.0), ("fgsm_eps8", 58.0)):
        store(tier.run(CIFAR10, "Adv-DPNP"), attack, value)
    lines = markdown(table_rows(tier, "figure4"), LABEL).splitlines()
    start = lines.index("| epsilon (1/255) | FGSM ↑ | PGD-20 ↑ |")
    assert lines[start + 2 : start + 5] == [
        "| clean | 84.00 [83.3, 84.7] | 84.00 [83.3, 84.7] |",
        "| 4 | 70.00 [69.1, 70.9] | 69.00 [68.1, 69.9] |",
        "| 8 | 58.00 [57.0, 59.0] | – |",
    ]
    assert "Not run: 16, 24, 32, 48, 64, 96, 128." in lines
    assert lines[-1] == "Not run: CIFAR-100, ResNet-18."
    assert r"Epsilon (1/255) & FGSM $\uparrow$ & PGD-20 $\uparrow$ \\" in latex(table_rows(tier, "figure4"), LABEL)


@pytest.mark.parametrize("name", [*TABLES, *FIGURES])
def test_the_published_csv_is_what_the_published_results_give(name, tmp_path):
    """The report is made from the results, the CSV by a notebook: one must not grow older than the other."""
    published = PUBLISHED.table("short", name)
    rows = table_rows(load_tier("short"), name, PUBLISHED)
    assert published.read_text() == write_csv(tmp_path / "now.csv", map(asdict, rows), COLUMNS).read_text()
    assert rows
