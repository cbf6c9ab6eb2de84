"""Checks of exercise 7: Eqs. (10)-(12)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from advdpnp import geometry
from advdpnp.exercises.verdict import call_student, checks, compare


def _centers() -> Tensor:
    """Five centers in three dimensions, of different lengths."""
    return torch.tensor([[2.0, 0, 0], [0, 1, 0.5], [-1, 0.3, 3], [0.5, -4, 0], [3, 2, 1]], dtype=torch.float64)


def _angles(centers: Tensor) -> Tensor:
    """All angles [M, M] in degrees."""
    unit = F.normalize(centers, dim=1)
    return torch.rad2deg((unit @ unit.T).clamp(-1, 1).arccos())


@checks
def check_min_separation(min_separation: Callable) -> str:
    """Eq. (12): the smallest angle between two centers, in degrees."""
    centers = _centers()
    angles = _angles(centers)
    right = geometry.min_separation(centers)
    mistakes = [
        (0.0, "that is the angle between a center and itself: leave out k = j.", 1),
        (torch.deg2rad(torch.tensor(right)), "in radians; Table 4 has degrees.", 2),
        (angles.fill_diagonal_(0).max(), "that is the largest angle.", 1),
        (geometry.mean_separation(centers), "that is MeanSep, Eq. (11).", 1),
        (torch.cdist(centers, centers).fill_diagonal_(torch.inf).min(), "that is a distance, not an angle.", 1),
    ]
    answer = call_student(min_separation, centers, hint=1)
    compare("MinSep", answer, right, mistakes, hint=1, tolerance=1e-3)
    return "right. Centers of any length: only their directions count (ledger 10)."


@checks
def check_mean_separation(mean_separation: Callable) -> str:
    """Eq. (11): mean over the centers of the angle to the nearest rival, in degrees."""
    centers = _centers()
    angles = _angles(centers)
    off_diagonal = angles[~torch.eye(5, dtype=torch.bool)]
    right = geometry.mean_separation(centers)
    mistakes = [
        (off_diagonal.mean(), "that is the mean over all pairs; Eq. (11) takes each center's nearest rival.", 1),
        (angles.mean(), "that is the mean over all pairs, each with itself included.", 1),
        (0.0, "each center was taken as its own rival: leave out k = j.", 1),
        (geometry.min_separation(centers), "that is MinSep, Eq. (12).", 1),
        (torch.deg2rad(torch.tensor(right)), "in radians; Table 4 has degrees.", 2),
    ]
    answer = call_student(mean_separation, centers, hint=1)
    compare("MeanSep", answer, right, mistakes, hint=1, tolerance=1e-3)
    return "right: the mean of the five smallest angles."


@checks
def check_scr(scr: Callable) -> str:
    """Eq. (10): mean over the classes of (distance to the nearest rival) / (mean distance of its features to it)."""
    draw = torch.Generator().manual_seed(5)
    centers = _centers()
    labels = torch.arange(23) % 5  # classes of different size
    features = centers[labels] + torch.randn(23, 3, generator=draw, dtype=torch.float64) + 0.2
    nearest = torch.cdist(centers, centers).fill_diagonal_(torch.inf).amin(1)
    to_center = (features - centers[labels]).norm(dim=1)
    spread = torch.stack([to_center[labels == j].mean() for j in range(5)])
    means = torch.stack([features[labels == j].mean(0) for j in range(5)])
    to_mean = (features - means[labels]).norm(dim=1)
    squared = torch.stack([to_center[labels == j].square().mean() for j in range(5)])
    right = geometry.separation_to_compactness(features, labels, centers)
    mistakes = [
        (1 / right, "upside down: separation over compactness.", 3),
        ((spread / nearest).mean(), "upside down: separation over compactness.", 3),
        (nearest.mean() / spread.mean(), "a ratio of means; Eq. (10) is a mean of ratios.", 3),
        (nearest.mean() / to_center.mean(), "a ratio of means; Eq. (10) is a mean of ratios.", 3),
        ((nearest / spread).sum(), "summed over the classes; Eq. (10) takes the mean.", 3),
        ((nearest / torch.stack([to_mean[labels == j].mean() for j in range(5)])).mean(),
         "distances to the class mean; Eq. (10) measures from the center c_j.", 3),
        ((nearest / squared).mean(), "the distances of the features were squared.", 3),
        (0.0, "each center is its own nearest rival here: leave out k = j.", 1),
    ]  # fmt: skip
    answer = call_student(scr, features, labels, centers, hint=3)
    compare("SCR", answer, right, mistakes, hint=3, tolerance=1e-3)
    return "right: how many spreads away the nearest rival is."
