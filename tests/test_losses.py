"""Eqs. (1)-(7): each against numbers worked out by hand, then gradients, then invariances.

With p = (3/4, 1/4) and q = (1/2, 1/2): KL(p || q) = 3/4 ln 3/2 + 1/4 ln 1/2 = 0.1308 (and KL(q || p) = 0.1438).
Features (ln 3, 0) give p, and (0, 0) gives q, wherever logits are the features themselves.
"""

import math

import pytest
import torch
from torch import tensor

from advdpnp.losses import (
    ROOT_GUARD,
    adv_dpnp_loss,
    adv_dpnp_terms,
    cross_entropy_loss,
    dfa_loss,
    dnp_loss,
    dpp_loss,
    negative_prototypes,
    prototype_logits,
    pull_distance,
)

LN2, LN3 = math.log(2), math.log(3)
KL = 0.75 * math.log(1.5) - 0.25 * LN2
WEIGHTS = {"radius": 4.0, "lambda_dpp": 0.1, "lambda_dnp": 0.1, "lambda_dfa": 2.0}


def double(values, grad=False):
    return tensor(values, dtype=torch.float64, requires_grad=grad)


def sample(batch=6, classes=4, dim=5, seed=0):
    """Clean features, adversarial features, prototypes, labels: random, float64, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, dim), (batch, dim), (classes, dim))
    made = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    return *made, torch.arange(batch) % classes


def gradient(loss, *inputs):
    found = torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True)
    return found[0] if len(inputs) == 1 else found


# --- Values worked out by hand


def test_eq1_is_the_inner_product_over_the_radius():
    # (1, 2).(3, 4) / 5 = 11/5; (1, 2).(5, 0) / 5 = 1
    logits = prototype_logits(double([[1, 2]]), double([[3, 4], [5, 0]]), radius=5)
    assert logits.tolist() == [[pytest.approx(2.2), pytest.approx(1)]]


@pytest.mark.parametrize(("label", "expected"), [(0, math.log(4 / 3)), (1, math.log(4))])
def test_eq2_is_minus_log_of_the_softmax(label, expected):
    # with c_0 = (5, 0), c_1 = (0, 5) and radius 5 the logits are the features: p = (3/4, 1/4)
    loss = cross_entropy_loss(double([[LN3, 0]]), double([[5, 0], [0, 5]]), tensor([label]), radius=5)
    assert loss.item() == pytest.approx(expected)


def test_eq3_adds_half_the_squared_distance_to_the_own_prototype():
    # both logits equal: CE = ln 2 for each; ||(2,2)-(5,0)||^2 = 13, ||(4,4)-(0,5)||^2 = 17; mean of 13/2 and 17/2 = 7.5
    features, prototypes, labels = double([[2, 2], [4, 4]]), double([[5, 0], [0, 5]]), tensor([0, 1])
    loss = dpp_loss(features, prototypes, labels, radius=5, lambda_dpp=0.1)
    assert loss.item() == pytest.approx(LN2 + 0.75)


@pytest.mark.parametrize(
    ("pull", "expected"),
    # (2, 2) and its prototype (5, 0) differ by (-3, 2): squares 13, two coordinates, norm sqrt 13; (4, 4) and (0, 5) by
    # (4, -1): 17
    [("sum", (13 / 2, 17 / 2)), ("mean", (13 / 4, 17 / 4)), ("norm", (13**0.5 / 2, 17**0.5 / 2))],
)
def test_eq3_under_each_reading_of_its_pull(pull, expected):
    features, prototypes, labels = double([[2, 2], [4, 4]]), double([[5, 0], [0, 5]]), tensor([0, 1])
    assert pull_distance(features, prototypes, labels, pull=pull).tolist() == pytest.approx(expected)
    loss = dpp_loss(features, prototypes, labels, radius=5, lambda_dpp=0.1, pull=pull)
    assert loss.item() == pytest.approx(LN2 + 0.1 * sum(expected) / 2)


def test_the_averaged_pull_is_half_of_what_mse_loss_computes():
    features, _, prototypes, y = sample()
    expected = torch.nn.functional.mse_loss(features, prototypes[y]) / 2
    assert pull_distance(features, prototypes, y, pull="mean").mean().item() == pytest.approx(expected.item())


@pytest.mark.parametrize("pull", ["square", "", None])
def test_another_reading_is_refused(pull):
    features, _, prototypes, y = sample()
    with pytest.raises(ValueError, match="expected a pull of sum, mean or norm"):
        pull_distance(features, prototypes, y, pull=pull)


def test_a_feature_on_its_prototype_has_no_gradient_under_the_norm():
    features = double([[5, 0]], grad=True)
    pull = pull_distance(features, double([[5, 0], [0, 5]]), tensor([0]), pull="norm").sum()
    assert gradient(pull, features).tolist() == [[0, 0]]


def test_eq4_finds_the_nearest_rival():
    # on a line at 0, 1, 3, 7: the neighbours of 0, 1, 3, 7 are 1, 0, 1, 3
    assert negative_prototypes(double([[0, 0], [1, 0], [3, 0], [7, 0]])).tolist() == [1, 0, 1, 2]


def test_eq4_takes_the_nearest_by_euclidean_distance_not_by_angle():
    # (1, 0) and (9, 0) share a direction, but (0, 1) is nearer to (1, 0)
    assert negative_prototypes(double([[1, 0], [9, 0], [0, 1]]))[0] == 2


def test_eq4_needs_a_rival():
    with pytest.raises(ValueError, match="at least two prototypes"):
        negative_prototypes(double([[1, 2]]))


def test_eq5_is_minus_the_mean_of_summed_roots():
    # rivals 0 <-> 1 differ by (4, 9): 2 + 3 = 5, twice; 2 and its rival 1 by (100, 16): 10 + 4 = 14; -(5 + 5 + 14) / 3
    assert dnp_loss(double([[0, 0], [4, 9], [104, 25]])).item() == pytest.approx(-8, abs=1e-5)


def test_eq5_guard_costs_at_most_a_thousandth_a_shared_coordinate():
    # rivals differ by (4, 0): exactly -2 without the guard
    exact, guarded = -2.0, dnp_loss(double([[0, 7], [4, 7]])).item()
    assert exact - math.sqrt(ROOT_GUARD) - 1e-6 < guarded < exact


def test_eq6_is_the_divergence_of_the_clean_from_the_adversarial_distribution():
    assert dfa_loss(double([[LN3, 0]]), double([[0, 0]])).item() == pytest.approx(KL)
    reverse = LN2 - LN3 / 2  # KL(q || p) = 1/2 ln 2/3 + 1/2 ln 2
    assert dfa_loss(double([[0, 0]]), double([[LN3, 0]])).item() == pytest.approx(reverse)


def test_eq6_is_a_mean_over_the_batch():
    assert dfa_loss(double([[LN3, 0], [1, 1]]), double([[0, 0], [1, 1]])).item() == pytest.approx(KL / 2)


def test_eq7_weighs_all_terms():
    # c_0 = (1, 0), c_1 = (0, 4), radius 1; y = 0. Clean (ln 3, 0): CE = ln 4/3, pull = (ln 3 - 1)^2 / 2.
    # Adversarial (0, 0): CE = ln 2, pull = 1/2. DNP: the rivals differ by (1, 4), so -(1 + 2).
    clean = math.log(4 / 3) + 0.2 * (LN3 - 1) ** 2 / 2
    adversarial = LN2 + 0.2 / 2
    expected = 0.5 * -3 + (clean + adversarial + 3 * KL) / 2
    inputs = double([[LN3, 0]]), double([[0, 0]]), double([[1, 0], [0, 4]]), tensor([0])
    loss = adv_dpnp_loss(*inputs, radius=1, lambda_dpp=0.2, lambda_dnp=0.5, lambda_dfa=3)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_eq7_without_weights_is_the_mean_of_two_cross_entropies():
    clean, adversarial, prototypes, y = sample()
    loss = adv_dpnp_loss(clean, adversarial, prototypes, y, radius=4, lambda_dpp=0, lambda_dnp=0, lambda_dfa=0)
    both = [cross_entropy_loss(features, prototypes, y, radius=4) for features in (clean, adversarial)]
    assert loss.item() == pytest.approx(sum(both).item() / 2)


def test_eq7_on_clean_images_twice_is_dpp_plus_dnp():
    clean, _, prototypes, y = sample()
    loss = adv_dpnp_loss(clean, clean, prototypes, y, **WEIGHTS)
    expected = dpp_loss(clean, prototypes, y, radius=4, lambda_dpp=0.1) + 0.1 * dnp_loss(prototypes)
    assert loss.item() == pytest.approx(expected.item())


# --- Gradients


@pytest.mark.parametrize(
    "loss",
    [
        lambda f, a, c, y: cross_entropy_loss(f, c, y, radius=4),
        lambda f, a, c, y: dpp_loss(f, c, y, radius=4, lambda_dpp=0.3),
        lambda f, a, c, y: dpp_loss(f, c, y, radius=4, lambda_dpp=0.3, pull="mean"),
        lambda f, a, c, y: dpp_loss(f, c, y, radius=4, lambda_dpp=0.3, pull="norm"),
        lambda f, a, c, y: dnp_loss(c),
        lambda f, a, c, y: dfa_loss(f @ c.T, a @ c.T),
        lambda f, a, c, y: adv_dpnp_loss(f, a, c, y, **WEIGHTS, lock_prototypes=False),
    ],
    ids=["eq2", "eq3", "eq3-mean", "eq3-norm", "eq5", "eq6", "eq7"],
)
def test_gradients_agree_with_finite_differences(loss):
    *inputs, y = sample()
    assert torch.autograd.gradcheck(lambda *args: loss(*args, y), inputs)


def test_adversarial_branch_sends_nothing_to_the_prototypes():
    clean, adversarial, prototypes, y = sample()
    terms = adv_dpnp_terms(clean, adversarial, prototypes, y, radius=4)
    assert gradient(terms["ce_adv"] + terms["pull_adv"], prototypes) is None
    assert gradient(terms["ce_adv"], adversarial).abs().sum() > 0
    assert gradient(terms["pull_adv"], adversarial).abs().sum() > 0


def test_prototype_gradient_ignores_where_adversarial_features_lie_when_dfa_is_off():
    clean, adversarial, prototypes, y = sample()
    weights = WEIGHTS | {"lambda_dfa": 0.0}
    one = gradient(adv_dpnp_loss(clean, adversarial, prototypes, y, **weights), prototypes)
    other = gradient(adv_dpnp_loss(clean, 100 + adversarial, prototypes, y, **weights), prototypes)
    assert torch.equal(one, other)


def test_unlocked_prototypes_follow_the_adversarial_features():
    clean, adversarial, prototypes, y = sample()
    terms = adv_dpnp_terms(clean, adversarial, prototypes, y, radius=4, lock_prototypes=False)
    assert gradient(terms["ce_adv"], prototypes).abs().sum() > 0
    # the pull of a prototype: sum of (c_y - f) over its samples, over the batch
    pull = gradient(terms["pull_adv"], prototypes)
    assert torch.allclose(pull[3], (prototypes[3] - adversarial[3]).detach() / 6)


@pytest.mark.parametrize("lock", [True, False])
def test_a_pull_on_features_alone_leaves_the_prototypes(lock):
    clean, adversarial, prototypes, y = sample()
    options = {"radius": 4, "lock_prototypes": lock}
    terms = adv_dpnp_terms(clean, adversarial, prototypes, y, **options, pull_prototypes=False)
    usual = adv_dpnp_terms(clean, adversarial, prototypes, y, **options)
    assert gradient(terms["pull_clean"] + terms["pull_adv"], prototypes) is None
    for name, value in terms.items():
        assert value.item() == usual[name].item()
    assert torch.equal(gradient(terms["pull_clean"], clean), gradient(usual["pull_clean"], clean))


def test_a_rival_taken_as_constant_is_not_pushed():
    # on a line at 0, 1, 5: the rivals are 1, 0, 1. d(-sqrt(v))/dv = -1 / (2 sqrt v): at 1 -1/2, at 4 -1/4; over M = 3
    prototypes = double([[0.0], [1.0], [5.0]], grad=True)
    own = gradient(dnp_loss(prototypes, rival_gradient="own"), prototypes)
    assert torch.allclose(own, double([[0.5], [-0.5], [-0.25]]) / 3, rtol=1e-5)
    both = gradient(dnp_loss(prototypes), prototypes)  # twice between 0 and 1, and 1 is pushed by 5 too
    assert torch.allclose(both, double([[1.0], [-1.0 + 0.25], [-0.25]]) / 3, rtol=1e-5)
    assert both.sum().item() == pytest.approx(0)
    assert dnp_loss(prototypes, rival_gradient="own").item() == dnp_loss(prototypes).item()
    with pytest.raises(ValueError, match="expected a rival_gradient of both or own"):
        dnp_loss(prototypes, rival_gradient="none")


def test_dfa_reaches_the_prototypes_through_the_clean_distribution():
    # dKL/dz_j = p_j (ln(p_j / q_j) - KL) for the clean logits z, and dz_j/dc_j = f / radius with f = (ln 3, 0)
    clean, adversarial = double([[LN3, 0]]), double([[0, 0]])
    prototypes = double([[1, 0], [0, 4]], grad=True)
    terms = adv_dpnp_terms(clean, adversarial, prototypes, tensor([0]), radius=1)
    first = 0.75 * (math.log(1.5) - KL) * LN3
    assert torch.allclose(gradient(terms["dfa"], prototypes), double([[first, 0], [-first, 0]]))


def test_a_detached_dfa_target_moves_only_the_adversarial_features():
    clean, adversarial, prototypes, y = sample()
    terms = adv_dpnp_terms(clean, adversarial, prototypes, y, radius=4, detach_dfa_target=True)
    to_clean, to_adversarial, to_prototypes = gradient(terms["dfa"], clean, adversarial, prototypes)
    assert to_clean is None
    assert to_prototypes is None
    # d KL(p || q) / d logits of q = q - p
    p, q = ((f @ prototypes.T / 4).softmax(1) for f in (clean, adversarial))
    assert torch.allclose(to_adversarial, (q - p) @ prototypes / 4 / len(y))


def test_eq5_pushes_near_prototypes_harder_than_far_ones():
    # two prototypes: L = -(|v_1|^(1/2) + |v_2|^(1/2)), so dL/dc_1 = -1 / (2 sqrt v): -1/2 at distance 1, -1/4 at 4
    prototypes = double([[0, 0], [1, 4]], grad=True)
    assert torch.allclose(gradient(dnp_loss(prototypes), prototypes)[1], double([-0.5, -0.25]), rtol=1e-5)


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eq5_gradient_is_bounded_where_prototypes_share_coordinates(gap, dtype):
    prototypes = tensor([[40.0, 0.0], [40.0 + gap, 0.0], [0.0, 40.0]], dtype=dtype, requires_grad=True)
    slopes = gradient(dnp_loss(prototypes), prototypes).abs()
    assert slopes.isfinite().all()
    assert slopes.max() <= 1 / (2 * math.sqrt(ROOT_GUARD))


def test_eq4_is_a_choice_and_carries_no_gradient():
    prototypes = sample()[2]
    assert not negative_prototypes(prototypes).requires_grad


# --- Invariances


def test_dfa_is_never_negative_and_zero_only_for_equal_distributions():
    logits = torch.randn(200, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    others = logits.roll(1, 0)
    assert all(dfa_loss(a[None], b[None]) > 0 for a, b in zip(logits, others))
    assert dfa_loss(logits, logits) == 0
    assert dfa_loss(logits, logits + 3.0).item() == pytest.approx(0, abs=1e-12)  # a shift changes no softmax


def test_dfa_survives_certainty():
    logits = double([[1000, -1000]], grad=True)
    loss = dfa_loss(logits, double([[999, -1000]]))
    assert loss.item() == pytest.approx(0)
    assert gradient(loss, logits).isfinite().all()


def test_the_order_of_the_batch_does_not_matter():
    clean, adversarial, prototypes, y = sample()
    order = tensor([3, 0, 5, 1, 4, 2])
    one = adv_dpnp_loss(clean, adversarial, prototypes, y, **WEIGHTS)
    other = adv_dpnp_loss(clean[order], adversarial[order], prototypes, y[order], **WEIGHTS)
    assert one.item() == pytest.approx(other.item(), rel=1e-12)


def test_the_names_of_the_classes_do_not_matter():
    clean, adversarial, prototypes, y = sample()
    order = tensor([2, 0, 3, 1])  # new class j was class order[j]
    renamed = order.argsort()[y]
    one = adv_dpnp_loss(clean, adversarial, prototypes, y, **WEIGHTS)
    other = adv_dpnp_loss(clean, adversarial, prototypes[order], renamed, **WEIGHTS)
    assert one.item() == pytest.approx(other.item(), rel=1e-12)


def test_a_batch_repeated_costs_the_same():
    clean, adversarial, prototypes, y = sample()
    one = adv_dpnp_loss(clean, adversarial, prototypes, y, **WEIGHTS)
    twice = adv_dpnp_loss(clean.repeat(2, 1), adversarial.repeat(2, 1), prototypes, y.repeat(2), **WEIGHTS)
    assert one.item() == pytest.approx(twice.item(), rel=1e-12)


def test_repulsion_depends_on_differences_alone():
    prototypes = sample()[2]
    assert dnp_loss(prototypes + 17).item() == pytest.approx(dnp_loss(prototypes).item(), rel=1e-9)


def test_logits_stay_in_full_precision_under_autocast():
    clean, adversarial, prototypes, y = (t.float() if t.is_floating_point() else t for t in sample())
    with torch.autocast("cpu", torch.bfloat16):
        inside = adv_dpnp_loss(clean, adversarial, prototypes, y, **WEIGHTS)
    outside = adv_dpnp_loss(clean, adversarial, prototypes, y, **WEIGHTS)
    assert inside.dtype == torch.float32
    assert inside.item() == outside.item()
