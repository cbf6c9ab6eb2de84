"""make course: what students get and what the teacher keeps, both from notebooks/exercises.

    dist/course-student    the notebooks, the library as a wheel, requirements.txt, README.md; also as one .zip
    dist/course-teacher    solutions, solved notebooks, hidden tests, Otter's autograder zips, plan, answers, slides

The hidden tests draw their inputs from the course's seed: another course, other inputs.
"""

import copy
import json
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

from advdpnp import store
from advdpnp.config import ROOT
from advdpnp.course import questions
from advdpnp.errors import UserError
from advdpnp.exercises import cifar10

EXERCISES = ROOT / "notebooks" / "exercises"
DOCUMENTS = ("docs/lecture-plan.md", "docs/teaching.md", "notebooks/exercises/solutions/answers.md")
PUBLISHED = (
    "published/short/tables/fingerprint.csv",
    "published/short/runs/cifar10-resnet18-adv_dpnp*-s[01]",
    *(f"published/weights/{cifar10.TIER}/{run}.*" for run in cifar10.NETWORKS.values()),
)
SETUP = """\
# Laptop: nothing happens here. Colab: put course-student.zip into the session's files, run this cell, restart if asked.
try:
    import advdpnp
except ModuleNotFoundError:
    import glob, subprocess, sys, zipfile

    if archives := glob.glob("course-student*.zip"):
        zipfile.ZipFile(archives[0]).extractall(".")
    wheels = glob.glob("advdpnp-*.whl") + glob.glob("*/advdpnp-*.whl")
    assert wheels, "put course-student.zip beside this notebook and run the cell again"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", wheels[0]], check=True)
"""
REQUIREMENTS = """\
# pip install -r requirements.txt, in the folder that holds this file
./{wheel}
jupyterlab>=4.6,<5
ipykernel>=7,<8
"""
STUDENT = """\
# {title}

{count} notebooks. Each says what to write, which equation it is, and checks the answer at once; a check names what is
off and the hint about it. No GPU, no data to download.

**On a laptop** (Python 3.11 to 3.14, about 1 GB): in this folder

```bash
python3 -m venv .venv
.venv/bin/pip install -r requirements.txt
.venv/bin/jupyter lab 01_fgsm.ipynb
```

On Linux pip takes torch's CUDA build, 5 GB on disk instead of 1. Without an NVIDIA GPU, first run the command that
PyTorch's "Get started" page gives for pip and CPU, with `.venv/bin/pip` in place of `pip3`.

On Windows, write `.venv\\Scripts\\` in place of `.venv/bin/`.

**On Colab**: open a notebook, put `course-student.zip` into the session's files (folder icon, left), and run the first
cell.

**To hand in**: the notebooks themselves, under their names. Keep the functions' names; leave the check cells as they
are. Each function is tried on other inputs too, in a process without network, where a cell may take {cell:.0f} seconds.

| notebook | you write | minutes |
|---|---|---|
{table}
"""
TEACHER = """\
# {title}: the teacher's bundle

For you alone: it holds the solutions and the hidden tests. Made from commit {commit}, with seed {seed}.

| here | what |
|---|---|
| `lecture-plan.md` | sessions, lectures, prerequisites, hours, what goes wrong |
| `teaching.md` | how to hand out, collect and grade, and what grading does not protect from |
| `answers.md` | expected numbers and times, answers to "To think about" |
{slides}| `solutions/`, `solved/` | one file for each exercise; the notebooks with the solutions in them |
| `tests/` | the hidden tests, Otter-Grader's format, points in `course.json` |
| `autograder/` | the same as zip files for `otter run`, `otter grade` and Gradescope |
| `handout/` | the notebooks as your students have them: grading compares with these |

Grade a folder of submissions: `python -m advdpnp grade FOLDER --bundle {folder}`.
"""
SLIDES = "| `slides.html` | the method as slides: opens in a browser, needs no network; S shows the notes |\n"


def exercises() -> list[str]:
    """Names of the exercises, in order. Raises UserError outside of a checkout."""
    if not EXERCISES.is_dir():
        raise UserError("the course is made from a checkout: notebooks/exercises is not here")
    return sorted(path.stem for path in EXERCISES.glob("*.ipynb"))


def source(kind: str, name: str) -> str:
    """Text of notebooks/exercises/<kind>/<name>.py. Raises UserError where it is missing."""
    path = EXERCISES / kind / f"{name}.py"
    if not path.is_file():
        raise UserError(f"{path}: is missing; each exercise has a file there")
    return path.read_text()


# ----------------------------------------------------------------------------------------------------- notebooks


def handed_out(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook for students: a cell that installs, no word of solutions, no link that leads out of the bundle."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text = re.sub(r"\s*Solutions\s+lie\s+in\s+`solutions/`\.", "", text)
            text = re.sub(r"\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", text)
        cell["source"] = text
    setup = {"cell_type": "code", "id": "cell-setup", "metadata": {}, "source": SETUP, "outputs": []}
    notebook["cells"].insert(1, setup | {"execution_count": None})
    return notebook


def solved(notebook: dict[str, Any], solution: str) -> dict[str, Any]:
    """The notebook with the whole solution in its first stub cell, and the other stubs gone."""
    notebook, first = copy.deepcopy(notebook), True
    for cell in notebook["cells"]:
        if "stub" in cell["metadata"].get("tags", []):
            cell["source"], first = (solution if first else "# in the first cell of the solution"), False
    return notebook


def minutes_of(notebook: dict[str, Any]) -> int:
    """What the notebook's head says that it takes. Raises UserError where it says nothing."""
    said = re.search(r"\*\*Takes\*\* (\d+) minutes", "".join(notebook["cells"][0]["source"]))
    if said is None:
        raise UserError(f"exercise '{title_of(notebook)}': its first cell lacks **Takes** N minutes")
    return int(said.group(1))


def title_of(notebook: dict[str, Any]) -> str:
    """What follows "Exercise N: " in its first line."""
    return "".join(notebook["cells"][0]["source"]).splitlines()[0].partition(": ")[2]


# ------------------------------------------------------------------------------------------------------- bundles


def build(output: Path = ROOT / "dist", seed: int | None = None) -> list[Path]:
    """Write both bundles below `output`, in place of older ones. Without a seed that of the bundle before stays.

    The slides go along where `make slides` has written them. Raises UserError outside of a checkout, where Otter-Grader
    is missing, or where the folder cannot be written; the bundles before are then still there.
    """
    store.check_writable(output)
    seed = _seed(output / "course-teacher") if seed is None else seed
    with tempfile.TemporaryDirectory(prefix=".course-", dir=output) as folder:
        made = _build(Path(folder) / "course-student", Path(folder) / "course-teacher", seed)
        for path in made:
            shutil.rmtree(output / path.name, ignore_errors=True)
            path.rename(output / path.name)
    return [output / path.name for path in made]


def _build(student: Path, teacher: Path, seed: int) -> list[Path]:
    """Both bundles, in folders that do not exist yet."""
    notebooks = {name: json.loads((EXERCISES / f"{name}.ipynb").read_text()) for name in exercises()}
    handout = {name: handed_out(notebook) for name, notebook in notebooks.items()}
    wheel = _wheel(student)
    for name, notebook in handout.items():
        _write_notebook(student / f"{name}.ipynb", notebook)
        _write_notebook(teacher / "handout" / f"{name}.ipynb", notebook)
        _write_notebook(teacher / "solved" / f"{name}.ipynb", solved(notebook, source("solutions", name)))
        store.write_text(teacher / "solutions" / f"{name}.py", source("solutions", name))
    for pattern in PUBLISHED:
        for path in sorted(ROOT.glob(pattern)):
            for file in [path] if path.is_file() else sorted(path.glob("*.[cj]s*")):
                store.copy_file(file, student / file.relative_to(ROOT))
    course = _write_tests(teacher, handout, seed)
    store.write_json(teacher / "course.json", course)
    _write_autograders(teacher, list(handout))
    _write_texts(teacher, student, course, handout, wheel)
    _zip(student)
    return [student, teacher]


def _seed(teacher: Path) -> int:
    if (teacher / "course.json").is_file():
        return int(store.read_json(teacher / "course.json", "seed")["seed"])
    return secrets.randbelow(10**6)


def _write_notebook(path: Path, notebook: dict[str, Any]) -> None:
    store.write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def _wheel(folder: Path) -> str:
    """The library as a wheel in `folder`; its file name."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder.resolve())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"the wheel was not built ({last}); make env installs hatchling")
    return next(folder.glob("advdpnp-*.whl")).name


def _write_tests(teacher: Path, handout: dict[str, dict], seed: int) -> dict[str, Any]:
    """Otter's test files; returns course.json: seed, commit, and of each exercise its minutes and points."""
    course: dict[str, Any] = {"seed": seed, "commit": store.code_revision(), "exercises": {}}
    for name, notebook in handout.items():
        hidden, solution = source("hidden", name), source("solutions", name)
        asked = questions.questions_of(hidden)
        for function, question in asked.items():
            text = questions.test_file(name, function, question, hidden, solution, seed)
            store.write_text(teacher / "tests" / name / f"{function}.py", text)
        course["exercises"][name] = {
            "title": title_of(notebook),
            "minutes": minutes_of(notebook),
            "points": {function: question.points for function, question in asked.items()},
            "fresh": "\nFRESH = False" not in hidden,
        }
    return course


def _write_autograders(teacher: Path, names: list[str]) -> None:
    """One zip for each exercise, as `otter generate` writes it."""
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    try:
        from otter.generate import main as generate
    except ImportError:
        raise UserError("otter-grader is not installed; `make course` installs it") from None
    (teacher / "autograder").mkdir(parents=True, exist_ok=True)
    for name in names:
        place = teacher / "autograder" / f"{name}.zip"
        generate(tests_dir=str(teacher / "tests" / name), output_path=str(place), no_environment=True)


def _write_texts(teacher: Path, student: Path, course: dict, handout: dict[str, dict], wheel: str) -> None:
    from advdpnp.course.sandbox import Limits

    title = "A course on adversarial robustness with prototypes"
    table = [
        f"| `{name}.ipynb` | {facts['title']} | {facts['minutes']} |" for name, facts in course["exercises"].items()
    ]
    values = {"title": title, "count": len(handout), "table": "\n".join(table), "cell": Limits().cell_seconds}
    store.write_text(student / "README.md", STUDENT.format(**values))
    store.write_text(student / "requirements.txt", REQUIREMENTS.format(wheel=wheel))
    slides = store.results_root() / "slides" / "method.html"
    if slides.is_file():
        store.copy_file(slides, teacher / "slides.html")
    about = {"seed": course["seed"], "commit": course["commit"], "folder": "THIS FOLDER"}
    about["slides"] = SLIDES if slides.is_file() else ""
    store.write_text(teacher / "README.md", TEACHER.format(title=title, **about))
    for document in DOCUMENTS:
        text = re.sub(r"\[([^\]]+)\]\((?!https?:|#)[^)]*\)", r"\1", (ROOT / document).read_text())
        store.write_text(teacher / Path(document).name, text)


def _zip(folder: Path) -> None:
    """course-student.zip in the folder, with all of its other files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())

    def write(handle: Any) -> None:
        with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                archive.write(path, path.relative_to(folder))

    store.write_atomic(folder / f"{folder.name}.zip", write)
