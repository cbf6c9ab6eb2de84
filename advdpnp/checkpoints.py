"""What a training keeps when it is resumed: threads, precision, training images.

The number of threads is part of a CPU's bits (weight gradients of convolutions are summed in as many pieces), and so is
the precision; the training images are part of what a run means. All three are kept from the first epoch on, beside
where each stretch of epochs was made.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch

from advdpnp.errors import UserError
from advdpnp.store import provenance

# Of a stretch of epochs, besides its provenance.
_STRETCH_KEYS = ("from_epoch", "threads", "precision", "compiled", "data_sha256")
_REPORTED = ("device", "torch", "code_hash", "compiled")  # may change on the way, and is reported


def stretch_record(
    epoch: int, device: torch.device, *, threads: int, precision: str, compiled: str, data_sha256: str
) -> dict:
    """Where and how the epochs from `epoch` on are made, as plain data."""
    known = dict(zip(_STRETCH_KEYS, (epoch, threads, precision, compiled, data_sha256), strict=True))
    return known | provenance(device)


def provenance_of(made: dict) -> dict:
    """The provenance of a stretch alone."""
    return {key: value for key, value in made.items() if key not in _STRETCH_KEYS}


def load_stretches(text: str) -> list[dict]:
    """The stretches that last.pt keeps as JSON; a state from before stretches were kept holds one provenance alone."""
    made = json.loads(text)
    return made if isinstance(made, list) else [made]


def with_stretch(made: list[dict], now: dict) -> list[dict]:
    """The stretches and `now`, unless it differs from the last only in its first epoch."""
    same = made and made[-1] | {"from_epoch": now["from_epoch"]} == now
    return made if same else [*made, now]


def settings_to_keep(run_id: str, made: list[dict], here: dict, data_sha256: str, device: torch.device) -> dict:
    """{"threads", "precision"} to train with: those of the first stretch that has them, else those of `here`.

    Raises UserError when the epochs so far saw other training images, or the device cannot go on in their precision.
    """

    def first(key: str, otherwise: Any) -> Any:
        return next((one[key] for one in made if key in one), otherwise)

    check_images(run_id, first("data_sha256", data_sha256), data_sha256)
    precision = first("precision", here["precision"])
    if precision == "bf16" != here["precision"] and device.type == "cuda":  # a GPU from before Ampere
        raise UserError(f"{run_id}: was begun in bf16, which this GPU does not have; go on elsewhere, or --restart.")
    return {"threads": first("threads", _threads_named(made) or here["threads"]), "precision": precision}


def check_images(run_id: str, before: str, data_sha256: str) -> None:
    """Raises UserError when the training images are others than `before`."""
    if before != data_sha256:
        raise UserError(
            f"{run_id}: was begun on other training images (sha256 {before[:12]}..., expected; got "
            f"{data_sha256[:12]}...); point ADVDPNP_DATA to those, or start anew with --restart."
        )


def _threads_named(made: list[dict]) -> int:
    """The threads in the device's name ('EPYC, 2 threads'), which is where older states have them; 0 for a GPU's."""
    count = made[0].get("device", "").rpartition(", ")[2].removesuffix(" threads") if made else ""
    return int(count) if count.isdigit() else 0


def provenances(made: list[dict]) -> dict:
    """{"provenances": the stretches} where two neighbours differ in a key that both have, else {}."""
    pairs = [
        (one, other) for one, other in pairwise(made) if any(one[k] != other[k] for k in one.keys() & other.keys())
    ]
    return {"provenances": made} if pairs else {}


def report_changes(run_id: str, made: list[dict], now: dict, here: dict) -> None:
    """Print what is kept although this machine would choose otherwise (`here`), and what has changed."""
    if not made:
        return
    last, parts = made[-1], []
    for key, unit in (("threads", " threads"), ("precision", "")):
        if now[key] != here[key]:
            parts.append(f"{now[key]}{unit} as begun, not {here[key]}")
    for key in _REPORTED:
        if key in last and last[key] != now[key]:
            parts.append(f"{key} {last[key]} -> {now[key]}")
    if parts:
        print(f"{run_id}: goes on from epoch {now['from_epoch']} with {'; '.join(parts)}", file=sys.stderr, flush=True)


@contextmanager
def threads_set(count: int) -> Iterator[None]:
    """torch on `count` threads inside, on as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
