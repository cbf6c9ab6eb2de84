"""One set of versions: pyproject.toml asks, constraints.txt pins, the lock adds hashes, environment.yml mirrors."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml  # Snakemake brings it
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(text: str) -> list[Requirement]:
    """The requirements of a file in pip's format, without hashes and comments."""
    lines = (line.split(" #")[0].removesuffix("\\") for line in text.splitlines())
    return [Requirement(line) for line in lines if line.strip() and not line.startswith(("#", " "))]


def pins(text: str) -> dict[str, str]:
    return {normal(r.name): str(r.specifier).removeprefix("==") for r in requirements(text)}


def constraints() -> dict[str, str]:
    return pins((ROOT / "constraints.txt").read_text())


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def asked() -> list[Requirement]:
    project_ = project()["project"]
    extras = [r for group in project_["optional-dependencies"].values() for r in group if not r.startswith("advdpnp")]
    return [Requirement(r) for r in (*project_["dependencies"], *extras)]


def test_every_dependency_is_pinned_within_its_range():
    pinned = constraints()
    for requirement in asked():
        assert requirement.specifier.contains(Version(pinned[normal(requirement.name)])), requirement


def test_no_pin_carries_a_local_version():
    assert not [v for v in constraints().values() if "+" in v], "a +cpu build is not on PyPI"


def test_environment_yml_names_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    pinned = {normal(n): v for n, v in (d.split("==") for d in pip if "==" in d)}
    all_pins = constraints()
    assert pinned == {normal(r.name): all_pins[normal(r.name)] for r in asked()}
    assert "-e ." in pip


def test_case_13_every_place_names_the_same_pythons():
    """Makefile, pyproject.toml, environment.yml and the pages that say what is needed."""
    supported = [f"3.{minor}" for minor in range(11, 15)]
    classifiers = [c.split(" :: ")[-1] for c in project()["project"]["classifiers"] if "Python ::" in c]
    assert classifiers == supported
    assert project()["project"]["requires-python"] == ">=3.11"
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert "python>=3.11,<3.15" in environment["dependencies"]
    assert f"immutables={constraints()['immutables'].removesuffix('.0')}" in environment["dependencies"]
    makefile = (ROOT / "Makefile").read_text()
    assert "(3, 11) <= sys.version_info[:2] <= (3, 14)" in makefile
    assert makefile.count("3.11 to 3.14") == 2
    for page in ("README.md", "constraints.txt", "requirements.lock"):
        assert "3.11 to 3.14" in (ROOT / page).read_text(), page


@pytest.mark.parametrize(("python", "got"), [("no-such-python", "not found"), ("echo", "which is")])
def test_case_13_another_python_is_refused_in_one_line_that_says_where_to_get_one(tmp_path, python, got):
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    if python == "echo":  # a Python that is too old
        (tmp_path / "echo").write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.10.1 && exit\nexit 1\n')
        (tmp_path / "echo").chmod(0o755)
        python, got = str(tmp_path / "echo"), "which is Python 3.10.1"
    command = ["make", "env", f"PYTHON={python}", "VENV=none"]
    outer = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VENV", "PYTHON"}
    own = {name: value for name, value in os.environ.items() if name not in outer}
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    said = [line for line in done.stdout.splitlines() if line.startswith("expected")]
    assert len(said) == 1
    assert said[0].startswith("expected Python 3.11 to 3.14, got")
    assert got in said[0]
    assert "conda, uv and pyenv have them" in said[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "none").exists()


def test_the_lock_is_of_these_pins():
    """`make lock` was run after the last change: same versions, same conditions."""
    text = (ROOT / "requirements.lock").read_text()
    sections = re.split(r"^# \[(\w+)\]$", text, flags=re.MULTILINE)[1:]
    assert sections[::2] == ["dev", "cuda", "book", "course"]
    held = pins(sections[1]) | pins(sections[5]) | pins(sections[7])
    assert held == constraints()
    conditions = {normal(r.name): r.marker for r in requirements((ROOT / "constraints.txt").read_text()) if r.marker}
    for requirement in requirements(sections[1] + sections[5] + sections[7]):
        if marker := conditions.get(normal(requirement.name)):
            for python in ("3.11", "3.12", "3.13", "3.14"):
                for system in ("linux", "darwin"):
                    where = {"python_version": python, "python_full_version": f"{python}.2", "sys_platform": system}
                    assert marker.evaluate(where) == requirement.marker.evaluate(where), requirement
    extras = project()["project"]["optional-dependencies"]
    added = {normal(Requirement(r).name) for extra in ("book", "course") for r in extras[extra]}
    dev = {normal(r.name) for r in asked()} - added
    assert dev <= pins(sections[1]).keys()
    assert {normal(n) for n in ("sphinx", "selenium")} <= pins(sections[5]).keys()
    assert "otter-grader" in pins(sections[7])


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-release.lock"])
def test_every_package_of_a_lock_has_hashes_and_no_address(name):
    text = (ROOT / name).read_text()
    entries = re.split(r"\n(?=\w)", text)[1:]
    assert len(entries) > 40
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]
    assert not re.search(r"https?:|\bfile:| @ |--index|\.org", text)


def test_the_release_lock_holds_what_the_group_asks_for():
    held = pins((ROOT / "requirements-release.lock").read_text())
    for requirement in map(Requirement, project()["dependency-groups"]["release"]):
        assert requirement.specifier.contains(Version(held[normal(requirement.name)])), requirement


PAGES = (
    "README.md", "LICENSE", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md",
    "notebooks/exercises/README.md", *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")),
)  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_relative_links_lead_somewhere(name):
    path = ROOT / name
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), f"{name} links to {target}"


def test_the_readme_names_every_module():
    readme = (ROOT / "README.md").read_text()
    tree = readme[readme.index("advdpnp/ ") : readme.index("\nconfig/ ")]
    for path in (ROOT / "advdpnp").iterdir():
        name = f"{path.name}/" if (path / "__init__.py").exists() else path.name
        if name.endswith((".py", "/")) and name != "__init__.py":
            assert name in tree, f"{name} is missing in the README's tree"


def test_the_architecture_page_shows_the_layers_that_are_enforced():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    rows = re.findall(r"^\|.*\| (`.*) \|$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [re.findall(r"\w+", layer) for layer in contract["layers"]]
    modules = {p.stem for p in (ROOT / "advdpnp").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == modules - {"__init__"}
