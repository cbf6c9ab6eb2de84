"""Any network under the paper's attacks: a model of yours and images, to accuracy and one flag per image.

    from advdpnp.evaluate import evaluate_model
    found = evaluate_model(model, x, y, "clean", "pgd20", "aa")
    found["pgd20"].accuracy, found["pgd20"].correct

The attacks are those of a tier (config.ATTACKS), crafted in float32 without shortcuts, each image checked against its
ball and the box; "guard" adds the signs of masked gradients (masking.py). Nothing is stored.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advdpnp.config import ATTACKS, AttackConfig, EvaluationConfig
from advdpnp.errors import UserError, nearest
from advdpnp.evaluate import masking, masking_probes
from advdpnp.evaluate.crafting import craft
from advdpnp.evaluate.memory import ChunkedModel, retry_with_smaller_chunks
from advdpnp.progress import Progress

PLAIN = SimpleNamespace(evaluation=EvaluationConfig(fast=False, autoattack="package"), method="", id="your model")


@dataclass(frozen=True)
class Found:
    """What an attack left: accuracy in percent, a flag per image (bool [N]), and under "guard" the checks."""

    accuracy: float
    correct: np.ndarray
    checks: tuple[masking.Check, ...] = ()


class _Function(nn.Module):
    """A plain function as a module without parameters."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def evaluate_model(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *names: str,
    settings: Mapping[str, AttackConfig] = ATTACKS,
    batch_size: int = 100,
    seed: int = 0,
) -> dict[str, Found]:
    """{name: Found} of a model's logits [B, M] for images x, float32 [N, C, H, W] in [0, 1], and labels y, [N].

    `model` is a module or a function of such images; a module is evaluated in eval mode and left as it was. `names` are
    keys of `settings`, or "guard". Batches of `batch_size`; where memory runs out, fewer images at once, with the same
    result. Raises UserError, one sentence, for anything else.
    """
    known = (*settings, "guard")
    for name in names:
        if name not in known:
            raise UserError(f"unknown attack '{name}'; {nearest(name, known)}")
    if not callable(model):
        raise UserError(f"expected a model, got {type(model).__name__}: a torch module, or a function of images.")
    network = model if isinstance(model, nn.Module) else _Function(model)
    x, y = _images(x), _labels(y, len(x))
    training = {module: module.training for module in network.modules()}
    try:
        network.eval()
        device = next((p.device for p in network.parameters()), x.device)
        _check_outputs(network, x[:2].to(device), y)
        cut = ChunkedModel(network, batch_size)
        return {name: _found(cut, x, y, name, settings, batch_size, seed, device) for name in dict.fromkeys(names)}
    finally:
        for module, mode in training.items():
            module.training = mode


def _found(
    model: ChunkedModel, x: Tensor, y: Tensor, name: str, settings: Mapping[str, AttackConfig], size: int, seed: int,
    device: torch.device,
) -> Found:  # fmt: skip
    if name == "guard":
        return _guarded(model, x[:size].to(device), y[:size].to(device), settings["pgd20"])
    attack, correct = settings[name], np.zeros(len(x), bool)
    if attack.kind == "adaptive":
        raise UserError(f"{name} maximises Eq. (7), which only Adv-DPNP trains with: name another attack.")
    progress = Progress(f"your model, {name}", -(-len(x) // size))
    for start in range(0, len(x), size):
        images, labels = x[start : start + size].to(device), y[start : start + size].to(device)
        crafted = retry_with_smaller_chunks(
            model, partial(craft, model, images, labels, attack, PLAIN, seed=seed + start)
        )
        with torch.no_grad():
            correct[start : start + size] = (model(crafted).argmax(1) == labels).cpu().numpy()
        progress.update()
    progress.finish()
    return Found(100 * float(correct.mean()), correct)


def _guarded(model: ChunkedModel, x: Tensor, y: Tensor, attack: AttackConfig) -> Found:
    flags = retry_with_smaller_chunks(model, partial(masking_probes.run_probes, model, x, y, attack))
    return Found(100 * float(flags["white box"].mean()), flags["white box"], tuple(masking.check_probes(flags)))


def _images(x: Any) -> Tensor:
    if torch.is_inference_mode_enabled():
        raise UserError("attacks need gradients: leave torch.inference_mode() before evaluate_model.")
    if not isinstance(x, Tensor) or x.ndim != 4 or not len(x):
        shape = f"{type(x).__name__} {[*getattr(x, 'shape', ())]}"
        raise UserError(f"expected images as a float32 tensor [N, C, H, W], got {shape}.")
    if x.dtype != torch.float32:
        raise UserError(f"expected images in float32, got {x.dtype}: x.float(), and bytes divided by 255.")
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):  # NaN neither
        raise UserError(
            f"expected pixels in [0, 1], got {low:g} to {high:g}: the attacks' box is [0, 1], so undo any "
            "normalisation and put it inside the model; divide bytes by 255."
        )
    return x.detach()


def _labels(y: Any, count: int) -> Tensor:
    labels = torch.as_tensor(y)
    if labels.shape != (count,) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise UserError(f"expected {count} whole-numbered labels [N], got {labels.dtype} {[*labels.shape]}.")
    return labels.long().detach()


def _check_outputs(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """One pass, so that what is wrong with a model is said before hours of attacks."""
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if kinds - {torch.float32}:
        said = ", ".join(sorted(map(str, kinds)))
        raise UserError(f"expected a model in float32, got {said}: model.float(); attacks are counted in float32.")
    try:
        with torch.no_grad():
            logits = model(x)
    except Exception as error:
        raise UserError(f"the model fails on images {[*x.shape]}: {type(error).__name__}: {error}") from error
    if not isinstance(logits, Tensor):
        kind = type(logits).__name__
        raise UserError(f"expected logits [B, M] as a tensor, got a {kind}: wrap the model so that it returns one.")
    if logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        raise UserError(f"expected logits [{len(x)}, M] for {len(x)} images, got {[*logits.shape]}.")
    if not logits.isfinite().all():
        raise UserError("expected finite logits, got nan or infinity.")
    low, high, classes = int(y.min()), int(y.max()), logits.shape[1]
    if low < 0 or high >= classes:
        raise UserError(f"expected labels 0 to {classes - 1} for logits of {classes} classes, got {low} to {high}.")


def load_module(path: Path) -> nn.Module:
    """The network of a Python file of yours: its `model`, or what its `load()` returns. The file is executed."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected Python code that defines `model`, or a function `load`.")
    spec = importlib.util.spec_from_file_location("your_model", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: expected Python code (.py) that defines `model`, or a function `load`.")
    code = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(code)
        found = code.model if hasattr(code, "model") else code.load() if hasattr(code, "load") else None
    except Exception as error:
        raise UserError(f"{path} stops with {type(error).__name__}: {error}") from error
    if found is None:
        raise UserError(f"{path}: expected a name `model`, or a function `load` that returns it.")
    return found
