"""The guard's probes on small networks: each later check catches a cheat, and honest ones pass.

The networks are trained here in a second, one on clean and one on adversarial digits; a cheat is one of them with a
part that hides its gradient.
"""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from doubles import MLP, mlp
from torch import nn

from advdpnp import data
from advdpnp.attacks import pgd
from advdpnp.config import AttackConfig
from advdpnp.evaluate import masking
from advdpnp.evaluate.masking import check_budget_spent, check_gap, check_probes, run_probes
from advdpnp.evaluate.masking_probes import straight_through
from advdpnp.paper.consistency import widest_gap
from advdpnp.paper.numbers import table_rows

PGD = AttackConfig(epsilon=32 / 255, step_size=4 / 255)


@pytest.fixture(scope="module")
def models():
    return {"clean": mlp(), "adversarial": mlp(PGD)}


@pytest.fixture(scope="module")
def images():
    test = data.load("digits", "test").subset(100)
    return data.to_float(test.images), test.labels


def cheat(model, **parts):
    """The same weights behind other parts."""
    other = MLP(**parts)
    other.load_state_dict(model.state_dict(), strict=False)
    return other.eval()


def answers(model, images):
    return {check.name: check for check in check_probes(run_probes(model, *images, PGD))}


@pytest.mark.parametrize("name", ["clean", "adversarial"])
def test_honest_networks_pass(models, images, name):
    found = answers(models[name], images)
    assert {n: check.detail for n, check in found.items() if check.ok is False} == {}
    assert found["heads"].ok is True  # prototypes of one norm: both readings decide alike
    assert found["straight through"].ok is None  # nothing that would have to be passed by


def test_l2_pgd_does_not_move_when_logits_are_four_times_as_large(models, images):
    """An l2 PGD that divides by ||g|| + 1e-10 or the like stands still where the softmax saturates."""
    model, (x, y) = models["adversarial"], images
    run = partial(pgd, x=x, y=y, epsilon=1.0, step_size=0.125, steps=20, norm="l2", random_start=False)
    left = {s: (model(run(cheat(model, head=lambda z, s=s: s * z))).argmax(1) == y).sum().item() for s in (1, 4)}
    assert 2 <= left[1] <= 90
    assert left[4] <= left[1] + 3


def test_of_two_classes_no_temperature_changes_pgd():
    """With two classes the gradient of the cross-entropy points along w_1 - w_0 whatever the scale: a closed form."""
    weight = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    x, y = torch.full((4, 1, 8, 8), 0.5), torch.tensor([0, 1, 0, 1])
    along = (weight[1 - y] - weight[y]).reshape(x.shape)
    expected = x + 0.4 * along / along.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)

    class Scaled(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale

        def forward(self, images):
            return self.scale * images.flatten(1) @ weight.T

    for scale in (1 / 4, 1, 4):
        x_adv = pgd(Scaled(scale), x, y, epsilon=0.4, step_size=0.1, steps=20, norm="l2", random_start=False)
        torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-5)


def test_saturated_logits_are_caught_by_the_best_temperature(models, images):
    found = answers(cheat(models["adversarial"], head=lambda z: 1e4 * z), images)
    assert found["temperature"].ok is False
    assert "best temperature" in found["temperature"].detail


def test_a_gradient_that_is_noise_leaves_the_attack_uphill(models, images):
    class Shattered(nn.Module):
        def forward(self, x):
            return x + 0.05 * torch.sin(1e5 * x)

    found = answers(cheat(models["adversarial"], middle=Shattered()), images)
    assert found["stationary"].ok is False


def test_a_head_without_gradient_is_caught_through_the_prototypes(models, images):
    """Logits in steps of one have no slope; distances to the prototypes have."""
    found = answers(cheat(models["adversarial"], head=lambda z: z.round()), images)
    assert found["heads"].ok is False


class Sparsifier(nn.Module):
    """Values within 1.5 deviations of their mean come a little nearer to it and, as in MeanSparse, lose their gradient.

    MeanSparse (2024) sets them to the mean; on so small a network that costs accuracy and hides nothing.
    """

    def __init__(self, values):
        super().__init__()
        self.mean, self.std = values.mean(0), values.std(0)

    def forward(self, x):
        near = self.mean + 0.98 * (x - self.mean)
        return torch.where((x - self.mean).abs() <= 1.5 * self.std, near.detach(), x)


def sparsified(model, x):
    with torch.no_grad():
        return cheat(model, middle=Sparsifier(torch.relu(model.first(x.flatten(1)))))


def test_a_sparsifier_without_gradient_is_passed_straight_through(models, images):
    found = answers(sparsified(models["adversarial"], images[0]), images)
    assert found["straight through"].ok is False


def test_straight_through_changes_gradients_and_nothing_else(models, images):
    model, (x, y) = sparsified(models["adversarial"], images[0]), images
    before = model(x)
    with straight_through(model) as ran:
        seen = x.clone().requires_grad_()
        logits = model(seen)
        assert torch.equal(logits, before)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y), seen)
    assert [type(module) for module in ran] == [Sparsifier]
    (own,) = torch.autograd.grad(F.cross_entropy(model(seen), y), seen)
    assert not torch.equal(gradient, own)
    with straight_through(models["adversarial"]) as ran:
        models["adversarial"](x)
    assert ran == []  # torch.nn's own are left alone


# --- What is stored


@pytest.mark.parametrize(
    ("used", "ok"),
    [
        ({"pgd20_l2": 0.97, "pgd100_l1": 0.2}, False),
        ({"pgd20_l2": 0.97}, True),
        ({"pgd100_l1": None}, None),
        ({}, None),
    ],
)
def test_survivors_of_an_attack_that_kept_its_budget_are_no_survivors(used, ok):
    check = check_budget_spent(used)
    assert check.ok is ok
    assert (check.detail == "pgd100_l1 used 20 % of its budget") == (ok is False)


def test_the_paper_s_widest_gap_is_on_svhn():
    most = widest_gap()
    row = table_rows(2)["svhn", "resnet18", "Adv-DPNP"]
    assert most.row == ("svhn", "resnet18", "Adv-DPNP")
    assert most.value == pytest.approx(row["pgd20"] - row["aa"]) == pytest.approx(9.4, abs=0.05)


@pytest.mark.parametrize(("aa", "ok"), [(450, True), (405, True), (350, False)])
def test_a_gap_beyond_the_paper_s_is_a_warning(aa, ok):
    some = {name: np.arange(1000) < right for name, right in (("pgd20", 500), ("aa", aa))}
    assert check_gap(some).ok is ok
    assert check_gap({"pgd20": some["pgd20"]}).ok is None
    assert f"{(500 - aa) / 10:.1f} points" in check_gap(some).detail


def test_the_command_s_names_are_the_report_s(models, images):
    asked = {check.name for check in check_probes(run_probes(models["clean"], *images, PGD))}
    assert asked | {"order", "autoattack", "gap", "budget"} == set(masking.CHECKS)
