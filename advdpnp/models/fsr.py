"""Feature separation and recalibration (Kim et al., CVPR 2023) after a backbone's last stage.

12,432,980 parameters with ResNet-18 and 10 classes, 47,715,684 with WRN-34-10, the auxiliary classifier included.
"""

import torch
from torch import Tensor, nn

from .wide_resnet import WideResNet34


def separation_mask(scores: Tensor, tau: float, *, sample: bool) -> Tensor:
    """Share of each activation that counts as robust: scores [B, C, H, W] of any sign -> mask in [0, 1].

    sample: the binary Gumbel softmax at temperature tau, noise from torch's global generator; else its median.
    Differs from the official code, which guards the logarithms with 1e-8 instead of the noise.
    """
    if sample:
        # softmax([log q + g_1, log(1 - q) + g_2] / tau)_1, q = sigmoid(scores): log q - log(1 - q) = scores, and
        # g_1 - g_2 follows the logistic law, log u - log(1 - u)
        scores = scores + torch.logit(torch.rand_like(scores), eps=1e-7)
    return torch.sigmoid(scores / tau)


def convolutions(channels: int, hidden: int) -> nn.Sequential:
    """Three 3x3 convolutions, channels -> hidden -> hidden -> channels."""
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, 1, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 3, 1, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, channels, 3, 1, 1, bias=False),
    )


class SeparatedBackbone(nn.Module):
    """[B, C, H, W] -> features [B, d] of the robust plus the recalibrated part of the inner backbone's maps.

    In train mode the mask is drawn; in eval mode it is deterministic. Networks narrower than the paper's have narrower
    modules in proportion.
    """

    def __init__(self, backbone: nn.Module, classes: int, tau: float):
        super().__init__()
        self.backbone, self.tau, self.dim = backbone, tau, backbone.dim
        channels = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)][-1].out_channels  # of its maps
        hidden = max(1, min(64, channels // 8))
        self.separation = convolutions(channels, hidden)
        self.recalibration = convolutions(channels, hidden)
        self.auxiliary = nn.Linear(channels, classes)
        if isinstance(backbone, WideResNet34):  # there the official code starts every convolution this way
            for module in (*self.separation, *self.recalibration):
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Robust, non-robust and recalibrated maps, each [B, C', H', W'] in float32 or wider."""
        maps = _wide(self.backbone.maps(x))
        mask = separation_mask(_wide(self.separation(maps)), self.tau, sample=self.training)
        # r = m f, nr = (1 - m) f, rec = nr + (1 - m) R(nr)
        robust, nonrobust = mask * maps, (1 - mask) * maps
        recalibrated = nonrobust + (1 - mask) * _wide(self.recalibration(nonrobust))
        return robust, nonrobust, recalibrated

    def maps(self, x: Tensor) -> Tensor:
        robust, _, recalibrated = self.parts(x)
        return robust + recalibrated

    def pool(self, maps: Tensor) -> Tensor:
        return self.backbone.pool(maps)

    def auxiliary_logits(self, maps: Tensor) -> Tensor:
        """[B, C', H', W'] -> [B, M] by the one classifier that all three parts share."""
        with torch.autocast(maps.device.type, enabled=False):
            return self.auxiliary(maps.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.maps(x))


def _wide(values: Tensor) -> Tensor:
    """Out of half precision, which is too coarse for the mask."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
