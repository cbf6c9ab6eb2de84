"""CIFAR-10, CIFAR-100, SVHN, MNIST and scikit-learn's digits as uint8 tensors, checked before use.

`load("cifar10", "train")` finds the files below the data root (`ADVDPNP_DATA`, else `data/` of this checkout) in either
of two layouts: the official archives as torchvision unpacks them, or the Hugging Face hub's parquet shards. The first
decode (10 s at most) is kept as plain arrays in `ADVDPNP_CACHE`, else `data/cache/`; later loads take a fraction of a
second. Nothing here touches the network: `advdpnp.data.download` does.

The two layouts hold the same images in different orders (the hub lists CIFAR-10's training batches as 4, 2, 3, 5, 1 and
private copies may be shuffled), so "the first 5,000 images" are comparable only between equal `Dataset.sha256`.
"""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
import torch.nn.functional as F

from advdpnp.config import DATASETS, ROOT, DatasetFacts
from advdpnp.data.formats import (
    READERS,
    check_labels,
    expected_images,
    missing_files,
    official_files,
    parquet_files,
    read_digits,
    read_parquet,
)
from advdpnp.errors import UserError, nearest

log = logging.getLogger(__name__)
SPLITS = ("train", "test")
_CACHE_FORMAT = 1  # part of every cache key: raise it when decoding changes


@dataclass(frozen=True, eq=False)
class Dataset:
    """One split in memory: images and labels in a fixed order, and the hash that identifies both."""

    name: str
    split: str
    images: torch.Tensor  # uint8 [N, C, H, W]
    labels: torch.Tensor  # int64 [N]
    sha256: str  # of the images' bytes followed by the labels'

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, n: int | None, offset: int = 0) -> "Dataset":
        """The n samples from `offset` on (None: all that follow). Raises UserError if there are not that many."""
        stop = len(self) if n is None else offset + n
        if offset < 0 or stop > len(self) or stop < offset:
            raise UserError(f"{self.name}/{self.split} holds {len(self):,} images: no {n} from number {offset} on")
        if (offset, stop) == (0, len(self)):
            return self
        images, labels = self.images[offset:stop], self.labels[offset:stop]
        return Dataset(self.name, self.split, images, labels, _sha256(images, labels))


def data_root(root: str | Path | None = None) -> Path:
    """Where the data sets lie: `root`, else the environment's ADVDPNP_DATA, else data/ of this checkout."""
    return Path(root or os.environ.get("ADVDPNP_DATA") or ROOT / "data").expanduser()


def cache_root() -> Path:
    """Where decoded arrays are kept: the environment's ADVDPNP_CACHE, else data/cache/ of this checkout."""
    return Path(os.environ.get("ADVDPNP_CACHE") or ROOT / "data" / "cache").expanduser()


def load(name: str, split: str, root: str | Path | None = None) -> Dataset:
    """Load one split of a data set: uint8 images [N, C, H, W], int64 labels [N].

    Raises UserError, in one sentence with the cure, for an unknown name, missing or incomplete files, a wrong checksum,
    a lossy or misshapen image and a label out of range.
    """
    facts = _facts(name)
    if split not in SPLITS:
        raise UserError(f"there is no split '{split}': {nearest(split, SPLITS)}")
    if name == "digits":
        images, labels = read_digits(split)
        return Dataset(name, split, torch.from_numpy(images), torch.from_numpy(labels), _sha256(images, labels))
    root = data_root(root)
    files, read = official_files(name, split, root), READERS[name]
    if not files:
        files, read = parquet_files(name, split, root), read_parquet
    if not files:
        raise UserError(missing_files(name, split, root))

    cache = cache_root() / f"{name}-{split}-{_identity(files)[:16]}.npz"
    cached = _read_cache(cache)
    if cached:
        images, labels, sha256 = cached
    else:
        log.info("decoding %s/%s from %s", name, split, files[0].parent)
        images, labels = read(files, name, split, root)
        sha256 = _sha256(images, labels)
    _check(images, labels, facts, split, files)
    if not cached:
        _write_cache(cache, images, labels, sha256)
    return Dataset(name, split, torch.from_numpy(images), torch.from_numpy(labels), sha256)


def present(name: str, root: str | Path | None = None) -> bool:
    """Whether files of both splits lie below the root, in either layout; `load` is what checks them."""
    _facts(name)
    where = data_root(root)
    found = (official_files(name, split, where) or parquet_files(name, split, where) for split in SPLITS)
    return name == "digits" or all(found)


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 images to float32 in [0, 1], the space the attacks live in. Raises TypeError for anything but uint8."""
    if images.dtype != torch.uint8:
        raise TypeError(f"images are {images.dtype}, not torch.uint8: they were scaled before")
    return images.to(torch.float32) / 255


def augment(
    images: torch.Tensor,
    *,
    generator: torch.Generator,
    padding: int = 4,
    pad_mode: str = "zeros",
    flip: bool = True,
) -> torch.Tensor:
    """Random crop after padding, then a horizontal flip with probability 1/2: each image its own.

    images [B, C, H, W] of any type, on the generator's device; returns the same shape and type. `zeros` is TRADES' and
    MART's padding, `reflect` that of Bag of Tricks for Adversarial Training. Raises UserError for another pad_mode or a
    reflection wider than the image. Source: the standard CIFAR augmentation of Section 4.1.
    """
    height, width = images.shape[-2:]
    place = {"device": images.device}
    rows, columns = torch.arange(height, **place)[None], torch.arange(width, **place)[None]
    if padding:
        offsets = torch.randint(0, 2 * padding + 1, (2, len(images)), generator=generator, device=generator.device)
        images = _pad(images, padding, pad_mode)
    if flip:
        mirrored = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
        columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
    if padding:
        rows, columns = rows + offsets[0][:, None], columns + offsets[1][:, None]
    # Crop and flip decide which pixel goes where: one gather, [B, 1, height * width] for all channels.
    pixels = (rows[:, :, None] * images.shape[3] + columns[:, None, :]).flatten(1)[:, None]
    chosen = images.flatten(2).gather(2, pixels.expand(*images.shape[:2], -1))
    return chosen.unflatten(2, (height, width))


def _pad(images: torch.Tensor, padding: int, pad_mode: str) -> torch.Tensor:
    """Pad height and width. Reflection goes by index because CUDA's reflection_pad2d knows no uint8."""
    if pad_mode == "zeros":
        return F.pad(images, (padding,) * 4)
    if pad_mode != "reflect":
        raise UserError(f"there is no pad_mode '{pad_mode}': {nearest(pad_mode, ('zeros', 'reflect'))}")
    for dim in (2, 3):
        size = images.shape[dim]
        if padding >= size:
            raise UserError(f"cannot reflect {padding} pixels of an image {size} wide: choose pad_mode zeros")
        index = torch.arange(-padding, size + padding, device=images.device).abs()
        images = images.index_select(dim, torch.where(index < size, index, 2 * (size - 1) - index))
    return images


# --- what is asked for, and where it lies -----------------------------------------------------------------------------


def _facts(name: str) -> DatasetFacts:
    if name not in DATASETS:
        raise UserError(f"there is no data set '{name}': {nearest(name, DATASETS)}")
    return DATASETS[name]


# --- checks -----------------------------------------------------------------------------------------------------------


def _sha256(images: np.ndarray, labels: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in (images, labels):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _check(images: np.ndarray, labels: np.ndarray, facts: DatasetFacts, split: str, files: list[Path]) -> None:
    """Refuse anything but the split's full number of images of the known shape, with labels in range."""
    where, expected = files[0].parent, expected_images(facts, split)
    shape = (facts.channels, facts.size, facts.size)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape or labels.shape != images.shape[:1]:
        raise UserError(f"{where}: {split} images are {images.dtype} {images.shape}, not uint8 [N, {shape}]")
    if len(images) != expected:
        raise UserError(f"{where}: {split} holds {len(images):,} images, not {expected:,}: copy the full set")
    check_labels(labels, facts.classes, f"{where} {split}")
    found = len(np.unique(labels))
    if found < facts.classes and expected >= 50 * facts.classes:  # every split has at least a hundred of each class
        raise UserError(f"{where}: {split} has labels of {found} classes, not {facts.classes}: copy the full set")


# --- cache ------------------------------------------------------------------------------------------------------------


def _identity(files: list[Path]) -> str:
    """sha256 over names and contents: where a copy lies and when it was made do not matter."""
    digest = hashlib.sha256(f"advdpnp cache {_CACHE_FORMAT}".encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()


def _read_cache(path: Path) -> tuple[np.ndarray, np.ndarray, str] | None:
    """(images, labels, sha256) as written, or None when there is no file or not a byte-exact one."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels, sha256 = arrays["images"], arrays["labels"], str(arrays["sha256"])
        if _sha256(images, labels) != sha256:
            raise ValueError("its sha256 is another")
        return images, labels, sha256
    except Exception as error:  # damaged bytes can fail anywhere in zip or npy; the remedy is the same
        log.warning("the cached %s is damaged (%s) and is made again", path, error)
        return None


def _write_cache(path: Path, images: np.ndarray, labels: np.ndarray, sha256: str) -> None:
    """Write to a temporary file and rename it: other processes see all of it or nothing. A full disk is no error."""
    temporary = path.with_name(f"{path.stem}-{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                np.savez(file, images=images, labels=labels, sha256=np.array(sha256))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        log.warning("decoded images are not kept, because %s cannot be written (%s)", path.parent, error)
