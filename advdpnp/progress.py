"""Progress with the time left: one line that refreshes on a terminal, a plain line now and then in a log file."""

import os
import sys
import time


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


def paint(text: str, state: str, stream=None) -> str:
    """The text in its state's colour, on a terminal and where NO_COLOR is not set (no-color.org); else as it is."""
    stream = sys.stdout if stream is None else stream
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain or state not in COLOURS else f"\x1b[{COLOURS[state]}m{text}\x1b[0m"


class Progress:
    """Counts units of equal work. `done` units were finished by an earlier process and say nothing about speed."""

    def __init__(self, label: str, total: float, *, done: float = 0, log_every: float = 20.0, stream=None):
        self.label, self.total, self.done, self.before = label, total, done, done
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self.every = 0.2 if self.terminal else log_every
        self.begin = self.shown = time.monotonic()

    def update(self, units: float = 1, note: str = "") -> None:
        self.done += units
        now = time.monotonic()
        if now - self.shown >= self.every:
            self.shown = now
            left = (now - self.begin) / (self.done - self.before) * (self.total - self.done)
            self._print(f"{self.label} {self.done / self.total:4.0%}, {duration(left)} left{note and ', ' + note}")

    def finish(self, note: str = "") -> None:
        self._print(f"{self.label} done in {duration(time.monotonic() - self.begin)}{note and ', ' + note}", last=True)

    def _print(self, text: str, last: bool = False) -> None:
        if self.terminal:
            print(f"\r{text}\x1b[K", end="\n" if last else "", file=self.stream, flush=True)
        else:
            print(text, file=self.stream, flush=True)
