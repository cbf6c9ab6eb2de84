"""Images that occur more than once, pixel by pixel: inside a split, and in training and test split both.

A test image that was trained on measures memory. Results keep a flag for each test image in the order of the data set,
so a number without them is `flags[~in_training(train, test)[:len(flags)]].mean()`.

    python -m advdpnp.data.duplicates cifar10 cifar100      # what data/README.md says
"""

import hashlib
import sys
from collections import Counter
from typing import NamedTuple

import numpy as np

from advdpnp.data import Dataset, load


class Duplicates(NamedTuple):
    """Counts of exact duplicates. `train` and `test` count images beyond the first of their kind in that split."""

    train: int
    test: int
    both: int  # test images that are training images too
    other_label: int  # of these, those under another label than any of their copies in the training split


def keys(data: Dataset) -> list[bytes]:
    """A digest of each image's pixels, labels left out."""
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in data.images.numpy()]


def in_training(train: Dataset, test: Dataset) -> np.ndarray:
    """bool [N]: which test images are training images too, in the order of the test split."""
    known = set(keys(train))
    return np.array([key in known for key in keys(test)], dtype=bool)


def duplicates(train: Dataset, test: Dataset) -> Duplicates:
    """How many images of two splits are exact copies of others."""
    first, second = keys(train), keys(test)
    labels: dict[bytes, set[int]] = {}
    for key, label in zip(first, train.labels.tolist(), strict=True):
        labels.setdefault(key, set()).add(label)
    shared = [(key, label) for key, label in zip(second, test.labels.tolist(), strict=True) if key in labels]
    more = (sum(count - 1 for count in Counter(each).values()) for each in (first, second))
    return Duplicates(*more, len(shared), sum(label not in labels[key] for key, label in shared))


def sentence(name: str, found: Duplicates) -> str:
    """The counts as data/README.md has them."""
    return (
        f"{name}: {found.train} training and {found.test} test images are copies of another one of their split; "
        f"{found.both} test images are training images too, {found.other_label} of them under another label."
    )


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(sentence(name, duplicates(load(name, "train"), load(name, "test"))))
