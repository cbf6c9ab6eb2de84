"""Try the project under the oldest and the newest Python of this machine: `make pythons`.

Each gets a copy of the checkout in a folder whose name has a space, there an environment of its own (`make env`), a few
tests, and a small training with its evaluation. The Python that .venv was made with is left out: `make test` tries it.
Minutes for each, most of them pip's; the copies are removed. `--oldest` only says which Python that is.
"""

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 11), (3, 14)
RUN = "digits-resnet18-adv_dpnp-s0"
# Where Pythons differ: packages, files, archives, TOML. What torch computes, the training and its evaluation try.
TESTS = ("tests/test_environment.py", "tests/test_losses.py", "tests/test_geometry.py", "tests/test_data.py",
         "tests/test_config.py", "tests/test_store.py", "tests/test_export.py", "tests/test_wheel.py")  # fmt: skip
ASK = "import sys, venv, ensurepip; print(*sys.version_info[:3])"


def version(python: str) -> tuple[int, ...] | None:
    """(3, 11, 2), or None for what is no Python, or one that cannot make an environment."""
    try:
        done = subprocess.run([python, "-c", ASK], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else None


def candidates() -> list[str]:
    """Where Pythons are: on PATH, in /usr/bin, and pyenv's."""
    names = [f"python3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    pyenv = os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))
    installed = sorted(glob.glob(f"{glob.escape(pyenv)}/versions/3.*/bin/python"))
    on_path = [path for name in (*names, "python3") if (path := shutil.which(name))]
    return [*on_path, *(f"/usr/bin/{name}" for name in names), *installed]


def supported(found: dict[tuple[int, ...], str]) -> dict[tuple[int, ...], str]:
    """Those that the project supports, the oldest first."""
    return {number: path for number, path in sorted(found.items()) if OLDEST <= number[:2] <= NEWEST}


def offered() -> dict[tuple[int, ...], str]:
    """{(3, 11, 2): "/usr/bin/python3.11"} of this machine, the oldest first. Raises SystemExit where there is none."""
    found: dict[tuple[int, ...], str] = {}
    for path in candidates():
        if number := version(path):
            found.setdefault(number, path)
    if not (here := supported(found)):
        print("error: expected a Python 3.11 to 3.14 with venv on this machine, got none", file=sys.stderr)
        sys.exit(2)
    return here


def of_environment(venv: Path) -> tuple[int, ...] | None:
    """The version that an environment was made with."""
    return version(str(venv / "bin" / "python"))


def to_try(here: dict[tuple[int, ...], str], covered: tuple[int, ...] | None) -> dict[tuple[int, ...], str]:
    """The oldest and the newest, without the one that .venv covers."""
    ends = {min(here), max(here)} - {covered}
    return {number: here[number] for number in sorted(ends)}


def copy_checkout(place: Path) -> None:
    """What git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)


def commands(python: str) -> list[list[str]]:
    """What is run in the copy."""
    ours = [".venv/bin/python", "-m"]
    return [
        ["make", "env", f"PYTHON={python}"],
        [*ours, "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile", *TESTS],
        [*ours, "advdpnp", "train", "--tier", "demo", RUN],
        [*ours, "advdpnp", "evaluate", "--tier", "demo", RUN, "clean", "pgd20"],
    ]


def attempt(number: tuple[int, ...], python: str) -> bool:
    """Whether all went well under one Python."""
    outer = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VENV", "PYTHON", "PYTHONPATH"}
    own = {name: value for name, value in os.environ.items() if name not in outer and not name.startswith("ADVDPNP_")}
    name = ".".join(map(str, number))
    with tempfile.TemporaryDirectory(prefix=f"python {name} ") as folder:
        place = Path(folder) / "the checkout"
        copy_checkout(place)
        for command in commands(python):
            begun = time.monotonic()
            done = subprocess.run(command, cwd=place, env=own | {"OMP_NUM_THREADS": "1"}, check=False)
            told = "passed" if done.returncode == 0 else f"FAILED with status {done.returncode}"
            print(f"Python {name}: {' '.join(command)[:60]}: {told}, {time.monotonic() - begun:.0f} s", flush=True)
            if done.returncode:
                return False
    return True


def main(words: list[str]) -> int:
    here = offered()
    if words == ["--oldest"]:
        print(here[min(here)])
        return 0
    if words:
        print(f"error: expected nothing or --oldest, got {' '.join(words)}", file=sys.stderr)
        return 2
    covered = of_environment(ROOT / os.environ.get("VENV", ".venv"))
    names = ", ".join(f"{'.'.join(map(str, number))}{' (.venv)' if number == covered else ''}" for number in here)
    print(f"Pythons here: {names}", flush=True)
    failed = [number for number, python in to_try(here, covered).items() if not attempt(number, python)]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
