"""The licence table is today's, and the audit fails for what an index answers and only for that."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_licence_table_is_current_for_direct_dependencies(tmp_path, monkeypatch):
    licences = tool("licences")
    assert licences.is_current(), "run python tools/licences.py"
    (tmp_path / "old.md").write_text(licences.PAGE.read_text().replace(f"| {licences.pinned()['numpy']} |", "| 1.0 |"))
    monkeypatch.setattr(licences, "PAGE", tmp_path / "old.md")
    assert not licences.is_current()


def test_every_direct_dependency_is_pinned_and_states_a_licence():
    licences = tool("licences")
    assert {"torch", "numpy", "snakemake", "pytest"} <= licences.direct() <= licences.pinned().keys()
    for name in ("torch", "numpy", "pyautoattack", "hypothesis"):
        assert licences.licence(name) != "not stated in its metadata", name


def pip_says(monkeypatch, audit, code, items=(), stderr=""):
    def run(command, **options):
        if items:
            Path(command[command.index("--report") + 1]).write_text(json.dumps({"install": items}))
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(audit.subprocess, "run", run)


def item(name, is_yanked):
    return {"metadata": {"name": name, "version": "1.0"}, "is_yanked": is_yanked}


@pytest.mark.parametrize(("is_yanked", "ok", "said"), [(True, False, "bad==1.0 of 2"), (False, True, "none of 2")])
def test_a_yanked_pin_fails_the_audit(monkeypatch, is_yanked, ok, said):
    audit = tool("audit")
    pip_says(monkeypatch, audit, 0, [item("good", False), item("bad", is_yanked)])
    assert audit.check_yanked() == (ok, f"yanked pins: {said}")


def test_an_index_that_does_not_answer_is_said_to_be_not_checked(monkeypatch):
    audit = tool("audit")
    pip_says(monkeypatch, audit, 1, stderr="WARNING: retrying\nERROR: No matching distribution found")
    assert audit.check_yanked() == (True, "yanked pins: not checked (ERROR: No matching distribution found)")


def pip_audit_says(monkeypatch, audit, stdout):
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, stdout, ""))


def skipped(name):
    return {"name": name, "skip_reason": f"no JSON of {name}"}


OLD = {"name": "old", "vulns": [{"id": "PYSEC-1"}]}
NEW = {"name": "new", "vulns": []}


@pytest.mark.parametrize(
    ("packages", "ok", "said"),
    [
        ([OLD, NEW], False, "old PYSEC-1 in 2 packages"),
        ([NEW], True, "none in 1 packages"),
        ([skipped("a"), NEW, skipped("b")], True, "none in 1 packages; 2 skipped (no JSON of a)"),
        ([skipped("a"), OLD], False, "old PYSEC-1 in 1 packages; 1 skipped (no JSON of a)"),
        ([skipped("a"), skipped("b")], True, "not checked (pip-audit skipped all 2 packages: no JSON of a)"),
        ([], True, "not checked (pip-audit skipped all 0 packages: it named none)"),
    ],
)
def test_only_what_pip_audit_asked_counts(monkeypatch, packages, ok, said):
    audit = tool("audit")
    pip_audit_says(monkeypatch, audit, json.dumps({"dependencies": packages}))
    assert audit.check_vulnerable() == (ok, f"known vulnerabilities: {said}")


def test_a_pip_audit_that_says_nothing_is_no_answer(monkeypatch):
    audit = tool("audit")
    pip_audit_says(monkeypatch, audit, "")
    sentence = "known vulnerabilities: not checked (pip-audit did not reach its database)"
    assert audit.check_vulnerable() == (True, sentence)
