"""Attacks, held against closed forms: on a linear model the optimal perturbation is known in every norm."""

import logging
import math
import sys
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from advdpnp import attacks, data
from advdpnp.attacks import projections
from advdpnp.errors import UserError

SHAPE = (3, 6, 6)


class Linear(nn.Module):
    """z = c x + b: features are the pixels, centers the weights."""

    def __init__(self, classes=2, shape=SHAPE, seed=0, radius=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, math.prod(shape), generator=generator))
        self.bias = nn.Parameter(torch.zeros(classes))
        self.radius = radius

    @property
    def centers(self):
        return self.weight

    def features(self, x):
        return x.flatten(1)

    def forward(self, x):
        return self.features(x) @ self.weight.T / self.radius + self.bias


class SmallConv(nn.Sequential):
    def __init__(self, classes=5):
        super().__init__(
            *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
            *(nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)),
        )

    @property
    def centers(self):
        return self[-1].weight

    def features(self, x):
        for layer in list(self)[:-1]:
            x = layer(x)
        return x


def small_conv(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SmallConv()
        model(torch.rand(16, *SHAPE))  # running statistics other than 0 and 1
    return model


def images(batch=4, seed=1, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(batch, *SHAPE, generator=torch.Generator().manual_seed(seed))


def labels(batch=4, classes=2):
    return torch.arange(batch) % classes


def length(delta, norm):
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    return torch.linalg.vector_norm(delta.flatten(1), ord=order, dim=1)


def assert_feasible(x_adv, x, epsilon, norm):
    assert x_adv.shape == x.shape
    assert x_adv.dtype == x.dtype
    assert not x_adv.requires_grad
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert (length(x_adv - x, norm) <= epsilon * (1 + 1e-5) + 1e-6).all()


EPSILON = {"linf": 0.05, "l2": 0.4, "l1": 0.3}
GRADIENT_ATTACKS = {
    "fgsm": ("linf", attacks.fgsm),
    "linf": ("linf", partial(attacks.pgd, norm="linf", steps=4, step_size=0.02)),
    "l2": ("l2", partial(attacks.pgd, norm="l2", steps=4, step_size=0.2)),
    "l1": ("l1", partial(attacks.pgd, norm="l1", steps=4, step_size=0.2)),
    "l1 free": ("l1", partial(attacks.pgd, norm="l1", steps=4, step_size=0.2, l1_step="top1_free")),
    "l1 dense": ("l1", partial(attacks.pgd, norm="l1", steps=4, step_size=0.2, l1_step="dense")),
    "normal start": (
        "linf",
        partial(attacks.pgd, norm="linf", steps=4, step_size=0.02, random_start="normal"),
    ),
    "restarts": ("l2", partial(attacks.pgd, norm="l2", steps=2, step_size=0.2, restarts=3, loss="margin")),
    "cw": ("linf", partial(attacks.cw, steps=4, step_size=0.02, confidence=50)),
    "adaptive": (
        "linf",
        partial(attacks.adaptive, steps=4, step_size=0.02, radius=2, lambda_dpp=0.1, lambda_dnp=0.1, lambda_dfa=4),
    ),
}
every_gradient_attack = pytest.mark.parametrize(("norm", "attack"), GRADIENT_ATTACKS.values(), ids=GRADIENT_ATTACKS)


# --- the closed-form optimum on a linear model --------------------------------------------------------------


def optimum(w, epsilon, norm):
    """argmax w delta over the ball; w [B, ...]."""
    if norm == "linf":
        return epsilon * w.sign()
    if norm == "l2":
        return epsilon * w / length(w, "l2").reshape(-1, 1, 1, 1)
    flat = w.flatten(1)
    largest = flat.abs().argmax(1, keepdim=True)
    return torch.zeros_like(flat).scatter_(1, largest, epsilon * flat.gather(1, largest).sign()).reshape(w.shape)


def ascent_weight(model, y):
    """Two classes: both CE and the margin grow along w_other - w_y."""
    return (model.weight[1 - y] - model.weight[y]).reshape(-1, *SHAPE).detach()


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("random_start", [False, True, "normal"])
@pytest.mark.parametrize(("norm", "steps"), [("linf", 10), ("l2", 60), ("l1", 60)])
def test_pgd_reaches_the_optimum_of_a_linear_model(norm, steps, random_start, loss):
    model, x, y = Linear(), torch.full((4, *SHAPE), 0.5), labels()
    x_adv = attacks.pgd(
        model,
        x,
        y,
        epsilon=EPSILON[norm],
        step_size=EPSILON[norm] / 4,
        steps=steps,
        norm=norm,
        loss=loss,
        random_start=random_start,
        generator=torch.Generator().manual_seed(0),
    )
    torch.testing.assert_close(x_adv, x + optimum(ascent_weight(model, y), EPSILON[norm], norm), rtol=0, atol=1e-5)


def test_dense_l1_steps_end_at_the_same_corner():
    model, x, y = Linear(), torch.full((2, *SHAPE), 0.5), labels(2)
    x_adv = attacks.pgd(
        model, x, y, epsilon=0.3, step_size=2.0, steps=400, norm="l1", l1_step="dense", random_start=False
    )
    torch.testing.assert_close(x_adv, x + optimum(ascent_weight(model, y), 0.3, "l1"), rtol=0, atol=1e-5)


def test_first_steps_have_the_length_and_shape_of_their_norm():
    model, x, y = Linear(), torch.full((4, *SHAPE), 0.5), labels()
    w = ascent_weight(model, y)
    one = partial(attacks.pgd, model, x, y, epsilon=0.4, step_size=0.1, steps=1, random_start=False)
    torch.testing.assert_close(one(norm="linf") - x, 0.1 * w.sign())
    torch.testing.assert_close(one(norm="l2") - x, optimum(w, 0.1, "l2"))
    torch.testing.assert_close(one(norm="l1") - x, optimum(w, 0.1, "l1"))
    dense = 0.1 * w / length(w, "l1").reshape(-1, 1, 1, 1)
    torch.testing.assert_close(one(norm="l1", l1_step="dense") - x, dense, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "cw", "multi-class"])
def test_linf_optimum_where_the_box_cuts_the_ball(attack):
    # max w x~ over |x~ - x| <= eps and 0 <= x~ <= 1 is the bound on the side of w's sign
    epsilon, x = 0.3, images(6)
    if attack == "multi-class":  # a rival so far ahead of the others that it is the largest in the whole ball
        model, y = Linear(classes=5), torch.zeros(6, dtype=torch.long)
        model.bias.data[3] = 1e4
        w = (model.weight[3] - model.weight[0]).detach().reshape(1, *SHAPE).expand_as(x)
    else:
        model, y = Linear(), labels(6)
        w = ascent_weight(model, y)
    expected = torch.where(w > 0, (x + epsilon).clamp_max(1), (x - epsilon).clamp_min(0))
    run = {
        "fgsm": attacks.fgsm,
        "pgd": partial(attacks.pgd, norm="linf", step_size=0.1, steps=10),
        "cw": partial(attacks.cw, step_size=0.1, steps=5, confidence=1e3),
        "multi-class": partial(attacks.pgd, norm="linf", step_size=0.1, steps=10, loss="margin"),
    }[attack]
    torch.testing.assert_close(run(model, x, y, epsilon=epsilon), expected, rtol=0, atol=1e-6)


def test_top1_l1_step_stalls_on_a_saturated_pixel():
    # Not aware of the box: the step goes to the largest |w| although that pixel is already at its bound.
    model, y = Linear(), labels()
    w = ascent_weight(model, y)
    x = torch.where(w > 0, 1.0, 0.0)
    x_adv = attacks.pgd(model, x, y, epsilon=0.3, step_size=0.1, steps=5, norm="l1", random_start=False)
    assert torch.equal(x_adv, x)


def blocked_but_one(w):
    """Images [B, ...] in which the box blocks the ascent along w everywhere but at the pixel of smallest |w|."""
    smallest = w.flatten(1).abs().argmin(1, keepdim=True)
    x = torch.where(w > 0, 1.0, 0.0).flatten(1)
    return x.scatter(1, smallest, 0.5).reshape(w.shape), smallest


@pytest.mark.parametrize("start", [False, True])
def test_the_free_l1_step_goes_to_the_pixel_that_can_move(start):
    # The only pixel with room has the smallest |w|: max w delta over ball and box is epsilon there.
    model, y = Linear(), labels()
    w = ascent_weight(model, y)
    x, smallest = blocked_but_one(w)
    sign = w.flatten(1).gather(1, smallest).sign()
    best = torch.zeros_like(w).flatten(1).scatter(1, smallest, 0.3 * sign).reshape(w.shape)
    options = {"epsilon": 0.3, "step_size": 0.05, "steps": 300, "norm": "l1", "random_start": start}
    x_adv = attacks.pgd(model, x, y, **options, l1_step="top1_free", generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(x_adv, x + best, rtol=0, atol=1e-5)


def test_the_free_l1_step_spends_the_budget_where_it_counts_most():
    # Closed form: fill the rooms of the pixels in the order of their |w| until the budget is spent.
    model, x, y, epsilon = Linear(), images(8), labels(8), 6.0
    w = ascent_weight(model, y)
    room = torch.where(w > 0, 1 - x, x).flatten(1)
    order = w.flatten(1).abs().argsort(1, descending=True)
    rooms = room.gather(1, order)
    spent = (epsilon - (rooms.cumsum(1) - rooms)).clamp_min(0).minimum(rooms)
    best = (spent * w.flatten(1).abs().gather(1, order)).sum(1)
    run = partial(attacks.pgd, model, x, y, epsilon=epsilon, step_size=0.05, steps=300, norm="l1", random_start=False)
    free, stalled = (run(l1_step=kind) - x for kind in ("top1_free", "top1"))
    gain = (w * free).flatten(1).sum(1)
    assert (gain <= best * (1 + 1e-5)).all()
    assert (gain >= 0.98 * best).all()
    assert (length(free, "l1") >= 0.98 * epsilon).all()
    assert (length(stalled, "l1") <= 1 + 1e-5).all()  # one pixel


def test_where_the_box_blocks_everything_the_free_l1_step_stays():
    model, y = Linear(), labels()
    x = torch.where(ascent_weight(model, y) > 0, 1.0, 0.0)
    run = partial(attacks.pgd, model, x, y, epsilon=0.3, step_size=0.1, steps=5, norm="l1", random_start=False)
    assert torch.equal(run(l1_step="top1_free"), x)


def test_on_digits_l1_pgd_stalls_unless_its_steps_are_free():
    """Real images are black in most places: with the step of the paper's time a larger budget buys nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    test = data.load("digits", "test").subset(100)
    x, y = data.to_float(test.images), test.labels
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimiser.step()
    left, used = {}, {}
    for kind in ("top1", "top1_free"):
        for epsilon in (2, 8):
            x_adv = attacks.pgd(
                *(net, x, y), epsilon=epsilon, step_size=epsilon / 20, steps=60, norm="l1", random_start=False,
                l1_step=kind,
            )  # fmt: skip
            assert_feasible(x_adv, x, epsilon, "l1")
            left[kind, epsilon] = (net(x_adv).argmax(1) == y).float().mean().item()
            used[kind, epsilon] = (length(x_adv - x, "l1") / epsilon).median().item()
    assert left["top1", 8] > left["top1", 2] - 0.05
    assert left["top1_free", 2] < left["top1", 2] - 0.3
    assert left["top1_free", 8] == 0
    assert used["top1", 8] < 0.25
    assert used["top1_free", 8] > 0.9


# --- golden values ------------------------------------------------------------------------------------------


def test_cw_loss_golden():
    # FSR's official formula (confidence 50) and HAT's (confidence 0), in float64
    i, k = torch.arange(4.0, dtype=torch.float64)[:, None], torch.arange(10.0, dtype=torch.float64)
    y = torch.tensor([1, 0, 7, 2])
    for confidence, value, norm in [
        (50, -190.31505774162605, math.sqrt(8)),
        (0, -0.17652913908519796, math.sqrt(2)),
    ]:
        z = (3 * torch.sin(0.9 * i + 1.1 * k + 0.5)).requires_grad_()
        total = attacks.cw_loss(z, y, confidence).sum()
        (gradient,) = torch.autograd.grad(total, z)
        assert total.item() == pytest.approx(value, abs=1e-9)
        assert gradient.norm().item() == pytest.approx(norm, abs=1e-9)


def test_l1_projection_golden():
    v = 3 * torch.sin(1.7 * torch.arange(12.0, dtype=torch.float64) + 0.3)
    assert v.abs().sum().item() == pytest.approx(21.86592699, abs=1e-8)
    expected = [0, 1.316419, -0.178035, -0.906820, 0.775434, 0.343278, -1.227614, 0, 1.504549, 0, -1.58785, 0]
    projected = attacks.project_l1(v[None], 7.84)[0]
    assert projected.tolist() == pytest.approx(expected, abs=1e-6)
    assert projected.abs().sum().item() == pytest.approx(7.84, abs=1e-12)


@pytest.mark.parametrize(("norm", "project"), [("l1", attacks.project_l1), ("l2", attacks.project_l2)])
def test_projection_is_the_nearest_point_of_the_ball(norm, project):
    generator = torch.Generator().manual_seed(0)
    delta = 2 * torch.randn(8, 3, 4, 4, generator=generator, dtype=torch.float64)
    point = project(delta, 1.5)
    assert (length(point, norm) <= 1.5 + 1e-12).all()
    # p is nearest iff (delta - p)(q - p) <= 0 for all q in the ball; the best q gives eps ||delta - p||_dual
    dual = {"l1": "linf", "l2": "l2"}[norm]
    residual = delta - point
    slack = 1.5 * length(residual, dual) - (residual * point).flatten(1).sum(1)
    torch.testing.assert_close(slack, torch.zeros(8, dtype=torch.float64), rtol=0, atol=1e-10)
    inside = delta / length(delta, norm).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(project(inside, 1.5), inside, rtol=0, atol=0)


@pytest.mark.parametrize("order", [1, 2])
def test_unit_survives_vanishing_and_zero_gradients(order):
    g = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(projections.unit(g * 1e-30, order), projections.unit(g, order))
    torch.testing.assert_close(projections.unit(g, order).flatten(1).norm(p=order, dim=1), torch.ones(3))
    assert torch.equal(projections.unit(torch.zeros_like(g), order), torch.zeros_like(g))


@pytest.mark.parametrize("norm", attacks.NORMS)
def test_random_start_is_uniform_in_the_ball(norm):
    # For a uniform point of a d-dimensional ball, (||delta|| / eps)^d is U(0, 1).
    x = torch.zeros(20_000, 1, 2, 2)
    noise = projections.start_noise(x, 0.7, norm, True, torch.Generator().manual_seed(0))
    u = (length(noise, norm) / 0.7) ** 4
    assert u.max() <= 1 + 1e-5
    assert u.mean().item() == pytest.approx(1 / 2, abs=0.01)
    assert u.var().item() == pytest.approx(1 / 12, abs=0.003)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    # E delta_1^2 / eps^2: 1/3 (cube), 1/(d+2) (Euclid), 2/((d+1)(d+2)) (cross-polytope)
    second = {"linf": 1 / 3, "l2": 1 / 6, "l1": 2 / 30}[norm]
    assert ((noise / 0.7) ** 2).mean().item() == pytest.approx(second, rel=0.03)


def test_normal_start_has_the_trades_scale():
    noise = projections.start_noise(
        torch.zeros(200, *SHAPE), 8 / 255, "linf", "normal", torch.Generator().manual_seed(0)
    )
    assert noise.std().item() == pytest.approx(0.001, rel=0.02)


# --- feasible, whatever the model ---------------------------------------------------------------------------


@every_gradient_attack
@settings(max_examples=5, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**16), epsilon=st.sampled_from([1e-4, 8 / 255, 0.5, 1.0]), corners=st.booleans())
def test_result_is_in_ball_and_box(norm, attack, seed, epsilon, corners):
    model, x, y = small_conv(seed), images(4, seed), labels(4, 5)
    if corners:
        x = x.round()
    before = x.clone()
    x_adv = attack(model, x, y, epsilon=epsilon)
    assert_feasible(x_adv, x, epsilon, norm)
    assert torch.equal(x, before)


@every_gradient_attack
def test_epsilon_zero_is_the_identity(norm, attack):
    x = images()
    x_adv = attack(small_conv(), x, labels(), epsilon=0)
    assert torch.equal(x_adv, x)
    assert x_adv is not x


def test_fgsm_is_one_step_of_pgd():
    model, x, y = small_conv(), images(), labels(4, 5)
    one_step = attacks.pgd(model, x, y, epsilon=0.03, step_size=0.03, steps=1, norm="linf", random_start=False)
    assert torch.equal(attacks.fgsm(model, x, y, epsilon=0.03), one_step)


def test_a_sample_does_not_depend_on_its_batch():
    model, x, y = small_conv(), images(), labels(4, 5)
    run = partial(attacks.pgd, model, epsilon=0.1, step_size=0.02, steps=5, norm="l2", random_start=False)
    torch.testing.assert_close(run(x[:1], y[:1]), run(x, y)[:1])


@every_gradient_attack
def test_channels_last_and_autocast(norm, attack):
    model, x, y = small_conv(), images(), labels(4, 5)
    assert_feasible(attack(model, x.to(memory_format=torch.channels_last), y, epsilon=0.1), x, 0.1, norm)
    with torch.autocast("cpu", torch.bfloat16):
        assert_feasible(attack(model, x, y, epsilon=0.1), x, 0.1, norm)
    assert attack(model.double(), x.double(), y, epsilon=0.1).dtype == torch.float64


def test_works_under_no_grad_and_does_not_track_the_input():
    model, x, y = small_conv(), images().requires_grad_(), labels(4, 5)
    with torch.no_grad():
        x_adv = attacks.fgsm(model, x, y, epsilon=0.1)
    assert torch.equal(x_adv, attacks.fgsm(model, x, y, epsilon=0.1))
    assert x.grad is None


class _CountSyncs(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero):
            self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("norm", attacks.NORMS)
def test_more_steps_do_not_wait_for_the_device_more_often(norm):
    model, x, y = small_conv(), images(), labels(4, 5)
    counts = []
    for steps in (1, 5):
        with _CountSyncs() as syncs:
            attacks.pgd(model, x, y, epsilon=0.1, step_size=0.02, steps=steps, norm=norm)
        counts.append(syncs.count)
    assert counts == [3, 3]  # the range of x, the lowest label, the highest


# --- the model is left as found -----------------------------------------------------------------------------


def snapshot(model):
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [None if parameter.grad is None else parameter.grad.clone() for parameter in model.parameters()],
        {name: value.clone() for name, value in model.state_dict().items()},
    )


def assert_same(before, after):
    assert before[:2] == after[:2]
    for old, new in zip([*before[2], *before[3].values()], [*after[2], *after[3].values()], strict=True):
        assert (old is None) == (new is None)
        assert old is None or torch.equal(old, new)


def mixed_state_model():
    """Some modules in eval mode, some parameters frozen, some gradients present."""
    model = small_conv().train()
    model[4].eval()
    model[0].weight.requires_grad_(False)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    return model


@every_gradient_attack
def test_model_is_left_as_found(norm, attack):
    model = mixed_state_model()
    before = snapshot(model)
    attack(model, images(), labels(4, 5), epsilon=0.1)
    assert_same(before, snapshot(model))


def test_model_is_left_as_found_after_an_exception():
    model = mixed_state_model()
    before = snapshot(model)
    seen = []

    def loss(model, x_adv, y):
        seen.append((model.training, any(parameter.requires_grad for parameter in model.parameters())))
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        attacks.fgsm(model, images(), labels(4, 5), epsilon=0.1, loss=loss)
    assert seen == [(False, False)]
    assert_same(before, snapshot(model))


def test_train_mode_crafting_uses_and_updates_batch_statistics():
    model, x, y = small_conv().train(), images(), labels(4, 5)
    running = model[1].running_mean.clone()
    train_mode = attacks.fgsm(model, x, y, epsilon=0.1, eval_mode=False)
    assert not torch.equal(model[1].running_mean, running)
    assert all(module.training for module in model.modules())
    assert not torch.equal(train_mode, attacks.fgsm(model, x, y, epsilon=0.1))


def test_training_goes_on_after_an_attack_inside_autocast():
    # autocast caches the cast weights: cached without their graph, the next backward would find no gradient
    model, x, y = small_conv(), images(), labels(4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        x_adv = attacks.pgd(model, x, y, epsilon=0.1, step_size=0.05, steps=2, norm="linf", restarts=2)
        F.cross_entropy(model(x_adv), y).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


# --- losses, restarts, generators ---------------------------------------------------------------------------


def test_a_function_as_loss():
    model, x, y = small_conv(), images(), labels(4, 5)
    run = partial(attacks.pgd, model, x, y, epsilon=0.1, step_size=0.03, steps=4, norm="linf", random_start=False)
    ours = run(loss=lambda model, x_adv, y: F.cross_entropy(model(x_adv), y, reduction="none"))
    assert torch.equal(ours, run())
    # largest distance from 0.5: every pixel moves away from the middle
    away = run(loss=lambda model, x_adv, y: (x_adv - 0.5).square().flatten(1).sum(1), steps=20)
    torch.testing.assert_close(away, torch.where(x > 0.5, (x + 0.1).clamp_max(1), (x - 0.1).clamp_min(0)))


def test_a_function_as_loss_sees_the_whole_batch_in_every_restart():
    model, x, y = small_conv(), images(8), labels(8, 5)
    clean = F.softmax(model.eval()(x), dim=1).detach()

    def kl(model, x_adv, y):
        return F.kl_div(F.log_softmax(model(x_adv), dim=1), clean, reduction="none").sum(1)

    run = partial(attacks.pgd, model, x, y, epsilon=0.1, step_size=0.03, steps=3, norm="linf", loss=kl)
    one = run(generator=torch.Generator().manual_seed(3))
    many = run(generator=torch.Generator().manual_seed(3), restarts=4)
    unfooled = model(many).argmax(1) == y
    assert (kl(model, many, y) >= kl(model, one, y) - 1e-6)[unfooled].all()


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("norm", attacks.NORMS)
def test_restarts_are_never_weaker_than_the_first(norm, loss):
    model, x = small_conv().eval(), images(24)
    y = model(x).argmax(1)
    run = partial(
        attacks.pgd,
        model,
        x,
        y,
        epsilon={"linf": 0.02, "l2": 0.1, "l1": 0.5}[norm],
        step_size=0.005,
        steps=1,
        norm=norm,
        loss=loss,
    )
    one = run(generator=torch.Generator().manual_seed(0))
    many = run(generator=torch.Generator().manual_seed(0), restarts=5)
    fooled_once, fooled = model(one).argmax(1) != y, model(many).argmax(1) != y
    assert (fooled | ~fooled_once).all()
    assert torch.equal(many[fooled_once], one[fooled_once])  # the first that fools is kept
    gain = (attacks.LOSSES[loss](model(many), y) - attacks.LOSSES[loss](model(one), y))[~fooled]
    assert (gain >= -1e-6).all()
    assert (gain > 1e-6).any()


@pytest.mark.parametrize("sign", [1, -1])
def test_restarts_keep_the_first_that_fools_else_the_highest_loss(sign):
    # sign = -1: a loss that falls where the label changes, so that "fools" and "highest loss" disagree
    model, x = Linear(classes=5), images(24, low=0.4, high=0.6)
    model.bias.data = -0.5 * model.weight.data.sum(1)  # z(0.5) = 0: small gaps, chance decides
    y = model(x).argmax(1)

    def loss(model, x_adv, y):
        return sign * attacks.margin_loss(model(x_adv), y)

    run = partial(attacks.pgd, model, x, y, epsilon=0.1, step_size=1e-4, steps=1, norm="linf", loss=loss)
    many = run(generator=torch.Generator().manual_seed(0), restarts=4)
    generator = torch.Generator().manual_seed(0)
    each = torch.stack([run(generator=generator) for _ in range(4)])  # the same four restarts, one by one
    fools = torch.stack([model(x_adv).argmax(1) != y for x_adv in each])
    losses = torch.stack([loss(model, x_adv, y) for x_adv in each])
    chosen = torch.where(fools.any(0), fools.int().argmax(0), losses.argmax(0))
    assert torch.equal(many, each[chosen, torch.arange(24)])
    assert (fools.any(0) & ~fools[0]).any()  # some fall to a later restart only,
    assert (fools.sum(0) > 1).any()  # some to several,
    assert not fools.any(0).all()  # some to none


def test_fooled_samples_are_not_attacked_again():
    model, x = Linear(), torch.full((6, *SHAPE), 0.5)
    y = model(x).argmax(1)
    y[:4] = 1 - y[:4]  # wrong before the attack
    batches = []
    model.register_forward_hook(lambda module, inputs, output: batches.append(len(output)))
    attacks.pgd(model, x, y, epsilon=1e-6, step_size=1e-6, steps=2, norm="linf", restarts=2)
    assert batches == [6, 6, 6, 6, 2, 2, 2, 2]  # a restart: two steps, then label and loss


def test_one_seed_one_result():
    model, x, y = small_conv(), images(), labels(4, 5)
    run = partial(attacks.pgd, model, x, y, epsilon=0.1, step_size=0.02, steps=3, norm="linf")
    first, again, other = (run(generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    state = torch.get_rng_state()
    run(generator=torch.Generator().manual_seed(0))
    assert torch.equal(state, torch.get_rng_state())


# --- the adaptive attack ------------------------------------------------------------------------------------


def adaptive_setup(radius=3.0):
    model = Linear(classes=5, radius=radius)
    x = images(4)
    return model, x, labels(4, 5)


def test_adaptive_without_its_terms_is_pgd_on_cross_entropy():
    model, x, y = adaptive_setup()
    options = {"epsilon": 0.1, "step_size": 0.03, "steps": 6}
    ours = attacks.adaptive(model, x, y, **options, radius=3.0, lambda_dpp=0, lambda_dnp=9.0, lambda_dfa=0)
    assert torch.equal(ours, attacks.pgd(model, x, y, **options, norm="linf", random_start=False))


@pytest.mark.parametrize(("pull", "distance"), [
    ("sum", lambda v: v.square().sum() / 2), ("mean", lambda v: v.square().mean() / 2), ("norm", lambda v: v.norm() / 2)
])  # fmt: skip
def test_adaptive_objective_is_equations_3_and_6(pull, distance):
    model, x, y = adaptive_setup()
    x_adv, c = images(4, seed=7), model.weight.detach()
    options = {"radius": 3.0, "lambda_dpp": 0.02, "lambda_dfa": 4.0, "pull": pull}
    values = attacks.adaptive_objective(model, x, **options)(model, x_adv, y)
    for i in range(4):
        f, label = x_adv[i].flatten(), y[i].item()
        p, q = torch.softmax(c @ x[i].flatten() / 3, 0), torch.softmax(c @ f / 3, 0)
        expected = -q[label].log() + 0.02 * distance(f - c[label]) + 4 * (p * (p.log() - q.log())).sum()
        assert values[i].item() == pytest.approx(expected.item(), rel=1e-4)


def test_adaptive_with_a_dominant_dpp_term_leaves_its_prototype():
    # max ||x~ - c_y||^2 over the ball and the box: every pixel goes to its bound on the side away from c_y
    model, x, y = adaptive_setup()
    x_adv = attacks.adaptive(
        model,
        x,
        y,
        epsilon=0.05,
        step_size=0.02,
        steps=10,
        radius=3.0,
        lambda_dpp=1e6,
        lambda_dnp=0,
        lambda_dfa=0,
    )
    lower, upper = attacks.linf_bounds(x, 0.05)
    prototype = model.weight.detach()[y].reshape(x.shape)
    far = (x - prototype).abs() > 0.1
    torch.testing.assert_close(x_adv[far], torch.where(x > prototype, upper, lower)[far])


def test_adaptive_needs_prototypes():
    with pytest.raises(ValueError, match="features"):
        attacks.adaptive(
            nn.Sequential(nn.Flatten(), nn.Linear(108, 2)),
            images(),
            labels(),
            epsilon=0.1,
            step_size=0.1,
            steps=1,
            radius=1.0,
            lambda_dpp=0,
            lambda_dnp=0,
            lambda_dfa=0,
        )


# --- AutoAttack ---------------------------------------------------------------------------------------------


def breaking_point(model, x, y, dual):
    """min over k of (z_y - z_k) / ||w_y - w_k||_dual: the smallest epsilon that changes the label."""
    z, w = model(x).detach(), model.weight.detach()
    gap = z.gather(1, y[:, None]) - z
    slope = torch.linalg.vector_norm(w[y][:, None] - w[None], ord=dual, dim=2)
    return (gap / slope).scatter(1, y[:, None], torch.inf).amin(1)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", torch.inf)])
def test_autoattack_breaks_what_can_be_broken_and_nothing_else(norm, dual):
    pytest.importorskip("pyautoattack")
    model, x = Linear(classes=5), images(8, low=0.4, high=0.6)
    model.bias.data = -0.5 * model.weight.data.sum(1)  # z(0.5) = 0: small gaps, the box out of reach
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 5  # wrong before the attack
    needed = breaking_point(model, x, y, dual)
    ordered = needed[1:].sort().values
    epsilon = ((ordered[3] + ordered[4]) / 2).item()
    assert 0 < epsilon < 0.4
    state, before = torch.get_rng_state(), snapshot(model)
    x_adv = attacks.autoattack(
        model,
        x.to(memory_format=torch.channels_last),
        y,
        epsilon=epsilon,
        norm=norm,
        square_queries=10,
        batch_size=5,
    )
    assert_feasible(x_adv, x, epsilon, norm)
    broken = needed < epsilon
    assert (model(x_adv).argmax(1) != y).tolist() == broken.tolist()
    assert torch.equal(x_adv[~broken], x[~broken])
    assert torch.equal(x_adv[0], x[0])
    assert torch.equal(state, torch.get_rng_state())
    assert_same(before, snapshot(model))


def test_autoattack_caps_the_target_classes_and_reports_its_progress(monkeypatch):
    pyautoattack = pytest.importorskip("pyautoattack")
    made = []

    class Spy(pyautoattack.AutoAttack):
        def run_standard_evaluation(self, x, y, /, **options):
            made.append(self)
            return super().run_standard_evaluation(x, y, **options)

    monkeypatch.setattr(pyautoattack, "AutoAttack", Spy)
    lines, logger = [], logging.getLogger("auto-attack")
    found = (logger.level, logger.propagate, list(logger.handlers))
    for classes, targets in [(5, 4), (10, 9), (20, 9)]:
        model, x = Linear(classes=classes), images(2)
        y = model(x).argmax(1)
        attacks.autoattack(model, x, y, epsilon=1e-3, attacks=["square"], square_queries=2, seed=11, log=lines.append)
        assert (made[-1].apgd_targeted.n_target_classes, made[-1].fab.n_target_classes) == (targets, targets)
        assert (made[-1].seed, made[-1].square.n_queries, made[-1].attacks_to_run) == (11, 2, ["square"])
    assert any("robust accuracy after SQUARE" in line for line in lines)
    assert (logger.level, logger.propagate, list(logger.handlers)) == found


def test_autoattack_leaves_a_debuggers_trace_in_place():
    pytest.importorskip("pyautoattack")

    def trace(frame, event, arg):
        return None

    found = sys.gettrace()
    sys.settrace(trace)
    try:
        attacks.autoattack(Linear(classes=5), images(1), labels(1), epsilon=1e-3, attacks=["square"], square_queries=1)
        kept = sys.gettrace()
    finally:
        sys.settrace(found)
    assert kept is trace


def test_autoattack_is_repeatable_and_takes_float64():
    pytest.importorskip("pyautoattack")
    model, x, y = small_conv().double(), images(4).double(), labels(4, 5)
    run = partial(attacks.autoattack, model, x, y, epsilon=0.2, attacks=["square"], square_queries=5)
    assert torch.equal(run(), run())
    assert run().dtype == torch.float64
    assert torch.equal(attacks.autoattack(model, x, y, epsilon=0), x)


@pytest.mark.parametrize(("classes", "attack"), [(2, None), (3, "apgd-dlr")])
def test_autoattack_with_too_few_classes_for_targeted_apgd_says_so(classes, attack):
    pytest.importorskip("pyautoattack")
    model, x = Linear(classes=classes), images(2)
    lines = []
    with pytest.warns(UserWarning, match=f"{classes} classes"):
        attacks.autoattack(model, x, model(x).argmax(1), epsilon=1e-6, square_queries=1, log=lines.append)
    assert not any("running apgd-t" in line for line in lines)
    assert attack is None or f"running {attack}" in lines


def test_autoattack_missing_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(UserError, match=r"pip install pyautoattack==0\.2\.0"):
        attacks.autoattack(Linear(), images(), labels(), epsilon=0.1)


# --- arguments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epsilon": -0.1}, "epsilon"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"restarts": 2, "random_start": False}, "random_start=True"),
        ({"step_size": 0}, "step_size"),
        ({"epsilon": 8}, r"epsilon 8 is out of range; pixels lie in \[0, 1\]"),
        ({"epsilon": 128, "norm": "l2"}, r"epsilon 128 is out of range; .* more than 10\.39 apart in l2"),  # sqrt(108)
        ({"epsilon": 2000, "norm": "l1"}, r"epsilon 2000 is out of range; .* more than 108 apart in l1"),
        ({"step_size": 2}, r"step_size 2 is out of range; pixels lie in \[0, 1\]"),
        (
            {"x": images().bfloat16()},
            r"images are bfloat16, .*: give float32 images; wrap the model with \.to\(dtype\)",
        ),
        ({"x": images().half()}, "images are float16"),
        ({"norm": "Linf"}, "did you mean 'linf'"),
        ({"loss": "margni"}, "did you mean 'margin'"),
        ({"loss": lambda model, x_adv, y: model(x_adv).sum()}, "one loss value per sample"),
        ({"random_start": "norml"}, "did you mean 'normal'"),
        ({"l1_step": "top"}, "did you mean 'top1'"),
        ({"x": images() * 255}, r"\[0, 1\]"),
        ({"x": images() - 0.1}, r"\[0, 1\]"),
        ({"x": images() * torch.nan}, r"\[0, 1\]"),
        ({"x": (images() * 255).to(torch.uint8)}, "floating point"),
        ({"y": labels(3)}, "labels must be 4 integers"),
        ({"y": labels().float()}, "labels must be 4 integers"),
        ({"y": F.one_hot(labels())}, "labels must be 4 integers"),
    ],
)
def test_bad_arguments_are_named(change, sentence):
    good = {"x": images(), "y": labels(), "epsilon": 0.1, "step_size": 0.1, "steps": 1, "norm": "linf"}
    with pytest.raises(ValueError, match=sentence):
        attacks.pgd(Linear(), **(good | change))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"norm": "Linf"}, "did you mean 'linf'"),
        ({"version": "standart"}, "did you mean 'standard'"),
        ({"attacks": ["apgd"]}, "did you mean 'apgd-"),
        ({"square_queries": 0}, "square_queries"),
        ({"epsilon": -1}, "epsilon"),
        ({"epsilon": 8}, "epsilon 8 is out of range"),
        ({"x": images() + 1}, r"\[0, 1\]"),
    ],
)
def test_bad_autoattack_arguments_are_named(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        attacks.autoattack(Linear(), **({"x": images(), "y": labels(), "epsilon": 0.1} | change))


EVERY_ATTACK = {
    "fgsm": attacks.fgsm,
    **{f"pgd {norm}": partial(attacks.pgd, step_size=0.1, steps=1, norm=norm) for norm in attacks.NORMS},
    "cw": partial(attacks.cw, step_size=0.1, steps=1, confidence=50),
    "adaptive": partial(attacks.adaptive, step_size=0.1, steps=1, radius=1, lambda_dpp=0, lambda_dnp=0, lambda_dfa=0),
    **{f"autoattack {norm}": partial(attacks.autoattack, norm=norm) for norm in attacks.NORMS},
}


@pytest.mark.parametrize("attack", EVERY_ATTACK.values(), ids=EVERY_ATTACK)
def test_case_05_every_attack_refuses_budgets_beyond_the_box(attack):
    """8 where 8/255 is meant turns every image into any other."""
    with pytest.raises(ValueError, match=r"epsilon 255 is out of range; pixels lie in \[0, 1\]"):
        attack(Linear(), images(), labels(), epsilon=255)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("attack", EVERY_ATTACK.values(), ids=EVERY_ATTACK)
def test_case_06_every_attack_refuses_half_precision(attack, dtype):
    """Its numbers are too coarse: they round images out of their ball."""
    with pytest.raises(ValueError, match="give float32 images"):
        attack(Linear().to(dtype), images().to(dtype), labels(), epsilon=0.1)


def test_case_06_a_model_in_half_precision_is_attacked_through_float32_images():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = Linear().bfloat16()

        def forward(self, x):
            return self.model(x.to(torch.bfloat16))

    x_adv = attacks.pgd(Wrapped(), images(), labels(), epsilon=0.1, step_size=0.05, steps=3, norm="linf")
    assert_feasible(x_adv, images(), 0.1, "linf")
    assert not torch.equal(x_adv, images())


@pytest.mark.parametrize("helper", [lambda x: attacks.linf_bounds(x, 0.1),
                                    lambda x: projections.start_noise(x, 0.1, "linf", True, None)])  # fmt: skip
def test_case_06_bounds_and_starts_refuse_half_precision_too(helper):
    with pytest.raises(ValueError, match="give float32 images"):
        helper(images().half())


def test_case_05_a_step_that_leaps_across_the_ball_is_told():
    run = partial(attacks.pgd, Linear(), images(), labels(), epsilon=8 / 255, steps=1, norm="linf")
    with pytest.warns(UserWarning, match=r"step_size 1 is more than twice epsilon"):
        run(step_size=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(step_size=16 / 255)


def test_uint8_labels_are_labels():
    model, x, y = small_conv(), images(), labels(4, 5)
    assert torch.equal(attacks.fgsm(model, x, y.byte(), epsilon=0.1), attacks.fgsm(model, x, y, epsilon=0.1))
