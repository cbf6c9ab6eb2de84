"""Finished results by their key, and the finished parts of interrupted ones."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from advdpnp.store import read_json, write_atomic

_DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile)  # of damaged bytes, by np.load


def load_result(path: Path, key: str) -> dict | None:
    """A finished result with this key, or None."""
    if not (path.exists() and path.with_suffix(".npz").exists()):
        return None
    found = read_json(path, "key", "images")
    return found if found["key"] == key else None


def part_path(path: Path, stage: str = "") -> Path:
    """Where the finished part of an evaluation is kept until the whole is; `stage` of an AutoAttack within a batch."""
    return path.with_name(f"{path.stem}{stage and '.'}{stage}.part.npz")


def discard_parts(path: Path) -> None:
    """Delete what was kept of an evaluation that is complete."""
    for stage in ("", "search", "again"):
        part_path(path, stage).unlink(missing_ok=True)


class KeptSearch:
    """An unfinished AutoAttack of one batch; `stage` is "search", or "again" for what is attacked again.

    `key` says which batch of which evaluation it is: what another key kept counts as nothing.
    """

    def __init__(self, path: Path, key: str, stage: str, after: Callable[[], None] = lambda: None):
        self.path, self.key, self.after = part_path(path, stage), key, after

    def load(self) -> dict[str, np.ndarray] | None:
        """What was saved last under this key, else None."""
        try:
            with np.load(self.path, allow_pickle=False) as part:
                return dict(part) if str(part["key"]) == self.key else None
        except _DAMAGED:
            return None

    def save(self, arrays: Mapping[str, np.ndarray]) -> None:
        """In place of what was saved before; then calls `after`, which may stop the search."""
        write_atomic(self.path, lambda handle: np.savez(handle, **arrays, key=self.key))
        self.after()


def save_part(path: Path, key: str, done: int, correct: np.ndarray, losses: np.ndarray) -> None:
    """Keep the first `done` rows of an unfinished evaluation."""
    arrays = {"key": key, "done": done, "correct": correct, "losses": losses}
    write_atomic(path, lambda handle: np.savez(handle, **arrays))


def load_part(path: Path, key: str, *shape: int, columns: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray, int]:
    """Flags of that shape, what is known of each row, and the count of rows done of an unfinished evaluation.

    What is known is a number (corruptions: whether the file was official), or as many as `columns`. Zeros where there
    is none with this key.
    """
    rows = (shape[0], *columns)
    try:
        with np.load(path, allow_pickle=False) as part:
            if str(part["key"]) == key and part["correct"].shape == shape and part["losses"].shape == rows:
                return part["correct"], part["losses"], int(part["done"])
    except _DAMAGED:
        pass
    return np.zeros(shape, bool), np.zeros(rows), 0
