"""Hidden inputs of exercise 11."""

import torch
import torch.nn.functional as F

from advdpnp.course.questions import Question
from advdpnp.exercises import check_mean_angle, check_shortening, check_summed_gradient


def batch(draw):
    """Features [20, 6], prototypes [5, 6] of norm 3, labels, lambda."""
    features = 2 * torch.randn(20, 6, generator=draw, dtype=torch.float64)
    prototypes = 3 * F.normalize(torch.randn(5, 6, generator=draw, dtype=torch.float64), dim=1)
    return features, prototypes, torch.arange(20) % 5, 0.21


def number(draw):
    """One number in [0.1, 1)."""
    return 0.1 + 0.9 * float(torch.rand(1, generator=draw))


QUESTIONS = {
    "summed_gradient": Question(check_summed_gradient, batch),
    "shortening": Question(check_shortening, lambda draw: (number(draw), 8, 3e-4, 64, "mean"), points=4),
    "mean_angle": Question(check_mean_angle, lambda draw: (3 * number(draw), 4.0, 11)),
}
