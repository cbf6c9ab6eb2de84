"""make slurm-test: two trainings, their attacks and a table through a real Slurm, both trainings killed on the way.

One training process gets SIGKILL, the other job `scancel`. Snakemake submits both again, they go on from their state,
and every file equals that of the same workflow on one machine without Slurm.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE.parent / "chaos")]

from cluster import Cluster, install, why_not  # noqa: E402
from harness import contents, differences  # noqa: E402

TARGET = "results/tiny/tables/table8.csv"
RUNS = ("digits-resnet18-adv_dpnp-s0", "digits-resnet18-adv_dpnp-s1")
PROFILE = ["--profile", "profiles/slurm", "--set-resources", "train:gpu=1", "--latency-wait", "5"]
# This Slurm keeps no accounts, is asked sooner than a busy one should be, and has little memory.
PROFILE += ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2", "--slurm-no-account"]


def checkout(place: Path) -> Path:
    """A copy of this checkout with one tier more, so that results/ starts empty."""
    for name in ("Snakefile", "pyproject.toml", "advdpnp", "config", "data/paper", "notebooks", "profiles"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, place / name)
    shutil.copy(HERE / "tiny.toml", place / "config")
    return place


def snakemake(place: Path, *options: str) -> subprocess.Popen:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ADVDPNP_", "SLURM_"))}
    environment |= {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "snakemake", TARGET, *options]
    with (place / "log.txt").open("w") as log:
        return subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log)


def finish(job: subprocess.Popen, place: Path, seconds: float = 900) -> None:
    try:
        status = job.wait(seconds)
    except subprocess.TimeoutExpired:
        job.kill()
        status = f"still running after {seconds} s"
    if status != 0:
        logs = [place / "log.txt", *place.glob("results/tiny/logs/**/*.log"), *place.glob(".snakemake/slurm_logs/**/*")]
        logs = [path for path in logs if path.is_file()]
        shown = [f"== {path}\n{path.read_text()[-1500:]}" for path in logs]
        raise SystemExit("\n".join([*shown, f"ended with: {status}"]))


def epochs(place: Path, run: str) -> list[dict]:
    """The training's log so far; each epoch carries the seconds it took, which no second training would repeat."""
    path = place / "results/tiny/runs" / run / "log.csv"
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def kill_on_the_way(place: Path, job: subprocess.Popen, run: str, kill) -> list[dict]:
    """Wait until the training has a state to go on from, kill it; returns the epochs that it had finished."""
    note = place / "results/tiny/runs" / run / "run.holder"
    until = time.monotonic() + 120
    while time.monotonic() < until and job.poll() is None:
        if note.exists() and (note.parent / "log.csv").exists():
            pid = json.loads(note.read_text())["pid"]
            kill(pid)
            while Path(f"/proc/{pid}").exists():
                time.sleep(0.05)
            before = epochs(place, run)
            print(f"killed {run} after {len(before)} epochs", flush=True)
            return before
        time.sleep(0.05)
    finish(job, place, 0)
    raise SystemExit(f"{run} was never seen training")


def slurm_job(pid: int) -> tuple[str, str]:
    """Id of the Slurm job that a process belongs to, and the GPUs that it was given."""
    pairs = (item.partition("=") for item in Path(f"/proc/{pid}/environ").read_text().split("\0"))
    own = {name: value for name, _, value in pairs}
    return own["SLURM_JOB_ID"], own["CUDA_VISIBLE_DEVICES"]


def main() -> int:
    if reason := why_not():
        print(f"error: {reason}", file=sys.stderr)
        return 2
    begin = time.monotonic()
    install()
    with tempfile.TemporaryDirectory(prefix="advdpnp-slurm-") as folder:
        local, remote = (checkout(Path(folder) / name) for name in ("local", "remote"))
        finish(snakemake(local, "--cores", "1", "--quiet"), local)
        print(f"on one machine: {time.monotonic() - begin:.0f} s", flush=True)
        given = {}

        def sigkill(pid: int) -> None:
            given[RUNS[0]] = slurm_job(pid)
            os.kill(pid, signal.SIGKILL)

        def scancel(pid: int) -> None:
            given[RUNS[1]] = slurm_job(pid)
            subprocess.run(["scancel", given[RUNS[1]][0]], check=True)

        with Cluster(Path(folder) / "slurm"):
            job = snakemake(remote, *PROFILE)
            before = {run: kill_on_the_way(remote, job, run, kill) for run, kill in zip(RUNS, (sigkill, scancel))}
            finish(job, remote)
        for run in RUNS:
            after = epochs(remote, run)
            assert 0 < len(before[run]) < len(after), f"{run} was not killed on the way"
            assert after[: len(before[run])] == before[run], f"{run} was trained from the start again"
        for part in ("runs", "evals", "evaluated", "tables"):
            expected, found = (contents(place / "results/tiny" / part) for place in (local, remote))
            assert expected, part
            assert not differences(expected, found), f"{part} differ: {differences(expected, found)}"
        notes = {run: json.loads((remote / "results/tiny/runs" / run / "train.json").read_text()) for run in RUNS}
    for run, (number, gpu) in given.items():
        same = notes[run]["model_sha256"][:16]
        print(f"{run}: Slurm job {number}, GPU {gpu}; model {same} by Slurm and on one machine")
    assert len({gpu for _, gpu in given.values()}) == 2, "both jobs were given the same GPU"
    print(f"slurm: two jobs killed, nothing lost, {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
