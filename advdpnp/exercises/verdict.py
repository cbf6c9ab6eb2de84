"""What a check answers, and what the checks share: ask the student's function, compare, say what is off."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from html import escape
from typing import Any

import torch
from torch import Tensor

Mistake = tuple[Any, str, int]  # (what a known mistake would give, what to say about it, number of the hint)


@dataclass(frozen=True)
class Verdict:
    """True when the answer is right; shown by Jupyter when it is a cell's last line."""

    solved: bool
    says: str
    hint: int | None = None

    def __bool__(self) -> bool:
        return self.solved

    def __repr__(self) -> str:
        more = f" (hint {self.hint} is about this)" if self.hint else ""
        return f"{'✓' if self.solved else '✗'} {self.says}{more}"

    def _repr_html_(self) -> str:
        colour = "#1a7f37" if self.solved else "#b35900"
        return f"<div style='border-left:4px solid {colour};padding:.4em .8em'>{escape(repr(self))}</div>"


class WrongAnswer(Exception):
    """An answer is not right yet: what is off, and the number of the hint that is about it."""

    def __init__(self, says: str, hint: int | None = None):
        super().__init__(says)
        self.says, self.hint = says, hint


def checks(check: Callable[..., str]) -> Callable[..., Verdict]:
    """Decorator: `check` returns praise or raises WrongAnswer; its callers get a Verdict and never an exception.

    A check draws its own tensors, on the CPU and with gradients, whatever the student's notebook has set.
    """

    @wraps(check)
    def checked(*answers: Any) -> Verdict:
        try:
            with torch.device("cpu"), torch.enable_grad():
                return Verdict(True, check(*answers))
        except WrongAnswer as off:
            return Verdict(False, off.says, off.hint)
        except Exception as error:
            return Verdict(False, f"the check could not read this answer ({type(error).__name__}: {error}).")

    return checked


def call_student(function: Any, *inputs: Any, hint: int, **settings: Any) -> Any:
    """What the student's function returns for copies of the inputs. Raises WrongAnswer when it fails or is a stub.

    `hint` is the first one of this part of the exercise: what a stub is sent to.
    """
    if not callable(function):
        raise WrongAnswer("hand over the function itself, not what it returns: check_it(my_function).")
    copies = [value.clone() if isinstance(value, Tensor) else value for value in inputs]  # gradients pass through
    try:
        answer = function(*copies, **settings)
    except Exception as error:
        about_gradients = "'tuple' object" in str(error) or "does not require grad" in str(error)
        says = f"{_where(function, error)} stops with {type(error).__name__}: {error}"
        raise WrongAnswer(says, hint if about_gradients else None) from None
    if answer is ...:
        raise WrongAnswer(f"{_name(function)} is still a stub: write the line that says `...`.", hint)
    if answer is None:
        raise WrongAnswer(f"{_name(function)} returns None: does it end in `return`?")
    return answer


def trained(what: str, value: Any, *inputs: Tensor, hint: int) -> None:
    """Pass in silence when a loss has a gradient for each of its inputs, else raise WrongAnswer."""
    if not isinstance(value, Tensor):
        raise WrongAnswer(f"{what} is a {type(value).__name__}, which trains nothing: return a tensor.", hint)
    if not value.requires_grad:
        raise WrongAnswer(f"{what} has the right value and no gradient: is something detached, or under no_grad?", hint)
    found = torch.autograd.grad(value, inputs, allow_unused=True, retain_graph=True)
    if any(gradient is None for gradient in found):
        raise WrongAnswer(f"{what} has the right value, but no gradient for some of its inputs: is one detached?", hint)


def _name(function: Any) -> str:
    return getattr(function, "__name__", "your function")


def _where(function: Callable, error: Exception) -> str:
    """'pgd, line 7,': the deepest line of the student's own function that the traceback passes."""
    line, trace, code = None, error.__traceback__, getattr(function, "__code__", None)
    while trace:
        line, trace = trace.tb_lineno if trace.tb_frame.f_code is code else line, trace.tb_next
    name = _name(function)
    return f"{name}, line {line - code.co_firstlineno + 1} of the function," if line else name


def same(answer: Tensor, right: Tensor, tolerance: float) -> bool:
    """Whether an answer has the right shape and, up to the tolerance, the right values."""
    shapes_fit = answer.shape == right.shape
    return shapes_fit and torch.allclose(answer.double(), right.double(), rtol=tolerance, atol=tolerance)


def compare(
    what: str,
    answer: Any,
    right: Any,
    mistakes: Iterable[Mistake] = (),
    *,
    hint: int,
    shape_hint: int | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Return when `answer` is `right`, else raise WrongAnswer: with a known mistake's sentence, or the difference.

    `hint` is about a value that no mistake explains, `shape_hint` (default: the same) about a wrong shape.
    """
    if not isinstance(answer, Tensor | int | float):
        raise WrongAnswer(f"{what}: expected a tensor, got {type(answer).__name__}.", hint)
    answer, right = torch.as_tensor(answer).detach(), torch.as_tensor(right)
    if same(answer, right, tolerance):
        return
    for wrong, says, number in mistakes:
        if same(answer, torch.as_tensor(wrong), tolerance):
            raise WrongAnswer(f"{what}: {says}", number)
    if answer.shape != right.shape:
        raise WrongAnswer(f"{what}: expected shape {[*right.shape]}, got {[*answer.shape]}.", shape_hint or hint)
    if answer.isnan().any():
        raise WrongAnswer(f"{what} is not a number (nan) in places.", hint)
    if right.ndim == 0:
        raise WrongAnswer(f"{what}: expected {float(right):.5g}, got {float(answer):.5g}.", hint)
    worst = (answer.double() - right.double()).abs().flatten().argmax()
    got, expected = float(answer.flatten()[worst]), float(right.flatten()[worst])
    place = [int(i) for i in torch.unravel_index(worst, right.shape)]
    raise WrongAnswer(f"{what} is off; the worst at {place}: expected {expected:.5g}, got {got:.5g}.", hint)
