"""The examples in the docstrings of the method: each prints what it says, and each public function has one."""

import doctest
import importlib
import inspect

import pytest

# What a function takes, checked: nothing to show.
CHECKS = ("answering", "at_least_float32", "checked_inputs", "checked_logits", "misfit")
MODULES = {
    "losses": (),
    "geometry": (),
    "attacks.gradient": CHECKS,
    "attacks.projections": ("full_precision",),
    "attacks.autoattack_adapter": (),
    "attacks.autoattack_fast": ("attack_by_surrogate",),  # the inside of `autoattack`
}


def public_functions(module):
    there = inspect.getmembers(module, inspect.isfunction)
    return [name for name, function in there if function.__module__ == module.__name__ and not name.startswith("_")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_print_what_they_say(name):
    module = importlib.import_module(f"advdpnp.{name}")
    result = doctest.testmod(module)
    assert result.failed == 0, f"python -m doctest advdpnp/{name.replace('.', '/')}.py says more"
    assert result.attempted > 0


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_has_an_example(name):
    module = importlib.import_module(f"advdpnp.{name}")
    without = [each for each in public_functions(module) if ">>>" not in (getattr(module, each).__doc__ or "")]
    assert without == list(MODULES[name])
