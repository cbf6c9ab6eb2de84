"""Adv-DPNP, the paper's method: unified prototypes, dual branch, composite loss (Sections 3.2-3.3, Algorithm 1).

The settings and switches are `advdpnp.config.AdvDpnp`. Clean and adversarial images pass the network one after the
other, in the order of Algorithm 1 (lines 8 and 10); that order decides what the running batch-norm statistics hold.
"""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from advdpnp.attacks import adaptive_objective, frozen
from advdpnp.config import RunConfig
from advdpnp.data import to_float
from advdpnp.defenses.base import Defense, InnerLoss, accuracy, class_sums
from advdpnp.errors import UserError
from advdpnp.losses import adv_dpnp_terms, weigh_terms
from advdpnp.models import describe


class AdvDPNP(Defense):
    """Eq. (7): L = lambda_DNP L_DNP + mean[L_DPP(x) + L_DPP(x~) + lambda_DFA L_DFA(x, x~)] / 2."""

    @staticmethod
    def network(run: RunConfig) -> dict[str, Any]:
        return describe(run, head=("PrototypeHead", {"radius": run.hyper.radius, "start": run.hyper.prototype_start}))

    def weights(self) -> dict[str, float]:
        """The lambdas of Eq. (7) by name."""
        return {k: v for k, v in asdict(self.hyper).items() if k.startswith("lambda_")}

    def inner_loss(self, x: Tensor, y: Tensor) -> InnerLoss:
        if self.hyper.inner_loss == "ce":
            return "ce"
        # ledger 1: the terms of Eq. (7) that depend on x~: L_DPP(x~, y) + lambda_DFA L_DFA(x, x~)
        names = ("radius", "lambda_dpp", "lambda_dfa", "pull")
        return adaptive_objective(self.model, x, **{name: getattr(self.hyper, name) for name in names})

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        clean, adversarial = self.model.features(x), self.model.features(x_adv)
        names = ("radius", "pull", "lock_prototypes", "pull_prototypes", "rival_gradient", "detach_dfa_target")
        switches = {name: getattr(self.hyper, name) for name in names}
        terms = adv_dpnp_terms(clean, adversarial, self.model.centers, y, **switches)
        logged = terms | {
            "train_clean": accuracy(self.model.classify(clean), y),
            "train_adv": accuracy(self.model.classify(adversarial), y),
        }
        return weigh_terms(terms, **self.weights()), logged

    def parameter_groups(self) -> list[dict]:
        own: dict[str, float] = {}
        if not self.hyper.decay_prototypes:
            own["weight_decay"] = 0.0
        if self.hyper.prototype_lr != 1:
            own["lr"] = self.hyper.prototype_lr * self.run.optim.lr
        if not own:
            return super().parameter_groups()
        return [{"params": [*self.model.backbone.parameters()]}, {"params": [*self.model.head.parameters()]} | own]

    @torch.no_grad()
    def start_training(self, images: Tensor, labels: Tensor) -> None:
        """Ledger 4: prototypes that start at the class means of the untrained network's features."""
        if self.hyper.prototype_start != "class_means":
            return
        classes = self.run.facts.classes
        missing = sorted(set(range(classes)) - set(labels.unique().tolist()))
        if missing:
            raise UserError(
                f"{self.run.id}: prototype_start: class_means needs training images of every class; none of "
                f"class {missing[0]}; use data.train_images: 0, or another start."
            )
        size, total = self.run.optim.batch_size, 0
        with frozen(self.model):
            for x, y in zip(images.split(size), labels.split(size), strict=True):
                total = total + class_sums(self.model.features(to_float(x)), y, classes)
        self.model.head.point_to(total)  # sums point where means do

    def start_epoch(self, epoch: int) -> None:
        if self.hyper.renormalise == "epoch":
            self.model.head.renormalise()

    def after_step(self) -> None:
        if self.hyper.renormalise == "step":
            self.model.head.renormalise()

    def finish(self) -> None:
        if self.hyper.renormalise_at_test:
            self.model.head.renormalise()
