"""AT, adversarial training (Madry et al., ICLR 2018) with the settings of Bag of Tricks (Pang et al., ICLR 2021).

Crafting maximises cross-entropy from a uniform start. Differs from the Bag-of-Tricks code, which also sends the clean
batch through the network twice in every step, only to log it, and so fills 70 % of the running batch-norm statistics
with clean images; `clean_bn_passes` brings that back (ledger A7), before the step instead of after it (ledger A26).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from advdpnp.defenses.base import Defense, accuracy


class AdversarialTraining(Defense):
    """L = CE(z(x~), y)."""

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.model(x_adv)
        if self.hyper.clean_bn_passes:
            with torch.no_grad():
                self.model(x), self.model(x)
        ce = F.cross_entropy(logits, y)
        return ce, {"ce_adv": ce, "train_adv": accuracy(logits, y)}
