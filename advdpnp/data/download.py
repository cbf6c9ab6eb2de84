"""Download the official archives, check them, and lay them out as `advdpnp.data` expects.

`fetch("cifar10")` does nothing when valid data are there already. An archive that somebody copied to the place it would
be downloaded to is used as if it had been downloaded, so a machine without a network needs that file and this command.
URLs and md5: torchvision 0.28; CIFAR-10-C: Zenodo record 2535967 (Hendrycks and Dietterich, ICLR 2019).
"""

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.request import Request, urlopen

from advdpnp import data
from advdpnp.data.formats import MD5
from advdpnp.errors import UserError, nearest
from advdpnp.progress import Progress
from advdpnp.store import write_atomic

TIMEOUT = 60  # seconds without a byte, rather than waiting for ever behind a firewall
BLOCK = 1 << 20  # bytes read at a time


class _Unavailable(Exception):
    """A mirror did not give the file, or gave another one."""


@dataclass(frozen=True)
class Archive:
    """One file to download, to `path` below the data root, from the first of `urls` that answers."""

    path: str
    md5: str
    urls: tuple[str, ...]


def _svhn(file: str) -> Archive:
    return Archive(file, MD5[file], (f"http://ufldl.stanford.edu/housenumbers/{file}",))


def _mnist(file: str) -> Archive:
    path = f"MNIST/raw/{file}"
    mirrors = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
    return Archive(path, MD5[path], tuple(mirror + file for mirror in mirrors))


ARCHIVES = {
    "cifar10": (
        Archive(
            "cifar-10-python.tar.gz",
            "c58f30108f718f92721af3b95e74349a",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        ),
    ),
    "cifar100": (
        Archive(
            "cifar-100-python.tar.gz",
            "eb9058c3a382ffc7106e4002c42a8d85",
            ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        ),
    ),
    "svhn": (_svhn("train_32x32.mat"), _svhn("test_32x32.mat")),
    "mnist": (
        _mnist("train-images-idx3-ubyte.gz"),
        _mnist("train-labels-idx1-ubyte.gz"),
        _mnist("t10k-images-idx3-ubyte.gz"),
        _mnist("t10k-labels-idx1-ubyte.gz"),
    ),
    "digits": (),  # part of scikit-learn
    "cifar10c": (
        Archive(
            "CIFAR-10-C.tar",
            "56bf5dcef84df0e2308c6dcbcbbd8499",
            ("https://zenodo.org/records/2535967/files/CIFAR-10-C.tar",),
        ),
    ),
}
# CIFAR-10-C unpacked: 19 corruptions of 5 x 10,000 images, and their labels. Bytes, npy header included.
CIFAR10C_SIZES = sorted([50_128] + 19 * [153_600_128])


def fetch(name: str, root: str | Path | None = None) -> None:
    """Make data set `name` (one of ARCHIVES) loadable from `root`, downloading what is missing; prints what it does.

    Raises UserError for an unknown name, an unwritable root, an unsafe archive, and when nothing can be downloaded:
    then it says what to copy where.
    """
    if name not in ARCHIVES:
        raise UserError(f"there is no data set '{name}' to fetch: {nearest(name, ARCHIVES)}")
    root = data.data_root(root)
    problem = _problem(name, root)
    if problem is None:
        found = f"already in {root}, checked" if ARCHIVES[name] else "part of scikit-learn, nothing to fetch"
        print(f"{name}: {found}")
        return
    for archive in ARCHIVES[name]:
        _download(name, archive, root)
        _unpack(root / archive.path, root)
    problem = _problem(name, root)
    if problem is not None:
        raise UserError(f"{name} was fetched and is still not usable: {problem}")
    print(f"{name}: fetched into {root}, checked")


def _problem(name: str, root: Path) -> str | None:
    """Why the data set cannot be used as it lies there, or None. Loading is the check, and fills the cache."""
    if name == "cifar10c":
        sizes = sorted(path.stat().st_size for path in (root / "CIFAR-10-C").glob("*.npy"))
        return None if sizes == CIFAR10C_SIZES else f"{root / 'CIFAR-10-C'} does not hold the 20 .npy files in full"
    try:
        for split in data.SPLITS:
            data.load(name, split, root)
    except UserError as error:
        return str(error)
    return None


def _download(name: str, archive: Archive, root: Path) -> None:
    """Download one archive with progress and checksum, unless it is there; its mirrors in turn."""
    target = root / archive.path
    if _is_valid(archive, root):
        return
    folder = next(folder for folder in target.parents if folder.exists())
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} is read-only, so {name} cannot be fetched into it: set ADVDPNP_DATA to another")
    reasons = []
    for url in archive.urls:
        print(f"{name}: {url} -> {target}")
        try:
            write_atomic(target, partial(_receive, url, archive))
            return
        except _Unavailable as error:
            reasons.append(str(error))
    raise UserError(_by_hand(name, root, reasons))


def _receive(url: str, archive: Archive, handle: BinaryIO) -> None:
    """Fill `handle` with what lies at `url`. Raises _Unavailable, also where its md5 is not the archive's."""
    found = hashlib.md5(usedforsecurity=False)
    for block in _blocks(url):
        found.update(block)
        handle.write(block)
    if found.hexdigest() != archive.md5:
        raise _Unavailable(f"expected md5 {archive.md5}, got {found.hexdigest()} from {url}")


def _blocks(url: str) -> Iterator[bytes]:
    """The bytes at `url`, following redirects, with a progress line where the size is known. Raises _Unavailable."""
    try:
        with urlopen(Request(url, headers={"User-Agent": "advdpnp"}), timeout=TIMEOUT) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
            progress = Progress(url.rpartition("/")[2], size, stops=False) if size else None
            while block := answer.read(BLOCK):
                if progress:
                    progress.update(len(block))
                yield block
            if progress:
                progress.finish()
    except (OSError, HTTPException, ValueError) as error:
        raise _Unavailable(" ".join(str(getattr(error, "reason", error)).split())) from None


def _is_valid(archive: Archive, root: Path) -> bool:
    path = root / archive.path
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == archive.md5


def _by_hand(name: str, root: Path, reasons: list[str]) -> str:
    missing = [archive for archive in ARCHIVES[name] if not _is_valid(archive, root)]
    files = "; ".join(f"{archive.urls[0]} (md5 {archive.md5}) as {root / archive.path}" for archive in missing)
    return (
        f"{name} could not be downloaded ({'; '.join(reasons)}): save {files}, then run "
        f"`python -m advdpnp fetch {name}` again"
    )


def _unpack(archive: Path, root: Path) -> None:
    """Unpack a tar; SVHN's .mat and MNIST's .gz are read as they are."""
    if ".tar" in archive.suffixes:
        extract_tar(archive, root)


def extract_tar(archive: Path, folder: Path) -> None:
    """Unpack a tar of plain files and folders below `folder`; all members are checked before the first is written.

    Raises UserError for links, devices, absolute names and '..': none of the archives has a use for them.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                name = PurePosixPath(member.name)
                if not (member.isfile() or member.isdir()) or name.is_absolute() or ".." in name.parts:
                    raise UserError(f"{archive} was not unpacked: its member '{member.name}' may reach out of {folder}")
            tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # from 3.11.4 on
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(f"{archive} could not be unpacked into {folder} ({error})") from error
