"""One set of versions: pyproject.toml asks, constraints.txt pins, environment.yml mirrors."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml  # Snakemake brings it
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normal(name): version for name, version in pairs}


def asked() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [r for group in project["optional-dependencies"].values() for r in group if not r.startswith("advdpnp")]
    return [Requirement(r) for r in (*project["dependencies"], *extras)]


def test_every_dependency_is_pinned_within_its_range():
    pins = constraints()
    for requirement in asked():
        assert requirement.specifier.contains(Version(pins[normal(requirement.name)])), requirement


def test_no_pin_carries_a_local_version():
    assert not [v for v in constraints().values() if "+" in v], "a +cpu build is not on PyPI"


def test_environment_yml_names_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    pinned = {normal(n): v for n, v in (d.split("==") for d in pip if "==" in d)}
    pins = constraints()
    assert pinned == {normal(r.name): pins[normal(r.name)] for r in asked()}
    assert "-e ." in pip


def test_python_is_the_one_pinned():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert "python=3.11" in environment["dependencies"]
    assert "3.11" in (ROOT / "Makefile").read_text()


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
