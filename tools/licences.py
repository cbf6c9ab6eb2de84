"""Write docs/licences.md: the licence of each pinned package that is installed here, as its own metadata states it.

python tools/licences.py           write the page; every direct dependency has to be there, the book's too (make book)
python tools/licences.py --check   status 1 when the page is not what would be written for the direct dependencies
"""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
HEAD = """# Licences

This project is MIT. Nothing below is part of it: packages are installed from their index at the versions of
`constraints.txt`, each under its own licence, as its metadata states it (`python tools/licences.py` writes this table).

## The methods

The twelve methods are written from their papers' formulas; constants and conventions that papers leave open were
compared with the authors' published code, and each file of `advdpnp/defenses/` says where it differs. No line of that
code is included, so its licences bind nothing here.

| method | its authors' code |
|---|---|
| ST, AT | Bag of Tricks (Pang et al. 2021): with a licence file |
| AT_HE, TRADES, OC, HAT, FSR | with a licence file each; read it before you copy |
| MART, PCL, DIO, IKL | without a licence file: nothing may be copied from it |
| Adv-DPNP | no code was published |

Adv-DPNP's own repository holds no code. The data sets have terms of their own: [data/README.md](../data/README.md).

"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def direct() -> set[str]:
    """The packages that pyproject.toml asks for, in any extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    return {normal(re.match(r"[\w.-]+", r)[0]) for r in asked} - {"advdpnp"}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {normal(name): version for name, _, version in (line.partition("==") for line in lines if "==" in line)}


def licence(name: str) -> str | None:
    """The licence that an installed package states: expression, classifiers, else the first line of its text."""
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    classifiers = [c.rpartition(" :: ")[2] for c in found.get_all("Classifier", []) if c.startswith("License :: ")]
    stated = found["License-Expression"] or ", ".join(classifiers) or (found["License"] or "").strip()
    return stated.splitlines()[0][:60].replace("|", "/") if stated else "not stated in its metadata"


def table(names: list[str], versions: dict[str, str]) -> list[str]:
    rows = [f"| {name} | {versions[name]} | {stated} |" for name in names if (stated := licence(name))]
    return ["| package | version | licence |", "|---|---|---|", *rows, ""]


def page() -> str:
    asked, versions = direct(), pinned()
    first, rest = sorted(asked & versions.keys()), sorted(versions.keys() - asked)
    lines = ["## Direct dependencies", "", *table(first, versions)]
    lines += ["## What these bring along", "", *table(rest, versions)]
    return HEAD + "\n".join(lines)


def is_current() -> bool:
    """Whether the page has today's row of every direct dependency that is installed."""
    written = PAGE.read_text().splitlines() if PAGE.exists() else []
    return all(row in written for row in table(sorted(direct() & pinned().keys()), pinned())[2:] if row)


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        if not is_current():
            sys.exit("docs/licences.md is not current; run python tools/licences.py")
    elif absent := sorted(name for name in direct() & pinned().keys() if licence(name) is None):
        sys.exit(f"not installed: {', '.join(absent)}; docs/licences.md is left as it is. `make book` installs all.")
    else:
        PAGE.write_text(page())
