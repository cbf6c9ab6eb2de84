"""The import paths and call signatures that notebooks, readers and other people's code may rely on."""

import dataclasses
import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from advdpnp.config import ROOT

# module: {function: (positional arguments, arguments that are given by name)}
FUNCTIONS = {
    "losses": {
        "cross_entropy_loss": ("features prototypes labels", "radius"),
        "dpp_loss": ("features prototypes labels", "radius lambda_dpp"),
        "negative_prototypes": ("prototypes", ""),
        "dnp_loss": ("prototypes", ""),
        "dfa_loss": ("clean_logits adversarial_logits", ""),
        "adv_dpnp_loss": (
            "clean_features adversarial_features prototypes labels",
            "radius lambda_dpp lambda_dnp lambda_dfa",
        ),
    },
    "attacks": {
        "fgsm": ("model x y", "epsilon"),
        "pgd": ("model x y", "epsilon step_size steps norm restarts random_start loss generator"),
        "cw": ("model x y", "epsilon step_size steps confidence"),
        "autoattack": ("model x y", "epsilon norm version"),
    },
    "geometry": {
        "fisher_discriminant_ratio": ("features labels", ""),
        "angular_fisher_score": ("features labels", ""),
        "separation_to_compactness": ("features labels centers", ""),
        "mean_separation": ("centers", ""),
        "min_separation": ("centers", ""),
    },
    "data": {"load": ("name split root", ""), "augment": ("images", "generator"), "to_float": ("images", "")},
    "models": {"classifier": ("run", ""), "describe": ("run", "head around"), "build": ("description", "")},
    "train": {"fit": ("run directory", "device max_minutes restart wait")},
    "evaluate": {
        "evaluate": ("run pgd20 aa", "directory device force wait"),
        "evaluate_model": ("model x y pgd20 aa", "batch_size seed attacks classes"),
    },
    "config": {"load_tier": ("name", ""), "parse_tier": ("name raw path", ""), "resolve": ("tier run_id", "")},
}
DEFAULTS = {
    ("attacks", "pgd"): {"restarts": 1, "random_start": True, "loss": "ce", "generator": None},
    ("attacks", "autoattack"): {"norm": "linf", "version": "standard"},
}
ROWS = ("ST", "AT", "AT_HE", "TRADES", "MART", "OC", "PCL", "HAT", "FSR", "DIO", "IKL", "Adv-DPNP")


@pytest.mark.parametrize(("module", "name"), [(m, name) for m, names in FUNCTIONS.items() for name in names])
def test_a_public_function_takes_the_arguments_that_it_always_took(module, name):
    positional, by_name = (words.split() for words in FUNCTIONS[module][name])
    signature = inspect.signature(getattr(import_module(f"advdpnp.{module}"), name))
    asked = signature.bind(*positional, **dict.fromkeys(by_name))  # TypeError: one is gone, or a new one is demanded
    for argument, default in DEFAULTS.get((module, name), {}).items():
        assert signature.parameters[argument].default == default
    if module != "evaluate":  # attacks are *names
        assert [*asked.arguments][: len(positional)] == positional


def test_the_defenses_are_the_rows_of_the_papers_tables_in_their_order():
    defenses = import_module("advdpnp.defenses")
    assert (*defenses.DEFENSES,) == ROWS
    assert all(issubclass(defense, defenses.Defense) for defense in defenses.DEFENSES.values())


def test_the_settings_are_reached_through_config():
    config = import_module("advdpnp.config")
    assert (*config.METHODS,) == ROWS
    assert {"cifar10", "cifar100", "svhn", "mnist", "digits"} <= config.DATASETS.keys()
    assert {"clean", "fgsm", "pgd20", "pgd100", "cw30", "aa"} <= config.ATTACKS.keys()
    assert dataclasses.is_dataclass(config.RunConfig)
    assert config.setting(1.0, "what it means", low=0).default == 1.0


@pytest.mark.parametrize("name", ["ResNet18", "WideResNet34", "LeNetsPP", "PrototypeHead", "LinearHead", "Classifier"])
def test_the_networks_are_reached_through_models(name):
    import torch

    assert issubclass(getattr(import_module("advdpnp.models"), name), torch.nn.Module)


def test_the_command_line_answers_without_loading_torch():
    code = (
        "import sys; from advdpnp.__main__ import main\n"
        "try: main(['--help'])\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    )
    options = {"cwd": ROOT, "capture_output": True, "text": True, "check": True}
    done = subprocess.run([sys.executable, "-c", code], **options)
    assert (done.stdout.startswith("usage: python -m advdpnp"), done.stderr.strip()) == (True, "False")
    assert subprocess.run([sys.executable, "-m", "advdpnp", "--help"], **options).stdout == done.stdout
