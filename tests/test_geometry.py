"""Eqs. (8)-(12) and Figure 2's variations on point sets with known answers, and what each must not depend on."""

import math

import pytest
import torch
from torch import tensor

from advdpnp.geometry import (
    angular_fisher_score,
    class_means,
    distance_over_norm,
    fisher_discriminant_ratio,
    mean_separation,
    min_separation,
    separation_to_compactness,
    smallest_gap,
    variation_within_classes,
)


def on_circle(*degrees, norms=None):
    angles = torch.deg2rad(tensor(degrees, dtype=torch.float64))
    points = torch.stack([angles.cos(), angles.sin()], 1)
    return points if norms is None else points * tensor(norms, dtype=torch.float64)[:, None]


def simplex(classes):
    """Corners of a regular simplex around the origin."""
    return torch.eye(classes, dtype=torch.float64) - 1 / classes


def cloud(seed=0, n=60, classes=3, dim=4):
    generator = torch.Generator().manual_seed(seed)
    centers = 5 * torch.randn(classes, dim, generator=generator, dtype=torch.float64)
    labels = torch.arange(n) % classes
    return centers[labels] + torch.randn(n, dim, generator=generator, dtype=torch.float64), labels, centers


# Two clusters ten apart, each of two points at distance 1 from their mean.
PAIRS = tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 10.0], [2.0, 10.0]])
PAIR_LABELS = tensor([0, 0, 1, 1])


# --- Eq. (8)


def test_fdr_of_two_clusters():
    # within 1 + 1 = 2 and between 2 * 5^2 = 50 for each class: 2/50 + 2/50 as printed, divided by 2^2 for Table 4
    assert fisher_discriminant_ratio(PAIRS, PAIR_LABELS, normalise=False) == pytest.approx(0.08)
    assert fisher_discriminant_ratio(PAIRS, PAIR_LABELS) == pytest.approx(0.02)


def test_fdr_weighs_the_global_mean_by_samples_not_by_classes():
    # class 0: -1 and 1; class 1: 4, 4, 4, 4. Means 0 and 4, global mean 16/6 = 8/3.
    # within 2 and 0, between 2 * (8/3)^2 = 128/9: ratio 2 * 9/128 = 9/64
    features = tensor([[-1.0], [1.0], [4.0], [4.0], [4.0], [4.0]])
    labels = tensor([0, 0, 1, 1, 1, 1])
    assert fisher_discriminant_ratio(features, labels, normalise=False) == pytest.approx(9 / 64)


def test_fdr_ignores_translation_scale_and_rotation():
    features, labels, _ = cloud()
    rotation = torch.linalg.qr(cloud(seed=1)[0][:4])[0]
    expected = fisher_discriminant_ratio(features, labels)
    assert fisher_discriminant_ratio(7 * features @ rotation + 3, labels) == pytest.approx(expected)


def test_fdr_of_collapsed_classes_is_zero():
    assert fisher_discriminant_ratio(PAIRS[[0, 0, 2, 2]], PAIR_LABELS) == 0


# --- Eq. (9)


def test_afs_of_two_bundles_of_directions():
    # directions 60 degrees either side of 0 and of 90 degrees: within 4 (1 - 1/2) = 2; the global mean points to 45
    # degrees, between 4 (1 - 1/sqrt 2): 2 / (4 - 2 sqrt 2) = 1 + 1/sqrt 2
    score = angular_fisher_score(on_circle(-60, 60, 30, 150), tensor([0, 0, 1, 1]))
    assert score == pytest.approx(1 + 1 / math.sqrt(2))


def test_afs_ignores_scale_and_rotation_about_the_origin_but_not_translation():
    features, labels, _ = cloud()
    rotation = torch.linalg.qr(cloud(seed=1)[0][:4])[0]
    expected = angular_fisher_score(features, labels)
    assert angular_fisher_score(9 * features @ rotation, labels) == pytest.approx(expected)
    assert angular_fisher_score(features + 3, labels) != pytest.approx(expected, rel=1e-3)


# --- Eq. (10)


def test_scr_is_a_mean_of_ratios_to_the_given_centers():
    # centers ten apart; class 0 lies 1 and 3 from its center (mean 2), class 1 lies 5: (10/2 + 10/5) / 2
    centers = tensor([[0.0, 0.0], [0.0, 10.0]])
    features = tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 10.0]])
    assert separation_to_compactness(features, tensor([0, 0, 1]), centers) == pytest.approx(3.5)


def test_scr_measures_to_the_nearest_rival():
    # on a line at 0, 1, 10 with every feature at distance 1: (1 + 1 + 9) / 3
    centers = tensor([[0.0, 0.0], [1.0, 0.0], [10.0, 0.0]])
    features = centers + tensor([0.0, 1.0])
    assert separation_to_compactness(features, tensor([0, 1, 2]), centers) == pytest.approx(11 / 3)


def test_scr_ignores_a_joint_scale_and_translation():
    features, labels, centers = cloud()
    expected = separation_to_compactness(features, labels, centers)
    assert separation_to_compactness(0.01 * features + 5, labels, 0.01 * centers + 5) == pytest.approx(expected)
    assert separation_to_compactness(features, labels, 2 * centers) != pytest.approx(expected, rel=1e-3)


# --- Eqs. (11), (12)


@pytest.mark.parametrize(("classes", "angle"), [(2, 180.0), (3, 120.0), (4, 109.4712206), (10, 96.3793702)])
def test_the_regular_simplex_has_equal_angles(classes, angle):
    # arccos(-1 / (M - 1))
    assert mean_separation(simplex(classes)) == pytest.approx(angle)
    assert min_separation(simplex(classes)) == pytest.approx(angle)


def test_each_center_counts_its_nearest_rival():
    # directions 0, 30, 90: nearest rivals 30, 30, 60 degrees away
    assert mean_separation(on_circle(0, 30, 90)) == pytest.approx(40)
    assert min_separation(on_circle(0, 30, 90)) == pytest.approx(30)


def test_norms_do_not_matter():
    assert mean_separation(on_circle(0, 30, 90, norms=(0.1, 40, 7))) == pytest.approx(40)


def test_identical_centers_are_zero_degrees_apart():
    centers = tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [-1.0, 0.0, 0.0]])
    assert min_separation(centers) == pytest.approx(0, abs=1e-5)
    assert min_separation(centers[[0, 0]]) == 0


def test_tiny_angles_are_resolved():
    assert min_separation(on_circle(0, 1e-6, 90)) == pytest.approx(1e-6, rel=1e-4)


def test_centers_with_gradients_are_accepted():
    assert min_separation(on_circle(0, 30, 90).requires_grad_()) == pytest.approx(30)


# --- Figure 2


def test_variation_of_two_fans():
    # class 0: 10 degrees either side of its mean, radii all 2. class 1: radii 1 and 3 in one direction, 1/2 of mean 2.
    features = on_circle(-10, 10, 90, 90, norms=(2, 2, 1, 3))
    variation = variation_within_classes(features, tensor([0, 0, 1, 1]))
    assert variation[:3] == pytest.approx([(10 + 0) / 2] * 3)  # two features, each as far away
    assert variation.radial == pytest.approx((0 + 1 / 2) / 2)


def test_variation_is_a_mean_over_classes_not_over_samples():
    # 10 degrees for one class, none for the other, which has three times the samples
    features = on_circle(-10, 10, 90, 90, 90, 90, 90, 90)
    assert variation_within_classes(features, tensor([0, 0, 1, 1, 1, 1, 1, 1])).angular_rms == pytest.approx(5)


def test_angular_variation_is_a_root_mean_square_around_the_means_direction():
    # directions 0, 0, 0 and 90, all of length 1: the mean (3, 1)/4 lies at arctan(1/3)
    turned = math.degrees(math.atan(1 / 3))
    expected = math.sqrt((3 * turned**2 + (90 - turned) ** 2) / 4)
    features = torch.cat([on_circle(0, 0, 0, 90), on_circle(180)])
    assert variation_within_classes(features, tensor([0, 0, 0, 0, 1])).angular_rms == pytest.approx(expected / 2)


def test_a_few_far_features_rule_the_mean_square_and_not_the_median():
    # eleven features: eight at +-1 degree, two at +-20, one at the mean; the other class does not vary
    features = torch.cat([on_circle(*[-1, 1] * 4, -20, 20, 0), on_circle(180)])
    found = variation_within_classes(features, tensor([0] * 11 + [1]))
    assert found.angular_median == pytest.approx(1 / 2)
    assert found.angular_q90 == pytest.approx(20 / 2)  # the second largest of eleven
    assert found.angular_rms == pytest.approx(math.sqrt((8 + 2 * 400) / 11) / 2)


def test_the_smallest_gap_is_between_class_means_whatever_the_weights():
    features = on_circle(-10, 10, 50, 70, 175, 185)
    assert smallest_gap(features, tensor([0, 0, 1, 1, 2, 2])) == pytest.approx(60)
    assert smallest_gap(3 * features, tensor([0, 0, 1, 1, 2, 2])) == pytest.approx(60)


def test_class_means_are_of_every_class():
    means = class_means(torch.tensor([[0.0, 2], [4, 4], [2, 0]]), tensor([0, 1, 0]))
    assert means.tolist() == [[1, 1], [4, 4]]
    with pytest.raises(ValueError, match=r"expected samples of each of the classes 0 \.\.\. 2, got 2 classes"):
        class_means(torch.eye(3), tensor([0, 0, 2]))


def test_distance_over_norm():
    # distances 3, 4 and 5 from centers of norms 3, 4 and 10
    centers = torch.tensor([[3.0, 0], [0, 4], [6, 8]])
    features = torch.tensor([[0.0, 0], [4, 4], [6, 3]])
    assert distance_over_norm(features, tensor([0, 1, 2]), centers) == pytest.approx((1 + 1 + 0.5) / 3)
    assert distance_over_norm(centers, tensor([0, 1, 2]), centers) == 0
    with pytest.raises(ValueError, match=r"expected labels 0 \.\.\. 2, one per center, got 3"):
        distance_over_norm(features, tensor([0, 1, 3]), centers)


def test_distance_over_norm_is_what_separation_and_compactness_imply():
    """2 sin(MeanSep / 2) / SCR for prototypes on a sphere and classes alike: how Table 4 fixes it."""
    centers = 5 * on_circle(0, 90, 180, 270)
    offsets = torch.tensor([[0.3, 0.4], [-0.3, -0.4]], dtype=torch.float64)
    features = (centers[:, None] + offsets).reshape(-1, 2)
    labels = torch.arange(4).repeat_interleave(2)
    implied = 2 * math.sin(math.radians(mean_separation(centers) / 2))
    implied /= separation_to_compactness(features, labels, centers)
    assert distance_over_norm(features, labels, centers) == pytest.approx(implied)


def test_variation_ignores_scale_and_rotation_but_not_the_origin():
    features, labels, _ = cloud()
    rotation = torch.linalg.qr(cloud(seed=1)[0][:4])[0]
    expected = variation_within_classes(features, labels)
    assert variation_within_classes(9 * features @ rotation, labels) == pytest.approx(expected)
    assert variation_within_classes(features + 3, labels) != pytest.approx(expected, rel=1e-3)


def test_tiny_variations_are_resolved():
    features = on_circle(-1e-6, 1e-6, 90, norms=(1, 1, 1))
    assert variation_within_classes(features, tensor([0, 0, 1])).angular_rms == pytest.approx(0.5e-6, rel=1e-4)


def test_a_feature_at_the_origin_points_nowhere():
    features = torch.cat([on_circle(0, 90), torch.zeros(1, 2, dtype=torch.float64)])
    assert variation_within_classes(features, tensor([0, 1, 1])).angular_rms == pytest.approx(90 / math.sqrt(2) / 2)


# --- What cannot be measured


@pytest.mark.parametrize("metric", [fisher_discriminant_ratio, angular_fisher_score, variation_within_classes])
@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (PAIRS, tensor([4, 4, 4, 4]), "at least two classes"),
        (PAIRS, tensor([0, 1]), r"\[N, d\]"),
        (PAIRS[:0], PAIR_LABELS[:0], r"\[N, d\]"),
        (PAIRS[0], PAIR_LABELS[:2], r"\[N, d\]"),
    ],
    ids=["one class", "too few labels", "empty", "one sample without a batch"],
)
def test_scatter_needs_samples_of_two_classes(metric, features, labels, message):
    with pytest.raises(ValueError, match=message):
        metric(features, labels)


def test_classes_may_be_any_numbers():
    assert fisher_discriminant_ratio(PAIRS, tensor([3, 3, 8, 8])) == pytest.approx(0.02)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 2]], ids=["a class without samples", "an unknown class"])
def test_scr_needs_samples_of_every_center_and_no_other(labels):
    with pytest.raises(ValueError, match="each of the 2 classes"):
        separation_to_compactness(PAIRS, tensor(labels), tensor([[0.0, 0.0], [0.0, 10.0]]))


@pytest.mark.parametrize("metric", [mean_separation, min_separation])
def test_an_angle_needs_two_centers(metric):
    with pytest.raises(ValueError, match="at least two centers"):
        metric(tensor([[1.0, 0.0]]))
