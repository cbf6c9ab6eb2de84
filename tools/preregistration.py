"""The two tables of docs/medium-preregistration.md: angles that the theory predicts, differences that can be detected.

    python tools/preregistration.py         # prints them; a test compares them with the document

Everything is computed from config/medium.toml, from runs of the short tier that were published before, and from the
accuracies assumed below.
"""

import math

from advdpnp import prototype_dynamics as theory
from advdpnp.config import load_tier
from advdpnp.intervals import Difference, SeedVariance, paired_difference, pooled_seed_variance
from advdpnp.paper.artefacts import CIFAR10
from advdpnp.report.contrasts import COLUMNS, LEVEL, RIVALS, detectable, image_variance
from advdpnp.report.tables import by_seed
from advdpnp.store import PUBLISHED

LEVELS = (0.58, 0.65, 0.72)  # training accuracy that the first 24 epochs approach
READINGS = {"mean": "", "balanced": "balanced", "printed": "printed", "unlocked": "unlocked"}
# Trained twice and published before the medium tier was begun: method and variant.
TWICE = (
    ("ST", ""), ("AT", ""), ("TRADES", ""), ("Adv-DPNP", ""), ("Adv-DPNP", "printed"), ("Adv-DPNP", "norm"),
    ("Adv-DPNP", "unlocked"), ("Adv-DPNP", "undecayed"), ("Adv-DPNP", "signed"),
)  # fmt: skip
OURS = {"Adv-DPNP": "", "Adv-DPNP (as printed)": "printed"}
STANDS_FOR = {"clean": "clean", "worst": "pgd20"}  # AT and TRADES have no C&W in the short tier


def schedule(level: float, epochs: int = 30, falls: int = 24) -> list[float]:
    """Clean training accuracy an epoch, as a fraction: from 0.3 towards `level`, and 0.03 more once lr has fallen."""
    return [level - (level - 0.3) * math.exp(-epoch / 6) + 0.03 * (epoch >= falls) for epoch in range(epochs)]


def angles(level: float, reading: str) -> tuple[float, float]:
    """(MeanSep, MinSep) in degrees after the last epoch, by the theory, from the assumed accuracies alone.

    Under attack, which matters without the lock only, accuracy is taken as 0.6 of the clean one.
    """
    run = load_tier("medium").run(CIFAR10, "Adv-DPNP", 0, READINGS[reading])
    clean = schedule(level)
    rows = theory.predict(
        theory.setting_of(run.training_settings()), clean, [0.6 * a for a in clean], stride=4, inputs=200
    ).epochs
    return rows[-1]["mean_sep"], rows[-1]["min_sep"]


def spread_before() -> SeedVariance:
    """The seed variance of the trainings of TWICE, in clean accuracy and under PGD-20."""
    tier = load_tier("short")
    groups = [[tier.run(CIFAR10, method, seed, variant) for seed in (0, 1)] for method, variant in TWICE]
    found = pooled_seed_variance(
        [list(by_seed(runs, s, PUBLISHED).values()) for s in ("clean", "pgd20")] for runs in groups
    )
    assert found is not None
    return found


def values_before(method: str, variant: str, column: str) -> dict:
    """{seed: [N] in 0 ... 1} in the published short tier, PGD-20 alone in place of the worst of two attacks."""
    tier = load_tier("short")
    runs = [tier.run(CIFAR10, method, seed, variant) for seed in (0, 1)]
    if column != "avg":
        return by_seed(runs, STANDS_FOR[column], PUBLISHED)
    clean, worst = (by_seed(runs, source, PUBLISHED) for source in STANDS_FOR.values())
    return {seed: (clean[seed] + worst[seed]) / 2 for seed in clean}


def both(reading: str, rival: str, column: str) -> tuple[dict, dict]:
    """`values_before` of the two sides of a contrast."""
    return values_before("Adv-DPNP", OURS[reading], column), values_before(rival, "", column)


def power(reading: str, rival: str, column: str) -> tuple[float, float, float]:
    """Points told with power 0.8 on 10,000 images: three seeds alone, three seeds as one of six, two seeds alone."""
    variance, spread = image_variance(*both(reading, rival, column)), spread_before()
    return (
        detectable(variance, spread, images=10_000, seeds=3),
        detectable(variance, spread, images=10_000, seeds=3, level=LEVEL / 6),
        detectable(variance, spread, images=10_000, seeds=2),
    )


def known(reading: str, rival: str, column: str) -> Difference:
    """What the short tier says of a contrast."""
    found = paired_difference(*both(reading, rival, column), spread_before())
    assert found is not None
    return found


def shown(found: Difference) -> str:
    """'+6.8 [+4.4, +9.1]'."""
    return f"{found.difference:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"


def predictions() -> list[list[str]]:
    """Cells of the table of angles: reading, then MeanSep / MinSep at each of LEVELS."""
    return [
        [f"`{name}`", *(" / ".join(f"{v:.0f}" for v in angles(level, name)) for level in LEVELS)] for name in READINGS
    ]


def resolutions() -> list[list[str]]:
    """Cells of the table of what is known and what can be detected."""
    return [
        [
            reading,
            rival,
            column,
            shown(known(reading, rival, column)),
            *(f"{v:.1f}" for v in power(reading, rival, column)),
        ]
        for reading in OURS
        for rival in RIVALS
        for column in COLUMNS
    ]


if __name__ == "__main__":
    for table in (predictions(), resolutions()):
        print(*(f"| {' | '.join(cells)} |" for cells in table), sep="\n", end="\n\n")
    print(f"seed variance {spread_before().variance:.3f} points^2, {spread_before().df} degrees of freedom")
