"""One network's evaluations by this build and by an earlier commit's, in turn: what computing everything once is worth.

Each build is a process of its own, run from its own files (`git archive`), on the same network, images and threads.
Core-seconds are counted within it, around `evaluate`: the start of Python and of torch is the same on both sides and
left out. `flags` says on how many images the two disagree, in the attacks whose draws are the same in both. Where the
earlier build lacks a setting of the training, such as `pull`, it gets the weights beside the settings that it knows.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from advdpnp.checkout import git
from advdpnp.config import ATTACKS, ROOT, RunConfig, load_tier, resolve
from advdpnp.data import data_root, load
from advdpnp.errors import UserError
from advdpnp.paper.artefacts import EVERYTHING, evaluations_of
from advdpnp.store import RESULTS, Store, read_json, write_json
from advdpnp.train import changed_settings
from benchmarks.timing import interleaved, line

EARLIER = "c2e00d6"  # the last build that computed every attack alone
PARTS = {
    "Table 6": [f"pgd{n}_random" for n in (20, 40, 100, 250, 500)],
    "Table 7": [f"pgd40_restarts{n}" for n in (1, 5, 10, 20)],
    "PGD-20 and PGD-100": ["pgd20", "pgd100"],
    "AutoAttack at four budgets": ["aa", "aa_eps6", "aa_eps4", "aa_eps2"],
}
KNOWN = "from advdpnp.evaluate import ATTACKS, SPECIAL; print(*ATTACKS, *SPECIAL)"
LOAD = """
try:
    from advdpnp.config import load_tier, resolve
except ImportError:  # builds before November 2026
    from advdpnp.tiers import load_tier, resolve
"""
SETTINGS = (
    LOAD
    + """
import json, sys
from advdpnp.config import digest
settings = resolve(load_tier(sys.argv[1]), sys.argv[2]).training_settings()
print(json.dumps({"settings": settings, "digest": digest(settings)}))
"""
)
MEASURE = (
    LOAD
    + """
import json, resource, sys, time
from dataclasses import replace
from pathlib import Path
from advdpnp.evaluate import evaluate
tier, run, folder, most, *names = sys.argv[1:]
run, most = resolve(load_tier(tier), run), int(most)
def cut(settings, *keys):
    return replace(settings, **{key: min(getattr(settings, key) or most, most) for key in keys})
if most:
    attacks = {name: cut(attack, "images") if attack.images else attack for name, attack in run.attacks.items()}
    run = replace(run, evaluation=cut(run.evaluation, "test_images", "corruption_images"), attacks=attacks)
begin, wall = time.process_time(), time.perf_counter()
evaluate(run, *names, directory=Path(folder), device="cpu", force=True)
seconds = {"core": time.process_time() - begin, "wall": time.perf_counter() - wall}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
print(json.dumps(seconds | {"megabytes": peak}))
"""
)


def unpacked(commit: str, folder: Path) -> Path:
    """The files of a commit of this checkout, below `folder`. Raises UserError where there is no such commit."""
    try:
        made = git("archive", commit, "advdpnp", "config", root=ROOT)
    except FileNotFoundError:
        raise UserError("once compares with an earlier commit: git is not installed.") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode().strip().splitlines()[-1]
        raise UserError(f"--against {commit}: expected a commit of this checkout, git says: {reason}") from None
    with tarfile.open(fileobj=io.BytesIO(made)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def asked(build: Path, results: Path, code: str, *arguments: str) -> str:
    """What a process of that build prints last. Raises UserError with its last word when it fails."""
    own = {"ADVDPNP_RESULTS": str(results), "ADVDPNP_DATA": str(data_root().resolve())}
    command = [sys.executable, "-c", code, *arguments]
    made = subprocess.run(command, cwd=build, env=os.environ | own, capture_output=True, text=True)
    if made.returncode:
        raise UserError(f"the build in {build} failed: {made.stderr.strip().splitlines()[-1]}")
    return made.stdout.strip().splitlines()[-1]


def adopted(trained: Path, told: Mapping, folder: Path) -> Path:
    """A copy of a trained run under the settings that another build has for it. Raises UserError where they differ."""
    here = read_json(trained / "config.json", "method")
    if differ := changed_settings(here, told["settings"], known=True):
        raise UserError(f"{trained}: the earlier build has other settings for this run: {'; '.join(differ)}.")
    shutil.copytree(trained, folder)
    write_json(folder / "config.json", told["settings"])
    write_json(folder / "train.json", read_json(trained / "train.json") | {"settings_digest": told["digest"]})
    return folder


def network(run_dir: Path | None) -> tuple[RunConfig, Path]:
    """The run of a folder, else the demo's AT. Raises UserError where it is not trained."""
    folder = RESULTS.run(resolve("demo", "digits-resnet18-at-s0")) if run_dir is None else run_dir
    if not (folder / "train.json").exists():
        raise UserError(f"{folder} has no train.json: run `make demo` first, or name a trained run by --run-dir.")
    about = read_json(folder / "train.json", "run", "tier")
    return resolve(load_tier(about["tier"]), about["run"]), folder.resolve()


def everything(run: RunConfig, known: Iterable[str]) -> list[str]:
    """What all tables and figures ask of an Adv-DPNP network, as far as this run and the other build can answer."""
    tier = load_tier(run.tier)
    names = [n for n in evaluations_of(tier, tier.run(run.block, "Adv-DPNP", 0), EVERYTHING) if n in known]
    own = [
        name for name in names if name in ATTACKS and (ATTACKS[name].kind == "adaptive" or ATTACKS[name].renormalise)
    ]
    return names if run.method == "Adv-DPNP" else [name for name in names if name not in own]


def disagreements(run: RunConfig, names: Iterable[str], folders: Mapping[str, Path]) -> dict[str, int]:
    """{attack: images whose flags differ between the builds}, where both have the same draws."""
    found = {}
    for name in names:
        if name in ATTACKS and not ATTACKS[name].random_start:
            paths = [Store(folder).arrays(run, name) for folder in folders.values()]
            one, other = (np.load(path)["correct"] for path in paths)
            found[name] = int((one != other).sum())
    return found


def check_images(run: RunConfig, images: int | None) -> None:
    """Raises UserError where the first `images` test images lack a class: geometry is measured of all of them."""
    labels = load(run.dataset, "test").labels
    fewest = 1 + max(int((labels == label).nonzero()[0]) for label in range(run.facts.classes))
    if images and images < fewest:
        raise UserError(f"--images {images}: expected at least {fewest}, so that each class has a test image.")


def measure(args, device: torch.device) -> dict:
    """{'commit', 'model', 'images', part: seconds, median, spread, ratio, megabytes, flags}. Raises UserError."""
    run, trained = network(args.run_dir)
    check_images(run, args.images)
    with tempfile.TemporaryDirectory() as scratch:
        builds = {"once": ROOT, "earlier": unpacked(args.against, Path(scratch) / "earlier")}
        results = {who: Path(scratch) / "results" / who for who in builds}
        theirs = json.loads(asked(builds["earlier"], results["earlier"], SETTINGS, run.tier, run.id))
        folders = {"once": trained, "earlier": adopted(trained, theirs, Path(scratch) / "trained")}
        known = set.intersection(*(set(asked(builds[who], results[who], KNOWN).split()) for who in builds))
        parts = PARTS if args.quick else PARTS | {"everything": everything(run, known)}
        found: dict = {"commit": args.against, "model": f"{run.id} of tier {run.tier}", "images": args.images or "all"}
        for part, names in parts.items():
            told: dict[str, list[dict]] = {who: [] for who in builds}

            def work(who: str, names: list[str] = names, told: dict = told) -> float:
                arguments = run.tier, run.id, str(folders[who]), str(args.images or 0), *names
                told[who].append(json.loads(asked(builds[who], results[who], MEASURE, *arguments)))
                return told[who][-1]["core"]

            works = {who: lambda who=who, work=work: work(who) for who in builds}
            found[part] = interleaved(works, args.rounds, warm=False, clock=lambda work: work())
            found[part]["megabytes"] = {who: round(max(each["megabytes"] for each in told[who])) for who in builds}
            found[part]["wall"] = {who: [each["wall"] for each in told[who]] for who in builds}
            found[part]["flags"] = disagreements(run, names, results)
            changed = sum(found[part]["flags"].values())
            print(line(part, found[part]), f"(core-seconds; {changed} flags differ)", flush=True)
    return found
