"""A network that others trained, in our model class, on real images: does our stack give its published accuracy?

pyautoattack's wheel carries a standard ResNet-18 for CIFAR-10 (examples/model_test.pt, inputs in [0, 1]). Run with
`ADVDPNP_DATA=... pytest -m slow tests/test_reference_model.py -s` (minutes on two cores).
"""

import os

import pytest
import torch

from advdpnp.attacks import pgd
from advdpnp.data import load, present, to_float
from benchmarks.reference import third_party_resnet18

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (os.environ.get("ADVDPNP_DATA") and present("cifar10")), reason="needs real CIFAR-10"),
]
PGD_IMAGES = int(os.environ.get("ADVDPNP_PGD_IMAGES", "500"))


@pytest.fixture(scope="module")
def reference():
    return third_party_resnet18()


@torch.no_grad()
def right(model, x, y) -> int:
    return int((model(x).argmax(1) == y).sum())


def test_the_third_party_resnet18_scores_94_percent(reference):
    data = load("cifar10", "test")
    batches = zip(data.images.split(500), data.labels.split(500))
    accuracy = 100 * sum(right(reference, to_float(x), y) for x, y in batches) / len(data)
    print(f"clean: {accuracy:.2f} % of {len(data)}")
    assert accuracy == pytest.approx(94.3, abs=0.1)


def test_it_has_no_robustness_at_all(reference):
    data = load("cifar10", "test").subset(PGD_IMAGES)
    robust = 0
    for x, y in zip(data.images.split(100), data.labels.split(100)):
        images = to_float(x)
        x_adv = pgd(reference, images, y, epsilon=8 / 255, step_size=1 / 255, steps=20, norm="linf", random_start=False)
        robust += right(reference, x_adv, y)
    print(f"PGD-20: {100 * robust / len(data):.2f} % of {len(data)}")
    assert robust == 0
