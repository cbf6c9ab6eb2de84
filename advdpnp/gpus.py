"""Which GPU a process takes where several are visible: one that no other process of this project holds.

`snakemake --cores 4 --resources gpu=4` starts four jobs on one machine and tells none of them which GPU is its own.
Each takes the first free one by a lock of the system's, which ends with the process however that dies.
"""

import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import filelock
import torch

_held: list[filelock.FileLock] = []  # until the process ends


@lru_cache
def claim_gpu() -> torch.device:
    """The GPU of this process, the same at every call. Where all are held, the first is shared, and that is said."""
    count = torch.cuda.device_count()
    if count == 1:
        return torch.device("cuda", 0)
    folder = Path(tempfile.gettempdir()) / f"advdpnp-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for index in range(count):
        # By the card's own name: "GPU 0" is another one in a process that sees others.
        lock = filelock.FileLock(folder / f"{torch.cuda.get_device_properties(index).uuid}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            continue
        _held.append(lock)
        torch.cuda.set_device(index)
        return torch.device("cuda", index)
    print(f"all {count} GPUs are taken by other jobs of this project: sharing the first", file=sys.stderr, flush=True)
    return torch.device("cuda", 0)
