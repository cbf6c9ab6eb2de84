"""The audit fails for what an index answers, and only for that."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / "tools" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pip_says(monkeypatch, audit, code, items=(), stderr=""):
    def run(command, **options):
        if items:
            Path(command[command.index("--report") + 1]).write_text(json.dumps({"install": items}))
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(audit.subprocess, "run", run)


def item(name, is_yanked):
    return {"metadata": {"name": name, "version": "1.0"}, "is_yanked": is_yanked}


@pytest.mark.parametrize(("is_yanked", "ok", "said"), [(True, False, "bad==1.0 of 2"), (False, True, "none of 2")])
def test_a_yanked_pin_fails_the_audit(audit, monkeypatch, is_yanked, ok, said):
    pip_says(monkeypatch, audit, 0, [item("good", False), item("bad", is_yanked)])
    assert audit.check_yanked() == (ok, f"yanked pins: {said}")


def test_an_index_that_does_not_answer_is_said_to_be_not_checked(audit, monkeypatch):
    pip_says(monkeypatch, audit, 1, stderr="WARNING: retrying\nERROR: No matching distribution found")
    assert audit.check_yanked() == (True, "yanked pins: not checked (ERROR: No matching distribution found)")


def pip_audit_says(monkeypatch, audit, stdout):
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
def test_only_what_pip_audit_asked_counts(audit, monkeypatch, packages, ok, said):
    pip_audit_says(monkeypatch, audit, json.dumps({"dependencies": packages}))
    assert audit.check_vulnerable() == (ok, f"known vulnerabilities: {said}")


def test_a_pip_audit_that_says_nothing_is_no_answer(audit, monkeypatch):
    pip_audit_says(monkeypatch, audit, "")
    sentence = "known vulnerabilities: not checked (pip-audit did not reach its database)"
    assert audit.check_vulnerable() == (True, sentence)


# --- what make env installs


@pytest.fixture
def install(monkeypatch):
    spec = importlib.util.spec_from_file_location("install", ROOT / "tools" / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module, "has_gpu", lambda: False)
    return module


def test_each_section_of_the_lock_is_taken_alone(install):
    dev, cuda, book, release = (install.locked(name) for name in ("dev", "cuda", "book", "release"))
    assert "\ntorch==" in dev
    assert "\nsphinx==" not in dev
    assert "\nnvidia-" not in dev
    assert "\ntriton==" in cuda
    assert "\nsphinx==" in book
    assert "\nroc-validator==" in release
    assert install.locked("dev", "cuda") == dev + cuda


@pytest.mark.parametrize(
    ("links", "gpu", "found", "sections"),
    [
        ("", False, True, ("dev",)),  # PyTorch's own index answers
        ("", False, False, ("dev", "cuda")),  # it does not: PyPI's torch, with what it needs
        ("/a folder", False, True, ("dev",)),
        ("/a folder", False, False, ("dev", "cuda")),
        ("", True, True, ("dev", "cuda")),  # a GPU wants PyPI's torch
    ],
)
def test_torch_is_the_only_package_whose_hash_may_be_unknown(install, monkeypatch, links, gpu, found, sections):
    calls = []

    def pip(*arguments, check=True, quiet=False):
        calls.append(arguments)
        return 0 if found else 1

    monkeypatch.setenv("PIP_FIND_LINKS", links)
    monkeypatch.setattr(install, "has_gpu", lambda: gpu)
    monkeypatch.setattr(install, "pip", pip)
    monkeypatch.setattr(install, "locked", lambda *names: calls.append(names) or "")
    install.main("dev")
    assert sections in calls
    unchecked = [c for c in calls if c not in (sections, ("--no-deps", "--no-build-isolation", "-e", ".")) and
                 "--require-hashes" not in c]  # fmt: skip
    assert all(c[0].startswith(("torch==", "torchvision==")) and "--no-deps" in c for c in unchecked)
    assert bool(unchecked) != gpu


def test_an_unknown_extra_is_refused(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "install.py"), "bok"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "error: expected one of dev, book, course, release, got 'bok'\n")
