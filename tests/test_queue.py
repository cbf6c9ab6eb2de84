"""A list of runs within a time limit, continued by later calls; and on a machine that has next to nothing installed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chaos.harness import untimed

from advdpnp.__main__ import main
from advdpnp.config import load_tier
from advdpnp.jobs import queue
from advdpnp.progress import Progress, TimeUp, deadline, time_limit

ROOT = Path(__file__).parent.parent
SETTINGS = {
    "label": "tiny",
    "methods": ["AT", "HAT"],
    "defaults": {
        "data": {"train_images": 64},
        "model": {"width": 4},
        "optim": {"epochs": 3, "milestones": [], "precision": "fp32"},
        "craft": {"steps": 1},
        "evaluation": {"test_images": 24, "batch_size": 8, "corruption_images": 4},
    },
    "attacks": {"aa": {"images": 8, "square_queries": 5, "version": "smoke"}},
    "blocks": {"cifar10/resnet18": {"dataset": "digits"}},
}
RUN = "digits-resnet18-at-s0"


def numbers(root: Path) -> dict:
    """Everything measured below a folder, without times and provenance."""
    found = {}
    for path in sorted(root.rglob("*.json")):
        value = untimed(json.loads(path.read_text()))
        found[str(path.relative_to(root))] = {k: v for k, v in value.items() if k != "final"}
    return found


@pytest.fixture
def tier(tmp_path):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(SETTINGS))
    return str(path)


def test_the_paper_comes_in_the_order_of_importance():
    tier = load_tier("paper")
    runs = [run.id for run in queue.ordered(tier)]
    assert len(runs) == 34 + 1
    first = ("adv_dpnp", "at", "trades", "st", "mart", "at_he", "hat", "ikl", "fsr", "dio", "oc", "pcl")
    assert runs[:12] == [f"cifar10-resnet18-{method}-s0" for method in first]
    assert runs[12:14] == ["cifar10-resnet18-adv_dpnp.printed-s0", "cifar100-resnet18-adv_dpnp-s0"]
    evaluations = set(queue.evaluations(tier, queue.ordered(tier)[0]))
    assert {"clean", "aa", "pgd100_l1", "aa_eps2", "geometry", "corruptions", "adaptive20"} <= evaluations


def test_calls_without_time_get_further_each_time_and_end_in_the_same_numbers(tier, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(queue, "evaluations", lambda tier, run: ("clean", "pgd20", "aa", "geometry", "corruptions"))
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path / "whole"))
    assert main(["work", "--tier", tier, RUN]) == 0

    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path / "pieces"))
    command = ["work", "--tier", tier, RUN, "--max-minutes", "0", "--output", str(tmp_path / "out")]
    statuses = []
    while not statuses or statuses[-1] == 75:
        statuses.append(main(command))
        assert len(statuses) < 200
    assert statuses[-1] == 0
    assert len(statuses) > 8, "3 epochs and several batches, one per call"
    assert "time is up" in capsys.readouterr().err
    whole, pieces = (numbers(tmp_path / name / "tiny") for name in ("whole", "pieces"))
    assert len(whole) == 7
    assert whole == pieces
    assert numbers(tmp_path / "out" / "tiny") == whole
    assert {path.suffix for path in (tmp_path / "out").rglob("*.*")} == {".json", ".npz", ".csv"}


def test_nothing_new_is_begun_in_the_last_tenth():
    with time_limit(10):
        deadline().begin -= 8 * 60
        queue.check_time("three minutes where two are left, but nothing has been done yet", 180)
        deadline().moved = True
        queue.check_time("fits")
        with pytest.raises(TimeUp):
            queue.check_time("three minutes where two are left", 180)
        deadline().begin -= 1.5 * 60
        with pytest.raises(TimeUp):
            queue.check_time("short")


def test_a_limit_stops_after_the_unit_that_fits_and_leaves_whole_work_alone(capsys):
    def seconds(progress: Progress) -> None:
        for _ in range(10):
            time.sleep(0.02)
            progress.update()

    with time_limit(0.05 / 60):
        done = Progress("attack", 10)
        with pytest.raises(TimeUp):
            seconds(done)
    assert 1 <= done.done < 10
    assert "time is up at" in capsys.readouterr().err
    with time_limit(0):
        seconds(Progress("features", 10, stops=False))
        with pytest.raises(TimeUp):
            Progress("the next", 3)
    seconds(Progress("no limit", 10))


def test_evaluate_takes_a_limit_too(tier, capsys):
    assert main(["train", "--tier", tier, RUN]) == 0
    command = ["evaluate", "--tier", tier, RUN, "pgd20", "--max-minutes", "0"]
    assert [main(command) for _ in range(3)] == [75, 75, 0]
    assert "pgd20" in capsys.readouterr().out


def test_what_cannot_run_here_is_left_out_and_said(tier, monkeypatch, capsys):
    monkeypatch.setattr(queue, "evaluations", lambda tier, run: ("clean", "aa", "corruptions"))
    monkeypatch.setattr(queue, "_installed", lambda package: False)
    assert main(["work", "--tier", tier, RUN]) == 2
    said = capsys.readouterr().err
    assert "error: done, but for aa (pyautoattack), corruptions (scipy)" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tier", "paper", "--device", "cpu"], "--allow-cpu"),
        (["--tier", "demo", "digits-resnet18-atx-s0"], "did you mean 'at'"),
        (["--max-minutes", "soon"], "--max-minutes"),
    ],
)
def test_mistakes_are_one_sentence(arguments, said, capsys):
    assert main(["work", *arguments]) == 2
    captured = capsys.readouterr().err
    assert said in captured
    assert captured.count("\n") == 1


# Runs with torch, numpy, pyarrow and Pillow alone: MNIST as the hub's parquet, cut to a few images.
BARE = """
import importlib.machinery, importlib.metadata, io, json, os, sys
if "--hide" in sys.argv:  # every installed package but those, and what torch requires, is as if it were not there
    kept = {"torch", "torchgen", "functorch", "numpy", "pyarrow", "PIL", "filelock", "typing_extensions", "sympy"}
    kept |= {"mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "advdpnp"}
    hidden = set(importlib.metadata.packages_distributions()) - kept
    class Kept(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            there = name.partition(".")[0] not in hidden
            return super().find_spec(name, path, target) if there else None
    sys.meta_path = [Kept if f is importlib.machinery.PathFinder else f for f in sys.meta_path]
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from PIL import Image
from advdpnp import config
from advdpnp.__main__ import main
assert main(["plan", "--tier", "paper"]) == main(["status", "--tier", "short"]) == 0
config.DATASETS["mnist"] = config.DatasetFacts(10, 1, 28, False, 64, 24)
place, draw = os.environ["ADVDPNP_DATA"], np.random.default_rng(0)
os.makedirs(f"{place}/mnist", exist_ok=True)
for split, n in (("train", 64), ("test", 24)):
    rows = []
    for i in range(n):
        buffer = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (28, 28), dtype=np.uint8)).save(buffer, "PNG")
        rows.append({"image": {"bytes": buffer.getvalue(), "path": None}, "label": i % 10})
    pq.write_table(pa.Table.from_pylist(rows), f"{place}/mnist/{split}-00000-of-00001.parquet")
settings = {"label": "bare", "methods": ["AT"], "defaults": {"model": {"width": 4}, "craft": {"steps": 1},
    "optim": {"epochs": 1, "batch_size": 32, "milestones": []}, "evaluation": {"batch_size": 8}},
    "blocks": {"mnist/lenetspp": None}}
with open(f"{place}/bare.json", "w") as file:
    json.dump(settings, file)
tier, run = ["--tier", f"{place}/bare.json"], "mnist-lenetspp-at-s0"
def call(*arguments, expected=0):
    status = main([*arguments])
    assert status == expected, (arguments, status)
call("fetch", "mnist")
status = 75
while status == 75:
    status = main(["work", *tier, run, "--max-minutes", "0", "--output", f"{place}/out"])
assert status == 0, status
call("evaluate", *tier, run, "fgsm", "pgd20_l2", "pgd20_random", "cw30", "geometry", "features")
call("train", *tier, run)
call("status", *tier)
call("report", *tier, "--output", "-")
call("publish", "--tier", "demo", expected=2)
loaded = {"yaml", "scipy", "sklearn", "pandas", "matplotlib", "torchvision", "snakemake"} & set(sys.modules)
assert not loaded, loaded
print("bare: all done")
"""


def test_torch_numpy_pyarrow_and_pillow_are_enough(tmp_path):
    environment = {"ADVDPNP_DATA": str(tmp_path), "ADVDPNP_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}
    environment |= {"ADVDPNP_RESULTS": str(tmp_path / "results"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BARE, "--hide"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bare: all done" in done.stdout
