"""What each component of AutoAttack did: images searched and broken, seconds, forward passes."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from torch import Tensor


@dataclass
class Tally:
    """Counts of one component. An image searched twice counts twice in `searches`; a broken image counts once."""

    searches: int = 0
    broken: int = 0
    seconds: float = 0.0
    passes: int = 0  # images sent forward through the networks, the target's included


class Tallies:
    """The tallies of an ensemble by component; `passes` returns the images sent through the networks so far.

    `record` is called with all of them by `tell`.
    """

    def __init__(self, passes: Callable[[], int], record: Callable[[dict[str, Tally]], None] | None = None):
        self.passes, self.record = passes, record
        self.found: dict[str, Tally] = {}

    def begin(self, names: Iterable[str]) -> None:
        """Have a tally of each component, also of those that find nothing left to search."""
        for name in names:
            self.found.setdefault(name, Tally())

    def table(self) -> np.ndarray:
        """[components, 4], to be put back by a search that goes on."""
        return np.array([astuple(tally) for tally in self.found.values()], dtype=np.float64)

    def put_back(self, names: Iterable[str], table: np.ndarray) -> None:
        """What `table` said of these components."""
        rows = zip(names, table.tolist(), strict=True)
        self.found = {name: Tally(int(row[0]), int(row[1]), row[2], int(row[3])) for name, row in rows}

    @contextmanager
    def running(self, name: str) -> Iterator[Tally]:
        """Inside, time and passes are the component's."""
        tally, begin, before = self.found[name], time.perf_counter(), self.passes()
        yield tally
        tally.seconds += time.perf_counter() - begin
        tally.passes += self.passes() - before

    def tell(self) -> None:
        """Have all of them recorded, after one has changed."""
        if self.record:
            self.record(self.found)


def tally_package(ensemble: Any, tallies: Tallies) -> None:
    """Tally the components of the package's own loop, from the logits it asks for after each component."""
    answer = ensemble.get_logits
    waiting: list[tuple[str, Tensor]] = []  # a component's name and labels, whose candidates are not counted yet

    def told_by(attack: Any, name_of: Callable[[], str]) -> None:
        whole = attack.perturb

        def perturb(x: Tensor, y: Tensor) -> Tensor:
            with tallies.running(name_of()):
                candidates = whole(x, y)
            tallies.tell()
            waiting.append((name_of(), y))
            return candidates

        attack.perturb = perturb

    def get_logits(x: Tensor) -> Tensor:
        if not waiting:
            return answer(x)
        name, y = waiting.pop()
        with tallies.running(name) as tally:
            logits = answer(x)
            tally.searches += len(y)
            tally.broken += int((logits.argmax(1) != y).sum())
        tallies.tell()
        return logits

    told_by(ensemble.apgd, lambda: f"apgd-{ensemble.apgd.loss}")
    told_by(ensemble.apgd_targeted, lambda: "apgd-t")
    told_by(ensemble.fab, lambda: "fab-t" if ensemble.fab.targeted else "fab")
    told_by(ensemble.square, lambda: "square")
    ensemble.get_logits = get_logits
