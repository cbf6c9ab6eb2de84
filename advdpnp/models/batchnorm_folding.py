"""Batch normalisation folded into the convolution before it: the same function, fewer passes over memory.

Crafting differentiates the network in eval mode, where batch norm is a fixed affine map per channel. Jacob et al. (CVPR
2018), Section 3.2, fold it the same way for inference.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FoldedConv(nn.Module):
    """bn(conv(x)) as one convolution; its weights are computed once, in the precision in which it will run."""

    def __init__(self, conv: nn.Conv2d, bn: nn.BatchNorm2d):
        super().__init__()
        self.geometry = {key: getattr(conv, key) for key in ("stride", "padding", "dilation", "groups")}
        with torch.no_grad():
            # s (w * x + b - mu) + beta = (s w) * x + (b - mu) s + beta,  s = gamma / sqrt(var + eps)
            scale = bn.weight * (bn.running_var + bn.eps).rsqrt()
            offset = -bn.running_mean if conv.bias is None else conv.bias - bn.running_mean
            weight, bias = conv.weight * scale[:, None, None, None], offset * scale + bn.bias
        # Autocast casts weights that need no gradient anew in every forward pass: done here, it is done once.
        kind = conv.weight.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        self.register_buffer("weight", weight.to(dtype))
        self.register_buffer("bias", bias.to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x.to(self.weight.dtype), self.weight, self.bias, **self.geometry)


def pairs(model: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """(owner, convolution, batch norm) wherever a batch norm sees nothing but that convolution's output.

    Neighbours in an nn.Sequential are found; every other module names its pairs in `folds`.
    """
    for owner in model.modules():
        children = list(owner.named_children()) if isinstance(owner, nn.Sequential) else []
        neighbours = [(first, second) for (first, _), (second, _) in pairwise(children)]
        for conv, bn in (*getattr(owner, "folds", ()), *neighbours):
            has_statistics = getattr(getattr(owner, bn), "running_mean", None) is not None
            if (
                type(getattr(owner, conv)) is nn.Conv2d
                and type(getattr(owner, bn)) is nn.BatchNorm2d
                and has_statistics
            ):
                yield owner, conv, bn


def _replacements(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """(owner, name, what goes there) for every pair in eval mode; one with forward hooks is left alone."""
    for owner, conv_name, bn_name in list(pairs(model)):
        conv, bn = getattr(owner, conv_name), getattr(owner, bn_name)
        if not bn.training and not any(m._forward_hooks or m._forward_pre_hooks for m in (conv, bn)):
            yield owner, conv_name, FoldedConv(conv, bn)
            yield owner, bn_name, nn.Identity()


@contextmanager
def folded(model: nn.Module) -> Iterator[nn.Module]:
    """The model with its batch norms folded, with the weights at entry; restored on exit, also after an error.

    For a frozen model in eval mode: weights get no gradient inside. A pair with forward hooks is left alone.
    """
    swapped: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        for owner, name, replacement in list(_replacements(model)):
            swapped.append((owner, name, getattr(owner, name)))
            setattr(owner, name, replacement)
        yield model
    finally:
        for owner, name, module in swapped:
            setattr(owner, name, module)


class Outside(nn.Module):
    """A layer in its own precision, outside of any autocast."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.layer = layer

    @property
    def weight(self) -> Tensor:
        """The layer's own: its owner may ask for the precision (PCL's hidden layer does)."""
        return self.layer.weight

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.layer(x.to(self.layer.weight.dtype))


class FoldedSurrogate(nn.Module):
    """A frozen copy of a model as fast as it gets: folded, channels_last and, where asked for, in bfloat16.

    In float32 it is the same function up to rounding; in bfloat16 logits are off in the third digit. Its last linear
    layer stays in float32, as in our networks: logits rounded to 8 bits would tie, and a search by small steps stall.
    """

    def __init__(self, model: nn.Module, bf16: bool):
        super().__init__()
        self.bf16, self.model = bf16, copy.deepcopy(model).eval().requires_grad_(False)
        tensors = [*self.model.parameters(), *self.model.buffers()]
        with torch.autocast(tensors[0].device.type if tensors else "cpu", torch.bfloat16, enabled=bf16):
            for owner, name, replacement in list(_replacements(self.model)):
                setattr(owner, name, replacement)
        linear = [(o, name) for o in self.model.modules() for name, m in o.named_children() if isinstance(m, nn.Linear)]
        if bf16 and linear:
            owner, name = linear[-1]
            setattr(owner, name, Outside(getattr(owner, name)))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            return self.model(x.contiguous(memory_format=torch.channels_last))
