"""Jobs beside each other on one machine take different GPUs. The GPUs are made up; processes and locks are real."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

JOB = """
import sys, types, torch
seen = [int(i) for i in sys.argv[1].split(",")]  # as CUDA_VISIBLE_DEVICES names them
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: len(seen)
torch.cuda.get_device_properties = lambda index: types.SimpleNamespace(uuid=f"card-{seen[index]}")
torch.cuda.set_device = lambda index: print("current", index, file=sys.stderr)
from advdpnp.hardware import pick_device
device = pick_device()
assert pick_device() == device
print(seen[device.index], flush=True)
sys.stdin.readline()  # holds it until told to end
"""


@pytest.fixture
def start(tmp_path):
    jobs = []

    def start(visible: str) -> tuple[subprocess.Popen, str]:
        environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent.parent)}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        job = subprocess.Popen([sys.executable, "-c", JOB, visible], env=environment, text=True, **pipes)
        jobs.append(job)
        return job, job.stdout.readline().strip()

    yield start
    for job in jobs:
        job.kill()
        job.communicate()


def test_each_job_takes_a_card_of_its_own_and_a_killed_one_gives_it_back(start):
    first, card = start("0,1")
    assert card == "0"
    assert start("0,1")[1] == "1"
    third, card = start("0,1")
    assert card == "0"
    assert "all 2 GPUs are taken" in third.communicate("\n")[1]
    first.kill()
    first.wait()
    assert start("0,1")[1] == "0"


def test_cards_are_told_apart_by_their_own_names(start):
    assert start("2,3")[1] == "2"
    assert start("3,2")[1] == "3"
    assert start("1,2,3")[1] == "1"


def test_the_only_visible_card_is_taken_as_it_is(start):
    assert start("5")[1] == "5"
    assert start("5")[1] == "5", "Slurm gave both jobs this card: it is not ours to refuse"
