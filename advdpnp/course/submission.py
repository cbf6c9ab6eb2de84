"""A student's notebook: what is in it, which of its cells run for grading, and what they leave behind.

A notebook is read as JSON, whatever wrote it. It is set beside the one that was handed out by the text of its cells,
not by their ids, which hosted notebooks change.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from advdpnp.course.sandbox import CellTimeout, at_most
from advdpnp.errors import UserError

CHECK = re.compile(r"^check_\w+\(.*\)$", re.MULTILINE)
LONGEST = 2**24  # bytes of a notebook


class Cell(NamedTuple):
    """One cell: its text, whether it is code, and its tags."""

    source: str
    code: bool
    tags: tuple[str, ...] = ()


def read_cells(path: Path) -> list[Cell]:
    """The cells of a notebook. Raises UserError where the file is none."""
    try:
        if path.stat().st_size > LONGEST:
            raise UserError(f"{path.name}: is larger than {LONGEST // 2**20} MiB; clear its outputs")
        cells = json.loads(path.read_bytes())["cells"]
        return [
            Cell("".join(cell["source"]), cell["cell_type"] == "code", tuple(cell.get("metadata", {}).get("tags", ())))
            for cell in cells
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path.name}: is no notebook that can be read ({type(error).__name__})") from None


def is_check(cell: Cell) -> bool:
    """Whether the cell ends in a check, and so shows a verdict."""
    return cell.code and bool(CHECK.search(cell.source.rstrip().rsplit("\n", 1)[-1]))


def stubs(handout: Iterable[Cell]) -> list[str]:
    """Names of the functions and classes that a student is to write, in their order."""
    found = []
    for cell in handout:
        if "stub" in cell.tags:
            found += [n.name for n in ast.parse(cell.source).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return found


def showing(handout: list[Cell]) -> set[str]:
    """Texts of the handed-out code cells that only show something: after the last check, or tagged `show`."""
    last = max((i for i, cell in enumerate(handout) if is_check(cell)), default=len(handout))
    return {cell.source.strip() for i, cell in enumerate(handout) if cell.code and (i > last or "show" in cell.tags)}


def to_run(submission: list[Cell], handout: list[Cell]) -> list[str]:
    """Texts of the code cells that grading runs: all but empty ones, unchanged checks, and what only shows."""
    skipped = showing(handout) | {cell.source.strip() for cell in handout if is_check(cell) and "=" not in cell.source}
    return [cell.source for cell in submission if cell.code and cell.source.strip() not in skipped | {""}]


def remarks(submission: list[Cell], handout: list[Cell]) -> list[str]:
    """What was changed that should not have been: cells of functions that are gone, checks that were altered."""
    text = "\n".join(cell.source for cell in submission if cell.code)
    gone = [
        name for name in stubs(handout) if not re.search(rf"\b(def|class)\s+{name}\b|^{name}\s*=", text, re.MULTILINE)
    ]
    sources = {cell.source.strip() for cell in submission}
    altered = [cell.source.strip().rsplit("\n", 1)[-1] for cell in handout if is_check(cell)
               and cell.source.strip() not in sources]  # fmt: skip
    named = [f"the cell of {name} is missing" for name in gone]
    return named + [f"the check {check} was changed or deleted" for check in altered]


def execute(sources: Iterable[str], cell_seconds: float, seed: int = 0) -> tuple[dict[str, Any], list[str]]:
    """The namespace that the cells leave, and a sentence for each that stopped. A cell that stops does not end the run.

    Runs in IPython, so magics work; in a confined process only.
    """
    import torch
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    shell.run_line_magic("colors", "nocolor")
    shell.ask_exit = lambda: None  # type: ignore[attr-defined]  # exit() in a cell ends nothing
    torch.manual_seed(seed)
    problems = []
    for source in sources:
        error: BaseException | None
        try:
            with at_most(cell_seconds):
                result = shell.run_cell(source, store_history=False)
            error = result.error_before_exec or result.error_in_exec
        except BaseException as stopped:
            error = stopped
        if isinstance(error, CellTimeout):
            problems.append(f"{_named(source)} took longer than {cell_seconds:g} seconds")
        elif error is not None:
            problems.append(f"{_named(source)} stops with {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return shell.user_ns, problems


def _named(source: str) -> str:
    """'the cell that begins `...`', for a message."""
    first = next((line.strip() for line in source.splitlines() if line.strip()), "")
    return f"the cell that begins `{first[:60]}`"


def modules_of(loaded: Mapping[str, Any], package: str) -> dict[str, dict[str, Any]]:
    """{module: its names and what they are} of a package, to see later what was replaced."""
    return {
        name: dict(vars(module))
        for name, module in loaded.items()
        if name.partition(".")[0] == package and module is not None
    }


def replaced(before: Mapping[str, Mapping[str, Any]], loaded: Mapping[str, Any]) -> list[str]:
    """'module.name' of each function or class that is another one now."""
    return sorted(
        f"{module}.{name}"
        for module, names in before.items()
        for name, value in names.items()
        if callable(value) and getattr(loaded.get(module), name, None) is not value
    )
