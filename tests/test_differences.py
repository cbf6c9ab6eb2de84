"""Adv-DPNP against its rivals, image by image: what is compared, on which images, and what the interval stands for."""

import json
from dataclasses import replace

import numpy as np
import pytest

from advdpnp.config import load_tier, parse_tier
from advdpnp.paper.artefacts import CIFAR10
from advdpnp.report import differences
from advdpnp.report.differences import Comparison
from advdpnp.report.figures import rivals as draw
from advdpnp.report.tables import per_image, table_rows
from advdpnp.store import PUBLISHED, RESULTS


@pytest.fixture
def tier():
    return parse_tier(
        "mine", {"label": "a test", "more_seeds": {"Adv-DPNP": [1]}, "blocks": {CIFAR10: None}, "seeds": [0]}, "x"
    )


def store(run, attack, correct):
    path = RESULTS.evaluation(run, attack)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path.with_suffix(".npz"), correct=np.array(correct, bool))
    path.write_text(json.dumps({"images": np.shape(correct)[-1], "accuracy": 100 * float(np.mean(correct))}))


def test_an_image_under_corruptions_counts_by_its_share_and_avg_by_half(tier):
    run = tier.run(CIFAR10, "AT")
    store(run, "corruptions", [[[1, 0, 1], [0, 0, 1]]])  # 1 corruption, 2 severities, 3 images
    assert per_image(run, "corruptions").tolist() == [0.5, 0, 1]
    store(run, "clean", [1, 1, 0, 1])
    assert per_image(run, "avg") is None
    store(run, "aa", [1, 0])
    assert per_image(run, "avg").tolist() == [1, 0.5]


def test_rivals_are_all_but_st_and_what_is_missing_is_left_out(tier):
    for seed, correct in ((0, [1, 1, 0, 0]), (1, [1, 1, 1, 0])):
        store(tier.run(CIFAR10, "Adv-DPNP", seed), "clean", correct)
    store(tier.run(CIFAR10, "AT"), "clean", [1, 0, 0, 0])
    store(tier.run(CIFAR10, "ST"), "clean", [1, 1, 1, 1])
    (row,) = differences.rivals(tier, "table1")
    assert (row.rival, row.column, row.images, row.seeds) == ("AT", "clean", 4, 1)
    assert (row.ours, row.theirs, row.difference) == (50, 25, 25)  # seed 1 of Adv-DPNP has no partner


def test_bold_is_what_excludes_zero():
    sure = Comparison(1, "d", "b", "AT", "clean", 50.0, 47.0, 3.0, 1.0, 5.0, p=0.01, images=9, seeds=1)
    unsure = replace(sure, column="aa", difference=-3.0, low=-7.0, high=1.0)
    text = differences.markdown([sure, unsure], "demo: toys")
    assert "| AT | **+3.0** [+1.0, +5.0] | -3.0 [-7.0, +1.0] |" in text
    assert "demo: toys" in text
    assert "No two methods" in differences.markdown([], "demo: toys")
    one, two = draw([sure, unsure]).axes
    assert one.lines[0].get_color() != two.lines[0].get_color()


def test_the_published_differences_are_those_of_the_tables():
    """Where both rows of a table rest on the same seeds, its cells differ by what is shown here."""
    short = load_tier("short")
    compared = 0
    for name in differences.TABLES:
        rows = [row for row in table_rows(short, name, PUBLISHED) if f"{row.dataset}/{row.backbone}" == CIFAR10]
        cells = {(row.method, row.column): row for row in rows}
        for row in differences.rivals(short, name, PUBLISHED):
            ours, theirs = (cells[method, row.column] for method in ("Adv-DPNP", row.rival))
            if ours.seeds == theirs.seeds == row.seeds:
                compared += 1
                assert row.difference == pytest.approx(ours.ours - theirs.ours, abs=0.02), (name, row)
    assert compared


def test_primary_contrasts_are_those_named_and_corrected_for_their_number():
    measured = (40.0, 43.5, -3.5, -6.0, -1.0)
    some = (
        ("AT", "clean", 0.04),
        ("AT", "aa", 0.004),
        ("MART", "aa", 0.0001),
        ("AT", "pgd_l1", 0.0),
        ("TRADES", "avg", 0.5),
    )
    rows = [Comparison(1, "cifar10", "resnet18", rival, column, *measured, p, 500, 2) for rival, column, p in some]
    found = differences.primary(rows)
    assert [(row.rival, row.column, row.p) for row in found] == [
        ("AT", "clean", pytest.approx(0.08)), ("AT", "aa", pytest.approx(0.012)), ("TRADES", "avg", 0.5)
    ]  # fmt: skip
    text = differences.primary_markdown(found, "demo: toys")
    assert "| CIFAR-10, ResNet-18 | AT | AutoAttack | -3.5 [-6.0, -1.0] | 0.012 | **behind** | 500 | 2 |" in text
    assert "| AT | clean | -3.5 [-6.0, -1.0] | 0.080 | no |" in text
    assert "Neither AT nor TRADES" in differences.primary_markdown([], "demo: toys")
