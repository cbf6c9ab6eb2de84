"""Hidden inputs of exercise 7."""

import torch

from advdpnp.course.questions import Question
from advdpnp.exercises import check_mean_separation, check_min_separation, check_scr


def centers(draw):
    """Centers [7, 4] of different lengths."""
    return (torch.randn(7, 4, generator=draw, dtype=torch.float64),)


def classes(draw):
    """Features [30, 4] around them, and labels."""
    (c,), labels = centers(draw), torch.arange(30) % 7
    return c[labels] + torch.randn(30, 4, generator=draw, dtype=torch.float64), labels, c


QUESTIONS = {
    "min_separation": Question(check_min_separation, centers),
    "mean_separation": Question(check_mean_separation, centers),
    "scr": Question(check_scr, classes),
}
