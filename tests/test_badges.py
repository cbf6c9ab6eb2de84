"""The badges of Colab and Binder follow from one address in pyproject.toml."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("badges", ROOT / "tools" / "badges.py")
badges = importlib.util.module_from_spec(spec)
spec.loader.exec_module(badges)


def test_every_file_carries_the_address_of_pyproject():
    for path, text in badges.updated(badges.setting()).items():
        assert path.read_text() == text, f"{path.name}: run python tools/badges.py"


def test_an_address_reaches_every_file_and_what_the_badges_open_exists():
    files = badges.updated("https://github.com/someone/some-thing")
    assert {path.name for path in files} == {"README.md", "method.ipynb", "colab.ipynb"}
    for path, text in files.items():
        assert "someone/some-thing" in text, path
        if path.name == "colab.ipynb":
            continue
        for picture in re.findall(r"!\[open in \w+\]\(([^)]+)\)", text):
            assert (path.parent / picture).exists()
        assert "HEAD/notebooks/colab.ipynb" in text
        assert "notebooks%2Fmethod.ipynb" in text


@pytest.mark.parametrize(
    "address",
    ["https://github.com/a/b", "https://github.com/a/b.git", "git@github.com:a/b.git", "https://github.com/a/b/"],
)
def test_git_s_forms_of_an_address_are_understood(address):
    assert badges.parse(address) == "a/b"


@pytest.mark.parametrize("address", ["", "/tmp/clone", "https://gitlab.com/a/b", "https://github.com/a"])
def test_what_is_no_github_repository_is_refused_in_a_sentence(address):
    with pytest.raises(SystemExit, match="is no GitHub repository"):
        badges.parse(address)
