"""Kill the work at any moment, start it again, and compare with work that nobody disturbed: bit for bit.

Each trial copies a starting place, runs one scenario in a child process, SIGKILLs it, starts it again, and lets it end
after a few kills. Moments come from a seed: a time within the scenario's length, or exactly before or after the k-th
file is renamed into place (such as between model.pt and train.json). Children are forked from a process that has
imported torch, so that a kill costs hundredths of a second; the workflow's are Snakemake and its jobs, killed together.
"""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyautoattack  # noqa: F401 (for the children)
import torch
import torch._dynamo

import advdpnp.evaluate  # noqa: F401 (for the children)
from advdpnp.__main__ import main
from advdpnp.data import load
from advdpnp.store import provenance

HERE = Path(__file__).parent
TIER = HERE / "chaos.json"
UNTIMED = ("seconds", "images_per_second", "provenance")  # of a measurement, not numbers of the paper
RUNS = {"fp32": "digits-resnet18-adv_dpnp-s0", "bf16": "digits-resnet18-adv_dpnp.bf16-s0"}
ATTACKS = ("aa", "pgd20_random", "pgd40_restarts5", "geometry", "features", "corruptions")


@dataclass
class Scenario:
    """`work` in the folder ADVDPNP_RESULTS; `before` names the scenario that must have ended there first."""

    work: Callable[[], int]
    before: str | None = None
    seconds: float = 0.0  # of the undisturbed work
    renames: int = 0  # of files in it
    expected: dict = field(default_factory=dict)


def train(kind: str) -> int:
    return main(["train", "--tier", str(TIER), RUNS[kind], "--device", "cpu"])


def evaluate(kind: str) -> int:
    return main(["evaluate", "--tier", str(TIER), RUNS[kind], *ATTACKS, "--device", "cpu"])


def scenarios() -> dict[str, Scenario]:
    return {
        "train fp32": Scenario(lambda: train("fp32")),
        "train bf16": Scenario(lambda: train("bf16")),
        "evaluate fp32": Scenario(lambda: evaluate("fp32"), "train fp32"),
        "evaluate bf16": Scenario(lambda: evaluate("bf16"), "train bf16"),
    }


# ------------------------------------------------------------------------------------------------- what must be equal


def untimed(value):
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if k not in UNTIMED}
    return value


def contents(root: Path) -> dict:
    """Every file that is left, by its path: numbers without timing, arrays, or bytes. Locks and notes are none."""
    found = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = str(path.relative_to(root))
        if path.suffix == ".json":
            found[name] = untimed(json.loads(path.read_text()))
        elif path.suffix == ".csv":
            with path.open(newline="") as file:
                found[name] = [untimed(row) for row in csv.DictReader(file)]
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                found[name] = {key: (str(a.dtype), a.shape, a.tobytes()) for key, a in arrays.items()}
        elif path.name == "last.pt":  # holds the seconds too
            state = torch.load(path, weights_only=True)["defense"]
            found[name] = {k: (str(v.dtype), v.shape, v.float().numpy().tobytes()) for k, v in state.items()}
        elif not path.name.endswith((".lock", ".holder")):
            found[name] = path.read_bytes()
    return found


def differences(expected: dict, found: dict) -> list[str]:
    names = sorted(expected.keys() | found.keys())
    return [name for name in names if name not in expected or name not in found or expected[name] != found[name]]


# ---------------------------------------------------------------------------------------------------- children, kills


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def child(
    work: Callable[[], int], root: Path, at_rename: tuple[int, str] | None, counter: Path | None, threads: int
) -> None:
    """What the forked process does; never returns."""
    status = 1
    try:
        torch.set_num_threads(threads)
        os.environ["ADVDPNP_RESULTS"] = str(root)
        os.setsid()
        with (root / "log.txt").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        rename, done = os.replace, 0

        def watched(source, target, **options):
            nonlocal done
            done += 1
            if (done, "before") == at_rename:
                die()
            rename(source, target, **options)
            if (done, "after") == at_rename:
                die()

        os.replace = watched
        status = work()
        if counter:
            counter.write_text(str(done))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def start(work: Callable[[], int], root: Path, *, at_rename=None, after=None, counter=None, threads=1) -> int:
    """Run `work` in `root` on `threads`; kill it `after` seconds or `at_rename`. Returns its status, -9 when killed."""
    root.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        child(work, root, at_rename, counter, threads)
    until = None if after is None else time.monotonic() + after
    while True:
        ended, status = os.waitpid(pid, 0 if until is None else os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            os.kill(pid, signal.SIGKILL)
            until = None
        else:
            time.sleep(0.002)


class Lost(AssertionError):
    """Something was lost, or came out different."""


def ended(status: int, name: str, root: Path) -> None:
    if status != 0:
        raise Lost(f"{name}: exit status {status}; {(root / 'log.txt').read_text()[-3000:]}")
    (root / "log.txt").unlink()


class Chaos:
    """Undisturbed results in `place`, made once, and trials against them."""

    def __init__(self, place: Path):
        self.place, self.scenarios, self.kills = place, scenarios(), {}
        load("digits", "test")  # imports and caches that the children inherit
        provenance("cpu")

    def undisturbed(self, name: str) -> Scenario:
        scenario = self.scenarios[name]
        if scenario.expected:
            return scenario
        root, counter = self.prepared(name, "undisturbed"), self.place / "renames"
        begin = time.monotonic()
        ended(start(scenario.work, root, counter=counter), name, root)
        scenario.seconds, scenario.renames = time.monotonic() - begin, int(counter.read_text())
        scenario.expected = contents(root)
        return scenario

    def prepared(self, name: str, what: str) -> Path:
        """A folder for `name` with what it builds on."""
        root = self.place / what / name.replace(" ", "-")
        before = self.scenarios[name].before
        if before:
            self.undisturbed(before)
            shutil.copytree(self.place / "undisturbed" / before.replace(" ", "-"), root)
        return root

    def trial(self, name: str, seed: int, most: int) -> int:
        """Up to `most` kills at moments of `seed`, then to the end. Returns how many hit. Raises Lost."""
        scenario, draw = self.undisturbed(name), random.Random(f"{name} {seed}")
        root, hit, moments = self.prepared(name, f"trial-{seed}"), 0, []
        count = random.Random(f"threads {name} {seed}")

        def threads() -> int:  # a training that was begun on one thread goes on with one, whatever it is given
            return count.choice((1, 2)) if name.startswith("train ") and [*root.rglob("last.pt")] else 1

        for _ in range(most):
            if draw.random() < 0.5:
                moment = {"at_rename": (draw.randint(1, scenario.renames), draw.choice(("before", "after")))}
            else:
                moment = {"after": draw.uniform(0, scenario.seconds)}
            moments.append(moment)
            status = start(scenario.work, root, **moment, threads=threads())
            if status == 0:
                break
            if status != -signal.SIGKILL:
                ended(status, name, root)
            hit += 1
        ended(start(scenario.work, root, threads=threads()), name, root)
        if changed := differences(scenario.expected, contents(root)):
            raise Lost(f"{name}, seed {seed}, killed at {moments}: {', '.join(changed)} differ")
        shutil.rmtree(root)
        self.kills[name] = self.kills.get(name, 0) + hit
        return hit

    def workflow(self, seed: int, most: int) -> int:
        """The same runs by Snakemake, it and its jobs killed together, at most `most` times. Raises Lost."""
        name, draw = "evaluate fp32", random.Random(f"workflow {seed}")
        expected = self.undisturbed(name).expected
        root = self.place / f"workflow-{seed}"
        root.mkdir()
        environment = os.environ | {"ADVDPNP_RESULTS": str(root / "results"), "CHAOS_TIER": str(TIER)}
        environment["PYTHONPATH"] = str(HERE.parents[1])
        command = [sys.executable, "-m", "snakemake", "-s", str(HERE / "Snakefile"), "-d", str(root), "--cores", "1"]
        command += ["--rerun-incomplete", "--quiet", "--config", f"run={RUNS['fp32']}", f"attacks={','.join(ATTACKS)}"]
        hit = 0
        for attempt in range(most + 1):
            with (root / "log.txt").open("a") as log:
                if attempt:  # a killed Snakemake leaves its lock, as the README says
                    subprocess.run([*command, "--unlock"], env=environment, stdout=log, stderr=log, check=True)
                job = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
                try:
                    status = job.wait(draw.uniform(1.5, 7.0) if attempt < most else None)
                except subprocess.TimeoutExpired:
                    os.killpg(job.pid, signal.SIGKILL)
                    job.wait()
                    hit += 1
                    continue
            if status:
                raise Lost(f"workflow, seed {seed}: exit status {status}; {(root / 'log.txt').read_text()[-3000:]}")
            break
        if changed := differences(expected, contents(root / "results")):
            raise Lost(f"workflow, seed {seed}: {', '.join(changed)} differ")
        shutil.rmtree(root)
        self.kills["workflow"] = self.kills.get("workflow", 0) + hit
        return hit
