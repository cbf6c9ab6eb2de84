"""CIFAR-10-C on disk: read and verify the official files; what they lack is made again in memory.

Official: <root>/CIFAR-10-C/<name>.npy, uint8 [50000, 32, 32, 3], severity 1's 10,000 rows first, and labels.npy;
Zenodo record 2535967, CIFAR-10-C.tar, md5 56bf5dcef84df0e2308c6dcbcbbd8499. The rows stand in the order of the
official test batch: their labels come from labels.npy, never from another copy of the test set.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from advdpnp.errors import UserError

from .catalogue import BENCHMARK, EXTRA, SEVERITIES, check_choice, corrupt

FOLDER = "CIFAR-10-C"
TEST_IMAGES = 10_000
IMAGE = (32, 32, 3)

OFFICIAL_MD5 = {
    "brightness": "0a81ef75e0b523c3383219c330a85d48",
    "contrast": "3c8262171c51307f916c30a3308235a8",
    "defocus_blur": "7d1322666342a0702b1957e92f6254bc",
    "elastic_transform": "9421657c6cd452429cf6ce96cc412b5f",
    "fog": "7b397314b5670f825465fbcd1f6e9ccd",
    "frost": "31f6ab3bce1d9934abfb0cc13656f141",
    "gaussian_blur": "c33370155bc9b055fb4a89113d3c559d",
    "gaussian_noise": "ecaf8b9a2399ffeda7680934c33405fd",
    "glass_blur": "7361fb4019269e02dbf6925f083e8629",
    "impulse_noise": "2090e01c83519ec51427e65116af6b1a",
    "jpeg_compression": "2b9cc4c864e0193bb64db8d7728f8187",
    "labels": "c439b113295ed5254878798ffe28fd54",
    "motion_blur": "fffa5f852ff7ad299cfe8a7643f090f4",
    "pixelate": "0f14f7e2db14288304e1de10df16832f",
    "saturate": "1cfae0964219c5102abbb883e538cc56",
    "shot_noise": "3a7239bb118894f013d9bf1984be7f11",
    "snow": "bb238de8555123da9c282dea23bd6e55",
    "spatter": "8a5a3903a7f8f65b59501a6093b4311e",
    "speckle_noise": "ef00b87611792b00df09c0b0237a1e30",
    "zoom_blur": "6ea8e63f1c5cdee1517533840641641b",
}


# -- official files ---------------------------------------------------------------------------------------------


def has_official(root: str | Path) -> bool:
    """Whether <root>/CIFAR-10-C holds labels.npy and all 15 benchmark files (their contents are checked on load)."""
    return all((Path(root) / FOLDER / f"{name}.npy").is_file() for name in ("labels", *BENCHMARK))


def load_official(root: str | Path, name: str, severity: int) -> np.ndarray:
    """The 10,000 official images of one variant, uint8 [10000, 32, 32, 3], memory-mapped read-only.

    Raises UserError when the file is missing, or its shape, type or checksum is not the published one.
    """
    check_choice(name, severity)
    array = _official_array(root, name, (len(SEVERITIES) * TEST_IMAGES, *IMAGE))
    return array[(severity - 1) * TEST_IMAGES : severity * TEST_IMAGES]


def official_labels(root: str | Path) -> np.ndarray:
    """The labels of the official rows, uint8 [10000]; the same for every corruption and severity."""
    return _official_array(root, "labels", (len(SEVERITIES) * TEST_IMAGES,))[:TEST_IMAGES]


def _official_array(root: str | Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    path = Path(root) / FOLDER / f"{name}.npy"
    if not path.is_file():
        raise UserError(f"{path} is missing: unpack CIFAR-10-C.tar (zenodo.org/records/2535967) in {root}")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path} is not a readable .npy file ({error}): download it again") from error
    if array.shape != shape or array.dtype != np.uint8:
        raise UserError(f"{path} holds {array.dtype} {array.shape}, the official file uint8 {shape}")
    status = path.stat()
    if _digest(str(path), status.st_size, status.st_mtime_ns, "md5") != OFFICIAL_MD5[name]:
        raise UserError(
            f"{path} differs from the published file (md5): download it again, or, if it was regenerated, move it "
            f"out of {FOLDER}"
        )
    return array


@lru_cache(maxsize=64)
def _digest(path: str, size: int, modified: int, algorithm: str) -> str:
    """The file's hash, computed once in a process unless its size or time of modification changes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def corrupted_test_set(
    images: np.ndarray, labels: np.ndarray, name: str, severity: int, *, root: str | Path | None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, str]:
    """(images, labels, source) of one variant; source is "official" or "regenerated".

    Official, where <root>/CIFAR-10-C is there: all 10,000 images with their own labels. Otherwise the clean test
    `images` (uint8 [N, H, W, C]) are corrupted and `labels` returned as they are. For data that is not CIFAR-10
    pass root=None; images that are not 32 x 32 x 3 are never replaced by the official ones.
    """
    present = root is not None and images.shape[1:] == IMAGE and has_official(root)
    if present and name in EXTRA:  # the four extra are optional
        present = (Path(root) / FOLDER / f"{name}.npy").is_file()
    if present:
        return load_official(root, name, severity), official_labels(root), "official"
    return corrupt(images, name, severity, seed=seed), labels, "regenerated"
