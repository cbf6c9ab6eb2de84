"""Stand-ins that several tests use."""

from contextlib import contextmanager

import pytest
from torch import nn


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
