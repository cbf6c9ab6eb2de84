"""Checks of exercises 3 to 6: Eqs. (1)-(7) by hand, TRADES' loss, and the lock on the prototypes."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from advdpnp import losses
from advdpnp.defenses.trades import trades_loss
from advdpnp.exercises.verdict import WrongAnswer, call_student, checks, compare, trained

RADIUS, LAMBDA_DPP = 4.0, 0.3


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    """features [5, 3], prototypes [4, 3] of norm RADIUS, labels [5], in float64."""
    draw = torch.Generator().manual_seed(3)
    features = 3 * torch.randn(5, 3, generator=draw, dtype=torch.float64)
    prototypes = RADIUS * F.normalize(torch.randn(4, 3, generator=draw, dtype=torch.float64), dim=1)
    return features, prototypes, torch.tensor([0, 1, 2, 3, 1])


def _logits() -> tuple[Tensor, Tensor, Tensor]:
    """Clean and adversarial logits [5, 4], labels [5]."""
    draw = torch.Generator().manual_seed(4)
    clean, noise = (2 * torch.randn(5, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    return clean, clean + noise, torch.tensor([0, 1, 2, 3, 1])


# ------------------------------------------------------------------------------------------ exercise 3: Eqs. (1)-(3)


@checks
def check_probabilities(probabilities: Callable) -> str:
    """Eq. (1): softmax over the classes of c_j^T f(x) / alpha."""
    features, prototypes, _ = _batch()
    products = features @ prototypes.T
    distances = torch.cdist(features, prototypes)
    mistakes = [
        (products.softmax(1), "the temperature 1 / alpha is missing.", 1),
        ((products * RADIUS).softmax(1), "the similarities were multiplied by alpha; it divides them.", 1),
        ((products / RADIUS).softmax(0), "the sum runs over the images; Eq. (1) sums over the classes (dim 1).", 2),
        (products / RADIUS, "these are the similarities; the softmax is missing.", 2),
        ((products / RADIUS).log_softmax(1), "that is log p.", 2),
        ((products / RADIUS).exp(), "not divided by the sum over the classes.", 2),
        ((-distances / RADIUS).softmax(1), "Eq. (1) takes inner products, not distances.", 1),
    ]
    right = losses.prototype_logits(features, prototypes, radius=RADIUS).softmax(1)
    compare("p", call_student(probabilities, features, prototypes, RADIUS, hint=1), right, mistakes, hint=1)
    large = call_student(probabilities, 500 * features, prototypes, RADIUS, hint=1)
    if large.isnan().any():
        raise WrongAnswer("right for small features, but exp overflows for large ones: let softmax take care of it.", 2)
    return "right: rows of probabilities that add up to one."


@checks
def check_dpp_loss(dpp_loss: Callable) -> str:
    """Eq. (3): mean of -log p_y + lambda_DPP / 2 ||f - c_y||^2."""
    features, prototypes, labels = _batch()
    ce = losses.cross_entropy_loss(features, prototypes, labels, radius=RADIUS)
    squared = (features - prototypes[labels]).square().sum(1)
    right = losses.dpp_loss(features, prototypes, labels, radius=RADIUS, lambda_dpp=LAMBDA_DPP)
    mistakes = [
        (ce + LAMBDA_DPP * squared.mean(), "the pull is twice too strong: Eq. (3) has lambda / 2.", 4),
        (ce, "the pull to the prototype is missing.", 4),
        (LAMBDA_DPP / 2 * squared.mean(), "cross-entropy is missing.", 3),
        (ce + LAMBDA_DPP / 2 * squared.sqrt().mean(), "the distance is squared in Eq. (3).", 4),
        (ce + LAMBDA_DPP / 2 * squared.mean() / 3, "the squares were averaged over the coordinates (as mse_loss does); "
         "a squared norm sums them.", 4),
        (len(labels) * right, "summed over the batch; expected the mean, as Eq. (7) divides by N.", 3),
        (ce + LAMBDA_DPP / 2 * squared, "one number for each image: the pull is averaged over the batch too.", 4),
        (len(labels) * ce + LAMBDA_DPP / 2 * squared.mean(), "cross-entropy is summed, the pull averaged.", 3),
        (ce + LAMBDA_DPP / 2 * squared.sum(), "the pull is summed over the batch, cross-entropy averaged.", 4),
        (ce - LAMBDA_DPP / 2 * squared.mean(), "this pushes features away from their prototype: check the sign.", 4),
    ]  # fmt: skip
    answer = call_student(dpp_loss, features, prototypes, labels, RADIUS, LAMBDA_DPP, hint=3)
    compare("L_DPP", answer, right, mistakes, hint=3, tolerance=1e-6)
    leaves = features.clone().requires_grad_(), prototypes.clone().requires_grad_()
    trained("L_DPP", call_student(dpp_loss, *leaves, labels, RADIUS, LAMBDA_DPP, hint=3), *leaves, hint=3)
    return "right: classify, and name a place to go to."


# ------------------------------------------------------------------------------------------ exercise 4: Eqs. (4)-(5)


@checks
def check_negative_prototypes(negative_prototypes: Callable) -> str:
    """Eq. (4): index of the nearest other prototype."""
    prototypes = torch.tensor([[3.0, 0.0], [9.0, 1.0], [2.0, 2.0], [-3.0, 0.5], [-2.0, -2.5]])
    distances = torch.cdist(prototypes, prototypes)
    products = (prototypes @ prototypes.T).fill_diagonal_(-torch.inf)
    mistakes = [
        (torch.arange(5), "each prototype is its own nearest: k must differ from j.", 1),
        (distances.argmax(1), "these are the furthest; Eq. (4) takes the arg min.", 1),
        (products.argmax(1), "chosen by inner product; Eq. (4) takes the Euclidean distance.", 1),
        (
            prototypes[losses.negative_prototypes(prototypes)],
            "these are prototypes; expected their indices [M].",
            1,
        ),
    ]
    right = losses.negative_prototypes(prototypes)
    compare("the indices", call_student(negative_prototypes, prototypes, hint=1), right, mistakes, hint=1)
    return "right: the nearest rival of each."


@checks
def check_dnp_loss(dnp_loss: Callable) -> str:
    """Eq. (5): -1/M sum_j sum_i |c_ji - c_ji^neg|^(1/2), with a finite gradient."""
    _, prototypes, _ = _batch()
    difference = (prototypes - prototypes[losses.negative_prototypes(prototypes)]).abs()
    roots = difference.sqrt().sum(1)
    mistakes = [
        (roots.mean(), "the sign: minimising this would pull rivals together.", 2),
        (-roots.sum(), "summed over the prototypes; Eq. (5) divides by M.", 2),
        (-difference.sqrt().mean(), "averaged over the coordinates too; the quasi-norm sums them.", 3),
        (-difference.sum(1).sqrt().mean(), "the root of the sum; the quasi-norm sums the roots.", 3),
        (-roots.square().mean(), "that is the quasi-norm; Eq. (5) takes it to the power 1/2.", 3),
        (-difference.square().sum(1).sqrt().mean(), "that is the Euclidean distance.", 3),
        (-difference.sum(1).mean(), "that is the l1 distance; the roots are missing.", 3),
    ]
    compare("L_DNP", call_student(dnp_loss, prototypes, hint=2), losses.dnp_loss(prototypes), mistakes, hint=2)
    shared = torch.tensor([[1.0, 2.0], [1.0, 5.0], [-4.0, 0.0]], requires_grad=True)
    value = call_student(dnp_loss, shared, hint=2)
    trained("L_DNP", value, shared, hint=4)
    if not torch.autograd.grad(value, shared)[0].isfinite().all():
        raise WrongAnswer("right, but two prototypes that share a coordinate get an infinite gradient (ledger 8).", 4)
    return "right, and its gradient is finite where two prototypes share a coordinate."


# ------------------------------------------------------------------------------------------ exercise 5: Eqs. (6)-(7)


@checks
def check_dfa_loss(dfa_loss: Callable) -> str:
    """Eq. (6): mean over the batch of KL(p(x) || p(x~))."""
    clean, adversarial, _ = _logits()
    log_p, log_q = clean.log_softmax(1), adversarial.log_softmax(1)
    right = losses.dfa_loss(clean, adversarial)
    mistakes = [
        (losses.dfa_loss(adversarial, clean), "the two are swapped: p(x) weighs, p(x~) is measured. KL has no "
         "symmetry, and F.kl_div takes its arguments in the other order.", 2),
        (-right, "the sign: a divergence is never negative.", 1),
        (len(clean) * right, "summed over the batch; expected the mean.", 3),
        (right / clean.shape[1], "divided by the classes too: reduction='mean' does that, 'batchmean' does not.", 3),
        (-(log_p.exp() * log_q).sum(1).mean(), "that is the cross-entropy of the two; p log p is missing.", 1),
        ((log_p - log_q).sum(1).mean(), "the weights p_j(x) are missing.", 1),
    ]  # fmt: skip
    answer = call_student(dfa_loss, clean, adversarial, hint=1)
    compare("L_DFA", answer, right, mistakes, hint=1, shape_hint=3, tolerance=1e-6)
    leaves = clean.clone().requires_grad_(), adversarial.clone().requires_grad_()
    trained("L_DFA", call_student(dfa_loss, *leaves, hint=1), *leaves, hint=1)
    if not float(call_student(dfa_loss, 1000 * clean, 1000 * clean, hint=1)) == 0:
        raise WrongAnswer(
            "right here, but not a number for large logits: use log_softmax, not the log of a softmax.", 3
        )
    return "right: how much the attack changed the prediction, in nats."


TERMS = {"ce_clean": 1.1, "pull_clean": 7.0, "ce_adv": 2.3, "pull_adv": 9.0, "dfa": 0.4, "dnp": -5.0}


@checks
def check_adv_dpnp(adv_dpnp_loss: Callable) -> str:
    """Eq. (7): lambda_DNP L_DNP + [L_DPP(x) + L_DPP(x~) + lambda_DFA L_DFA] / 2."""
    terms = {name: torch.tensor(value) for name, value in TERMS.items()}
    weights = {"lambda_dpp": 0.2, "lambda_dnp": 0.3, "lambda_dfa": 2.0}
    dpp, dpp_adv = (terms[f"ce_{kind}"] + 0.2 * terms[f"pull_{kind}"] for kind in ("clean", "adv"))
    dnp, dfa = 0.3 * terms["dnp"], 2.0 * terms["dfa"]
    mistakes = [
        (dnp + dpp + dpp_adv + dfa, "the factor 1/2 is missing.", 4),
        ((dnp + dpp + dpp_adv + dfa) / 2, "DNP stands outside of the bracket: it is not halved.", 4),
        (dnp + (dpp + dpp_adv) / 2 + dfa, "DFA stands inside the bracket in Eq. (7) (Algorithm 1, line 21 can be "
         "read otherwise: ledger 6).", 4),
        (-dnp + (dpp + dpp_adv + dfa) / 2, "the minus is already in L_DNP, Eq. (5).", 4),
        (dnp + (dpp + dfa) / 2, "the adversarial branch's L_DPP is missing.", 4),
        (dnp + (dpp_adv + dfa) / 2, "the clean branch's L_DPP is missing.", 4),
        (dnp + (terms["ce_clean"] + terms["ce_adv"] + 0.1 * (terms["pull_clean"] + terms["pull_adv"]) + dfa) / 2,
         "the 1/2 of Eq. (3) is already in the pull terms.", 4),
    ]  # fmt: skip
    right = losses.weigh_terms(terms, **weights)
    compare("L", call_student(adv_dpnp_loss, terms, hint=4, **weights), right, mistakes, hint=4)
    leaves = {name: value.clone().requires_grad_() for name, value in terms.items()}
    trained("L", call_student(adv_dpnp_loss, leaves, hint=4, **weights), *leaves.values(), hint=4)
    return "right: Eq. (7)."


@checks
def check_trades_loss(trades: Callable) -> str:
    """TRADES: CE(z(x), y) + beta mean KL(p(x) || p(x~))."""
    clean, adversarial, labels = _logits()
    kl = losses.dfa_loss(clean, adversarial)
    ce, ce_adv = F.cross_entropy(clean, labels), F.cross_entropy(adversarial, labels)
    mistakes = [
        (ce_adv + 6 * kl, "cross-entropy is on the adversarial logits; TRADES classifies clean images.", 5),
        (ce + 6 * losses.dfa_loss(adversarial, clean), "the KL is the other way round.", 5),
        (6 * ce + kl, "beta weighs the KL, not the cross-entropy.", 5),
        ((ce + 6 * kl) / 2, "the 1/2 is Eq. (7)'s; TRADES has none.", 5),
        (ce + kl / 6, "beta multiplies the KL here (Zhang et al. write 1/lambda; their code's beta is 6).", 5),
    ]
    right, _ = trades_loss(clean, adversarial, labels, beta=6.0)
    answer = call_student(trades, clean, adversarial, labels, 6.0, hint=5)
    compare("L", answer, right, mistakes, hint=5, tolerance=1e-6)
    leaves = clean.clone().requires_grad_(), adversarial.clone().requires_grad_()
    trained("L", call_student(trades, *leaves, labels, 6.0, hint=5), *leaves, hint=5)
    return "right: the same KL, other company."


# ------------------------------------------------------------------------------------------ exercise 6: the lock


def _gradients(value: Tensor, *inputs: Tensor) -> list[Tensor]:
    """Of a scalar, zero where none arrives. Raises WrongAnswer when there is no graph at all."""
    if not isinstance(value, Tensor) or not value.requires_grad:
        raise WrongAnswer("no gradient reaches anything: torch.no_grad or .detach cut off more than the prototypes.", 2)
    found = torch.autograd.grad(value, inputs, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs)]


@checks
def check_adversarial_branch(adversarial_branch: Callable) -> str:
    """Section 3.3: L_DPP(x~, y), with a gradient for the features and none for the prototypes."""
    features, prototypes, labels = _batch()
    features.requires_grad_(), prototypes.requires_grad_()
    right = losses.dpp_loss(features, prototypes, labels, radius=RADIUS, lambda_dpp=LAMBDA_DPP)
    expected, _ = _gradients(right, features, prototypes)
    answer = call_student(adversarial_branch, features, prototypes, labels, RADIUS, LAMBDA_DPP, hint=1)
    compare("L_DPP(x~)", answer, right.detach(), hint=1, tolerance=1e-6)
    to_features, to_prototypes = _gradients(answer, features, prototypes)
    if not to_features.any():
        raise WrongAnswer("the features were locked: they are what this branch trains. Lock the prototypes.", 2)
    if to_prototypes.any():
        size = float(to_prototypes.norm())
        raise WrongAnswer(f"the value is right, but a gradient of norm {size:.3g} still reaches the prototypes.", 1)
    compare("the gradient of the features", to_features, expected, hint=2, tolerance=1e-6)
    return "right: same value, same gradient for the features, none for the prototypes."


@checks
def check_dfa_branches(dfa: Callable) -> str:
    """Ledger 6: KL(p(x) || p(x~)) where the prototypes get a gradient through p(x) alone."""
    clean, prototypes, _ = _batch()
    adversarial = clean.flip(0) * 0.7
    clean.requires_grad_(), adversarial.requires_grad_(), prototypes.requires_grad_()
    leaves = clean, adversarial, prototypes

    def through(first: Tensor, second: Tensor) -> Tensor:
        logits = [losses.prototype_logits(f, c, radius=RADIUS) for f, c in ((clean, first), (adversarial, second))]
        return losses.dfa_loss(*logits)

    right = through(prototypes, prototypes.detach())
    expected, _, to_prototypes = _gradients(right, *leaves)
    answer = call_student(dfa, *leaves, RADIUS, hint=3)
    compare("L_DFA", answer, right.detach(), hint=3, tolerance=1e-6)
    got = _gradients(answer, *leaves)
    if not got[0].any() or not got[1].any():
        raise WrongAnswer("features of one branch get no gradient: only prototypes are to be locked.", 3)
    mistakes = [
        (_gradients(through(prototypes, prototypes), *leaves)[2], "nothing is locked: p(x~) moves them too.", 3),
        (torch.zeros_like(prototypes), "both are locked: p(x) may move the prototypes (Algorithm 1, line 21).", 3),
        (_gradients(through(prototypes.detach(), prototypes), *leaves)[2], "the wrong one of the two is locked.", 3),
    ]
    compare("the gradient of the prototypes", got[2], to_prototypes, mistakes, hint=3, tolerance=1e-6)
    compare("the gradient of the clean features", got[0], expected, hint=3, tolerance=1e-6)
    return "right: clean images may move the prototypes, adversarial ones may not."
