"""The measured effects of the ledger's switches: paired, from stored flags, nothing made up where nothing ran."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from advdpnp.config import load_tier, parse_tier
from advdpnp.evaluate import resolved_attack
from advdpnp.paper import artefacts
from advdpnp.paper.artefacts import CIFAR10
from advdpnp.paper.numbers import table_rows as reported_rows
from advdpnp.report import ablations
from advdpnp.report.figures import effects as draw
from advdpnp.report.tables import table_rows
from advdpnp.store import PUBLISHED, RESULTS
from advdpnp.train import changed_settings

VARIANTS = {
    "printed": {"adv_dpnp": {"pull": "sum"}},
    "unlocked": {"adv_dpnp": {"pull": "sum", "lock_prototypes": False}},
    "undecayed": {"adv_dpnp": {"pull": "sum", "decay_prototypes": False}},
    "signed": {"adv_dpnp": {"pull": "sum"}, "model": {"last_relu": False}},
}


@pytest.fixture
def tier():
    return parse_tier(
        "mine", {"label": "a test", "seeds": [0, 1], "blocks": {CIFAR10: None}, "variants": VARIANTS}, "x"
    )


def store(run, attack, correct=None, **values):
    path = RESULTS.evaluation(run, attack)
    path.parent.mkdir(parents=True, exist_ok=True)
    if correct is not None:
        correct = np.array(correct, bool)
        np.savez(path.with_suffix(".npz"), correct=correct)
        values = {"accuracy": 100 * correct.mean()} | values
    path.write_text(json.dumps({"images": 0 if correct is None else len(correct)} | values))


def by_choice(rows, choice, measure):
    (row,) = [row for row in rows if choice in row["choice"] and row["measure"] == measure]
    return row


def test_every_switch_names_evaluations_that_are_made_and_an_entry_of_the_ledger():
    spec = artefacts.artefact("ledger")
    text = (Path(__file__).parent.parent / "docs" / "ledger.md").read_text()
    for switch in ablations.SWITCHES:
        assert re.search(rf"^\| {switch.id} \|", text, re.MULTILINE), switch.id
        assert switch.variant in ("", *spec.variants)
        for pair in switch.sources:
            made = [spec.evaluations(), spec.evaluations(switch.variant)]
            for source, names in zip(pair, made, strict=True):
                assert source.split(".")[0] in names, (switch.choice, source)


def test_the_evidence_on_the_l1_step_is_that_of_the_files():
    """Entry 11: shares of clean accuracy that l1 PGD leaves, in the paper's Table 1 and in the published one."""
    text = (Path(__file__).parent.parent / "docs" / "ledger.md").read_text().partition("### Which l1 step")[2]
    for_it, against = text.partition("Against it:")[::2]
    rows = [row for row in table_rows(load_tier("short"), "table1", PUBLISHED) if row.dataset == "cifar10"]
    ours = {(row.method, row.column): row.ours for row in rows}
    paper = {(method, column): value for (dataset, _, method), cells in reported_rows(1).items() if dataset == "cifar10"
             for column, value in cells.items()}  # fmt: skip

    def shares(method):
        return [f"{table[method, 'pgd_l1'] / table[method, 'clean']:.2f}" for table in (paper, ours)]

    assert re.findall(r"\d\.\d\d", for_it)[:2] == shares("ST")
    assert re.findall(r"\d\.\d\d", against)[:2] == shares("AT")
    assert paper["ST", "pgd_l2"] < 0.1
    robust = {method for method, _ in ours} - {"ST"}
    assert all(cells["pgd_l1"] < cells["pgd_l2"] for (*_, method), cells in reported_rows(1).items() if method != "ST")
    assert all(ours[method, "pgd_l1"] > ours[method, "pgd_l2"] for method in robust)


def test_an_effect_is_on_the_images_that_both_saw(tier):
    """The first images happen to be harder: with and without a random start nothing differs on them."""
    run, flags = tier.run(CIFAR10, "Adv-DPNP", 0), np.arange(100) >= 40
    store(run, "pgd20", flags)
    store(run, "pgd20_random", flags[:50])
    (row,) = (row for row in ablations.effects(tier) if row["measure"] == "pgd20")
    assert (row["with_default"], row["with_other"], row["effect"]) == (20, 20, 0)
    assert row["low"] <= 0 <= row["high"]


def test_a_default_and_its_other_differ_in_the_named_setting_alone():
    run = load_tier("short").run(CIFAR10, "Adv-DPNP")
    differing = {
        ("pgd20", "pgd20_random"): {"random_start"},
        ("clean", "clean_renormalised"): {"renormalise"},
        ("pgd20", "pgd20_renormalised"): {"renormalise"},
        ("pgd100_l1", "pgd100_l1_dense"): {"l1_step"},
        ("cw30", "cw30_confidence0"): {"confidence"},
    }
    found = {pair for switch in ablations.SWITCHES if not switch.variant for pair in switch.sources}
    assert found == set(differing)
    for (default, other), keys in differing.items():
        one, two = vars(resolved_attack(run, default)), vars(resolved_attack(run, other))
        assert {key for key in one if one[key] != two[key]} == keys


@pytest.mark.parametrize("name", ["short", "medium"])
def test_a_training_and_its_other_differ_in_one_setting(name):
    tier = load_tier(name)
    for switch in ablations.SWITCHES:
        if switch.variant in tier.variants:
            default = tier.printed if switch.base == "printed" else switch.base
            base, other = (
                tier.run(CIFAR10, "Adv-DPNP", 0, variant).training_settings() for variant in (default, switch.variant)
            )
            watched = f"data.validation_images: 0 -> {other['data']['validation_images']}"  # images that train neither
            assert base["data"]["train_images"] == other["data"]["train_images"]
            assert base["data"]["train_images"] > 0 or watched.endswith("-> 0")
            changes = [change for change in changed_settings(base, other) if change != watched]
            changed = [change for change in changes if not change.startswith("variant:")]
            assert len(changed) == 1, (switch.choice, changed)


def test_the_ledger_needs_its_variants_trained_and_the_paper_tier_has_none(tier):
    names = [run.id for run in artefacts.runs_of(tier, "ledger")]
    assert len(names) == 2 * 5
    assert "cifar10-resnet18-adv_dpnp.unlocked-s1" in names
    assert not list(artefacts.runs_of(load_tier("paper"), "ledger"))


def test_an_effect_is_other_minus_default_with_a_paired_interval(tier):
    for seed, flips in ((0, 4), (1, 2)):  # images that only the other choice gets right
        run = tier.run(CIFAR10, "Adv-DPNP", seed)
        before = np.arange(100) < 50
        after = before.copy()
        after[50 : 50 + flips] = True
        store(run, "pgd20", before)
        store(run, "pgd20_random", after)
    row = by_choice(ablations.effects(tier), "start of PGD-20", "pgd20")
    assert (row["with_default"], row["with_other"], row["effect"], row["by_seed"]) == (50, 53, 3, "+4.00 +2.00")
    std = np.std([1, 1, 0.5, 0.5] + [0] * 96, ddof=1)  # an image over its seeds first: 100 images, not 200
    assert row["high"] - row["low"] == pytest.approx(2 * 198.4 * std / 100**0.5, abs=0.02)
    assert row["images"] == 100


def test_a_variants_effect_is_against_the_same_seed(tier):
    for seed in (0, 1):
        store(tier.run(CIFAR10, "Adv-DPNP", seed), "clean", np.arange(10) < 7)  # not what it is compared with
        store(tier.run(CIFAR10, "Adv-DPNP", seed, "printed"), "clean", np.arange(10) < 5)
    store(tier.run(CIFAR10, "Adv-DPNP", 1, "unlocked"), "clean", np.arange(10) < 4)
    row = by_choice(ablations.effects(tier), "adversarial branch", "clean")
    assert (row["effect"], row["by_seed"]) == (-10, "-10.00")


def test_angles_have_an_effect_and_no_interval(tier):
    store(tier.run(CIFAR10, "Adv-DPNP", 0, "printed"), "geometry", mean_sep=54.0)
    store(tier.run(CIFAR10, "Adv-DPNP", 0, "signed"), "geometry", mean_sep=80.5)
    row = by_choice(ablations.effects(tier), "last ReLU", "geometry.mean_sep")
    assert (row["effect"], row["low"], row["high"]) == (26.5, None, None)
    assert "| +26.50 | +26.50 |" in ablations.ledger_markdown([row])


def test_nothing_measured_is_said(tier):
    assert ablations.effects(tier) == []
    assert "No switch was measured" in ablations.ledger_markdown([])


def test_the_picture_has_a_line_a_measured_accuracy(tier):
    run = tier.run(CIFAR10, "Adv-DPNP")
    store(run, "pgd20", np.arange(10) < 5)
    store(run, "pgd20_random", np.arange(10) < 6)
    (ax,) = draw(ablations.effects(tier)).axes
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "start of PGD-20 at evaluation: none → uniform, PGD-20"
    ]


@pytest.mark.parametrize(("farthest", "written"), [(-80.0, ["-80.0 [-81.0, -79.0]"]), (6.0, [])])
def test_an_effect_far_beyond_the_others_is_written_at_the_edge(farthest, written):
    """So that the others can be told apart; one that is not so far is drawn like them."""
    rows = [
        {"choice": "c", "default": "d", "other": "o", "measure": "clean", "effect": effect, "low": effect - 1,
         "high": effect + 1, "by_seed": f"{effect}"}
        for effect in (1.0, -3.0, farthest)
    ]  # fmt: skip
    (ax,) = draw(rows).axes
    assert [text.get_text() for text in ax.texts] == written
    low, high = ax.get_xlim()
    assert low < -4
    assert max(-low, high) < 10
