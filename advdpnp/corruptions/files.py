"""CIFAR-10-C on disk: read and verify the official files, or write a regenerated set in the same layout.

Official: <root>/CIFAR-10-C/<name>.npy, uint8 [50000, 32, 32, 3], severity 1's 10,000 rows first, and labels.npy;
Zenodo record 2535967, CIFAR-10-C.tar, md5 56bf5dcef84df0e2308c6dcbcbbd8499. The rows stand in the order of the
official test batch: their labels come from labels.npy, never from another copy of the test set.
"""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
import scipy

from advdpnp.errors import UserError
from advdpnp.results import write_atomic, write_text

from .catalogue import BENCHMARK, EXTRA, SEVERITIES, check_choice, check_images, corrupt

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


# -- regenerated files ------------------------------------------------------------------------------------------


def generate(
    images: np.ndarray,
    labels: np.ndarray,
    directory: str | Path,
    names: Iterable[str] = BENCHMARK,
    severities: Iterable[int] = SEVERITIES,
    seed: int = 0,
) -> Path:
    """Write <name>.npy (the N images of the first severity, then the next), labels.npy and manifest.json.

    Every file appears whole or not at all. Called again with the same images, labels, severities, seed and library
    versions, it keeps the files whose sha256 is still the manifest's; called with others, it starts the directory
    over. A directory with files it did not write (the official ones) is refused. One process a directory.
    """
    names, severities, directory = list(names), list(severities), Path(directory)
    for name in names:
        for severity in severities:
            check_choice(name, severity)
    images, labels = check_images(images), np.asarray(labels, dtype=np.uint8)
    if labels.shape != images.shape[:1]:
        raise UserError(f"{len(images)} images need as many labels, not an array of shape {labels.shape}")
    directory.mkdir(parents=True, exist_ok=True)
    for half in directory.glob(".*.????????.tmp"):  # a killed process was writing it
        half.unlink()
    manifest = _opened_manifest(directory, _settings(images, labels, severities, seed))
    _write(directory, manifest, "labels", [labels] * len(severities))
    for name in names:
        _write(directory, manifest, name, [(images, name, severity, seed) for severity in severities])
    return directory


def _settings(images: np.ndarray, labels: np.ndarray, severities: list[int], seed: int) -> dict:
    """Everything the pixels depend on."""
    return {
        "source": "regenerated",
        "seed": int(seed),
        "n": len(images),
        "severities": [int(severity) for severity in severities],
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "pillow": PIL.__version__},
        "images_sha256": hashlib.sha256(images).hexdigest(),
        "labels_sha256": hashlib.sha256(labels).hexdigest(),
    }


def _opened_manifest(directory: Path, settings: dict) -> dict:
    """The directory's manifest if it has these settings, else a new one (after removing what the old one lists)."""
    path = directory / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        if any(directory.glob("[!.]*.npy")):
            raise UserError(
                f"{directory} holds .npy files that were not generated here: choose another directory"
            ) from None
        manifest = {"files": {}}
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error}): remove {directory} and generate again") from error
    if {key: manifest.get(key) for key in settings} != settings:
        for name in manifest["files"]:
            with suppress(FileNotFoundError):
                (directory / f"{name}.npy").unlink()
        manifest = {**settings, "files": {}}
        _save_manifest(directory, manifest)
    return manifest


def _write(directory: Path, manifest: dict, name: str, parts: list) -> None:
    """Write one file part by part (an array, or the arguments of `corrupt`) unless it is there, and list it."""
    path = directory / f"{name}.npy"
    if name in manifest["files"] and path.is_file() and _sha256(path) == manifest["files"][name]["sha256"]:
        return
    shape: list[int] = []

    def write(handle: BinaryIO) -> None:  # plain writes: through a memory map a full disk is a SIGBUS, not an error
        for part in parts:
            block = np.ascontiguousarray(corrupt(*part[:3], seed=part[3]) if isinstance(part, tuple) else part)
            if not shape:
                shape[:] = [len(parts) * manifest["n"], *block.shape[1:]]
                header = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
                np.lib.format.write_array_header_1_0(handle, header)
            handle.write(block.astype(np.uint8, copy=False).data)

    write_atomic(path, write)
    manifest["files"][name] = {"shape": shape, "sha256": _sha256(path)}
    _save_manifest(directory, manifest)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save_manifest(directory: Path, manifest: dict) -> None:
    write_text(directory / "manifest.json", json.dumps(manifest, indent=2) + "\n")
