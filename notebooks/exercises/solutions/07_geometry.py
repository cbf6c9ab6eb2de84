"""Solution of exercise 7."""

import torch
import torch.nn.functional as F


def rival_angles(centers):
    """Degrees [M] between each center and its nearest rival."""
    unit = F.normalize(centers, dim=1)
    cosines = (unit @ unit.T).clamp(-1, 1).fill_diagonal_(-torch.inf).amax(1)
    return torch.rad2deg(cosines.arccos())


def min_separation(centers):
    # Eq. (12)
    return rival_angles(centers).min()


def mean_separation(centers):
    # Eq. (11)
    return rival_angles(centers).mean()


def scr(features, labels, centers):
    # Eq. (10)
    nearest = torch.cdist(centers, centers).fill_diagonal_(torch.inf).amin(1)
    distance = (features - centers[labels]).norm(dim=1)
    spread = torch.stack([distance[labels == j].mean() for j in range(len(centers))])
    return (nearest / spread).mean()
