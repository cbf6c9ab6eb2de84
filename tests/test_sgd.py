"""The optimizer: torch's numbers, without torch's compiler."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from advdpnp.sgd import SGD

SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}


def three_steps(kind: type[torch.optim.SGD], model: nn.Module, **settings) -> list[torch.Tensor]:
    """Parameters and momentum after three steps, the last of them by an optimizer that was saved and loaded."""
    optimizer = kind([{"params": model.parameters()}], **SETTINGS, **settings)
    x = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    for step in range(3):
        if step == 2:
            state, optimizer = optimizer.state_dict(), kind([{"params": model.parameters()}], **SETTINGS, **settings)
            optimizer.load_state_dict(state)
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    return [*model.parameters(), *(state["momentum_buffer"] for state in optimizer.state.values())]


@pytest.mark.parametrize("fused", [True, False])
def test_it_is_torchs_sgd_bit_for_bit(fused):
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    ours, theirs = (three_steps(kind, copy.deepcopy(model), fused=fused) for kind in (SGD, torch.optim.SGD))
    assert len(ours) == 8
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


TRAINING = """
import sys
from dataclasses import replace
from advdpnp.config import resolve
from advdpnp.train import fit
run = resolve("demo", "digits-resnet18-st-s0")
run = replace(run, data=replace(run.data, train_images=64), optim=replace(run.optim, epochs=1))
assert fit(run, device="cpu")
print([name for name in ("torch._dynamo", "sklearn", "scipy", "pandas") if name in sys.modules])
"""


def test_a_training_imports_neither_the_compiler_nor_what_the_digits_come_with(tmp_path, monkeypatch):
    """Their imports were most of what a short process cost."""
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
