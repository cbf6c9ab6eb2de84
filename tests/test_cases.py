"""Troubles that other people reported of tools like this one, tried on this one: each ends in the right behaviour.

A name that holds case_NN tells which; all twenty have one. Cases of one module alone are tested where that module is.
"""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
import yaml

from advdpnp import __main__ as main
from advdpnp import notebook, store, train
from advdpnp.config import digest, load_tier, parse_switch
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate
from advdpnp.jobs import queue, status
from advdpnp.report import differences, mixed_protocols, page, tables
from advdpnp.report.model_card import write_cards
from advdpnp.share import publish
from advdpnp.store import RESULTS, read_json
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


def call(place: Path, *command: str, seconds: float = 300, **environment: str) -> subprocess.CompletedProcess:
    """A command of this interpreter in `place`, without this process's own settings."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("ADVDPNP_", "SLURM_", "JUPYTER_"))}
    own |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""} | environment
    command = (sys.executable, "-m", *command)
    return subprocess.run(command, cwd=place, env=own, capture_output=True, text=True, timeout=seconds, check=False)


def workflow(place: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Status of snakemake in `place`, and all that it said."""
    done = call(place, "snakemake", "--cores", "1", *arguments, **environment)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def _trained_once(tmp_path_factory):
    place = checkout_at(tmp_path_factory.mktemp("cases") / "repo")
    status, said = workflow(place, trained())
    assert status == 0, said
    return place


@pytest.fixture
def trained_checkout(_trained_once, tmp_path):
    """A copy of a checkout whose workflow trained the one run of `mini`."""
    return shutil.copytree(_trained_once, tmp_path / "repo")


def trained(tier: str = "mini") -> str:
    return f"results/{tier}/runs/{RUN}/train.json"


def test_every_case_has_a_test():
    named = {int(number) for path in Path(__file__).parent.glob("test_*.py")
             for number in re.findall(r"def test_case_(\d\d)_", path.read_text())}  # fmt: skip
    assert named == set(range(1, 21))


# --- 09: a job that fails or refuses takes nothing away


def test_case_09_a_refused_training_leaves_the_finished_run(trained_checkout):
    checkout = trained_checkout
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
    folder = RESULTS.run(run)
    weights = (folder / "model.pt").read_bytes()
    (folder / "last.pt").unlink()
    monkeypatch.setattr("advdpnp.train.train_epoch", lambda *_: pytest.fail("trained again"))
    assert fit(run) == done == read_json(folder / "train.json")
    (folder / "train.json").unlink()
    with pytest.raises(UserError, match=r"model\.pt: holds a trained network.*train.json.*is missing.*--restart"):
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
    assert [path.name for path in elsewhere.iterdir()] == [".snakemake"]  # the log alone


# --- 17, 18: the permission to train the paper's networks on a CPU


@pytest.mark.parametrize("expected", [True, False])
def test_case_17_a_switch_is_read_strictly(expected):
    for value in (
        (True, "true", "True", "TRUE", "1", 1, "yes") if expected else ("no", "false", "FALSE", "0", 0, None, False)
    ):
        assert parse_switch(value, "--config allow_cpu") is expected


@pytest.mark.parametrize("said", ["maybe", "flase", 2, [True]])
def test_case_17_anything_else_is_a_sentence(said):
    with pytest.raises(UserError, match=r"^--config allow_cpu: expected true or false, got "):
        parse_switch(said, "--config allow_cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the guard asks for a GPU, which is here")
def test_case_17_the_guard_stops_a_workflow_that_says_false(checkout):
    target = trained("paper").replace("digits", "cifar10")
    status, said = workflow(checkout, target, "--config", "allow_cpu=false", ADVDPNP_DATA=str(checkout))
    assert (status, "no GPU here: 1 trainings of the paper tier" in said) == (1, True), said
    assert not (checkout / target).parent.exists()


def test_case_18_a_permission_is_no_changed_setting(trained_checkout):
    status, said = workflow(trained_checkout, "-n", trained(), "--config", "allow_cpu=true")
    assert status == 0
    assert "Nothing to be done" in said


# --- 07: a checkout that was copied or moved


def make(place: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The same whether `make test` started this process or not: an outer make hands its flags down."""
    outer = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VENV", "PYTHON"}
    own = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(["make", *arguments], cwd=place, env=own, capture_output=True, text=True, timeout=60)


def made(place: Path, target: str = "env") -> list[str]:
    """What `make` would run in `place`, line by line."""
    done = make(place, "-n", target)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def environment(tmp_path):
    """A checkout in a path with a space, whose environment is made."""
    place = tmp_path / "my repo"
    (place / ".venv").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, place / name)
    (place / ".venv" / ".ready").write_text(f"{place / '.venv'}\n")
    return place


def test_case_07_an_environment_is_made_once_where_it_stays(environment):
    assert made(environment) == ["make: Nothing to be done for 'env'."]
    (environment / ".venv" / ".ready").write_text("")  # made before its place was written down
    assert made(environment) == ["make: Nothing to be done for 'env'."]


@pytest.mark.parametrize("how", [shutil.copytree, shutil.move])
def test_case_07_a_copied_or_moved_environment_is_made_anew(environment, tmp_path, how):
    how(environment, tmp_path / "other repo")
    recipe = made(tmp_path / "other repo", "demo")
    assert f".venv was made as {environment}/.venv: making it again here" in recipe
    assert recipe.index("python3 -m venv --clear .venv") < recipe.index(".venv/bin/python tools/install.py")
    assert recipe.index(".venv/bin/python tools/install.py") < recipe.index("cd .venv && pwd -P > .ready")


def test_case_07_an_environment_behind_a_link_is_never_cleared(environment, tmp_path):
    shutil.move(environment / ".venv", tmp_path / "shared")
    (environment / ".venv").symlink_to(tmp_path / "shared")
    done = make(environment, "env", "PYTHON=true")
    assert done.returncode == 2
    assert f"error: .venv leads to an environment that was made as {environment}/.venv; remove the link" in done.stderr
    assert (tmp_path / "shared" / ".ready").exists()


def test_case_07_no_recipe_starts_a_program_that_holds_the_path_of_its_environment():
    """Console scripts (snakemake, papermill) do: `python -m` does not."""
    text = (ROOT / "Makefile").read_text() + (ROOT / "Snakefile").read_text()
    assert not re.findall(r"^\t\$\(BIN\)/(?!python )\S+", text, re.MULTILINE)
    assert not re.findall(r'"(?:papermill|jupyter|snakemake|advdpnp) ', text)


@pytest.fixture
def two_checkouts(tmp_path, monkeypatch):
    """Another checkout, whose notebooks folder is where the kernel was started; the code is of this one."""
    other = tmp_path / "repo2"
    for name in ("advdpnp/__init__.py", "Snakefile", "notebooks/table1.ipynb"):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).touch()
    monkeypatch.chdir(other / "notebooks")
    return other


def test_case_07_a_notebook_over_another_checkouts_code_is_refused(two_checkouts, monkeypatch):
    said = rf"^this notebook lies in {two_checkouts}, but its kernel runs the code of {ROOT}: run `make env` in"
    with pytest.raises(UserError, match=said):
        notebook.begin("demo")
    monkeypatch.chdir(ROOT / "notebooks")
    assert notebook.begin("demo").name == "demo"


def test_case_07_a_notebook_says_where_its_results_go(monkeypatch):
    said = []
    monkeypatch.setattr(notebook, "display", lambda shown: said.append(shown.data))
    notebook.begin("demo")
    assert f"results in {RESULTS.tier('demo')}" in said[0]


# --- 08: notebooks run in the interpreter that the user started


def test_case_08_a_notebook_in_another_interpreter_than_the_workflows_is_refused(monkeypatch):
    monkeypatch.setenv("ADVDPNP_PREFIX", sys.prefix)
    assert notebook.begin("demo").name == "demo"
    monkeypatch.setenv("ADVDPNP_PREFIX", "/opt/other")
    with pytest.raises(
        UserError, match=rf"the workflow runs in /opt/other, but this notebook's kernel in {sys.prefix}"
    ):
        notebook.begin("demo")


TELLS = """
import json, sys
from pathlib import Path
Path("told.json").write_text(json.dumps([sys.prefix, tier]))
from advdpnp.checkout import check_kernel
check_kernel()
"""


def telling(place: Path) -> Path:
    """Make the method notebook of a checkout one that tells its interpreter and its tier, and draws nothing."""
    cells = [
        nbformat.v4.new_code_cell('tier = "demo"', metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(TELLS),
    ]
    cells.append(nbformat.v4.new_code_cell(
        'Path(f"results/{tier}/figures").mkdir(parents=True, exist_ok=True)\n'
        'Path(f"results/{tier}/figures/method.png").touch()'
    ))  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), place / "notebooks" / "method.ipynb")
    return place


def impostor(folder: Path) -> Path:
    """A kernel of the user's own that has the name python3: this interpreter, by another prefix."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True, timeout=120)
    (site,) = (folder / "env" / "lib").glob("python3*/site-packages")
    (site / "ours.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    argv = [str(folder / "env" / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = folder / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": argv, "display_name": "mine", "language": "python"}))
    return folder / "jupyter"


@pytest.mark.parametrize("variable", ["JUPYTER_DATA_DIR", "JUPYTER_PATH"])
def test_case_08_the_workflow_runs_its_own_interpreter_or_says_why_not(checkout, tmp_path, variable):
    """A kernel of one's home folder gives way, even if asked first; one of JUPYTER_PATH cannot, and is refused."""
    kernel = {variable: str(impostor(tmp_path)), "JUPYTER_PREFER_ENV_PATH": "0"}
    status, said = workflow(telling(checkout), "results/demo/figures/method.png", **kernel)
    if variable == "JUPYTER_DATA_DIR":
        assert status == 0, said
        assert json.loads((checkout / "told.json").read_text()) == [sys.prefix, "demo"]
    else:
        assert status == 1
        assert f"the workflow runs in {sys.prefix}, but this notebook's kernel in {tmp_path}/env" in said
        assert not (checkout / "results/demo/notebooks/method.ipynb").exists()


# --- 20: names that YAML takes for something else


@pytest.mark.parametrize("name", ["2026", "1e3", "on", "null"])
def test_case_20_a_tier_named_like_a_number_is_a_tier(checkout, name):
    shutil.copy(checkout / "config" / "mini.toml", checkout / "config" / f"{name}.toml")
    status, said = workflow(telling(checkout), f"results/{name}/figures/method.png")
    assert status == 0, said
    assert json.loads((checkout / "told.json").read_text())[1] == name


# --- 04: whose commit it is


@pytest.fixture
def course(tmp_path):
    """Somebody's own repository, with the code unpacked inside, as GitHub's "Download ZIP" or a wheel leaves it."""
    place = checkout_at(tmp_path / "course" / "adv")
    shutil.copytree(ROOT / "tools", place / "tools")
    commit(tmp_path / "course", "my course")
    return place


def commit(place: Path, message: str) -> str:
    """Make `place` a repository of one empty commit; returns its name."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (("init", "-q"), (*who, "commit", "-q", "--allow-empty", "-m", message)):
        subprocess.run(["git", *words], cwd=place, check=True, timeout=60)
    told = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=place, capture_output=True, check=True)
    return told.stdout.decode().strip()


def revision(place: Path, **environment: str) -> str:
    own = os.environ | {"PYTHONPATH": str(place)} | environment
    code = "from advdpnp.store import RESULTS, code_revision; print(code_revision())"
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd="/", env=own, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_case_04_another_projects_commit_is_not_ours(course, tmp_path):
    assert revision(course) == "unknown"
    own = commit(course, "ours")
    assert revision(course) == own
    assert revision(course, GIT_DIR=str(tmp_path / "course" / ".git")) == own  # as git sets it for a hook


def test_case_04_training_again_asks_no_other_projects_history(course, tmp_path):
    told = course / "published" / "mini" / "runs" / RUN / "train.json"
    told.parent.mkdir(parents=True)
    theirs = subprocess.run(["git", "rev-parse", "HEAD"], cwd=course, capture_output=True, check=True, text=True)
    place = {"device": "x", "code_revision": theirs.stdout.strip()[:12]}
    told.write_text(json.dumps({"model_sha256": "0" * 64, "provenance": place}))
    own = os.environ | {"PYTHONPATH": str(course), "ADVDPNP_RESULTS": str(tmp_path / "results")}
    command = [sys.executable, "tools/retrain_published.py", "mini", RUN]
    done = subprocess.run(command, cwd=course, env=own, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {place['code_revision']}: this code is in the project's git history, which ")
    assert not (tmp_path / "results").exists()


# --- 16: a path with a space


def test_case_16_the_colab_notebook_runs_in_a_path_with_a_space(tmp_path):
    """Below a folder that is another workflow's, with `method` replaced by a notebook that tells where it ran."""
    place = tmp_path / "My Drive (1)" / "it's" / "adv dpnp"
    for name in ("advdpnp/losses.py", "Snakefile", "notebooks/inner/Snakefile"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    told = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("told = str(checkout)")])
    nbformat.write(told, place / "notebooks" / "method.ipynb")
    (cell,) = [c for c in nbformat.read(ROOT / "notebooks" / "colab.ipynb", 4).cells if c.cell_type == "code"]
    code = (
        "import sys\nfrom IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\nshell.run_cell(sys.argv[1]).raise_error()\nprint(shell.user_ns['told'])"
    )
    command = [sys.executable, "-c", code, cell.source]
    done = subprocess.run(command, cwd=place / "notebooks" / "inner", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(place)


# --- 03: one table, one set of training images


@pytest.fixture
def described(tmp_path, monkeypatch):
    """described(run, **what train.json tells differently) of the demo: a trained network, as far as files tell."""
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    (tmp_path / "demo" / "evals").mkdir(parents=True)

    def describe(run, **told):
        about = {"run": run.id, "tier": "demo", "seed": run.seed, "seconds": 1.0, "model_sha256": "0" * 64}
        about |= {"data_sha256": "a" * 64, "precision": "fp32", "settings_digest": digest(run.training_settings())}
        about |= {"provenance": {"device": "a CPU"}} | told
        store.write_json(RESULTS.trained(run), about)
        return run

    return describe


@pytest.fixture
def demo_runs():
    tier = load_tier("demo")
    return [tier.run("cifar10/resnet18", method) for method in ("ST", "HAT", "AT")]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"data_sha256": "b" * 64}, r"at-s0/train\.json \(data_sha256: bbbbbbbb\.\.\. -> aaaaaaaa\.\.\., as digits"),
        ({"precision": "bf16"}, r"at-s0/train\.json \(precision: bf16 -> fp32, as digits-resnet18-st-s0 has it\)"),
    ],
)
def test_case_03_networks_trained_on_different_images_stand_in_no_table(described, demo_runs, told, said):
    tier, (st, hat, at) = load_tier("demo"), demo_runs
    for run, other in ((st, {}), (hat, {}), (at, told)):
        described(run, **other)
    for read in (
        lambda: tables.table_rows(tier, "table1"),
        lambda: differences.rivals(tier, "table1"),
        lambda: page.write_report("demo"),
        lambda: write_cards(tier),
        lambda: publish.publish("demo"),
    ):
        with pytest.raises(UserError, match=said):
            read()
    assert re.search(r"at-s0 +stale", status.status("demo"))
    assert re.search(r"hat-s0 +done", status.status("demo"))


def test_case_03_results_on_another_test_set_stand_in_no_table(described, demo_runs):
    for run, images in zip(demo_runs, "aab", strict=True):
        store.write_json(RESULTS.evaluation(described(run), "clean"), {"images": 1, "data_sha256": images * 64})
    with pytest.raises(UserError, match=r"at-s0/clean\.json \(data_sha256"):
        tables.table_rows(load_tier("demo"), "table1")


def test_case_03_more_images_or_another_precision_by_choice_is_no_difference(tiny):
    first = tiny("AT", data={"train_images": 64})
    for run, told in (
        (tiny("TRADES", data={"train_images": 66}), {"data_sha256": "b" * 64, "precision": "fp32"}),
        (tiny("MART", optim={"precision": "bf16"}), {"data_sha256": "a" * 64, "precision": "bf16"}),
    ):
        for each, what in ((first, {"data_sha256": "a" * 64, "precision": "fp32"}), (run, told)):
            store.write_json(RESULTS.trained(each), what)
        assert not mixed_protocols.mismatches([first, run])
        store.write_json(RESULTS.trained(run), {})  # by older code, which did not tell
        assert not mixed_protocols.mismatches([first, run])


def test_case_03_hat_refuses_a_helper_that_saw_other_images(described, demo_runs, monkeypatch):
    st, hat, _ = demo_runs
    described(st)
    monkeypatch.setattr(train, "load_model", lambda run: None)
    with pytest.raises(UserError, match="hat-s0 needs digits-resnet18-st-s0, which was trained on other images"):
        train.build_defense(hat, "c" * 64)


# --- 12: places that cannot be written


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
        queue.work("demo", [RUN], device="cpu", output=tmp_path / "file" / "small")
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path / "file"))
    with pytest.raises(UserError, match="could not be written"):
        publish.restore("short")


def test_case_12_a_notebook_shows_what_it_cannot_save(tmp_path, monkeypatch):
    """Opened by hand; in the workflow, which wants the files, it ends."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path / "file"))
    said = []
    monkeypatch.setattr(notebook, "display", lambda shown: said.append(shown.data))
    rows = notebook.show_table(load_tier("demo"), "table8")
    assert rows
    assert re.fullmatch(r"\*Not saved: .*table8\.md: could not be written .*\*", said[0])
    monkeypatch.setenv("ADVDPNP_PREFIX", sys.prefix)
    with pytest.raises(UserError, match="could not be written"):
        notebook.show_table(load_tier("demo"), "table8")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_case_12_any_place_that_refuses_is_one_sentence_and_status_2(monkeypatch, capsys, number):
    def refuse(args):
        raise OSError(number, os.strerror(number), "/a/place")

    monkeypatch.setitem(main.COMMANDS, "status", refuse)
    assert main.main(["status"]) == 2
    assert capsys.readouterr().err == f"error: /a/place: {os.strerror(number)}; mend that and start again.\n"
    with pytest.raises(OSError, match="/a/place"):
        main.main(["--debug", "status"])


# --- 19: a job that Slurm cancelled


TOOLS = {
    "sbatch": """n=$(($(wc -l < "$STUBS/submitted") + 1))
if test -f "$TARGET"; then echo "$n finds $(cat "$TARGET")"; else echo "$n"; fi >> "$STUBS/submitted"
if test "$n" -gt 1; then for file in "$TARGET" "$BENCHMARK"; do echo new > "$file"; done; fi
echo "$n" """,
    "sacct": 'case "$*" in *State*) printf "1|$WORD\\n2|COMPLETED\\n";; esac',
    "squeue": 'printf "1|$WORD\\n2|COMPLETED\\n"',
    "scontrol": 'echo "MinJobAge = 300 sec"',
    **dict.fromkeys(("sinfo", "scancel", "sacctmgr", "sshare"), "true"),
}


@pytest.fixture
def slurm(tmp_path):
    """The PATH of a Slurm that ends the first job as $WORD says, and finishes the second."""
    folder = tmp_path / "bin of slurm"
    folder.mkdir()
    for name, body in TOOLS.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    (folder / "submitted").touch()
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "STUBS": str(folder)}


@pytest.mark.parametrize("word", ["CANCELLED by 1000", "PREEMPTED", "CANCELLED"])
@pytest.mark.parametrize("tool", ["sacct", "squeue"])
def test_case_19_a_cancelled_job_is_told_in_words_that_the_executor_knows(slurm, tool, word):
    ours = ROOT / "profiles" / "slurm" / tool
    path = os.pathsep.join([str(ours), str(ours), slurm["PATH"]])  # twice: a job's Snakemake puts it there again
    told = subprocess.run(
        [tool, "--format=JobIdRaw,State"], env=slurm | {"PATH": path, "WORD": word}, capture_output=True, text=True
    )
    assert told.stdout == "1|CANCELLED\n2|COMPLETED\n"


def test_case_19_an_answer_that_failed_stays_a_failure(slurm):
    (Path(slurm["STUBS"]) / "sacct").write_text("#!/bin/sh\necho accounting is disabled >&2\nexit 3\n")
    path = f"{ROOT / 'profiles' / 'slurm' / 'sacct'}{os.pathsep}{slurm['PATH']}"
    told = subprocess.run(["sacct"], env=slurm | {"PATH": path}, capture_output=True, text=True)
    assert (told.returncode, told.stdout, told.stderr) == (3, "", "accounting is disabled\n")


@pytest.mark.parametrize(("tool", "word"), [("sacct", "CANCELLED by 1000"), ("squeue", "PREEMPTED")])
def test_case_19_a_job_that_slurm_ended_is_submitted_again(checkout, slurm, tool, word):
    """And what was finished before is there until the job has made it anew (case 09)."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    target, benchmark = checkout / trained(), checkout / f"results/mini/benchmarks/train/{RUN}.tsv"
    store.write_text(target, "old\n")
    store.write_text(benchmark, "")
    store.write_json(checkout / "results" / "data" / "digits.json", {})
    options = [
        "--profile",
        "profiles/slurm",
        "--latency-wait",
        "5",
        "--slurm-status-command",
        tool,
        "--forcerun",
        "train",
    ]
    options += ["--slurm-init-seconds-before-status-checks", "1", "--slurm-no-account", "--retries", "1"]
    place = slurm | {"WORD": word, "TARGET": str(target), "BENCHMARK": str(benchmark)}
    done = call(checkout, "snakemake", trained(), *options, seconds=150, **place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (Path(slurm["STUBS"]) / "submitted").read_text() == "1 finds old\n2 finds old\n"
    assert target.read_text() == "new\n"


def test_case_09_a_profile_keeps_what_a_failed_job_declared():
    """Under Slurm no backup is where Snakemake looks for it when the job has failed, and it removes the output."""
    for profile in ("default", "slurm"):
        assert yaml.safe_load((ROOT / "profiles" / profile / "config.yaml").read_text())["keep-incomplete"] is True
