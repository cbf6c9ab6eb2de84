"""Adv-DPNP, the paper's method: unified prototypes, dual branch, composite loss (Sections 3.2-3.3, Algorithm 1).

The settings and switches are `advdpnp.config.AdvDpnp`. Clean and adversarial images pass the network one after the
other, in the order of Algorithm 1 (lines 8 and 10); that order decides what the running batch-norm statistics hold.
"""

from dataclasses import asdict

from torch import Tensor

from advdpnp.attacks import adaptive_objective
from advdpnp.config import RunConfig
from advdpnp.defenses.base import Defense, InnerLoss, accuracy
from advdpnp.losses import adv_dpnp_terms, weigh_terms
from advdpnp.models import Classifier, PrototypeHead, classifier


class AdvDPNP(Defense):
    """Eq. (7): L = lambda_DNP L_DNP + mean[L_DPP(x) + L_DPP(x~) + lambda_DFA L_DFA(x, x~)] / 2."""

    @staticmethod
    def build(run: RunConfig) -> Classifier:
        hyper = run.hyper
        return classifier(run, lambda d, m: PrototypeHead(d, m, hyper.radius, hyper.prototype_start))

    def weights(self) -> dict[str, float]:
        """The lambdas of Eq. (7) by name."""
        return {k: v for k, v in asdict(self.hyper).items() if k.startswith("lambda_")}

    def inner_loss(self, x: Tensor, y: Tensor) -> InnerLoss:
        if self.hyper.inner_loss == "ce":
            return "ce"
        # ledger 1: the terms of Eq. (7) that depend on x~: L_DPP(x~, y) + lambda_DFA L_DFA(x, x~)
        weights = {"lambda_dpp": self.hyper.lambda_dpp, "lambda_dfa": self.hyper.lambda_dfa}
        return adaptive_objective(self.model, x, radius=self.hyper.radius, **weights)

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        clean, adversarial = self.model.features(x), self.model.features(x_adv)
        terms = adv_dpnp_terms(
            clean,
            adversarial,
            self.model.centers,
            y,
            radius=self.hyper.radius,
            lock_prototypes=self.hyper.lock_prototypes,
            detach_dfa_target=self.hyper.detach_dfa_target,
        )
        logged = terms | {
            "train_clean": accuracy(self.model.classify(clean), y),
            "train_adv": accuracy(self.model.classify(adversarial), y),
        }
        return weigh_terms(terms, **self.weights()), logged

    def parameter_groups(self) -> list[dict]:
        if self.hyper.decay_prototypes:
            return super().parameter_groups()
        return [
            {"params": [*self.model.backbone.parameters()]},
            {"params": [*self.model.head.parameters()], "weight_decay": 0.0},
        ]

    def start_epoch(self, epoch: int) -> None:
        if self.hyper.renormalise == "epoch":
            self.model.head.renormalise()

    def after_step(self) -> None:
        if self.hyper.renormalise == "step":
            self.model.head.renormalise()

    def finish(self) -> None:
        if self.hyper.renormalise_at_test:
            self.model.head.renormalise()
