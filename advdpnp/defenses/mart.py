"""MART, misclassification-aware adversarial training (Wang et al., ICLR 2020).

The KL of TRADES counts more where the clean image is classified badly. Crafting: cross-entropy from 0.001 N(0, 1).
The small constants are the official code's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from advdpnp.defenses.base import Defense, accuracy


def strongest_rivals(logits: Tensor, labels: Tensor) -> Tensor:
    """arg max_{k != y} z_k: [B, M], [B] -> [B]."""
    return logits.detach().scatter(1, labels[:, None], -torch.inf).argmax(1)


def mart_loss(
    clean_logits: Tensor, adversarial_logits: Tensor, labels: Tensor, *, beta: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """BCE + beta mean[(1 - p_y) KL(p || p~)] and its terms; no constant in it: p gets a gradient in both places."""
    clean, adversarial = clean_logits.softmax(1), adversarial_logits.softmax(1)
    rival = adversarial.gather(1, strongest_rivals(adversarial_logits, labels)[:, None])[:, 0]
    # BCE = CE(z~, y) + mean[-log(1 - max_{k != y} p~_k)]
    bce = F.cross_entropy(adversarial_logits, labels) - (1.0001 - rival + 1e-12).log().mean()
    # KL_i = sum_k p_k (log p_k - log p~_k)
    kl = (clean * (clean_logits.log_softmax(1) - (adversarial + 1e-12).log())).sum(1)
    weight = 1.0000001 - clean.gather(1, labels[:, None])[:, 0]
    weighted_kl = (weight * kl).mean()
    return bce + beta * weighted_kl, {"bce": bce, "weighted_kl": weighted_kl}


class MART(Defense):
    """L = BCE(z(x~), y) + beta mean[(1 - p_y(x)) KL(p(x) || p(x~))]."""

    start = "normal"

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        clean, adversarial = self.model(x), self.model(x_adv)
        loss, terms = mart_loss(clean, adversarial, y, beta=self.hyper.beta)
        return loss, terms | {"train_clean": accuracy(clean, y), "train_adv": accuracy(adversarial, y)}
