"""ST, standard training: cross-entropy on clean images. No defense; the reference for everything else."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from advdpnp.defenses.base import Defense, accuracy


class StandardTraining(Defense):
    """L = CE(z(x), y)."""

    def craft(self, x: Tensor, y: Tensor, **_: Any) -> Tensor:
        return x

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.model(x)
        ce = F.cross_entropy(logits, y)
        return ce, {"ce_clean": ce, "train_clean": accuracy(logits, y)}
