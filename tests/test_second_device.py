"""Device mistakes, found without a GPU: everything runs on a pretended one (tests/second_device).

Results there must equal the CPU's bit for bit, and what CUDA refuses must be refused. One process runs the whole list.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from second_device.cases import CASES, REFUSED

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def outcomes():
    """{case: "" or what went wrong}"""
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}  # a real GPU would be taken first
    command = [sys.executable, str(TESTS / "second_device" / "cases.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_equals_the_cpu_bit_for_bit(outcomes, name):
    assert outcomes[name] == "", outcomes[name]


@pytest.mark.parametrize("name", REFUSED)
def test_the_pretended_device_refuses(outcomes, name):
    assert outcomes[f"refused: {name}"] == ""


def test_the_pretended_device_allows_what_cuda_allows(outcomes):
    assert outcomes["allowed"] == ""


def test_the_results_came_from_the_pretended_device(outcomes):
    """Should everything have run on the CPU twice, all would be equal too."""
    assert outcomes["device"] == "a pretended GPU"
