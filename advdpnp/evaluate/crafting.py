"""From an attack's settings to adversarial images, each checked against its ball and the box."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advdpnp import attacks
from advdpnp.config import AttackConfig, RunConfig
from advdpnp.errors import UserError
from advdpnp.hardware import pick_precision
from advdpnp.models.batchnorm_folding import FoldedSurrogate, folded

Hooks = Mapping[str, Any]  # `record` and `keep` of attacks.autoattack; other attacks have no use for them
SLACK = 1e-4  # rounding by which a perturbation's float32 norm may exceed its budget, relative to it


def _budget(attack: AttackConfig) -> dict[str, Any]:
    return {"epsilon": attack.epsilon, "step_size": attack.step_size, "steps": attack.steps}


def _pgd(model: nn.Module, x: Tensor, y: Tensor, attack: AttackConfig, run: RunConfig, seed: int) -> Tensor:
    generator = torch.Generator(x.device).manual_seed(seed)
    start = {"random_start": attack.random_start, "restarts": attack.restarts, "generator": generator}
    return attacks.pgd(model, x, y, **_budget(attack), norm=attack.norm, l1_step=attack.l1_step, **start)


def _adaptive(model: nn.Module, x: Tensor, y: Tensor, attack: AttackConfig, run: RunConfig, seed: int) -> Tensor:
    if run.method != "Adv-DPNP":
        raise UserError(f"{run.id}: the adaptive attack maximises Eq. (7), which only Adv-DPNP trains with.")
    weights = {key: getattr(run.hyper, key) for key in ("radius", "lambda_dpp", "lambda_dnp", "lambda_dfa", "pull")}
    return attacks.adaptive(model, x, y, **_budget(attack), **weights)


def _autoattack(
    model: nn.Module, x: Tensor, y: Tensor, attack: AttackConfig, run: RunConfig, seed: int,
    hooks: Hooks | None = None,
) -> Tensor:  # fmt: skip
    parts = ("apgd-ce", "square") if attack.version == "smoke" else None
    limits: dict[str, Any] = {"attacks": parts, "square_queries": attack.square_queries or None}
    bf16 = pick_precision("auto", x.device) == "bf16"
    surrogate = FoldedSurrogate(model, bf16=bf16) if is_fast(run, attack) else None
    limits |= {"surrogate": surrogate, **(hooks or {})}
    return attacks.autoattack(model, x, y, epsilon=attack.epsilon, norm=attack.norm, seed=seed, **limits)


KINDS: dict[str, Callable[..., Tensor]] = {  # AttackConfig.kind -> (model, x, y, attack, run, seed) to images
    "clean": lambda model, x, y, attack, run, seed: x,
    "fgsm": lambda model, x, y, attack, run, seed: attacks.fgsm(model, x, y, epsilon=attack.epsilon),
    "pgd": _pgd,
    "cw": lambda model, x, y, attack, run, seed: attacks.cw(
        model, x, y, **_budget(attack), confidence=attack.confidence
    ),
    "adaptive": _adaptive,
    "autoattack": _autoattack,
}


def lengths(x_adv: Tensor, x: Tensor, norm: str) -> Tensor:
    """||x~ - x|| of each image, [B], in the norm of a budget."""
    return (x_adv - x).flatten(1).norm({"linf": torch.inf, "l2": 2, "l1": 1}[norm], dim=1)


def craft(
    model: nn.Module, x: Tensor, y: Tensor, attack: AttackConfig, run: RunConfig, seed: int,
    hooks: Hooks | None = None,
) -> Tensor:  # fmt: skip
    """Adversarial images [B, C, H, W] for one batch. Raises RuntimeError should they leave ball or box."""
    if attack.kind == "clean":
        return x
    as_folded = (
        folded if is_fast(run, attack) and attack.kind != "autoattack" else nullcontext
    )  # AutoAttack has its own
    more = {"hooks": hooks} if attack.kind == "autoattack" else {}
    with attacks.frozen(model), as_folded(model):
        x_adv = KINDS[attack.kind](model, x, y, attack, run, seed, **more)
    return _verified(x_adv, x, attack)


def _verified(x_adv: Tensor, x: Tensor, attack: AttackConfig) -> Tensor:
    reached = float(lengths(x_adv, x, attack.norm).max())
    if not (reached <= attack.epsilon * (1 + SLACK) + 1e-6 and x_adv.min() >= 0 and x_adv.max() <= 1):  # NaN neither
        raise RuntimeError(f"{attack.kind} left its {attack.norm} ball of {attack.epsilon:g} ({reached:g}) or the box")
    return x_adv


def craft_together(
    model: nn.Module, x: Tensor, y: Tensor, group: Sequence[AttackConfig], run: RunConfig, seed: int,
    hooks: Hooks | None = None,
) -> list[Tensor]:  # fmt: skip
    """`craft` for each attack of a group (trajectories.py), at the cost of the longest."""
    if len(group) == 1:
        return [craft(model, x, y, group[0], run, seed, hooks)]
    one = group[0]
    options = {"epsilon": one.epsilon, "step_size": one.step_size, "norm": one.norm, "l1_step": one.l1_step}
    options |= {"random_start": one.random_start, "generator": torch.Generator(x.device).manual_seed(seed)}
    with attacks.frozen(model), folded(model) if is_fast(run, one) else nullcontext():
        found = attacks.pgd_prefixes(model, x, y, reads=[(each.steps, each.restarts) for each in group], **options)
    return [_verified(x_adv, x, attack) for x_adv, attack in zip(found, group, strict=True)]


def is_fast(run: RunConfig, attack: AttackConfig) -> bool:
    """Whether an attack of the run takes its faster path."""
    return run.evaluation.autoattack == "surrogate" if attack.kind == "autoattack" else run.evaluation.fast


def path_of(attack: AttackConfig, run: RunConfig, device: torch.device) -> str:
    """The arithmetic of the attack, in words, for the result file; it does not change what the number means."""
    if not is_fast(run, attack) or attack.kind == "clean":
        return "fp32"
    if attack.kind != "autoattack":
        return "fp32, batch norm folded"
    return f"searched in {pick_precision('auto', device)}, batch norm folded; counted by the fp32 network"


def draw_seed(run: RunConfig, name: str, attack: AttackConfig, start: int) -> int:
    """Of an attack's draws on the batch that begins with image `start`.

    PGD's starts come from what the trajectory is and not from the evaluation's name: more iterations or more starts
    then contain the fewer (Tables 6 and 7).
    """
    what = f"{attack.norm} {attack.epsilon:.9g} {attack.step_size:.9g}" if attack.random_start else name
    return zlib.crc32(f"{run.seed} {what} {start}".encode())


@torch.no_grad()
def measured(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    group: Sequence[AttackConfig],
    run: RunConfig,
    seed: int,
    hooks: Hooks | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """Logits [B, M] and ||x~ - x|| [B] of the batch under each attack of the group."""
    made = craft_together(model, x, y, group, run, seed, hooks)
    return [(model(x_adv), lengths(x_adv, x, attack.norm)) for x_adv, attack in zip(made, group, strict=True)]


def is_right(logits: Tensor, y: Tensor, what: str) -> np.ndarray:
    """Flags [B]: the largest of each image's logits [B, K] is the label's.

    Raises UserError, naming `what` was evaluated, for logits that are not finite: of NaN, argmax takes class 0.
    """
    if not logits.isfinite().all():
        raise UserError(f"{what}: the network's logits are not finite, so that no accuracy can be measured.")
    return (logits.argmax(1) == y).cpu().numpy()
