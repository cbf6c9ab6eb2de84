"""OC, orthogonal classifier (Xu et al. 2022): fixed orthogonal class vectors; only the features are learned.

The class vectors are rows of a Hadamard matrix, and features regress to them. Crafting maximises the squared distance
between the features and their class vector, from a uniform start.

Differs from the official code: ResNet-18 with 512 features instead of a ResNet-32 with 64, PReLU in place of every
ReLU as there. With a ReLU the vectors' negative entries could not be reached, and class 0 (all ones) would tie with
every true class (ledger A11).
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from advdpnp.config import RunConfig
from advdpnp.defenses.base import Defense, InnerLoss, accuracy
from advdpnp.errors import UserError
from advdpnp.models import describe


def oc_loss(
    clean_features: Tensor, adversarial_features: Tensor, centers: Tensor, labels: Tensor, *, leverage: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """a MSE(f(x), w_y) + (1 - a) MSE(f(x~), w_y) and its terms; means over the batch and the d features."""
    wanted = centers[labels]
    clean, adversarial = F.mse_loss(clean_features, wanted), F.mse_loss(adversarial_features, wanted)
    return leverage * clean + (1 - leverage) * adversarial, {"mse_clean": clean, "mse_adv": adversarial}


def squared_distances(features: Tensor, centers: Tensor, labels: Tensor) -> Tensor:
    """||f(x~) - w_y||^2 per sample, [B]: what crafting maximises."""
    return (features - centers[labels]).square().sum(1)


class OrthogonalClassifier(Defense):
    """L = a MSE(f(x), w_y) + (1 - a) MSE(f(x~), w_y), with w fixed; logits f W^T."""

    @staticmethod
    def network(run: RunConfig) -> dict[str, Any]:
        if run.backbone == "wrn34_10":
            raise UserError("OC needs PReLU in place of every ReLU, which wrn34_10 does not offer; use resnet18.")
        return describe(run, head=("HadamardHead", {"scale": run.hyper.scale}), activation="PReLU")

    def inner_loss(self, x: Tensor, y: Tensor) -> InnerLoss:
        return lambda model, x_adv, y: squared_distances(model.features(x_adv), model.centers, y)

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        clean, adversarial = self.model.features(x), self.model.features(x_adv)
        loss, terms = oc_loss(clean, adversarial, self.model.centers, y, leverage=self.hyper.leverage)
        return loss, terms | {
            "train_clean": accuracy(self.model.classify(clean.detach()), y),
            "train_adv": accuracy(self.model.classify(adversarial.detach()), y),
        }
