"""One training loop for all twelve methods: SGD, piecewise learning rate, mixed precision, log, resume (Section 4.1).

Every random number of an epoch comes from (seed, epoch), so training that is killed and started again ends in the same
weights as training that never stopped: on the same CPU bit for bit, on a GPU up to its nondeterministic kernels. It
goes on with the threads and the precision it was begun with (checkpoints.py).
"""

import io
import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from advdpnp import checkpoints
from advdpnp.config import RunConfig, dependency, digest
from advdpnp.data import Dataset, augment, load, to_float
from advdpnp.defenses import DEFENSES
from advdpnp.defenses.base import Defense
from advdpnp.errors import UserError
from advdpnp.geometry import mean_separation, min_separation
from advdpnp.hardware import pick_compile, pick_device, pick_memory_format, pick_precision, seeded
from advdpnp.progress import Progress, deadline, time_limit
from advdpnp.sgd import SGD
from advdpnp.store import RESULTS, locked, read_json, sha256_file, write_atomic, write_csv, write_json
from advdpnp.validation import best_epoch, held_out, val_accuracies


def compile_backbone(defense: Defense, mode: str) -> None:
    """'on' or 'graphs': in place, so that names and state stay. Shapes are fixed; a smaller last batch is compiled too.

    CUDA graphs replay the kernels of a pass without launching each: what narrow networks and small batches wait for.
    """
    if mode != "off":
        options = {"mode": "reduce-overhead"} if mode == "graphs" else {}
        defense.model.backbone.compile(dynamic=False, **options)


def lr_factor(run: RunConfig, epoch: int, step: int, steps: int) -> float:
    """What multiplies the learning rate at a step of 0-based `epoch`: gamma per milestone, linear warm-up before."""
    optim = run.optim
    factor = optim.gamma ** sum(epoch >= milestone for milestone in optim.milestones)
    progress = epoch + (step + 1) / steps
    return factor * min(1.0, progress / optim.warmup_epochs) if optim.warmup_epochs else factor


def build_optimizer(defense: Defense, run: RunConfig) -> SGD:
    """SGD over the defense's groups, one fused kernel per group; a group keeps settings of its own (PCL's centres)."""
    optim = run.optim
    defaults = {"lr": optim.lr, "momentum": optim.momentum, "weight_decay": optim.weight_decay}
    groups = [defaults | group for group in defense.parameter_groups()]
    for group in groups:
        group["initial_lr"] = group["lr"]
    kinds = {parameter.device.type for group in groups for parameter in group["params"]}
    return SGD(groups, lr=optim.lr, fused=kinds <= {"cpu", "cuda"})


def training_data(run: RunConfig) -> Dataset:
    """The run's training images: the first n, never those held out at the end. The test set is not opened here."""
    data = load(run.dataset, "train")
    return data.subset(run.data.train_images or len(data) - run.data.validation_images)


def train_epoch(
    defense: Defense,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    epoch: int,
    progress: Progress,
    precision: str,
) -> dict[str, float]:
    """One pass: images uint8 [N, C, H, W] and labels [N] on the device. Returns the means of the terms.

    Raises UserError when a loss is not finite, naming the step and the terms.
    """
    run, device, n = defense.run, images.device, len(labels)
    size, warm = run.optim.batch_size, run.craft.epsilon_warmup_epochs
    steps = -(-n // size)
    layout = pick_memory_format(defense, device)
    crop_and_flip = run.facts.augment if run.data.augment == "auto" else run.data.augment == "on"
    sums: dict[str, Tensor] = {}
    bad_step = torch.full((), steps, device=device)
    with seeded(device, run.seed, epoch) as generator:
        order = torch.randperm(n, generator=generator, device=device)
        for step in range(steps):
            batch = order[step * size : (step + 1) * size]
            x, y = images[batch], labels[batch]
            if crop_and_flip:
                x = augment(x, generator=generator, padding=run.data.padding, pad_mode=run.data.pad_mode)
            x = to_float(x.contiguous(memory_format=layout))
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * lr_factor(run, epoch, step, steps)

            budget = min(1.0, (epoch + step / steps) / warm) if warm else 1.0
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                x_adv = defense.craft(x, y, budget=budget, generator=generator)
                loss, terms = defense.loss(x, x_adv, y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            defense.before_step()
            if run.optim.clip_norm:
                nn.utils.clip_grad_norm_(defense.parameters(), run.optim.clip_norm)
            optimizer.step()
            defense.after_step()

            # Sums stay on the device: reading them here would make the GPU wait in every step.
            for name, value in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0) + value.detach() * len(y)
            bad_step = torch.where(loss.detach().isfinite(), bad_step, bad_step.clamp(max=step))
            progress.update(1 / steps)
    means = {name: float(value) / n for name, value in sums.items()}
    if not all(p.isfinite().all() for p in defense.parameters()):
        bad_step = bad_step.clamp(max=steps - 1)
    if int(bad_step) < steps:
        shown = ", ".join(f"{name}={value:.4g}" for name, value in means.items())
        kept = f"last.pt keeps the state after epoch {epoch - 1}" if epoch else "nothing was saved before it"
        raise UserError(
            f"{run.id}: the loss is not finite from epoch {epoch}, step {int(bad_step)} on ({shown}); {kept}; "
            f"a lower optim.lr or optim.clip_norm in the tier may help."
        )
    return means


def _center_metrics(model: nn.Module) -> dict[str, float]:
    """Norms of the class centers and their angles in degrees, Eqs. (11)-(12): watched over the epochs."""
    norms = model.centers.detach().norm(dim=1)
    return {
        "center_norm_min": float(norms.min()),
        "center_norm_mean": float(norms.mean()),
        "center_norm_max": float(norms.max()),
        "mean_sep": mean_separation(model.centers),
        "min_sep": min_separation(model.centers),
    }


def build_defense(run: RunConfig, images: str = "") -> Defense:
    """The run's defense with weights from its seed, and the trained helper that it requires, if any.

    Raises UserError where the helper is not trained, or as much of the data was to be `images`, the sha256 of the
    training set (if given), and was not.
    """
    needed = dependency(run)
    trained = RESULTS.read_training(needed) if needed else {}
    if trained is None:
        raise UserError(f"{run.id} needs the trained {needed.id}; train that first.")
    helper, seen = load_model(needed) if needed else None, trained.get("data_sha256", images)
    if images and needed and needed.data == run.data and seen != images:
        raise UserError(
            f"{run.id} needs {needed.id}, which was trained on other images (data_sha256 {seen[:8]}, here "
            f"{images[:8]}): set ADVDPNP_DATA to one copy of {run.dataset}, or train it again."
        )
    with seeded(torch.device("cpu"), run.seed, -1):
        return DEFENSES[run.method](run, helper)


def changed_settings(old: dict, new: dict, prefix: str = "", *, known: bool = False) -> list[str]:
    """'optim.lr: 0.1 -> 0.2' for each setting that changed; with `known`, only for those that both have."""
    out = []
    for key in old.keys() & new.keys() if known else old.keys() | new.keys():
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            out += changed_settings(a, b, f"{prefix}{key}.", known=known)
        elif a != b:
            out.append(f"{prefix}{key}: {a} -> {b}")
    return sorted(out)


def _check_same_settings(run: RunConfig, directory: Path) -> None:
    """Refuse to mix two configurations in one folder. Raises UserError with the difference."""
    path = directory / "config.json"
    if path.exists() and (old := read_json(path, "method")) != run.training_settings():
        changes = "; ".join(changed_settings(old, run.training_settings()))
        raise UserError(
            f"{directory}: was trained under other settings ({changes}); restore them, delete the folder, or --restart."
        )


def load_state(path: Path, *keys: str) -> dict:
    """A checkpoint of ours, or its `keys`, without unpickling code. Raises UserError when it is damaged or not one."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {key: state[key] for key in keys or state}
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; train the run first.") from None
    except Exception:  # torch raises half a dozen types for damaged or foreign files
        raise UserError(f"{path}: is not a checkpoint of this project (damaged?); delete it and train again.") from None


def load_model(run: RunConfig, directory: Path | None = None, device: torch.device | str = "cpu") -> nn.Module:
    """The trained model of a run in eval mode, its file checked against train.json. Raises UserError."""
    directory = RESULTS.run(run) if directory is None else directory
    _check_same_settings(run, directory)
    done, path = read_json(directory / "train.json", "model_sha256", "settings_digest"), directory / "model.pt"
    if done["settings_digest"] != digest(run.training_settings()):
        raise UserError(f"{directory}: train.json is not of {run.id} in tier {run.tier}; train again with --restart.")
    if not path.exists() or sha256_file(path) != done["model_sha256"]:
        raise UserError(f"{path}: is missing or not the file that train.json describes; train again with --restart.")
    model = DEFENSES[run.method].build(run)
    _put(model, load_state(path), path)
    return model.to(device, memory_format=torch.channels_last).eval()


def _put(target: nn.Module | torch.optim.Optimizer, state: dict, path: Path) -> None:
    """Load a state that fits. Raises UserError for that of another network or method."""
    try:
        target.load_state_dict(state)
    except Exception as error:  # torch raises RuntimeError, ValueError, KeyError, TypeError or AttributeError
        reason = str(error).splitlines()[-1].strip().rstrip(".") if str(error) else type(error).__name__
        raise UserError(f"{path}: is of another network than this run's ({reason}); --restart trains anew.") from None


_STATE = ("defense", "optimizer", "log", "seconds", "provenance")  # of last.pt; the last is checkpoints.py's


def _state_keys(run: RunConfig) -> tuple[str, ...]:
    """What last.pt holds; "best" is the model after the best epoch so far."""
    return (*_STATE, "best") if run.optim.checkpoint == "best" else _STATE


def restore(path: Path, state: dict | None, defense: Defense, optimizer: torch.optim.Optimizer) -> list[dict]:
    """Put the rolling state, read from `path`, back, if there is one; returns the log so far."""
    if state is None:
        return []
    _put(defense, state["defense"], path)
    _put(optimizer, state["optimizer"], path)
    return json.loads(state["log"])


def save_torch(path: Path, value: dict) -> None:
    """torch.save, whole or not at all. In memory first: torch reports a full disk as an internal error of its own."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    write_atomic(path, lambda handle: handle.write(buffer.getbuffer()))


def save_trained(run: RunConfig, directory: Path, defense: Defense, about: dict) -> dict:
    """Write model.pt, then train.json with its checksum and what is known `about` the training."""
    model = {name: value.detach().cpu().contiguous() for name, value in defense.model.state_dict().items()}
    save_torch(directory / "model.pt", model)
    done = {
        "run": run.id,
        "tier": run.tier,
        "seed": run.seed,
        "model_sha256": sha256_file(directory / "model.pt"),
        "settings_digest": digest(run.training_settings()),
        "parameters": sum(p.numel() for p in defense.model.parameters()),
        **about,
    }
    write_json(directory / "train.json", done)
    return done


def finished(run: RunConfig, directory: Path, data: Dataset) -> dict:
    """What train.json holds of a trained run whose last.pt was removed: it is only to resume from.

    Raises UserError where train.json does not describe model.pt, or tells of other images than `data`: to train anew
    would write over finished weights, which is something to be asked for.
    """
    path, model = directory / "train.json", directory / "model.pt"
    done = read_json(path, "model_sha256", "data_sha256") if path.exists() else {}
    if done.get("model_sha256") != sha256_file(model):
        raise UserError(
            f"{model}: holds a trained network, but the train.json that would describe it "
            f"{'is of others' if done else 'is missing'}, and there is no last.pt; bring one of the two back, or "
            "train anew with --restart."
        )
    checkpoints.check_images(run.id, done["data_sha256"], data.sha256)
    write_json(path, done)  # the workflow looks at its time
    return done


def fit(
    run: RunConfig,
    directory: Path | None = None,
    *,
    device: str | torch.device = "auto",
    max_minutes: float | None = None,
    restart: bool = False,
    wait: bool = False,
) -> dict | None:
    """Train a run, or go on where an earlier call stopped; returns what train.json holds.

    With `wait`, another process that trains the run is waited for, and its result taken. Returns None if `max_minutes`
    are up before the end: the next call goes on from there. Raises UserError when the folder holds a run under other
    settings, another process trains it, or a loss is not finite.
    """
    directory = RESULTS.run(run) if directory is None else directory
    device = pick_device(str(device))
    if not restart:
        _check_same_settings(run, directory)
    data = training_data(run)
    defense = build_defense(run, data.sha256)  # before anything is written
    with time_limit(max_minutes), locked(directory, "is being trained", wait=wait):
        if wait and (directory / "train.json").exists():
            return read_json(directory / "train.json")
        return _fit(run, directory, device, data, defense, restart)


def _fit(
    run: RunConfig, directory: Path, device: torch.device, data: Dataset, defense: Defense, restart: bool,
) -> dict | None:  # fmt: skip
    """`fit`, by the one process that holds the folder."""
    last, compiled = directory / "last.pt", pick_compile(run.optim.compile, device)
    here = {"threads": torch.get_num_threads(), "precision": pick_precision(run.optim.precision, device)}
    if restart:
        # train.json first: a kill here never leaves a run that looks finished.
        for name in ("train.json", "model.pt", "last.pt", "config.json", "log.csv"):
            (directory / name).unlink(missing_ok=True)
    _check_same_settings(run, directory)
    state = load_state(last, *_state_keys(run)) if last.exists() else None
    if state is None and (directory / "model.pt").exists():
        return finished(run, directory, data)
    made = checkpoints.load_stretches(state["provenance"] if state else "[]")
    kept = checkpoints.settings_to_keep(run.id, made, here, data.sha256, device)
    write_json(directory / "config.json", run.training_settings())
    with checkpoints.threads_set(kept["threads"]):
        how = kept | {"compiled": compiled, "data_sha256": data.sha256}
        epochs = _epochs(run, last, state, device, data, defense, how, here)
    if epochs is None:
        return None
    log, seconds, made = epochs
    about = {
        "train_images": len(data),
        "data_sha256": data.sha256,
        **kept,
        "compiled": made[-1].get("compiled", compiled),
        "seconds": round(seconds, 1),
        "images_per_second": round(len(data) * run.optim.epochs / seconds, 1),
        "final": log[-1],
        **({"checkpoint": log[best_epoch(log)]} if run.optim.checkpoint == "best" else {}),
        "provenance": checkpoints.provenance_of(made[-1]),
    }
    return save_trained(run, directory, defense, about | checkpoints.provenances(made))


def _epochs(
    run: RunConfig, last: Path, state: dict | None, device: torch.device, data: Dataset, defense: Defense,
    how: dict, here: dict,
) -> tuple[list[dict], float, list[dict]] | None:  # fmt: skip
    """The epochs that are left: (log, seconds, stretches) of all, or None when time is up before the end."""
    directory = last.parent
    images, labels = data.images.to(device), data.labels.to(device)
    defense = defense.to(device, memory_format=pick_memory_format(defense, device)).train()
    compile_backbone(defense, how["compiled"])
    optimizer = build_optimizer(defense, run)
    log = restore(last, state, defense, optimizer)
    seconds, made = (state["seconds"], checkpoints.load_stretches(state["provenance"])) if state else (0.0, [])
    best, validation = state["best"] if state and "best" in state else {}, held_out(run)
    if validation:
        val_images, val_labels = validation.images.to(device), validation.labels.to(device)
    if not log:
        defense.start_training(images, labels)
    first, progress = len(log), Progress(run.id, run.optim.epochs, done=len(log), stops=False)
    for epoch in range(first, run.optim.epochs):
        started, now = time.monotonic(), checkpoints.stretch_record(epoch, device, **how)
        if epoch == first:
            checkpoints.report_changes(run.id, made, now, here)
        # At least one epoch per call, so that calling again always gets further.
        elif not deadline().allows(log[-1]["seconds"]):
            progress.finish(f"time is up after {epoch} of {run.optim.epochs} epochs; call again to go on")
            return None
        defense.start_epoch(epoch)
        progress.note = f"epoch {epoch + 1} of {run.optim.epochs}" + (f", loss {log[-1]['loss']:.4g}" if log else "")
        means = train_epoch(defense, optimizer, images, labels, epoch, progress, how["precision"])
        defense.end_epoch(epoch)
        if validation:
            means |= val_accuracies(defense, val_images, val_labels, compiled=how["compiled"])
        took = time.monotonic() - started
        seconds, made = seconds + took, checkpoints.with_stretch(made, now)
        lr = optimizer.param_groups[0]["lr"]
        log.append({"epoch": epoch, "lr": lr, "seconds": round(took, 3)} | means | _center_metrics(defense.model))
        rolling = [defense.state_dict(), optimizer.state_dict(), json.dumps(log), seconds, json.dumps(made)]
        if run.optim.checkpoint == "best":
            if best_epoch(log) == epoch:
                best = {name: value.detach().clone() for name, value in defense.model.state_dict().items()}
            rolling.append(best)
        save_torch(last, dict(zip(_state_keys(run), rolling, strict=True)))
        write_csv(directory / "log.csv", log, log[0])
    write_csv(directory / "log.csv", log, log[0])  # a kill may have come between last.pt and log.csv
    if best:
        _put(defense.model, best, last)
    defense.finish()
    shown = ("loss", "train_clean", "train_adv", "val_clean", "val_adv")
    ends = [f"{k} {log[-1][k]:.4g}" for k in shown if k in log[-1]]
    if best:
        ends.append(f"epoch {best_epoch(log) + 1} kept, val_adv {log[best_epoch(log)]['val_adv']:.4g}")
    progress.finish(", ".join(ends))
    return log, seconds, made
