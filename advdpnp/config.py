"""What a run is: frozen settings, each with its meaning, unit and source; run ids.

The defaults *are* the paper's protocol (Section 4.1); a tier's TOML file (tiers.py) only says where it differs.
Nothing here loads torch, so `--help` and `status` answer at once.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before it is opened."""

    classes: int
    channels: int
    size: int  # pixels a side
    augment: bool  # random crop and flip while training; a mirrored digit is another digit
    train_images: int
    test_images: int

    @property
    def pixels(self) -> int:
        """Numbers of an image: pixels times channels."""
        return self.channels * self.size**2


DATASETS = {
    "cifar10": DatasetFacts(10, 3, 32, True, 50_000, 10_000),
    "cifar100": DatasetFacts(100, 3, 32, True, 50_000, 10_000),
    "svhn": DatasetFacts(10, 3, 32, False, 73_257, 26_032),
    "mnist": DatasetFacts(10, 1, 28, False, 60_000, 10_000),
    "digits": DatasetFacts(10, 1, 8, False, 1_437, 360),
}
CORRUPTION_TYPES = {  # Section 4.4: 19 corruptions of four types
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
}
BACKBONES = ("resnet18", "wrn34_10", "lenetspp")


def setting(
    default: Any,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Iterable | None = None,
    legacy: Any = None,
) -> Any:
    """A dataclass field that carries its meaning, its unit and source, and the values it may take.

    `legacy`: what runs did before the setting existed. A run's record leaves that value out, so theirs stay valid.
    """
    metadata = {"meaning": meaning, "low": low, "high": high, "choices": choices, "legacy": legacy}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataConfig:
    """Which images train, and how they are augmented."""

    train_images: int = setting(0, "first n training images; 0 = all of them", low=0)
    validation_images: int = setting(0, "held out from the end of the training set; 0 = none (ledger 14)", low=0)
    augment: str = setting("auto", "crop and flip; auto = CIFAR only (ledger A3)", choices=("auto", "on", "off"))
    padding: int = setting(4, "pixels added on each side before the random crop", low=0, high=16)
    pad_mode: str = setting("zeros", "what is padded (ledger A22)", choices=("zeros", "reflect"))


@dataclass(frozen=True)
class ModelConfig:
    """The network, apart from what its method adds."""

    width: int = setting(
        0, "channels of the first stage; 0 = the paper's (ResNet 64, WRN 160, LeNets++ 32)", low=0, high=512
    )
    last_relu: bool = setting(True, "ReLU after the last residual addition (ledger 7)")
    normalise: bool = setting(True, "subtract mean and divide by std inside the network (ledger A21)")


@dataclass(frozen=True)
class OptimConfig:
    """SGD and its schedule."""

    epochs: int = setting(110, "passes over the training set (Section 4.1)", low=1, high=100_000)
    batch_size: int = setting(128, "images a step (Section 4.1)", low=1, high=65_536)
    lr: float = setting(0.1, "initial learning rate of SGD (Section 4.1)", low=1e-8, high=100)
    momentum: float = setting(0.9, "of SGD (Section 4.1)", low=0, high=0.999999)
    weight_decay: float = setting(5e-4, "on every parameter (Section 4.1, Bag of Tricks)", low=0, high=1)
    milestones: tuple[int, ...] = setting((100, 105), "0-based epochs at which lr falls (Section 4.1)", low=1)
    gamma: float = setting(0.1, "factor by which lr falls (Section 4.1)", low=0, high=1)
    warmup_epochs: float = setting(0.0, "lr rises linearly over these epochs (not in the paper)", low=0)
    clip_norm: float = setting(0.0, "gradient norm is clipped to this; 0 = never (not in the paper)", low=0)
    precision: str = setting(
        "auto", "of the backbone; auto = bf16 where the hardware multiplies it", choices=("auto", "bf16", "fp32")
    )
    compile: str = setting(
        "auto",
        "torch.compile of the backbone: how fast, not what; graphs = with CUDA graphs; auto = on, on a GPU with Triton "
        "(on CPUs it hardly pays)",
        choices=("auto", "on", "graphs", "off"),
    )


@dataclass(frozen=True)
class CraftConfig:
    """Adversarial examples for training: linf PGD (Section 4.1, "Adversarial Training Setup")."""

    epsilon: float = setting(8 / 255, "linf budget on pixels in [0, 1]", low=0, high=1)
    step_size: float = setting(2 / 255, "of one PGD step; 1/255 on SVHN", low=0, high=1)
    steps: int = setting(10, "PGD iterations", low=1, high=1000)
    random_start: str = setting(
        "method",
        "start of PGD; method = as each paper has it (ledger 3)",
        choices=("method", "uniform", "normal", "none"),
    )
    bn_mode: str = setting("eval", "batch norm while crafting (ledger 2)", choices=("eval", "train"))
    fold_batch_norm: bool = setting(
        True, "batch norm folded into the convolutions while crafting; same function, faster"
    )
    epsilon_warmup_epochs: int = setting(0, "epsilon rises linearly from 0 over these epochs (not in the paper)", low=0)


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
    tau: float = setting(0.2, "margin wanted (ledger A15)", low=0)


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


REQUIRES = {"HAT": "ST"}  # methods that need another one's trained model of the same data set and seed


def slug(method: str) -> str:
    """'Adv-DPNP' -> 'adv_dpnp', the method's name in run ids, file names and keys of a tier."""
    return method.lower().replace("-", "_")


def slugs() -> dict[str, str]:
    """{'adv_dpnp': 'Adv-DPNP', ...} of METHODS as it is now: a method added from a notebook is among them."""
    return {slug(method): method for method in METHODS}


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


@dataclass(frozen=True)
class EvaluationConfig:
    """On what the trained network is attacked, and how hard."""

    test_images: int = setting(0, "first n test images; 0 = all of them", low=0)
    batch_size: int = setting(500, "images a batch", low=1)
    budget_scale: float = setting(1.0, "every epsilon and step of evaluation times this (not in the paper)", low=0)
    corruption_images: int = setting(0, "first n test images a corruption and severity; 0 = all", low=0)
    nested_budgets: bool = setting(
        False, "AutoAttack at a smaller budget searches only images that fell at the next larger one, and a tenth more"
    )
    fast: bool = setting(True, "gradient attacks meet the network with its batch norms folded: same function, faster")
    autoattack: str = setting(
        "package",
        "how AutoAttack searches: package = pyautoattack as it is; surrogate = on a folded, bf16 network, where a find "
        "counts only if it fools the network itself, and the rest is searched again on that",
        choices=("package", "surrogate"),
    )


@dataclass(frozen=True)
class RunConfig:
    """One training, fully resolved; saved beside its weights as config.json."""

    tier: str
    block: str  # the paper's dataset/backbone that this run is, or stands in for
    dataset: str
    backbone: str
    method: str
    seed: int
    variant: str
    data: DataConfig
    model: ModelConfig
    optim: OptimConfig
    craft: CraftConfig
    hyper: Any  # the method's own dataclass from METHODS
    evaluation: EvaluationConfig
    attacks: Mapping[str, AttackConfig]
    # The block's own sections, before a variant: what another method is trained with beside this run (tiers.py).
    plain: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def id(self) -> str:
        """<dataset>-<backbone>-<defense>-s<seed>; a variant's name follows the defense after a dot."""
        method = slug(self.method) + (f".{self.variant}" if self.variant else "")
        return f"{self.dataset}-{self.backbone}-{method}-s{self.seed}"

    @property
    def facts(self) -> DatasetFacts:
        """What is known of its data set."""
        return DATASETS[self.dataset]

    def training_settings(self) -> dict:
        """All that decides the weights, as plain data; how the run is evaluated later is left out."""
        settings = asdict(replace(self, attacks={}, plain={}))
        for key in ("evaluation", "attacks", "tier", "block", "plain"):
            del settings[key]
        del settings["optim"]["compile"]  # how fast, not what: may change between the calls that finish a training
        for key, part in settings.items():
            if is_dataclass(known := getattr(self, key)):
                for f in fields(known):
                    if f.metadata.get("legacy") is not None and part.get(f.name) == f.metadata["legacy"]:
                        del part[f.name]
        return json.loads(json.dumps(settings))  # tuples become lists, as in the saved file


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


def resolved_attack(run: RunConfig, name: str) -> AttackConfig:
    """The attack with the tier's scale applied to its budget and step."""
    attack, scale = run.attacks[name], run.evaluation.budget_scale
    return replace(attack, epsilon=scale * attack.epsilon, step_size=scale * attack.step_size)


def digest(settings: Any) -> str:
    """First 16 hex digits of the sha256 of canonical JSON: the identity of a configuration."""
    settings = asdict(settings) if is_dataclass(settings) else settings
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
