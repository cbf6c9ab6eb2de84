"""Where things lie on disk, how they are written (whole or not at all), and where each number comes from."""

import csv
import hashlib
import io
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from advdpnp.checkout import git
from advdpnp.config import INSTALLED, PACKAGE, ROOT, RunConfig
from advdpnp.errors import UserError

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


def results_root() -> Path:
    """`results/` of the checkout (installed: of the working folder), or ADVDPNP_RESULTS."""
    return Path(os.environ.get("ADVDPNP_RESULTS", ROOT / "results"))


@dataclass(frozen=True)
class Store:
    """Paths and contents of what was trained and evaluated, below `root` (None: `results_root()` when it is asked).

    <tier>/runs/<run>/ holds config.json, log.csv, model.pt, train.json (and last.pt to resume from);
    <tier>/evals/<run>/<evaluation>.json has its arrays, such as a flag per image, in the .npz beside it.
    """

    root: Path | None = None

    def tier(self, name: str) -> Path:
        """The folder of a tier."""
        return (results_root() if self.root is None else self.root) / name

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` finds below this root, now; a Snapshot asks it the first time only."""
        return make()

    def _evaluated(self, run: RunConfig, file: str) -> Path:
        # one string, not five joined paths: a report asks tens of thousands of times
        return Path(f"{results_root() if self.root is None else self.root}/{run.tier}/evals/{run.id}/{file}")

    def run_folder(self, tier: str, run_id: str) -> Path:
        """The folder of a training by its id, also of one that the tier no longer has."""
        return self.tier(tier) / "runs" / run_id

    def run(self, run: RunConfig) -> Path:
        """The folder of a training."""
        return self.run_folder(run.tier, run.id)

    def trained(self, run: RunConfig) -> Path:
        """train.json, which is there once the training is finished."""
        return self.run(run) / "train.json"

    def evaluation(self, run: RunConfig, name: str) -> Path:
        """The JSON of an evaluation."""
        return self._evaluated(run, f"{name}.json")

    def arrays(self, run: RunConfig, name: str) -> Path:
        """The .npz beside it."""
        return self._evaluated(run, f"{name}.npz")

    def evaluations(self, run: RunConfig) -> list[Path]:
        """The JSON of each evaluation of a run that is there."""
        return sorted((self.tier(run.tier) / "evals" / run.id).glob("*.json"))

    def has_evaluations(self, tier: str) -> bool:
        """Whether a run of the tier was evaluated."""
        return (self.tier(tier) / "evals").is_dir()

    def table(self, tier: str, name: str) -> Path:
        """The CSV of a table."""
        return self.tier(tier) / "tables" / f"{name}.csv"

    def figure(self, tier: str, name: str) -> Path:
        """The PNG of a figure."""
        return self.tier(tier) / "figures" / f"{name}.png"

    def small_files(self, run: RunConfig) -> list[Path]:
        """What a run measured: settings, log and evaluations with their arrays; no weights, states or part files."""
        found = [self.run(run) / name for name in ("config.json", "train.json", "log.csv")]
        arrays = (self.tier(run.tier) / "evals" / run.id).glob("*.npz")
        found += [*self.evaluations(run), *(path for path in sorted(arrays) if not path.name.endswith(".part.npz"))]
        return [path for path in found if path.is_file()]

    def read_training(self, run: RunConfig, *keys: str) -> dict | None:
        """What train.json holds, None where the run is not trained. Raises UserError as `read_json`."""
        return self._read(self.trained(run), keys)

    def read_evaluation(self, run: RunConfig, name: str, *keys: str) -> dict | None:
        """What the JSON of an evaluation holds, None where there is none. Raises UserError as `read_json`."""
        return self._read(self.evaluation(run, name), keys)

    def _read(self, path: Path, keys: tuple[str, ...]) -> dict | None:
        found = self.once(path, lambda: read_json(path) if path.exists() else None)
        return None if found is None else with_keys(path, found, *keys)

    def unfinished(self, run: RunConfig) -> bool:
        """Whether a training has begun and is not finished: an evaluation that is there is of former weights."""
        return (self.run(run) / "config.json").exists() and not self.trained(run).exists()

    def read_json(self, path: Path, *keys: str) -> Any:
        """`read_json` of a file below the root."""
        return with_keys(path, self.once(path, lambda: read_json(path)), *keys)

    def read_flags(self, run: RunConfig, name: str) -> "np.ndarray | None":
        """Where an evaluated run is right: bool, read-only, the last axis is the images; None without an evaluation."""
        path = self.arrays(run, name)
        if not path.exists():
            return None
        about = path.stat()
        return _flags(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4096)
def _flags(path: Path, changed_ns: int, size: int) -> "np.ndarray":
    """The flags in a file, read once for as long as it stays the same, hence read-only."""
    flags = read_arrays(path, "correct")["correct"]
    flags.flags.writeable = False
    return flags


@dataclass(frozen=True)
class Snapshot(Store):
    """A store of which everything is read once and then remembered, so not to be changed: for one report.

    With 500 runs a report asks for each number some sixty times. Under a process that goes on writing, what was read
    first stays.
    """

    known: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` found when it was first asked for `key`."""
        if key not in self.known:
            self.known[key] = make()
        return self.known[key]


RESULTS = Store()
PUBLISHED = Store(ROOT / "published")


# ------------------------------------------------------------------------------------------------- atomic writes


def write_atomic(path: Path, write: Callable[[Any], None]) -> Path:
    """Let `write` fill a temporary file, then put it in place of `path`: readers see the old or the new, never half.

    Raises UserError when the disk is full or the folder can't be written; what was at `path` before is still there.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = {"dir": path.parent, "prefix": f".{path.name}.", "suffix": ".tmp"}
        with tempfile.NamedTemporaryFile(**place, delete=False) as handle:
            temporary = Path(handle.name)
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: could not be written ({reason}); mend that and start again.") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def copy_file(source: Path, to: Path) -> None:
    """A copy of `source`, whole or not at all. Raises UserError where `to` cannot be written."""
    write_atomic(to, lambda handle: handle.write(source.read_bytes()))


def check_writable(folder: Path) -> None:
    """Raises UserError, before any work, for a folder that cannot be written."""
    probe = folder / ".writable"
    write_atomic(probe, lambda handle: handle.write(b""))
    probe.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut too. Where a folder can't be opened (Windows), the system does it by itself."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> Path:
    """`text` as UTF-8, whole or not at all."""
    return write_atomic(path, lambda handle: handle.write(text.encode()))


def write_json(path: Path, value: Any) -> Path:
    """`value` as indented JSON, whole or not at all."""
    return write_text(path, json.dumps(value, indent=1) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> Path:
    """Rows as CSV with a header, whole or not at all."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, buffer.getvalue())


def read_json(path: Path, *keys: str) -> Any:
    """The file's value. Raises UserError when it is missing, not JSON, or as `with_keys`."""
    try:
        return with_keys(path, json.loads(path.read_text(encoding="utf-8")), *keys)
    except FileNotFoundError:
        raise UserError(f"{path}: is missing.") from None
    except ValueError:
        raise UserError(f"{path}: is not valid JSON (damaged?); delete it and run again.") from None


KINDS: dict[str, tuple[Any, str]] = {  # of what results hold, by the last part of a key
    **dict.fromkeys(("accuracy", "images", "seconds", "train_images", "images_per_second", "parameters", "epoch"),
                    (int | float, "number")),
    **dict.fromkeys(("attack", "dataset", "device", "precision", "run", "tier", "model_sha256"), (str, "text")),
    "hyper": (dict, "object"),
}  # fmt: skip


def with_keys(path: Path, value: Any, *keys: str) -> Any:
    """`value`, read from `path`. "provenance.device" is a key in an object.

    Raises UserError when it is not an object with these keys, or one of them is not of its kind.
    """
    for key in keys:
        found = value
        for part in key.split("."):
            if not isinstance(found, dict) or part not in found:
                raise UserError(f"{path}: does not hold {', '.join(keys)} (damaged?); delete it and run again.")
            found = found[part]
        kind, called = KINDS.get(part, (object, ""))
        if not isinstance(found, kind) or (isinstance(found, bool) and called):
            raise UserError(f"{path}: {key} is no {called} (damaged?); delete it and run again.")
    return value


def read_arrays(path: Path, *names: str) -> dict[str, Any]:
    """{name: array} of an .npz file, never unpickled. Raises UserError when it is missing, damaged, or lacks a name."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except FileNotFoundError:
        raise UserError(f"{path}: is missing.") from None
    except Exception:  # zip, npy and zlib raise half a dozen types for damaged bytes
        wanted = ", ".join(names)
        raise UserError(f"{path}: does not hold the arrays {wanted} (damaged?); delete it and run again.") from None


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# ---------------------------------------------------------------------------------------------------------- locks


@contextmanager
def locked(path: Path, doing: str, *, wait: bool = False) -> Iterator[None]:
    """One process at a time writes `path`, a run's folder or an evaluation's JSON: the others stop, or wait.

    The lock is the system's (flock), which ends with its process however that dies: a file left by a killed one holds
    nothing. Who holds it is told by a note beside it, for the message alone. Between machines it works where the shared
    file system passes flock on (NFSv4, Lustre with -o flock); a machine that dies there keeps it until its lease ends.
    Raises UserError that says who holds it and since when.
    """
    import filelock

    folder, stem = (path.parent, path.stem) if path.suffix == ".json" else (path, "run")
    note = folder / f"{stem}.holder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / f".{stem}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if not wait:
                raise UserError(f"{path}: {_holder(note)}; wait until it has ended, or stop it.") from None
            print(f"{path}: {_holder(note)}; waiting for it", file=sys.stderr, flush=True)
            lock.acquire(poll_interval=0.5)
    except OSError as error:
        raise UserError(f"{folder}: could not be locked ({error.strerror or error}); mend that.") from None
    try:
        _sweep(folder, stem)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(note, {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "doing": doing})
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def lock_holder(path: Path) -> str | None:
    """Who works on a run's folder or an evaluation's JSON, as far as its note tells, or None. Takes no lock itself.

    A note left by a killed process of this machine does not count.
    """
    folder, stem = (path.parent, path.stem) if path.suffix == ".json" else (path, "run")
    try:
        note = json.loads((folder / f"{stem}.holder").read_text())
        if note["host"] == socket.gethostname():
            os.kill(note["pid"], 0)  # signal 0 only asks whether the process is there
        return f"process {note['pid']} on {note['host']} since {note['since']}"
    except PermissionError:  # it is there, and another user's
        return _holder(folder / f"{stem}.holder")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _holder(note: Path) -> str:
    try:
        held = json.loads(note.read_text())
        return f"{held['doing']} by process {held['pid']} on {held['host']} since {held['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "held by a process that has only just started"


def _sweep(folder: Path, stem: str) -> None:
    """Remove what a killed holder of the same lock was in the middle of writing (see `write_atomic`)."""
    for path in folder.glob(".*.????????.tmp" if stem == "run" else f".{stem}.*.????????.tmp"):
        path.unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------------------- provenance


@lru_cache
def code_revision() -> str:
    """The commit of the checkout, with '+' when files differ from it; 'unknown' outside of a repository of its own."""
    if INSTALLED:
        return "unknown"
    try:
        dirty = "+" if git("status", "--porcelain", "--untracked-files=no", root=ROOT).strip() else ""
        return git("rev-parse", "--short=12", "HEAD", root=ROOT).decode().strip() + dirty
    except (OSError, subprocess.SubprocessError):
        return "unknown"


@lru_cache
def code_hash() -> str:
    """sha256 (16 digits) of the package's sources, so that results can tell which code made them without git."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE.parent).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def device_name(device: Any) -> str:
    """'NVIDIA H100 80GB HBM3', or the processor's name and its thread count."""
    import torch

    if getattr(device, "type", device) == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {torch.get_num_threads()} threads"


def provenance(device: Any) -> dict[str, str]:
    """Package versions, device and code revision, for every JSON that holds a number."""
    versions = {}
    for package in ("torch", "numpy", "scipy", "pillow", "scikit-learn", "pyautoattack"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "absent"
    return {
        "python": platform.python_version(),
        **versions,
        "device": device_name(device),
        "code_revision": code_revision(),
        "code_hash": code_hash(),
    }


def machines(train: dict) -> str:
    """On what a run was trained, as train.json says: 'EPYC, 1 threads', or each with its first epoch."""
    if not train.get("provenances"):
        return train["provenance"]["device"]
    first, *others = train["provenances"]
    said = [f"from epoch {one.get('from_epoch', '?')} on {one['device']}" for one in others]
    return "; ".join([first["device"], *said])
