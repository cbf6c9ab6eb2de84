"""95 % intervals of what the tables show: one number, or the difference of two, over test images and seeds.

An accuracy measured on N test images by k trained networks leaves two things open: other images (known from these,
one value per image) and other seeds (known only by pooling all methods that were trained more than once, because two
seeds say next to nothing about their own spread). Both variances add up; Satterthwaite's formula gives the degrees of
freedom of the sum. Everything is in percent or percentage points; arrays hold one value per image, 0 ... 1.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, in percent. `n` need not be whole: an effective number of images.

    Raises ValueError unless 0 <= successes <= n, n > 0 and 0 < level < 1. Source: E. B. Wilson, JASA 22, 1927.
    """
    if not (0 <= successes <= n and n > 0 and 0 < level < 1):
        raise ValueError(f"no proportion: {successes} of {n} at level {level}")
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)
    p, shrink = successes / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def mean_interval(mean: float, std: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Normal interval of a mean over n images with standard deviation `std` (n - 1 in the denominator), in its unit."""
    half = statistics.NormalDist().inv_cdf((1 + level) / 2) * std / math.sqrt(n)
    return mean - half, mean + half


def t_quantile(df: float, level: float = 0.95) -> float:
    """Two-sided quantile of Student's t with `df` degrees of freedom (not necessarily whole)."""
    from scipy.special import stdtrit  # here, because importing this module must stay cheap

    return float(stdtrit(df, (1 + level) / 2))


def t_p_value(t: float, df: float) -> float:
    """Two-sided p-value of Student's t."""
    from scipy.special import stdtr

    return 2 * float(stdtr(df, -abs(t)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are, in their order: below 0.05 means told at 5 % for all of them together.

    Source: S. Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[k]))
        adjusted[k] = worst
    return adjusted


# --- Seeds


class SeedVariance(NamedTuple):
    """Variance of one training's accuracy over seeds beyond what its test images explain, in points^2."""

    variance: float
    df: int  # trainings behind it, less one per method


def between_seeds(values: Sequence[np.ndarray]) -> float:
    """Unbiased estimate of one method's seed variance in points^2 from its k >= 2 seeds, [N] each, on the same images.

    The seeds' accuracies vary by sigma^2 and by what each image does by chance: S^2 - mean_i Var_s(c_is) / N. It may
    be negative, and must stay so until it is pooled. Raises ValueError for fewer than two seeds.
    """
    if len(values) < 2:
        raise ValueError(f"expected at least two seeds, got {len(values)}")
    seeds = 100 * np.stack([np.asarray(seed, float) for seed in _on_the_same(values)])
    return float(seeds.mean(1).var(ddof=1) - seeds.var(0, ddof=1).mean() / seeds.shape[1])


def pooled_seed_variance(methods: Iterable[Sequence[Sequence[np.ndarray]]]) -> SeedVariance | None:
    """One variance for all methods; each is a list of columns, a column a list of that method's seeds, [N] each.

    A method's columns are measured on the same networks and are averaged; methods weigh by their degrees of freedom,
    one less than their seeds. Columns with fewer than two seeds count for nothing. None where no method has two.
    """
    total, df = 0.0, 0
    for columns in methods:
        repeated = [column for column in columns if len(column) > 1]
        if repeated:
            own = max(len(column) for column in repeated) - 1
            total += own * statistics.fmean(between_seeds(column) for column in repeated)
            df += own
    return SeedVariance(max(0.0, total / df), df) if df else None


# --- One number


class Interval(NamedTuple):
    """A mean over seeds in percent with its bounds; `over` says what they are over: "images" or "images and seeds"."""

    mean: float
    low: float
    high: float
    images: int
    seeds: int
    over: str


def accuracy_interval(values: Sequence[np.ndarray], spread: SeedVariance | None = None) -> Interval:
    """Of k >= 1 seeds, one array [N] each with values 0 ... 1; the first images that all saw count.

    The part over images is Wilson's, with as many images as would give the variance that the image means have; the
    part over seeds is sigma^2 / k. Distances below and above the mean add up in squares. Without a `spread` only images
    are accounted for. More images and more seeds never widen it on average. Raises ValueError without values.
    """
    if not values:
        raise ValueError("no interval without values")
    image = np.mean(_on_the_same(values), axis=0)
    n, k, p = len(image), len(values), float(np.mean(image))
    variance = float(image.var()) / n
    effective = p * (1 - p) / variance if variance > 0 else n
    low, high = wilson(p * effective, effective)
    mean, stretch, seed = 100 * p, 1.0, 0.0
    if spread:
        between = spread.variance / k
        quantile = t_quantile(satterthwaite(1e4 * variance, n - 1, between, spread.df))
        stretch, seed = quantile / statistics.NormalDist().inv_cdf(0.975), quantile * math.sqrt(between)
    below, above = math.hypot(stretch * (mean - low), seed), math.hypot(stretch * (high - mean), seed)
    over = "images and seeds" if spread else "images"
    return Interval(mean, max(0.0, mean - below), min(100.0, mean + above), n, k, over)


# --- A difference


class Difference(NamedTuple):
    """Percent right of both sides on the images that both saw, the difference in points, its interval (95 %)."""

    ours: float
    theirs: float
    difference: float
    low: float
    high: float
    p: float  # two-sided, of no difference
    images: int
    seeds: int


def paired_difference(
    ours: Mapping[int, np.ndarray], theirs: Mapping[int, np.ndarray], spread: SeedVariance | None = None,
    level: float = 0.95,
) -> Difference | None:  # fmt: skip
    """{seed: values [N]} of both sides: the difference over the seeds and the first images that both have, or None.

    A seed fixes the start of the network and the order of the data for every method, so seeds are paired; an image is
    averaged over the seeds before images are compared, because two seeds on one image are not two images. The
    variance over images is that of these averages; each side's seeds add sigma^2 / k. Without `spread` (the same
    networks under two attacks) images alone count. `level`: of the interval, 0 ... 1.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    sides = _on_the_same([*(ours[s] for s in seeds), *(theirs[s] for s in seeds)])
    one, other = 100 * np.mean(sides[: len(seeds)], axis=0), 100 * np.mean(sides[len(seeds) :], axis=0)
    change, n = one - other, len(one)
    mean, variance = float(change.mean()), float(change.var(ddof=1)) / n if n > 1 else 0.0
    between = 2 * spread.variance / len(seeds) if spread else 0.0
    df = satterthwaite(variance, n - 1, between, spread.df if spread else 1)
    error = math.sqrt(variance + between)
    half = t_quantile(df, level) * error if error else 0.0
    p = t_p_value(mean / error, df) if error else float(mean == 0)
    return Difference(float(one.mean()), float(other.mean()), mean, mean - half, mean + half, p, n, len(seeds))


def satterthwaite(first: float, df_first: float, second: float, df_second: float) -> float:
    """Degrees of freedom of a sum of two variance estimates. F. E. Satterthwaite, Biometrics Bulletin 2, 1946."""
    if first + second == 0:
        return max(df_first, 1)
    return (first + second) ** 2 / (first**2 / max(df_first, 1) + second**2 / max(df_second, 1))


def _on_the_same(values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The first images that all arrays have."""
    seen = min(len(each) for each in values)
    return [np.asarray(each[:seen], float) for each in values]
