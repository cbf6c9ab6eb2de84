"""Networks: a backbone that makes features, a head that makes logits, normalisation inside.

Every model takes [B, C, H, W] in [0, 1] and returns logits [B, M]; `features(x)` is [B, d] and `centers` [M, d].
The folder needs torch, and of this package only losses.py and errors.py: an exported network is a copy of these files.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .fsr import SeparatedBackbone
from .heads import CosineHead, HadamardHead, HiddenLayer, LinearHead, ParallelHeads, PrototypeHead
from .lenet import LeNetsPP
from .resnet import ResNet18, load_post_activation_resnet18
from .wide_resnet import WideResNet34

if TYPE_CHECKING:
    from ..config import RunConfig

__all__ = [
    "NORMALISATION", "PARTS", "Classifier", "LeNetsPP", "LinearHead", "Part", "PrototypeHead", "ResNet18",
    "WideResNet34", "build", "classifier", "describe", "load_post_activation_resnet18",
]  # fmt: skip

NORMALISATION = {  # mean and standard deviation of the training pixels, per channel, in [0, 1]
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "mnist": ((0.1307,), (0.3081,)),
    "digits": ((0.3053,), (0.3760,)),
}


class Classifier(nn.Module):
    """Backbone and head with the normalisation inside.

    Features leave the backbone as float32 and the head works in float32 whatever the backbone's precision, so every
    loss sees float32.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.backbone, self.head = backbone, head
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def normalise(self, x: Tensor) -> Tensor:
        """Pixels in [0, 1] to zero mean and unit deviation over the training set."""
        return (x - self.mean) / self.std

    def features(self, x: Tensor) -> Tensor:
        """[B, C, H, W] in [0, 1] -> [B, d] float32 (float64 for a float64 model)."""
        features = self.backbone(self.normalise(x))
        return features if features.dtype == torch.float64 else features.float()

    def classify(self, features: Tensor) -> Tensor:
        """[B, d] -> logits [B, M], outside of any autocast."""
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features)

    @property
    def unit_features(self) -> bool:
        """Whether the head compares directions alone: `embedding` then has norm 1."""
        return hasattr(self.head, "embedding")

    def embedding(self, features: Tensor) -> Tensor:
        """What the head compares with its centers: the features [B, d], or unit vectors for a head of cosines."""
        return self.head.embedding(features) if self.unit_features else features

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))

    @property
    def centers(self) -> Tensor:
        """[M, d]: prototypes, or classifier weights."""
        return self.head.centers


# What a description may name: backbones, what stands around one, heads.
PARTS: dict[str, type[nn.Module]] = {
    part.__name__: part
    for part in (
        ResNet18, WideResNet34, LeNetsPP, SeparatedBackbone, HiddenLayer,
        LinearHead, PrototypeHead, CosineHead, HadamardHead, ParallelHeads,
    )
}  # fmt: skip
Part = tuple[str, Mapping[str, Any]]  # a name of PARTS and the options that it is called with


def describe(
    run: "RunConfig", *, head: Part = ("LinearHead", {}), around: Part | None = None, activation: str = ""
) -> dict[str, Any]:
    """A run's network as plain data: what `build` makes it of, and what an exported network carries with it.

    The backbone has the paper's width unless the tier narrows it; pixels are normalised by the data set's mean and std
    unless that is switched off. `activation` names the nonlinearity of ResNet-18 in torch.nn.
    """
    facts, width = run.facts, run.model.width
    options: dict[str, Any] = {"channels": facts.channels, "last_relu": run.model.last_relu}
    if run.backbone == "resnet18":
        name, options = "ResNet18", options | {"width": width or 64}
        options |= {"activation": activation} if activation else {}
    elif run.backbone == "wrn34_10":
        name, options = "WideResNet34", options | {"width": width or 160}
    else:
        name, options = "LeNetsPP", options | {"width": width or 32, "size": facts.size}
    mean, std = NORMALISATION[run.dataset]
    if not run.model.normalise:
        mean, std = (0.0,) * len(mean), (1.0,) * len(std)
    return {
        "backbone": (name, options), "around": around, "head": head, "classes": facts.classes, "mean": mean, "std": std,
    }  # fmt: skip


def build(description: Mapping[str, Any]) -> Classifier:
    """The untrained network of a description, also of one that was written as JSON."""
    name, options = description["backbone"]
    if "activation" in options:
        options = options | {"activation": getattr(nn, options["activation"])}
    backbone = PARTS[name](**options)
    if description["around"]:
        name, options = description["around"]
        backbone = PARTS[name](backbone, **options)
    name, options = description["head"]
    head = PARTS[name](backbone.dim, description["classes"], **options)
    return Classifier(backbone, head, description["mean"], description["std"])


def classifier(run: "RunConfig") -> Classifier:
    """A run's backbone with a linear head, untrained; each defense says where its network differs."""
    return build(describe(run))
