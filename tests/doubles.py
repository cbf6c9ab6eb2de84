"""Stand-ins that several tests use."""

from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advdpnp import data
from advdpnp.attacks import pgd


class Counting(nn.Module):
    """A network that counts the images sent through it."""

    def __init__(self, model):
        super().__init__()
        self.model, self.images = model, 0

    def forward(self, x):
        self.images += len(x)
        return self.model(x)


@contextmanager
def stopped_at_third_call(monkeypatch, where, name):
    """Inside, `where.name` runs twice and is interrupted at the third call, as by Ctrl-C; that must reach the end."""
    whole, calls = getattr(where, name), []

    def stopping(*arguments, **options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(arguments)
        return whole(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, stopping)
        with pytest.raises(KeyboardInterrupt):
            yield


class MLP(nn.Module):
    """An MLP with prototypes of norm 4 as head, z_j = c_j^T f(x); `middle` acts before the features' last layer."""

    def __init__(self, middle=None, head=lambda z: z):
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 16)
        self.prototypes = nn.Parameter(torch.randn(10, 16))
        self.middle, self.head = middle or nn.Identity(), head

    def features(self, x):
        return self.last(self.middle(torch.relu(self.first(x.flatten(1)))))

    @property
    def centers(self):
        return 4 * F.normalize(self.prototypes, dim=1)

    def forward(self, x):
        return self.head(self.features(x) @ self.centers.T)


def mlp(attack=None):
    """One trained in a second on 600 digits: clean ones, or adversarial ones within the epsilon of `attack`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MLP()
        train = data.load("digits", "train").subset(600)
        x, y = data.to_float(train.images), train.labels
        optimiser = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(60):
            seen = x
            if attack:
                seen = pgd(model, x, y, epsilon=attack.epsilon, step_size=attack.epsilon / 4, steps=5, norm="linf")
            optimiser.zero_grad()
            F.cross_entropy(model(seen), y).backward()
            optimiser.step()
    return model.eval()
