"""A published network, which has no weights in the repository, is trained again: tools/retrain_published.py."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = "digits-resnet18-adv_dpnp-s0"
TIER = """
label = "a test"
methods = ["Adv-DPNP"]
[defaults]
data = {train_images = 64}
model = {width = 4}
optim = {epochs = 2, batch_size = 32, lr = 0.05, milestones = [], precision = "fp32"}
craft = {epsilon = "32/255", step_size = "16/255", steps = 2}
[blocks."cifar10/resnet18"]
dataset = "digits"
"""


def run(repository, *command, results="results"):
    places = {"ADVDPNP_RESULTS": str(repository / results), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    return subprocess.run(
        command, cwd=repository, env=os.environ | places, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository of its own, in which one tiny network was trained and published; since then the code went on."""
    here = tmp_path_factory.mktemp("retrain_published")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("advdpnp", "tools", "data/paper"):
        shutil.copytree(ROOT / name, here / name, ignore=ignore)
    (here / "config").mkdir()
    (here / "config" / "tiny.toml").write_text(TIER)
    for name in ("Snakefile", "config/demo.toml"):  # what makes it a checkout
        shutil.copy(ROOT / name, here / name)
    (here / ".gitignore").write_text("results/\n")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "then")):
        assert run(here, *git, *command).returncode == 0
    trained = run(here, sys.executable, "-m", "advdpnp", "train", "--tier", "tiny", RUN, results="first")
    assert trained.returncode == 0, trained.stderr
    target = here / "published" / "tiny" / "runs" / RUN
    target.mkdir(parents=True)
    for name in ("train.json", "config.json", "log.csv"):
        shutil.copy(here / "first" / "tiny" / "runs" / RUN / name, target)
    with (here / "advdpnp" / "train.py").open("a") as file:
        file.write("\nraise RuntimeError('not this code')\n")
    return here


def retrained(repository, run_id=RUN):
    return run(repository, sys.executable, "tools/retrain_published.py", "tiny", run_id)


def test_the_code_of_then_gives_the_weights_of_then(repository):
    done = retrained(repository)
    assert done.returncode == 0, done.stderr
    assert "the published weights, bit for bit" in done.stdout
    first, second = (repository / place / "tiny" / "runs" / RUN / "model.pt" for place in ("first", "results"))
    assert first.read_bytes() == second.read_bytes()


def test_a_run_that_was_renamed_is_trained_under_its_name_of_then(repository):
    new = RUN.replace("-s0", ".renamed-s0")
    old, target = (repository / "published" / "tiny" / "runs" / name for name in (RUN, new))
    shutil.copytree(old, target)
    about = json.loads((target / "train.json").read_text()) | {"run": new, "trained_as": RUN}
    (target / "train.json").write_text(json.dumps(about))
    done = retrained(repository, new)
    assert done.returncode == 0, done.stderr
    first = repository / "first" / "tiny" / "runs" / RUN / "model.pt"
    assert (repository / "results" / "tiny" / "runs" / new / "model.pt").read_bytes() == first.read_bytes()
    assert json.loads((repository / "results" / "tiny" / "runs" / new / "train.json").read_text()) == about
    shutil.rmtree(target)


def test_other_weights_are_said_to_be_others_and_stay_where_they_are(repository):
    path = repository / "published" / "tiny" / "runs" / RUN / "train.json"
    kept = path.read_text()
    path.write_text(json.dumps(json.loads(kept) | {"model_sha256": "0" * 64}))
    shutil.rmtree(repository / "results" / "tiny", ignore_errors=True)
    done = retrained(repository)
    path.write_text(kept)
    assert done.returncode == 1
    assert "other weights" in done.stdout
    assert not (repository / "results" / "tiny").exists()


def test_a_network_of_ones_own_is_not_written_over(repository):
    own = repository / "results" / "tiny" / "runs" / RUN / "train.json"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(json.dumps({"model_sha256": "1" * 64}))
    done = retrained(repository)
    assert (done.returncode, "holds another network of yours" in done.stderr) == (2, True)
    assert json.loads(own.read_text())["model_sha256"] == "1" * 64
    shutil.rmtree(repository / "results" / "tiny")


def test_a_run_or_a_revision_that_is_not_there_is_one_sentence(repository):
    done = retrained(repository, RUN.replace("dpnp", "dpmp"))
    assert (done.returncode, done.stderr) == (
        2,
        f"error: published/tiny has no run '{RUN.replace('dpnp', 'dpmp')}'; did you mean '{RUN}'?\n",
    )
    path = repository / "published" / "tiny" / "runs" / RUN / "train.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"provenance": kept["provenance"] | {"code_revision": "0123456789ab"}}))
    done = retrained(repository)
    path.write_text(json.dumps(kept))
    assert done.returncode == 2
    assert "0123456789ab: this code is not in this clone" in done.stderr
