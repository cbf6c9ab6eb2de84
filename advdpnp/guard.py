"""Can an evaluation be trusted? Symptoms of gradient masking and of broken attacks, each as a check with its evidence.

After Athalye et al. (2018), Carlini et al. (2019, "On Evaluating Adversarial Robustness") and Pintor et al. (2022,
"Indicators of Attack Failure"). `probe` attacks a few images in ways that cannot beat the white-box attack on an honest
model, and `judge` reads the outcome; `order` compares the evaluations that are stored. "Stronger" always means beyond
noise: two attacks on the same images are compared by McNemar's exact test, at LEVEL.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from advdpnp.attacks import autoattack, cross_entropy, frozen, margin_loss, pgd
from advdpnp.config import AttackConfig
from advdpnp.errors import UserError
from advdpnp.markup import literal

LEVEL = 0.001  # a tier asks about a hundred such questions; false alarms should be rare among all of them
IMAGES = 100  # probed test images, from the first on
SQUARE_QUERIES = 200  # enough to beat a white-box attack that got nowhere
LARGE = AttackConfig(epsilon=0.5, step_size=0.0625, steps=40)  # reaches grey from everywhere: nothing withstands it
REPEATS = 3  # passes over the same images
ROUNDING = 1e-4  # by which equal passes may differ, relative to the largest logit

CHECKS = {  # name: (heading in the report, what a warning means)
    "order": ("clean ≥ FGSM ≥ PGD-20 ≥ PGD-100 ≥ Ensemble", "a stronger attack is beaten by a weaker one"),
    "autoattack": ("AA ≤ PGD", "AutoAttack is beaten by PGD"),
    "gradient": ("gradients are not zero", "images count as robust whose gradient is zero: no attack moved them"),
    "saturation": ("gradients do not vanish", "cross-entropy is too saturated to be attacked: see the margin loss"),
    "deterministic": ("the same every time", "the forward pass is random: attacks must average over it"),
    "black box": ("Square ≤ white box", "a black-box attack is stronger: gradients mislead"),
    "large epsilon": ("0 % at ε = 1/2", "PGD fails where every image can become grey"),
    "transfer": ("transfer from ST ≤ white box", "another model's adversarial images are stronger: gradients mislead"),
}


@dataclass(frozen=True)
class Check:
    """The answer to one question of CHECKS: ok True, False (a warning) or None (not checked), and the evidence."""

    name: str
    ok: bool | None
    detail: str


def identity() -> dict:
    """What decides the outcome of `probe` besides model, images, attack and surrogate."""
    return {"version": 2, "images": IMAGES, "square": SQUARE_QUERIES, "large": asdict(LARGE), "repeats": REPEATS}


# ------------------------------------------------------------------------------------------------ paired comparison


def surprise(weaker: np.ndarray, stronger: np.ndarray) -> float:
    """One-sided exact McNemar test: the chance of such flags if `stronger` were at least as strong as `weaker`.

    Flags, bool [N], say which images the model still gets right. Of the images on which the two differ, at most half
    would then be right under `stronger`: P(Binomial(differing, 1/2) >= right under stronger alone).
    """
    lost, won = int((stronger & ~weaker).sum()), int((weaker & ~stronger).sum())
    return sum(math.comb(lost + won, k) for k in range(lost, lost + won + 1)) / 2 ** (lost + won)


def _not_weaker(name: str, flags: Mapping[str, np.ndarray | None], stronger: str, weaker: str) -> Check:
    """Whether `weaker` is no stronger than `stronger`, on the images that both attacked."""
    one, other = flags.get(stronger), flags.get(weaker)
    if one is None or other is None:
        return Check(name, None, f"{stronger if one is None else weaker} was not run")
    n = min(len(one), len(other))
    p = surprise(other[:n], one[:n])
    shown = f"{stronger} leaves {_percent(one[:n])}, {weaker} {_percent(other[:n])} of {n} images"
    return Check(name, p >= LEVEL, shown if p >= LEVEL else f"{shown} (p = {p:.1g})")


def _percent(flags: np.ndarray) -> str:
    return f"{100 * flags.mean():.4g} %"


# ------------------------------------------------------------------------------------------------ stored evaluations


def order(flags: Mapping[str, np.ndarray | None]) -> list[Check]:
    """clean >= FGSM >= PGD-20 >= PGD-100 >= Ensemble, and AutoAttack not above the strongest PGD, as far as stored.

    flags: {evaluation: bool [N] or None}; the first images of each are the same. Neighbours are compared in pairs.
    """
    chain = [name for name in ("clean", "fgsm", "pgd20", "pgd100", "ensemble") if flags.get(name) is not None]
    pairs = [_not_weaker("order", flags, below, above) for above, below in pairwise(chain)]
    wrong = [pair for pair in pairs if not pair.ok]
    detail = "; ".join(pair.detail for pair in wrong or pairs)
    first = Check("order", not wrong if pairs else None, detail or "fewer than two of its attacks were run")
    strongest = next((name for name in ("pgd100", "pgd20") if flags.get(name) is not None), "pgd100")
    return [first, _not_weaker("autoattack", flags, "aa", strongest)]


# ------------------------------------------------------------------------------------------------------------ probes


def probe(
    model: nn.Module, x: Tensor, y: Tensor, attack: AttackConfig, surrogate: nn.Module | None = None, seed: int = 0
) -> dict[str, np.ndarray | None]:
    """Flags, bool [B]: which images the model gets right under each probe; None for a probe that cannot run here.

    x [B, C, H, W] in [0, 1], y [B]; `attack` is the evaluation's PGD (linf). `surrogate` is a model of the same task
    whose adversarial images are transferred. Besides these, `zero_gradient` marks images whose gradient is exactly
    zero, and `repeated` whether the logits of each image are the same in every pass.
    """

    def right(images: Tensor) -> np.ndarray:
        with torch.no_grad():
            return (model(images).argmax(1) == y).cpu().numpy()

    def attacked(victim: nn.Module, settings: AttackConfig, loss: str | Callable = _cross_entropy) -> np.ndarray:
        budget = {"epsilon": settings.epsilon, "step_size": settings.step_size, "steps": settings.steps}
        return right(pgd(victim, x, y, **budget, norm="linf", random_start=False, loss=loss))

    with frozen(model):
        found = {
            "clean": right(x),
            "repeated": _repeated(model, x),
            "zero_gradient": _zero_gradient(model, x, y),
            "white box": attacked(model, attack),
            "margin": attacked(model, attack, _margin),
            "large epsilon": attacked(model, LARGE) & attacked(model, LARGE, _margin),  # either may get stuck
            "transfer": None if surrogate is None else attacked(surrogate, attack),
        }
        try:
            limits = {"attacks": ["square"], "square_queries": SQUARE_QUERIES}
            found["Square"] = right(autoattack(model, x, y, epsilon=attack.epsilon, seed=seed, **limits))
        except UserError:  # pyautoattack is not installed
            found["Square"] = None
    return found


def _cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(model(x), y) + 0 * x.flatten(1).sum(1)  # a model that lets no gradient through gives zeros


def _margin(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return margin_loss(model(x), y) + 0 * x.flatten(1).sum(1)


def _zero_gradient(model: nn.Module, x: Tensor, y: Tensor) -> np.ndarray:
    """Where the gradient of the cross-entropy to the image is exactly zero (or no number): bool [B]."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(_cross_entropy(model, x, y).sum(), x)
    size = gradient.flatten(1).abs().amax(1)
    return (~(size > 0)).cpu().numpy()


@torch.no_grad()
def _repeated(model: nn.Module, x: Tensor) -> np.ndarray:
    """Whether each image's logits are the same in every pass, up to rounding: bool [B]."""
    first, *others = (model(x) for _ in range(REPEATS))
    slack = ROUNDING * first.abs().max()
    return torch.stack([((other - first).abs() <= slack).all(1) for other in others]).all(0).cpu().numpy()


def judge(found: Mapping[str, np.ndarray | None]) -> list[Check]:
    """What the flags of `probe` say: the checks from "gradient" on."""
    flat, n = found["zero_gradient"] & found["white box"], len(found["clean"])
    random, left = int((~found["repeated"]).sum()), found["large epsilon"]
    return [
        Check("gradient", not flat.any(), f"{flat.sum()} of {n} images withstand PGD with a zero gradient"),
        _not_weaker("saturation", found, "white box", "margin"),
        Check("deterministic", random == 0, f"{random} of {n} images get other logits when asked again"),
        _not_weaker("black box", found, "white box", "Square"),
        Check("large epsilon", not left.any(), f"PGD on two losses leaves {_percent(left)} of {n} images"),
        _not_weaker("transfer", found, "white box", "transfer"),
    ]


# ------------------------------------------------------------------------------------------------------------ report


def loaded(values: list, where: str) -> list[Check]:
    """The checks of an evaluation's JSON. Raises UserError for what `judge` never writes."""
    known = {"name": CHECKS, "ok": (True, False, None)}
    if not all(isinstance(v, dict) and v.keys() == {"name", "ok", "detail"} for v in values) or not all(
        v[key] in known[key] for v in values for key in known
    ):
        raise UserError(f"{where}: holds other checks than guard.py's (damaged?); delete it and evaluate again.")
    return [Check(**value) for value in values]


def markdown(checks: Mapping[str, list[Check]]) -> str:
    """run x check as a table of ok, warning and not checked, with a sentence for each warning."""
    headings = ["run", *(heading for heading, _ in CHECKS.values())]
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    word, warnings = {True: "ok", False: "**warning**", None: "not checked"}, []
    for run, found in checks.items():
        by_name = {check.name: check for check in found}
        lines.append(f"| {run} | " + " | ".join(word[by_name[c].ok if c in by_name else None] for c in CHECKS) + " |")
        warnings += [f"- {run}: {CHECKS[c.name][1]} ({literal(c.detail)})." for c in found if c.ok is False]
    return "\n".join([*lines, "", *(warnings or ["No warning."]), ""])
