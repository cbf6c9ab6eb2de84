"""What a claim is told of a tier's numbers: differences with bounds, on shared seeds, never of what stands in."""

import json

import numpy as np
import pytest

from advdpnp.config import METHODS, parse_tier
from advdpnp.intervals import paired_difference
from advdpnp.paper import claims
from advdpnp.paper.artefacts import CIFAR10
from advdpnp.paper.claims import Block, Quantity, change
from advdpnp.report.measurements import Measurements
from advdpnp.report.tables import table_rows
from advdpnp.store import RESULTS

T1, T4, T7, T8 = (Block(n, "cifar10") for n in (1, 4, 7, 8))
CLEAN = Quantity("clean", ("clean",))


def store(run, name, correct=None, **values):
    path = RESULTS.evaluation(run, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if correct is not None:
        np.savez(path.with_suffix(".npz"), correct=correct)
        values |= {"accuracy": 100 * float(np.mean(correct))}
    path.write_text(json.dumps({"images": 100} | values))


def right(count):
    return np.arange(100) < count


@pytest.fixture
def tier():
    raw = {"label": "a test", "more_seeds": {"Adv-DPNP": [1]}, "blocks": {CIFAR10: None}}
    return parse_tier("mine", raw, "x")


def asked(tier, *names):
    return Measurements(tier, [row for name in names for row in table_rows(tier, name)])


def test_a_difference_is_on_the_seeds_that_both_have(tier):
    for seed, count in ((0, 60), (1, 90)):
        store(tier.run(CIFAR10, "Adv-DPNP", seed), "clean", right(count))
    store(tier.run(CIFAR10, "AT"), "clean", right(50))
    values = asked(tier, "table1")
    assert values(1, "cifar10", "resnet18", "Adv-DPNP", "clean") == 75
    spread = values._spread(CIFAR10)
    expected = paired_difference({0: right(60)}, {0: right(50)}, spread)
    assert spread.df == 1
    assert values.difference(T1, CLEAN, "Adv-DPNP", "AT") == (10, expected.low, expected.high)
    assert values.difference(T1, CLEAN, "Adv-DPNP", "MART") is None


def test_two_methods_without_a_common_seed_leave_a_claim_open(tier):
    """A lead of 60 points between networks of other seeds: seed and method cannot be told apart."""
    store(tier.run(CIFAR10, "Adv-DPNP", 1), "clean", right(90))
    for method in METHODS:
        if method not in ("Adv-DPNP", "ST"):
            store(tier.run(CIFAR10, method), "clean", right(30))
    check = claims.ranks([T1], ["clean"], without=("ST",))
    found = check(asked(tier, "table1"))
    assert found.holds is None
    assert "no seed in common" in found.detail
    store(tier.run(CIFAR10, "Adv-DPNP"), "clean", right(90))
    assert check(asked(tier, "table1")).holds is True


def test_a_metric_is_bounded_by_its_seeds(tier):
    metrics = dict.fromkeys(("fdr_adv", "afs_clean", "afs_adv", "scr_clean", "scr_adv", "min_sep"), 1.0)
    for run, clean, angle in ((tier.run(CIFAR10, "Adv-DPNP"), 0.25, 90), (tier.run(CIFAR10, "AT"), 0.5, 60)):
        store(run, "geometry", **metrics, fdr_clean=clean, mean_sep=angle)
    values = asked(tier, "table4")
    assert values.difference(T4, Quantity("", ("mean_sep",)), "Adv-DPNP", "AT") == (30, 30, 30)
    assert values.difference(T4, change("fdr"), "Adv-DPNP", "AT") == (0.25, 0.25, 0.25)  # 0.75 and 0.5
    other = Measurements(parse_tier("mine", {"label": "x", "seeds": [0, 1], "blocks": {CIFAR10: None}}, "x"), [])
    for method, angle in (("Adv-DPNP", 80), ("AT", 64)):
        store(tier.run(CIFAR10, method, 1), "geometry", **metrics, fdr_clean=0.1, mean_sep=angle)
    assert other.difference(T4, Quantity("", ("mean_sep",)), "Adv-DPNP", "AT") == (23, 16, 30)


def test_a_metric_of_one_shared_seed_is_known_as_well_as_its_own_seeds_agree(tier):
    metrics = dict.fromkeys(("fdr_clean", "fdr_adv", "afs_clean", "afs_adv", "scr_clean", "scr_adv", "min_sep"), 1.0)
    for run, angle in ((tier.run(CIFAR10, "Adv-DPNP"), 90), (tier.run(CIFAR10, "Adv-DPNP", 1), 84)):
        store(run, "geometry", **metrics, mean_sep=angle)
    store(tier.run(CIFAR10, "AT"), "geometry", **metrics, mean_sep=88)
    lead = asked(tier, "table4").difference(T4, Quantity("", ("mean_sep",)), "Adv-DPNP", "AT")
    assert lead == (2, -4, 8)  # the two seeds of Adv-DPNP are 6 degrees apart


def test_a_gap_is_taken_on_the_images_that_both_attacks_saw(tier):
    """Clean on 100 images, AutoAttack on the first 50, which are all right."""
    for method, robust in (("Adv-DPNP", 20), ("AT", 30)):
        store(tier.run(CIFAR10, method), "clean", right(60))
        store(tier.run(CIFAR10, method), "aa", right(robust)[:50])
    values = asked(tier, "table1")
    assert claims._read(values, T1, "Adv-DPNP", claims.GAP) == 100 - 40
    found = values.difference(T1, claims.GAP, "Adv-DPNP", "AT")
    assert found.value == 20
    assert found.low < 20 < found.high


def test_the_bounds_of_an_accuracy_are_wider_at_a_higher_level(tier):
    for method, count in (("Adv-DPNP", 60), ("AT", 50)):
        store(tier.run(CIFAR10, method), "clean", right(count))
    values = asked(tier, "table1")
    (_, low, high), (_, lowest, highest) = (
        values.difference(T1, CLEAN, "Adv-DPNP", "AT", level) for level in (0.95, 0.995)
    )
    assert lowest < low < high < highest


def test_a_change_is_of_the_same_networks_under_two_attacks(tier):
    run = tier.run(CIFAR10, "Adv-DPNP")
    store(run, "pgd20", right(50))
    store(run, "adaptive20", right(53))
    value, low, high = asked(tier, "table8").change(T8, "Adv-DPNP", "ce", "adv-dpnp")
    assert value == 3
    assert low < 3 < high
    half = 1.984 * 100 * (right(53) ^ right(50)).std(ddof=1) / 10  # images alone: no training differs
    assert high - value == pytest.approx(half, rel=1e-3)
    assert asked(tier, "table7").change(T7, "Adv-DPNP", "starts_1", "starts_5") is None


def test_what_stands_in_for_a_data_set_is_not_asked_about_it():
    tier = parse_tier("toy", {"label": "a test", "blocks": {CIFAR10: {"dataset": "digits"}}}, "x")
    for method in ("Adv-DPNP", "AT"):
        store(tier.run(CIFAR10, method), "clean", right(60))
    values = asked(tier, "table1")
    assert values.difference(T1, CLEAN, "Adv-DPNP", "AT") is None
    assert values(1, "cifar10", "resnet18", "Adv-DPNP", "clean") is None
