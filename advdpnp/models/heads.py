"""The last layer: features [B, d] -> logits [B, M], with `centers` [M, d] as each method means them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from ..losses import prototype_logits


class LinearHead(nn.Linear):
    """Inner products with class weights; the weights are the class centers (Section 4.3)."""

    @property
    def centers(self) -> Tensor:
        return self.weight


class PrototypeHead(nn.Module):
    """Eq. (1): logits c_j^T f / alpha; the prototypes c_j are classifier weights and class centers at once.

    `radius` is alpha, the norm of each prototype. `start` gives the initial directions: "random" on the sphere,
    "orthogonal" rows, or a regular "simplex" (the widest equal angles M points can have, arccos(-1 / (M - 1))); any
    other name starts at random, and whoever gave it points them elsewhere later (`point_to`).
    """

    def __init__(self, dim: int, classes: int, radius: float, start: str = "random"):
        super().__init__()
        self.radius = radius
        self.prototypes = nn.Parameter(torch.randn(classes, dim))
        with torch.no_grad():
            if start in ("orthogonal", "simplex"):
                if dim < classes:
                    raise UserError(f"{classes} '{start}' prototypes need at least {classes} dimensions, not {dim}.")
                nn.init.orthogonal_(self.prototypes)
                if start == "simplex":
                    self.prototypes -= self.prototypes.mean(0)
        self.renormalise()

    @torch.no_grad()
    def renormalise(self) -> None:
        """Algorithm 1, line 4: c_j <- alpha c_j / ||c_j||."""
        self.prototypes.copy_(self.radius * F.normalize(self.prototypes, dim=1))

    @torch.no_grad()
    def point_to(self, directions: Tensor) -> None:
        """c_j <- alpha v_j / ||v_j|| for directions v [M, d]."""
        self.prototypes.copy_(directions)
        self.renormalise()

    @property
    def centers(self) -> Tensor:
        return self.prototypes

    def forward(self, features: Tensor) -> Tensor:
        return prototype_logits(features, self.prototypes, radius=self.radius)


class CosineHead(nn.Module):
    """s <f / ||f||, w_j>, no bias; the rows w_j are unit vectors that `renormalise` keeps so (AT_HE)."""

    def __init__(self, dim: int, classes: int, scale: float):
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.randn(classes, dim))
        self.renormalise()

    @torch.no_grad()
    def renormalise(self) -> None:
        self.weight.copy_(F.normalize(self.weight, dim=1))

    @property
    def centers(self) -> Tensor:
        return self.weight

    def embedding(self, features: Tensor) -> Tensor:
        """f / ||f||: what the cosines are taken of."""
        return F.normalize(features, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * F.linear(self.embedding(features), self.weight)


def hadamard(dim: int) -> Tensor:
    """Signs [dim, dim] with orthogonal rows, H_1 = [[1]], H_2n = [[H, H], [-H, H]]; row 0 is all ones."""
    signs = torch.ones(1, 1)
    while len(signs) < dim:
        signs = torch.cat([torch.cat([signs, signs], 1), torch.cat([-signs, signs], 1)])
    return signs


class HadamardHead(nn.Module):
    """f W^T with fixed W: the first rows of a Hadamard matrix, each of norm `scale` (OC). W W^T = scale^2 I."""

    def __init__(self, dim: int, classes: int, scale: float):
        super().__init__()
        if dim & (dim - 1):
            raise UserError(f"OC's Hadamard matrix needs 2, 4, 8, ... features, not {dim}; use such a width.")
        if classes > dim:
            raise UserError(f"OC needs as many features as classes: {dim} features cannot hold {classes} classes.")
        self.register_buffer("weight", scale * hadamard(dim)[:classes] / dim**0.5)

    @property
    def centers(self) -> Tensor:
        return self.weight

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight)


class HiddenLayer(nn.Module):
    """A backbone and one linear layer that doubles its features, 512 -> 1024 with ResNet-18 (PCL)."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.dims = (backbone.dim, 2 * backbone.dim)
        self.dim = self.dims[-1]
        self.fc = nn.Linear(*self.dims)

    def levels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> pooled features [B, d] and hidden ones [B, 2d], float32 or wider under any autocast."""
        pooled = self.backbone(x)
        with torch.autocast(x.device.type, enabled=False):
            pooled = pooled.to(self.fc.weight.dtype)
            return pooled, self.fc(pooled)

    def forward(self, x: Tensor) -> Tensor:
        return self.levels(x)[-1]


class ParallelHeads(nn.Module):
    """L linear classifiers without bias on the same features; head 0 gives the logits and the centers (DIO)."""

    def __init__(self, dim: int, classes: int, heads: int):
        super().__init__()
        # U(-1/sqrt(d), 1/sqrt(d)), as nn.Linear starts
        self.weight = nn.Parameter(torch.empty(heads, classes, dim).uniform_(-(dim**-0.5), dim**-0.5))

    @property
    def centers(self) -> Tensor:
        return self.weight[0]

    def one(self, features: Tensor, head: int) -> Tensor:
        """[B, d] -> logits [B, M] of one head."""
        with torch.autocast(features.device.type, enabled=False):
            return F.linear(features, self.weight[head])

    def all(self, features: Tensor) -> Tensor:
        """[B, d] -> logits [L, B, M] of every head."""
        with torch.autocast(features.device.type, enabled=False):
            return features @ self.weight.mT

    def forward(self, features: Tensor) -> Tensor:
        return self.one(features, 0)
