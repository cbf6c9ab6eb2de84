"""Checks of exercise 11: where Eq. (7) takes the mean of the prototypes, when the features are given."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from advdpnp import losses
from advdpnp.exercises.verdict import WrongAnswer, call_student, checks, compare
from advdpnp.prototype_dynamics import Setting, decay_over_pull, mean_cosine

RADIUS, LAMBDA_DPP = 4.0, 0.3


@checks
def check_summed_gradient(summed_gradient: Callable) -> str:
    """The gradient of Eq. (7)'s clean branch on the prototypes, summed over the classes: the pull's share is all of it.

    It is compared with autograd through `advdpnp.losses`, cross-entropy included.
    """
    draw = torch.Generator().manual_seed(8)
    features = 3 * torch.randn(12, 5, generator=draw, dtype=torch.float64)
    prototypes = RADIUS * F.normalize(torch.randn(4, 5, generator=draw, dtype=torch.float64), dim=1)
    labels = torch.arange(12) % 4
    c = prototypes.clone().requires_grad_()
    loss = losses.dpp_loss(features, c, labels, radius=RADIUS, lambda_dpp=LAMBDA_DPP) / 2
    right = torch.autograd.grad(loss, c)[0].sum(0)
    difference = prototypes[labels] - features
    mistakes = [
        (2 * right, "twice too large: Eq. (7) halves the clean branch.", 2),
        (right / 2, "half too small: the 2 of the square cancels the 1/2 of Eq. (3), the 1/2 of Eq. (7) stays.", 2),
        (-right, "the sign: the gradient points from the features to the prototypes.", 2),
        (12 * right, "summed over the images; Eq. (7) averages over them.", 2),
        (LAMBDA_DPP / 2 * difference / 12, "one row for each image; sum them.", 2),
        (right / 4, "divided by the classes too.", 2),
    ]
    answer = call_student(summed_gradient, features, prototypes, labels, LAMBDA_DPP, hint=1)
    compare("the sum of the gradients", answer, right, mistakes, hint=1, shape_hint=2, tolerance=1e-6)
    return "right, and cross-entropy adds nothing to it: its gradients cancel over the classes."


@checks
def check_shortening(shortening: Callable) -> str:
    """w of cbar = fbar / (1 + w): weight decay against the pull, for pull "sum" and "mean"."""
    for pull in ("sum", "mean"):
        setting = Setting(classes=6, features=32, lambda_dpp=LAMBDA_DPP, weight_decay=2e-3, pull=pull)
        right = decay_over_pull(setting)
        other = decay_over_pull(Setting(classes=6, features=32, lambda_dpp=LAMBDA_DPP, weight_decay=2e-3))
        mistakes = [
            (right / 2, "half too small: the pull is halved by Eq. (7), weight decay is not.", 4),
            (right / 6, "the number of classes is missing: each prototype feels its own images, one in M.", 4),
            (1 / right, "upside down: weight decay over pull.", 3),
            (1 / (1 + right), "that is the factor 1 / (1 + w); return w.", 3),
            (1 + right, "that is 1 + w; return w.", 3),
        ]
        if pull == "mean":
            says = "averaged over the coordinates the pull is d times weaker, so w is d times larger."
            mistakes = [(other, says, 5), (other / 32, says, 5), *mistakes]
        answer = call_student(shortening, LAMBDA_DPP, 6, 2e-3, 32, pull, hint=3)
        compare(f"w of pull '{pull}'", answer, right, mistakes, hint=3, tolerance=1e-6)
    return "right: with Section 4.1's numbers, 0.1 for the sum and 51.2 for the mean over 512 coordinates."


@checks
def check_mean_angle(mean_angle: Callable) -> str:
    """Degrees whose cosine is the mean over all pairs of prototypes of norm R, from the norm of their mean."""
    classes, radius = 7, 5.0
    for norm in (0.6, 1.9, 3.5):
        cosine = mean_cosine(norm, Setting(classes=classes, radius=radius))
        right = math.degrees(math.acos(cosine))
        with_itself = math.degrees(math.acos((norm / radius) ** 2))
        mistakes = [
            (cosine, "that is the cosine; the angle was asked for.", 6),
            (math.radians(right), "in radians.", 6),
            (with_itself, "each prototype was paired with itself too: take the M of those M^2 pairs out.", 6),
        ]
        compare("the angle", call_student(mean_angle, norm, radius, classes, hint=6), right, mistakes, hint=6)
    widest = call_student(mean_angle, 0.0, radius, classes, hint=6)
    if abs(float(widest) - math.degrees(math.acos(-1 / (classes - 1)))) > 1e-3:
        raise WrongAnswer("prototypes whose mean is zero are a regular simplex: arccos(-1 / (M - 1)).", 6)
    return "right: the shorter the mean prototype, the wider the angles; 96.4 degrees for ten classes is the end."
