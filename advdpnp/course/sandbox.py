"""A process of its own for each piece of work that runs other people's code: time, memory, no network.

A child is forked from a process that has imported torch already, so a submission costs what its cells cost. What holds
without root: a wall-clock limit (SIGKILL to the child's process group), limits of the kernel on CPU time, memory and
the size of files, and on Linux a network namespace of its own, empty. Where the kernel refuses that one, or there is
none (macOS), sockets are refused in Python alone. Files that the user may read or write stay within reach: grade
strangers' submissions as a user of its own, or in a container.
"""

import contextlib
import ctypes
import json
import os
import platform
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from advdpnp.errors import UserError

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET of linux/sched.h
MOST = 2**20  # bytes that a child may answer
IDLE = 4


@dataclass(frozen=True)
class Limits:
    """What one submission may use."""

    seconds: float = 300.0  # wall clock, of all of it
    cell_seconds: float = 30.0  # processor time of one cell, and of one hidden test; IDLE times as long by the clock
    memory_mib: int = 4096  # beyond what the libraries map
    file_mib: int = 64  # the largest file it may write


class Outcome(NamedTuple):
    """What became of one piece of work: its answer, or None and why there is none."""

    answer: Any
    problem: str


class CellTimeout(BaseException):
    """A cell, or a test, has used its time. No Exception: a student's `except Exception` lets it pass."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Inside, CellTimeout is raised after so many seconds of processor time, and each second from then on.

    Processor time, so that a busy machine costs no points; by the clock (a cell that sleeps) it is IDLE times as long.
    In the main thread only.
    """

    def stop(*_: Any) -> None:
        raise CellTimeout

    clocks = {signal.SIGPROF: (signal.ITIMER_PROF, 1), signal.SIGALRM: (signal.ITIMER_REAL, IDLE)}
    before = {number: signal.signal(number, stop) for number in clocks}
    for timer, factor in clocks.values():
        signal.setitimer(timer, factor * seconds, 1.0)
    try:
        yield
    finally:
        for number, (timer, _) in clocks.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def cut_network() -> str:
    """Leave the network, for good, in a process of one thread; how it was done: "namespace" or "python"."""
    if platform.system() == "Linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(NEW_USER | NEW_NETWORK) == 0:
            return "namespace"
    refuse = _refuse
    socket.socket.connect = socket.socket.connect_ex = refuse
    socket.create_connection = socket.getaddrinfo = refuse
    return "python"


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise OSError("there is no network here")


def _mapped() -> int:
    """Bytes of address space that this process has already."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return 0


def confine(limits: Limits) -> str:
    """Give this process the limits, for good. Returns how the network was cut."""
    cpu = int(limits.seconds) + 5
    wanted = {resource.RLIMIT_CPU: cpu, resource.RLIMIT_FSIZE: limits.file_mib * 2**20, resource.RLIMIT_CORE: 0}
    wanted[resource.RLIMIT_AS] = _mapped() + limits.memory_mib * 2**20
    for which, value in wanted.items():
        with contextlib.suppress(ValueError, OSError):  # macOS knows no limit of the address space
            hard = resource.getrlimit(which)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(which, (value, value))
    return cut_network()


def _child(work: Callable[[Any], Any], job: Any, limits: Limits, pipe: int, folder: str) -> NoReturn:
    """In the child: run `work` in the empty folder, write its answer to the pipe, and end."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.chdir(folder)
        os.environ.update(HOME=folder, TMPDIR=folder, ADVDPNP_DATA=folder)  # cells on CIFAR-10 are not graded
        network = confine(limits)
        try:
            answer = {"answer": work(job), "problem": "", "network": network}
        except MemoryError:
            answer = {"answer": None, "problem": f"used more than {limits.memory_mib} MiB of memory"}
        except UserError as error:
            answer = {"answer": None, "problem": str(error)}
        except BaseException as error:
            last = traceback.format_exception_only(error)[-1].strip()
            answer = {"answer": None, "problem": f"the grading stopped with {last[:200]}"}
        with os.fdopen(pipe, "wb") as handle:
            handle.write(json.dumps(answer).encode()[:MOST])
        status = 0
    finally:
        os._exit(status)


@dataclass
class _Running:
    """A child that works: its job's place in the list, its end of the pipe, when it must be done, where it works."""

    place: int
    pipe: int
    deadline: float
    folder: str
    said: bytes = b""


def forked(
    jobs: Sequence[Any], work: Callable[[Any], Any], limits: Limits, workers: int = 2
) -> Iterator[tuple[int, Outcome]]:
    """(place of the job, its outcome) as they get done: `work(job)` in a confined child, `workers` at a time.

    The answer must be JSON. Children that still run when the caller stops are killed.
    """
    waiting, running = list(range(len(jobs))), dict[int, _Running]()
    try:
        while waiting or running:
            while waiting and len(running) < max(1, workers):
                place = waiting.pop(0)
                pid, child = _start(work, jobs[place], limits, place, [other.pipe for other in running.values()])
                running[pid] = child
            for pid in _step(running):
                child = running.pop(pid)
                yield child.place, _end(pid, child, limits)
    finally:
        for pid, child in running.items():
            _kill(pid)
            _clear(child)


def _start(work: Callable, job: Any, limits: Limits, place: int, others: list[int]) -> tuple[int, _Running]:
    folder, (read, write) = tempfile.mkdtemp(prefix="submission-"), os.pipe()
    sys.stdout.flush(), sys.stderr.flush()
    if (pid := os.fork()) == 0:
        for descriptor in (read, *others):
            os.close(descriptor)
        _child(work, job, limits, write, folder)
    os.close(write)
    os.set_blocking(read, False)
    return pid, _Running(place, read, time.monotonic() + limits.seconds, folder)


def _step(running: dict[int, _Running]) -> list[int]:
    """Read what children say, for at most a moment; returns those that are done or have to be."""
    ready, _, _ = select.select([child.pipe for child in running.values()], [], [], 0.1)
    over = []
    for pid, child in running.items():
        ended = False
        if child.pipe in ready:
            part = os.read(child.pipe, MOST)
            child.said, ended = child.said + part, not part
        if ended or len(child.said) > MOST or time.monotonic() > child.deadline:
            over.append(pid)
    return over


def _end(pid: int, child: _Running, limits: Limits) -> Outcome:
    """Kill what is left of a child, and read its answer."""
    late = time.monotonic() > child.deadline
    status = _kill(pid, patience=0 if late else 2)
    _clear(child)
    try:
        said = json.loads(child.said)
        return Outcome({"network": said.get("network"), **said["answer"]} if said["answer"] else None, said["problem"])
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    if late:
        return Outcome(None, f"took longer than {limits.seconds:.0f} seconds")
    if os.WIFSIGNALED(status):
        return Outcome(None, f"the process was ended by {signal.Signals(os.WTERMSIG(status)).name}")
    return Outcome(None, "the notebook ended its own process, so nothing was graded")


def _clear(child: _Running) -> None:
    os.close(child.pipe)
    shutil.rmtree(child.folder, ignore_errors=True)


def _kill(pid: int, patience: float = 0) -> int:
    """End a child, after so many seconds if it has not ended by itself, and its process group; its status."""
    deadline, status = time.monotonic() + patience, None
    while status is None:
        done, code = os.waitpid(pid, os.WNOHANG)
        if done:
            status = code
        elif time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
        else:
            time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    return status
