"""Install the project and what it needs into the interpreter that runs this; `make env` calls it, and `make book`
with "book" for what the book is built with, `make course` with "course", `make lock` with "release".

Everything is taken as requirements.lock has it, version and sha256 (pip's --require-hashes), but torch on Linux
without an NVIDIA GPU: its CPU build (the CUDA build is gigabytes) comes from PyTorch's own index, or from the folder
that PIP_FIND_LINKS names. Those files have other hashes, which the lock does not know: only their version is checked.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
EXTRAS = ("dev", "book", "course", "release")


def pinned(package: str) -> str:
    """'torch' -> 'torch==2.13.0' as constraints.txt has it."""
    return re.search(rf"^{package}==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE).group()


def locked(*sections: str) -> str:
    """The lines of requirements.lock (for "release": of its own lock) below these headings."""
    text = (ROOT / ("requirements-release.lock" if "release" in sections else "requirements.lock")).read_text()
    parts = re.split(r"^# \[(\w+)\]$", text, flags=re.MULTILINE)[1:]
    return "".join(body for title, body in zip(parts[::2], parts[1::2]) if title in sections)


def has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def pip(*arguments: str, check: bool = True, quiet: bool = False) -> int:
    command = [sys.executable, "-m", "pip", "install", "-q", *arguments]
    return subprocess.run(command, cwd=ROOT, check=check, stderr=subprocess.DEVNULL if quiet else None).returncode


def install_locked(*sections: str) -> None:
    """pip checks the sha256 of every file against the lock."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        path.write_text(locked(*sections))
        pip("--require-hashes", "-r", str(path))


def cpu_torch() -> bool:
    """Whether a CPU build of torch was found and installed, where that is not what PyPI has.

    torchvision, which tests compare with, must be built alike: it comes from the same index.
    """
    if not sys.platform.startswith("linux") or has_gpu():
        return False
    if os.environ.get("PIP_FIND_LINKS"):
        found = pip(pinned("torch"), "--no-deps", "--no-index", check=False, quiet=True) == 0
    else:
        found = pip(pinned("torch"), "--no-deps", "--index-url", CPU_INDEX, check=False) == 0
        if found:
            pip(pinned("torchvision"), "--no-deps", "--index-url", CPU_INDEX)
    if found:
        print("torch is a CPU build, not PyPI's: its version is checked, its hash is not", flush=True)
    else:
        print("no CPU build of torch was reached; taking torch from PyPI, with CUDA (several GB)", flush=True)
    return found


def main(extra: str) -> None:
    print(f"installing what {extra} needs (once; a minute or two)", flush=True)
    if extra != "dev":
        install_locked(extra)
        return
    install_locked("dev") if cpu_torch() else install_locked("dev", "cuda")
    pip("--no-deps", "--no-build-isolation", "-e", ".")


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else "dev"
    if wanted not in EXTRAS:
        print(f"error: expected one of {', '.join(EXTRAS)}, got {wanted!r}", file=sys.stderr)
        sys.exit(2)
    try:
        main(wanted)
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {' '.join(map(str, error.cmd[2:]))} failed; what pip said stands above")
