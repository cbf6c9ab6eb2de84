"""The contrasts of docs/medium-preregistration.md: what was measured, judged by its rule; and what they can detect.

Six for a reading of Eq. (3): Adv-DPNP minus AT and minus TRADES in clean accuracy, in worst-case accuracy (right on the
clean image, under PGD-20 and under C&W-30), and in the mean of these two. Images and seeds are paired (intervals.py).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from advdpnp.config import RunConfig, Tier
from advdpnp.intervals import SeedVariance, paired_difference, satterthwaite, t_quantile
from advdpnp.intervals import holm as adjusted
from advdpnp.markdown import escape_markdown, markdown_table
from advdpnp.paper import artefacts
from advdpnp.report.tables import per_image, seed_spread
from advdpnp.store import RESULTS, Store

RIVALS = ("AT", "TRADES")
COLUMNS = ("clean", "worst", "avg")
WORST = ("clean", "pgd20", "cw30")
LEVEL, MATTERS = 0.05, 1.0  # of the six p-values together; points below which a difference is called small
VERDICTS = ("ahead", "behind", "small", "not decided")


def column(run: RunConfig, name: str, store: Store = RESULTS) -> np.ndarray | None:
    """One of COLUMNS on each test image, [N] in 0 ... 1; None where an evaluation is missing."""
    needed = ("clean",) if name == "clean" else WORST
    found = [values for source in needed if (values := per_image(run, source, store)) is not None]
    if len(found) < len(needed):
        return None
    seen = min(map(len, found))
    clean, *others = (values[:seen] for values in found)
    if name == "clean":
        return clean
    worst = np.minimum.reduce([clean, *others])
    return worst if name == "worst" else (clean + worst) / 2


def contrasts(tier: Tier, reading: str = "Adv-DPNP", store: Store = RESULTS) -> list[dict]:
    """A row for each of a reading's contrasts that was measured: `reading` is a row of Table 1.

    Each has rival, column, difference, low, high (points), p after Holm's correction, verdict, images, seeds.
    A contrast that is missing counts in the correction: with fewer than six measured, p is multiplied as for six.
    """
    rows: list[dict] = []
    spread = seed_spread(tier, artefacts.CIFAR10, store)
    for rival in RIVALS:
        for name in COLUMNS:
            ours, theirs = (
                {
                    run.seed: values
                    for run in artefacts.runs_of_row(tier, artefacts.CIFAR10, method)
                    if (values := column(run, name, store)) is not None
                }
                for method in (reading, rival)
            )
            if found := paired_difference(ours, theirs, spread):
                rows.append({"rival": rival, "column": name} | found._asdict())
    missing = len(RIVALS) * len(COLUMNS) - len(rows)
    for row, p in zip(rows, adjusted([*(row["p"] for row in rows), *[1.0] * missing]), strict=False):
        row["p"] = p
        row["verdict"] = verdict(row)
    return rows


def verdict(row: Mapping) -> str:
    """The rule: told after Holm's correction; else small where the 95 % interval stays within a point; else open."""
    if row["p"] < LEVEL:
        return "ahead" if row["difference"] > 0 else "behind"
    return "small" if max(abs(row["low"]), abs(row["high"])) < MATTERS else "not decided"


def markdown(rows: Sequence[Mapping], reading: str) -> str:
    """The contrasts of a reading as a table; one sentence where none was measured."""
    if not rows:
        return f"None of the contrasts of {escape_markdown(reading)} was measured."
    header = (
        f"{escape_markdown(reading)} minus",
        "column",
        "difference [95 %]",
        "p (Holm)",
        "verdict",
        "images",
        "seeds",
    )
    body = []
    for row in rows:
        difference = f"{row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"
        numbers = difference, f"{row['p']:.3f}", row["verdict"], f"{row['images']:,}", str(row["seeds"])
        body.append((row["rival"], row["column"], *numbers))
    return markdown_table(header, body)


# --- What they can detect


class Variance(NamedTuple):
    """Of a paired difference on one image, in points^2: A + B / k when it is averaged over k seeds."""

    lasting: float  # A: what the two methods do to this image whatever the seed
    of_seed: float  # B: what this image does from seed to seed


def image_variance(ours: Mapping[int, np.ndarray], theirs: Mapping[int, np.ndarray]) -> Variance:
    """A and B from {seed: values [N]} of both sides, on the seeds that both have. Raises ValueError below two."""
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        raise ValueError(f"expected at least two seeds on both sides, got {len(seeds)}")
    each = [100 * (ours[s].astype(float) - theirs[s].astype(float)) for s in seeds]
    one = float(np.mean([d.var(ddof=1) for d in each]))  # A + B
    mean = float(np.mean(each, axis=0).var(ddof=1))  # A + B / k
    of_seed = (one - mean) / (1 - 1 / len(seeds))
    return Variance(one - of_seed, of_seed)


def detectable(
    variance: Variance, spread: SeedVariance, *, images: int, seeds: int, level: float = LEVEL, power: float = 0.8
) -> float:
    """The true difference, in points, that is told from zero with this power at this two-sided level.

    (t_{1 - level/2} + t_{power}) sqrt((A + B/k) / N + 2 sigma^2 / k), with Satterthwaite's degrees of freedom.
    """
    of_images, of_seeds = (variance.lasting + variance.of_seed / seeds) / images, 2 * spread.variance / seeds
    df = satterthwaite(of_images, images - 1, of_seeds, spread.df)
    quantiles = t_quantile(df, 1 - level) + t_quantile(df, 2 * power - 1)
    return quantiles * math.sqrt(of_images + of_seeds)
