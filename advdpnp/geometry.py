"""Eqs. (8)-(12): how well features and class centers are separated; and Figure 2 in numbers.

Shapes: features [N, d]; labels [N]; centers [M, d]. Classes are those that occur in `labels`; a metric that needs a
class which does not occur raises ValueError.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def _class_means(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means [M, d] and counts [M] of the classes that occur, and each sample's index into them [N]."""
    if features.ndim != 2 or labels.shape != features.shape[:1] or len(features) == 0:
        raise ValueError(f"expected features [N, d] and labels [N], got {[*features.shape]} and {[*labels.shape]}")
    classes, index, counts = labels.unique(return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise ValueError("separation needs samples of at least two classes")
    sums = torch.zeros(len(classes), features.shape[1], dtype=features.dtype, device=features.device)
    return sums.index_add_(0, index, features) / counts[:, None], counts, index


def class_means(features: Tensor, labels: Tensor) -> Tensor:
    """Mean features [M, d] of classes 0 ... M - 1. Raises ValueError unless each of at least two classes occurs.

    >>> features = torch.tensor([[3.0, 0], [3, 1], [0, 3], [1, 3]])
    >>> class_means(features, torch.tensor([0, 0, 1, 1]))
    tensor([[3.0000, 0.5000],
            [0.5000, 3.0000]], dtype=torch.float64)
    """
    means, counts, _ = _class_means(features.double(), labels)
    if int(labels.max()) + 1 != len(counts) or int(labels.min()) < 0:
        raise ValueError(
            f"expected samples of each of the classes 0 ... {int(labels.max())}, got {len(counts)} classes"
        )
    return means


def fisher_discriminant_ratio(features: Tensor, labels: Tensor, *, normalise: bool = True) -> float:
    """Eq. (8): within-class over between-class scatter; lower is better.

    Differs from the paper: the sum of M ratios is divided by M^2, the only scale that agrees with Table 4's values
    (ledger 9); `normalise=False` is the equation as printed.

    >>> features = torch.tensor([[3.0, 0], [3, 1], [0, 3], [1, 3]])
    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> round(fisher_discriminant_ratio(features, labels), 4)
    0.04
    """
    features = features.double()
    means, counts, index = _class_means(features, labels)
    within = torch.zeros(len(means), dtype=features.dtype, device=features.device)
    # tr S_j^w = sum_i ||f_i - mu_j||^2
    within.index_add_(0, index, (features - means[index]).square().sum(1))
    # tr S_j^b = N_j ||mu_j - mu||^2
    between = counts * (means - features.mean(0)).square().sum(1)
    ratio = (within / between).sum()
    return float(ratio / len(means) ** 2 if normalise else ratio)


def angular_fisher_score(features: Tensor, labels: Tensor) -> float:
    """Eq. (9): angular within-class over between-class scatter; lower is better.

    >>> features = torch.tensor([[3.0, 0], [3, 1], [0, 3], [1, 3]])
    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> round(angular_fisher_score(features, labels), 4)
    0.0694
    """
    features = features.double()
    means, counts, index = _class_means(features, labels)
    cosine = torch.nn.functional.cosine_similarity
    # sum_i (1 - cos<f_i, mu_y>) / sum_j N_j (1 - cos<mu_j, mu>)
    within = (1 - cosine(features, means[index])).sum()
    between = (counts * (1 - cosine(means, features.mean(0, keepdim=True)))).sum()
    return float(within / between)


def separation_to_compactness(features: Tensor, labels: Tensor, centers: Tensor) -> float:
    """Eq. (10): distance of each center to its nearest rival over its class's mean distance to it; higher is better.

    >>> features = torch.tensor([[3.0, 0], [3, 1], [0, 3], [1, 3]])
    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> centers = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    >>> round(separation_to_compactness(features, labels, centers), 4)
    4.6863
    """
    features, centers = features.double(), centers.detach().double()
    distances = torch.cdist(centers, centers).fill_diagonal_(torch.inf)
    spread = torch.zeros(len(centers), dtype=features.dtype, device=features.device)
    counts = torch.bincount(labels, minlength=len(centers))
    if len(counts) != len(centers) or (counts == 0).any():
        raise ValueError(f"expected samples of each of the {len(centers)} classes, and of no other")
    # 1/N_j sum_i ||f_i - c_j||
    spread.index_add_(0, labels, (features - centers[labels]).norm(dim=1))
    return float((distances.amin(1) / (spread / counts)).mean())


def _rival_angles(centers: Tensor) -> Tensor:
    """Angle [M] in degrees between each center and its nearest rival; centers are normalised first (ledger 10)."""
    if len(centers) < 2:
        raise ValueError("an angle needs at least two centers")
    unit = torch.nn.functional.normalize(centers.detach().double(), dim=1)
    # arccos is steep near 1, so the angle is taken from the chord: 2 arcsin(||u_j - u_k|| / 2)
    chord = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
    angles = torch.rad2deg(2 * torch.asin((chord / 2).clamp(max=1)))
    return angles.fill_diagonal_(torch.inf).amin(1)


def mean_separation(centers: Tensor) -> float:
    """Eq. (11), MeanSep: mean angle between each center and its nearest rival, in degrees; higher is better.

    >>> round(mean_separation(torch.tensor([[4.0, 0.0], [0.0, 2.0], [1.0, 1.0]])), 4)
    45.0
    """
    return float(_rival_angles(centers).mean())


def min_separation(centers: Tensor) -> float:
    """Eq. (12), MinSep: smallest angle between any two centers, in degrees; higher is better.

    >>> round(min_separation(torch.tensor([[4.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])), 4)
    90.0
    """
    return float(_rival_angles(centers).min())


# --- Figure 2


class Variation(NamedTuple):
    """How much features vary within their class, as a mean over the classes; lower is tighter."""

    angular_median: float  # degrees: half of a class's features are nearer to its direction
    angular_q90: float  # degrees: nine in ten are
    angular_rms: float  # degrees: ruled by the few that lie far away, such as misclassified ones
    radial: float  # fraction of the class's mean radius


def variation_within_classes(features: Tensor, labels: Tensor) -> Variation:
    """Section 4.3's "angular and radial variations of feature representations", which the paper states no formula for.

    Angular: the median, the 90 % quantile and the root mean square of the angle between a feature and its class's mean,
    in degrees; a feature at the origin points nowhere and counts as 90. Radial: standard deviation of a class's radii
    over their mean. Each is the mean over classes, however many samples they have; radial is NaN when all features of a
    class are at the origin. Raises ValueError for fewer than two classes.

    >>> features = torch.tensor([[3.0, 0], [3, 1], [0, 3], [1, 3]])
    >>> [round(value, 2) for value in variation_within_classes(features, torch.tensor([0, 0, 1, 1]))]
    [9.22, 9.41, 9.22, 0.03]
    """
    features = features.double()
    means, counts, index = _class_means(features, labels)
    unit = torch.nn.functional.normalize(features, dim=1)
    axis = torch.nn.functional.normalize(means, dim=1)[index]
    # the angle between unit vectors u and v is 2 atan2(||u - v||, ||u + v||): exact where arccos is steep
    angles = torch.rad2deg(2 * torch.atan2((unit - axis).norm(dim=1), (unit + axis).norm(dim=1)))

    def mean_of(values: Tensor) -> Tensor:  # [N] -> [M], over each class
        return torch.zeros_like(counts, dtype=values.dtype).index_add_(0, index, values) / counts

    def quantile(share: float) -> float:
        return float(torch.stack([angles[index == k].quantile(share) for k in range(len(counts))]).mean())

    radii = features.norm(dim=1)
    radius = mean_of(radii)
    deviation = mean_of((radii - radius[index]).square()).sqrt()
    rms = float(mean_of(angles.square()).sqrt().mean())
    return Variation(quantile(0.5), quantile(0.9), rms, float((deviation / radius).mean()))


def smallest_gap(features: Tensor, labels: Tensor) -> float:
    """Smallest angle between the mean features of two classes, in degrees: the narrowest margin of Figure 2.

    A classifier with a bias need not point its weights at its classes, so means and not weights are compared. Raises
    ValueError for fewer than two classes.

    >>> features = torch.tensor([[3.0, 0], [3, 1], [0, 3], [1, 3]])
    >>> round(smallest_gap(features, torch.tensor([0, 0, 1, 1])), 2)
    71.08
    """
    return min_separation(_class_means(features.double(), labels)[0])


def distance_over_norm(features: Tensor, labels: Tensor, centers: Tensor) -> float:
    """Mean distance of a feature to its class's center, over the norm of that center: 0 on it, 1 at the origin.

    Where centers share one norm and classes spread alike it is 2 sin(MeanSep / 2) / SCR, which Table 4 fixes. Raises
    ValueError for a label without a center.

    >>> features = torch.tensor([[3.0, 0], [3, 1], [0, 3], [1, 3]])
    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> centers = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    >>> round(distance_over_norm(features, labels, centers), 4)
    0.3018
    """
    features, centers = features.double(), centers.detach().double()
    if labels.min() < 0 or labels.max() >= len(centers):
        raise ValueError(f"expected labels 0 ... {len(centers) - 1}, one per center, got {int(labels.max())}")
    own = centers[labels]
    return float(((features - own).norm(dim=1) / own.norm(dim=1)).mean())
