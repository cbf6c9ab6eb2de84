"""Checks of exercise 9: a thirteenth defense, adversarial logit pairing (Kannan, Kurakin and Goodfellow, 2018)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from advdpnp.config import RunConfig
from advdpnp.defenses import Defense
from advdpnp.exercises.verdict import WrongAnswer, call_student, checks, compare


def alp_loss(clean_logits: Tensor, adversarial_logits: Tensor, labels: Tensor, weight: float) -> Tensor:
    """Both cross-entropies, half each, + weight times the mean over the batch of ||z - z~||^2."""
    halves = (F.cross_entropy(clean_logits, labels) + F.cross_entropy(adversarial_logits, labels)) / 2
    return halves + weight * (clean_logits - adversarial_logits).square().sum(1).mean()


@checks
def check_alp_loss(loss: Callable) -> str:
    """Exercise 9: see `alp_loss`."""
    draw = torch.Generator().manual_seed(6)
    clean, adversarial = (torch.randn(5, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    labels, weight = torch.tensor([0, 1, 2, 3, 1]), 0.5
    ce, ce_adv = F.cross_entropy(clean, labels), F.cross_entropy(adversarial, labels)
    squared = (clean - adversarial).square().sum(1)
    mistakes = [
        (ce + ce_adv + weight * squared.mean(), "each cross-entropy counts half.", 1),
        (ce_adv + weight * squared.mean(), "clean images are classified too, half and half.", 1),
        ((ce + ce_adv) / 2 + weight * squared.sum(), "the pairing is summed over the batch; take the mean.", 2),
        ((ce + ce_adv) / 2 + weight * squared.mean() / 4, "averaged over the classes too (as mse_loss does); a squared "
         "norm sums them.", 2),
        ((ce + ce_adv) / 2 + weight * squared.sqrt().mean(), "the norm is squared.", 2),
        ((ce + ce_adv + weight * squared.mean()) / 2, "the pairing is not halved.", 1),
    ]  # fmt: skip
    answer = call_student(loss, clean, adversarial, labels, weight, hint=1)
    right = alp_loss(clean, adversarial, labels, weight)
    compare("the loss", answer, right, mistakes, hint=1, shape_hint=2, tolerance=1e-6)
    return "right."


@checks
def check_defense(method: type, run: RunConfig) -> str:
    """Exercise 9: a Defense whose loss is `alp_loss` of its model's logits; `run` is a small configuration of it."""
    if not (isinstance(method, type) and issubclass(method, Defense)):
        raise WrongAnswer("expected a class that inherits from advdpnp.defenses.Defense.", 3)
    if "loss" not in vars(method):
        raise WrongAnswer("the class has no method `loss(self, x, x_adv, y)` yet.", 3)
    torch.manual_seed(0)
    defense, draw = method(run).double().eval(), torch.Generator().manual_seed(7)
    x, x_adv = torch.rand(2, 4, run.facts.channels, run.facts.size, run.facts.size, generator=draw).double()
    y = torch.tensor([0, 1, 2, 3])
    answer = call_student(defense.loss, x, x_adv, y, hint=3)
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
        raise WrongAnswer(
            "`loss` returns two things: the scalar to minimise, and a dictionary of its terms for the log.", 4
        )
    loss, terms = answer
    clean, adversarial = defense.model(x), defense.model(x_adv)
    swapped = alp_loss(clean, clean, y, run.hyper.weight)
    mistakes = [(swapped, "x_adv plays no part: is it x twice?", 3)]
    right = alp_loss(clean, adversarial, y, run.hyper.weight)
    compare("the loss", loss, right.detach(), mistakes, hint=3, tolerance=1e-9)
    expected = torch.autograd.grad(right, [*defense.model.parameters()])
    if not loss.requires_grad:
        raise WrongAnswer("the loss has no gradient: is something detached?", 3)
    got = torch.autograd.grad(loss, [*defense.model.parameters()], allow_unused=True)
    for (name, _), mine, theirs in zip(defense.model.named_parameters(), got, expected):
        mine = torch.zeros_like(theirs) if mine is None else mine
        compare(f"the gradient of {name}", mine, theirs, hint=3, tolerance=1e-9)
    if not terms or any(not isinstance(term, Tensor) or term.numel() != 1 for term in terms.values()):
        raise WrongAnswer("the terms are scalars (tensors) by name, such as {'ce_clean': ...}; the log shows them.", 4)
    return "right: the training loop knows the rest."
