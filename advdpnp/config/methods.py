"""What each method adds to the settings: one dataclass per row of the paper's tables."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from advdpnp.config.settings import setting


@dataclass(frozen=True)
class St:
    """Standard training has no settings of its own."""


@dataclass(frozen=True)
class At:
    """Adversarial training."""

    clean_bn_passes: bool = setting(False, "two extra clean forward passes, as Bag of Tricks' loop does (ledger A7)")


@dataclass(frozen=True)
class AtHe:
    """Hypersphere embedding."""

    scale: float = setting(15.0, "s, multiplies the cosines (Pang et al. 2020)", low=1e-6)
    margin: float = setting(0.2, "m, subtracted from the true class's cosine", low=0, high=2)
    scale_at_test: bool = setting(True, "logits s*cos at test time; official code returns cos (ledger A8)")


@dataclass(frozen=True)
class Trades:
    """TRADES."""

    beta: float = setting(6.0, "weight of KL(p_clean || p_adv) (Zhang et al. 2019)", low=0)
    second_clean_pass: bool = setting(False, "forward the clean batch again for batch norm, as TRADES' code does")


@dataclass(frozen=True)
class Mart:
    """MART."""

    beta: float = setting(5.0, "weight of the weighted KL (Wang et al. 2020; ledger A9)", low=0)


@dataclass(frozen=True)
class Oc:
    """The orthogonal classifier."""

    scale: float = setting(10.0, "norm of each fixed class vector (Xu et al. 2022)", low=1e-6)
    leverage: float = setting(0.15, "weight of the clean loss, 1 - leverage that of the adversarial", low=0, high=1)


@dataclass(frozen=True)
class Pcl:
    """Prototype conformity."""

    proximity: float = setting(1.0, "weight of the pull to the own class's centre (Mustafa et al. 2021)", low=0)
    contrast: float = setting(1e-5, "weight of the push from the other classes' centres", low=0)
    centre_lr: float = setting(0.5, "learning rate of the pulling centres (own SGD)", low=0)
    contrast_lr: float = setting(1e-5, "learning rate of the pushing centres (own SGD)", low=0)
    warmup_epochs: int = setting(10, "epochs of cross-entropy alone before the centres act (ledger A10)", low=0)
    clip_norm: float = setting(10.0, "gradient norm is clipped to this; 0 = never (ledger A10)", low=0)


@dataclass(frozen=True)
class Hat:
    """Helper-based adversarial training."""

    beta: float = setting(2.5, "weight of KL(p_clean || p_adv) (Rade & Moosavi-Dezfooli 2022)", low=0)
    gamma: float = setting(0.5, "weight of the helper's cross-entropy", low=0)
    extrapolation: float = setting(2.0, "helper = x + this * (x_adv - x)", low=0)


@dataclass(frozen=True)
class Fsr:
    """Feature separation and recalibration."""

    tau: float = setting(0.1, "temperature of the Gumbel softmax mask (Kim et al. 2023)", low=1e-6)
    lambda_sep: float = setting(1.0, "weight of the separation losses", low=0)
    lambda_rec: float = setting(1.0, "weight of the recalibration loss", low=0)


@dataclass(frozen=True)
class Dio:
    """Diversity via orthogonality."""

    heads: int = setting(10, "parallel classifiers L (Fang et al. 2024)", low=1, high=1000)
    alpha: float = setting(0.1, "weight of the orthogonality of the heads", low=0)
    beta: float = setting(0.1, "weight of the margin loss", low=0)
    tau: float = setting(0.2, "margin to reach (ledger A15)", low=0)


@dataclass(frozen=True)
class Ikl:
    """Improved Kullback-Leibler loss."""

    sce_weight: float = setting(4.0, "weight of the soft cross-entropy (Cui et al. 2024; ledger A13)", low=0)
    wmse_weight: float = setting(20.0, "weight of the weighted MSE", low=0)
    temperature: float = setting(4.0, "of the class statistics", low=1e-6)
    craft_wmse: float = setting(0.0, "weight of the weighted MSE while crafting (1 on CIFAR-100)", low=0)


@dataclass(frozen=True)
class AdvDpnp:
    """Sections 3.2-3.3 and 4.1; the switches are the open choices of docs/ledger.md."""

    radius: float = setting(40.0, "alpha, norm of the prototypes and temperature of Eq. (1)", low=1e-6)
    lambda_dpp: float = setting(0.1, "weight of the pull to the own prototype, Eq. (3)", low=0)
    lambda_dnp: float = setting(0.1, "weight of the repulsion of prototypes, Eq. (7)", low=0)
    lambda_dfa: float = setting(2.0, "weight of the clean-adversarial KL, Eq. (7)", low=0)
    pull: str = setting(
        "mean",
        "reduction of Eq. (3)'s squared distance: sum = as printed, mean = over the d coordinates, norm = without the "
        "square (ledger 17)",
        choices=("sum", "mean", "norm"),
        legacy="sum",
    )
    pull_prototypes: bool = setting(True, "the pull moves prototypes too, not features alone (ledger 22)", legacy=True)
    rival_gradient: str = setting(
        "both", "whom Eq. (5) pushes: both ends of a pair, or c_j alone (ledger 18)", choices=("both", "own"),
        legacy="both",
    )  # fmt: skip
    prototype_lr: float = setting(
        1.0, "learning rate of the prototypes over that of the weights (ledger 19)", low=0, high=1000, legacy=1.0
    )
    inner_loss: str = setting("ce", "what crafting maximises (ledger 1)", choices=("ce", "composite"))
    lock_prototypes: bool = setting(True, "adversarial branch sends no gradient to the prototypes (ledger 4)")
    decay_prototypes: bool = setting(True, "weight decay acts on the prototypes too (ledger 4)")
    prototype_start: str = setting(
        "random",
        "initial directions; class_means = of the untrained network's features (ledger 4)",
        choices=("random", "orthogonal", "simplex", "class_means"),
    )
    renormalise: str = setting(
        "epoch", "when norms return to the radius (ledger 5)", choices=("epoch", "step", "never")
    )
    renormalise_at_test: bool = setting(False, "norms return to the radius after training (ledger 5)")
    detach_dfa_target: bool = setting(False, "p(x) is a constant in Eq. (6) (ledger 6)")


METHODS = {  # row names of the paper's tables, in their order
    "ST": St, "AT": At, "AT_HE": AtHe, "TRADES": Trades, "MART": Mart, "OC": Oc, "PCL": Pcl, "HAT": Hat, "FSR": Fsr,
    "DIO": Dio, "IKL": Ikl, "Adv-DPNP": AdvDpnp,
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What is known of a method besides its settings: one table of methods.toml, which says what the fields mean."""

    updates: int = 2
    requires: str = ""
    key: str = ""
    title: str = ""
    authors: str = ""
    venue: str = ""
    link: str = ""


FACTS = {
    name: Facts(**told) for name, told in tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")).items()
}


def facts(method: str) -> Facts:
    """The facts of a method of METHODS; one that was added from a notebook need not have any."""
    return FACTS.get(method, Facts(key=method, title=method))


def slug(method: str) -> str:
    """'Adv-DPNP' -> 'adv_dpnp', the method's name in run ids, file names and keys of a tier."""
    return method.lower().replace("-", "_")


def slugs() -> dict[str, str]:
    """{'adv_dpnp': 'Adv-DPNP', ...} of METHODS as it is now: a method added from a notebook is among them."""
    return {slug(method): method for method in METHODS}
