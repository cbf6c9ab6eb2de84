"""Which device, which precision, which compiler: what a process finds on its machine, and how it is seeded."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import filelock
import torch
from torch import nn

from advdpnp.config import RunConfig, Tier, digest
from advdpnp.errors import UserError


def pick_device(name: str = "auto") -> torch.device:
    """'auto' -> a GPU that is free, if there is one. Raises UserError for a device that is not there."""
    if name == "auto":
        return claim_gpu() if torch.cuda.is_available() else torch.device("cpu")
    try:
        if not name.startswith(("cpu", "cuda")):
            raise RuntimeError("is not known")
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"--device {name}: {reason}; use auto, cpu or cuda.") from None
    return torch.device(name)


def pick_precision(requested: str, device: torch.device) -> str:
    """'auto' -> 'bf16' where the hardware multiplies bfloat16 (GPUs from Ampere on, AVX512-BF16, AMX), else 'fp32'."""
    if requested != "auto":
        return requested
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bf16" if any(getattr(torch.cpu, check, lambda: False)() for check in checks) else "fp32"


SPACED = " " in torch.__file__  # torch.compile does not quote the folder of its libraries for a CPU's linker


def pick_compile(requested: str, device: torch.device) -> str:
    """'auto' -> 'on' on a GPU with Triton, else 'off'. Raises UserError for what this machine cannot compile."""
    from torch.utils._triton import has_triton

    missing = "Triton" if device.type == "cuda" and not has_triton() else ""
    if device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        missing = "a C++ compiler"
    elif device.type == "cpu" and SPACED:
        missing = "an environment in a folder without a space in its name"
    if requested == "graphs" and device.type != "cuda":
        raise UserError("optim.compile: graphs are recorded on a GPU only; use auto, on or off.")
    if requested in ("on", "graphs") and missing:
        raise UserError(
            f"optim.compile: {requested}, but torch.compile needs {missing}, which is not here; use auto or off."
        )
    return requested if requested != "auto" else "on" if device.type == "cuda" and not missing else "off"


def pick_memory_format(model: nn.Module, device: torch.device) -> torch.memory_format:
    """channels_last, the faster one; contiguous for a network on a CPU with convolutions of fewer than 8 channels.

    On processors with AVX2 and no AVX-512, torch 2.13 has damaged its own memory in training steps of such networks in
    channels_last; nothing below this function can be caught.
    """
    narrow = any(isinstance(layer, nn.Conv2d) and layer.out_channels < 8 for layer in model.modules())
    return torch.contiguous_format if narrow and device.type == "cpu" else torch.channels_last


def require_hardware(tier: Tier, run: RunConfig, device: str | torch.device = "auto", allow_cpu: bool = False) -> None:
    """Refuse a tier that needs a GPU without one, unless told otherwise. Raises UserError."""
    if tier.policy.needs_gpu and not allow_cpu and pick_device(str(device)).type == "cpu":
        raise UserError(
            f"{run.id} is a training of the {tier.name} tier and no GPU is here: it would take days on a CPU; "
            f"--allow-cpu starts it anyway, and --tier short is meant for CPUs."
        )


@contextmanager
def seeded(device: torch.device, *key: int) -> Iterator[torch.Generator]:
    """Draws inside come from `key` alone: the yielded generator's and torch's global ones; those are restored after."""
    seed = int(digest(list(key)), 16) >> 1
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed all GPUs, forked or not
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield torch.Generator(device).manual_seed(seed)


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
