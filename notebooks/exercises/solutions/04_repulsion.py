"""Solution of exercise 4."""

import torch


def negative_prototypes(prototypes):
    # Eq. (4)
    return torch.cdist(prototypes, prototypes).fill_diagonal_(torch.inf).argmin(1)


def dnp_loss(prototypes):
    # Eq. (5); the constant keeps the slope of the root finite
    difference = prototypes - prototypes[negative_prototypes(prototypes.detach())]
    return -(difference.abs() + 1e-6).sqrt().sum(1).mean()
