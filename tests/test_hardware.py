"""The layout of images in memory: fast where it is safe."""

import pytest
import torch

from advdpnp.config import load_tier
from advdpnp.defenses import DEFENSES
from advdpnp.defenses.at import AdversarialTraining
from advdpnp.hardware import pick_memory_format
from advdpnp.paper.artefacts import all_runs

CPU = torch.device("cpu")


def test_networks_of_few_channels_are_contiguous_on_a_cpu(tiny):
    narrow = AdversarialTraining.build(tiny("AT", model={"width": 4}))
    assert pick_memory_format(narrow, CPU) is torch.contiguous_format
    assert pick_memory_format(narrow, torch.device("cuda")) is torch.channels_last
    wide = AdversarialTraining.build(tiny("AT", model={"width": 8}))
    assert pick_memory_format(wide, CPU) is torch.channels_last


@pytest.mark.parametrize("tier", ["demo", "short", "medium"])
def test_every_network_of_ours_is_channels_last(tier):
    for run in {run.method: run for run in all_runs(load_tier(tier)).values()}.values():
        assert pick_memory_format(DEFENSES[run.method].build(run), CPU) is torch.channels_last, run.id
