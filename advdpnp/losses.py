"""Eqs. (1)-(7) as pure functions.

Shapes: features [B, d]; prototypes [M, d]; labels [B] of int64 in 0..M-1; logits [B, M]. Each loss is a scalar, a mean
over the batch (Eq. 7 divides by N). The paper's alpha, the norm of the prototypes, is `radius` here: the step of an
attack is another thing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

ROOT_GUARD = 1e-6  # inside the square root of Eq. (5): its slope at 0 would be infinite; float32 near 40 resolves 4e-6


def prototype_logits(features: Tensor, prototypes: Tensor, *, radius: float) -> Tensor:
    """Eq. (1) before the softmax: similarities [B, M], with 1 / alpha as the temperature; never in half precision."""
    # c_j^T f(x) / alpha
    with torch.autocast(features.device.type, enabled=False):
        return features @ prototypes.T / radius


def cross_entropy_loss(features: Tensor, prototypes: Tensor, labels: Tensor, *, radius: float) -> Tensor:
    """Eq. (2): mean of -log p_y(x)."""
    return F.cross_entropy(prototype_logits(features, prototypes, radius=radius), labels)


def alignment(features: Tensor, prototypes: Tensor, labels: Tensor) -> Tensor:
    """The pull of Eq. (3) before its weight: mean of ||f(x) - c_y||^2 / 2."""
    return (features - prototypes[labels]).square().sum(1).mean() / 2


def dpp_loss(features: Tensor, prototypes: Tensor, labels: Tensor, *, radius: float, lambda_dpp: float) -> Tensor:
    """Eq. (3), deep positive prototypes: classify, and pull features to their prototypes."""
    # L_CE(x, y) + lambda_DPP / 2 ||f(x) - c_y||^2
    classify = cross_entropy_loss(features, prototypes, labels, radius=radius)
    return classify + lambda_dpp * alignment(features, prototypes, labels)


def negative_prototypes(prototypes: Tensor) -> Tensor:
    """Eq. (4): index [M] of each prototype's nearest rival (Euclidean). Needs M >= 2."""
    if len(prototypes) < 2:
        raise ValueError("a rival needs at least two prototypes")
    # arg min_{k != j} ||c_k - c_j||
    distances = torch.cdist(prototypes.detach(), prototypes.detach(), compute_mode="donot_use_mm_for_euclid_dist")
    return distances.fill_diagonal_(torch.inf).argmin(1)


def dnp_loss(prototypes: Tensor) -> Tensor:
    """Eq. (5), deep negative prototypes: -1/M sum_j ||c_j - c_j^neg||_{1/2}^{1/2}, short-range repulsion.

    The quasi-norm to the power 1/2 is sum_i |v_i|^{1/2}. Differs from the paper by `ROOT_GUARD` inside the root,
    without which two prototypes that share a coordinate would get an infinite gradient.
    """
    difference = prototypes - prototypes[negative_prototypes(prototypes)]
    return -(difference.abs() + ROOT_GUARD).sqrt().sum(1).mean()


def dfa_loss(clean_logits: Tensor, adversarial_logits: Tensor) -> Tensor:
    """Eq. (6), deep feature alignment: mean of KL(p(x) || p(x~)). The gradient flows through both."""
    # sum_j p_j(x) log(p_j(x) / p_j(x~))
    log_clean, log_adversarial = clean_logits.log_softmax(1), adversarial_logits.log_softmax(1)
    return (log_clean.exp() * (log_clean - log_adversarial)).sum(1).mean()


def adv_dpnp_terms(
    clean_features: Tensor,
    adversarial_features: Tensor,
    prototypes: Tensor,
    labels: Tensor,
    *,
    radius: float,
    lock_prototypes: bool = True,
    detach_dfa_target: bool = False,
) -> dict[str, Tensor]:
    """The six terms of Eq. (7) before their weights, with the dual branch of Section 3.3.

    The adversarial branch sees locked prototypes (a constant), so what reaches the prototypes comes from clean inputs
    alone: DNP, the clean DPP, and DFA through p(x). `lock_prototypes=False` and `detach_dfa_target=True` are ledger
    entries 4 and 6.
    """
    locked = prototypes.detach() if lock_prototypes else prototypes
    clean_logits = prototype_logits(clean_features, prototypes, radius=radius)
    adversarial_logits = prototype_logits(adversarial_features, locked, radius=radius)
    return {
        "ce_clean": F.cross_entropy(clean_logits, labels),
        "ce_adv": F.cross_entropy(adversarial_logits, labels),
        "pull_clean": alignment(clean_features, prototypes, labels),
        "pull_adv": alignment(adversarial_features, locked, labels),
        "dfa": dfa_loss(clean_logits.detach() if detach_dfa_target else clean_logits, adversarial_logits),
        "dnp": dnp_loss(prototypes),
    }


def weigh_terms(terms: dict[str, Tensor], *, lambda_dpp: float, lambda_dnp: float, lambda_dfa: float) -> Tensor:
    """Eq. (7) from its terms: lambda_DNP L_DNP + (L_DPP(x) + L_DPP(x~) + lambda_DFA L_DFA) / 2."""
    clean = terms["ce_clean"] + lambda_dpp * terms["pull_clean"]
    adversarial = terms["ce_adv"] + lambda_dpp * terms["pull_adv"]
    return lambda_dnp * terms["dnp"] + (clean + adversarial + lambda_dfa * terms["dfa"]) / 2


def adv_dpnp_loss(
    clean_features: Tensor,
    adversarial_features: Tensor,
    prototypes: Tensor,
    labels: Tensor,
    *,
    radius: float,
    lambda_dpp: float,
    lambda_dnp: float,
    lambda_dfa: float,
    lock_prototypes: bool = True,
    detach_dfa_target: bool = False,
) -> Tensor:
    """Eq. (7), the Adv-DPNP loss, as a mean over the batch; the switches are explained at `adv_dpnp_terms`."""
    terms = adv_dpnp_terms(
        clean_features,
        adversarial_features,
        prototypes,
        labels,
        radius=radius,
        lock_prototypes=lock_prototypes,
        detach_dfa_target=detach_dfa_target,
    )
    return weigh_terms(terms, lambda_dpp=lambda_dpp, lambda_dnp=lambda_dnp, lambda_dfa=lambda_dfa)
