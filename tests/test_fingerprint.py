"""Which reading of Eq. (3): eight quantities, the paper's side of them from its files, and the rule that decides."""

import importlib.util
import json
import math
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

from advdpnp.config import ROOT, digest, load_tier, parse_tier, resolve
from advdpnp.errors import UserError
from advdpnp.paper import artefacts
from advdpnp.paper.artefacts import CIFAR10, CIFAR100
from advdpnp.paper.numbers import reported
from advdpnp.report import figures, fingerprint, page
from advdpnp.report.fingerprint import FITS, QUANTITIES, decide, least_distance, log_distance, over, paper_fingerprint
from advdpnp.store import PUBLISHED, RESULTS, Store, write_json

LEDGER = (Path(__file__).parent.parent / "docs" / "ledger.md").read_text()
RULE = LEDGER.partition("### Which reading of Eq. (3)")[2].partition("\n### ")[0]
VARIANTS = {
    "printed": {"adv_dpnp": {"pull": "sum"}},
    "norm": {"adv_dpnp": {"pull": "norm"}},
    "balanced": {"adv_dpnp": {"pull": "sum", "lambda_dnp": 0.283}},
}
AT = {"fdr_clean": 0.2, "fdr_adv": 0.5, "afs_clean": 1.0, "afs_adv": 2.0}
RAW = {  # of a network whose fingerprint is 0.9, 0.9, 90, 80, and 1/2, 3/5, 7/10, 4/5 of AT's
    "scr_clean": 2**0.5 / 0.9, "scr_adv": 2**0.5 / 0.9, "mean_sep": 90.0, "min_sep": 80.0,
    "fdr_clean": 0.1, "fdr_adv": 0.3, "afs_clean": 0.7, "afs_adv": 1.6,
}  # fmt: skip


def make_tier(**changes):
    raw = {"label": "a test", "seeds": [0, 1], "blocks": {CIFAR10: None}, "variants": VARIANTS}
    return parse_tier("mine", raw | changes, "mine.toml")


def store(run, name="geometry", **values):
    path = RESULTS.evaluation(run, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": 1000} | values))


def stored_run(tier, factor, seed=0, variant=""):
    """A network each of whose quantities is `factor` times the paper's, with AT's of the seed beside it."""
    store(tier.run(CIFAR10, "AT", seed), **RAW | AT)
    run, paper = tier.run(CIFAR10, "Adv-DPNP", seed, variant), paper_fingerprint()
    found = {name: factor * paper[name] * AT.get(name, 1) for name in QUANTITIES}
    chord = 2 * math.sin(math.radians(found["mean_sep"] / 2))
    store(run, **found | {f"scr_{side}": chord / found[f"distance_{side}"] for side in ("clean", "adv")})
    return run


# --- The paper's side


def test_the_paper_s_distance_is_what_its_angles_and_scr_imply():
    # 2 sin(95.32 / 2 degrees) = 1.4783 over 1.681 and 1.615
    paper = paper_fingerprint()
    assert paper["distance_clean"] == pytest.approx(1.4783 / 1.681, rel=1e-4)
    assert paper["distance_adv"] == pytest.approx(1.4783 / 1.615, rel=1e-4)
    assert paper_fingerprint(CIFAR100)["distance_clean"] == pytest.approx(0.941, abs=5e-4)


def test_the_paper_s_ratios_are_those_of_its_table_4():
    def table4(method, column):
        return reported(4, dataset="cifar10", backbone="resnet18", method=method, column=column)

    paper = paper_fingerprint()
    for name in ("fdr_clean", "fdr_adv", "afs_clean", "afs_adv"):
        assert paper[name] == table4("Adv-DPNP", name) / table4("AT", name)
    assert (paper["mean_sep"], paper["min_sep"]) == (table4("Adv-DPNP", "mean_sep"), table4("Adv-DPNP", "min_sep"))


def test_the_ledger_names_the_quantities_that_the_code_counts():
    numbers = [
        paper_fingerprint(block)[f"distance_{side}"] for block in (CIFAR10, CIFAR100) for side in ("clean", "adv")
    ]
    assert len(QUANTITIES) == 8
    for number in numbers:
        assert f"{number:.3f}" in RULE
    paper = paper_fingerprint()
    assert f"| {paper['mean_sep']:.2f}, {paper['min_sep']:.2f} |" in RULE
    assert "below log 1.25 for both seeds" in RULE
    assert pytest.approx(math.log(1.25)) == FITS


# --- Distances


def test_log_distance_counts_each_quantity_whichever_side_it_is_on():
    paper = paper_fingerprint()
    assert log_distance(paper, paper) == 0
    twice = {name: 2 * value for name, value in paper.items()}
    assert log_distance(twice, paper) == pytest.approx(8 * math.log(2))
    half = paper | {"min_sep": paper["min_sep"] / 2, "fdr_adv": 2 * paper["fdr_adv"]}
    assert log_distance(half, paper) == pytest.approx(2 * math.log(2))


def test_a_distance_needs_all_eight_and_a_collapsed_quantity_is_infinitely_far():
    paper = paper_fingerprint()
    for name in QUANTITIES:
        assert log_distance(paper | {name: None}, paper) is None
        twice = {key: 2 * value for key, value in paper.items()} | {name: None}
        assert least_distance(twice, paper) == pytest.approx(7 * math.log(2))
        assert log_distance(paper | {name: 0.0}, paper) == math.inf


def test_scatter_is_counted_in_multiples_of_at_s():
    own = {"fdr_clean": 0.1, "fdr_adv": 0.3, "afs_clean": None, "afs_adv": 1.0}
    at = {"fdr_clean": 0.2, "fdr_adv": None, "afs_clean": 1.0, "afs_adv": 0.0}
    assert over(own, at) == {"fdr_clean": 0.5, "fdr_adv": None, "afs_clean": None, "afs_adv": None}


# --- The rule

NEAR, FAR = 8 * 0.9 * FITS, 8 * 1.1 * FITS  # sums whose mean is just below and just above the threshold


def test_the_reading_that_fits_with_the_smallest_distance_is_chosen():
    # norm is nearer in both seeds; sum is far away in both
    found = decide({"sum": {0: FAR, 1: FAR}, "mean": {0: 0.8, 1: 0.9}, "norm": {0: 0.5, 1: 0.6}})
    assert found.pull == "norm"
    assert "`norm` 0.55, `mean` 0.85" in found.why


def test_one_seed_beyond_the_threshold_does_not_fit():
    found = decide({"sum": {0: NEAR, 1: NEAR}, "mean": {0: 0.1, 1: FAR}, "norm": {0: FAR, 1: 0.1}})
    assert found.pull == "sum"
    assert "smallest distance" in found.why
    assert "mean" not in found.why.partition("seeds: ")[2]


def test_a_mean_at_the_threshold_does_not_fit():
    at = 8 * FITS
    assert "no reading fits" in decide({name: {0: at, 1: at} for name in ("sum", "mean", "norm")}).why


def test_sum_stays_where_nothing_fits():
    found = decide({"sum": {0: 9.0, 1: 9.0}, "mean": {0: FAR, 1: FAR}, "norm": {0: 0.1, 1: FAR}})
    assert found.pull == "sum"
    assert "no reading fits" in found.why


def test_mean_is_taken_where_the_two_best_change_places():
    """Even from a norm that is nearer on average, or from two that are not `mean`: the rule says so."""
    found = decide({"sum": {0: FAR, 1: FAR}, "mean": {0: 0.5, 1: 0.9}, "norm": {0: 0.7, 1: 0.6}})
    assert found.pull == "mean"
    assert "`norm` and `mean` change places" in found.why
    assert "`norm` 0.65, `mean` 0.70" in found.why
    assert decide({"sum": {0: 0.1, 1: 0.3}, "mean": {0: 1.0, 1: 1.0}, "norm": {0: 0.2, 1: 0.1}}).pull == "mean"


def test_the_third_best_may_change_places_without_a_say():
    found = decide({"sum": {0: 0.1, 1: 0.2}, "mean": {0: 0.5, 1: 0.9}, "norm": {0: 0.6, 1: 0.7}})
    assert found.pull == "sum"


def test_other_readings_decide_nothing():
    counted = {"sum": {0: FAR, 1: FAR}, "mean": {0: 0.5, 1: 0.5}, "norm": {0: 0.7, 1: 0.7}}
    assert decide(counted | {"balanced": {0: 0.0, 1: 0.0}}) == decide(counted)


@pytest.mark.parametrize(
    ("distances", "lacking"),
    [
        ({"sum": {0: 1.0, 1: 1.0}, "mean": {0: 0.5, 1: 0.5}}, "norm"),
        ({"sum": {0: 1.0, 1: 1.0}, "mean": {0: 0.5}, "norm": {0: 1.0, 1: 1.0}}, "mean"),
        ({"sum": {0: 1.0, 1: None}, "mean": {0: 0.5, 1: 0.5}, "norm": {0: 1.0, 1: 1.0}}, "sum"),
        ({"sum": {0: 1.0}, "mean": {0: 0.5}, "norm": {0: 1.0}}, "sum, mean, norm"),
        ({}, "sum, mean, norm"),
    ],
    ids=["a reading is missing", "a seed is missing", "a number is missing", "one seed", "nothing"],
)
def test_nothing_is_decided_before_every_reading_has_two_seeds(distances, lacking):
    found = decide(distances)
    assert found.pull is None
    assert found.why.endswith(f": {lacking}")


def test_what_is_too_far_by_what_was_measured_needs_no_more_to_be_ruled_out():
    distances = {"sum": {0: None, 1: None}, "mean": {0: 0.5, 1: 0.6}, "norm": {0: 0.7, 1: 0.8}}
    assert decide(distances, {"sum": {0: FAR, 1: NEAR}}).pull == "mean"
    assert decide(distances, {"sum": {0: NEAR, 1: NEAR}}) == decide(distances)
    assert decide(distances).pull is None
    assert "no reading fits" in decide({}, {name: {0: FAR} for name in ("sum", "mean", "norm")}).why


# --- A tier's networks


def test_readings_are_named_by_their_pull_and_others_by_their_variant():
    found = [
        (name, decides, run.variant, run.seed) for name, decides, run in fingerprint.readings(make_tier(seeds=[0]))
    ]
    assert found == [
        ("sum", True, "printed", 0), ("mean", True, "", 0), ("norm", True, "norm", 0),
        ("balanced", False, "balanced", 0),
    ]  # fmt: skip


def test_a_changed_default_is_counted_by_its_pull_too():
    tier = make_tier(
        seeds=[0], variants={"norm": {"adv_dpnp": {"pull": "norm"}}}, defaults={"adv_dpnp": {"pull": "sum"}}
    )
    assert [(name, decides) for name, decides, _ in fingerprint.readings(tier)] == [("sum", True), ("norm", True)]


@pytest.mark.parametrize("name", ["demo", "short", "medium", "paper"])
def test_every_tier_has_the_readings_of_its_variants(name):
    """No tier is named in the code; what a tier does not train is left out. Its notebook is Table 4's."""
    tier = load_tier(name)
    runs = [run for _, _, run in fingerprint.readings(tier)]
    wanted = {"", *(v for v in artefacts.artefact("readings").variants if v in tier.variants)}
    assert {run.variant for run in runs} == wanted
    assert {run.method for run in runs} == {"Adv-DPNP"}
    table4 = {run.id for run in artefacts.runs_of(tier, "table4")}
    assert {tier.run(run.block, "AT", run.seed).id for run in runs} <= table4, "the same job brings AT's geometry"
    assert "readings" in artefacts.with_notebook()
    assert artefacts.output_of("readings") == artefacts.output_of("table4")


def test_a_row_is_a_reading_and_a_seed_with_its_own_at():
    tier = make_tier(seeds=[0])
    store(tier.run(CIFAR10, "AT"), **RAW | AT)
    store(tier.run(CIFAR10, "Adv-DPNP"), **RAW)
    (row,) = fingerprint.rows(tier)
    assert (row["reading"], row["seed"], row["decides"]) == ("mean", 0, True)
    assert [row[name] for name in QUANTITIES] == pytest.approx([0.9, 0.9, 90, 80, 0.5, 0.6, 0.7, 0.8])
    assert row["log_distance"] == pytest.approx(log_distance(row, paper_fingerprint()))
    assert row["at_least"] == row["log_distance"]
    assert tuple(row) == fingerprint.COLUMNS
    assert (row["clean"], row["loss"]) == (None, None)


def test_pgd_s_cross_entropy_stands_beside_the_accuracy():
    tier = make_tier(seeds=[0])
    run = stored_run(tier, 1.0)
    store(run, "pgd20", accuracy=26.2, loss=1.93, loss_std=0.8)
    (row,) = fingerprint.rows(tier)
    assert row["loss"] == 1.93


def test_the_rule_is_applied_to_the_stored_networks():
    tier = make_tier()
    for seed in (0, 1):
        stored_run(tier, 1.1, seed)
        stored_run(tier, 0.5, seed, "printed")
        stored_run(tier, 1.05, seed, "norm")
        stored_run(tier, 1.0, seed, "balanced")
    measured = fingerprint.rows(tier)
    assert {row["reading"]: row["fits"] for row in measured} == {
        "sum": False, "mean": True, "norm": True, "balanced": True,
    }  # fmt: skip
    assert fingerprint.decision(measured).pull == "norm"
    text = fingerprint.markdown(tier, measured)
    assert "The rule says **`norm`**, where the default has `mean`" in text
    assert "Left out" not in text
    assert "| `balanced` † | 1 |" in text
    assert "| paper, CIFAR-10 |  | 0.879 | 0.915 | 95.32 | 94.51 |" in text
    assert "| regular simplex, 10 classes |  |  |  | 96.38 | 96.38 |" in text


def test_what_is_missing_is_left_out_and_said():
    """A network without geometry, and one whose AT is missing."""
    tier = make_tier()
    stored_run(tier, 1.0, 0)
    stored_run(tier, 0.5, 0, "printed")
    store(tier.run(CIFAR10, "Adv-DPNP", 1), **RAW)
    measured = fingerprint.rows(tier)
    assert [(row["reading"], row["seed"]) for row in measured] == [("sum", 0), ("mean", 0), ("mean", 1)]
    assert [row["log_distance"] is None for row in measured] == [False, False, True]
    assert [row["fits"] for row in measured] == [False, True, None]
    assert "| ≥ " in fingerprint.markdown(tier, measured)
    text = fingerprint.markdown(tier, measured)
    assert "The rule decides nothing here: not measured for 2 seeds of each reading: mean, norm" in text
    assert "adv_dpnp-s1 (without fdr_clean, fdr_adv, afs_clean, afs_adv)" in text
    assert "adv_dpnp.norm-s0 (not measured)" in text


def test_results_may_lie_elsewhere(tmp_path, monkeypatch):
    tier = make_tier(seeds=[0])
    stored_run(tier, 1.0)
    here = Store(RESULTS.tier("mine").parent)
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path / "other"))
    assert not fingerprint.rows(tier)
    assert len(fingerprint.rows(tier, here)) == 1


def test_the_report_has_the_readings_of_what_is_published():
    text = page.report_markdown(load_tier("short"), PUBLISHED).partition("\n## The readings of Eq. (3)\n")[2]
    section = text.partition("\n## ")[0]
    assert "| paper, CIFAR-10 |" in section
    assert "| `sum` | 0 |" in section
    assert "The rule " in section


def test_a_tier_without_networks_says_so():
    assert fingerprint.markdown(make_tier(), []) == "No reading of Eq. (3) was measured in this tier."


# --- The picture


def test_the_picture_has_a_dot_per_quantity_reading_and_seed():
    tier = make_tier(more_seeds={"Adv-DPNP": [2]})
    for seed in (0, 1):
        stored_run(tier, 1.1, seed)
        stored_run(tier, 0.5, seed, "balanced")
    store(tier.run(CIFAR10, "Adv-DPNP", 2, "printed"), **RAW)  # its AT is missing, and with it four quantities
    measured = fingerprint.rows(tier)
    fig = figures.fingerprint(measured, paper_fingerprint(), QUANTITIES, FITS)
    (ax,) = fig.axes
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert sorted(lines["mean"].get_xdata()) == pytest.approx([1.1] * 16)
    assert sorted(lines["balanced (not counted)"].get_xdata()) == pytest.approx([0.5] * 16)
    assert len(lines["sum"].get_xdata()) == 4
    assert ax.get_xscale() == "log"
    low, high = ax.get_xlim()
    assert low < 0.5 < 1.1 < high
    assert fig.get_figwidth() <= 7.5
    rows = [round(float(y)) for y in lines["mean"].get_ydata()]
    assert {row: rows.count(row) for row in rows} == dict.fromkeys(range(8), 2), "lanes stay in their row"


LEDGER_PAGE = (PUBLISHED.root.parent / "docs" / "ledger.md").read_text()
FLOAT32 = json.loads((PUBLISHED.root / "benchmarks" / "variants-float32.json").read_text())["runs"]


spec = importlib.util.spec_from_file_location("float32_variants", ROOT / "tools" / "float32_variants.py")
float32_variants = importlib.util.module_from_spec(spec)
spec.loader.exec_module(float32_variants)


def test_what_goes_into_the_file_is_made_by_its_tool(tmp_path, monkeypatch):
    """The default, and a variant on whose images it is two of ten behind; another precision is refused."""
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    flags = {"": np.arange(10) < 8, ".best_epoch": np.arange(10) < 6}
    for variant, right in flags.items():
        run = resolve("short", f"cifar10-resnet18-adv_dpnp{variant}-s0")
        write_json(RESULTS.trained(run), {"precision": "fp32"})
        for name in float32_variants.ACCURACIES:
            write_json(RESULTS.evaluation(run, name), {"images": 10, "accuracy": 10.0 * right.sum()})
            np.savez(RESULTS.arrays(run, name), correct=right)
        geometry = FLOAT32["cifar10-resnet18-adv_dpnp-s0"]["evaluations"]["geometry"]
        write_json(RESULTS.evaluation(run, "geometry"), geometry)
    told = float32_variants.entry(run.id)
    assert told["minus_default"]["pgd20"]["difference"] == -20
    assert told["fingerprint"] == FLOAT32["cifar10-resnet18-adv_dpnp-s0"]["fingerprint"]
    write_json(RESULTS.trained(run), {"precision": "bf16"})
    with pytest.raises(UserError, match="expected a training in fp32, got bf16"):
        float32_variants.entry(run.id)


READINGS_IN_FLOAT32 = [name for name in FLOAT32 if "adv_dpnp" in name]


@pytest.mark.parametrize("name", FLOAT32)
def test_what_was_trained_in_float32_is_told_by_its_run(name):
    told, run = FLOAT32[name], resolve("short", name)
    assert told["train"]["settings_digest"] == digest(run.training_settings())
    assert told["train"]["precision"] == "fp32"
    assert {found["model_sha256"] for found in told["evaluations"].values()} == {told["train"]["model_sha256"]}


@pytest.mark.parametrize("name", READINGS_IN_FLOAT32)
def test_the_variants_in_float32_tell_what_their_evaluations_do(name):
    told = FLOAT32[name]
    measured = told["evaluations"]
    distance = log_distance(told["fingerprint"], paper_fingerprint()) / len(QUANTITIES)
    assert told["mean_log_distance"] == pytest.approx(distance, abs=1e-3)
    geometry, quantities = measured["geometry"], told["fingerprint"]
    for quantity in ("mean_sep", "min_sep"):
        assert quantities[quantity] == pytest.approx(geometry[quantity], abs=1e-4)
    for side in ("clean", "adv"):
        implied = fingerprint.implied_distance(geometry["mean_sep"], geometry[f"scr_{side}"])
        assert quantities[f"distance_{side}"] == pytest.approx(implied, abs=1e-4)


def test_pages_quote_what_was_trained_in_float32_as_measured():
    root = PUBLISHED.root.parent / "docs"
    variants = {
        "findings.md": ("slow_prototypes-s1", "balanced-s1"),
        "ledger.md": ("composite-s0", "train_bn-s0", "detached-s0", "best_epoch-s0"),
    }
    quoted = [(page, f"adv_dpnp.{run}", "mean_sep") for page, runs in variants.items() for run in runs]
    for page_name, run, last in [*quoted, ("findings.md", "at-s0", "")]:
        paragraphs = re.split(r"\n- |\n\| ", (root / page_name).read_text())
        measured = FLOAT32[f"cifar10-resnet18-{run}"]["evaluations"]
        values = [f"{measured[attack]['accuracy']:.1f}" for attack in ("clean", "pgd20", "cw30")[: 2 if last else 3]]
        values += [f"{measured['geometry'][last]:.1f}"] if last else []
        if page_name == "ledger.md":
            default = FLOAT32["cifar10-resnet18-adv_dpnp-s0"]["evaluations"]
            values = [f"{value} and {default[a]['accuracy']:.1f}" for value, a in zip(values, ("clean", "pgd20"))]
        told = (text for text in paragraphs if "variants-float32" in text)
        assert any(all(value in text for value in values) for text in told), (page_name, run)


def test_what_the_two_l1_steps_leave_is_quoted_as_measured():
    page = (PUBLISHED.root.parent / "docs/findings.md").read_text()
    (told,) = re.findall(r"\*\*What an l1 attack that does not stall.*?(?=\n\n|\n- )", page, re.S)
    ours, at = (FLOAT32[f"cifar10-resnet18-{name}-s0"]["evaluations"] for name in ("adv_dpnp", "at"))
    stalls, free = "pgd100_l1", "pgd100_l1_free"
    assert f"{ours[free]['accuracy']:.1f} % of Adv-DPNP and {at[free]['accuracy']:.1f} % of AT" in told
    assert f"leaves {ours[stalls]['accuracy']:.1f} and {at[stalls]['accuracy']:.1f} %" in told
    assert {of[name]["images"] for of in (ours, at) for name in (stalls, free)} == {1000}
    for name, words in ((stalls, "{:.1f} points [{:.1f}, {:.1f}]"), (free, "{:.1f} [{:.1f}, {:.1f}]")):
        found = FLOAT32["cifar10-resnet18-at-s0"]["minus_default"][name]  # AT minus ours
        assert words.format(-found["difference"], -found["high"], -found["low"]) in told


def test_the_unit_features_of_at_he_are_quoted_as_measured():
    page = (PUBLISHED.root.parent / "docs/findings.md").read_text()
    (told,) = re.findall(r"\*\*AT_HE by what.*?(?=\n\n|\n- )", page, re.S)
    measured = FLOAT32["cifar10-resnet18-at_he-s0"]["evaluations"]
    clean, pgd20, cw30 = (measured[attack]["accuracy"] for attack in ("clean", "pgd20", "cw30"))
    assert f"clean {clean:.1f} %, PGD-20 {pgd20:.1f} and C&W {cw30:.1f}" in told
    found = measured["geometry"]
    assert found["unit_features"] is True
    assert f"SCR {found['scr_clean']:.3f}, under attack {found['scr_adv']:.3f}" in told
    assert f"class means as centers {found['scr_means_clean']:.3f} and {found['scr_means_adv']:.3f}" in told
    for metric in ("fdr", "afs"):
        assert f"{metric.upper()} {found[f'{metric}_clean']:.3f} and {found[f'{metric}_adv']:.3f}" in told
    assert f"MeanSep {found['mean_sep']:.1f}°" in told
    assert f"mean distance of {found['distance_clean']:.2f} from" in told
    assert f"SCR {found['scr_clean']:.3f} and under attack {found['scr_adv']:.3f}" in LEDGER_PAGE
    for method, quoted in (("st", "({:.3f}) would be the lowest"), ("adv_dpnp", "({:.3f}) the highest")):
        seeds = PUBLISHED.tier("short").glob(f"evals/cifar10-resnet18-{method}-s?/geometry.json")
        assert quoted.format(np.mean([json.loads(path.read_text())["scr_adv"] for path in seeds])) in told


def test_what_the_precision_moved_is_quoted_as_published():
    text = (PUBLISHED.root.parent / "docs" / "findings.md").read_text()
    evals = PUBLISHED.tier("short") / "evals" / "cifar10-resnet18-at-s0"
    clean, pgd20 = (json.loads((evals / f"{name}.json").read_text())["accuracy"] for name in ("clean", "pgd20"))
    assert f"the published bfloat16 network has clean {clean:.1f} and PGD-20 {pgd20:.1f}" in text
    own = FLOAT32["cifar10-resnet18-at-s0"]["evaluations"]
    moved = {abs(own["clean"]["accuracy"] - clean), abs(own["pgd20"]["accuracy"] - pgd20)}
    assert f"So {max(moved):.1f} points between one network in float32" in text


def test_what_the_kept_epoch_is_worth_is_quoted_as_measured():
    (told,) = re.findall(
        r"\*\*Which epoch is kept.*?(?=\n\n|\n- )", (PUBLISHED.root.parent / "docs/findings.md").read_text(), re.S
    )
    best = FLOAT32["cifar10-resnet18-adv_dpnp.best_epoch-s0"]
    clean, pgd20, cw30 = (best["minus_default"][attack] for attack in ("clean", "pgd20", "cw30"))
    assert f"by {-clean['difference']:.1f} points clean [{-clean['high']:.1f}, {-clean['low']:.1f}]" in told
    assert f"by {-pgd20['difference']:.1f} under PGD-20 [{-pgd20['high']:.1f}, {-pgd20['low']:.1f}]" in told
    assert f"by {-cw30['difference']:.1f} under C&W" in told
    for when in ("checkpoint", "final"):
        assert f"{best['train'][when]['val_adv']:.1f}" in told
