"""python -m advdpnp grade FOLDER: each notebook in a process of its own, against the teacher's hidden tests.

FOLDER holds a folder for each student, or files that start with the student's name: alice/01_fgsm.ipynb, or
alice_01_fgsm.ipynb. Written to FOLDER/graded: grades.csv (a row for each student), questions.csv (a row for each
question), feedback/<student>.md, and results/, from which the next call goes on.
"""

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from advdpnp import store
from advdpnp.course import submission
from advdpnp.course.sandbox import CellTimeout, Limits, Outcome, at_most, forked
from advdpnp.errors import UserError
from advdpnp.markdown import escape_markdown

BUNDLE = Path("dist") / "course-teacher"
INSTALL = "make course installs it, or: pip install otter-grader"


class Submission(NamedTuple):
    """One notebook: whose, which exercise, and where it lies."""

    student: str
    exercise: str
    path: Path


class Bundle(NamedTuple):
    """The teacher's bundle: its folder and course.json."""

    folder: Path
    course: dict[str, Any]

    def tests(self, exercise: str) -> list[Path]:
        """Otter's test files of an exercise, in the order of its questions."""
        return [self.folder / "tests" / exercise / f"{q}.py" for q in self.course["exercises"][exercise]["points"]]

    def handout(self, exercise: str) -> Path:
        """The notebook as the students received it."""
        return self.folder / "handout" / f"{exercise}.ipynb"


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder. Raises UserError where there is none, or a part is missing."""
    if not (folder / "course.json").is_file():
        raise UserError(f"{folder}: holds no course.json; `make course` writes {BUNDLE}, or name another with --bundle")
    bundle = Bundle(folder.resolve(), store.read_json(folder / "course.json", "seed", "exercises"))
    for exercise in bundle.course["exercises"]:
        for path in (bundle.handout(exercise), *bundle.tests(exercise)):
            if not path.is_file():
                raise UserError(f"{path}: is missing; run `make course` again")
    return bundle


# ------------------------------------------------------------------------------------------- what was handed in


def find(folder: Path, bundle: Bundle) -> tuple[list[Submission], list[str]]:
    """The submissions of a folder, and a sentence for each notebook that is none or not the newest of its kind.

    Raises UserError where the folder does not exist or holds no notebook.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder; name the one that holds the submitted notebooks")
    newest: dict[tuple[str, str], Submission] = {}
    said, place = [], folder.resolve()  # a notebook is graded in another working folder
    for path in sorted(place.rglob("*.ipynb")):
        inside = path.relative_to(place)
        if any(part.startswith((".", "__MACOSX")) or part == "graded" for part in inside.parts):
            continue
        exercise = exercise_of(path, bundle.course["exercises"])
        if exercise is None:
            said.append(f"{inside}: is not graded; its name and its title are of no exercise of this course")
            continue
        one = Submission(student_of(inside, exercise), exercise, path)
        other = newest.get(one[:2])
        if other:
            one = max(one, other, key=lambda s: s.path.stat().st_mtime)
            said.append(f"{one.student}: handed in {exercise} more than once; {one.path.relative_to(place)} counts")
        newest[one[:2]] = one
    if not newest and not said:
        raise UserError(f"{folder}: holds no notebook (.ipynb)")
    return [newest[key] for key in sorted(newest)], said


def exercise_of(path: Path, exercises: Iterable[str]) -> str | None:
    """The exercise whose name stands in the file's name, else the one of the number in its title, else None."""
    exercises = list(exercises)
    if named := [name for name in exercises if name in path.stem]:
        return named[0]
    try:
        titles = re.findall(
            r"^# Exercise (\d+):", "\n".join(c.source for c in submission.read_cells(path)), re.MULTILINE
        )
    except UserError:
        return None
    return next((name for name in exercises if titles and int(name[:2]) == int(titles[0])), None)


def student_of(inside: Path, exercise: str) -> str:
    """The first folder, else what the file's name has before the exercise's."""
    name = inside.parts[0] if len(inside.parts) > 1 else inside.stem.partition(exercise)[0]
    return re.sub(r"[^\w.@ -]", "_", name).strip("._ -") or encodable(inside.stem)


# ------------------------------------------------------------------------------------------- one submission


def grade_notebook(one: Submission, bundle: Bundle, limits: Limits) -> dict[str, Any]:
    """In a confined process: {"questions": {name: {points, of, says}}, "remarks": [...]} of one submission."""
    from otter.execute import Checker
    from otter.nbmeta_config import NBMetadataConfig
    from otter.test_files import GradingResults

    before = submission.modules_of(sys.modules, "advdpnp")
    handed, handout = submission.read_cells(one.path), submission.read_cells(bundle.handout(one.exercise))
    space, problems = submission.execute(submission.to_run(handed, handout), limits.cell_seconds)
    found = submission.remarks(handed, handout) + problems
    found += [f"{name} was replaced" for name in submission.replaced(before, sys.modules) if name not in REGISTERED]
    if bundle.course["exercises"][one.exercise]["fresh"]:
        _forget("advdpnp")
    tests, late = [], {}
    for path in bundle.tests(one.exercise):
        try:
            with at_most(limits.cell_seconds):
                tests.append(Checker.check(str(path), NBMetadataConfig(), global_env=space))
        except CellTimeout:
            late[path.stem] = f"took longer than {limits.cell_seconds:g} seconds"
    results = GradingResults(tests)
    questions = {}
    for name, of in bundle.course["exercises"][one.exercise]["points"].items():
        if name in late:
            questions[name] = {"points": 0, "of": of, "says": late[name]}
        else:
            result = results.get_result(f"{one.exercise}-{name}")
            failed = [case.message for case in result.test_case_results if not case.passed]
            says = "; ".join(dict.fromkeys(_sentence(message) for message in failed)) or "right"
            questions[name] = {"points": float(result.score), "of": of, "says": says}
    return {"questions": questions, "remarks": found}


REGISTERED = ("advdpnp.exercises.check_kernel",)  # what honest notebooks change


def _forget(package: str) -> None:
    """Drop a package's modules, so that the tests import it anew: replaced functions are of the old ones."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def _sentence(message: str) -> str:
    """What a hidden test said, without Otter's frame around it."""
    return message.rpartition("AssertionError: ")[2].strip() if "AssertionError: " in message else message.strip()


# ------------------------------------------------------------------------------------------- all of them


def key_of(one: Submission, bundle: Bundle, limits: Limits) -> str:
    """sha256 over the notebook, its tests, what was handed out, the limits and the library: with the same key the
    result is the same.
    """
    digest = hashlib.sha256(f"{limits} {store.code_hash()}".encode())
    for path in (one.path, bundle.handout(one.exercise), *bundle.tests(one.exercise)):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def grade(
    folder: Path, bundle: Path = BUNDLE, output: Path | None = None, *, workers: int = 2, limits: Limits | None = None
) -> Iterator[str]:
    """Grade what is new in a folder; yields a line for each problem, then a summary.

    Raises UserError where the folder, the bundle or Otter-Grader is missing.
    """
    teacher, limits = read_bundle(bundle), limits or Limits()
    found, said = find(folder, teacher)
    yield from map(encodable, said)
    output = output or folder / "graded"
    results = [output / "results" / one.student / f"{one.exercise}.json" for one in found]
    keys = [key_of(one, teacher, limits) for one in found]
    left = [i for i, path in enumerate(results) if _kept(path).get("key") != keys[i]]
    if left:
        _warm_up()
    jobs = [found[i] for i in left]
    for place, outcome in forked(jobs, lambda one: grade_notebook(one, teacher, limits), limits, workers):
        i = left[place]
        one, record = found[i], _record(found[i], teacher, outcome, keys[i], limits)
        store.write_json(results[i], record)
        if record["problems"]:
            yield encodable(f"{one.student}, {one.exercise}: {'; '.join(record['problems'])}")
    records = [store.read_json(path, "student", "exercise", "questions", "problems") for path in results]
    write_report(records, teacher, output)
    troubled = sum(bool(record["problems"]) for record in records)
    networks = {record.get("network") for record in records} - {None, "namespace"}
    if networks:
        yield "this system gives no network namespace: the network was cut in Python alone"
    students = len({record["student"] for record in records})
    where = f"{output / 'grades.csv'}, {output / 'feedback'}"
    yield encodable(
        f"{len(records)} notebooks of {students} students, {len(left)} graded now, {troubled} with remarks: {where}"
    )


def _warm_up() -> None:
    """Import once what every child needs, on one thread: a process with more of them cannot be forked safely."""
    import os
    import warnings

    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", MPLBACKEND="Agg")
    try:
        import otter.execute
        import otter.test_files  # noqa: F401
    except ImportError:
        raise UserError(f"otter-grader is not installed; {INSTALL}") from None
    import matplotlib.pyplot  # noqa: F401
    import torch
    from IPython.core.interactiveshell import InteractiveShell  # noqa: F401

    import advdpnp.defenses
    import advdpnp.exercises  # noqa: F401

    torch.set_num_threads(1)


def _kept(path: Path) -> dict[str, Any]:
    """An earlier call's result, or nothing."""
    try:
        return store.read_json(path, "key")
    except (UserError, OSError):
        return {}


def _record(one: Submission, bundle: Bundle, outcome: Outcome, key: str, limits: Limits) -> dict[str, Any]:
    """What is kept of one submission; without an answer, every question has no points."""
    answer = outcome.answer or {}
    said = {name: q | {"says": encodable(q["says"])} for name, q in answer.get("questions", {}).items()}
    points: Mapping[str, int] = bundle.course["exercises"][one.exercise]["points"]
    nothing = {name: {"points": 0, "of": of, "says": "was not reached"} for name, of in points.items()}
    problems = [*filter(None, [outcome.problem]), *answer.get("remarks", [])]
    return {
        "student": one.student, "exercise": one.exercise, "file": encodable(one.path.name),
        "key": key, "questions": said or nothing,
        "problems": [encodable(problem) for problem in problems], "network": answer.get("network"),
        "limits": asdict(limits),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------- what people read


def write_report(records: list[dict], bundle: Bundle, output: Path) -> None:
    """grades.csv, questions.csv and a feedback file for each student."""
    exercises = [name for name in bundle.course["exercises"] if any(r["exercise"] == name for r in records)]
    students = sorted({record["student"] for record in records})
    of = {(record["student"], record["exercise"]): record for record in records}
    rows, empty = [], dict.fromkeys(exercises, "")
    for student in students:
        points = {name: _points(of[student, name]) for name in exercises if (student, name) in of}
        rows.append({"student": _cell(student), **empty, **points, "total": sum(points.values())})
    store.write_csv(output / "grades.csv", rows, ["student", *exercises, "total"])
    long = [
        {"student": _cell(r["student"]), "exercise": r["exercise"], "question": name, "points": q["points"],
         "of": q["of"], "says": _cell(q["says"]), "problems": _cell("; ".join(r["problems"]))}
        for r in records for name, q in r["questions"].items()
    ]  # fmt: skip
    store.write_csv(
        output / "questions.csv", long, ["student", "exercise", "question", "points", "of", "says", "problems"]
    )
    for student in students:
        mine = [of[student, name] for name in exercises if (student, name) in of]
        store.write_text(output / "feedback" / f"{student}.md", feedback(student, mine))


def _points(record: dict) -> float:
    return sum(question["points"] for question in record["questions"].values())


def encodable(text: str) -> str:
    """Text of others as UTF-8 has it: a half of a surrogate pair (\\ud800 in a notebook, a file's name) becomes '?'."""
    return text.encode(errors="replace").decode()


def _cell(text: str) -> str:
    """Text of others for a spreadsheet: nothing that it would take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def feedback(student: str, records: list[dict]) -> str:
    """What one student is told, in Markdown: points, what each question's test said, and what else was seen."""
    lines = [f"# Feedback for {escape_markdown(student)}", ""]
    for record in records:
        questions = record["questions"]
        lines += [f"## {record['exercise']}: {_points(record):g} of {sum(q['of'] for q in questions.values()):g}", ""]
        lines += [
            f"- **{name}**, {q['points']:g} of {q['of']:g}: {escape_markdown(q['says'])}"
            for name, q in questions.items()
        ]
        lines += [f"- Seen: {escape_markdown(problem)}." for problem in record["problems"]]
        lines.append("")
    return "\n".join(lines)
