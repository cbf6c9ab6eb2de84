"""Solution of exercise 10."""

import torch

from advdpnp.attacks import pgd


def climb(model, x, y, epsilon, loss="ce", steps=40):
    return pgd(
        model, x, y, epsilon=epsilon, step_size=epsilon / 8, steps=steps, norm="linf", random_start=False, loss=loss
    )


def margin(logits, y):
    rivals = logits.scatter(1, y[:, None], -torch.inf)
    return rivals.amax(1) - logits.gather(1, y[:, None]).squeeze(1)


def attack_quantised(model, x, y, epsilon):
    # backwards the rounding is taken for the identity
    return climb(model.net, x, y, epsilon)


def attack_noisy(model, x, y, epsilon):
    # what is drawn does not matter to the network inside: it is attacked alone, and what breaks it breaks the average
    return climb(model.net, x, y, epsilon)


def attack_winners(model, x, y, epsilon):
    # winners change from point to point: climb the mean margin over a neighbourhood, which has a slope
    def smooth(model, x_adv, y):
        near = x_adv + 0.1 * torch.randn(20, *x_adv.shape)
        return margin(model(near.flatten(0, 1)), y.repeat(20)).view(20, -1).mean(0)

    return climb(model, x, y, epsilon, smooth)


def attack_saturated(model, x, y, epsilon):
    # log-probabilities keep the differences of the logits, so their margin has a slope where cross-entropy has none
    return climb(model, x, y, epsilon, "margin")


def attack_coded(model, x, y, epsilon):
    # a soft sign: the similarity of tanh(2 f) with each code
    def soft(model, x_adv, y):
        return margin(torch.tanh(2 * (model.embed(x_adv) - model.threshold)) @ model.codes.T, y)

    return climb(model, x, y, epsilon, soft)


def attack_sparse(model, x, y, epsilon):
    # straight-through: forwards the rounded features, backwards the features themselves
    def through(model, x_adv, y):
        f = model.net.features(x_adv)
        rounded = model.mean + model.spread * model.steps(f).round()
        return margin(model.net.head(f + (rounded - f).detach()), y)

    return climb(model, x, y, epsilon, through, steps=60)
