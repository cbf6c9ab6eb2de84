"""PCL, prototype conformity (Mustafa et al. 2021): features are pulled to their class's centre and pushed from others'.

Two sets of centres, both learned: features and pulling centres attract, features and pushing centres repel. Centres
and features live at two levels at once, the pooled features and a linear layer of twice their width. Clean and
adversarial images pass the network as one batch. Crafting: cross-entropy without a random start.

Differs from the official code, whose PGD script overwrites the clean batch, and whose networks are pretrained on
clean images for 164 epochs: here cross-entropy alone acts for `warmup_epochs`, then the centres start at the class
means, and the network's gradient norm is clipped (ledger A10). The weights of the two terms, the centres' own plain
SGD and the squared distances are the code's; the paper's formulas differ from it.
"""

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdpnp.config import RunConfig
from advdpnp.defenses.base import Defense, accuracy, class_sums
from advdpnp.models import describe


def proximity(features: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """Prox: mean of ||f_i - c_{y_i}||^2; features [B, d], centres [M, d]."""
    return (features - centres[labels]).square().sum(1).clamp(1e-12, 1e12).mean()


def contrast(features: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """ConProx: mean of ||f_i - d_j||^2 over all i and all j != y_i; features [B, d], centres [M, d]."""
    squares = torch.cdist(features, centres).square().clamp(1e-12, 1e12)  # cdist stays in float32 under autocast
    rivals = 1 - F.one_hot(labels, len(centres))
    return (squares * rivals).sum() / rivals.sum()


def pcl_loss(
    logits: Tensor,
    features: Tensor,
    pulling: Tensor,
    pushing: Tensor,
    labels: Tensor,
    *,
    proximity_weight: float,
    contrast_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """CE(z, y) + w_p Prox - w_c ConProx and its terms.

    Squared distances of several levels add up, so levels may lie side by side in features and centres.
    """
    ce = F.cross_entropy(logits, labels)
    pull, push = proximity(features, pulling, labels), contrast(features, pushing, labels)
    return ce + proximity_weight * pull - contrast_weight * push, {"ce": ce, "proximity": pull, "contrast": push}


class PrototypeConformity(Defense):
    """L = CE + w_p Prox - w_c ConProx on the batch [x; x~].

    Everything that training goes through is in the state: the epoch, the sums of the last warm-up epoch's features,
    whether the centres have started.
    """

    start = False

    def __init__(self, run: RunConfig, helper: nn.Module | None = None):
        super().__init__(run, helper)
        classes, dims = run.facts.classes, sum(self.model.backbone.dims)
        self.pulling = nn.Parameter(torch.randn(classes, dims))
        self.pushing = nn.Parameter(torch.randn(classes, dims))
        self.now, self.started = 0, False  # of the buffers: reading those in every step would make a GPU wait
        self.register_buffer("epoch", torch.tensor(0))
        self.register_buffer("centres_started", torch.tensor(False))
        self.register_buffer("feature_sums", torch.zeros(classes, dims))
        self.register_buffer("class_counts", torch.zeros(classes))
        if self.hyper.warmup_epochs >= run.optim.epochs:
            warnings.warn(
                f"PCL trains {run.optim.epochs} epochs and its warm-up lasts {self.hyper.warmup_epochs}: its centres "
                "will never act; lower pcl.warmup_epochs.",
                stacklevel=2,
            )

    @staticmethod
    def network(run: RunConfig) -> dict[str, Any]:
        return describe(run, around=("HiddenLayer", {}))

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        levels = self.model.backbone.levels(self.model.normalise(torch.cat([x, x_adv])))
        logits, features, labels = self.model.classify(levels[-1]), torch.cat(levels, 1), torch.cat([y, y])
        clean, adversarial = logits.detach().chunk(2)
        accuracies = {"train_clean": accuracy(clean, y), "train_adv": accuracy(adversarial, y)}
        epoch, warmup = self.now, self.hyper.warmup_epochs
        if epoch == warmup - 1:
            self.add_up(features, labels)
        if epoch < warmup:
            ce = F.cross_entropy(logits, labels)
            return ce, {"ce": ce, "proximity": ce.new_zeros(()), "contrast": ce.new_zeros(())} | accuracies
        if not self.started:  # no warm-up epoch: the first batch has to do
            self.add_up(features, labels)
            self.start_centres()
        loss, terms = pcl_loss(
            logits,
            features,
            self.pulling,
            self.pushing,
            labels,
            proximity_weight=self.hyper.proximity,
            contrast_weight=self.hyper.contrast,
        )
        return loss, terms | accuracies

    def add_up(self, features: Tensor, labels: Tensor) -> None:
        """Add features [B, d] of labels [B] to the sums that the centres start from."""
        self.feature_sums += class_sums(features, labels, len(self.feature_sums))
        self.class_counts += F.one_hot(labels, len(self.class_counts)).sum(0)

    @torch.no_grad()
    def start_centres(self) -> None:
        """Both sets of centres <- class means of the features added up; a class not seen gets the mean of all."""
        counts = self.class_counts[:, None]
        overall = self.feature_sums.sum(0) / counts.sum()
        means = torch.where(counts > 0, self.feature_sums / counts.clamp_min(1), overall)
        self.pulling.copy_(means)
        self.pushing.copy_(means)
        self.started = True
        self.centres_started.fill_(True)

    def start_epoch(self, epoch: int) -> None:
        self.epoch.fill_(epoch)
        self.now, self.started = epoch, bool(self.centres_started)
        if epoch >= self.hyper.warmup_epochs and not self.started and self.class_counts.any():
            self.start_centres()

    def parameter_groups(self) -> list[dict]:
        plain = {"momentum": 0.0, "weight_decay": 0.0}
        return [
            {"params": [*self.model.parameters()]},
            {"params": [self.pulling], "lr": self.hyper.centre_lr, **plain},
            {"params": [self.pushing], "lr": self.hyper.contrast_lr, **plain},
        ]

    def before_step(self) -> None:
        # The loss's weights are undone for the centres: they move by their own learning rates alone.
        for centres, weight in ((self.pulling, self.hyper.proximity), (self.pushing, self.hyper.contrast)):
            if centres.grad is not None and weight > 0:
                centres.grad /= weight
        if self.hyper.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.hyper.clip_norm)
