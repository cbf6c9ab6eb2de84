"""Troubles that other people reported of tools like this one, tried on this one: each ends in the right behaviour.

A name that holds case_NN tells which. Cases of one module alone are tested where that module is.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from advdpnp.errors import UserError
from advdpnp.jobs.workflow import allowed
from advdpnp.store import read_json, run_dir
from advdpnp.train import fit

ROOT = Path(__file__).parent.parent
RUN = "digits-resnet18-st-s0"
TIER = """
label = "a test"
methods = ["ST"]
[defaults]
data = {train_images = 64}
model = {width = 4}
optim = {epochs = 1, batch_size = 32, lr = 0.05, milestones = [], precision = "fp32"}
evaluation = {test_images = 20}
[blocks."cifar10/resnet18"]
dataset = "digits"
"""


def checkout_at(place: Path) -> Path:
    """A copy of the checkout with a tier more, `mini`, and without .git, .venv and results."""
    for name in ("Snakefile", "pyproject.toml", "advdpnp", "config", "data/paper", "notebooks", "profiles"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place / name)
    (place / "config" / "mini.toml").write_text(TIER)
    return place


@pytest.fixture
def checkout(tmp_path):
    return checkout_at(tmp_path / "repo")


def call(place: Path, *command: str, **environment: str) -> subprocess.CompletedProcess:
    """A command of this interpreter in `place`, without this process's own settings."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("ADVDPNP_", "SLURM_", "JUPYTER_"))}
    own |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""} | environment
    command = (sys.executable, "-m", *command)
    return subprocess.run(command, cwd=place, env=own, capture_output=True, text=True, timeout=300, check=False)


def workflow(place: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Status of snakemake in `place`, and all that it said."""
    done = call(place, "snakemake", "--cores", "1", *arguments, **environment)
    return done.returncode, done.stdout + done.stderr


def trained(tier: str = "mini") -> str:
    return f"results/{tier}/runs/{RUN}/train.json"


# --- 09: a job that fails or refuses takes nothing away


def test_case_09_a_refused_training_leaves_the_finished_run(checkout):
    assert workflow(checkout, trained())[0] == 0
    kept = (checkout / trained()).read_bytes()
    settings = checkout / "config" / "mini.toml"
    settings.write_text(TIER.replace("lr = 0.05", "lr = 0.07"))
    status, said = workflow(checkout, trained())
    assert status != 0
    assert "was trained under other settings (optim.lr: 0.05 -> 0.07)" in said
    assert (checkout / trained()).read_bytes() == kept


def test_case_09_every_output_of_the_workflow_outlives_a_failed_job():
    """Snakemake removes what is not update() before a job, and after one that failed."""
    text = (ROOT / "Snakefile").read_text()
    blocks = re.findall(r"^    output:(.*?)(?=^    \w+:)", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == text.count("    output:") == 7
    for block in blocks:
        assert re.findall(r'(\w*\(?)"results/', block) == ["update("] * block.count('"results/'), block


def test_case_09_finished_weights_are_not_written_over(tiny, monkeypatch):
    """Without last.pt, which is only to resume from, a finished run is finished; without train.json too, ask."""
    run = tiny("ST")
    done = fit(run)
    folder = run_dir(run)
    weights = (folder / "model.pt").read_bytes()
    (folder / "last.pt").unlink()
    monkeypatch.setattr("advdpnp.train.train_epoch", lambda *_: pytest.fail("trained again"))
    assert fit(run) == done == read_json(folder / "train.json")
    (folder / "train.json").unlink()
    with pytest.raises(UserError, match=r"model\.pt: holds finished weights.*train.json.*is missing.*--restart"):
        fit(run)
    (folder / "train.json").write_text(json.dumps(done | {"model_sha256": "0" * 64}))
    with pytest.raises(UserError, match=r"is of others.*--restart"):
        fit(run)
    assert (folder / "model.pt").read_bytes() == weights


# --- 11: results elsewhere


@pytest.mark.parametrize("arguments", [("-n",), ()], ids=["planned", "started"])
def test_case_11_results_elsewhere_are_refused_before_anything_starts(checkout, tmp_path, arguments):
    status, said = workflow(checkout, trained(), *arguments, ADVDPNP_RESULTS=str(tmp_path / "scratch"))
    assert status == 1
    assert f"ADVDPNP_RESULTS={tmp_path}/scratch: the workflow's results are in {checkout}/results; unset it" in said
    assert not (checkout / "results").exists()
    assert not (tmp_path / "scratch").exists()


def test_case_11_another_working_folder_is_refused_before_anything_starts(checkout, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    status, said = workflow(checkout, "-d", str(tmp_path / "elsewhere"), trained())
    assert status == 1
    assert f"--directory {tmp_path}/elsewhere: the workflow's files lie in its checkout; leave it out" in said
    assert not (tmp_path / "elsewhere" / "results").exists()


def test_case_11_the_workflow_of_another_folder_trains_in_its_own(checkout, tmp_path):
    """`snakemake -s` from anywhere; a variable that names the same place, by a link, is none of another."""
    (tmp_path / "scratch").mkdir()
    (checkout / "results").symlink_to(tmp_path / "scratch")
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    place = str(tmp_path / "scratch")
    status, said = workflow(elsewhere, "-s", str(checkout / "Snakefile"), trained(), ADVDPNP_RESULTS=place)
    assert status == 0, said
    assert (tmp_path / "scratch" / "mini" / "runs" / RUN / "train.json").exists()
    assert not list(elsewhere.iterdir())


# --- 17, 18: the permission to train the paper's networks on a CPU


@pytest.mark.parametrize("said", [False, "false", "False", "FALSE", 0, "0", "no", "off"])
def test_case_17_false_is_false(said):
    assert allowed({"allow_cpu": said}, "allow_cpu") is False
    assert allowed({}, "allow_cpu") is False


@pytest.mark.parametrize("said", [True, "true", "True", "TRUE", 1, "1", "yes", "on"])
def test_case_17_true_is_true(said):
    assert allowed({"allow_cpu": said}, "allow_cpu") is True


@pytest.mark.parametrize("said", ["maybe", "", None, 2, "flase", [True]])
def test_case_17_anything_else_is_a_sentence(said):
    with pytest.raises(UserError, match=r"^--config allow_cpu=.*: expected true or false, got "):
        allowed({"allow_cpu": said}, "allow_cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the guard asks for a GPU, which is here")
def test_case_17_the_guard_stops_a_workflow_that_says_false(checkout):
    target = trained("paper").replace("digits", "cifar10")
    status, said = workflow(checkout, target, "--config", "allow_cpu=false", ADVDPNP_DATA=str(checkout))
    assert (status, "no GPU here: 1 trainings of the paper tier" in said) == (1, True), said
    assert not (checkout / target).parent.exists()


def test_case_18_a_permission_is_no_changed_setting(checkout):
    assert workflow(checkout, trained())[0] == 0
    status, said = workflow(checkout, "-n", trained(), "--config", "allow_cpu=true")
    assert status == 0
    assert "Nothing to be done" in said
