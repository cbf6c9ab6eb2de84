"""How a network in training does on images held out of it, and which epoch's weights it ends with (ledger 14).

Adversarial training overfits: once the learning rate has fallen, robust accuracy on other images may sink while that on
the training images still rises (Rice, Wong, Kolter 2020). The paper does not say which epoch it took. Nothing is
selected on test images here: the images of `held_out` are the end of the training set.
"""

from contextlib import nullcontext

import torch
from torch import Tensor

from advdpnp.attacks import frozen, pgd
from advdpnp.config import RunConfig
from advdpnp.data import Dataset, load, to_float
from advdpnp.defenses.base import Defense
from advdpnp.hardware import pick_memory_format
from advdpnp.models.batchnorm_folding import folded

BATCH = 500  # images attacked at once


def held_out(run: RunConfig) -> Dataset | None:
    """The last `data.validation_images` images of the training set, or None when there are none."""
    count = run.data.validation_images
    if not count:
        return None
    data = load(run.dataset, "train")
    return data.subset(count, len(data) - count)


def val_accuracies(defense: Defense, images: Tensor, labels: Tensor, *, compiled: str = "off") -> dict[str, float]:
    """{"val_clean", "val_adv"}: accuracy in percent, clean and under PGD on the cross-entropy without a random start.

    images uint8 [N, C, H, W] and labels [N] on the defense's device. Budget, step and iterations are those of training
    (`craft`) at their full size, the same for every method; the network is in evaluation mode and float32, and left as
    it was found. A backbone that is `compiled` runs as it is written: its graphs are for batches of training.
    """
    craft, model, right = defense.run.craft, defense.model, {"val_clean": 0, "val_adv": 0}
    budget = {"epsilon": craft.epsilon, "step_size": craft.step_size, "steps": craft.steps}
    layout = pick_memory_format(defense, images.device)
    as_written = nullcontext() if compiled == "off" else torch.compiler.set_stance("force_eager")
    with as_written, frozen(model), folded(model):
        for start in range(0, len(labels), BATCH):
            batch = slice(start, start + BATCH)
            x, y = to_float(images[batch].contiguous(memory_format=layout)), labels[batch]
            x_adv = pgd(model, x, y, norm="linf", random_start=False, checked=False, **budget)
            with torch.no_grad():
                for name, seen in (("val_clean", x), ("val_adv", x_adv)):
                    right[name] += int((model(seen).argmax(1) == y).sum())
    return {name: 100 * count / len(labels) for name, count in right.items()}


def best_epoch(log: list[dict]) -> int:
    """The epoch with the highest `val_adv`, the earliest of equals.

    >>> best_epoch([{"epoch": 0, "val_adv": 20.0}, {"epoch": 1, "val_adv": 31.0}, {"epoch": 2, "val_adv": 31.0}])
    1
    """
    return max(log, key=lambda row: row["val_adv"])["epoch"]
