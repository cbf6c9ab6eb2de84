"""AT_HE, adversarial training with hypersphere embedding (Pang et al., NeurIPS 2020).

Features and class vectors are unit vectors, and training asks for a margin m on the true class's cosine (subtracted
from the cosine, not added to the angle as Section 4.1 of the Adv-DPNP paper has it). Crafting: the same loss without
the margin, from 0.001 N(0, 1).

Differs from the official code: the class vectors return to the sphere after each step instead of inside each forward
pass (the same vectors in every forward pass, and a forward pass without side effects); logits at test time are s cos
instead of cos, because a cross-entropy attack on bare cosines is weak (`scale_at_test`, ledger A8).
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from advdpnp.config import RunConfig
from advdpnp.defenses.base import Defense, InnerLoss, accuracy
from advdpnp.models import describe


def at_he_loss(cosines: Tensor, labels: Tensor, *, scale: float, margin: float) -> Tensor:
    """Mean of -log[e^{s (cos_y - m)} / (e^{s (cos_y - m)} + sum_{k != y} e^{s cos_k})]; cosines [B, M]."""
    # CE(s (cos - m onehot(y)), y)
    true_class = F.one_hot(labels, cosines.shape[1]).to(cosines.dtype)
    return F.cross_entropy(scale * (cosines - margin * true_class), labels)


class HypersphereEmbedding(Defense):
    """L = CE(s (cos(x~) - m onehot(y)), y)."""

    start = "normal"

    @staticmethod
    def network(run: RunConfig) -> dict[str, Any]:
        scale = run.hyper.scale if run.hyper.scale_at_test else 1.0
        return describe(run, head=("CosineHead", {"scale": scale}))

    def cosines(self, model: nn.Module, x: Tensor) -> Tensor:
        """[B, C, H, W] -> cosines [B, M] between features and class vectors."""
        return model(x) / model.head.scale

    def inner_loss(self, x: Tensor, y: Tensor) -> InnerLoss:
        # CE(s cos, y): no margin, whatever the scale at test time
        return lambda model, x_adv, y: F.cross_entropy(
            self.hyper.scale * self.cosines(model, x_adv), y, reduction="none"
        )

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        cosines = self.cosines(self.model, x_adv)
        loss = at_he_loss(cosines, y, scale=self.hyper.scale, margin=self.hyper.margin)
        return loss, {"ce_margin": loss, "train_adv": accuracy(cosines, y)}

    def after_step(self) -> None:
        # The gradient and the weight decay act in all of R^d; only their result is projected.
        self.model.head.renormalise()
