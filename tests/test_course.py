"""A course in a box: what students get, what the teacher keeps, and submissions of every kind graded."""

import ast
import csv
import json
import os
import re
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from advdpnp import data, store
from advdpnp.__main__ import main
from advdpnp.config import ROOT
from advdpnp.course import bundle, submission
from advdpnp.course.questions import Question, by_check, by_inputs, module_of, questions_of
from advdpnp.course.sandbox import Limits, forked
from advdpnp.errors import UserError

EXERCISES = ROOT / "notebooks" / "exercises"
LIMITS = Limits(seconds=200, cell_seconds=5)
NAMES = sorted(path.stem for path in EXERCISES.glob("*.ipynb"))


def cells(name: str) -> list[submission.Cell]:
    return submission.read_cells(EXERCISES / f"{name}.ipynb")


# ---------------------------------------------------------------------------------------------------- questions


@pytest.mark.parametrize("name", NAMES)
def test_every_function_that_a_student_writes_has_a_hidden_test(name):
    asked = questions_of(bundle.source("hidden", name))
    assert [*asked] == submission.stubs(cells(name))
    for question in asked.values():
        assert question.points >= 2


CHEAP = [name for name in NAMES if name not in ("08_masked", "10_ladder")]


@pytest.mark.parametrize("name", CHEAP)
def test_the_solution_gets_all_points_and_a_stub_none(name):
    solution = module_of("solution", bundle.source("solutions", name))
    handout = module_of(
        "handout", "\n".join(c.source for c in cells(name) if "stub" in c.tags and "class" not in c.source)
    )
    for function, question in questions_of(bundle.source("hidden", name)).items():
        by_check(question, getattr(solution, function), getattr(solution, function))
        with pytest.raises(AssertionError):
            by_check(question, getattr(handout, function, None))
        if question.inputs is not None:
            by_inputs(question, getattr(solution, function), getattr(solution, function), seed=3)
            with pytest.raises(AssertionError):
                by_inputs(question, getattr(handout, function, None), getattr(solution, function), seed=3)


def test_an_answer_learnt_by_heart_is_wrong_on_other_inputs():
    from advdpnp.exercises import check_min_separation

    question = questions_of(bundle.source("hidden", "07_geometry"))["min_separation"]
    right = module_of("solution", bundle.source("solutions", "07_geometry")).min_separation
    seen = []
    check_min_separation(lambda c: seen.append(right(c)) or seen[0])
    by_check(question, lambda centers: seen[0])
    with pytest.raises(AssertionError, match="inputs that the notebook does not try"):
        by_inputs(question, lambda centers: seen[0], right, seed=3)


def test_a_check_that_accepts_anything_is_noticed():
    with pytest.raises(AssertionError, match="the submission has changed it"):
        by_check(Question(lambda answer: True), lambda: 1)


# ---------------------------------------------------------------------------------------------------- the process


def _work(kind):
    if kind == "answer":
        return {"twice": 2}
    if kind == "sleep":
        time.sleep(60)
    if kind == "images":
        return {"here": data.present("cifar10")}
    if kind == "memory":
        return {"n": len(bytearray(2**31))}
    if kind == "network":
        import socket

        try:
            socket.create_connection(("192.0.2.1", 9), timeout=5)
        except OSError as error:
            return {"refused": not isinstance(error, TimeoutError)}
        return {"refused": False}
    if kind == "disk":
        try:
            Path("big").write_bytes(bytes(2**22))
        except OSError:
            return {"refused": True}
        return {"refused": False}
    if kind == "lies":
        import os

        os.write(1, b"not for anybody")
        os._exit(0)
    raise ValueError("as students do")


def test_each_piece_of_work_is_held_to_its_limits_and_none_stops_the_others(monkeypatch):
    monkeypatch.setattr(data, "official_files", lambda name, split, root: [] if root == Path.cwd() else ["a file"])
    jobs = ["sleep", "memory", "network", "disk", "lies", "error", "images", "answer"]
    limits = Limits(seconds=6, memory_mib=512, file_mib=1)
    outcomes = {jobs[place]: outcome for place, outcome in forked(jobs, _work, limits, workers=2)}
    assert outcomes["sleep"].problem == "took longer than 6 seconds"
    assert "memory" in outcomes["memory"].problem
    assert outcomes["network"].answer["refused"]
    assert outcomes["disk"].answer["refused"]
    assert "ended its own process" in outcomes["lies"].problem
    assert "ValueError: as students do" in outcomes["error"].problem
    assert data.present("cifar10")
    assert not outcomes["images"].answer["here"], "cells on CIFAR-10 would use up the time of the others"
    assert outcomes["answer"].answer["twice"] == 2
    assert outcomes["answer"].answer["network"] in ("namespace", "python")


# ---------------------------------------------------------------------------------------------------- the bundles


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """Both bundles, made once."""
    pytest.importorskip("otter", reason="make course installs otter-grader")
    pytest.importorskip("hatchling", reason="builds the wheel; it comes with the extra dev")
    output = tmp_path_factory.mktemp("dist")
    bundle.build(output, seed=5)
    return output


def test_the_students_bundle_holds_what_they_need_and_no_solution(course):
    student = course / "course-student"
    assert {path.stem for path in student.glob("*.ipynb")} == set(NAMES)
    files = [path for path in student.rglob("*") if path.is_file()]
    assert len(list(student.glob("advdpnp-*.whl"))) == 1
    assert next(student.glob("*.whl")).name in (student / "requirements.txt").read_text()
    with zipfile.ZipFile(student / "course-student.zip") as archive:
        assert set(archive.namelist()) == {str(p.relative_to(student)) for p in files if p.suffix != ".zip"}
    for path in (path for path in files if path.suffix in (".ipynb", ".md", ".txt")):
        text = path.read_text()
        assert "solutions" not in text.lower(), path.name
        assert not re.search(r"\]\(\.\./", text), f"{path.name} links out of the bundle"
    for name in NAMES:
        notebook = json.loads((student / f"{name}.ipynb").read_text())
        code = "\n".join(cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code")
        body = module_of("solution", bundle.source("solutions", name))
        for function in submission.stubs(cells(name)):
            assert function in code
            assert hasattr(body, function)
        assert bundle.source("solutions", name).split('"""')[2].strip() not in code


def test_the_wheel_holds_no_hidden_test(course):
    with zipfile.ZipFile(next((course / "course-student").glob("*.whl"))) as wheel:
        names = wheel.namelist()
    assert any(name == "advdpnp/exercises/verdict.py" for name in names)
    assert not [name for name in names if "hidden" in name or "solutions" in name]


def test_the_teachers_bundle_holds_the_rest(course):
    teacher = course / "course-teacher"
    facts = store.read_json(teacher / "course.json", "seed", "exercises")
    assert facts["seed"] == 5
    assert [*facts["exercises"]] == NAMES
    for name in NAMES:
        for part in (f"solutions/{name}.py", f"solved/{name}.ipynb", f"handout/{name}.ipynb", f"autograder/{name}.zip"):
            assert (teacher / part).is_file(), part
        for question in facts["exercises"][name]["points"]:
            assert (teacher / "tests" / name / f"{question}.py").is_file()
    for document in ("README.md", "lecture-plan.md", "teaching.md", "answers.md"):
        assert (teacher / document).read_text().startswith("# ")


@pytest.mark.parametrize("made", [True, False])
def test_slides_go_to_the_teacher_where_they_were_made(course, tmp_path, monkeypatch, made):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    if made:
        store.write_text(tmp_path / "slides" / "method.html", "<!doctype html>")
    facts, teacher = store.read_json(course / "course-teacher" / "course.json"), tmp_path / "teacher"
    bundle._write_texts(teacher, tmp_path / "student", facts, {}, "advdpnp.whl")
    assert (teacher / "slides.html").exists() == made
    assert ("`slides.html`" in (teacher / "README.md").read_text()) == made


def test_another_seed_asks_on_other_inputs(course):
    text = (course / "course-teacher" / "tests" / "01_fgsm" / "fgsm.py").read_text()
    assert "SEED = 5 " in text
    assert bundle._seed(course / "course-teacher") == 5, "a second `make course` keeps it"


# ---------------------------------------------------------------------------------------------------- submissions


def _solution(name: str, function: str) -> str:
    """One function of a solution, as text."""
    text = bundle.source("solutions", name)
    node = next(n for n in ast.parse(text).body if getattr(n, "name", "") == function)
    return ast.get_source_segment(text, node)


def submitted(course, name: str, **answers: str) -> dict:
    """The handed-out notebook with the answers in the stub cells of their functions."""
    notebook = json.loads((course / "course-teacher" / "handout" / f"{name}.ipynb").read_text())
    for cell in notebook["cells"]:
        for function, answer in answers.items():
            if "stub" in cell["metadata"].get("tags", []) and re.search(rf"(def|class) {function}\b", cell["source"]):
                cell["source"] = answer
    return notebook


CHEAT = """
import advdpnp.exercises
from advdpnp.exercises.verdict import Verdict
advdpnp.exercises.check_fgsm = check_fgsm = lambda f: Verdict(True, "right")
Verdict.__bool__ = lambda self: True
torch.allclose = lambda *_, **__: True
def fgsm(model, x, y, epsilon):
    return x
"""
CRASH = "import faulthandler, os\nfaulthandler.disable()\nos.kill(os.getpid(), 11)"
LOOP = "def fgsm(model, x, y, epsilon):\n    while True:\n        pass"


@pytest.fixture(scope="module")
def graded(course, tmp_path_factory):
    """(folder, lines that were printed) of one run over submissions of every kind."""
    folder = tmp_path_factory.mktemp("submissions")
    fgsm, margin = _solution("01_fgsm", "fgsm"), _solution("01_fgsm", "worst_margin")
    kinds = {
        "right": submitted(course, "01_fgsm", fgsm=fgsm, worst_margin=margin),
        "half": submitted(course, "01_fgsm", fgsm=fgsm, worst_margin=margin.replace("abs().sum()", "norm()")),
        "stub": submitted(course, "01_fgsm"),
        "hanging": submitted(course, "01_fgsm", fgsm="while True:\n    pass", worst_margin=margin),
        "looping": submitted(course, "01_fgsm", fgsm=LOOP, worst_margin=margin),
        "crashing": submitted(course, "01_fgsm", fgsm=CRASH, worst_margin=margin),
        "exiting": submitted(course, "01_fgsm", fgsm="import os\nos._exit(0)", worst_margin=margin),
        "quitting": submitted(course, "01_fgsm", fgsm=f"{fgsm}\nexit()", worst_margin=margin),
        "cheating": submitted(course, "01_fgsm", fgsm=CHEAT, worst_margin=margin),
        "typo": submitted(course, "01_fgsm", fgsm="def fgsm(model x):", worst_margin=margin),
    }
    altered = submitted(course, "01_fgsm", worst_margin=margin)
    altered["cells"] = [c | {"source": "check_fgsm = lambda f: True\ncheck_fgsm(fgsm)"}
                        if c["source"] == "check_fgsm(fgsm)" else c for c in altered["cells"]]  # fmt: skip
    deleted = submitted(course, "01_fgsm", worst_margin=margin)
    deleted["cells"] = [c for c in deleted["cells"] if "def fgsm" not in c["source"]]
    for name, notebook in (kinds | {"altered": altered, "deleted": deleted}).items():
        store.write_text(folder / name / "01_fgsm.ipynb", json.dumps(notebook))
    store.write_text(folder / "broken" / "01_fgsm.ipynb", '{"cells": [')
    store.write_text(folder / "lost" / "holiday.ipynb", json.dumps({"cells": []}))
    from advdpnp.course.grade import grade

    return folder, list(grade(folder, course / "course-teacher", limits=LIMITS, workers=2))


def _grades(folder: Path) -> dict[str, float]:
    with (folder / "graded" / "grades.csv").open() as handle:
        return {row["student"]: float(row["01_fgsm"]) for row in csv.DictReader(handle)}


def test_each_submission_gets_its_points(graded):
    folder, lines = graded
    points = dict.fromkeys(("hanging", "looping", "typo", "altered", "deleted", "half"), 2)
    points |= {"cheating": 1, "right": 4, "quitting": 4} | dict.fromkeys(("stub", "crashing", "exiting", "broken"), 0)
    assert _grades(folder) == points, "\n".join(lines)


def test_what_went_wrong_costs_one_line(graded):
    _, lines = graded
    for who, what in (
        ("hanging", r"begins `while True:` took longer than 5 seconds"),
        ("crashing", "SIGSEGV"),
        ("exiting", "ended its own process"),
        ("cheating", r"advdpnp\.exercises\.check_fgsm was replaced"),
        ("typo", "SyntaxError"),
        ("altered", r"the check check_fgsm\(fgsm\) was changed or deleted"),
        ("deleted", "the cell of fgsm is missing"),
        ("broken", "is no notebook that can be read"),
        ("lost", "is not graded"),
    ):
        mine = [line for line in lines if line.startswith(who)]
        assert len(mine) == 1, lines
        assert re.search(what, mine[0])
    assert not [line for line in lines if line.startswith(("right", "half", "stub"))]
    assert lines[-1].startswith("13 notebooks of 13 students, 13 graded now")


def test_a_student_reads_what_the_check_says(graded):
    folder, _ = graded
    text = (folder / "graded" / "feedback" / "half.md").read_text()
    assert "that is the l2 norm of w" in text
    assert "hint 5" in text
    assert "2 of 4" in text
    assert "took longer than 5 seconds" in (folder / "graded" / "feedback" / "looping.md").read_text()


def test_more_time_is_a_reason_to_grade_again(course):
    from advdpnp.course.grade import Submission, key_of, read_bundle

    one = Submission("alice", "01_fgsm", course / "course-teacher" / "solved" / "01_fgsm.ipynb")
    teacher = read_bundle(course / "course-teacher")
    assert key_of(one, teacher, LIMITS) == key_of(one, teacher, replace(LIMITS))
    assert key_of(one, teacher, LIMITS) != key_of(one, teacher, replace(LIMITS, cell_seconds=6))


def test_bundles_that_cannot_be_made_leave_those_before(tmp_path, monkeypatch):
    before = tmp_path / "course-teacher" / "course.json"
    store.write_json(before, {"seed": 7})
    monkeypatch.setattr(bundle, "_wheel", lambda folder: "advdpnp.whl")
    monkeypatch.setitem(sys.modules, "otter.generate", None)
    with pytest.raises(UserError, match="otter-grader is not installed"):
        bundle.build(tmp_path)
    assert store.read_json(before) == {"seed": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["course-teacher"]


def test_the_second_call_grades_what_is_new(course, graded):
    from advdpnp.course.grade import grade

    folder, _ = graded
    notebook = submitted(course, "01_fgsm", fgsm=_solution("01_fgsm", "fgsm"))
    store.write_text(folder / "late_01_fgsm.ipynb", json.dumps(notebook))
    lines = list(grade(folder, course / "course-teacher", limits=LIMITS, workers=1))
    assert "14 notebooks of 14 students, 1 graded now" in lines[-1]
    assert _grades(folder)["late"] == 2


def test_a_relative_folder_and_text_that_is_not_utf_8_stop_nobody(course, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    broken = r"raise ValueError('\ud800')" + f"  # \ud800\n{_solution('01_fgsm', 'fgsm')}"
    answers = {"alice": _solution("01_fgsm", "fgsm"), os.fsdecode(b"b\xffb"): broken}
    for name, fgsm in answers.items():
        text = json.dumps(submitted(course, "01_fgsm", fgsm=fgsm))
        store.write_text(Path("submissions") / f"{name}_01_fgsm.ipynb", text)
    store.write_text(Path("submissions") / os.fsdecode(b"\xff.ipynb"), "{}")
    bundle = str(course / "course-teacher")
    assert main(["grade", "submissions", "--bundle", bundle, "--cell-seconds", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert _grades(Path("submissions"))["alice"] == 2, lines
    assert "?.ipynb: is not graded" in lines[0]
    assert lines[-1].endswith("submissions/graded/grades.csv, submissions/graded/feedback"), lines
    assert {path.name for path in Path("submissions/graded/feedback").iterdir()} == {"alice.md", "b_b.md"}


def test_the_autograder_zips_hold_what_otter_runs(course):
    with zipfile.ZipFile(course / "course-teacher" / "autograder" / "01_fgsm.zip") as archive:
        assert {"tests/fgsm.py", "tests/worst_margin.py"} <= set(archive.namelist())


# ---------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["grade", "nowhere", "--bundle", "nowhere"], "holds no course.json; `make course` writes"),
        (["grade", ".", "--workers", "0"], "--workers: expected a whole number from 1 on, got '0'"),
        (["grade", ".", "--seconds", "nan"], "--seconds: expected seconds from 1 to 10,000,000, got 'nan'"),
        (["grade", ".", "--seconds", "1e19"], "--seconds: expected seconds from 1 to 10,000,000, got '1e19'"),
        (["grade", ".", "--cell-seconds", "inf"], "--cell-seconds: expected seconds from 1 to 10,000,000, got 'inf'"),
        (["grade", ".", "--cell-seconds", "0.001"], "--cell-seconds: expected seconds from 1 to 10,000,000, got '0.0"),
        (["grade", ".", "--memory", "99999999999999"], "--memory: expected at most 16,777,216 MiB, got '9999"),
        (["course", "--seed", "x"], "--seed"),
    ],
)
def test_bad_input_is_one_sentence(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_names_of_students_come_from_folders_or_files():
    from advdpnp.course.grade import student_of

    assert student_of(Path("alice/deep/01_fgsm.ipynb"), "01_fgsm") == "alice"
    assert student_of(Path("bob_01_fgsm (2).ipynb"), "01_fgsm") == "bob"
    assert student_of(Path("Zoë Å_7_file_/01_fgsm.ipynb"), "01_fgsm") == "Zoë Å_7_file"
    assert student_of(Path("=1+1/01_fgsm.ipynb"), "01_fgsm") == "1_1"


def test_a_file_that_is_no_notebook_is_named(tmp_path):
    for text in ("", "[]", '{"cells": 3}', '{"cells": [{"source": 3}]}', "{" * 5000):
        path = store.write_text(tmp_path / "a.ipynb", text)
        with pytest.raises(UserError, match=r"a\.ipynb: is no notebook"):
            submission.read_cells(path)
