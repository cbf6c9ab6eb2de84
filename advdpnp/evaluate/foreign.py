"""Any network under the same attacks: what it is asked first, then accuracy and a flag for each image.

`evaluate_model` takes a module and tensors and keeps nothing on disk. `read_model` and `evaluate_file` are the command
line's `evaluate --model my_model.py`: a Python file that defines `load()`, or `model`, as those of `export` do.
"""

import hashlib
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib import util
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from advdpnp.attacks import frozen
from advdpnp.attacks.gradient import checked_inputs, checked_logits, misfit
from advdpnp.config import ATTACKS, DATASETS, AttackConfig, EvaluationConfig, build, check_attack
from advdpnp.data import load, to_float
from advdpnp.errors import UserError, nearest
from advdpnp.evaluate import masking
from advdpnp.evaluate.crafting import draw_seed, is_right, measured
from advdpnp.evaluate.memory import ChunkedModel, memory_is_out, retry_with_smaller_chunks
from advdpnp.evaluate.trajectories import shared
from advdpnp.hardware import pick_device
from advdpnp.progress import Progress
from advdpnp.store import provenance, read_json, results_root, sha256_file, write_atomic, write_json

GUARD = "guard"  # beside the attacks: the checks of masking.py, on its first images
SPLIT = "test"


@dataclass(frozen=True)
class Foreign:
    """What an attack asks of a run, for a network that is none: its batch norms are not folded."""

    id: str
    seed: int
    evaluation: EvaluationConfig
    method: str = ""


def evaluate_model(
    model: nn.Module, x: Tensor, y: Tensor, *names: str, batch_size: int = 250, seed: int = 0,
    attacks: Mapping[str, AttackConfig] = ATTACKS, classes: int | None = None,
) -> dict[str, dict]:  # fmt: skip
    """{name: accuracy (%), flags bool [N], settings, ...} of any network under attacks of config.ATTACKS, and `guard`.

    x [N, C, H, W] float in [0, 1], y [N] integers; model(x) gives logits [N, M], with its normalisation inside. It is
    put in eval mode without weight gradients, works on the device that it is on, and is left as found; adversarial
    images are verified to lie in ball and box; a batch that does not fit into memory is halved. `guard` holds the
    checks of masking.py, on the first images and on the attacks named beside it. attacks: settings of one's own,
    {"mine": AttackConfig("pgd", epsilon=4 / 255)}. classes: how many the model must tell apart, where that is known.
    Raises UserError, one sentence, for a model, images, labels or an attack that do not fit.
    """
    if not names:
        raise UserError(f"name at least one attack, such as pgd20; {nearest('', [*attacks, GUARD])}")
    for name in names:
        if name not in attacks and name != GUARD:
            raise UserError(f"unknown attack '{name}'; {nearest(name, [*attacks, GUARD])}")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size: a whole number from 1 up is wanted, not {batch_size!r}")
    label = type(model).__name__
    chosen = {name: attacks[name] for name in dict.fromkeys(names) if name != GUARD}
    try:
        with frozen(model):
            x, y = checked_inputs(x, y, 0.0, "linf")
            if GUARD in names:
                white = _checked_attacks({"pgd20": attacks.get("pgd20", ATTACKS["pgd20"])}, x, label)["pgd20"]
            chosen = _checked_attacks(chosen, x, label)
            _check(model, x, y, chosen, classes)
            subject = Foreign(label, seed, EvaluationConfig(fast=False, batch_size=batch_size))
            pieces = ChunkedModel(_Told(model), batch_size)
            found: dict[str, dict] = {}
            for group in shared(chosen, {name: attack.images or len(x) for name, attack in chosen.items()}):
                found |= _attacked(pieces, x, y, {name: chosen[name] for name in group}, subject)
            if GUARD in names:
                found[GUARD] = _guard(pieces, x, y, white, found, seed)
    except ValueError as error:
        raise UserError(f"{label}: {error}") from None
    return {name: found[name] for name in names}


# ------------------------------------------------------------------------------------------------- what is asked first


def _checked_attacks(attacks: Mapping[str, AttackConfig], x: Tensor, label: str) -> dict[str, AttackConfig]:
    """The attacks as a tier's file would have them. Raises UserError, or ValueError for images of another shape."""
    if x.ndim != 4 or not len(x):
        raise ValueError(f"images must be [N, C, H, W] with at least one, got {list(x.shape)}")
    checked = {name: build(AttackConfig(), vars(attack), f"{label}: {name}") for name, attack in attacks.items()}
    for name, attack in checked.items():
        if attack.renormalise or attack.kind == "adaptive":
            raise ValueError(f"{name} needs the prototypes of Adv-DPNP; choose pgd20, cw30 or aa")
        check_attack(attack, x[0].numel(), len(x), f"{label}: {name}")
    return checked


class _Told(nn.Module):
    """A network whose own errors are one sentence, also where they come late. Raises ValueError."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.model(x)
        except Exception as error:  # the model's own code: anything may be raised
            if memory_is_out(error):
                raise
            raise _stopped(x, error) from error


def _stopped(x: Tensor, error: Exception, what: str = "model") -> ValueError:
    reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    return ValueError(f"the {what} stops at images {list(x.shape)} ({reason})")


def _check(model: nn.Module, x: Tensor, y: Tensor, attacks: Mapping[str, AttackConfig], classes: int | None) -> None:
    """Ask for the first two images' logits. Raises ValueError for what could not be attacked; warns of a softmax."""
    first = x[:2].to(_place(model, x)).requires_grad_()
    if fault := misfit(model, first):
        raise ValueError(fault)
    try:
        with torch.enable_grad():
            answer = model(first)
    except Exception as error:  # the model's own code: anything may be raised
        raise _stopped(first, error) from error
    logits = checked_logits(answer, len(first), y)
    if classes is not None and logits.shape[1] != classes:
        raise ValueError(f"the model answers with {logits.shape[1]} classes; {classes} are wanted")
    if logits.shape[1] < 2:
        raise ValueError("the model must return logits of two classes at least, got one")
    if not logits.isfinite().all():
        raise ValueError("the model's logits are not finite on the first images")
    if any(attack.kind != "clean" for attack in attacks.values()):
        if not logits.requires_grad:
            raise ValueError("no gradient reaches the images: the model detaches something, or computes under no_grad")
        try:
            torch.autograd.grad(logits.sum(), first)
        except Exception as error:  # a backward pass of the model's own: anything may be raised
            raise _stopped(first, error, "model's backward pass") from error
    logits = logits.detach()
    if (logits >= 0).all() and torch.allclose(logits.sum(1), torch.ones_like(logits[:, 0]), atol=1e-4):
        told = "the outputs look like probabilities; return logits: a softmax hides the gradient from an attack"
        warnings.warn(told, stacklevel=4)


# ------------------------------------------------------------------------------------------------------------ attacks


def _attacked(
    model: ChunkedModel, x: Tensor, y: Tensor, group: Mapping[str, AttackConfig], subject: Foreign
) -> dict[str, dict]:
    """The results of attacks that one computation serves (trajectories.py)."""
    (first, *_), settings, begin = group, [*group.values()], time.monotonic()
    n, size, place = settings[0].images or len(x), subject.evaluation.batch_size, _place(model, x)
    right, losses = np.zeros((n, len(group)), bool), np.zeros((n, len(group)))
    progress = Progress(f"{subject.id} {', '.join(group)}", n, stops=False)
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        images, labels = x[rows].to(place), y[rows].to(place)
        work = partial(
            measured, model, images, labels, settings, subject, draw_seed(subject, first, settings[0], start)
        )
        for k, (logits, _) in enumerate(retry_with_smaller_chunks(model, work)):
            right[rows, k] = is_right(logits, labels, f"{subject.id} {[*group][k]}")
            losses[rows, k] = F.cross_entropy(logits.double(), labels, reduction="none").cpu().numpy()
        shown = " ".join(f"{100 * share:.2f}" for share in right[: rows.stop].mean(0))
        progress.update(len(images), f"{shown} % so far")
    progress.finish(" ".join(f"{100 * share:.2f}" for share in right.mean(0)) + " %")
    seconds = round((time.monotonic() - begin) / len(group), 2)
    return {
        name: {
            "attack": name,
            "settings": asdict(attack),
            "seed": subject.seed,
            "images": n,
            "correct": int(right[:, k].sum()),
            "accuracy": round(100 * float(right[:, k].mean()), 4),
            "loss": round(float(losses[:, k].mean()), 6),
            "images_at_once": model.size,
            "seconds": seconds,
            "flags": right[:, k],
        }
        for k, (name, attack) in enumerate(group.items())
    }


def _place(model: nn.Module, x: Tensor) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), x.device)


def _guard(
    model: ChunkedModel, x: Tensor, y: Tensor, attack: AttackConfig, found: Mapping[str, dict], seed: int
) -> dict:
    """masking.py's checks: of the first images, and of the order among the attacks that were run."""
    n, place, begin = min(masking.IMAGES, len(x)), _place(model, x), time.monotonic()
    work = partial(masking.run_probes, model, x[:n].to(place), y[:n].to(place), attack, None, seed)
    flags = {name: result["flags"] for name, result in found.items()}
    found_by_probes = retry_with_smaller_chunks(model, work)
    checks = [*masking.check_probes(found_by_probes), *masking.check_attack_order(flags)]
    return {"images": n, "checks": [asdict(check) for check in checks], "seconds": round(time.monotonic() - begin, 2)}


# --------------------------------------------------------------------------------------------------- the command line


def read_model(path: Path) -> nn.Module:
    """What `load()` of a Python file returns, or its `model`: the file is run. Raises UserError."""
    if path.suffix != ".py":
        raise UserError(f"{path}: a Python file is wanted that defines load(), which returns the network.")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file.")
    folder, before, cached = str(path.resolve().parent), [*sys.path], sys.dont_write_bytecode
    sys.path.insert(0, folder)  # what lies beside the file can be imported, as if it were run by itself
    sys.dont_write_bytecode = True  # a file that is changed within the second would be taken for the one before
    try:
        spec = util.spec_from_file_location(f"_model_{path.stem}", path)
        module = sys.modules[spec.name] = util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if callable(getattr(module, "load", None)):
            model = module.load()
        elif hasattr(module, "model"):
            model = module.model
        else:
            raise UserError(f"{path}: defines neither load() nor model; let load() return the network.")
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # the file's own code: anything may be raised
        raise UserError(f"{path}: stops with {type(error).__name__}: {error}") from error
    finally:
        sys.dont_write_bytecode = cached
        with suppress(ValueError):  # the file may have changed sys.path: what it added stays, what it took comes back
            sys.path.remove(folder)
        sys.path += [place for place in before if place not in sys.path]
    if not isinstance(model, nn.Module):
        raise UserError(f"{path}: load() must return a torch.nn.Module, got {type(model).__name__}.")
    return model


def evaluate_file(
    path: Path, dataset: str, names: list[str], *, images: int | None = None, device: str = "auto",
    output: Path | None = None,
) -> dict[str, dict]:  # fmt: skip
    """`evaluate_model` of a file's network on the first test images of a data set, written attack by attack.

    To `output`, or results/foreign/<its name>/: <attack>.json, and <attack>.npz with the flags. Raises UserError, also
    where that folder holds results of other weights.
    """
    model, data = read_model(path), load(dataset, SPLIT).subset(images)
    model = model.to(pick_device(device))
    folder = results_root() / "foreign" / path.stem if output is None else output
    about = {"model": path.name, "model_file_sha256": sha256_file(path), "weights_sha256": weights_sha256(model)}
    _refuse_others(folder, about["weights_sha256"])
    about |= {"dataset": dataset, "split": SPLIT, "data_sha256": data.sha256}
    x, y = to_float(data.images), data.labels
    results = evaluate_model(model, x, y, *names, classes=DATASETS[dataset].classes)
    for name, result in results.items():
        flags = result.pop("flags", None)
        if flags is not None:
            file = folder / f"{name}.npz"
            write_atomic(file, lambda handle, flags=flags: np.savez_compressed(handle, correct=flags))
        write_json(folder / f"{name}.json", about | result | {"provenance": provenance(_place(model, x))})
    return results


def _refuse_others(folder: Path, weights: str) -> None:
    """Raises UserError where a folder holds results of other weights; other JSON files there do not matter."""
    for path in sorted(folder.glob("*.json")):
        found = None
        with suppress(UserError, OSError):
            found = read_json(path)
        if isinstance(found, dict) and found.get("weights_sha256", weights) != weights:
            raise UserError(f"{folder}: holds results of another network; name another folder with --output")


def weights_sha256(model: nn.Module) -> str:
    """sha256 over names, types and bytes of all that a network keeps in its state. Raises UserError for lazy ones."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if is_lazy(value):
            raise UserError(f"{name} has no values yet: let load() pass an image through the network and fill it.")
        if isinstance(value, Tensor):
            value = value if value.layout == torch.strided else value.to_dense()
            raw = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            digest.update(f"{name} {value.dtype} {list(value.shape)}".encode() + raw.tobytes())
    return digest.hexdigest()
