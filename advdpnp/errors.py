"""The one exception a user is meant to read: a sentence that names the cause and the cure."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Bad input. The command line prints its one sentence and exits with status 2; no traceback unless --debug."""

    def __str__(self) -> str:
        """One line of printable characters, whatever a file or an argument put into it."""
        return " ".join("".join(c if c.isprintable() else " " for c in super().__str__()).split())

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows in a notebook in place of a traceback."""
        return [f"error: {self}"]


def nearest(name: object, choices: Iterable[str]) -> str:
    """ "did you mean 'pgd20'?" when something is close, else the list of choices."""
    choices = [str(choice) for choice in choices]
    close = get_close_matches(str(name), choices, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"choose one of: {', '.join(choices)}"
