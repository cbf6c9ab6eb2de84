"""The settings that every run has: frozen, each with its meaning, unit and source.

The defaults *are* the paper's protocol (Section 4.1); a tier's TOML file (tiers.py) only says where it differs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advdpnp.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
# A wheel carries config/ and data/paper/ inside the package (pyproject.toml); in a checkout they lie beside it.
INSTALLED = (PACKAGE / "shipped").is_dir()
SHIPPED = PACKAGE / "shipped" if INSTALLED else PACKAGE.parent
# What is made lies in the checkout, or in the folder in which an installed package was started.
ROOT = Path.cwd() if INSTALLED else PACKAGE.parent


def need_checkout(what: str) -> None:
    """Refuse, where the package is installed without its checkout, what lies only there. Raises UserError."""
    if INSTALLED:
        raise UserError(
            f"{what} only in a checkout, and advdpnp is installed without one; clone the repository and run "
            "`pip install -e .` there."
        )


def setting(
    default: Any,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Iterable | None = None,
    legacy: Any = None,
) -> Any:
    """A dataclass field that carries its meaning, its unit and source, and the values it may take.

    `legacy`: what runs did before the setting existed. A run's record leaves that value out, so theirs stay valid.
    """
    metadata = {"meaning": meaning, "low": low, "high": high, "choices": choices, "legacy": legacy}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataConfig:
    """Which images train, and how they are augmented."""

    train_images: int = setting(0, "first n training images; 0 = all of them", low=0)
    validation_images: int = setting(
        0, "held out from the end of the training set, attacked after each epoch; 0 = none (ledger 14)", low=0
    )
    augment: str = setting("auto", "crop and flip; auto = CIFAR only (ledger A3)", choices=("auto", "on", "off"))
    padding: int = setting(4, "pixels added on each side before the random crop", low=0, high=16)
    pad_mode: str = setting("zeros", "what is padded (ledger A22)", choices=("zeros", "reflect"))


@dataclass(frozen=True)
class ModelConfig:
    """The network, apart from what its method adds."""

    width: int = setting(
        0, "channels of the first stage; 0 = the paper's (ResNet 64, WRN 160, LeNets++ 32)", low=0, high=512
    )
    last_relu: bool = setting(True, "ReLU after the last residual addition (ledger 7)")
    normalise: bool = setting(True, "subtract mean and divide by std inside the network (ledger A21)")


@dataclass(frozen=True)
class OptimConfig:
    """SGD and its schedule."""

    epochs: int = setting(110, "passes over the training set (Section 4.1)", low=1, high=100_000)
    batch_size: int = setting(128, "images per step (Section 4.1)", low=1, high=65_536)
    lr: float = setting(0.1, "initial learning rate of SGD (Section 4.1)", low=1e-8, high=100)
    momentum: float = setting(0.9, "of SGD (Section 4.1)", low=0, high=0.999999)
    weight_decay: float = setting(5e-4, "on every parameter (Section 4.1, Bag of Tricks)", low=0, high=1)
    milestones: tuple[int, ...] = setting((100, 105), "0-based epochs at which lr falls (Section 4.1)", low=1)
    gamma: float = setting(0.1, "factor by which lr falls (Section 4.1)", low=0, high=1)
    warmup_epochs: float = setting(0.0, "lr rises linearly over these epochs (not in the paper)", low=0)
    clip_norm: float = setting(0.0, "gradient norm is clipped to this; 0 = never (not in the paper)", low=0)
    checkpoint: str = setting(
        "last",
        "whose weights are kept: of the last epoch, or of the best, most accurate under PGD on data.validation_images "
        "(ledger 14)",
        choices=("last", "best"),
        legacy="last",
    )
    precision: str = setting(
        "auto", "of the backbone; auto = bf16 where the hardware multiplies it", choices=("auto", "bf16", "fp32")
    )
    compile: str = setting(
        "auto",
        "torch.compile of the backbone: how fast, not what; graphs = with CUDA graphs; auto = on, on a GPU with Triton "
        "(on CPUs it hardly pays)",
        choices=("auto", "on", "graphs", "off"),
    )


@dataclass(frozen=True)
class CraftConfig:
    """Adversarial examples for training: linf PGD (Section 4.1, "Adversarial Training Setup")."""

    epsilon: float = setting(8 / 255, "linf budget on pixels in [0, 1]", low=0, high=1)
    step_size: float = setting(2 / 255, "of one PGD step; 1/255 on SVHN", low=0, high=1)
    steps: int = setting(10, "PGD iterations", low=1, high=1000)
    random_start: str = setting(
        "method",
        "start of PGD; method = as each paper has it (ledger 3)",
        choices=("method", "uniform", "normal", "none"),
    )
    bn_mode: str = setting("eval", "batch norm while crafting (ledger 2)", choices=("eval", "train"))
    fold_batch_norm: bool = setting(
        True, "batch norm folded into the convolutions while crafting; same function, faster"
    )
    epsilon_warmup_epochs: int = setting(0, "epsilon rises linearly from 0 over these epochs (not in the paper)", low=0)


@dataclass(frozen=True)
class Policy:
    """What a tier's numbers are good for, and what its jobs need. Changes no number, so it is in no digest."""

    comparable: bool = setting(False, "it is the paper's protocol: differences from its numbers are taken and judged")
    preregistered: bool = setting(False, "the contrasts of docs/medium-preregistration.md are its own")
    train_in_notebooks: bool = setting(False, "a notebook trains and evaluates what is missing")
    evaluate_at_once: bool = setting(False, "one workflow job evaluates a run for all tables, not one per table")
    needs_gpu: bool = setting(False, "trainings start without a GPU only when told to (--allow-cpu)")
    gpus: int = setting(0, "that a job asks of a cluster", low=0, high=64)
    memory_mb: int = setting(4_000, "that a job asks of a cluster", low=1)
    minutes: int = setting(240, "that a job asks of a cluster; one that needs longer is submitted again", low=1)


@dataclass(frozen=True)
class EvaluationConfig:
    """On what the trained network is attacked, and how hard."""

    test_images: int = setting(0, "first n test images; 0 = all of them", low=0)
    batch_size: int = setting(500, "images per batch", low=1)
    budget_scale: float = setting(1.0, "every epsilon and step of evaluation times this (not in the paper)", low=0)
    corruption_images: int = setting(0, "first n test images per corruption and severity; 0 = all", low=0)
    nested_budgets: bool = setting(
        False, "AutoAttack at a smaller budget searches only images that fell at the next larger one, and a tenth more"
    )
    fast: bool = setting(True, "gradient attacks meet the network with its batch norms folded: same function, faster")
    autoattack: str = setting(
        "package",
        "how AutoAttack searches: package = pyautoattack as it is; surrogate = on a folded, bf16 network, where a find "
        "counts only if it fools the network itself, and the rest is searched again on that",
        choices=("package", "surrogate"),
    )
