"""Write the repository's public address where Colab and Binder need it.

    python tools/badges.py https://github.com/OWNER/NAME

The one setting is `Repository` under [project.urls] of pyproject.toml. An address given here goes there first; else
git's remote "origin" is asked when there is none. README.md, notebooks/method.ipynb and colab.ipynb follow from it.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = re.compile(r"(?:https://|git@)github\.com[/:]([\w-]+/[\w.-]+?)(?:\.git)?/?$")
BADGES = re.compile(r"(?<=<!-- badges -->).*?(?=<!-- /badges -->)", re.DOTALL)


def setting() -> str:
    """The address in pyproject.toml, or ''."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"].get("Repository", "")


def parse(address: str) -> str:
    """'https://github.com/OWNER/NAME' or git's form of it -> 'OWNER/NAME'. Raises SystemExit for anything else."""
    match = ADDRESS.match(address)
    if match is None:
        raise SystemExit(
            f"'{address}' is no GitHub repository; say python tools/badges.py https://github.com/OWNER/NAME"
        )
    return match[1]


def badges(address: str, folder: str) -> str:
    """The two badges as Markdown, their pictures in `folder`; nothing while there is no address."""
    if not address:
        return ""
    name = parse(address)
    colab = f"https://colab.research.google.com/github/{name}/blob/HEAD/notebooks/colab.ipynb"
    binder = f"https://mybinder.org/v2/gh/{name}/HEAD?labpath=notebooks%2Fmethod.ipynb"
    return f"[![open in Colab]({folder}/colab.svg)]({colab}) [![open in Binder]({folder}/binder.svg)]({binder})"


def updated(address: str) -> dict[Path, str]:
    """Every file that carries the address, as it must read."""
    files = {}
    for name, folder in (("README.md", "docs/badges"), ("notebooks/method.ipynb", "../docs/badges")):
        files[ROOT / name] = BADGES.sub(badges(address, folder), (ROOT / name).read_text())
    colab = ROOT / "notebooks" / "colab.ipynb"
    files[colab] = re.sub(r'(?<=REPOSITORY = \\")[^\\]*', address, colab.read_text())
    return files


def main(arguments: list[str]) -> None:
    address = arguments[0] if arguments else setting() or git_remote()
    address = f"https://github.com/{parse(address)}"
    project = ROOT / "pyproject.toml"
    lines = [line for line in project.read_text().splitlines() if not line.startswith("Repository = ")]
    lines.insert(lines.index("[project.urls]") + 1, f'Repository = "{address}"')
    project.write_text("\n".join(lines) + "\n")
    for path, text in updated(address).items():
        path.write_text(text)
    print(f"badges lead to {address}")


def git_remote() -> str:
    command = ["git", "remote", "get-url", "origin"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main(sys.argv[1:])
