"""The published logs of Adv-DPNP on CIFAR-10 under the short protocol, and what the theory says of them."""

import csv
from dataclasses import replace

from advdpnp import prototype_dynamics as theory
from advdpnp.store import PUBLISHED, read_json

RUNS = sorted(path.parent for path in PUBLISHED.tier("short").glob("runs/cifar10-resnet18-adv_dpnp*/log.csv"))


def logged(run):
    """The run's config.json, and its log.csv as {column: [one value per epoch]}."""
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    return read_json(run / "config.json"), {key: [float(row[key]) for row in rows] for key in rows[0]}


def predicted(config, log, **changes):
    clean, adversarial = ([value / 100 for value in log[key]] for key in ("train_clean", "train_adv"))
    setting = replace(theory.setting_of(config), **changes)
    return theory.predict(setting, clean, adversarial, start=theory.start_of(config)).epochs


def gaps(rows, log, key="mean_sep"):
    return [abs(row[key] - value) for row, value in zip(rows, log[key], strict=True)]
