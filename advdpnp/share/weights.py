"""Published weights: a trained network in seconds, without training, pickle or a further package.

    model = advdpnp.load_published("cifar10-resnet18-adv_dpnp-s0", tier="short")

published/weights/<tier>/<run>.safetensors holds the arrays, <run>.json beside it what network they are of, what was
measured of it, whether the published tables are of this training, and the sha256 that they are checked against. The
format is safetensors': 8 bytes with the length of a JSON header, the header (for each array its dtype, shape and
place), the raw bytes. The package of that name is an optional one here (`export`), and a lesson should need nothing but
a checkout, so `pack` and `unpack` do it; a test reads their file with the package.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from advdpnp import models
from advdpnp.checkout import shipped
from advdpnp.config import ROOT, RunConfig, load_tier, resolve
from advdpnp.errors import UserError, nearest
from advdpnp.share.export import described, measured
from advdpnp.store import RESULTS, read_json, sha256_file, write_atomic, write_json
from advdpnp.train import load_model

WEIGHTS = ROOT / "published" / "weights"
MOST, MOST_IN_ALL = 3_000_000, 20_000_000  # bytes: a clone stays small
DTYPES = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}
# Attacks whose results go along, where there are any.
MEASURED = ("clean", "pgd20", "cw30", "pgd100_l1", "pgd100_l1_free", "aa")
LICENCE = "MIT, as the code; trained on a data set with terms of its own (data/README.md)"
KNOWN = ("run", "tier", "network", "sha256")  # keys of the JSON that a file cannot do without


def pack(arrays: dict[str, np.ndarray], about: dict[str, str]) -> bytes:
    """Arrays of DTYPES as the bytes of a safetensors file, `about` in its metadata. Raises ValueError for others."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": about}
    body, end = [], 0
    for name, array in arrays.items():
        if array.dtype not in names:
            raise ValueError(f"expected {name} as float32 or int64, got {array.dtype}")
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
        body.append(np.ascontiguousarray(array).tobytes())
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the arrays begin at a multiple of 8
    return struct.pack("<Q", len(text)) + text + b"".join(body)


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """What `pack` packed. Raises ValueError for bytes that are no such file."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        found = {}
        for name, told in header.items():
            begin, end = told["data_offsets"]
            flat = np.frombuffer(data[8 + length :][begin:end], DTYPES[told["dtype"]])
            found[name] = flat.reshape(told["shape"])
    except (AttributeError, KeyError, TypeError, ValueError, struct.error) as error:
        raise ValueError(f"expected the bytes of a safetensors file with {' and '.join(DTYPES)}, got others") from error
    return found


def publish_weights(tier_name: str, run_ids: list[str], folder: Path = WEIGHTS) -> str:
    """Write trained networks to <folder>/<tier>/, float32; returns a summary. Raises UserError for large ones."""
    tier = load_tier(tier_name)
    packed = {run.id: (run, *_packed(run, tier.label)) for run in [resolve(tier, name) for name in run_ids]}
    for name, (_, data, _) in packed.items():
        if len(data) > MOST:
            raise UserError(f"{name}: {len(data) / 1e6:.1f} MB of weights; at most {MOST / 1e6:g} MB are published.")
    kept = sum(p.stat().st_size for p in folder.glob("*/*.safetensors") if (p.parent.name, p.stem) not in
               {(tier.name, name) for name in packed})  # fmt: skip
    if (total := kept + sum(len(data) for _, data, _ in packed.values())) > MOST_IN_ALL:
        raise UserError(f"{folder}: would hold {total / 1e6:.1f} MB; at most {MOST_IN_ALL / 1e6:g} MB are published.")
    for name, (_, data, about) in packed.items():
        path = folder / tier.name / f"{name}.safetensors"
        write_atomic(path, lambda handle, data=data: handle.write(data))  # type: ignore[misc]
        write_json(path.with_suffix(".json"), about | {"sha256": sha256_file(path), "bytes": len(data)})
    return f"{len(packed)} networks, {sum(len(d) for _, d, _ in packed.values()) / 1e6:.1f} MB, in {folder / tier.name}"


def _packed(run: RunConfig, label: str) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a run's safetensors file, and what the JSON beside it says but for their checksum."""
    model = load_model(run)
    arrays = {}
    for name, value in model.state_dict().items():
        value = value.detach().to(torch.float32 if value.is_floating_point() else torch.int64)
        arrays[name] = value.contiguous().numpy()
    trained = read_json(RESULTS.trained(run), "model_sha256", "precision")
    about = {"run": run.id, "tier": run.tier, "method": run.method, "protocol": label, "licence": LICENCE}
    about["model_sha256"] = trained["model_sha256"]  # of model.pt, as every evaluation of this network says
    about["precision"] = trained["precision"]
    tables = shipped(Path("published") / run.tier / "runs" / run.id / "train.json")
    in_tables = tables is not None and read_json(tables, "model_sha256")["model_sha256"] == trained["model_sha256"]
    numbers: dict[str, Any] = {}
    for attack in MEASURED:
        if found := measured(run, attack):
            numbers[attack] = {key: found[key] for key in ("accuracy", "images")}
    told = about | {"network": described(run, model), "measured": numbers, "in_tables": in_tables}
    return pack(arrays, about), told


def load_published(run: str, tier: str = "medium", folder: Path | None = None) -> nn.Module:
    """The published network of a run id, in eval mode: images [B, C, H, W] in [0, 1] -> logits [B, M].

    It has `features` and `centers` too, as every network of this package. Looked for in the checkout, and in a course's
    bundle beside the notebooks. Raises UserError where none was published, or the file is not the one that was.
    """
    folder = folder or shipped(WEIGHTS.relative_to(ROOT)) or WEIGHTS
    path = folder / tier / f"{run}.safetensors"
    about_path = path.with_suffix(".json")
    if not (path.is_file() and about_path.is_file()):
        raise UserError(f"{path}: these weights are not published; {_known(run, tier, folder)}")
    about = read_json(about_path, *KNOWN)
    if (about["run"], about["tier"]) != (run, tier):
        raise UserError(f"{about_path}: is of {about['run']} in tier {about['tier']}; restore the published file.")
    if (found := sha256_file(path)) != about["sha256"]:
        raise UserError(
            f"{path}: is not the file that was published (sha256 {str(about['sha256'])[:12]}... expected, got "
            f"{found[:12]}...); restore it with git checkout."
        )
    try:
        model = models.build(about["network"])
        model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in unpack(path.read_bytes()).items()})
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        raise UserError(f"{path}: does not fit the network that {about_path.name} describes ({reason}).") from None
    return model.to(memory_format=torch.channels_last).eval()  # as evaluations have it: equal to the last bit


def _known(run: str, tier: str, folder: Path) -> str:
    """What to ask for instead: another tier with this run, a run of this tier, or how to publish it."""
    if others := sorted(path.parent.name for path in folder.glob(f"*/{run}.safetensors")):
        return f"those of tier {' and '.join(others)} are: tier='{others[0]}'."
    if there := sorted(path.stem for path in (folder / tier).glob("*.safetensors")):
        return nearest(run, there)
    return f"python -m advdpnp publish --tier {tier} --weights {run} would do it."
