"""Solution of exercise 11."""

import math


def summed_gradient(features, prototypes, labels, lambda_dpp):
    # Eq. (7) halves Eq. (3), whose square gives (c - f) lambda; cross-entropy's gradients cancel over the classes
    return lambda_dpp / 2 * (prototypes[labels] - features).sum(0) / len(labels)


def shortening(lambda_dpp, classes, weight_decay, dims, pull):
    # lambda / (2 M) (M cbar - M fbar) + M wd cbar = 0, with lambda / d where the squares are averaged
    strength = lambda_dpp if pull == "sum" else lambda_dpp / dims
    return 2 * classes * weight_decay / strength


def mean_angle(mean_norm, radius, classes):
    # |cbar|^2 = R^2 / M^2 (M + M (M - 1) cosine)
    cosine = (classes * (mean_norm / radius) ** 2 - 1) / (classes - 1)
    return math.degrees(math.acos(cosine))
