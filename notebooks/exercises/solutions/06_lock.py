"""Solution of exercise 6."""

from advdpnp import losses


def adversarial_branch(adversarial_features, prototypes, labels, radius, lambda_dpp):
    locked = prototypes.detach()
    return losses.dpp_loss(adversarial_features, locked, labels, radius=radius, lambda_dpp=lambda_dpp)


def dfa(clean_features, adversarial_features, prototypes, radius):
    clean = losses.prototype_logits(clean_features, prototypes, radius=radius)
    adversarial = losses.prototype_logits(adversarial_features, prototypes.detach(), radius=radius)
    return losses.dfa_loss(clean, adversarial)
