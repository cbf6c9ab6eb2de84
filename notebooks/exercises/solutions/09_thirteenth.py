"""Solution of exercise 9."""

import torch.nn.functional as F

from advdpnp.defenses import DEFENSES, Defense


def alp_loss(clean_logits, adversarial_logits, labels, weight):
    halves = (F.cross_entropy(clean_logits, labels) + F.cross_entropy(adversarial_logits, labels)) / 2
    return halves + weight * (clean_logits - adversarial_logits).square().sum(1).mean()


class ALP(Defense):
    """Adversarial logit pairing (Kannan, Kurakin and Goodfellow, 2018)."""

    def loss(self, x, x_adv, y):
        clean, adversarial = self.model(x), self.model(x_adv)
        loss = alp_loss(clean, adversarial, y, self.hyper.weight)
        return loss, {"pairing": (clean - adversarial).square().sum(1).mean()}


DEFENSES["ALP"] = ALP
