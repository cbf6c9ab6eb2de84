"""Where Eq. (7) takes the prototypes: their dynamics with free features, from the logged accuracies and nothing fitted.

The network is replaced by features that are free to move (a layer-peeled model). An input leaves a posterior P over
the classes, and its feature f >= 0 minimises its own part of Eq. (7), sum_k P_k [CE_k(f) + lambda_DPP pull(f, c_k)].
What an input says of its class is a Gaussian channel, u = s e_y + n, whose strength s is set so that the most probable
class is right as often as the network was. Prototypes follow SGD on Eq. (7), renormalised as Algorithm 1 does. Left
out: DFA, whose pull on the prototypes is small, and that some pairs of classes are harder than others.

Shapes: prototypes c [M, d]; features f [G, d], one for each of G inputs; posteriors P [G, M].
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from advdpnp.config import DATASETS, AdvDpnp
from advdpnp.geometry import mean_separation, min_separation, separation_to_compactness
from advdpnp.hardware import seeded
from advdpnp.losses import cross_entropy_loss, dnp_loss, prototype_logits
from advdpnp.models import PrototypeHead, ResNet18

STEP = 0.8  # of the descent to a feature's minimum: how fast it is found, not where it is


@dataclass(frozen=True)
class Setting:
    """What the prototypes' dynamics depends on; the defaults are Section 4.1's on CIFAR-10, Eq. (3) as printed."""

    classes: int = 10
    features: int = 512
    radius: float = 40.0
    lambda_dpp: float = 0.1
    lambda_dnp: float = 0.1
    pull: str = "sum"
    pull_prototypes: bool = True
    lock_prototypes: bool = True
    rival_gradient: str = "both"
    renormalise: str = "epoch"
    last_relu: bool = True
    lr: float = 0.1  # of the prototypes
    momentum: float = 0.9
    weight_decay: float = 5e-4  # on the prototypes
    milestones: tuple[int, ...] = (100, 105)
    gamma: float = 0.1
    steps_per_epoch: int = 391

    def __post_init__(self) -> None:
        if self.pull not in ("sum", "mean", "norm"):
            raise ValueError(f"expected a pull of sum, mean or norm, got {self.pull!r}")


def setting_of(config: Mapping[str, Any]) -> Setting:
    """The setting of a training of Adv-DPNP with ResNet-18, from its config.json.

    A setting that the file leaves out has the value it had before it existed ("legacy" in advdpnp.config). Raises
    ValueError for another method or backbone, and for prototypes that do not start at random.
    """
    if (config["method"], config["backbone"]) != ("Adv-DPNP", "resnet18"):
        raise ValueError(f"expected Adv-DPNP with resnet18, got {config['method']} with {config['backbone']}")
    hyper = {f.name: f.metadata["legacy"] for f in fields(AdvDpnp) if f.name not in config["hyper"]} | config["hyper"]
    if hyper["prototype_start"] != "random":
        raise ValueError(f"expected prototype_start: random, got {hyper['prototype_start']}")
    facts, optim = DATASETS[config["dataset"]], config["optim"]
    images = config["data"]["train_images"] or facts.train_images - config["data"]["validation_images"]
    names = {f.name for f in fields(Setting)}
    return Setting(
        **{key: value for key, value in hyper.items() if key in names},
        classes=facts.classes,
        features=8 * (config["model"]["width"] or 64),
        last_relu=config["model"]["last_relu"],
        lr=optim["lr"] * hyper["prototype_lr"],
        momentum=optim["momentum"],
        weight_decay=optim["weight_decay"] if hyper["decay_prototypes"] else 0.0,
        milestones=tuple(optim["milestones"]),
        gamma=optim["gamma"],
        steps_per_epoch=-(-images // optim["batch_size"]),
    )


def start_of(config: Mapping[str, Any]) -> Tensor:
    """The random prototypes [M, d] that this training started from: the network's own, drawn from its seed."""
    setting, facts, model = setting_of(config), DATASETS[config["dataset"]], config["model"]
    with seeded(torch.device("cpu"), config["seed"], -1):
        ResNet18(facts.channels, model["width"] or 64, last_relu=model["last_relu"])  # its weights are drawn first
        return PrototypeHead(setting.features, setting.classes, setting.radius).prototypes.detach()


# --- What follows from Eq. (7) without a simulation


def squared_pull(setting: Setting, distance: float = math.nan) -> float:
    """lambda of the pull lambda ||f - c||^2 / 2 that has this reading's gradient, to compare readings by.

    sum: lambda_DPP; mean: lambda_DPP / d; norm: lambda_DPP / (2 ||f - c||), at a `distance`.
    """
    divisor = {"sum": 1.0, "mean": float(setting.features), "norm": 2 * distance}
    return setting.lambda_dpp / divisor[setting.pull]


def decay_over_pull(setting: Setting) -> float:
    """w of cbar = mbar / (1 + w): the mean prototype in equilibrium is the mean feature, shortened by weight decay.

    The pushes of Eq. (5) cancel over the classes (action and reaction), the gradients of CE and DFA do too (a softmax
    sums to one). What is left of the sum of Eq. (7)'s gradients over the M classes, which are equally frequent, is
    lambda / 2 (cbar - mbar) + M wd cbar = 0 with the lock: w = 2 M wd / lambda for pull "sum", the same with lambda / d
    for "mean". Without the lock both branches pull: mbar is then the mean over clean and adversarial features, and w is
    half as large. Raises ValueError for "norm", where each image pulls with a weight of its own.
    """
    if setting.pull == "norm" or not setting.pull_prototypes:
        raise ValueError("expected a pull of sum or mean that moves prototypes: else their mean is no mean of features")
    branches = 1 if setting.lock_prototypes else 2
    return 2 * setting.classes * setting.weight_decay / (branches * squared_pull(setting))


def mean_cosine(mean_prototype: float, setting: Setting) -> float:
    """Mean cosine of pairs of prototypes of norm R from the norm of their mean: (M |cbar|^2 / R^2 - 1) / (M - 1)."""
    return (setting.classes * (mean_prototype / setting.radius) ** 2 - 1) / (setting.classes - 1)


def longest_mean_feature(setting: Setting) -> float:
    """|mbar| below which prototypes of norm R are more than 90 degrees apart on average: (1 + w) R / sqrt(M)."""
    return (1 + decay_over_pull(setting)) * setting.radius / math.sqrt(setting.classes)


# --- What inputs say of their class


class Inputs(NamedTuple):
    """Labels [G], each class equally often, and the noise [G, M] of their channel."""

    labels: Tensor
    noise: Tensor

    def posteriors(self, accuracy: float) -> Tensor:
        """P_k = softmax(s u_k), what u = s e_y + n says of the class, at the s where arg max P is right that often.

        P is calibrated, so that is its mean maximum; s is found by bisection. Raises ValueError outside [1/M, 1).
        """
        classes = self.noise.shape[1]
        if not 1 / classes <= accuracy < 1:
            raise ValueError(f"expected an accuracy in [{1 / classes:g}, 1), as a fraction, got {accuracy:g}")
        low, high, own = 0.0, 10.0, F.one_hot(self.labels, classes)
        for _ in range(40):
            s = (low + high) / 2
            P = (s * (s * own + self.noise)).softmax(1)
            low, high = (s, high) if P.amax(1).mean() < accuracy else (low, s)
        return P


def draw_inputs(inputs: int, classes: int, generator: torch.Generator) -> Inputs:
    """That many inputs of a channel whose strength is chosen later."""
    return Inputs(torch.arange(inputs) % classes, torch.randn(inputs, classes, generator=generator))


# --- Forces of Eq. (7) in closed form (the tests compare them with autograd through advdpnp.losses)


def distances(f: Tensor, c: Tensor) -> Tensor:
    """||f - c_k||, [G, M]."""
    squared = f.square().sum(1, keepdim=True) + c.square().sum(1) - 2 * f @ c.T
    return squared.clamp_min(1e-6).sqrt()


def pull_weights(P: Tensor, f: Tensor, c: Tensor, setting: Setting) -> Tensor:
    """w [G, M] with sum_k w_k (f - c_k) the gradient of sum_k P_k lambda_DPP pull(f, c_k)."""
    if setting.pull == "norm":
        return setting.lambda_dpp / 2 * P / distances(f, c)
    return squared_pull(setting) * P


def feature_gradient(P: Tensor, f: Tensor, c: Tensor, setting: Setting) -> Tensor:
    """d/df of sum_k P_k [CE_k(f) + lambda_DPP pull(f, c_k)], [G, d]: each input's own part of Eq. (7)."""
    w = pull_weights(P, f, c, setting)
    towards = (prototype_logits(f, c, radius=setting.radius).softmax(1) - P) / setting.radius - w
    return w.sum(1, keepdim=True) * f + towards @ c


def prototype_gradient(P: Tensor, f: Tensor, c: Tensor, setting: Setting) -> Tensor:
    """d/dc of the mean over inputs of sum_k P_k [CE_k(f) + lambda_DPP pull(f, c_k)] / 2, one branch of Eq. (7)."""
    from_ce = (prototype_logits(f, c, radius=setting.radius).softmax(1) - P).T @ f / setting.radius
    if not setting.pull_prototypes:
        return from_ce / (2 * len(f))
    w = pull_weights(P, f, c, setting)
    return (from_ce + w.sum(0)[:, None] * c - w.T @ f) / (2 * len(f))


def repulsion_gradient(c: Tensor, setting: Setting) -> Tensor:
    """d/dc of lambda_DNP L_DNP, by autograd."""
    c = c.detach().requires_grad_()
    loss = setting.lambda_dnp * dnp_loss(c, rival_gradient=setting.rival_gradient)
    return torch.autograd.grad(loss, c)[0]


# --- The dynamics


class Descent:
    """Features on their way to the minimum of their own part of Eq. (7): Nesterov's projected gradient."""

    def __init__(self, P: Tensor, c: Tensor, setting: Setting, momentum: float = 0.9):
        self.setting, self.momentum = setting, momentum
        self.now = self.before = self.allowed(P @ c)  # where the pull alone would have them

    def allowed(self, f: Tensor) -> Tensor:
        """Non-negative, where the network ends in a ReLU."""
        return f.clamp_min(0) if self.setting.last_relu else f

    def step(self, P: Tensor, c: Tensor) -> Tensor:
        """One step towards the minimum for these posteriors and prototypes; returns the features [G, d]."""
        ahead = self.now + self.momentum * (self.now - self.before)
        moved = ahead - STEP * feature_gradient(P, ahead, c, self.setting)
        self.before, self.now = self.now, self.allowed(moved)
        return self.now


class Theory(NamedTuple):
    """What becomes of the prototypes: one row per epoch, named as in log.csv, and where they end [M, d]."""

    epochs: list[dict[str, float]]
    prototypes: Tensor


def predict(
    setting: Setting,
    clean: Sequence[float],
    adversarial: Sequence[float] | None = None,
    *,
    start: Tensor | None = None,
    seed: int = 0,
    inputs: int = 400,
    stride: int = 1,
) -> Theory:
    """Prototypes over the epochs from training accuracies (fractions), one per epoch.

    Each row has epoch, center_norm_mean, mean_sep, min_sep (degrees, at the epoch's end), pull_clean (mean over the
    epoch, before its weight), negative_share (of the prototypes' entries), and distance_over_norm (of a feature to its
    own prototype, over the prototypes' norm). `adversarial` is needed without the lock, where that branch pulls too.
    `start` [M, d]: where they start, else at random. `stride` n takes n steps of SGD at once (lr n / (1 - momentum), no
    momentum): for long schedules. Raises ValueError for accuracies outside [1/M, 1), or where some are missing.
    """
    if not setting.lock_prototypes and (adversarial is None or len(adversarial) != len(clean)):
        raise ValueError("expected an adversarial accuracy for each clean one: without the lock that branch pulls too")
    draw, M, R = torch.Generator().manual_seed(seed), setting.classes, setting.radius
    c = R * F.normalize(torch.randn(M, setting.features, generator=draw), dim=1) if start is None else start.clone()
    accuracies = [clean] if setting.lock_prototypes or adversarial is None else [clean, adversarial]
    branches = [draw_inputs(inputs, M, draw) for _ in accuracies]
    features: list[Descent] = []
    velocity, rows = torch.zeros_like(c), []
    steps = max(1, round(setting.steps_per_epoch / stride))
    momentum = setting.momentum if stride == 1 else 0.0
    boost = 1.0 if stride == 1 else setting.steps_per_epoch / steps / (1 - setting.momentum)
    for epoch in range(len(clean)):
        rate = boost * setting.lr * setting.gamma ** sum(epoch >= milestone for milestone in setting.milestones)
        posteriors = [x.posteriors(a[epoch]) for x, a in zip(branches, accuracies, strict=True)]
        if setting.renormalise == "epoch":
            c = R * F.normalize(c, dim=1)
        features = features or [Descent(P, c, setting) for P in posteriors]
        pull = 0.0
        for _ in range(steps):
            gradient = repulsion_gradient(c, setting) + setting.weight_decay * c
            for P, descent in zip(posteriors, features, strict=True):
                gradient = gradient + prototype_gradient(P, descent.step(P, c), c, setting)
            pull += float(pull_of(posteriors[0], features[0].now, c, setting)) / steps
            velocity = momentum * velocity + gradient
            c = c - rate * velocity
            if setting.renormalise == "step":
                c = R * F.normalize(c, dim=1)
        norm = float(c.norm(dim=1).mean())
        rows.append(
            {
                "epoch": epoch,
                "center_norm_mean": norm,
                "mean_sep": mean_separation(c),
                "min_sep": min_separation(c),
                "pull_clean": pull,
                "negative_share": float((c < 0).float().mean()),
                "distance_over_norm": float((posteriors[0] * distances(features[0].now, c)).sum(1).mean()) / norm,
            }
        )
    return Theory(rows, c)


def pull_of(P: Tensor, f: Tensor, c: Tensor, setting: Setting) -> Tensor:
    """Mean over inputs of sum_k P_k pull(f, c_k), before its weight: `pull_clean` of log.csv."""
    d = distances(f, c)
    values = {"sum": d.square(), "mean": d.square() / setting.features, "norm": d}[setting.pull]
    return (P * values).sum(1).mean() / 2


def fresh_inputs(
    c: Tensor, setting: Setting, accuracy: float, *, seed: int = 1, inputs: int = 600, steps: int = 400
) -> dict[str, float]:
    """What inputs that the prototypes [M, d] never saw measure, at this accuracy (a fraction).

    scr is Eq. (10), distance_over_norm that of `predict`, cross_entropy that of the true labels.
    """
    x = draw_inputs(inputs, setting.classes, torch.Generator().manual_seed(seed))
    P = x.posteriors(accuracy)
    descent = Descent(P, c, setting, momentum=0.97)
    for _ in range(steps):
        f = descent.step(P, c)
    return {
        "scr": separation_to_compactness(f, x.labels, c),
        "distance_over_norm": float((f - c[x.labels]).norm(dim=1).mean() / c.norm(dim=1).mean()),
        "cross_entropy": float(cross_entropy_loss(f, c, x.labels, radius=setting.radius)),
    }


def compare(
    readings: Mapping[str, Setting],
    clean: float,
    adversarial: float,
    *,
    epochs: int = 30,
    stride: int = 8,
    inputs: int = 200,
) -> list[dict[str, Any]]:
    """Where readings of Eq. (7) end at given accuracies (fractions), a row each, named as Table 4's columns are.

    The prototypes learn from clean inputs at the accuracy `clean`, held over all epochs; scr_clean, scr_adv,
    ratio_clean, ratio_adv (`distance_over_norm`) and loss_adv (cross-entropy) are of fresh inputs. Also reading, pull
    (`squared_pull`), mean_sep, min_sep.
    """
    rows = []
    for name, setting in readings.items():
        end = predict(setting, [clean] * epochs, stride=stride, inputs=inputs)
        c, last = end.prototypes, end.epochs[-1]
        fresh = {
            kind: fresh_inputs(c, setting, accuracy) for kind, accuracy in (("clean", clean), ("adv", adversarial))
        }
        distance = fresh["clean"]["distance_over_norm"] * last["center_norm_mean"]
        rows.append(
            {"reading": name, "pull": squared_pull(setting, distance)}
            | {key: last[key] for key in ("mean_sep", "min_sep")}
            | {f"scr_{kind}": values["scr"] for kind, values in fresh.items()}
            | {f"ratio_{kind}": values["distance_over_norm"] for kind, values in fresh.items()}
            | {"loss_adv": fresh["adv"]["cross_entropy"]}
        )
    return rows
