"""Install the project and what it needs into the interpreter that runs this; `make env` calls it, and `make book`
with "book" for what the book is built with.

On Linux without an NVIDIA GPU the CPU build of torch is taken (its CUDA build is gigabytes), from PyTorch's own index
or from whatever PIP_FIND_LINKS offers; everything else comes from PyPI as constraints.txt pins it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def pinned(package: str) -> str:
    """'torch' -> 'torch==2.13.0' as constraints.txt has it."""
    return re.search(rf"^{package}==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE).group()


def has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def pip(*arguments: str, check: bool = True) -> int:
    return subprocess.run([sys.executable, "-m", "pip", "install", "-q", *arguments], cwd=ROOT, check=check).returncode


def install_torch() -> None:
    """torch, and from the same index the torchvision that tests compare with: the two must be built alike."""
    if os.environ.get("PIP_FIND_LINKS") or has_gpu() or not sys.platform.startswith("linux"):
        pip(pinned("torch"))
    elif pip(pinned("torch"), "--index-url", CPU_INDEX, check=False):
        print(f"{CPU_INDEX} was not reached; taking torch from PyPI, with CUDA (several GB)", flush=True)
        pip(pinned("torch"))
    else:  # what torchvision needs comes with the rest
        pip(pinned("torchvision"), "--no-deps", "--index-url", CPU_INDEX)


if __name__ == "__main__":
    extra = sys.argv[1] if len(sys.argv) > 1 else "dev"
    print(f"installing torch, then the rest for {extra} (once; a minute or two)", flush=True)
    try:
        install_torch()
        pip("-c", "constraints.txt", "-e", f".[{extra}]")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {' '.join(map(str, error.cmd[2:]))} failed; what pip said stands above")
