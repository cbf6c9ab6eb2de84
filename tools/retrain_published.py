"""Train published networks again, each with the code that trained it, and compare the weights, bit for bit.

    python tools/retrain_published.py short cifar10-resnet18-at-s0 cifar10-resnet18-trades-s0

The repository holds numbers and no weights; this gives them back. The code is taken from git at the revision that the
run's train.json names, under the name that the run had there (`trained_as`, where it got another since). Weights that
have the published sha256 come to results/<tier>/, from where `evaluate` and
`export` go on. Killed, it resumes. Status 1 where weights differ, which on another kind of processor they will; 2 where
nothing could be compared.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

from advdpnp.checkout import NotOurs, git
from advdpnp.data import cache_root, data_root
from advdpnp.errors import UserError, nearest
from advdpnp.store import PUBLISHED, RESULTS, Store, read_json, results_root, write_atomic

ROOT = Path(__file__).resolve().parent.parent


def code_of(revision: str) -> Path:
    """The files of `revision`, below results/retrain_published/. Raises UserError for one that git does not have."""
    folder = results_root() / "retrain_published" / revision
    if not folder.exists():
        try:
            archive = git("archive", revision, root=ROOT)
        except FileNotFoundError:
            raise UserError(f"{revision}: git, which has this code, is not installed") from None
        except subprocess.SubprocessError as error:
            here = not isinstance(error, NotOurs) and (ROOT / ".git").exists()
            why = "was never committed" if revision.endswith("+") else "is not in this clone (git fetch --unshallow)"
            why = why if here else f"is in the project's git history, which {ROOT} came without: clone the project"
            raise UserError(f"{revision}: this code {why}") from None
        new = folder.with_name(f".{revision}.tmp")
        shutil.rmtree(new, ignore_errors=True)
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(new, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # from 3.11.4 on
        new.rename(folder)
    return folder


def train_again(tier: str, run: str) -> bool:
    """Whether the run's weights came back as published; if so, they lie in results/<tier>/runs/<run>/."""
    published = PUBLISHED.run_folder(tier, run)
    if not (published / "train.json").exists():
        there = [path.parent.name for path in published.parent.glob("*/train.json")]
        raise UserError(f"published/{tier} has no run '{run}'; {nearest(run, there)}")
    before = read_json(published / "train.json", "model_sha256", "provenance")
    name = before.get("trained_as", run)
    target = RESULTS.run_folder(tier, run)
    own = target / "train.json"
    if own.exists() and read_json(own, "model_sha256")["model_sha256"] != before["model_sha256"]:
        raise UserError(f"{target} holds another network of yours; move it, or set ADVDPNP_RESULTS to another folder")
    folder = code_of(before["provenance"]["code_revision"])
    threads = before["provenance"]["device"].rpartition(", ")[2].removesuffix(" threads")
    places = {"ADVDPNP_RESULTS": folder / "results", "ADVDPNP_DATA": data_root(), "ADVDPNP_CACHE": cache_root()}
    settings = {key: str(Path(place).resolve()) for key, place in places.items()}
    settings |= {"OMP_NUM_THREADS": threads} if threads.isdigit() else {}  # a GPU's name has none
    command = [sys.executable, "-u", "-m", "advdpnp", "train", "--tier", tier, name]
    if status := subprocess.run(command, cwd=folder, env=os.environ | settings, check=False).returncode:
        raise UserError(f"{run}: its training ended with status {status}")
    trained = Store(folder / "results").run_folder(tier, name)
    if read_json(trained / "train.json", "model_sha256")["model_sha256"] != before["model_sha256"]:
        print(f"{run}: other weights than the published ones", flush=True)
        return False
    for path in (trained / "model.pt", *published.iterdir()):
        write_atomic(target / path.name, lambda handle, path=path: handle.write(path.read_bytes()))
    print(f"{run}: the published weights, bit for bit, in {target}", flush=True)
    return True


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tier")
    parser.add_argument("runs", nargs="+", metavar="run")
    chosen = parser.parse_args(arguments)
    try:
        same = [train_again(chosen.tier, run) for run in chosen.runs]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
