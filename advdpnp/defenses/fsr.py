"""FSR, feature separation and recalibration (Kim et al., CVPR 2023): the modules are in advdpnp/models/fsr.py.

A mask splits the last feature maps into a robust and a non-robust part; the non-robust part is recalibrated and added
back. An auxiliary classifier sees to it that the robust and the recalibrated part tell the class, and the non-robust
part tells the strongest wrong one. Crafting: cross-entropy with the deterministic mask, from a uniform start.

Evaluation uses the deterministic mask too; the official default in eval mode draws a new mask in every forward pass,
which AutoAttack would meet as a randomised defense.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from advdpnp.config import RunConfig
from advdpnp.defenses.base import Defense, accuracy
from advdpnp.defenses.mart import strongest_rivals
from advdpnp.models import describe


def fsr_loss(
    logits: Tensor,
    robust: Tensor,
    nonrobust: Tensor,
    recalibrated: Tensor,
    labels: Tensor,
    *,
    lambda_sep: float,
    lambda_rec: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """CE(z, y) + l_sep [CE(a(r), y) + CE(a(nr), y')] + l_rec CE(a(rec), y) and its terms; all logits [B, M].

    y' is the strongest wrong class of z: its argmax where that is wrong, else the second.
    """
    ce = F.cross_entropy(logits, labels)
    separation = F.cross_entropy(robust, labels) + F.cross_entropy(nonrobust, strongest_rivals(logits, labels))
    recalibration = F.cross_entropy(recalibrated, labels)
    terms = {"ce_adv": ce, "separation": separation, "recalibration": recalibration}
    return ce + lambda_sep * separation + lambda_rec * recalibration, terms


class FSR(Defense):
    """L = CE(z(x~), y) + l_sep [CE(a(r), y) + CE(a(nr), y')] + l_rec CE(a(rec), y)."""

    @staticmethod
    def network(run: RunConfig) -> dict[str, Any]:
        return describe(run, around=("SeparatedBackbone", {"classes": run.facts.classes, "tau": run.hyper.tau}))

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        backbone = self.model.backbone
        robust, nonrobust, recalibrated = backbone.parts(self.model.normalise(x_adv))
        logits = self.model.classify(backbone.pool(robust + recalibrated))
        auxiliary = (backbone.auxiliary_logits(part) for part in (robust, nonrobust, recalibrated))
        loss, terms = fsr_loss(
            logits, *auxiliary, y, lambda_sep=self.hyper.lambda_sep, lambda_rec=self.hyper.lambda_rec
        )
        return loss, terms | {"train_adv": accuracy(logits, y)}
