"""ResNet-18 for 32x32 images (He et al. 2015): post-activation, 11,173,962 parameters with 10 linear outputs."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; `activation` None leaves the sum as it is."""

    folds = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(self, inputs: int, outputs: int, stride: int, activation: nn.Module, last: nn.Module):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.activation, self.last = activation, last

    def forward(self, x: Tensor) -> Tensor:
        out = self.activation(self.bn1(self.conv1(x)))
        return self.last(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet18(nn.Module):
    """[B, C, H, W] -> features [B, 8 width]; `maps` stops before the pooling.

    `activation` makes the nonlinearity, one per block (the orthogonal classifier needs PReLU); `last_relu=False` leaves
    it out after the last addition, so that features can be negative (ledger 7).
    """

    folds = (("conv1", "bn1"),)

    def __init__(
        self,
        channels: int = 3,
        width: int = 64,
        *,
        last_relu: bool = True,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.activation = activation()
        blocks: list[nn.Module] = []
        inputs = width
        for stage, stride in enumerate((1, 2, 2, 2)):
            outputs = width * 2**stage
            for block_stride in (stride, 1):
                act = activation()
                ends = stage == 3 and block_stride == 1 and len(blocks) == 7
                blocks.append(
                    BasicBlock(inputs, outputs, block_stride, act, nn.Identity() if ends and not last_relu else act)
                )
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.dim = inputs

    def maps(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the last feature maps."""
        return self.blocks(self.activation(self.bn1(self.conv1(x))))

    def pool(self, maps: Tensor) -> Tensor:
        """Feature maps -> features [B, d]."""
        return maps.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.maps(x))


def load_post_activation_resnet18(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Fill our ResNet-18 classifier from a state dict with the widespread names (conv1, layer1.0.conv1, ..., linear).

    Inputs in [0, 1] without normalisation are expected, so build the model with `normalise=False`. Raises KeyError or
    RuntimeError where names or shapes do not fit.
    """
    renamed = {}
    for key, value in state.items():
        key = key.removeprefix("module.")
        if key.startswith("layer"):
            stage, block, rest = key.removeprefix("layer").split(".", 2)
            key = f"backbone.blocks.{2 * (int(stage) - 1) + int(block)}.{rest}"
        elif key.startswith(("linear.", "fc.")):
            key = "head." + key.split(".", 1)[1]
        else:
            key = f"backbone.{key}"
        renamed[key] = value
    renamed["mean"], renamed["std"] = model.mean, model.std
    with torch.no_grad():
        model.load_state_dict(renamed)
