"""Folding changes no function and leaves the model as it found it."""

import pytest
import torch
from torch import nn

from advdpnp.attacks import frozen, pgd
from advdpnp.config import load_tier
from advdpnp.defenses import DEFENSES
from advdpnp.models import LinearHead, ResNet18, WideResNet34
from advdpnp.models.batchnorm_folding import FoldedConv, FoldedSurrogate, folded, pairs
from advdpnp.models.fsr import SeparatedBackbone

BACKBONES = {
    "resnet18": lambda: ResNet18(3, 8),
    "resnet18-prelu": lambda: ResNet18(3, 8, activation=nn.PReLU),
    "wrn34": lambda: WideResNet34(3, 4),
    "fsr": lambda: SeparatedBackbone(ResNet18(3, 8), 10, 0.1),
}
FOLDED = {
    "resnet18": 20,
    "resnet18-prelu": 20,
    "wrn34": 15,
    "fsr": 24,
}  # one stem, 16 + 3; one per block; 4 of FSR's


def network(name: str, dtype=torch.float64) -> nn.Module:
    torch.manual_seed(0)
    backbone = BACKBONES[name]()
    model = nn.Sequential(backbone, LinearHead(backbone.dim, 10)).to(dtype)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.1)
    return model


@pytest.mark.parametrize("name", BACKBONES)
def test_same_logits_and_input_gradients(name):
    model, x = network(name).eval(), torch.rand(4, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    y = torch.arange(4)

    def logits_and_gradient():
        logits = model(x)
        return logits.detach(), torch.autograd.grad(nn.functional.cross_entropy(logits, y), x)[0]

    before = logits_and_gradient()
    with frozen(model), folded(model):
        assert sum(isinstance(module, FoldedConv) for module in model.modules()) == FOLDED[name]
        inside = logits_and_gradient()
    for want, got, after in zip(before, inside, logits_and_gradient(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
        assert torch.equal(after, want)


def test_the_model_comes_back_also_after_an_error_and_takes_new_weights_each_time():
    model, x = network("resnet18").eval(), torch.rand(2, 3, 32, 32, dtype=torch.float64)
    names, modules = list(model.state_dict()), list(model.modules())
    with pytest.raises(RuntimeError, match="stop"), folded(model):
        raise RuntimeError("stop")
    assert list(model.state_dict()) == names
    assert list(model.modules()) == modules
    with torch.no_grad():
        model[0].bn1.running_mean += 1
        want = model(x)
        with folded(model):
            torch.testing.assert_close(model(x), want)


def test_train_mode_and_hooks_are_left_alone():
    model = network("resnet18").train()
    with folded(model):
        assert not any(isinstance(module, FoldedConv) for module in model.modules())
    model.eval()
    model[0].bn1.register_forward_hook(lambda *_: None)
    with folded(model):
        assert type(model[0].bn1) is nn.BatchNorm2d
        assert type(model[0].blocks[0].bn1) is nn.Identity


def test_weights_are_cast_once_under_autocast():
    model = network("resnet18", torch.float32).eval()
    with torch.autocast("cpu", torch.bfloat16), folded(model):
        assert model[0].conv1.weight.dtype == torch.bfloat16
        pgd(model, torch.rand(2, 3, 32, 32), torch.arange(2), epsilon=0.1, step_size=0.05, steps=2, norm="linf")
    assert model[0].conv1.weight.dtype == torch.float32


def test_every_batch_norm_after_a_convolution_of_resnet18_is_found():
    model = network("resnet18")
    found = {getattr(owner, bn) for owner, _, bn in pairs(model)}
    assert found == {module for module in model.modules() if isinstance(module, nn.BatchNorm2d)}


def test_a_surrogate_in_bfloat16_keeps_its_last_layer_in_float32():
    """A thousand images have a thousand logits, not the few hundred that bfloat16 has in that range."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.Tanh(), nn.Linear(64, 10)).eval()
    x = torch.rand(1000, 3, 8, 8)
    with torch.no_grad():
        surrogate, exact = FoldedSurrogate(model, True)(x), model(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(x)
    assert len(rounded[:, 0].unique()) < 500
    assert len(surrogate[:, 0].unique()) > 950
    assert 0 < (surrogate - exact).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.parametrize("method", DEFENSES)
def test_a_surrogate_runs_for_every_method(method):
    """Heads and hidden layers look at their own weights: a wrapped layer must still show them."""
    run = load_tier("demo").run("cifar10/resnet18", method)
    model, x = DEFENSES[method].build(run).eval(), torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        for bf16, tolerance in ((True, 0.05), (False, 1e-4)):
            exact = model(x)
            assert (FoldedSurrogate(model, bf16)(x) - exact).abs().max() <= tolerance * (1 + exact.abs().max()), bf16
