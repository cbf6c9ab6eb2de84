"""The files of the data sets, each checked before use: official archives and parquet shards."""

import gzip
import hashlib
import io
import math
import pickle
import re
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advdpnp.config import DATASETS, DatasetFacts
from advdpnp.errors import UserError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_MOST_BYTES = 65_536  # of one parquet row: a raw 32 x 32 RGB image has 3,072

# Official files of each split, relative to the data root, as torchvision lays them out.
LAYOUT: dict[str, dict[str, tuple[str, ...]]] = {
    "cifar10": {
        "train": tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
        "test": ("cifar-10-batches-py/test_batch",),
    },
    "cifar100": {"train": ("cifar-100-python/train",), "test": ("cifar-100-python/test",)},
    "svhn": {"train": ("train_32x32.mat",), "test": ("test_32x32.mat",)},
    "mnist": {
        "train": ("MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-labels-idx1-ubyte"),
        "test": ("MNIST/raw/t10k-images-idx3-ubyte", "MNIST/raw/t10k-labels-idx1-ubyte"),
    },
}
# The same md5 as in torchvision 0.28. MNIST's are published for the compressed files only.
MD5 = {
    "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
    "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
    "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
    "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
    "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    "MNIST/raw/train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "MNIST/raw/train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "MNIST/raw/t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "MNIST/raw/t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
# The configuration folder of each hub repository; SVHN has a second one (full_numbers) that is another task.
_HUB_CONFIG = {"cifar10": "plain_text", "cifar100": "cifar100", "svhn": "cropped_digits", "mnist": "mnist"}


def official_files(name: str, split: str, root: Path) -> list[Path]:
    """The split's official files, or [] unless all are there."""
    wanted = LAYOUT[name][split]
    files = [file for file in (_present(root / path) for path in wanted) if file]
    return files if len(files) == len(wanted) else []


def _present(path: Path) -> Path | None:
    """The file itself, else its compressed form (MNIST as it is downloaded), else None."""
    return next((file for file in (path, path.with_name(path.name + ".gz")) if file.is_file()), None)


def parquet_files(name: str, split: str, root: Path) -> list[Path]:
    """The split's hub shards in order, or []. Raises UserError when the names say that a shard is missing."""
    folder = root / name
    below = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    for place in (folder, folder / _HUB_CONFIG.get(name, name), *below):
        shards = sorted(place.glob(f"{split}-*-of-*.parquet"))
        if not shards:
            continue
        found = [re.fullmatch(rf"{split}-(\d+)-of-(\d+)(-\w+)?\.parquet", path.name) for path in shards]
        numbers = [(int(match[1]), int(match[2])) if match else None for match in found]
        if numbers != [(i, len(shards)) for i in range(len(shards))]:
            names = ", ".join(path.name for path in shards)
            raise UserError(f"the shards of {name}/{split} in {place} are not complete ({names}): copy all of one set")
        return shards
    return []


def missing_files(name: str, split: str, root: Path) -> str:
    """The sentence that says how to get the files, and which are missing."""
    absent = [path for path in LAYOUT[name][split] if not _present(root / path)]
    return (
        f"{name}/{split} is not in {root}: run `python -m advdpnp fetch {name}`, or set ADVDPNP_DATA to the folder "
        f"that holds it; missing: {', '.join(absent)} of the official files, or the hub's {name}/{split}-*-of-*.parquet"
    )


def _verified(path: Path, name: str, root: Path) -> bytes:
    """The file's bytes, once their md5 is the published one (files without a published md5 pass)."""
    raw = path.read_bytes()
    expected = MD5.get(path.relative_to(root).as_posix())
    actual = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if expected not in (None, actual):
        raise UserError(
            f"{path} was not opened because its md5 is {actual} and should be {expected}: delete it and run "
            f"`python -m advdpnp fetch {name}`"
        )
    return raw


def expected_images(facts: DatasetFacts, split: str) -> int:
    """Images of a whole split."""
    return facts.train_images if split == "train" else facts.test_images


def check_labels(labels: np.ndarray, classes: int, where: str, first: int = 0) -> None:
    """Raises UserError for a label outside first .. first + classes - 1."""
    last = first + classes - 1
    wrong = np.flatnonzero((labels < first) | (labels > last))
    if len(wrong):
        raise UserError(
            f"{where}: row {wrong[0]} has label {labels[wrong[0]]}, outside {first}..{last}: copy the set again"
        )


# --- official layouts -------------------------------------------------------------------------------------------------

_PICKLED = {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")} | {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Builds dicts, lists and numpy arrays and nothing else: a pickle may otherwise run any program."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PICKLED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _unpickle(raw: bytes, path: Path) -> dict:
    try:
        with warnings.catch_warnings():  # numpy 2.4.0 to 2.4.4 warn of old pickles' dtype(align=0)
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            return _ArrayUnpickler(io.BytesIO(raw), encoding="latin1").load()
    except Exception as error:
        raise UserError(f"{path} is not a CIFAR batch ({error}): delete it and fetch it again") from error


def _read_cifar(files: list[Path], name: str, split: str, root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pickled batches: rows of 3,072 bytes, the red, green and blue planes in turn. CIFAR-100 gives its fine labels."""
    key = "labels" if name == "cifar10" else "fine_labels"
    batches = [_unpickle(_verified(path, name, root), path) for path in files]
    try:
        rows = np.concatenate([np.asarray(batch["data"]).reshape(-1, 3, 32, 32) for batch in batches])
        labels = np.concatenate([np.asarray(batch[key]) for batch in batches])
        return rows.astype(np.uint8, casting="no"), labels.astype(np.int64, casting="safe")  # TypeError, not wrapped
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{files[0].parent} does not hold CIFAR batches ({error!r}): fetch {name} again") from error


def _read_svhn(files: list[Path], name: str, split: str, root: Path) -> tuple[np.ndarray, np.ndarray]:
    """MATLAB file: X [32, 32, 3, N], y [N, 1] in 1..10, where 10 is the digit zero."""
    from scipy.io import loadmat

    raw = _verified(files[0], name, root)
    try:
        mat = loadmat(io.BytesIO(raw), variable_names=("X", "y"))
        labels = mat["y"].reshape(-1).astype(np.int64)
        images = np.ascontiguousarray(mat["X"].transpose(3, 2, 0, 1))
    except Exception as error:
        raise UserError(f"{files[0]} is not SVHN's MATLAB file ({error!r}): fetch {name} again") from error
    check_labels(labels, 10, str(files[0]), first=1)
    return images, labels % 10


def _read_mnist(files: list[Path], name: str, split: str, root: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (_read_idx(_verified(path, name, root), path, dims) for path, dims in zip(files, (3, 1)))
    return images[:, None], labels.astype(np.int64)


def _read_idx(raw: bytes, path: Path, dims: int) -> np.ndarray:
    """The idx format, strictly: 0, 0, 8 (uint8), number of dimensions, big-endian sizes, and exactly those bytes."""
    start = 4 * (1 + dims)
    try:
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        if raw[:4] != bytes((0, 0, 8, dims)):
            raise ValueError(f"it begins with {raw[:4].hex()}, not {bytes((0, 0, 8, dims)).hex()}")
        shape = tuple(int(size) for size in np.frombuffer(raw[4:start], dtype=">u4"))
        if len(shape) != dims or len(raw) - start != math.prod(shape):
            raise ValueError(f"its {len(raw):,} bytes are not those of {shape}")
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run `python -m advdpnp fetch mnist`") from error
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape).copy()  # writable, as torch wants it


def read_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 digits of 8 x 8 pixels, 0..16 rescaled to 0..255: 1,437 to train and 360 to test.

    The split is ours, there being no official one: numpy's default_rng(0) permutes the images, and of each class every
    fifth (counted through the classes in turn) goes to the test set; both splits keep the permuted order.
    """
    table = np.loadtxt(_digits_file(), delimiter=",")  # rows of 64 pixels and a label
    pixels, classes = table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(classes))
    by_class = order[np.argsort(classes[order], kind="stable")]
    chosen = order[np.isin(order, by_class[::5], invert=split == "train")]
    images = np.rint(pixels[chosen] * (255 / 16)).astype(np.uint8)
    return images[:, None], classes[chosen]


def _digits_file() -> Path:
    """The file behind `sklearn.datasets.load_digits`, found without importing scikit-learn, which takes seconds."""
    package = find_spec("sklearn")
    for folder in package.submodule_search_locations or () if package else ():
        if (path := Path(folder, "datasets", "data", "digits.csv.gz")).is_file():
            return path
    raise UserError("the digits are part of scikit-learn, which is incomplete here: install it again")


READERS = {"cifar10": _read_cifar, "cifar100": _read_cifar, "svhn": _read_svhn, "mnist": _read_mnist}


# --- the hub's parquet ------------------------------------------------------------------------------------------------


def read_parquet(files: list[Path], name: str, split: str, root: Path) -> tuple[np.ndarray, np.ndarray]:
    """All shards in order. The rows are counted from the files' footers before an image is decoded."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts, expected = DATASETS[name], expected_images(DATASETS[name], split)
    try:
        shards = [pq.ParquetFile(path) for path in files]
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"a {split} shard in {files[0].parent} is damaged ({error}): copy it again") from error
    total, size = (sum(values) for values in zip(*(_rows_and_bytes(shard) for shard in shards)))
    if total != expected:
        raise UserError(
            f"{files[0].parent}: the {split} shards hold {total:,} images, not {expected:,}: copy the full set"
        )
    if size > total * _MOST_BYTES:
        raise UserError(
            f"{files[0].parent}: the {split} shards unpack to {size:,} bytes, more than {_MOST_BYTES:,} per row, "
            "which no image of this set has: copy the set again"
        )
    images = np.empty((total, facts.channels, facts.size, facts.size), dtype=np.uint8)
    labels = np.empty(total, dtype=np.int64)
    at = 0
    for path, shard in zip(files, shards):
        first = at
        for row, (encoded, label) in enumerate(_rows(shard, path)):
            where = f"{path}, row {row}"
            images[at] = decode_image(encoded, facts.channels, facts.size, where)
            if not isinstance(label, int):
                raise UserError(f"{where} has no label")
            labels[at] = label
            at += 1
        check_labels(labels[first:at], facts.classes, str(path))
    return images, labels


def _rows_and_bytes(shard: "pq.ParquetFile") -> tuple[int, int]:
    """How many rows a shard holds and how many bytes they unpack to, both from its footer."""
    footer = shard.metadata
    return footer.num_rows, sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))


def _rows(shard: "pq.ParquetFile", path: Path) -> Iterator[tuple[bytes | None, int | None]]:
    """(encoded image, label) of every row. The hub names the columns img or image, label or fine_label."""
    import pyarrow as pa

    names = shard.schema_arrow.names
    image = next((column for column in ("img", "image") if column in names), None)
    label = next((column for column in ("label", "fine_label") if column in names), None)
    if not image or not label:
        raise UserError(f"{path} has columns {', '.join(names)}: img or image, and label or fine_label, are needed")
    try:
        for batch in shard.iter_batches(batch_size=1024, columns=[image, label]):
            yield from zip(batch.column(image).field("bytes").to_pylist(), batch.column(label).to_pylist())
    except (pa.ArrowException, OSError, KeyError, AttributeError) as error:
        raise UserError(f"{path} does not hold images as the hub stores them ({error}): copy it again") from error


def decode_image(encoded: bytes | None, channels: int, size: int, where: str) -> np.ndarray:
    """Decode one PNG or lossless WebP to uint8 [C, H, W]. Raises UserError, beginning with `where`, for all others.

    A lossy copy is refused: robust accuracy is about changes as small as JPEG's own.
    """
    from PIL import Image

    mode = {1: "L", 3: "RGB"}[channels]
    try:
        image = Image.open(io.BytesIO(encoded), formats=("PNG", "WEBP"))
        if (image.size, image.mode) != ((size, size), mode):  # known from the header: nothing is decompressed yet
            raise ValueError(f"it is {image.size[0]} x {image.size[1]} {image.mode}, not {size} x {size} {mode}")
        if image.format == "WEBP" and not _is_lossless_webp(encoded):
            raise ValueError("it is a lossy WebP")
        pixels = np.asarray(image)
    except Exception as error:  # Pillow's decoders raise whatever damaged bytes lead them to
        reason = "it is no such image" if type(error).__name__ == "UnidentifiedImageError" else error
        raise UserError(f"{where} is not a PNG or lossless WebP as needed ({reason}): copy the set again") from error
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _is_lossless_webp(encoded: bytes) -> bool:
    """Walk the RIFF chunks to the pixels: VP8L holds them exactly, "VP8 " does not."""
    at = 12
    while at + 8 <= len(encoded):
        kind, size = encoded[at : at + 4], int.from_bytes(encoded[at + 4 : at + 8], "little")
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        at += 8 + size + size % 2
    return False
