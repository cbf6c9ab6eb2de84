"""LeNets++ (Wen et al., ECCV 2016): six 5x5 convolutions and a two-dimensional feature that can be drawn as it is."""

from torch import Tensor, nn


class LeNetsPP(nn.Module):
    """[B, C, H, W] -> features [B, 2]; `width` is the first stage's channels (32 in the paper).

    `last_relu=False` leaves out the PReLU on the two features.
    """

    def __init__(self, channels: int = 1, width: int = 32, *, size: int = 28, last_relu: bool = True, dim: int = 2):
        super().__init__()
        layers, inputs = [], channels
        for stage in range(3):
            outputs = width * 2**stage
            for _ in range(2):
                layers += [nn.Conv2d(inputs, outputs, 5, 1, 2), nn.PReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.convolutions = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs * (size // 8) ** 2, dim)
        self.last = nn.PReLU() if last_relu else nn.Identity()
        self.dim = dim
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):  # PyTorch's own start fades through six layers without BN
                nn.init.kaiming_normal_(module.weight, a=0.25)
                nn.init.zeros_(module.bias)

    def maps(self, x: Tensor) -> Tensor:
        return self.convolutions(x)

    def pool(self, maps: Tensor) -> Tensor:
        return self.last(self.fc(maps.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.maps(x))
