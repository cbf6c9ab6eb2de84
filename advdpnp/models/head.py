"""The last layer: features [B, d] -> logits [B, M], with `centers` [M, d] as each method means them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LinearHead(nn.Linear):
    """Inner products with class weights; the weights are the class centers (Section 4.3)."""

    @property
    def centers(self) -> Tensor:
        return self.weight


class PrototypeHead(nn.Module):
    """Eq. (1): logits c_j^T f / alpha; the prototypes c_j are classifier weights and class centers at once.

    `radius` is alpha, the norm of each prototype. `start` gives the initial directions: "random" on the sphere,
    "orthogonal" rows, or a regular "simplex" (the widest equal angles M points can have, arccos(-1 / (M - 1))).
    """

    def __init__(self, dim: int, classes: int, radius: float, start: str = "random"):
        super().__init__()
        self.radius = radius
        self.prototypes = nn.Parameter(torch.randn(classes, dim))
        with torch.no_grad():
            if start != "random":
                if dim < classes:
                    raise ValueError(f"{classes} '{start}' prototypes need at least {classes} dimensions, not {dim}")
                nn.init.orthogonal_(self.prototypes)
                if start == "simplex":
                    self.prototypes -= self.prototypes.mean(0)
        self.renormalise()

    @torch.no_grad()
    def renormalise(self) -> None:
        """Algorithm 1, line 4: c_j <- alpha c_j / ||c_j||."""
        self.prototypes.copy_(self.radius * F.normalize(self.prototypes, dim=1))

    @property
    def centers(self) -> Tensor:
        return self.prototypes

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.prototypes) / self.radius
