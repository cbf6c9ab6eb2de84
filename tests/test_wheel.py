"""Case 01: the library without its checkout: a wheel is built, installed by itself and used in an empty folder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from advdpnp.config import ROOT

pytest.importorskip("hatchling", reason="builds the wheel; it comes with the extra dev")
RUN = "digits-resnet18-at-s0"
TIER = {
    "label": "a tier of my own",
    "methods": ["AT"],
    "defaults": {
        "data": {"train_images": 64},
        "model": {"width": 4},
        "optim": {"epochs": 1, "milestones": [], "precision": "fp32"},
        "craft": {"steps": 1},
        "evaluation": {"test_images": 20},
    },
    "blocks": {"cifar10/resnet18": {"dataset": "digits"}},
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("advdpnp-*.whl"))


@pytest.fixture(scope="module")
def ask(wheel, tmp_path_factory):
    """ask(["status"], ...) -> [(exit status, what it prints)], all by one process in the empty folder; ask.folder."""
    target, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("a folder of mine")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, timeout=300)
    ours = ("ADVDPNP_RESULTS", "ADVDPNP_DATA", "ADVDPNP_CACHE")
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    environment |= {"PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"}
    code = (
        "import contextlib, io, json, sys\n"
        "from advdpnp.__main__ import main\n"
        "answers = []\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    told = io.StringIO()\n"
        "    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):\n"
        "        status = main(words)\n"
        "    answers.append((status, told.getvalue()))\n"
        "import advdpnp\n"
        "print(json.dumps([advdpnp.__file__, answers]))\n"
    )

    def call(*commands):
        command = [sys.executable, "-c", code, json.dumps(commands)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        place, answers = json.loads(done.stdout)
        assert Path(place).is_relative_to(target)
        return answers

    call.folder = folder
    return call


def test_case_01_the_wheel_holds_what_the_checkout_holds(wheel):
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if not name.startswith("advdpnp-")}
        own = (path for pattern in ("*.py", "*.toml") for path in (ROOT / "advdpnp").rglob(pattern))
        sources = {path.relative_to(ROOT).as_posix() for path in own}
        shipped = {f"advdpnp/shipped/{path.relative_to(ROOT).as_posix()}": path
                   for path in (*ROOT.glob("config/*.toml"), *ROOT.glob("data/paper/*.csv"))}  # fmt: skip
        assert names == sources | shipped.keys()
        assert all(content.read(name) == path.read_bytes() for name, path in shipped.items())


def test_case_01_tiers_and_the_papers_tables_are_there_in_any_folder(ask):
    (ask.folder / "mine.json").write_text(json.dumps(TIER))
    (ask.folder / "short.toml").write_text('label = "another"')
    status, plan, mine, unknown, taken = ask(
        ["status"], ["plan", "--tier", "paper"], ["status", "--tier", "mine.json"],
        ["status", "--tier", "shrt"], ["status", "--tier", "short.toml"],
    )  # fmt: skip
    assert (status[0], plan[0], mine[0], unknown[0], taken[0]) == (0, 0, 0, 2, 2)
    assert "18 trainings" in status[1]
    assert "pictures are drawn by the notebooks, which need a checkout" in status[1]
    assert "left: 18 trainings" in status[1]
    assert "35 trainings" in plan[1]
    assert RUN in mine[1]
    assert "nothing is left to do" not in mine[1]
    assert "did you mean 'short'?" in unknown[1]
    assert "the name 'short' is taken by config/short.toml" in taken[1]
    assert not (ask.folder / "results").exists()


def test_case_01_what_lies_only_in_a_checkout_says_so(ask):
    for status, told in ask(["restore", "--tier", "short"], ["report", "--tier", "short", "--published"]):
        assert status == 2
        assert told.count("\n") == 1
        assert "published results lie only in a checkout, and advdpnp is installed without one" in told
    ((status, told),) = ask(["report", "--tier", "demo"])
    assert status == 2
    assert "run python -m advdpnp work --tier demo" in told


def test_case_01_a_run_lives_below_the_working_folder(ask):
    subprocess.run(["git", "init", "-q"], cwd=ask.folder, check=True)  # somebody's own project
    (ask.folder / "mine.json").write_text(json.dumps(TIER))
    answers = ask(
        ["train", "--tier", "mine.json", RUN], ["evaluate", "--tier", "mine.json", RUN, "clean", "fgsm"],
        ["report", "--tier", "mine.json"], ["status", "--tier", "mine.json"], ["card", "--tier", "mine.json"],
    )  # fmt: skip
    assert [status for status, _ in answers] == [0, 0, 0, 0, 0], answers
    results = ask.folder / "results" / "mine"
    about = json.loads((results / "runs" / RUN / "train.json").read_text())
    assert about["provenance"]["code_revision"] == "unknown"
    assert about["provenance"]["code_hash"] != "e3b0c44298fc1c14"  # of no file at all
    report = (results / "report.md").read_text()
    assert "| AT |" in report
    assert "83.78" in report  # AT's clean accuracy in the paper's Table 1 travels along
    assert f"{RUN}" in answers[3][1]
