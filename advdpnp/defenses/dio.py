"""DIO, diversity via orthogonality (Fang et al. 2024), with adversarial training: L classifiers on one backbone.

The heads are pushed to be orthogonal, and each to keep a distance from its decision boundaries. Crafting: cross-entropy
of one head, drawn anew at every step from torch's global generator, from a uniform start.

Evaluation takes head 0, deterministic. Differs from the official evaluation, which attacks a random head and reports
the mean accuracy of all heads: an attack that partly misses its target (ledger A15). Its backbone is a pre-activation
ResNet-18; ours is the one of all methods. Its CIFAR-100 loader also rotates by up to 15 degrees (ledger A25).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdpnp.config import RunConfig
from advdpnp.defenses.base import Defense, InnerLoss, accuracy
from advdpnp.models import describe

FAR = 1000.0  # stands for "no rival" in the minimum of the margin


def orthogonality(weights: Tensor) -> Tensor:
    """L_o: sum over pairs of heads of the squared inner product of their whole matrices; weights [L, M, d]."""
    flat = weights.flatten(1)
    with torch.autocast(flat.device.type, enabled=False):
        gram = flat @ flat.T
    # sum_{i<j} <W_i, W_j>_F^2
    return gram.triu(1).square().sum()


def margin_penalty(logits: Tensor, weights: Tensor, labels: Tensor, *, tau: float) -> Tensor:
    """L_d: sum over heads of the mean of max(tau - margin, 0) over the samples that the head classifies right.

    logits [L, B, M], weights [L, M, d]. A head without such a sample adds nothing.
    """
    # margin = min_{k: dist_k > 0} dist_k, dist_k = (z_max - z_k) / ||w_k||
    distances = (logits.amax(2, keepdim=True) - logits) / weights.norm(dim=2)[:, None, :]
    margins = torch.where(distances > 0, distances, FAR).amin(2)
    right = (logits.detach().argmax(2) == labels).to(logits.dtype)
    return (((tau - margins).relu() * right).sum(1) / right.sum(1).clamp_min(1)).sum()


def dio_loss(
    logits: Tensor, weights: Tensor, labels: Tensor, *, alpha: float, beta: float, tau: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """1/L sum_l CE(z_l, y) + alpha L_o + beta L_d and its terms; logits [L, B, M], weights [L, M, d]."""
    ce = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)))
    orthogonal, margin = orthogonality(weights), margin_penalty(logits, weights, labels, tau=tau)
    return ce + alpha * orthogonal + beta * margin, {"ce_adv": ce, "orthogonality": orthogonal, "margin": margin}


class DIO(Defense):
    """L = 1/L sum_l CE(z_l(x~), y) + alpha L_o + beta L_d."""

    @staticmethod
    def network(run: RunConfig) -> dict[str, Any]:
        return describe(run, head=("ParallelHeads", {"heads": run.hyper.heads}))

    def inner_loss(self, x: Tensor, y: Tensor) -> InnerLoss:
        def objective(model: nn.Module, x_adv: Tensor, y: Tensor) -> Tensor:
            drawn = int(torch.randint(self.hyper.heads, ()))
            logits = model.head.one(model.features(x_adv), drawn)
            return F.cross_entropy(logits, y, reduction="none")

        return objective

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits, weights = self.model.head.all(self.model.features(x_adv)), self.model.head.weight
        hyper = self.hyper
        loss, terms = dio_loss(logits, weights, y, alpha=hyper.alpha, beta=hyper.beta, tau=hyper.tau)
        return loss, terms | {"train_adv": accuracy(logits[0], y)}
