"""Solution of exercise 1."""

import torch
import torch.nn.functional as F


def fgsm(model, x, y, epsilon):
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), y), x)
    return (x + epsilon * gradient.sign()).clamp(0, 1).detach()


def worst_margin(margin, w, epsilon):
    # min over |delta_i| <= epsilon of y w^T delta = -epsilon sum_i |w_i|
    return margin - epsilon * w.abs().sum()
