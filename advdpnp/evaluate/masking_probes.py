"""Attacks on a few images that cannot beat the white-box attack on an honest model; masking.py reads what they find.

Beside a black box, a transfer and a budget beyond all use: cross-entropy at other temperatures, both readings of
prototypes as a head, operators without a gradient passed straight through (BPDA, Athalye et al. 2018), and how much of
its linear gain the attack has left (FOSC, Wang et al. 2019).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from advdpnp.attacks import autoattack, cross_entropy, frozen, linf_bounds, margin_loss, pgd
from advdpnp.config import GUARD_IMAGES as IMAGES
from advdpnp.config import AttackConfig
from advdpnp.errors import UserError

SQUARE_QUERIES = 200  # enough to beat a white-box attack that got nowhere
LARGE = AttackConfig(epsilon=0.5, step_size=0.0625, steps=40)  # reaches grey from everywhere: nothing withstands it
REPEATS = 3  # passes over the same images
_ROUNDING = 1e-4  # by which equal passes may differ, relative to the largest logit
SCALES = (0.25, 4.0)  # of the logits, beside the one that suits each image best
_AGREE = 0.9  # share of images on which a reading of the prototypes must decide as the model does, to be one

Found = dict[str, np.ndarray | None]
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def cache_key() -> dict:
    """What decides the outcome of `run_probes` besides model, images, attack and surrogate."""
    large = asdict(LARGE)
    return {"version": 3, "images": IMAGES, "square": SQUARE_QUERIES, "large": large, "repeats": REPEATS,
            "scales": SCALES, "agree": _AGREE}  # fmt: skip


def run_probes(
    model: nn.Module, x: Tensor, y: Tensor, attack: AttackConfig, surrogate: nn.Module | None = None, seed: int = 0
) -> Found:
    """Flags, bool [B]: which images the model gets right under each probe; None for a probe that cannot run here.

    x [B, C, H, W] in [0, 1], y [B]; `attack` is the evaluation's PGD (linf). `surrogate` is a model of the same task
    whose adversarial images are transferred. Besides these, `zero_gradient` marks images whose gradient is exactly
    zero, `repeated` whether the logits of each image are the same in every pass, and `uphill`, float [B], is the share
    of the linear gain that the white-box attack has left.
    """

    def right(images: Tensor, decide: Callable[[Tensor], Tensor] = model) -> np.ndarray:
        with torch.no_grad():
            return (decide(images).argmax(1) == y).cpu().numpy()

    def crafted(loss: Loss, victim: nn.Module = model, settings: AttackConfig = attack) -> Tensor:
        budget = {"epsilon": settings.epsilon, "step_size": settings.step_size, "steps": settings.steps}
        return pgd(victim, x, y, **budget, norm="linf", random_start=False, loss=loss)

    with frozen(model):
        white = crafted(_cross_entropy)
        large = [right(crafted(loss, settings=LARGE)) for loss in (_cross_entropy, _margin)]  # either may get stuck
        found: Found = {
            "clean": right(x),
            "repeated": _repeated(model, x),
            "zero_gradient": _zero_gradient(model, x, y),
            "white box": right(white),
            "uphill": uphill(model, x, white, y, attack.epsilon),
            "margin": right(crafted(_margin)),
            "large epsilon": large[0] & large[1],
            "transfer": None if surrogate is None else right(crafted(_cross_entropy, surrogate)),
        }
        for name, loss in _temperatures(model, x).items():
            found[name] = right(crafted(loss))
        found |= _through_heads(model, x, right, crafted)
        with straight_through(model) as passed:
            images = crafted(_cross_entropy)
        found["straight through"] = right(images) if passed else None
        try:
            limits = {"attacks": ["square"], "square_queries": SQUARE_QUERIES}
            found["Square"] = right(autoattack(model, x, y, epsilon=attack.epsilon, seed=seed, **limits))
        except UserError:  # pyautoattack is not installed
            found["Square"] = None
    return found


# ------------------------------------------------------------------------------------------------------------ losses


def _attached(losses: Tensor, x: Tensor) -> Tensor:
    return losses + 0 * x.flatten(1).sum(1)  # a model that lets no gradient through gives zeros


def _cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return _attached(cross_entropy(model(x), y), x)


def _margin(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return _attached(margin_loss(model(x), y), x)


def _scaled(scale: float | Tensor, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return _attached(cross_entropy(scale * model(x), y), x)


@torch.no_grad()
def _temperatures(model: nn.Module, x: Tensor) -> dict[str, Loss]:
    """Cross-entropy on rescaled logits. The best scale gives the two largest of a clean image a gap of one.

    There, neither is the softmax saturated nor does it spread over all classes.
    """
    top = model(x).topk(2).values
    best = 1 / (top[:, :1] - top[:, 1:]).clamp_min(torch.finfo(top.dtype).tiny ** 0.5)
    return {**{f"logits x {s:g}": partial(_scaled, s) for s in SCALES}, "best temperature": partial(_scaled, best)}


# --------------------------------------------------------------------------------------- prototypes as both of heads


def _through_heads(model: nn.Module, x: Tensor, right: Callable, crafted: Callable) -> Found:
    """Attacks through both readings of prototypes, z_j = c_j^T f(x) and -||f(x) - c_j||^2, each counted by both.

    "inner by distance": right by inner product under the attack through distances. Empty where the model has none, or
    where one of them does not decide as the model does: its centers are then no prototypes.
    """
    if not (hasattr(model, "features") and hasattr(model, "centers")):
        return {}
    centers = model.centers.detach().float()

    heads: dict[str, Callable[[Tensor], Tensor]] = {
        "inner": lambda images: model.features(images).float() @ centers.T,
        "distance": lambda images: -(model.features(images).float()[:, None] - centers).square().sum(2),
    }
    with torch.no_grad():
        said = model(x).argmax(1)
        if any((head(x).argmax(1) == said).float().mean() < _AGREE for head in heads.values()):
            return {}
    found: Found = {}
    for through, head in heads.items():
        images = crafted(lambda _, x, y, head=head: _attached(margin_loss(head(x), y), x))
        found[f"model by {through}"] = right(images)
        found |= {f"{by} by {through}": right(images, decide) for by, decide in heads.items()}
    return found


# ------------------------------------------------------------------------------------------- gradients that are hidden


@contextmanager
def straight_through(model: nn.Module) -> Iterator[list[nn.Module]]:
    """Operators that may hide their gradient act as before and have the identity's gradient; yields those that ran.

    They are the modules without parameters or children that keep the shape and are not torch.nn's own.
    """
    ran: list[nn.Module] = []

    def passed(module: nn.Module, inputs: tuple, output: object) -> Tensor | None:
        if not (isinstance(output, Tensor) and inputs and isinstance(inputs[0], Tensor)):
            return None
        if output.shape != inputs[0].shape or not output.is_floating_point():
            return None
        ran.append(module)
        return output.detach() + (inputs[0] - inputs[0].detach())

    hooks = [
        module.register_forward_hook(passed)
        for module in model.modules()
        if module is not model and not type(module).__module__.startswith("torch.nn.")
        and not [*module.children()] and not [*module.parameters()]
    ]  # fmt: skip
    try:
        yield ran
    finally:
        for hook in hooks:
            hook.remove()


def uphill(model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, epsilon: float) -> np.ndarray:
    """The first-order stationarity of Wang et al. (2019), with the box: float [B] in [0, 1], 0 where PGD has converged.

    max over ball and box of <z - x~, g>, divided by its range: which share of the loss's linear growth is left to gain.
    A point in the middle has half; a vanished gradient counts as nothing left.
    """
    at = x_adv.detach().requires_grad_()
    with torch.enable_grad():
        (g,) = torch.autograd.grad(_cross_entropy(model, at, y).sum(), at)
    low, high = linf_bounds(x, epsilon)
    left = torch.where(g > 0, high - x_adv, x_adv - low) * g.abs()
    whole = ((high - low) * g.abs()).flatten(1).sum(1)
    share = left.flatten(1).sum(1) / whole.clamp_min(torch.finfo(whole.dtype).tiny)
    return share.cpu().numpy()


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
    slack = _ROUNDING * first.abs().max()
    return torch.stack([((other - first).abs() <= slack).all(1) for other in others]).all(0).cpu().numpy()
