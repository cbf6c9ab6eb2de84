"""HAT, helper-based adversarial training (Rade & Moosavi-Dezfooli, ICLR 2022).

A helper example lies on the line from x through x~, `extrapolation` times as far (not clipped to [0, 1]); it is
labelled by a standard network, so the margin does not grow further than needed. Crafting is that of TRADES.

The helper's label is the standard network's hard decision at x~, as in the official code (the Adv-DPNP paper speaks of
soft labels; ledger A14). Differs from its CIFAR-100 loader, which also rotates by up to 15 degrees (ledger A25).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdpnp.config import RunConfig
from advdpnp.defenses.base import Defense, InnerLoss, accuracy
from advdpnp.defenses.trades import kl_objective
from advdpnp.errors import UserError
from advdpnp.losses import kl_divergence


def hat_loss(
    clean_logits: Tensor,
    adversarial_logits: Tensor,
    helper_logits: Tensor,
    labels: Tensor,
    helper_labels: Tensor,
    *,
    beta: float,
    gamma: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """CE(z, y) + beta mean KL(p || p~) + gamma CE(z(x_h), y_h) and its terms."""
    ce = F.cross_entropy(clean_logits, labels)
    kl = kl_divergence(clean_logits, adversarial_logits).mean()
    helper = F.cross_entropy(helper_logits, helper_labels)
    return ce + beta * kl + gamma * helper, {"ce_clean": ce, "kl": kl, "ce_helper": helper}


class HAT(Defense):
    """L = CE(z(x), y) + beta KL(p(x) || p(x~)) + gamma CE(z(x_h), y_h), x_h = x + h (x~ - x)."""

    start = "normal"

    def __init__(self, run: RunConfig, helper: nn.Module | None = None):
        if helper is None:
            raise UserError(f"HAT needs the trained ST model of {run.dataset}/{run.backbone} first; train it.")
        super().__init__(run, helper)
        self.train(self.training)

    def train(self, mode: bool = True) -> "HAT":
        super().train(mode)
        self.helper.eval()
        return self

    def inner_loss(self, x: Tensor, y: Tensor) -> InnerLoss:
        return kl_objective(self.model(x))

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            helper_labels = self.helper(x_adv).argmax(1)
        # x_h = x + h (x~ - x)
        x_helper = x + self.hyper.extrapolation * (x_adv - x)
        clean, adversarial, helper = self.model(x), self.model(x_adv), self.model(x_helper)
        loss, terms = hat_loss(
            clean, adversarial, helper, y, helper_labels, beta=self.hyper.beta, gamma=self.hyper.gamma
        )
        return loss, terms | {"train_clean": accuracy(clean, y), "train_adv": accuracy(adversarial, y)}
