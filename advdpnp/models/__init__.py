"""Networks: a backbone that makes features, a head that makes logits, normalisation inside.

Every model takes [B, C, H, W] in [0, 1] and returns logits [B, M]; `features(x)` is [B, d] and `centers` [M, d].
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from advdpnp.config import RunConfig
from advdpnp.models.head import LinearHead, PrototypeHead
from advdpnp.models.lenet import LeNetsPP
from advdpnp.models.resnet import ResNet18, load_post_activation_resnet18
from advdpnp.models.wide_resnet import WideResNet34

__all__ = [
    "NORMALISATION", "Classifier", "LeNetsPP", "LinearHead", "PrototypeHead", "ResNet18", "WideResNet34",
    "build_backbone", "classifier", "load_post_activation_resnet18",
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


def build_backbone(run: RunConfig, **options: Any) -> nn.Module:
    """The run's backbone, at the paper's width unless the tier narrows it. `options` go to ResNet-18 only."""
    channels, size, width = run.facts.channels, run.facts.size, run.model.width
    if run.backbone == "resnet18":
        return ResNet18(channels, width or 64, last_relu=run.model.last_relu, **options)
    if run.backbone == "wrn34_10":
        return WideResNet34(channels, width or 160, last_relu=run.model.last_relu)
    return LeNetsPP(channels, width or 32, size=size, last_relu=run.model.last_relu)


def classifier(
    run: RunConfig, head: Callable[[int, int], nn.Module] = LinearHead, backbone: nn.Module | None = None
) -> Classifier:
    """Backbone and `head(dim, classes)` of a run; normalised by the data set's mean and std unless switched off."""
    backbone = build_backbone(run) if backbone is None else backbone
    mean, std = NORMALISATION[run.dataset]
    if not run.model.normalise:
        mean, std = (0.0,) * len(mean), (1.0,) * len(std)
    return Classifier(backbone, head(backbone.dim, run.facts.classes), mean, std)
