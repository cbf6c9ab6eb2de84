"""What a question of an exercise is, and how the teacher's hidden tests judge an answer to it.

A hidden test is a file of Otter-Grader that `make course` writes; it holds the exercise's inputs and its solution as
text, and calls `by_check` and `by_inputs` here. Both raise AssertionError with the sentence that the student reads.
"""

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from advdpnp.exercises.verdict import Verdict

DRAWS = 3  # times that a hidden test draws inputs
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Question:
    """One function that a student writes: the notebook's own check, and inputs that this check does not use.

    `inputs(generator)` gives the positional arguments; None where the check alone decides (an attack that must break
    something is judged by what it reaches, not by being like the solution's).
    """

    check: Callable[[Any], Verdict]
    inputs: Callable[[torch.Generator], tuple] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # keyword arguments
    points: int = 2


def module_of(name: str, source: str) -> types.ModuleType:
    """A module from its text: a solution, or a file of hidden inputs."""
    module = types.ModuleType(name)
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


def questions_of(source: str) -> dict[str, Question]:
    """QUESTIONS of a file of notebooks/exercises/hidden, by the name of the function that a student writes."""
    return module_of("hidden", source).QUESTIONS


def _nothing(*_: Any, **__: Any) -> Any:
    return ...


def _never(*_: Any, **__: Any) -> Any:
    return torch.zeros(1, 2, 3, 5, 7)


def by_check(question: Question, answer: Any, solution: Any = None) -> None:
    """Return when the notebook's check accepts the answer, and rejects some that are certainly wrong.

    The second guards against a submission that has replaced what the check is made of. Raises AssertionError.
    """
    if answer is None:
        raise AssertionError("the function is not there: was its cell deleted, or did it stop with an error?")
    certainly = [_nothing, _never]
    if question.inputs is not None and solution is not None:
        certainly.append(lambda *given, **settings: solution(*given, **settings) + 1)
    for wrong in certainly:
        if question.check(wrong):
            raise AssertionError("the check accepts anything: the submission has changed it.")
    verdict = question.check(answer)
    if not verdict:
        raise AssertionError(str(verdict).removeprefix("✗ "))


def by_inputs(question: Question, answer: Any, solution: Any, seed: int) -> None:
    """Return when answer and solution agree on inputs drawn for this course. Raises AssertionError."""
    if not callable(answer):
        raise AssertionError("the function is not there: was its cell deleted, or did it stop with an error?")
    if question.inputs is None:
        raise ValueError("expected a question with inputs")
    for draw in range(DRAWS):
        given = question.inputs(torch.Generator().manual_seed(DRAWS * seed + draw))
        right = torch.as_tensor(solution(*_copies(given), **question.settings)).detach()
        try:
            got = answer(*_copies(given), **question.settings)
        except Exception as error:
            raise AssertionError(
                f"stops with {type(error).__name__} on inputs that the notebook does not try"
            ) from None
        if not isinstance(got, Tensor | int | float) or not close(torch.as_tensor(got).detach(), right):
            raise AssertionError("wrong on inputs that the notebook does not try")
    if close(right + 1, right):
        raise AssertionError("the comparison accepts anything: the submission has changed it.")


def close(got: Tensor, right: Tensor) -> bool:
    """The same shape, and the same values up to TOLERANCE."""
    if got.shape != right.shape:
        return False
    difference = (got.double() - right.double()).abs()
    return bool((difference <= TOLERANCE * (1 + right.double().abs())).all())


def _copies(given: tuple) -> tuple:
    return tuple(x.clone() if isinstance(x, Tensor) else dict(x) if isinstance(x, dict) else x for x in given)


def test_file(exercise: str, function: str, question: Question, hidden: str, solution: str, seed: int) -> str:
    """The text of Otter's test file for one question: half of the points for the check, half for other inputs."""
    parts = (
        [question.points] if question.inputs is None else [question.points - question.points // 2, question.points // 2]
    )
    cases = [("check", parts[0], "by_check(QUESTION, env.get(FUNCTION), getattr(SOLUTION, FUNCTION))")]
    if question.inputs is not None:
        cases += [("inputs", parts[1], "by_inputs(QUESTION, env.get(FUNCTION), getattr(SOLUTION, FUNCTION), SEED)")]
    written = [_HEAD.format(exercise=exercise, function=function, seed=seed, hidden=_literal(hidden),
                            solution=_literal(solution))]  # fmt: skip
    for name, points, call in cases:
        written.append(f'@test_case(name="{function}, {name}", points={points}, hidden={name == "inputs"})\n'
                       f"def {name}(env):\n    {call}\n")  # fmt: skip
    return "\n\n".join(written)


_HEAD = inspect.cleandoc(
    '''
    """Hidden test of exercise {exercise}, `{function}`: for the teacher alone. Written by `make course`."""

    from otter.test_files import test_case

    from advdpnp.course.questions import by_check, by_inputs, module_of, questions_of

    OK_FORMAT = False
    name = "{exercise}-{function}"
    FUNCTION = "{function}"
    SEED = {seed}  # of this course's inputs
    HIDDEN = {hidden}
    ANSWER = {solution}
    QUESTION, SOLUTION = questions_of(HIDDEN)[FUNCTION], module_of("solution", ANSWER)
    '''
)


def _literal(source: str) -> str:
    """Source text as a Python literal, a line of it a line."""
    lines = source.splitlines(keepends=True)
    return "(\n" + "\n".join(f"    {line!r}" for line in lines) + "\n)" if lines else "''"
