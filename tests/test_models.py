"""The model contract, the published parameter counts, and the heads' geometry."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advdpnp.config import DATASETS, METHODS, PAPER_BLOCKS, load_tier, parse_tier
from advdpnp.data import load
from advdpnp.defenses import DEFENSES
from advdpnp.errors import UserError
from advdpnp.geometry import mean_separation, min_separation
from advdpnp.models import (
    NORMALISATION,
    Classifier,
    LeNetsPP,
    PrototypeHead,
    ResNet18,
    WideResNet34,
    classifier,
    load_post_activation_resnet18,
)


def narrow(block="cifar10/resnet18", method="ST", **sections):
    """A run on the paper's data with a network eight channels wide."""
    raw = {"label": "narrow", "defaults": {"model": {"width": 8}} | sections, "blocks": {block: None}}
    return parse_tier("narrow", raw, "narrow.toml").run(block, method)


def images(run, n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, run.facts.channels, run.facts.size, run.facts.size, generator=generator)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


# --- The networks of the paper


@pytest.mark.parametrize(
    ("block", "method", "count"),
    [
        ("cifar10/resnet18", "ST", 11_173_962),
        ("svhn/resnet18", "AT", 11_173_962),
        ("cifar100/resnet18", "ST", 11_173_962 + 90 * 513),  # ninety more classes of 512 weights and a bias
        ("cifar10/resnet18", "Adv-DPNP", 11_173_962 - 10),  # prototypes have no bias
        ("cifar10/wrn34_10", "ST", 46_160_474),
        ("cifar10/wrn34_10", "Adv-DPNP", 46_160_474 - 10),
    ],
)
def test_parameter_counts_are_the_published_ones(block, method, count):
    run = load_tier("paper").run(block, method)
    with torch.device("meta"):
        assert parameters(DEFENSES[method].build(run)) == count


def test_lenetspp_has_six_convolutions_and_a_feature_that_can_be_drawn():
    model = classifier(load_tier("paper").run("mnist/lenetspp", "AT"))
    kernels = [tuple(m.weight.shape) for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [(o, i, 5, 5) for i, o in ((1, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128))]
    assert model.features(torch.rand(3, 1, 28, 28)).shape == (3, 2)
    assert model.backbone.fc.in_features == 128 * 3 * 3


@pytest.mark.parametrize("block", PAPER_BLOCKS)
@pytest.mark.parametrize("method", ["ST", "Adv-DPNP"])
def test_contract_of_a_model(block, method):
    run = narrow(block, method)
    model = DEFENSES[method].build(run).eval()
    x, classes = images(run), DATASETS[run.dataset].classes
    features = model.features(x)
    assert features.shape == (3, model.backbone.dim)
    assert model.centers.shape == (classes, model.backbone.dim)
    assert torch.equal(model(x), model.classify(features))
    assert model(x).shape == (3, classes)


@pytest.mark.parametrize("block", PAPER_BLOCKS)
def test_features_and_logits_are_float32_under_autocast(block):
    run = narrow(block)
    model = classifier(run).eval()
    with torch.autocast("cpu", torch.bfloat16):
        features, logits = model.features(images(run)), model(images(run))
    assert features.dtype == logits.dtype == torch.float32
    exact = model.features(images(run))
    assert 0 < (features - exact).norm() < 0.05 * exact.norm()  # the backbone did work in bfloat16


def test_float64_stays_float64():
    run = narrow()
    assert classifier(run).double().eval()(images(run).double()).dtype == torch.float64


# --- Normalisation is inside


def test_normalisation_subtracts_the_mean_and_divides_by_the_deviation():
    run = narrow()
    model = classifier(run).eval()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in NORMALISATION["cifar10"])
    x = images(run)
    assert torch.allclose(model.features(x), model.backbone((x - mean) / std))
    raw = Classifier(model.backbone, model.head, (0.0,) * 3, (1.0,) * 3).eval()
    assert torch.allclose(raw((x - mean) / std), model(x))
    assert not torch.allclose(raw(x), model(x))


def test_normalisation_can_be_switched_off():
    run = narrow(model={"width": 8, "normalise": False})
    model = classifier(run).eval()
    assert torch.equal(model.normalise(images(run)), images(run))


def test_normalisation_travels_with_the_weights():
    assert {"mean", "std"} <= set(classifier(narrow()).state_dict())


def test_digits_are_normalised_by_their_own_training_pixels():
    pixels = load("digits", "train").images.double() / 255
    (mean,), (std,) = NORMALISATION["digits"]
    assert (pixels.mean().item(), pixels.std().item()) == (pytest.approx(mean, abs=1e-3), pytest.approx(std, abs=1e-3))


# --- The last ReLU (ledger 7)


@pytest.mark.parametrize("block", ["cifar10/resnet18", "cifar10/wrn34_10"])
def test_features_are_negative_only_without_the_last_relu(block):
    torch.manual_seed(0)
    with_relu, without = (narrow(block, model={"width": 8, "last_relu": on}) for on in (True, False))
    model, other = classifier(with_relu), classifier(without)
    other.load_state_dict(model.state_dict())
    x = images(with_relu, 8)
    assert model.features(x).min() >= 0
    assert other.features(x).min() < 0
    model.eval(), other.eval()
    assert torch.allclose(other.backbone.maps(model.normalise(x)).relu(), model.backbone.maps(model.normalise(x)))


def test_width_scales_every_stage():
    assert [ResNet18(3, 64).dim, WideResNet34(3, 16).dim, LeNetsPP(1, 8).dim] == [512, 64, 2]


# --- Prototypes


@pytest.mark.parametrize("start", ["random", "orthogonal", "simplex"])
def test_prototypes_start_on_the_sphere(start):
    torch.manual_seed(0)
    head = PrototypeHead(16, 10, radius=40.0, start=start)
    assert head.centers.norm(dim=1).tolist() == pytest.approx([40.0] * 10, rel=1e-6)


@pytest.mark.parametrize(("start", "angle"), [("orthogonal", 90.0), ("simplex", 96.3793702)])
def test_regular_starts_have_equal_angles(start, angle):
    torch.manual_seed(0)
    head = PrototypeHead(16, 10, radius=40.0, start=start)
    assert min_separation(head.centers) == pytest.approx(angle, abs=1e-3)
    assert mean_separation(head.centers) == pytest.approx(angle, abs=1e-3)


def test_random_starts_follow_the_seed():
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        heads.append(PrototypeHead(16, 10, radius=40.0).prototypes)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_renormalise_keeps_directions():
    head = PrototypeHead(16, 10, radius=40.0)
    before = head.centers.detach().clone()
    with torch.no_grad():
        head.prototypes *= torch.linspace(0.1, 3, 10)[:, None]
    head.renormalise()
    assert torch.allclose(head.centers, before, rtol=1e-5)
    assert head.prototypes.requires_grad


def test_logits_are_inner_products_over_the_radius():
    # prototypes (3, 4) and (5, 0), feature (1, 2): 11/5 and 1
    head = PrototypeHead(2, 2, radius=5.0)
    with torch.no_grad():
        head.prototypes.copy_(torch.tensor([[3.0, 4.0], [5.0, 0.0]]))
    assert head(torch.tensor([[1.0, 2.0]])).tolist() == [[pytest.approx(2.2), pytest.approx(1.0)]]


@pytest.mark.parametrize("start", ["orthogonal", "simplex"])
def test_ten_regular_prototypes_do_not_fit_in_two_dimensions(start):
    with pytest.raises(UserError, match="need at least 10 dimensions, not 2"):
        PrototypeHead(2, 10, radius=40.0, start=start)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_builds_the_contract(method):
    run = narrow(method=method)
    model = DEFENSES[method].build(run).eval()
    x = images(run)
    assert torch.allclose(model(x), model.classify(model.features(x)))
    assert model.features(x).shape[1] == model.centers.shape[1]
    assert len(model.centers) == 10


# --- Weights with the widespread names


def reference_resnet18(state, x):
    """The usual CIFAR ResNet-18, written out on the widespread names; batch norm as in evaluation."""

    def bn(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))

    out = F.relu(bn(F.conv2d(x, state["conv1.weight"], padding=1), "bn1"))
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = F.relu(bn(F.conv2d(out, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
            y = bn(F.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if f"{name}.shortcut.0.weight" in state:
                out = bn(F.conv2d(out, state[f"{name}.shortcut.0.weight"], stride=stride), f"{name}.shortcut.1")
            out = F.relu(y + out)
    return F.linear(out.mean((2, 3)), state["linear.weight"], state["linear.bias"])


def widespread_state(width=8, classes=10):
    """Random weights under the names that most published CIFAR ResNet-18 checkpoints use."""
    generator = torch.Generator().manual_seed(0)
    state = {}

    def convolution(name, inputs, outputs, size):
        state[f"{name}.weight"] = (
            torch.randn(outputs, inputs, size, size, generator=generator) * (2 / (inputs * size * size)) ** 0.5
        )

    def norm(name, channels):
        for key in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{key}"] = torch.rand(channels, generator=generator) + (0.5 if key.endswith("var") else 0)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    convolution("conv1", 3, width, 3), norm("bn1", width)
    inputs = width
    for stage in (1, 2, 3, 4):
        outputs = width * 2 ** (stage - 1)
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            convolution(f"{name}.conv1", inputs, outputs, 3), norm(f"{name}.bn1", outputs)
            convolution(f"{name}.conv2", outputs, outputs, 3), norm(f"{name}.bn2", outputs)
            if inputs != outputs:
                convolution(f"{name}.shortcut.0", inputs, outputs, 1), norm(f"{name}.shortcut.1", outputs)
            inputs = outputs
    state["linear.weight"] = torch.randn(classes, inputs, generator=generator)
    state["linear.bias"] = torch.randn(classes, generator=generator)
    return state


@pytest.fixture
def plain():
    return classifier(narrow(model={"width": 8, "normalise": False})).eval()


@pytest.mark.parametrize("prefix", ["", "module."], ids=["plain", "data parallel"])
def test_published_weights_compute_what_the_usual_network_computes(plain, prefix):
    state = widespread_state()
    load_post_activation_resnet18(plain, {prefix + key: value for key, value in state.items()})
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(plain(x), reference_resnet18(state, x), rtol=1e-4, atol=1e-4)


def test_weights_that_do_not_fit_are_refused(plain):
    state = widespread_state()
    del state["layer3.1.bn2.bias"]
    with pytest.raises(RuntimeError, match=r"backbone\.blocks\.5\.bn2\.bias"):
        load_post_activation_resnet18(plain, state)
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_post_activation_resnet18(plain, widespread_state(width=16))


def test_narrow_and_wide_differ_in_nothing_but_width():
    run = narrow()
    wide = replace(run, model=replace(run.model, width=16))
    assert list(classifier(run).state_dict()) == list(classifier(wide).state_dict())
