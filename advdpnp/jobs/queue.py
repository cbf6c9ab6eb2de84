"""python -m advdpnp work: train and attack a list of runs within a time limit; the next call goes on where it stopped.

For a borrowed GPU machine: it needs torch, numpy, pyarrow and Pillow. AutoAttack needs pyautoattack too, and CIFAR-10-C
scipy; where one is missing, those evaluations are left for another machine, and said to be.
"""

import math
import sys
from collections.abc import Iterable
from csv import DictReader
from importlib.util import find_spec
from pathlib import Path

from advdpnp.config import ATTACKS, FACTS, PAPER_BLOCKS, RunConfig, Tier, load_tier, resolve, with_dependencies
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate
from advdpnp.hardware import require_hardware
from advdpnp.jobs.status import run_state
from advdpnp.paper import artefacts
from advdpnp.progress import TimeUp, deadline, time_limit
from advdpnp.store import RESULTS, check_writable, copy_file
from advdpnp.train import fit

TIME_RESERVE = 0.1  # of the time: nothing new is begun in its last tenth
NOT_INTERRUPTIBLE = ("geometry", "features", "guard")  # evaluations that cannot stop in between


def work(
    tier_name: str,
    run_ids: Iterable[str] = (),
    *,
    max_minutes: float | None = None,
    device: str = "auto",
    output: Path | None = None,
    allow_cpu: bool = False,
) -> None:
    """Train and evaluate the runs (default: all, in the order of methods.toml), each with all that tables want.

    `output` gets the small results, also when time is up or something fails. Raises TimeUp when `max_minutes` are; at
    least one epoch or batch is done in each call. Raises UserError for what a later call cannot mend, or was left out.
    """
    tier = load_tier(tier_name)
    runs = with_dependencies([resolve(tier, name) for name in run_ids] or ordered(tier))
    if not runs:
        raise UserError(f"no table or figure shows a run of tier {tier.name}; name the runs.")
    for run in runs:
        require_hardware(tier, run, device, allow_cpu)
    if output is not None:
        check_writable(output)
    left_out = set()
    try:
        with time_limit(max_minutes):
            for run in runs:
                train(run, device, runs)
                names, absent = possible(evaluations(tier, run))
                left_out |= absent
                attack(run, names, device)
    finally:
        if output is not None:
            print(copy_small(runs, output), file=sys.stderr)
    if left_out:
        raise UserError(f"done, but for {', '.join(sorted(left_out))}: install those packages and call again.")


def check_time(what: str, seconds: float = 0.0) -> None:
    """Raises TimeUp where `what`, which takes so long, does not fit before the deadline or its reserve has begun."""
    reserve = TIME_RESERVE * deadline().seconds if math.isfinite(deadline().seconds) else 0.0
    if not deadline().allows(max(seconds, reserve)):
        raise TimeUp(what)


def ordered(tier: Tier) -> list[RunConfig]:
    """Every training of the tier: the paper's blocks in turn, in each the methods in the order of methods.toml."""
    runs = artefacts.all_runs(tier).values()
    return sorted(
        runs, key=lambda run: (PAPER_BLOCKS.index(run.block), run.variant, [*FACTS].index(run.method), run.seed)
    )


def evaluations(tier: Tier, run: RunConfig) -> tuple[str, ...]:
    """All that the tables and figures want of a run; of one that is in none, the three most asked for."""
    return artefacts.evaluations_of(tier, run, artefacts.EVERYTHING) or ("clean", "pgd20", "aa")


def possible(names: Iterable[str]) -> tuple[list[str], set[str]]:
    """(evaluations that can run here, what is left out and why: 'aa (pyautoattack)')."""
    here, absent = [], set()
    for name in names:
        automatic = name in ATTACKS and ATTACKS[name].kind == "autoattack"
        package = "pyautoattack" if automatic else "scipy" if name == "corruptions" else None
        if package and not _installed(package):
            absent.add(f"{name} ({package})")
        else:
            here.append(name)
    return here, absent


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def epoch_seconds(run: RunConfig, runs: Iterable[RunConfig]) -> float:
    """Of the run's longest epoch, else of the longest among runs of the same network; 0 where none has been trained."""
    known = {}
    for other in runs:
        path = RESULTS.run(other) / "log.csv"
        if other.block == run.block and path.exists():
            with path.open(newline="") as file:
                known[other.id] = max((float(row["seconds"]) for row in DictReader(file)), default=0.0)
    return known.get(run.id, max(known.values(), default=0.0))


def train(run: RunConfig, device: str, runs: Iterable[RunConfig]) -> None:
    """To the end, unless it is there. Raises TimeUp."""
    if run_state(run) == "done" and (RESULTS.run(run) / "model.pt").exists():
        return
    check_time(run.id, epoch_seconds(run, runs))
    if fit(run, device=device) is None:
        raise TimeUp(run.id)


def attack(run: RunConfig, names: Iterable[str], device: str) -> None:
    """All evaluations; what is there and still true costs nothing. Raises TimeUp."""
    wanted = [name for name in names if not RESULTS.evaluation(run, name).exists()]
    stops = [name for name in names if name not in NOT_INTERRUPTIBLE]
    if set(stops) & set(wanted):
        check_time(run.id)
    evaluate(run, *stops, device=device)
    for name in (name for name in names if name in NOT_INTERRUPTIBLE):
        if name in wanted:
            check_time(run.id, seconds_of(run, "pgd20"))
        evaluate(run, name, device=device)
        deadline().moved |= name in wanted


def seconds_of(run: RunConfig, name: str) -> float:
    """How long an evaluation took, 0 where it was not made."""
    found = RESULTS.read_evaluation(run, name, "seconds")
    return found["seconds"] if found else 0.0


def copy_small(runs: Iterable[RunConfig], output: Path) -> str:
    """Copy what the runs measured, without weights, to `output`/<tier>/, as it lies in results/; returns a line."""
    found = {path: run.tier for run in runs for path in RESULTS.small_files(run)}
    for path, tier in found.items():
        copy_file(path, output / tier / path.relative_to(RESULTS.tier(tier)))
    return f"{len(found)} files, {sum(path.stat().st_size for path in found) / 1e6:.1f} MB, copied to {output}"
