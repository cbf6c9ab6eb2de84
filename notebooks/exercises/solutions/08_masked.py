"""Solution of exercise 8."""

import torch.nn.functional as F

from advdpnp.attacks import pgd


def climb(model, x, y, epsilon, loss="ce"):
    return pgd(
        model, x, y, epsilon=epsilon, step_size=epsilon / 8, steps=20, norm="linf", random_start=False, loss=loss
    )


def attack_quantised(model, x, y, epsilon):
    # straight-through: backwards the rounding is taken for the identity, which leaves the network inside
    return climb(model.net, x, y, epsilon)


def attack_stochastic(model, x, y, epsilon):
    # expectation over transformation: the gradient of the mean over 40 passes
    def expected(model, x_adv, y):
        return sum(F.cross_entropy(model(x_adv), y, reduction="none") for _ in range(40)) / 40

    return climb(model, x, y, epsilon, expected)


def attack_saturated(model, x, y, epsilon):
    # the margin has a slope where cross-entropy is exactly zero
    return climb(model, x, y, epsilon, "margin")
