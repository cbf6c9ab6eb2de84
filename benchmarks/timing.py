"""Contestants take turns in every round, so that a busy machine slows all of them down; medians, spread and ratio."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def seconds_of(work: Callable[[], object]) -> float:
    """Wall seconds of one call; a GPU has finished what it was given before and after."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def interleaved(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm: bool = True,
    clock: Callable[[Callable[[], object]], float] = seconds_of,
) -> dict:
    """{name: work} -> seconds of every round, median and [least, most] of each; `ratio` is the last over the first.

    `clock` makes the call and says what it took.
    """
    if warm:
        for work in works.values():
            work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seconds[name].append(clock(work))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    spread = {name: [min(values), max(values)] for name, values in seconds.items()}
    first, last = next(iter(median.values())), next(reversed(median.values()))
    return {"seconds": seconds, "median": median, "spread": spread, "ratio": round(last / first, 3)}


def line(title: str, found: Mapping) -> str:
    """'AT: ours 0.52 s (0.50-0.61), textbook 1.02 s (0.99-1.10): 1.96 times as fast'"""
    parts = [
        f"{name} {found['median'][name]:.3g} s ({low:.3g}-{high:.3g})" for name, (low, high) in found["spread"].items()
    ]
    return f"{title}: {', '.join(parts)}: {found['ratio']:.2f} times as fast"
