"""Eqs. (1)-(7) as pure functions, by default as the paper prints them.

One default differs from the one that networks are trained with: `pull` is "sum" here, as in Eq. (3), and "mean" in
`advdpnp.config` (docs/ledger.md, entry 17).

Shapes: features [B, d]; prototypes [M, d]; labels [B] of int64 in 0..M-1; logits [B, M]. Each loss is a scalar, a mean
over the batch (Eq. 7 divides by N). The paper's alpha, the norm of the prototypes, is `radius` here: the step of an
attack is another thing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

ROOT_GUARD = 1e-6  # inside the square root of Eq. (5): its slope at 0 would be infinite; float32 near 40 resolves 4e-6


def prototype_logits(features: Tensor, prototypes: Tensor, *, radius: float) -> Tensor:
    """Eq. (1) before the softmax: similarities [B, M], with 1 / alpha as the temperature; never in half precision.

    >>> prototypes = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    >>> prototype_logits(torch.tensor([[3.0, 1.0]]), prototypes, radius=4.0)
    tensor([[3., 1.]])
    """
    # c_j^T f(x) / alpha
    with torch.autocast(features.device.type, enabled=False):
        return features @ prototypes.T / radius


def cross_entropy_loss(features: Tensor, prototypes: Tensor, labels: Tensor, *, radius: float) -> Tensor:
    """Eq. (2): mean of -log p_y(x).

    >>> prototypes = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    >>> features, labels = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([0, 1])
    >>> cross_entropy_loss(features, prototypes, labels, radius=4.0)
    tensor(0.2201)
    """
    return F.cross_entropy(prototype_logits(features, prototypes, radius=radius), labels)


def pull_distance(features: Tensor, prototypes: Tensor, labels: Tensor, *, pull: str = "sum") -> Tensor:
    """The pull of Eq. (3) before its weight, one value per sample [B], under one of three readings (ledger 17).

    "sum": ||f(x) - c_y||^2 / 2 as printed; "mean": that over the d coordinates, as `nn.MSELoss` reduces; "norm":
    ||f(x) - c_y|| / 2, the norm without its square. Raises ValueError for another reading.

    >>> prototypes = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    >>> features, labels = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([0, 1])
    >>> for pull in ("sum", "mean", "norm"):
    ...     print(pull, pull_distance(features, prototypes, labels, pull=pull))
    sum tensor([1.0000, 2.5000])
    mean tensor([0.5000, 1.2500])
    norm tensor([0.7071, 1.1180])
    """
    difference = features - prototypes[labels]
    match pull:
        case "sum":
            return difference.square().sum(1) / 2
        case "mean":
            return difference.square().mean(1) / 2
        case "norm":
            return difference.norm(dim=1) / 2
    raise ValueError(f"expected a pull of sum, mean or norm, got {pull!r}")


def dpp_loss(
    features: Tensor, prototypes: Tensor, labels: Tensor, *, radius: float, lambda_dpp: float, pull: str = "sum"
) -> Tensor:
    """Eq. (3), deep positive prototypes: classify, and pull features to their prototypes.

    >>> prototypes = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    >>> features, labels = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([0, 1])
    >>> dpp_loss(features, prototypes, labels, radius=4.0, lambda_dpp=0.1)
    tensor(0.3951)
    """
    # L_CE(x, y) + lambda_DPP / 2 ||f(x) - c_y||^2
    classify = cross_entropy_loss(features, prototypes, labels, radius=radius)
    return classify + lambda_dpp * pull_distance(features, prototypes, labels, pull=pull).mean()


def negative_prototypes(prototypes: Tensor) -> Tensor:
    """Eq. (4): index [M] of each prototype's nearest rival (Euclidean). Needs M >= 2.

    >>> negative_prototypes(torch.tensor([[4.0, 0.0], [0.0, 4.0], [3.0, 1.0]]))
    tensor([2, 2, 0])
    """
    if len(prototypes) < 2:
        raise ValueError("a rival needs at least two prototypes")
    # arg min_{k != j} ||c_k - c_j||
    distances = torch.cdist(prototypes.detach(), prototypes.detach(), compute_mode="donot_use_mm_for_euclid_dist")
    return distances.fill_diagonal_(torch.inf).argmin(1)


def dnp_loss(prototypes: Tensor, *, rival_gradient: str = "both") -> Tensor:
    """Eq. (5), deep negative prototypes: -1/M sum_j ||c_j - c_j^neg||_{1/2}^{1/2}, short-range repulsion.

    The quasi-norm to the power 1/2 is sum_i |v_i|^{1/2}. `rival_gradient` "both" lets the gradient reach c_j and its
    rival, "own" takes the rival of Eq. (4) as a constant (ledger 18). Differs from the paper by `ROOT_GUARD` inside the
    root, without which two prototypes that share a coordinate would get an infinite gradient. Raises ValueError for
    another `rival_gradient`.

    >>> dnp_loss(torch.tensor([[4.0, 0.0], [0.0, 4.0]]))  # -(sqrt(4) + sqrt(4))
    tensor(-4.0000)
    """
    if rival_gradient not in ("both", "own"):
        raise ValueError(f"expected a rival_gradient of both or own, got {rival_gradient!r}")
    rivals = prototypes[negative_prototypes(prototypes)]
    difference = prototypes - (rivals if rival_gradient == "both" else rivals.detach())
    return -(difference.abs() + ROOT_GUARD).sqrt().sum(1).mean()


def kl_divergence(clean_logits: Tensor, adversarial_logits: Tensor) -> Tensor:
    """KL(p(x) || p(x~)) of Eq. (6), one value per sample [B]; the gradient flows through both.

    >>> kl_divergence(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
    tensor([0.1109, 0.0000])
    """
    # sum_j p_j(x) log(p_j(x) / p_j(x~))
    log_clean, log_adversarial = clean_logits.log_softmax(1), adversarial_logits.log_softmax(1)
    return (log_clean.exp() * (log_clean - log_adversarial)).sum(1)


def dfa_loss(clean_logits: Tensor, adversarial_logits: Tensor) -> Tensor:
    """Eq. (6), deep feature alignment: mean of KL(p(x) || p(x~)). The gradient flows through both.

    >>> dfa_loss(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
    tensor(0.0555)
    """
    return kl_divergence(clean_logits, adversarial_logits).mean()


def adv_dpnp_terms(
    clean_features: Tensor,
    adversarial_features: Tensor,
    prototypes: Tensor,
    labels: Tensor,
    *,
    radius: float,
    pull: str = "sum",
    lock_prototypes: bool = True,
    pull_prototypes: bool = True,
    rival_gradient: str = "both",
    detach_dfa_target: bool = False,
) -> dict[str, Tensor]:
    """The six terms of Eq. (7) before their weights, with the dual branch of Section 3.3.

    The adversarial branch sees locked prototypes (a constant), so what reaches the prototypes comes from clean inputs
    alone: DNP, the clean DPP, and DFA through p(x). The switches are ledger entries: `pull` 17,
    `lock_prototypes` 4, `pull_prototypes` (False: the pull moves features only) 22, `rival_gradient` 18,
    `detach_dfa_target` 6.

    >>> prototypes = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    >>> features, labels = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([0, 1])
    >>> terms = adv_dpnp_terms(features, features.flip(1), prototypes, labels, radius=4.0)
    >>> {name: round(float(value), 3) for name, value in terms.items()}
    {'ce_clean': 0.22, 'ce_adv': 1.72, 'pull_clean': 1.75, 'pull_adv': 7.75, 'dfa': 0.993, 'dnp': -4.0}
    """
    locked = prototypes.detach() if lock_prototypes else prototypes
    pulled, pulled_adv = (c if pull_prototypes else c.detach() for c in (prototypes, locked))
    clean_logits = prototype_logits(clean_features, prototypes, radius=radius)
    adversarial_logits = prototype_logits(adversarial_features, locked, radius=radius)
    return {
        "ce_clean": F.cross_entropy(clean_logits, labels),
        "ce_adv": F.cross_entropy(adversarial_logits, labels),
        "pull_clean": pull_distance(clean_features, pulled, labels, pull=pull).mean(),
        "pull_adv": pull_distance(adversarial_features, pulled_adv, labels, pull=pull).mean(),
        "dfa": dfa_loss(clean_logits.detach() if detach_dfa_target else clean_logits, adversarial_logits),
        "dnp": dnp_loss(prototypes, rival_gradient=rival_gradient),
    }


def weigh_terms(terms: dict[str, Tensor], *, lambda_dpp: float, lambda_dnp: float, lambda_dfa: float) -> Tensor:
    """Eq. (7) from its terms: lambda_DNP L_DNP + (L_DPP(x) + L_DPP(x~) + lambda_DFA L_DFA) / 2.

    >>> names = ("ce_clean", "ce_adv", "pull_clean", "pull_adv", "dfa", "dnp")
    >>> terms = {name: torch.tensor(1.0) for name in names}
    >>> weigh_terms(terms, lambda_dpp=0.1, lambda_dnp=0.1, lambda_dfa=2)  # 0.1 + (1.1 + 1.1 + 2) / 2
    tensor(2.2000)
    """
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
    pull: str = "sum",
    lock_prototypes: bool = True,
    pull_prototypes: bool = True,
    rival_gradient: str = "both",
    detach_dfa_target: bool = False,
) -> Tensor:
    """Eq. (7), the Adv-DPNP loss, as a mean over the batch; the switches are explained at `adv_dpnp_terms`.

    >>> prototypes = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    >>> features, labels = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([0, 1])
    >>> weights = {"lambda_dpp": 0.1, "lambda_dnp": 0.1, "lambda_dfa": 2}
    >>> adv_dpnp_loss(features, features.flip(1), prototypes, labels, radius=4.0, **weights)
    tensor(2.0377)
    """
    terms = adv_dpnp_terms(
        clean_features,
        adversarial_features,
        prototypes,
        labels,
        radius=radius,
        pull=pull,
        lock_prototypes=lock_prototypes,
        pull_prototypes=pull_prototypes,
        rival_gradient=rival_gradient,
        detach_dfa_target=detach_dfa_target,
    )
    return weigh_terms(terms, lambda_dpp=lambda_dpp, lambda_dnp=lambda_dnp, lambda_dfa=lambda_dfa)
