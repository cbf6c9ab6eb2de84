"""Hidden inputs of exercise 2."""

import torch
from torch import nn

from advdpnp.course.questions import Question
from advdpnp.exercises import check_pgd, check_project_l2, check_project_linf


def points(draw):
    """Images [6, 3, 4, 4] around clean ones, some far out, and a budget."""
    x = torch.rand(6, 3, 4, 4, generator=draw)
    return x + torch.linspace(0.001, 1.2, 6).view(-1, 1, 1, 1) * torch.randn(x.shape, generator=draw), x, 0.35


def problem(draw):
    """A curved network on images [5, 3, 4, 4], labels, and a budget with its step and steps."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    x = torch.rand(5, 3, 4, 4, generator=draw, dtype=torch.float64)
    return net.requires_grad_(False), x, torch.randint(4, (5,), generator=draw), 0.1, 0.04, 5


QUESTIONS = {
    "project_linf": Question(check_project_linf, points),
    "project_l2": Question(check_project_l2, points),
    "pgd": Question(check_pgd, problem, points=4),
}
