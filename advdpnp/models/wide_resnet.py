"""WRN-34-10 (Zagoruyko & Komodakis 2016): pre-activation, 46,160,474 parameters with a linear head for 10 classes."""

import torch.nn.functional as F
from torch import Tensor, nn


class PreActBlock(nn.Module):
    """BN-ReLU-conv twice; the shortcut convolves the activated input where the shape changes."""

    folds = (("conv1", "bn2"),)

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + (x if self.shortcut is None else self.shortcut(active))


class WideResNet34(nn.Module):
    """[B, C, H, W] -> features [B, 4 width]; `width` is the first stage's channels, 16 times the widening factor 10."""

    def __init__(self, channels: int = 3, width: int = 160, *, last_relu: bool = True):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        blocks, inputs = [], 16
        for stage in range(3):
            outputs = width * 2**stage
            for block in range(5):
                blocks.append(PreActBlock(inputs, outputs, 2 if stage > 0 and block == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(inputs)
        self.last = nn.ReLU() if last_relu else nn.Identity()
        self.dim = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # N(0, 2 / (k k outputs)), as the reference implementation starts
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, x: Tensor) -> Tensor:
        return self.last(self.bn(self.blocks(self.conv1(x))))

    def pool(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.maps(x))
