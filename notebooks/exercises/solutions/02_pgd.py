"""Solution of exercise 2."""

import torch
import torch.nn.functional as F


def project_linf(z, x, epsilon):
    return (x + (z - x).clamp(-epsilon, epsilon)).clamp(0, 1)


def project_l2(z, x, epsilon):
    delta = z - x
    norm = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return (x + delta * (epsilon / norm).clamp(max=1)).clamp(0, 1)


def pgd(model, x, y, epsilon, step_size, steps):
    x_adv = x
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x_adv), y), x_adv)
        x_adv = project_linf(x_adv.detach() + step_size * gradient.sign(), x, epsilon)
    return x_adv
