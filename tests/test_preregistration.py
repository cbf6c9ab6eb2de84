"""docs/medium-preregistration.md: its tables tools/preregistration.py computes; the rule, its arithmetic."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from advdpnp.config import load_tier, parse_tier
from advdpnp.intervals import SeedVariance
from advdpnp.paper.numbers import OURS, reported
from advdpnp.report.contrasts import COLUMNS, RIVALS, Variance, column, contrasts, detectable, image_variance, markdown
from advdpnp.report.contrasts import verdict as judged
from advdpnp.report.page import preregistered
from advdpnp.store import PUBLISHED, RESULTS, Store, write_json

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "medium-preregistration.md").read_text()
LINES = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("|")]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("preregistration", ROOT / "tools" / "preregistration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def numbers(cells):
    return [float(number) for cell in cells for number in re.findall(r"[-+]?\d+(?:\.\d+)?", cell)]


@pytest.mark.parametrize("level", [0.65, *(pytest.param(level, marks=pytest.mark.slow) for level in (0.58, 0.72))])
@pytest.mark.parametrize("reading", ["mean", "balanced", "printed", "unlocked"])
def test_the_angles_are_those_of_the_theory(tool, reading, level):
    assert f"| reading | {' | '.join(f'{100 * each:.0f} %' for each in tool.LEVELS)} |" in TEXT
    assert reading in tool.READINGS
    (said,) = [cells for cells in LINES if cells[0] == f"`{reading}`"]
    assert numbers([said[1 + tool.LEVELS.index(level)]]) == pytest.approx(tool.angles(level, reading), abs=0.8)


def test_what_is_known_and_what_can_be_detected_follow_from_the_published_flags(tool):
    for *contrast, known, one, strict, two in tool.resolutions():
        (said,) = [cells for cells in LINES if cells[:3] == contrast]
        assert numbers(said[3:]) == pytest.approx(numbers([known, one, strict, two]), abs=0.11), contrast
    spread = tool.spread_before()
    assert f"{spread.variance:.3f} points² ({spread.df} degrees of freedom)" in TEXT


def test_the_papers_margins_are_those_of_table_1():
    for name, rival in ((name, rival) for name in COLUMNS for rival in RIVALS):
        (said,) = [cells for cells in LINES if cells[0] == f"{name}, {rival}"]
        place = {"dataset": "cifar10", "backbone": "resnet18", "column": "aa" if name == "worst" else name}
        ours, theirs = (reported(1, method=method, **place) for method in (OURS, rival))
        assert numbers([said[2]]) == [pytest.approx(ours - theirs, abs=0.006)], said


def test_the_protocol_is_that_of_the_tier(tool):
    run = load_tier("medium").run("cifar10/resnet18", "Adv-DPNP")
    assert (run.optim.epochs, run.optim.milestones, run.craft.steps, run.model.width) == (30, (24, 28), 5, 16)
    assert run.craft.step_size == 4 / 255
    assert not any(run.attacks[name].images for name in ("clean", "pgd20", "cw30"))  # all 10,000
    assert run.evaluation.test_images == 0
    assert len(tool.schedule(0.65)) == run.optim.epochs


# --- The rule


@pytest.mark.parametrize(
    ("difference", "half", "p", "expected"),
    [
        (2.0, 1.0, 0.01, "ahead"), (-2.0, 1.0, 0.01, "behind"), (0.3, 0.6, 0.9, "small"),
        (0.3, 0.8, 0.9, "not decided"), (0.4, 0.3, 0.06, "small"), (0.4, 0.3, 0.04, "ahead"),
    ],
)  # fmt: skip
def test_a_contrast_is_told_small_or_open(difference, half, p, expected):
    row = {"difference": difference, "low": difference - half, "high": difference + half, "p": p}
    assert judged(row) == expected


@pytest.fixture
def measured():
    """A tier of AT and Adv-DPNP, two seeds, whose flags are known: {(method, seed): {attack: flags}}."""
    raw = {
        "label": "a test",
        "methods": ["AT", "TRADES", "Adv-DPNP"],
        "seeds": [0, 1],
        "blocks": {"cifar10/resnet18": {}},
    }
    tier = parse_tier("mine", raw, "mine.toml")
    draw = np.random.default_rng(0)
    for method, share in (("AT", 0.5), ("Adv-DPNP", 0.8)):
        for seed in (0, 1):
            run = tier.run("cifar10/resnet18", method, seed)
            for attack in ("clean", "pgd20", "cw30"):
                store(run, attack, draw.random(2000) < share)
    return tier


def store(run, attack, flags):
    path = RESULTS.evaluation(run, attack)
    write_json(path, {"images": len(flags), "accuracy": 100 * float(flags.mean())})
    np.savez(path.with_suffix(".npz"), correct=flags)


def test_worst_is_right_on_the_image_itself_and_under_both_attacks(measured):
    run = measured.run("cifar10/resnet18", "AT")
    flags = {name: np.load(RESULTS.arrays(run, name))["correct"] for name in ("clean", "pgd20", "cw30")}
    assert np.array_equal(column(run, "worst"), flags["clean"] & flags["pgd20"] & flags["cw30"])
    assert np.array_equal(column(run, "avg"), (column(run, "clean") + column(run, "worst")) / 2)
    assert column(measured.run("cifar10/resnet18", "TRADES"), "worst") is None


def test_contrasts_are_paired_corrected_for_six_and_judged(measured):
    rows = contrasts(measured)
    assert [(row["rival"], row["column"]) for row in rows] == [("AT", name) for name in COLUMNS]  # TRADES is missing
    assert [row["verdict"] for row in rows] == ["ahead"] * 3
    assert rows[0]["difference"] == pytest.approx(30, abs=3)
    assert (rows[0]["images"], rows[0]["seeds"]) == (2000, 2)
    text = markdown(rows, "Adv-DPNP")
    assert "| AT | worst | +" in text
    assert "None of the contrasts" in markdown(contrasts(measured, "Adv-DPNP (as printed)"), "Adv-DPNP (as printed)")


def test_nothing_of_the_short_tier_has_a_worst_case_for_at():
    """It has no C&W for AT: there the contrasts stay empty instead of being made of fewer attacks."""
    rows = contrasts(load_tier("short"), store=PUBLISHED)
    assert [row["column"] for row in rows] == ["clean", "clean"]


def test_the_report_shows_both_readings_of_the_tier_that_named_them(tmp_path):
    text = "\n".join(preregistered(load_tier("medium"), Store(tmp_path)))
    assert "None of the contrasts of Adv-DPNP was measured." in text
    assert "None of the contrasts of Adv-DPNP (as printed) was measured." in text
    assert preregistered(load_tier("short"), PUBLISHED) == []


# --- What can be detected


def test_the_variance_of_an_image_splits_into_what_lasts_and_what_a_seed_does():
    draw = np.random.default_rng(1)
    lasting = draw.normal(size=50_000) * 0.1
    ours = {s: lasting + draw.normal(size=50_000) * 0.2 for s in range(3)}
    found = image_variance(ours, {s: np.zeros(50_000) for s in range(3)})
    assert found == pytest.approx((100, 400), rel=0.05)
    with pytest.raises(ValueError, match="expected at least two seeds on both sides, got 1"):
        image_variance(ours, {0: lasting})


def test_a_difference_of_that_size_is_found_four_times_in_five():
    """Against a simulation: images and seeds with known variances, the interval of intervals.py, a true difference."""
    variance, images, seeds = Variance(300.0, 600.0), 2000, 3
    spread = SeedVariance(0.25, 10_000)  # known, so that chance is in the data alone
    size = detectable(variance, spread, images=images, seeds=seeds)
    draw = np.random.default_rng(0)
    error = np.sqrt((300 + 600 / seeds) / images + 2 * 0.25 / seeds)
    found = np.abs(size + error * draw.normal(size=200_000)) > 1.96 * error
    assert found.mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "smaller"), [({"images": 1000}, False), ({"seeds": 5}, True), ({"power": 0.5}, True)]
)
def test_more_is_told_with_more(changes, smaller):
    base = {"images": 10_000, "seeds": 3}
    variance, spread = Variance(300.0, 600.0), SeedVariance(0.25, 9)
    assert (detectable(variance, spread, **base | changes) < detectable(variance, spread, **base)) == smaller
