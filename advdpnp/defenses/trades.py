"""TRADES (Zhang et al., ICML 2019): accuracy on clean images, and equal predictions on clean and adversarial ones.

Crafting maximises KL(p(x) || p(x~)) from 0.001 N(0, 1), so it needs no label.

Differs from the official code, which forwards the clean batch again after the adversarial one (the same logits, but
67 % instead of 47 % of the running batch-norm statistics are then clean; `second_clean_pass` brings that back) and
at every step of crafting (p(x) is computed once here; in eval mode it is the same).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from advdpnp.defenses.base import Defense, InnerLoss, accuracy
from advdpnp.losses import kl_divergence


def kl_objective(clean_logits: Tensor) -> InnerLoss:
    """What crafting of TRADES and HAT maximises: KL(p(x) || p(x~)) for this batch, p(x) fixed."""
    clean_logits = clean_logits.detach()
    return lambda model, x_adv, y: kl_divergence(clean_logits, model(x_adv))


def trades_loss(
    clean_logits: Tensor, adversarial_logits: Tensor, labels: Tensor, *, beta: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """CE(z, y) + beta mean KL(p || p~) and its terms; p is no constant in the KL."""
    ce = F.cross_entropy(clean_logits, labels)
    kl = kl_divergence(clean_logits, adversarial_logits).mean()
    return ce + beta * kl, {"ce_clean": ce, "kl": kl}


class TRADES(Defense):
    """L = CE(z(x), y) + beta KL(p(x) || p(x~))."""

    start = "normal"

    def inner_loss(self, x: Tensor, y: Tensor) -> InnerLoss:
        return kl_objective(self.model(x))

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        clean, adversarial = self.model(x), self.model(x_adv)
        if self.hyper.second_clean_pass:
            with torch.no_grad():
                self.model(x)
        loss, terms = trades_loss(clean, adversarial, y, beta=self.hyper.beta)
        return loss, terms | {"train_clean": accuracy(clean, y), "train_adv": accuracy(adversarial, y)}
