"""Write requirements.lock and requirements-release.lock: each package's version and the sha256 of all its files.

    make lock

uv (of the group "release") resolves pyproject.toml under constraints.txt for every supported Python on Linux and
macOS at once; its answers are sorted into sections, so that tools/install.py can take those that it needs:

    dev    what `make env` installs
    cuda   what torch needs besides, where its build with CUDA is installed
    book   what `make book` adds
    course what `make course` adds

No address of an index is written down: whichever answers must hand out files with these hashes. `--check` asks instead
whether every package has a wheel for each Python and system, and names those that must be compiled.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADDED = ("book", "course")  # to dev; a package that both need stands in both
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")
MACOS = "14.0"  # torch's wheels ask for it
# Sources that hold no compiled code: pip makes their wheel anywhere.
PURE = ("connection-pool",)
# True wherever the lock is for; uv adds them to every marker.
ALWAYS = ("python_full_version < '3.15'", "sys_platform != 'win32'")
HEAD = """\
# Written by `make lock` from pyproject.toml and constraints.txt: {what}, with the sha256 of every file,
# for Python 3.11 to 3.14 on Linux and macOS. pip install --require-hashes accepts nothing else.
"""


def uv(*arguments: str) -> subprocess.CompletedProcess:
    """`uv pip compile`, without its own comments. Raises SystemExit where uv is missing."""
    program = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if program is None:
        sys.exit("error: uv is not installed; `make lock` brings it")
    command = [program, "pip", "compile", "-q", "--no-header", "--no-annotate", "--no-emit-package", "pip"]
    environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": MACOS}
    options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "check": False}
    return subprocess.run([*command, *arguments], **options)


def resolved(*arguments: str) -> str:
    """Requirements as uv resolves them for all Pythons. Raises SystemExit with uv's reason."""
    done = uv("--universal", "--python-version", PYTHONS[0], *arguments)
    if done.returncode:
        sys.exit(f"error: the versions do not fit together; uv says: {done.stderr.strip()}")
    return done.stdout


def plain(text: str) -> str:
    """Markers without what is true wherever the lock is for."""
    for part in ALWAYS:
        for before, after in ((" ; {} and ", " ; "), (" and {} \\", " \\"), (" ; {} \\", " \\")):
            text = text.replace(before.format(part), after)
    return text


def entries(text: str) -> dict[str, str]:
    """{name: its lines}, without what only Windows needs; a name with two versions keeps both, one below the other."""
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", plain(text).strip()):
        name = re.match(r"[A-Za-z0-9._-]+", entry).group()
        if "os_name == 'nt'" not in entry:
            found[name] = f"{found[name]}\n{entry}" if name in found else entry
    return found


def lock() -> str:
    """The text of requirements.lock."""
    pins = ("-c", "constraints.txt", "pyproject.toml")
    packages = entries(resolved("--all-extras", "--generate-hashes", *pins))
    dev = set(entries(resolved("--extra", "dev", *pins)))
    cuda = {name for name in packages if re.match(r"(nvidia|cuda)-|triton$", name)}
    sections = {"dev": dev - cuda, "cuda": cuda}
    for extra in ADDED:
        sections[extra] = set(entries(resolved("--extra", "dev", "--extra", extra, *pins))) - dev - cuda
    text = HEAD.format(what="every package")
    for title, names in sections.items():
        text += f"\n# [{title}]\n" + "".join(f"{entry}\n" for name, entry in packages.items() if name in names)
    return text


def release() -> str:
    """The text of requirements-release.lock: tools that check a release, in an environment of their own."""
    packages = entries(resolved("--group", "pyproject.toml:release", "--generate-hashes"))
    return HEAD.format(what="what checks a release").replace(" and constraints.txt", "") + "\n".join(
        ("\n# [release]", *packages.values(), "")
    )


def compiled(python: str, system: str) -> list[str]:
    """The packages without a wheel for a Python and a system: uv names them one at a time."""
    missing: list[str] = []
    while True:
        sources = [option for name in (*PURE, *missing) for option in ("--no-binary", name)]
        done = uv(
            "--only-binary", ":all:", *sources, "--python-version", python, "--python-platform", system,
            "--all-extras", "-c", "constraints.txt", "pyproject.toml",
        )  # fmt: skip
        if done.returncode == 0:
            return missing
        name = re.search(r"Because ([\w.-]+?)(?:==\S+)? has no usable wheels", done.stderr)
        if name is None or name.group(1) in missing:
            sys.exit(f"error: Python {python} on {system}: {done.stderr.strip()}")
        missing.append(name.group(1))


def check() -> None:
    for python in PYTHONS:
        for system in SYSTEMS:
            print(f"Python {python} on {system}: {', '.join(compiled(python, system)) or 'nothing'} to compile")


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check()
    elif sys.argv[1:]:
        print(f"error: expected nothing or --check, got {' '.join(sys.argv[1:])}", file=sys.stderr)
        sys.exit(2)
    else:
        (ROOT / "requirements.lock").write_text(lock())
        (ROOT / "requirements-release.lock").write_text(release())
