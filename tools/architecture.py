"""Write docs/architecture.md: what imports what in advdpnp/, drawn from the code. A test says when it is due."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Architecture

Which module of `advdpnp/` imports which, an arrow from the importing one; folders stand for their files, and an arrow
that follows from others is left out. Drawn from the code's own imports by `python tools/architecture.py`.

"""


def imports() -> dict[str, set[str]]:
    """{module or folder: those of advdpnp/ that it imports, wherever in its code}."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "advdpnp").rglob("*.py")):
        parts = path.relative_to(ROOT / "advdpnp").with_suffix("").parts
        if parts[0] == "__init__":
            continue
        own = found.setdefault(parts[0], set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("advdpnp"):
                names = node.module.split(".")[1:2] or [alias.name for alias in node.names]
                own.update(set(names) - {parts[0], "__version__"})
    return found


def reach(graph: dict[str, set[str]], start: str) -> set[str]:
    """All that is imported from `start`, directly or through others."""
    seen, todo = set(), [*graph.get(start, ())]
    while todo:
        if (name := todo.pop()) not in seen:
            seen.add(name)
            todo += graph.get(name, ())
    return seen


def content() -> str:
    """The text of docs/architecture.md."""
    graph = imports()
    lines = ["```mermaid", "flowchart TD"]
    for name, used in graph.items():
        for other in sorted(used):
            if not any(other in reach(graph, between) for between in used - {other}):
                lines.append(f"  {name.strip('_')} --> {other}")
    return HEADER + "\n".join([*lines, "```"]) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "architecture.md").write_text(content(), encoding="utf-8")
