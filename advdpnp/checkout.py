"""Which checkout and which interpreter run, and of which commit: a notebook and the code behind it belong together.

An environment's `advdpnp` is that of the checkout it was installed from, also in a copy of the checkout, and a kernel
named python3 may be one of the user's own (JUPYTER_PATH, ~/.local/share/jupyter).
"""

import os
import subprocess
import sys
from pathlib import Path

from advdpnp.errors import UserError

PACKAGE = Path(__file__).resolve().parent


def enclosing(folder: Path) -> Path | None:
    """The checkout that `folder` lies in: the nearest one above with a Snakefile and the package, or None."""
    for place in (folder, *folder.parents):
        if (place / "Snakefile").is_file() and (place / "advdpnp" / "__init__.py").is_file():
            return place
    return None


def shipped(path: str | Path) -> Path | None:
    """A file or folder that goes along with the project, as "published/weights"; None where it is not.

    It is the checkout's, or that of a course's bundle, which lies beside the notebooks: so the working folder and those
    above it are looked through.
    """
    places = (PACKAGE.parent, Path.cwd(), *Path.cwd().parents)
    return next((folder / path for folder in places if (folder / path).exists()), None)


def check_kernel() -> None:
    """Refuse a notebook of one checkout over the code of another, or outside of the workflow's interpreter.

    Raises UserError.
    """
    here = enclosing(Path.cwd().resolve())
    if here and (here / "advdpnp").resolve() != PACKAGE:
        raise UserError(
            f"this notebook lies in {here}, but its kernel runs the code of {PACKAGE.parent}: run `make env` in {here} "
            f"and open the notebook from its .venv, or start Jupyter with PYTHONPATH={here}."
        )
    wanted = os.environ.get("ADVDPNP_PREFIX")  # as the Snakefile sets it
    if wanted and Path(wanted).resolve() != Path(sys.prefix).resolve():
        raise UserError(
            f"the workflow runs in {wanted}, but this notebook's kernel in {sys.prefix}: a kernel of your own is named "
            "python3; unset JUPYTER_PATH, or remove that one (jupyter kernelspec list shows where it lies)."
        )


def git(*arguments: str, root: Path = PACKAGE.parent) -> bytes:
    """What git answers about `root`. Raises OSError or subprocess.SubprocessError where it has no answer.

    Only a repository of its own is asked: around unpacked or installed code lies perhaps another project's, whose
    commits say nothing of it. Nor do GIT_DIR and the like, which git sets for a hook's programs.
    """
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def ask(*words: str) -> bytes:
        return subprocess.run(["git", *words], cwd=root, env=own, capture_output=True, check=True, timeout=60).stdout

    top = Path(os.fsdecode(ask("rev-parse", "--show-toplevel").rstrip(b"\r\n")))
    if top.resolve() != root.resolve():
        raise NotOurs(128, ["git", *arguments], stderr=f"{root} is no repository of its own".encode())
    return ask(*arguments)


class NotOurs(subprocess.CalledProcessError):
    """The repository around the code is another project's."""
