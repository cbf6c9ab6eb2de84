"""The theory of the prototypes: what Eq. (7) conserves, and its forces against autograd.

The published logs are a test of it too: tests/test_findings.py.
"""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from advdpnp import prototype_dynamics as theory
from advdpnp.geometry import mean_separation
from advdpnp.losses import adv_dpnp_loss, adv_dpnp_terms, dpp_loss
from advdpnp.prototype_dynamics import Descent, Inputs, Setting, draw_inputs
from advdpnp.train import build_defense

SMALL = Setting(classes=4, features=6, radius=5.0, lambda_dpp=0.3)
PULLS = ("sum", "mean", "norm")


def sample(setting=SMALL, inputs=12, seed=0):
    """Clean and adversarial features (non-negative), prototypes, labels and posteriors: random, float64."""
    draw = torch.Generator().manual_seed(seed)
    clean, adversarial = (torch.rand(inputs, setting.features, generator=draw, dtype=torch.float64) for _ in range(2))
    c = torch.randn(setting.classes, setting.features, generator=draw, dtype=torch.float64)
    P = torch.rand(inputs, setting.classes, generator=draw, dtype=torch.float64)
    c = setting.radius * F.normalize(c, dim=1)
    return clean, adversarial, c.requires_grad_(), torch.arange(inputs) % setting.classes, P / P.sum(1, keepdim=True)


def eq7(clean, adversarial, c, y, setting, lambda_dfa=0.0):
    return adv_dpnp_loss(
        clean, adversarial, c, y, radius=setting.radius, lambda_dpp=setting.lambda_dpp, lambda_dnp=setting.lambda_dnp,
        lambda_dfa=lambda_dfa, pull=setting.pull, lock_prototypes=setting.lock_prototypes,
        pull_prototypes=setting.pull_prototypes, rival_gradient=setting.rival_gradient,
    )  # fmt: skip


def own_part(f, c, P, setting):
    """sum_k P_k [CE_k(f) + lambda_DPP pull(f, c_k)], summed over the inputs, from advdpnp.losses."""
    weights = {"radius": setting.radius, "lambda_dpp": setting.lambda_dpp, "pull": setting.pull}
    labels = torch.arange(setting.classes)
    return sum(
        p * dpp_loss(f[g : g + 1], c, k[None], **weights) for g, P_g in enumerate(P) for p, k in zip(P_g, labels)
    )


# --- What Eq. (7) conserves


@pytest.mark.parametrize("term", ["dnp", "ce_clean", "ce_adv", "dfa"])
def test_the_sum_of_the_forces_over_the_classes_is_zero(term):
    clean, adversarial, c, y, _ = sample()
    terms = adv_dpnp_terms(clean, adversarial, c, y, radius=5.0, lock_prototypes=False)
    (gradient,) = torch.autograd.grad(terms[term], c)
    assert gradient.norm() > 0.01
    assert gradient.sum(0).abs().max() < 1e-14


def test_the_pull_and_a_rival_that_does_not_push_back_do_move_the_mean():
    clean, adversarial, c, y, _ = sample()
    terms = adv_dpnp_terms(clean, adversarial, c, y, radius=5.0, rival_gradient="own")
    for term in ("pull_clean", "dnp"):
        (gradient,) = torch.autograd.grad(terms[term], c, retain_graph=True)
        assert gradient.sum(0).norm() > 0.01, term


def settle(clean, adversarial, c, y, setting, steps=3000):
    """Gradient descent on all of Eq. (7) with weight decay, features held: the prototypes [M, d] that come of it."""
    rate = 2.0 / theory.squared_pull(setting)  # the mean of the prototypes halves its distance in a few steps
    c = c.detach().requires_grad_()
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(eq7(clean, adversarial, c, y, setting, lambda_dfa=2.0), c)
        c = (c - rate * (gradient + setting.weight_decay * c)).detach().requires_grad_()
    return c.detach()


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize("pull", ["sum", "mean"])
def test_the_mean_prototype_is_the_mean_feature_over_one_plus_w(pull, lock):
    setting = replace(SMALL, pull=pull, lock_prototypes=lock, weight_decay=0.02)
    clean, adversarial, c, y, _ = sample(setting)
    features = clean if lock else (clean + adversarial) / 2
    settled = settle(clean, adversarial, c, y, setting, steps=300)
    assert theory.decay_over_pull(setting) > 0.2
    expected = features.mean(0) / (1 + theory.decay_over_pull(setting))
    assert torch.allclose(settled.mean(0), expected, atol=1e-9)


def test_w_is_2_m_wd_over_lambda():
    assert theory.decay_over_pull(Setting()) == pytest.approx(0.10)  # 2 x 10 x 5e-4 / 0.1
    assert theory.decay_over_pull(Setting(lock_prototypes=False)) == pytest.approx(0.05)
    assert theory.decay_over_pull(Setting(classes=100, lambda_dpp=0.3)) == pytest.approx(1 / 3)
    assert theory.decay_over_pull(Setting(pull="mean")) == pytest.approx(51.2)  # decay is what rules there
    for changes in ({"pull": "norm"}, {"pull_prototypes": False}):
        with pytest.raises(ValueError, match="moves prototypes"):
            theory.decay_over_pull(Setting(**changes))


# --- Above and below 90 degrees


@pytest.mark.parametrize("share", [0.0, 0.9, 0.999, 1.001, 1.1, 2.0])
def test_angles_exceed_90_degrees_exactly_when_the_mean_prototype_is_short(share):
    # a regular simplex plus a common vector orthogonal to it: equal angles, and a mean of any length below R
    M, R = 10, 40.0
    t = share * R / math.sqrt(M)
    simplex = torch.eye(M + 1, dtype=torch.float64)[:M]
    simplex = simplex - simplex.mean(0)
    c = math.sqrt(R**2 - t**2) * F.normalize(simplex, dim=1)
    c[:, M] = t
    angle = mean_separation(c)
    assert (angle > 90) == (share < 1)
    assert theory.mean_cosine(float(c.mean(0).norm()), Setting()) == pytest.approx(math.cos(math.radians(angle)))


def test_the_condition_on_the_features_holds_for_prototypes_that_settled():
    seen = set()
    for size in (0.5, 1.0, 2.0, 4.0, 8.0):
        setting = replace(SMALL, weight_decay=0.02)
        clean, adversarial, c, y, _ = sample(setting)
        settled = settle(size * clean, size * adversarial, c, y, setting, steps=200)
        at_radius = replace(setting, radius=float(settled.square().sum(1).mean().sqrt()))  # norms differ: their rms
        gram = settled @ settled.T
        apart = float(gram.sum() - gram.trace()) < 0  # the mean inner product of two of them
        assert apart == (float(size * clean.mean(0).norm()) < theory.longest_mean_feature(at_radius)), size
        seen.add(apart)
    assert seen == {True, False}


def test_the_longest_mean_feature_of_the_paper_is_14_where_the_norms_are_40():
    assert theory.longest_mean_feature(Setting()) == pytest.approx(1.1 * 40 / math.sqrt(10))
    assert theory.longest_mean_feature(Setting(classes=100, lambda_dpp=0.3)) == pytest.approx(4 / 3 * 4)


# --- Forces against autograd


@pytest.mark.parametrize("pull", PULLS)
def test_the_force_on_a_feature_is_that_of_its_part_of_eq7(pull):
    setting = replace(SMALL, pull=pull)
    f, _, c, _, P = sample(setting, inputs=3)
    f = f.requires_grad_()
    (expected,) = torch.autograd.grad(own_part(f, c, P, setting), f)
    assert torch.allclose(theory.feature_gradient(P, f, c, setting), expected, atol=1e-12)


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize("pull_prototypes", [True, False])
@pytest.mark.parametrize("pull", PULLS)
def test_the_forces_on_prototypes_are_those_of_eq7(pull, pull_prototypes, lock):
    setting = replace(SMALL, pull=pull, pull_prototypes=pull_prototypes, lock_prototypes=lock, rival_gradient="own")
    clean, adversarial, c, y, _ = sample(setting)
    (expected,) = torch.autograd.grad(eq7(clean, adversarial, c, y, setting), c)
    certain = F.one_hot(y, setting.classes).double()
    forces = theory.repulsion_gradient(c, setting) + theory.prototype_gradient(certain, clean, c, setting)
    if not lock:
        forces = forces + theory.prototype_gradient(certain, adversarial, c, setting)
    assert torch.allclose(forces, expected, atol=1e-12)


@pytest.mark.parametrize("pull", PULLS)
def test_the_logged_pull_is_the_mean_of_that_of_the_loss(pull):
    clean, adversarial, c, y, _ = sample()
    terms = adv_dpnp_terms(clean, adversarial, c, y, radius=5.0, pull=pull)
    ours = theory.pull_of(F.one_hot(y, 4).double(), clean, c, replace(SMALL, pull=pull))
    assert ours.item() == pytest.approx(terms["pull_clean"].item())


@pytest.mark.parametrize("pull", PULLS)
def test_readings_compare_by_the_slope_of_their_pull(pull):
    # ||f - c|| = 5 along one axis: the gradient of lambda pull is squared_pull x 5
    f, c = torch.zeros(1, 6, dtype=torch.float64), torch.zeros(4, 6, dtype=torch.float64)
    c[:, 0] = 5.0
    setting = replace(SMALL, pull=pull)
    P = torch.full((1, 4), 0.25, dtype=torch.float64)
    slope = theory.feature_gradient(P, f, c, setting)[0, 0]  # prototypes are equal, so cross-entropy is flat
    assert float(slope) == pytest.approx(-5 * theory.squared_pull(setting, distance=5.0))


# --- Features and inputs


@pytest.mark.parametrize("last_relu", [True, False])
@pytest.mark.parametrize("pull", PULLS)
def test_a_feature_minimises_its_part_of_eq7(pull, last_relu):
    setting = replace(SMALL, pull=pull, last_relu=last_relu)
    *_, c, _, P = sample(setting, inputs=5)
    descent = Descent(P, c.detach(), setting)
    for _ in range(600):
        f = descent.step(P, c.detach())
    f = f.detach().requires_grad_()
    (slope,) = torch.autograd.grad(own_part(f, c, P, setting), f)
    held = (f == 0) if last_relu else torch.zeros_like(f, dtype=torch.bool)  # at the border, where the slope may rise
    assert held.any() == last_relu
    assert slope[~held].abs().max() < 1e-6
    assert not held.any() or slope[held].min() > -1e-6


@pytest.mark.parametrize("accuracy", [0.2, 0.4, 0.85, 0.99])
def test_the_most_probable_class_is_right_as_often_as_asked(accuracy):
    inputs = draw_inputs(20_000, 10, torch.Generator().manual_seed(0))
    P = inputs.posteriors(accuracy)
    assert torch.allclose(P.sum(1), torch.ones(len(P)))
    assert float((P.argmax(1) == inputs.labels).float().mean()) == pytest.approx(accuracy, abs=0.01)


def test_at_chance_an_input_says_nothing():
    P = draw_inputs(50, 10, torch.Generator().manual_seed(0)).posteriors(0.1)
    assert torch.allclose(P, torch.full_like(P, 0.1), atol=1e-4)


@pytest.mark.parametrize("accuracy", [0.05, 1.0, 41.8])
def test_an_accuracy_is_a_fraction_between_chance_and_one(accuracy):
    with pytest.raises(ValueError, match=r"expected an accuracy in \[0.1, 1\)"):
        Inputs(torch.arange(10), torch.zeros(10, 10)).posteriors(accuracy)


# --- The setting of a run


def test_what_a_record_leaves_out_has_the_value_it_had(tiny):
    config = tiny().training_settings() | {"backbone": "resnet18"}
    for key in ("pull", "pull_prototypes", "rival_gradient", "prototype_lr"):
        config["hyper"].pop(key, None)
    setting = theory.setting_of(config)
    assert setting == Setting(
        features=32, radius=10.0, lr=0.05, milestones=(), steps_per_epoch=2, pull="sum", rival_gradient="both"
    )
    config["hyper"] |= {"prototype_lr": 0.01, "decay_prototypes": False, "pull": "norm"}
    expected = replace(setting, lr=0.05 * 0.01, weight_decay=0.0, pull="norm")
    assert theory.setting_of(config) == expected


def test_the_start_is_the_networks_own(tiny):
    for seed in (0, 1):
        run = tiny(seed=seed)
        started = build_defense(run).model.centers
        assert torch.equal(theory.start_of(run.training_settings()), started)


def test_what_the_theory_is_not_about_is_refused(tiny):
    with pytest.raises(ValueError, match="expected Adv-DPNP with resnet18, got AT"):
        theory.setting_of(tiny("AT").training_settings())
    with pytest.raises(ValueError, match="expected prototype_start: random, got simplex"):
        theory.setting_of(tiny(adv_dpnp={"prototype_start": "simplex"}).training_settings())
    with pytest.raises(ValueError, match="expected a pull of sum, mean or norm, got 'max'"):
        Setting(pull="max")
    with pytest.raises(ValueError, match="expected an adversarial accuracy for each clean one"):
        theory.predict(Setting(lock_prototypes=False), [0.2, 0.3], [0.2])


# --- Long schedules


def test_several_steps_at_once_end_where_single_ones_do():
    setting = Setting(features=64, milestones=(2,), steps_per_epoch=200)
    ends = [theory.predict(setting, [0.8] * 3, stride=n, inputs=100).epochs[-1] for n in (1, 8)]
    assert ends[0]["mean_sep"] == pytest.approx(ends[1]["mean_sep"], abs=1.0)
    assert ends[0]["center_norm_mean"] == pytest.approx(ends[1]["center_norm_mean"], rel=0.01)
