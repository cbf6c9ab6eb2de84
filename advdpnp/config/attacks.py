"""The attacks of the paper's evaluation, by name."""

from dataclasses import dataclass

from advdpnp.config.settings import setting


@dataclass(frozen=True)
class AttackConfig:
    """One way of attacking the test images. Budgets are on pixels in [0, 1]."""

    kind: str = setting("pgd", "what runs", choices=("clean", "fgsm", "pgd", "cw", "adaptive", "autoattack"))
    norm: str = setting("linf", "of the budget", choices=("linf", "l2", "l1"))
    epsilon: float = setting(8 / 255, "budget", low=0, high=1000)
    step_size: float = setting(1 / 255, "of one step", low=0, high=1000)
    steps: int = setting(20, "iterations", low=1, high=100_000)
    restarts: int = setting(1, "random starts; the worst counts", low=1, high=10_000)
    random_start: bool = setting(False, "uniform in the ball (ledger 3: none in Tables 1-4 and 8)")
    confidence: float = setting(50.0, "of C&W (Section 4.2)", low=0)
    l1_step: str = setting(
        "top1",
        "how an l1 step is taken: the largest gradient, the largest among pixels that the box lets move, or all of "
        "them (ledger 11)",
        choices=("top1", "top1_free", "dense"),
    )
    renormalise: bool = setting(False, "norms of Adv-DPNP's prototypes return to the radius first (ledger 5)")
    version: str = setting(
        "standard", "of AutoAttack; smoke = APGD-CE and Square alone, to exercise code", choices=("standard", "smoke")
    )
    square_queries: int = setting(0, "of AutoAttack's Square; 0 = the standard 5000", low=0)
    images: int = setting(0, "first n test images; 0 = as many as the tier evaluates", low=0)


# What the evaluation `geometry` measures: 1 took AT_HE's features before they are normalised, and had fewer quantities.
GEOMETRY_DEFINITION = 2
GUARD_IMAGES = 100  # test images that the evaluation `guard` probes, from the first on
_eps = {f"eps{e}": e / 255 for e in (2, 4, 6)}
ATTACKS = {
    "clean": AttackConfig("clean"),
    # Tables 1-3 (Section 4.2). linf and l2: 2.5 eps / steps is the step; l1: the step "50" is 50/255 (ledger 11).
    "fgsm": AttackConfig("fgsm"),
    "pgd20": AttackConfig("pgd"),
    "pgd100": AttackConfig("pgd", steps=100),
    "pgd20_l2": AttackConfig("pgd", "l2", 128 / 255, 16 / 255),
    "pgd100_l1": AttackConfig("pgd", "l1", 2000 / 255, 50 / 255, 100),
    "pgd100_l1_free": AttackConfig("pgd", "l1", 2000 / 255, 50 / 255, 100, l1_step="top1_free"),
    "cw30": AttackConfig("cw", steps=30),
    "aa": AttackConfig("autoattack"),
    **{f"pgd20_{name}": AttackConfig("pgd", epsilon=epsilon) for name, epsilon in _eps.items()},
    **{f"aa_{name}": AttackConfig("autoattack", epsilon=epsilon) for name, epsilon in _eps.items()},
    # Figure 2: MNIST.
    "pgd40_mnist": AttackConfig("pgd", epsilon=0.3, step_size=0.01, steps=40),
    # Figure 4: step 2.5 eps / 20.
    **{f"fgsm_eps{e}": AttackConfig("fgsm", epsilon=e / 255) for e in (4, 8, 16, 24, 32, 48, 64, 96, 128)},
    **{
        f"pgd20_fig4_eps{e}": AttackConfig("pgd", epsilon=e / 255, step_size=2.5 * e / 255 / 20)
        for e in (4, 8, 16, 24, 32, 48, 64, 96, 128)
    },
    # Tables 6-8 (Section 4.5).
    **{f"pgd{n}_random": AttackConfig("pgd", steps=n, random_start=True) for n in (20, 40, 100, 250, 500)},
    **{
        f"pgd40_restarts{n}": AttackConfig("pgd", step_size=0.5 / 255, steps=40, random_start=True, restarts=n)
        for n in (1, 5, 10, 20)
    },
    "adaptive20": AttackConfig("adaptive"),
    # The ledger's other choices, beside clean, pgd20, pgd100_l1 and cw30.
    "clean_renormalised": AttackConfig("clean", renormalise=True),
    "pgd20_renormalised": AttackConfig("pgd", renormalise=True),
    "pgd100_l1_dense": AttackConfig("pgd", "l1", 2000 / 255, 50 / 255, 100, l1_step="dense"),
    "cw30_confidence0": AttackConfig("cw", steps=30, confidence=0),
}


def widest(norm: str, pixels: int) -> float:
    """How far two images of so many pixels (times channels) can be apart, with pixels in [0, 1]."""
    return {"linf": 1.0, "l2": pixels**0.5, "l1": float(pixels)}[norm]


def budget_fault(norm: str, epsilon: float, step_size: float, pixels: int) -> str:
    """What is wrong with a budget and a step on images of so many pixels: a sentence, or "" where nothing is."""
    most = widest(norm, pixels)
    for key, value in (("epsilon", epsilon), ("step_size", step_size)):
        if value > most:
            return (
                f"{key} {value:g} is out of range; pixels lie in [0, 1], so no two images are more than {most:.4g} "
                f"apart in {norm}: write a budget in 1/255 as, for example, 8/255."
            )
    return ""
