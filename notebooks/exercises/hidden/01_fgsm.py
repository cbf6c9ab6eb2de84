"""Hidden inputs of exercise 1."""

import torch
from torch import nn

from advdpnp.course.questions import Question
from advdpnp.exercises import check_fgsm, check_worst_margin


def problem(draw):
    """A curved network on images [5, 3, 4, 4], and labels."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    x = torch.rand(5, 3, 4, 4, generator=draw, dtype=torch.float64)
    return net.requires_grad_(False), x, torch.randint(4, (5,), generator=draw)


QUESTIONS = {
    "fgsm": Question(check_fgsm, lambda draw: (*problem(draw), 0.06)),
    "worst_margin": Question(
        check_worst_margin, lambda draw: (torch.randn(7, generator=draw), torch.randn(12, generator=draw), 0.11)
    ),
}
