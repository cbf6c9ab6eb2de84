"""AutoAttack on a surrogate: the target decides, nothing is lost, less is computed."""

import logging
from functools import partial

import pytest
import torch
from doubles import Counting
from torch import nn

from advdpnp.attacks import autoattack
from advdpnp.attacks.autoattack_fast import AllFooled, Watched, project_linf, target_check
from advdpnp.models import LinearHead, ResNet18
from advdpnp.models.batchnorm_folding import FoldedConv, FoldedSurrogate


def budget(model, x, y, dual) -> float:
    """The budget under which all but five of the images break, where the smallest that changes a label is known."""
    weight, z = model[1].weight.data, model(x).detach()
    gap, slope = z.gather(1, y[:, None]) - z, (weight[y][:, None] - weight[None]).norm(dual, dim=2)
    order = (gap / slope).scatter(1, y[:, None], torch.inf).amin(1).sort().values
    return ((order[-5] + order[-6]) / 2).item()


@pytest.fixture(scope="module")
def victim():
    """A linear model, images with small gaps, the first mislabelled, and an linf budget: (model, x, y, epsilon)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 5 * 5, 10))
    x = 0.4 + 0.2 * torch.rand(12, 3, 5, 5)
    model[1].bias.data = -0.5 * model[1].weight.data.sum(1)  # z(0.5) = 0: small gaps, the box out of reach
    y = right_labels(model, x)
    y[0] = (y[0] + 1) % 10
    return model, x, y, budget(model, x, y, 1)


@torch.no_grad()
def right_labels(model, x) -> torch.Tensor:
    return model(x).argmax(1)


def right(model, x, y) -> torch.Tensor:
    return right_labels(model, x) == y


def attack(model, x, y, epsilon, **options) -> torch.Tensor:
    return autoattack(model, x, y, epsilon=epsilon, square_queries=20, **options)


@pytest.fixture(scope="module")
def withstand(victim):
    """Which images withstand the plain package: [N] bool."""
    model, x, y, epsilon = victim
    plain = right(model, attack(model, x, y, epsilon), y)
    assert plain.sum() == 5
    return plain


class Absurd(nn.Module):
    """A surrogate that sees class 0 everywhere, whatever the image."""

    def forward(self, x):
        return torch.eye(10)[0] + 0 * x.flatten(1).sum(1, keepdim=True)


class Coarse(nn.Module):
    """A surrogate whose logits are off by what bfloat16 may lose."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        logits = self.model(x)
        return logits + (logits.bfloat16().float() - logits).detach()


@pytest.mark.parametrize("surrogate", [lambda model: FoldedSurrogate(model, True), Coarse, lambda model: Absurd()],
                         ids=["bf16", "coarse", "absurd"])  # fmt: skip
def test_it_breaks_what_the_package_breaks_whatever_it_searches_on(victim, withstand, surrogate):
    model, x, y, epsilon = victim
    x_adv = attack(model, x, y, epsilon, surrogate=surrogate(model))
    assert right(model, x_adv, y).tolist() == withstand.tolist()
    assert (x_adv - x).abs().max() <= epsilon + 1e-6
    assert torch.equal(x_adv[withstand], x[withstand])  # what withstood comes back as it was
    assert torch.equal(x_adv[0], x[0])


@pytest.mark.parametrize(("norm", "order", "dual"), [("l2", 2, 2), ("l1", 1, torch.inf)])
def test_other_norms_stay_in_their_ball_and_break_as_much(victim, norm, order, dual):
    model, x, y, _ = victim
    options = {"epsilon": 1.1 * budget(model, x, y, dual), "norm": norm, "attacks": ["apgd-ce", "square"]}
    x_adv = attack(model, x, y, **options, surrogate=FoldedSurrogate(model, False))
    assert (x_adv - x).flatten(1).norm(order, dim=1).max() <= options["epsilon"] * (1 + 1e-5)
    plain = right(model, attack(model, x, y, **options), y)
    assert right(model, x_adv, y).tolist() == plain.tolist()
    assert 0 < plain.sum() < len(y) - 1


class Behind(nn.Module):
    """A network behind a layer that leaves no useful gradient: only Square can break it."""

    def __init__(self, layer=lambda x: x):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.Tanh(), nn.Linear(64, 10))
        self.layer = layer

    def forward(self, x):
        return self.net(self.layer(x))


@pytest.fixture(scope="module")
def noise():
    """40 images of noise, [40, 3, 8, 8]."""
    return torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))


MASKS = {
    "rounded": lambda x: (16 * x).round() / 16,
    "cut off": lambda x: x.detach(),
    "shattered": lambda x: x + 0.02 * torch.sin(1e4 * x),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_square_breaks_a_masked_network_as_far_as_the_package_does(noise, mask):
    """With two equal logits in bfloat16, Square gave an image up and nobody attacked it again."""
    model = Behind(mask).eval()
    y = right_labels(model, noise)
    run = partial(autoattack, model, noise, y, epsilon=0.02, attacks=["square"], square_queries=600)
    searches = {"package": None, "fp32": FoldedSurrogate(model, False), "bf16": FoldedSurrogate(model, True)}
    left = {name: int(right(model, run(surrogate=surrogate), y).sum()) for name, surrogate in searches.items()}
    assert 15 < left["package"] < 30
    assert left["fp32"] == left["package"]
    assert left["bf16"] <= left["package"] + 2  # as much as another seed changes


class Tied(nn.Module):
    """A surrogate whose every second margin is a tie: what is within 0.05 of the largest logit is as large."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        logits = self.model(x)
        top = logits.amax(1, keepdim=True)
        return torch.where(logits > top - 0.05, top, logits)


def test_square_goes_on_where_the_surrogate_ties_and_the_model_is_right(noise):
    model = Behind().eval()
    y = right_labels(model, noise)
    run = partial(autoattack, model, noise, y, epsilon=0.05, attacks=["square"], square_queries=400)
    plain, tied = right(model, run(), y).sum(), right(model, run(surrogate=Tied(model)), y).sum()
    assert tied <= plain + 2


def test_the_target_is_fooled_inside_ball_and_box_by_a_wrong_label(victim):
    model, x, y, _ = victim
    fools_target = target_check(model, 0.1, "linf")
    wrong = (y + 1) % 10
    assert fools_target(x, x, wrong).tolist() == (~right(model, x, wrong)).tolist()
    assert not fools_target(x + 0.2, x, wrong).any()  # out of the ball
    assert not fools_target(x - x.amin() - 0.01, x, wrong).any()  # out of the box
    assert not fools_target(torch.full_like(x, torch.nan), x, wrong).any()


def test_broken_images_are_not_attacked_to_the_end(victim):
    model, x, y, epsilon = victim
    surrogate = Counting(FoldedSurrogate(model, False))
    x_adv = autoattack(model, x, y, epsilon=10 * epsilon, attacks=["apgd-ce"], surrogate=surrogate)
    assert not right(model, x_adv, y).any()
    assert surrogate.images < 20 * len(x)  # the package: 100 steps each


def test_images_that_are_dropped_have_no_gradient_and_the_others_their_own(victim):
    model, x, y, _ = victim
    network = Watched(model, lambda images, clean, labels: torch.zeros_like(labels, dtype=torch.bool))
    with network.watching(x, y):
        network(x)
        network.fooled[:5] = True
        images = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(images).square().sum(), images)
    images = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(images).square().sum(), images)
    assert not gradient[:5].any()
    torch.testing.assert_close(gradient[5:], expected[5:])


def test_the_search_ends_when_all_are_fooled(victim):
    model, x, y, _ = victim
    network = Watched(model, target_check(model, 1.0, "linf"))
    with network.watching(x, (y + 1) % 10), pytest.raises(AllFooled):
        network(x)


def test_a_random_model_is_still_told(victim, caplog):
    model, x, y, _ = victim

    class Noisy(nn.Module):
        def forward(self, images):
            logits = model(images)
            return logits + torch.randn_like(logits)

    with caplog.at_level(logging.WARNING, "auto-attack"):
        attack(Noisy(), x[:2], y[:2], 1e-3, attacks=["square"], surrogate=FoldedSurrogate(model, False))
    assert "randomized defense" in caplog.text


# --- FAB's projection


def test_the_projection_is_the_package_s():
    from pyautoattack.fab_projections import projection_linf

    torch.manual_seed(0)
    points, normals = torch.rand(64, 300, dtype=torch.float64), torch.randn(64, 300, dtype=torch.float64)
    normals[:, ::7] = 0
    points[:, ::5] = 0
    offsets = (normals * points).sum(1) + torch.randn(64, dtype=torch.float64) * 5
    offsets[0], offsets[1] = 1e6, -1e6  # out of reach
    offsets[2] = (normals[2] * points[2]).sum()  # there already
    ours, theirs = project_linf(points, normals, offsets), projection_linf(points, normals, offsets)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-6)
    reached = (normals * (points + ours)).sum(1)
    torch.testing.assert_close(reached[2:], offsets[2:], atol=1e-9, rtol=1e-9)


def test_fab_is_given_back_its_own_projection(victim):
    from pyautoattack import fab_base
    from pyautoattack.fab_projections import projection_linf

    model, x, y, _ = victim
    autoattack(model, x[:2], y[:2], epsilon=1e-3, attacks=["fab-t"], surrogate=FoldedSurrogate(model, False))
    assert fab_base.projection_linf is projection_linf


# --- The surrogate


def test_the_surrogate_is_the_same_function_and_leaves_the_model_alone():
    torch.manual_seed(0)
    backbone = ResNet18(3, 8)
    model, x = nn.Sequential(backbone, LinearHead(backbone.dim, 10)).eval(), torch.rand(4, 3, 32, 32)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    exact, coarse = FoldedSurrogate(model, False), FoldedSurrogate(model, True)
    assert sum(isinstance(module, FoldedConv) for module in exact.modules()) == 20
    assert not any(isinstance(module, nn.BatchNorm2d) for module in coarse.modules())
    with torch.no_grad():
        logits = model(x)
        torch.testing.assert_close(exact(x), logits, atol=1e-4, rtol=1e-4)
        assert 0 < (coarse(x) - logits).abs().max() < 0.1 * logits.abs().max()
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(p.requires_grad for p in exact.parameters())
