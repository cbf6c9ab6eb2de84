"""What the training loop calls on a defense; the defaults are plain adversarial training."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdpnp.attacks import frozen, pgd
from advdpnp.config import RunConfig
from advdpnp.models import Classifier, build, describe
from advdpnp.models.batchnorm_folding import folded

InnerLoss = str | Callable[[nn.Module, Tensor, Tensor], Tensor]  # a name of attacks.LOSSES, or (model, x, y) -> [B]


class Defense(nn.Module, ABC):
    """A model and what its method adds for training. A subclass overrides only where it differs.

    Everything a method must remember between steps (class tables, centres) is a parameter or buffer, so that
    `state_dict()` is the whole state and training resumes from it. A method that `requires` another gets the trained
    model that it needs as `helper`.
    """

    start: bool | str = True  # of PGD: True uniform in the ball, "normal" 0.001 N(0, 1), False none

    def __init__(self, run: RunConfig, helper: nn.Module | None = None):
        super().__init__()
        self.run, self.hyper = run, run.hyper
        self.model = self.build(run)
        if helper is not None:
            self.helper = helper.requires_grad_(False)

    @staticmethod
    def network(run: RunConfig) -> dict[str, Any]:
        """What its network is made of, as plain data."""
        return describe(run)

    @classmethod
    def build(cls, run: RunConfig) -> Classifier:
        """The untrained network."""
        return build(cls.network(run))

    def inner_loss(self, x: Tensor, y: Tensor) -> InnerLoss:
        """What crafting maximises for the clean batch x [B, C, H, W], y [B]; called with the model frozen."""
        return "ce"

    def craft(self, x: Tensor, y: Tensor, *, budget: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """x~ [B, C, H, W]: linf PGD at `budget` times the configured epsilon and step, without weight gradients."""
        settings = self.run.craft
        start = {"method": self.start, "uniform": True, "normal": "normal", "none": False}[settings.random_start]
        eval_mode = settings.bn_mode == "eval"
        fold = folded if eval_mode and settings.fold_batch_norm else nullcontext
        with frozen(self.model, eval_mode), fold(self.model):
            return pgd(
                self.model,
                x,
                y,
                epsilon=budget * settings.epsilon,
                step_size=budget * settings.step_size,
                steps=settings.steps,
                norm="linf",
                random_start=start,
                loss=self.inner_loss(x, y),
                generator=generator,
                eval_mode=eval_mode,
                checked=False,  # our own images: looking at them would make a GPU wait in every step
            )

    @abstractmethod
    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimise, and its terms by name (scalars) for the log."""

    def parameter_groups(self) -> list[dict]:
        """Groups for SGD; the loop fills in lr, momentum and weight decay where a group has none of its own."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def start_training(self, images: Tensor, labels: Tensor) -> None:
        """Before the first epoch of a new training; all images uint8 [N, C, H, W] and labels [N] on the device."""

    def start_epoch(self, epoch: int) -> None:
        """Before the first batch of 0-based `epoch`."""

    def before_step(self) -> None:
        """After the gradients are there, before the optimiser acts."""

    def after_step(self) -> None:
        """After the optimiser acted."""

    def end_epoch(self, epoch: int) -> None:
        """After the last batch of `epoch`."""

    def finish(self) -> None:
        """After the last epoch, before the model is saved."""


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """Share of the batch classified right, in percent, for the log."""
    return 100 * (logits.detach().argmax(1) == y).float().mean()


def class_sums(values: Tensor, y: Tensor, classes: int) -> Tensor:
    """Sum of the rows of values [B, d] for each class of y [B]: [M, d], in the same order of addition every time."""
    with torch.autocast(values.device.type, enabled=False):
        return F.one_hot(y, classes).T.to(values.dtype) @ values.detach()
