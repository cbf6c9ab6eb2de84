"""Progress with the time left: one line that refreshes on a terminal, a plain line now and then in a log file."""

import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TextIO


class TimeUp(Exception):
    """The time limit is reached. What is finished is on disk; the same command goes on."""


@dataclass
class Deadline:
    """So many `seconds` from `begin` on. One unit of work is always done, so that calling again gets further."""

    seconds: float
    begin: float = field(default_factory=time.monotonic)
    moved: bool = False  # whether a unit has been finished

    def allows(self, seconds: float = 0.0) -> bool:
        """Whether work that takes so long fits before the end, or is the first."""
        return not self.moved or time.monotonic() + seconds <= self.begin + self.seconds


_deadline: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def deadline() -> Deadline:
    """That of the innermost `time_limit`; without one it never comes."""
    return _deadline.get() or Deadline(math.inf)


@contextmanager
def time_limit(minutes: float | None) -> Iterator[None]:
    """Inside, Progress raises TimeUp once another unit as long as the last would not fit; None sets no new limit."""
    token = _deadline.set(deadline() if minutes is None else Deadline(60 * minutes))
    try:
        yield
    finally:
        _deadline.reset(token)


def duration(seconds: float) -> str:
    """75 -> '1m15s', 7300 -> '2h01m', 200000 -> '2d07h'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    if seconds < 48 * 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 86400}d{seconds % 86400 // 3600:02d}h"


COLOURS = {"done": "32", "running": "36", "stale": "33", "missing": "2"}  # green, cyan, yellow, dim


def colour(text: str, state: str, stream: TextIO | None = None) -> str:
    """The text in its state's colour, on a terminal and where NO_COLOR is not set (no-color.org); else as it is."""
    stream = sys.stdout if stream is None else stream
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain or state not in COLOURS else f"\x1b[{COLOURS[state]}m{text}\x1b[0m"


class Progress:
    """Counts units of equal work. `done` units were finished by an earlier process and say nothing about speed.

    `stops` False: work that would be lost if it were interrupted, so that a time limit waits for its end. Raises
    TimeUp (see `time_limit`).
    """

    def __init__(
        self,
        label: str,
        total: float,
        *,
        done: float = 0,
        log_every: float = 20.0,
        stream: TextIO | None = None,
        stops: bool = True,
    ):
        self.label, self.total, self.done, self.before = label, total, done, done
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self.every = 0.2 if self.terminal else log_every
        self.stops = stops
        self.note = ""  # what a line says behind the time left, unless `update` has something else
        self.begin = self.shown = self.last = time.monotonic()
        if not deadline().allows():
            raise TimeUp(label)

    def update(self, units: float = 1, note: str = "") -> None:
        """Count finished units; shows the line when it is due. Raises TimeUp."""
        self.done += units
        now = time.monotonic()
        if now - self.shown >= self.every:
            self.shown, note = now, note or self.note
            left = (now - self.begin) / (self.done - self.before) * (self.total - self.done)
            self._print(f"{self.label} {self.done / self.total:4.0%}, {duration(left)} left{note and ', ' + note}")
        self.stop_when_late()

    def tell(self, note: str) -> None:
        """Show a line on work that is not counted yet, when one is due."""
        if (now := time.monotonic()) - self.shown >= self.every:
            self.shown = now
            self._print(f"{self.label} {self.done / self.total:4.0%}, {note}")

    def stop_when_late(self) -> None:
        """After work that is on disk, counted or not. Raises TimeUp."""
        now = time.monotonic()
        took, self.last = now - self.last, now
        deadline().moved = True
        if self.stops and self.done < self.total and not deadline().allows(took):
            self._print(f"{self.label}: time is up at {self.done / self.total:.0%}", last=True)
            raise TimeUp(self.label)

    def finish(self, note: str = "") -> None:
        """Show the last line."""
        self._print(f"{self.label} done in {duration(time.monotonic() - self.begin)}{note and ', ' + note}", last=True)

    def _print(self, text: str, last: bool = False) -> None:
        if self.terminal:
            if not last:  # a line that wraps could not be written over
                text = text[: shutil.get_terminal_size().columns - 1]
            print(f"\r{text}\x1b[K", end="\n" if last else "", file=self.stream, flush=True)
        else:
            print(text, file=self.stream, flush=True)
