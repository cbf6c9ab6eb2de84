"""IKL, improved Kullback-Leibler adversarial training (Cui et al., NeurIPS 2024).

The KL's gradient equals that of a weighted MSE of logit differences plus a soft cross-entropy; IKL lets both sides of
the MSE learn and takes its weights from class-wise mean predictions. Crafting: the soft cross-entropy (plus
`craft_wmse` times the MSE) from 0.001 N(0, 1).

Weights as in the official code: `wmse_weight` 20 is the paper's alpha / 4 = 5, `sce_weight` the paper's beta. Differs
from the official code: no adversarial weight perturbation, weight averaging or epsilon schedule (ledger A12).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdpnp.config import RunConfig
from advdpnp.defenses.base import Defense, InnerLoss, accuracy, class_sums


def soft_cross_entropy(clean_logits: Tensor, adversarial_logits: Tensor) -> Tensor:
    """-sum_k p_k log p~_k per sample, [B]; p is a constant."""
    return -(clean_logits.detach().softmax(1) * adversarial_logits.log_softmax(1)).sum(1)


def weighted_mse(clean_logits: Tensor, adversarial_logits: Tensor, weights: Tensor) -> Tensor:
    """1/4 sum_{j,k} s_j s_k (D_jk - D~_jk)^2 per sample, [B], D_jk = z_j - z_k; rows of weights [B, M] sum to one."""
    # 1/2 [sum_k s_k d_k^2 - (sum_k s_k d_k)^2], d = z - z~: half the s-weighted variance of d, written as
    # 1/2 sum_k s_k (d_k - mean)^2, which does not cancel in float32
    difference = clean_logits - adversarial_logits
    mean = (weights * difference).sum(1, keepdim=True)
    return (weights * (difference - mean).square()).sum(1) / 2


def ikl_loss(
    clean_logits: Tensor,
    adversarial_logits: Tensor,
    labels: Tensor,
    class_table: Tensor,
    *,
    sce_weight: float,
    wmse_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """CE(z, y) + C mean sCE + A mean wMSE and its terms; class_table [M, M] holds a class's weights in its row."""
    ce = F.cross_entropy(clean_logits, labels)
    sce = soft_cross_entropy(clean_logits, adversarial_logits).mean()
    wmse = weighted_mse(clean_logits, adversarial_logits, class_table[labels]).mean()
    return ce + sce_weight * sce + wmse_weight * wmse, {"ce_clean": ce, "sce": sce, "wmse": wmse}


class IKL(Defense):
    """L = CE(z(x), y) + A wMSE(z(x), z(x~); s_y) + C sCE(p(x), p(x~)); the adversarial batch is forwarded first.

    s_y is row y of the class table: the mean of softmax(z(x) / T) over the images of class y in the previous epoch,
    uniform in the first.
    """

    start = "normal"

    def __init__(self, run: RunConfig, helper: nn.Module | None = None):
        super().__init__(run, helper)
        classes = run.facts.classes
        self.register_buffer("class_table", torch.full((classes, classes), 1 / classes))
        self.register_buffer("class_sums", torch.zeros(classes, classes))

    def inner_loss(self, x: Tensor, y: Tensor) -> InnerLoss:
        clean = self.model(x).detach()

        def objective(model: nn.Module, x_adv: Tensor, y: Tensor) -> Tensor:
            adversarial = model(x_adv)
            loss = soft_cross_entropy(clean, adversarial)
            if self.hyper.craft_wmse:
                loss = loss + self.hyper.craft_wmse * weighted_mse(clean, adversarial, self.class_table[y])
            return loss

        return objective

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        adversarial, clean = self.model(x_adv), self.model(x)
        loss, terms = ikl_loss(
            clean,
            adversarial,
            y,
            self.class_table,
            sce_weight=self.hyper.sce_weight,
            wmse_weight=self.hyper.wmse_weight,
        )
        soft = (clean.detach() / self.hyper.temperature).softmax(1)
        self.class_sums += class_sums(soft, y, len(self.class_sums))
        return loss, terms | {"train_clean": accuracy(clean, y), "train_adv": accuracy(adversarial, y)}

    def end_epoch(self, epoch: int) -> None:
        # row y <- its sum / its number of images; a class that was not seen keeps its row
        counts = self.class_sums.sum(1, keepdim=True)
        rows = self.class_sums / counts.clamp_min(1e-12)
        self.class_table.copy_(torch.where(counts > 0, rows, self.class_table))
        self.class_sums.zero_()
