"""Every public module, class, function and method says what it is for."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "advdpnp"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
INHERITED = {"forward", "train"}  # nn.Module says what these do


def methods(tree: ast.Module) -> set[str]:
    """Names of methods that carry a docstring."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return {f.name for c in classes for f in c.body if isinstance(f, ast.FunctionDef) and ast.get_docstring(f)}


# A contract is said once: what a Defense, a backbone or a head does where it is declared, not in each of its kind.
DECLARED = frozenset(INHERITED).union(*(methods(ast.parse(path.read_text())) for path in FILES))


def undocumented(tree: ast.Module, declared: frozenset[str] = frozenset()) -> list[str]:
    """Names of public definitions without a docstring, at the top level and in classes."""
    found = [] if ast.get_docstring(tree) else ["the module"]

    def look(body: list[ast.stmt], prefix: str = "") -> None:
        for node in body:
            public = isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
            if not public or (prefix and node.name in declared):
                continue
            if not ast.get_docstring(node):
                found.append(f"{prefix}{node.name}, line {node.lineno}")
            if isinstance(node, ast.ClassDef):
                look(node.body, f"{node.name}.")

    look(tree.body)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_names_have_docstrings(path):
    assert not undocumented(ast.parse(path.read_text()), DECLARED)


def test_a_missing_docstring_is_found():
    source = '"""m"""\nclass A:\n    """a"""\n    def b(self): pass\n    def _c(self): pass\ndef d(): pass\n'
    assert undocumented(ast.parse(source)) == ["A.b, line 4", "d, line 6"]
