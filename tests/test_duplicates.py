"""Exact duplicates between and inside the splits: counted on made-up images, and on the real ones where they are."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from advdpnp.data import Dataset, load, present
from advdpnp.data.duplicates import Duplicates, duplicates, in_training, sentence

README = (Path(__file__).parent.parent / "data" / "README.md").read_text()


def made(split, kinds, labels):
    """A split of 3x2x2 images: equal numbers in `kinds` are equal images."""
    images = np.stack([np.full((3, 2, 2), kind, np.uint8) for kind in kinds])
    images[:, 2, 1, 1] = [10 * kind for kind in kinds]  # all but the last pixel are told apart too
    return Dataset("made", split, torch.from_numpy(images), torch.tensor(labels), "")


def test_copies_are_counted_beyond_the_first_and_across_the_splits():
    train = made("train", [1, 2, 2, 2, 3], [0, 1, 1, 5, 2])
    test = made("test", [4, 4, 2, 3, 5], [3, 3, 5, 7, 2])
    assert duplicates(train, test) == Duplicates(train=2, test=1, both=2, other_label=1)
    assert in_training(train, test).tolist() == [False, False, True, True, False]


def test_one_pixel_makes_another_image():
    train, test = made("train", [1], [0]), made("test", [1], [0])
    test.images[0, 2, 1, 1] += 1
    assert duplicates(train, test) == Duplicates(0, 0, 0, 0)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_real_counts_are_those_of_the_readme(name):
    if not (os.environ.get("ADVDPNP_DATA") and present(name)):
        pytest.skip(f"set ADVDPNP_DATA to a folder that holds {name}")
    train, test = load(name, "train"), load(name, "test")
    found = duplicates(train, test)
    assert sentence(name, found) in " ".join(README.split())
    assert int(in_training(train, test).sum()) == found.both
