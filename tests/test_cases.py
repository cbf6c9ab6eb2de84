"""Small inputs on which the project once failed, each with the right behaviour (what people reported elsewhere)."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from advdpnp import notebook, store, train
from advdpnp.config import ROOT, digest, load_tier, parse_switch
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate
from advdpnp.jobs import queue, status
from advdpnp.report import page, tables
from advdpnp.share import publish
from advdpnp.train import fit

ST = "digits-resnet18-st-s0"


def git(folder: Path, *arguments: str) -> str:
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", *names, *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | own, capture_output=True, text=True, check=True).stdout


def test_case_03_networks_trained_on_different_images_stand_in_no_table(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    tier = load_tier("demo")
    runs = [tier.run("cifar10/resnet18", method) for method in ("ST", "HAT", "AT")]
    for run, images in zip(runs, ("a" * 64, "a" * 64, "b" * 64), strict=True):
        about = {"run": run.id, "tier": "demo", "seed": 0, "seconds": 1.0, "data_sha256": images}
        about |= {"settings_digest": digest(run.training_settings()), "model_sha256": "0" * 64}
        about["provenance"] = {"device": "a CPU"}
        store.write_json(store.run_dir(run) / "train.json", about)
    with pytest.raises(UserError, match="at-s0 and digits-resnet18-st-s0 were trained on different images"):
        tables.table_rows(tier, "table1")
    (tmp_path / "demo" / "evals").mkdir()
    with pytest.raises(UserError, match=r"at-s0/train\.json \(data_sha256"):
        page.write_report("demo")
    assert [status.run_state(run, "a" * 64) for run in runs] == ["done", "done", "stale"]
    assert re.search(r"at-s0 +stale", status.status("demo"))
    monkeypatch.setattr(train, "load_model", lambda run: None)
    with pytest.raises(UserError, match="hat-s0 needs digits-resnet18-st-s0, which was trained on other images"):
        train.build_defense(runs[1], "c" * 64)


@pytest.fixture
def revision(monkeypatch):
    """code_revision of a copy of the code in some folder."""

    def ask(folder: Path) -> str:
        monkeypatch.setattr(store, "ROOT", folder)
        store.code_revision.cache_clear()
        return store.code_revision()

    yield ask
    store.code_revision.cache_clear()


def test_case_04_a_commit_is_claimed_for_our_own_repository_alone(tmp_path, revision):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "my course")
    (tmp_path / "adv").mkdir()
    assert revision(tmp_path / "adv") == "unknown"
    assert revision(tmp_path) == git(tmp_path, "rev-parse", "--short=12", "HEAD").strip()


def test_case_07_a_notebook_refuses_another_checkout_s_code(tmp_path, monkeypatch):
    (tmp_path / "advdpnp").mkdir()
    (tmp_path / "advdpnp" / "losses.py").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    with pytest.raises(UserError, match=f"lies in {re.escape(str(tmp_path))} and the code that runs in"):
        notebook.begin("demo")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_case_07_a_moved_environment_is_made_again(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    ready = tmp_path / ".venv" / ".ready"
    ready.parent.mkdir()
    plan = ["make", "-n", "env", f"PYTHON={sys.executable}"]
    ready.write_text(f"{ready.parent}\n")
    assert "-m venv" not in subprocess.run(plan, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    ready.write_text("/elsewhere/.venv\n")
    said = subprocess.run(plan, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert ".venv was made for /elsewhere/.venv: making it again here" in said
    assert "-m venv --clear .venv" in said


def test_case_08_notebooks_run_in_this_environment():
    for name, line in (("Makefile", "export JUPYTER_PREFER_ENV_PATH := 1"),
                       ("Snakefile", 'os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"')):  # fmt: skip
        assert line in (ROOT / name).read_text().replace("  #", "\n").splitlines() or line in (ROOT / name).read_text()


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the workflow needs, in a path with a space."""
    folder = tmp_path / "a checkout"
    for name in ("advdpnp", "config", "notebooks", "data/paper"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


def snakemake(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ADVDPNP_")} | variables
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_case_09_a_job_that_refuses_leaves_the_finished_run(checkout):
    run = checkout / "results" / "demo" / "runs" / ST
    run.mkdir(parents=True)
    (run / "train.json").write_text("{}")
    settings = load_tier("demo").run("cifar10/resnet18", "ST").training_settings()
    settings["optim"]["lr"] = 0.07
    (run / "config.json").write_text(json.dumps(settings))
    (checkout / "results" / "data").mkdir()
    (checkout / "results" / "data" / "digits.json").write_text("{}")  # newer than the run: it is trained again
    done = snakemake(checkout, f"results/demo/runs/{ST}/train.json")
    assert done.returncode
    assert "other settings" in (checkout / "results" / "demo" / "logs" / "train" / f"{ST}.log").read_text()
    assert (run / "train.json").read_text() == "{}"


def test_case_09_a_network_without_its_state_is_not_trained_over(tiny, tmp_path):
    run = tiny("ST")
    fit(run, tmp_path, device="cpu")
    (tmp_path / "last.pt").unlink()
    before = (tmp_path / "model.pt").read_bytes()
    assert fit(run, tmp_path, device="cpu") == json.loads((tmp_path / "train.json").read_text())
    (tmp_path / "train.json").unlink()
    with pytest.raises(UserError, match=r"holds a trained model\.pt, but neither .*--restart"):
        fit(run, tmp_path, device="cpu")
    assert (tmp_path / "model.pt").read_bytes() == before


def test_case_11_results_elsewhere_are_refused_at_the_start(checkout, tmp_path):
    target = "results/data/digits.json"
    said = "does not act in the workflow"
    assert said in snakemake(checkout, target, ADVDPNP_RESULTS=str(tmp_path / "elsewhere")).stderr
    assert said in snakemake(tmp_path, "-s", str(checkout / "Snakefile"), target).stderr
    assert not (checkout / "results").exists()
    assert not (tmp_path / "results").exists()


def test_case_12_finished_results_are_read_where_nothing_can_be_written(tiny, tmp_path, monkeypatch):
    run = tiny("ST")
    fit(run, tmp_path, device="cpu")
    found = evaluate(run, "clean", directory=tmp_path, device="cpu")

    def refused(self, missing_ok=False):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refused)
    assert evaluate(run, "clean", directory=tmp_path, device="cpu") == found


def test_case_12_places_that_cannot_be_written_are_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"):  # before any work
        queue.work("demo", [ST], device="cpu", output=tmp_path / "file" / "small")
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path / "file"))
    with pytest.raises(UserError, match="could not be written"):
        publish.restore("short")


def test_case_16_the_colab_cell_works_in_a_path_with_a_space(tmp_path, monkeypatch):
    checkout = tmp_path / "My Drive" / "adv (1)"
    (checkout / "advdpnp").mkdir(parents=True)
    (checkout / "advdpnp" / "losses.py").touch()
    (checkout / "Snakefile").touch()
    mine = checkout / "mine"  # a pipeline of the user's own is no checkout
    mine.mkdir()
    (mine / "Snakefile").touch()
    monkeypatch.chdir(mine)
    monkeypatch.setattr(sys, "path", [*sys.path])
    cells = json.loads((ROOT / "notebooks" / "colab.ipynb").read_text())["cells"]
    (code,) = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    ran = []

    class Shell:
        def run_line_magic(self, magic, line):
            ran.append((magic, *shlex.split(line)))

    exec(code, {"get_ipython": Shell})
    assert ran == [("run", str(checkout / "notebooks" / "method.ipynb"))]


@pytest.mark.parametrize("expected", [True, False])
def test_case_17_a_switch_is_read_strictly(expected):
    for value in (True, "true", "1", 1, "yes") if expected else ("no", "false", "False", 0, None, False):
        assert parse_switch(value, "--config allow_cpu") is expected


def test_case_17_anything_else_is_a_sentence(checkout):
    done = snakemake(checkout, "-n", "demo", "--config", "allow_cpu=perhaps")
    assert done.returncode
    assert "--config allow_cpu: expected true or false, got 'perhaps'" in done.stdout + done.stderr


def test_case_18_a_permission_is_no_changed_setting():
    text = (ROOT / "Snakefile").read_text()
    (params,) = re.findall(r"rule train:.*?params:\n(.*?)    log:", text, re.DOTALL)
    assert "allow" not in params.lower()
    assert "{ALLOW_CPU}" in text


def test_case_19_the_profile_asks_squeue():
    """sacct's "CANCELLED by UID" is no state that the executor knows."""
    lines = (ROOT / "profiles" / "slurm" / "config.yaml").read_text().splitlines()
    assert any(line.startswith("slurm-status-command: squeue") for line in lines)


def test_case_20_a_tier_named_like_a_number_reaches_its_notebooks_as_text(tmp_path):
    assert "-r tier {wildcards.tier}" in (ROOT / "Snakefile").read_text()
    (tmp_path / "2026.toml").write_text((ROOT / "config" / "demo.toml").read_text())
    assert load_tier(str(tmp_path / "2026.toml")).name == "2026"
