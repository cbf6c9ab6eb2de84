"""Intervals against scipy, hand-computed values, and what they must not do: widen with more information."""

import math

import numpy as np
import pytest
from scipy import stats

from advdpnp.intervals import (
    SeedVariance,
    accuracy_interval,
    between_seeds,
    holm,
    mean_interval,
    paired_difference,
    pooled_seed_variance,
    t_quantile,
    wilson,
)


def right(count, n):
    """n images of which the first `count` are right."""
    return (np.arange(n) < count).astype(float)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (81, 263), (5000, 10_000), (10, 10)])
def test_wilson_is_scipys(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-9)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), Table I, method 3
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.0, 16.11),
        (1, 29, 0.61, 17.18),
        (29, 29, 88.30, 100.0),
    ],
)
def test_wilson_against_published_values(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=0.006)


@pytest.mark.parametrize(("successes", "n", "level"), [(-1, 10, 0.95), (11, 10, 0.95), (0, 0, 0.95), (1, 2, 1.0)])
def test_wilson_refuses_what_is_no_proportion(successes, n, level):
    with pytest.raises(ValueError, match="no proportion"):
        wilson(successes, n, level)


def test_quantiles_and_means_are_scipys():
    assert t_quantile(2.5) == pytest.approx(stats.t.ppf(0.975, 2.5))
    assert mean_interval(5, 2, 16) == pytest.approx(stats.norm.interval(0.95, 5, 0.5))


def test_one_seed_has_wilsons_interval():
    found = accuracy_interval([right(400, 1000)])
    assert found[:3] == pytest.approx((40, *wilson(400, 1000)))
    assert (found.images, found.seeds, found.over) == (1000, 1, "images")


def test_the_variance_between_seeds_is_what_images_do_not_explain():
    # accuracies 50 and 60 of 10 images: S^2 = 50. The seeds differ on 1 image of 10: its variance over seeds is 5000,
    # the mean over images 500, over N = 10 images 50; nothing is left: one image may fall either way by chance
    assert between_seeds([right(5, 10), right(6, 10)]) == pytest.approx(0)
    # 20 and 60 of 100: S^2 = 800, differing on 40 images: 40 * 5000 / 100 / 100 = 20
    assert between_seeds([right(20, 100), right(60, 100)]) == pytest.approx(780)
    # two networks that fail on different images with equal accuracy: less than chance, and it may be negative
    assert between_seeds([right(5, 10), 1 - right(5, 10)]) == pytest.approx(-500)
    with pytest.raises(ValueError, match="at least two seeds"):
        between_seeds([right(1, 2)])


def test_pooling_averages_a_methods_columns_and_weighs_methods_by_their_seeds():
    wide, none = [right(20, 100), right(60, 100)], [right(5, 10), right(6, 10)]
    assert pooled_seed_variance([[wide, none]]) == pytest.approx((390, 1))
    three = [right(20, 100), right(20, 100), right(20, 100)]
    assert pooled_seed_variance([[wide], [three]]) == pytest.approx((780 / 3, 3))
    assert pooled_seed_variance([[[right(1, 2)]], []]) is None
    assert pooled_seed_variance([[[right(5, 10), 1 - right(5, 10)]]]) == (0, 1)  # never below zero


def test_the_pooled_variance_finds_the_true_one():
    """200 pairs of trainings with a seed deviation of 2 points: pooled within a tenth of it."""
    rng = np.random.default_rng(0)
    difficulty = rng.uniform(0.2, 0.8, 1000)
    pairs = [[[rng.random(1000) < difficulty + rng.normal(0, 0.02) for _ in range(2)]] for _ in range(200)]
    found = pooled_seed_variance(pairs)
    assert found.df == 200
    assert math.sqrt(found.variance) == pytest.approx(2, rel=0.1)


def test_images_and_seeds_add_up_in_squares():
    # symmetric at 50 %: se over images 5 / sqrt(1000) * 10, seeds 1 point each
    found = accuracy_interval([right(500, 1000)], SeedVariance(1.0, 6))
    image = 2500 / 1000
    df = (image + 1) ** 2 / (image**2 / 999 + 1 / 6)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, df) * math.sqrt(image + 1), rel=2e-3)
    assert found.over == "images and seeds"


def test_more_seeds_and_more_images_narrow_it():
    spread = SeedVariance(0.8, 6)
    widths = [
        accuracy_interval([right(n // 4, n)] * k, spread) for n, k in ((500, 1), (500, 2), (1000, 2), (10_000, 3))
    ]
    widths = [found.high - found.low for found in widths]
    assert widths == sorted(widths, reverse=True)


def test_it_stays_possible():
    found = accuracy_interval([right(1, 500)], SeedVariance(4.0, 2))
    assert found.low == 0
    assert accuracy_interval([right(500, 500)], SeedVariance(4.0, 2)).high == 100
    with pytest.raises(ValueError, match="without values"):
        accuracy_interval([])


def test_it_covers_the_truth_about_as_often_as_it_says():
    """Accuracy 30 %, seed deviation 1 point, 400 images, two seeds of six pooled methods: 300 experiments."""
    rng = np.random.default_rng(1)
    difficulty, hits = rng.beta(1, 7 / 3, (300, 400)), 0
    for images in difficulty:
        seeds = [[rng.random(400) < np.clip(images + rng.normal(0, 0.01), 0, 1) for _ in range(2)] for _ in range(6)]
        spread = pooled_seed_variance([[pair] for pair in seeds])
        found = accuracy_interval(seeds[0], spread)
        hits += found.low <= 30 <= found.high
    assert hits / 300 >= 0.92


def test_a_difference_pairs_seeds_and_images():
    ours, theirs = {0: right(60, 100), 1: right(70, 100)}, {0: right(50, 100)}
    found = paired_difference(ours, theirs)
    # seed 1 has no partner: 60 against 50 on the same images, the ten between them decide
    assert (found.ours, found.theirs, found.difference, found.images, found.seeds) == (60, 50, 10, 100, 1)
    half = stats.t.ppf(0.975, 99) * 100 * right(10, 100).std(ddof=1) / 10
    assert (found.low, found.high) == pytest.approx((10 - half, 10 + half))
    assert found.p == pytest.approx(stats.ttest_rel(right(60, 100), right(50, 100)).pvalue)
    assert paired_difference({0: right(1, 2)}, {1: right(1, 2)}) is None


def test_holm_is_the_step_down_of_bonferroni():
    # 0.01 * 4, then 0.02 * 3 = 0.06, 0.03 * 2 = 0.06, 0.6: never below the one before
    assert holm([0.03, 0.01, 0.6, 0.02]) == pytest.approx([0.06, 0.04, 0.6, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1, 1])
    assert holm([]) == []


def test_seeds_widen_a_difference_by_both_sides():
    ours, theirs = {0: right(500, 1000)}, {0: right(500, 1000)}
    found = paired_difference(ours, theirs, SeedVariance(0.5, 6))
    assert found.high == pytest.approx(stats.t.ppf(0.975, 6) * 1.0)  # no image differs: 2 * 0.5 / 1 alone
    two = paired_difference(ours | {1: right(500, 1000)}, theirs | {1: right(500, 1000)}, SeedVariance(0.5, 6))
    assert two.high == pytest.approx(found.high / math.sqrt(2))


def test_only_the_images_that_both_saw_count():
    found = paired_difference({0: right(10, 10)}, {0: np.array([1, 1, 1, 1, 0.0])})
    assert (found.ours, found.theirs, found.images) == (100, 80, 5)
