"""What `status`, a table, the report and Snakemake's plan cost as a tier's runs grow to 500: seconds and memory.

The tier is invented: the short tier's settings, all blocks of the paper, as many seeds as it takes. Each of its runs
tells what a published one does, its flags shuffled, so no number of it means anything. It lies in a copy of the
checkout in a temporary folder. Each command is a process of its own, the start of Python included.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from advdpnp.config import METHODS, ROOT, RunConfig, Tier, digest, resolved_attack
from advdpnp.config.tiers import parse_tier
from advdpnp.errors import UserError
from advdpnp.paper import artefacts
from advdpnp.store import PUBLISHED, Store, read_json, write_atomic, write_json

SIZES = (125, 250, 500)
COPIED = ("advdpnp", "config", "data/paper", "docs", "notebooks", "profiles", "published")
FILES = ("Snakefile", "pyproject.toml")
NAME = "many"
COMMANDS = {
    "status": ["-m", "advdpnp", "status", "--tier", NAME],
    "one table": ["-c", f"from advdpnp.config import load_tier\nfrom advdpnp.report import tables\n"
                        f"print(len(tables.table_rows(load_tier('{NAME}'), 'table1')))"],
    "report": ["-m", "advdpnp", "report", "--tier", NAME],
    "plan of all jobs": ["-m", "snakemake", "-n", "--quiet", "all", "--forceall", f"results/{NAME}/report.md"],
}  # fmt: skip
# A process takes its memory's high-water mark over from the one that starts it: a small one has to.
WATCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, flush=True)
sys.exit(code)
"""


def tier_text(seeds: int) -> str:
    """The short tier with every block of the paper and so many seeds of every method."""
    text = (ROOT / "config" / "short.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("more_seeds")]
    more = ", ".join(f"{method} = {[*range(1, seeds)]}" for method in METHODS)
    at = next(number for number, line in enumerate(lines) if line.startswith("methods"))
    lines.insert(at + 1, f"more_seeds = {{{more}}}")
    blocks = [f'[blocks."{block}"]' for block in (artefacts.CIFAR100, artefacts.SVHN, artefacts.WRN)]
    return "\n".join([*lines, *blocks, ""])


def templates() -> dict[str, tuple[dict, Path]]:
    """{evaluation: (its published JSON, the file of its flags)}, of the run that comes first."""
    found: dict[str, tuple[dict, Path]] = {}
    for path in sorted((PUBLISHED.tier("short") / "evals").glob("*/*.json")):
        found.setdefault(path.stem, (read_json(path), path.with_suffix(".npz")))
    return found


def shuffled(arrays: Mapping[str, np.ndarray], images: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The arrays, flags of images shuffled and repeated up to so many."""
    return {key: rng.permutation(np.resize(value, images)) if key == "correct" and value.ndim == 1 else value
            for key, value in arrays.items()}  # fmt: skip


def write_run(
    store: Store, tier: Tier, run: RunConfig, known: Mapping[str, tuple[dict, Path]], rng: np.random.Generator
) -> None:
    """What a trained and evaluated run leaves, as far as anything but training reads it."""
    model = digest([run.id]) * 4
    like = PUBLISHED.run_folder("short", "cifar10-resnet18-adv_dpnp-s0")
    own = {"run": run.id, "tier": tier.name, "seed": run.seed, "model_sha256": model,
           "settings_digest": digest(run.training_settings())}  # fmt: skip
    write_json(store.trained(run), read_json(like / "train.json") | own | {"data_sha256": digest([run.dataset])})
    write_json(store.run(run) / "config.json", run.training_settings())
    shutil.copy(like / "log.csv", store.run(run) / "log.csv")
    for name in artefacts.evaluations_of(tier, run, artefacts.EVERYTHING):
        about, flags = known.get(name, known["clean"])
        told = about | own | {"attack": name, "data_sha256": digest([run.dataset, "test"])}
        if name in run.attacks:
            images = run.attacks[name].images or run.evaluation.test_images
            told |= {"settings": asdict(resolved_attack(run, name)), "images": images}
        with np.load(flags) as arrays:
            made = shuffled(arrays, told["images"], rng)
        if name in run.attacks:
            told |= {"correct": int(made["correct"].sum()), "accuracy": 100 * float(made["correct"].mean())}
        write_atomic(store.arrays(run, name), lambda handle, made=made: np.savez_compressed(handle, **made))
        write_json(store.evaluation(run, name), told)


def fill(folder: Path, runs: int) -> int:
    """Make `folder` a copy of the checkout with at least so many finished runs of the tier; returns their number."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    path, seeds = folder / "config" / f"{NAME}.toml", 2
    while len(every := artefacts.all_runs(tier := parse_tier(NAME, tomllib.loads(tier_text(seeds)), NAME))) < runs:
        seeds += 1
    path.write_text(tier_text(seeds))
    store, rng, known = Store(folder / "results"), np.random.default_rng(0), templates()
    for run in every.values():
        write_run(store, tier, run, known, rng)
    return len(every)


def cost(command: list[str], folder: Path) -> tuple[float, float]:
    """(seconds, MB at most) of one process. Raises UserError with its last word when it fails."""
    own = {"ADVDPNP_RESULTS": str(folder / "results"), "PYTHONPATH": str(folder)}
    begin = time.perf_counter()
    made = subprocess.run(
        [sys.executable, "-c", WATCH, sys.executable, *command], cwd=folder, env=os.environ | own,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    took, said = time.perf_counter() - begin, (made.stdout + made.stderr).strip().splitlines()
    if made.returncode:
        raise UserError(f"{' '.join(command[:4])} failed: {said[-1] if said else made.returncode}")
    return took, int(made.stdout.split()[-1]) / (1024**2 if sys.platform == "darwin" else 1024)


def measure(args, device: torch.device) -> dict:
    """{number of runs: {command: {"seconds": each round's, "megabytes"}}}. Raises UserError."""
    found: dict[int, dict] = {}
    for size in SIZES[:1] if args.quick else SIZES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            runs = fill(folder, size)
            found[runs] = {}
            for name, command in COMMANDS.items():
                rounds = [cost(command, folder) for _ in range(args.rounds)]
                seconds = [round(took, 2) for took, _ in rounds]
                found[runs][name] = {"seconds": seconds, "megabytes": round(max(most for _, most in rounds))}
                print(f"{runs} runs, {name}: {min(seconds):.1f} s, {found[runs][name]['megabytes']} MB", flush=True)
    return {str(runs): told for runs, told in found.items()}
