"""The package as a wheel, without its checkout, in an empty folder: it works there, and says what it lacks."""

import os
import re
import subprocess
import sys

import pytest

from advdpnp.config import ROOT
from advdpnp.store import code_hash

RUN = "digits-resnet18-st-s0"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A function that runs python in an empty folder, with the wheel's files and no checkout."""
    place = tmp_path_factory.mktemp("wheel")
    made = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        str(ROOT),
        "-w",
        str(place),
    ]
    done = subprocess.run(made, capture_output=True, text=True)
    if done.returncode and "hatchling" in done.stderr:
        made.remove("--no-build-isolation")
        done = subprocess.run(made, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = place.glob("*.whl")
    target = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(place / "site"), str(wheel)]
    subprocess.run(target, check=True, capture_output=True)
    folder = place / "elsewhere"
    folder.mkdir()
    own = {key: value for key, value in os.environ.items() if not key.startswith("ADVDPNP_")}

    def run(*arguments: str) -> subprocess.CompletedProcess:
        environment = own | {"PYTHONPATH": str(place / "site"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    run.folder = folder
    return run


def test_case_01_it_has_its_tiers_and_the_paper_s_numbers(installed):
    said = installed("-m", "advdpnp", "status", "--tier", "short")
    assert said.returncode == 0, said.stderr
    assert re.search(r"\b[1-9]\d* trainings", said.stdout)
    assert "nothing is left to do" not in said.stdout
    code = (
        "from advdpnp import store; from advdpnp.config import CHECKOUT, ROOT\n"
        "from advdpnp.paper.numbers import reported\n"
        "print(CHECKOUT, ROOT, reported(1, dataset='cifar10', backbone='resnet18', method='AT', column='clean'),"
        " store.code_revision(), store.code_hash())"
    )
    assert installed("-c", code).stdout.split() == ["False", str(installed.folder), "83.78", "unknown", code_hash()]


def test_case_01_it_trains_evaluates_and_reports_below_the_working_folder(installed):
    for words in (("train", RUN), ("evaluate", RUN, "clean", "fgsm"), ("report",)):
        done = installed("-m", "advdpnp", *words)
        assert done.returncode == 0, done.stderr
    results = installed.folder / "results" / "demo"
    assert (results / "runs" / RUN / "model.pt").exists()
    assert (results / "evals" / RUN / "fgsm.npz").exists()
    assert "| ST |" in (results / "report.md").read_text()
    assert RUN in installed("-m", "advdpnp", "status").stdout


def test_case_01_a_tier_of_ones_own_is_found(installed):
    (installed.folder / "mine.toml").write_text((ROOT / "config" / "short.toml").read_text())
    said = installed("-m", "advdpnp", "plan", "--tier", "mine.toml")
    assert re.search(r"\b[1-9]\d* trainings", said.stdout)
    assert installed("-m", "advdpnp", "status", "--tier", "mien.toml").returncode == 2
