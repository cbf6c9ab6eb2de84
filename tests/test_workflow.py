"""The graph of jobs, as Snakemake plans it (dry runs: nothing is trained)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def plan(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--forceall", "--cores", "1", *arguments]
    own = {key: value for key, value in os.environ.items() if not key.startswith("ADVDPNP_")}  # the checkout's results/
    options = {"cwd": ROOT, "env": own, "capture_output": True, "text": True, "timeout": 300} | options
    return subprocess.run(command, **options)


def jobs(done: subprocess.CompletedProcess) -> dict[str, int]:
    """The last 'Job stats' table of a dry run."""
    assert done.returncode == 0, done.stdout + done.stderr
    table = (done.stdout + done.stderr).rsplit("Job stats:", 1)[1].split("\n\n", 1)[0]
    return {name: int(n) for name, n in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}


def test_the_paper_is_34_trainings_8_tables_and_3_figures():
    done = plan("all")
    counted = jobs(done)
    assert (counted["train"], counted["table"], counted["figure"]) == (34 + 1, 8, 3)
    assert counted["data"] == 4
    trained = set(re.findall(r"Train ([\w.-]+) \(paper\)", done.stdout + done.stderr))
    assert len(trained) == 34 + 1  # and the other reading of Eq. (3)
    assert "cifar10-resnet18-adv_dpnp.printed-s0" in trained
    assert not [run for run in trained if re.match(r"(svhn|.*wrn34).*-(oc|pcl|hat|at_he|trades|mart)-", run)]


def test_one_table_of_the_demo_needs_only_its_runs():
    counted = jobs(plan("results/demo/tables/table1.csv"))
    assert (counted["train"], counted["table"]) == (7, 1)


def test_what_a_notebook_opened_by_hand_leaves_is_no_finished_job(tmp_path):
    """A table without its executed notebook, as after `make test` or Jupyter, is made again."""
    for folder in ("advdpnp", "config", "notebooks", "profiles", "Snakefile", "data"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    tables, figures = ("ledger", *(f"table{n}" for n in range(1, 9))), ("method", "figure2", "figure3", "figure4")
    for name in (*(f"tables/{name}.csv" for name in tables), *(f"figures/{name}.png" for name in figures)):
        left = tmp_path / "results" / "demo" / name
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_text("left by a notebook")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", "demo"]
    own = {key: value for key, value in os.environ.items() if not key.startswith("ADVDPNP_")}
    counted = jobs(subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=300))
    assert (counted["table"], counted["figure"], counted["method"]) == (9, 3, 1)


def test_the_demo_attacks_each_network_in_one_job():
    """Starting Python takes longer than its attacks; elsewhere every table's attacks are a job of their own."""
    counted = jobs(plan("demo"))
    assert counted["evaluate"] == counted["train"]
    done = plan("results/short/tables/table1.csv", "results/short/tables/table4.csv")
    assert jobs(done)["evaluate"] > jobs(done)["train"]
    assert re.search(r"Evaluate \S+ for table4 \(short\)", done.stdout + done.stderr)


def test_hat_waits_for_its_standard_helper():
    done = plan("results/demo/runs/digits-resnet18-hat-s0/train.json")
    assert jobs(done)["train"] == 2
    assert "Train digits-resnet18-st-s0 (demo)" in done.stdout + done.stderr


def test_every_rule_says_what_it_does_in_words():
    text = (ROOT / "Snakefile").read_text(encoding="utf-8")
    rules = re.findall(r"^rule (\w+):\n( +message: \".+\")?", text, re.MULTILINE)
    assert len(rules) >= 10
    assert [name for name, message in rules if not message] == []


@pytest.mark.parametrize("target", ["results/demo/tables/table9.csv", "results/dmeo/tables/table1.csv"])
def test_a_target_that_nothing_makes_is_refused(target):
    done = plan(target)
    assert done.returncode != 0
    assert "table" in done.stdout + done.stderr
