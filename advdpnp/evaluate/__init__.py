"""(run, attack) -> accuracy, one flag per image, and where they come from: computed once, loaded after that.

`results/<tier>/evals/<run_id>/<attack>.json` is small and complete; the `.npz` next to it holds `correct`, one
flag per test image. Every image is counted by the network in float32, whatever it was trained in; attacks meet it with
its batch norms folded, and AutoAttack may search on a bfloat16 surrogate (`evaluation.fast`, `.autoattack`). A
long attack is kept batch by batch, so a killed evaluation goes on where it was. Besides the names of `config.ATTACKS`
there are `geometry` (Table 4), `features` (Figure 2), `corruptions` (Table 5, Figure 3) and `guard` (signs of masked
gradients, see masking.py).
"""

import copy
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, astuple, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdpnp import attacks, geometry
from advdpnp.config import (
    ATTACKS,
    GEOMETRY_DEFINITION,
    AttackConfig,
    RunConfig,
    budget_fault,
    digest,
    images_of,
    resolved_attack,
    standard_of,
)
from advdpnp.data import Dataset, data_root, load, to_float
from advdpnp.errors import UserError, nearest
from advdpnp.evaluate import crafting, masking
from advdpnp.evaluate.cache import KeptSearch, discard_parts, load_part, load_result, part_path, save_part
from advdpnp.evaluate.crafting import draw_seed, is_fast, is_right, measured, path_of
from advdpnp.evaluate.foreign import evaluate_model
from advdpnp.evaluate.memory import ChunkedModel, retry_with_smaller_chunks
from advdpnp.evaluate.trajectories import next_larger, passes, shared
from advdpnp.hardware import pick_device
from advdpnp.progress import Progress, TimeUp
from advdpnp.store import RESULTS, locked, provenance, read_arrays, read_json, write_atomic, write_json
from advdpnp.train import load_model

__all__ = ["evaluate", "evaluate_model"]  # and what other modules of the package take from here

_TALLIED = (*(field.name for field in fields(attacks.Tally)),)  # of each component of AutoAttack
SAVE_EVERY = 1.0  # seconds between two savings of an unfinished attack: a kill costs that or one batch


def evaluate(
    run: RunConfig,
    *names: str,
    directory: Path | None = None,
    device: str = "auto",
    force: bool = False,
    wait: bool = False,
) -> dict[str, dict]:
    """Evaluate a trained run under the named attacks; results on disk that still hold are loaded, not recomputed.

    Returns {name: content of its JSON}. Raises UserError for an unknown name, when the run is not trained, or when
    another process computes the same (with `wait`, its result is waited for and used).
    """
    known = (*ATTACKS, *SPECIAL)
    for name in names:
        if name not in known:
            raise UserError(f"unknown attack '{name}'; {nearest(name, known)}")
        _check_budget(run, name)
    directory = RESULTS.run(run) if directory is None else directory
    if not (directory / "train.json").exists():
        command = f"python -m advdpnp train --tier {run.tier} {run.id}"
        raise UserError(f"{run.id} is not trained in tier {run.tier}; {command}")
    sha256 = read_json(directory / "train.json", "model_sha256")["model_sha256"]
    data, model = load(run.dataset, "test"), None
    results: dict[str, dict] = {}
    for group in _groups(run, names, data):
        keys = {name: _key(run, name, data, sha256) for name in group}
        found = {} if force else _loaded(run, keys)
        if len(found) < len(group):
            if model is None:
                place = pick_device(device)
                model = ChunkedModel(load_model(run, directory, place), run.evaluation.batch_size)
            with ExitStack() as held:
                for name in sorted(group):
                    held.enter_context(locked(RESULTS.evaluation(run, name), "is being evaluated", wait=wait))
                found = {} if force else _loaded(run, keys)  # the process that we waited for may have computed it
                if lacking := {name: keys[name] for name in group if name not in found}:
                    found |= _compute(run, lacking, model, data, sha256)
        else:
            for name in group:
                with suppress(OSError):  # finished results are read where nothing can be written
                    discard_parts(RESULTS.evaluation(run, name))  # a kill may have come just before
        results |= found
    return {name: results[name] for name in names}


def _groups(run: RunConfig, names: Iterable[str], data: Dataset) -> list[list[str]]:
    """`names` in groups that one computation serves, each name once; a nested budget comes after the larger one."""
    wanted: dict[str, None] = {}
    for name in names:
        chain = [name]
        while larger := _larger_budget(run, chain[0], data):
            chain.insert(0, larger)
        wanted |= dict.fromkeys(chain)
    plain = {name: resolved_attack(run, name) for name in wanted if name in ATTACKS}
    groups = shared(plain, {name: images_of(run, name, data) for name in plain})
    return [*groups, *([name] for name in wanted if name not in plain)]


def _larger_budget(run: RunConfig, name: str, data: Dataset) -> str | None:
    """The AutoAttack at the next larger budget if this one searches only images that fell there, else None."""
    if not run.evaluation.nested_budgets or name not in ATTACKS or run.attacks[name].kind != "autoattack":
        return None
    every = {other: resolved_attack(run, other) for other in run.attacks if other in ATTACKS}
    return next_larger(name, every, {other: images_of(run, other, data) for other in every})


def _loaded(run: RunConfig, keys: Mapping[str, str]) -> dict[str, dict]:
    """The finished results among `keys` ({name: key})."""
    there = {name: load_result(RESULTS.evaluation(run, name), key) for name, key in keys.items()}
    return {name: found for name, found in there.items() if found is not None}


def _compute(
    run: RunConfig, keys: Mapping[str, str], model: "ChunkedModel", data: Dataset, sha256: str
) -> dict[str, dict]:
    """Compute and write the evaluations of one group: flags first, then the JSON that says they are complete."""
    begin, (first, *others) = time.monotonic(), keys
    if first in SPECIAL:
        made = {first: SPECIAL[first](run, first, model, data, keys[first])}
    else:
        made = _attack_results(run, keys, model, data)
    results = {}
    for name, (values, arrays) in made.items():
        found = {
            "run": run.id,
            "tier": run.tier,
            "attack": name,
            "seed": run.seed,
            "settings_digest": digest(run.training_settings()),
            **values,
            "images_at_once": model.size,  # below batch_size where memory ran out
            "model_sha256": sha256,
            "key": keys[name],
            "seconds": round((time.monotonic() - begin) / len(keys), 2),
            "provenance": provenance(next(model.parameters()).device),
        }
        found |= {"computed_with": [*keys]} if others else {}
        path = RESULTS.evaluation(run, name)
        write_atomic(path.with_suffix(".npz"), lambda handle, arrays=arrays: np.savez_compressed(handle, **arrays))
        results[name] = write_json(path, found) and found
    for name in keys:
        discard_parts(RESULTS.evaluation(run, name))
    return results


def _check_budget(run: RunConfig, name: str) -> None:
    """Refuse an attack whose budget, after the tier's scale, is wider than the box. Raises UserError."""
    attack = resolved_attack(run, name if name in ATTACKS else feature_attack(run))
    if attack.kind == "clean" or name == "corruptions":
        return
    step = attack.step_size if attack.kind in ("pgd", "cw", "adaptive") else 0.0
    if fault := budget_fault(attack.norm, attack.epsilon, step, run.facts.pixels):
        scale = run.evaluation.budget_scale
        told = f" times evaluation.budget_scale {scale:g}" if scale != 1 else ""
        raise UserError(f"{run.id}: attacks.{name}{told}: {fault}")


def _batches(run: RunConfig, data: Dataset, n: int, device: torch.device) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    size = run.evaluation.batch_size
    for start in range(0, n, size):
        stop = min(start + size, n)
        x = to_float(data.images[start:stop].to(device)).contiguous(memory_format=torch.channels_last)
        yield start, stop, x, data.labels[start:stop].to(device)


@torch.no_grad()
def _seen(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return function(x)


def _attacked(
    function: Callable[[Tensor], Tensor], model: nn.Module, x: Tensor, y: Tensor, attack: AttackConfig, run: RunConfig,
    name: str, start: int,
) -> Tensor:  # fmt: skip
    """`function` (logits or features) of the batch under attack."""
    return _seen(function, crafting.craft(model, x, y, attack, run, seed=draw_seed(run, name, attack, start)))


def renormalised(model: ChunkedModel, run: RunConfig) -> ChunkedModel:
    """A copy whose prototypes have the radius as norm again (ledger 5). Raises UserError for a model without them."""
    if run.method != "Adv-DPNP":
        raise UserError(f"{run.id}: only Adv-DPNP has prototypes to renormalise.")
    twin = copy.deepcopy(model)
    twin.model.head.renormalise()
    return twin


def _attack_results(run: RunConfig, keys: Mapping[str, str], model: nn.Module, data: Dataset) -> dict[str, tuple]:
    """{name: (values, arrays)} of one group of attacks: accuracy (%) with its flags, mean cross-entropy at the end.

    l1 and l2 PGD also tell which share of the budget they spent on the images that withstood: one that stalls, little.
    """
    names = [*keys]
    group, n = [resolved_attack(run, name) for name in names], images_of(run, names[0], data)
    model = renormalised(model, run) if group[0].renormalise else model
    larger = _larger_budget(run, names[0], data)
    if larger:
        return {names[0]: _nested_result(run, names[0], larger, model, data, keys[names[0]])}
    if len(group) > 1:
        alone, together = passes(group)
        told = f"{together} gradient steps per image for all {len(group)}, {alone} if each were computed alone"
        print(f"{run.id} {', '.join(names)}: {told}", file=sys.stderr, flush=True)
    correct, numbers = _over_images(run, names, group, np.arange(n), model, data, digest([*keys.values()]))
    results = {}
    for k, (name, attack) in enumerate(zip(names, group, strict=True)):
        values = _values(run, attack, correct[:, k], numbers[:, k, 0], numbers[:, k, 1], model, data)
        results[name] = (values | _components(numbers[:, k, 2:], correct[:, k]), {"correct": correct[:, k]})
    return results


def _over_images(
    run: RunConfig, names: Sequence[str], group: Sequence[AttackConfig], where: np.ndarray, model: ChunkedModel,
    data: Dataset, key: str,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Flags [n, attacks] of the test images `where` [n], and [n, attacks, ...]: cross-entropy, ||x~ - x||; resumes.

    For AutoAttack there follow the tallies of a batch, in the row of its first image (see _row).
    """
    part, n, device = part_path(RESULTS.evaluation(run, names[0])), len(where), next(model.parameters()).device
    tallied = group[0].kind == "autoattack"
    columns = (len(group), 2 + (_row({}).size if tallied else 0))
    correct, numbers, first = load_part(part, key, n, len(group), columns=columns)
    chosen = Dataset(data.name, data.split, data.images[where], data.labels[where], data.sha256)
    of = " %" if n == images_of(run, names[0], data) else " % of the searched"  # a nested budget skips images
    progress, saved = Progress(f"{run.id} {', '.join(names)}", n, done=first), time.monotonic()
    for start, stop, x, y in _batches(run, chosen, n, device):
        if stop <= first:
            continue
        seed = draw_seed(run, names[0], group[0], start)
        tallies: dict[str, attacks.Tally] = {}

        def record(found: dict[str, attacks.Tally], tallies: dict = tallies, images: int = len(y)) -> None:
            tallies.update(found)
            fallen = sum(tally.broken for tally in found.values())
            if ran := [name for name, tally in found.items() if tally.searches]:
                progress.tell(f"{fallen} of {images} images fell to {', '.join(ran)}")

        path = RESULTS.evaluation(run, names[0])
        hooks = {"record": record, "keep": partial(KeptSearch, path, f"{key} {start}", after=progress.stop_when_late)}
        work = partial(measured, model, x, y, group, run, seed, hooks)
        try:
            measured_now = retry_with_smaller_chunks(model, work)
        except TimeUp:
            save_part(part, key, start, correct, numbers)
            raise
        for k, (logits, moved) in enumerate(measured_now):
            correct[start:stop, k] = is_right(logits, y, f"{run.id} {names[k]}")
            numbers[start:stop, k, 0] = F.cross_entropy(logits.double(), y, reduction="none").cpu().numpy()
            numbers[start:stop, k, 1] = moved.cpu().numpy()
        if tallied:
            numbers[start, 0, 2:] = _row(tallies)
        if stop < n and time.monotonic() - saved > SAVE_EVERY:
            saved = time.monotonic()
            save_part(part, key, stop, correct, numbers)
        try:
            shown = " ".join(f"{100 * share:.2f}" for share in correct[:stop].mean(0))
            progress.update(stop - start, f"{shown}{of} so far")
        except TimeUp:
            save_part(part, key, stop, correct, numbers)
            raise
    progress.finish(" ".join(f"{100 * share:.2f}" for share in correct.mean(0)) + of if n else "nothing to do")
    return correct, numbers


def _row(tallies: Mapping[str, attacks.Tally]) -> np.ndarray:
    """The tallies of all of AutoAttack's components as one row, NaN for those that were not asked for."""
    unasked = (np.nan,) * len(_TALLIED)
    return np.array([astuple(tallies[c]) if c in tallies else unasked for c in attacks.COMPONENTS]).ravel()


def _components(rows: np.ndarray, correct: np.ndarray) -> dict:
    """{"components": {name: accuracy (%) after it, what it did and at what cost}} of an AutoAttack with flags [n].

    rows [searched images, tallies]: _row for each batch, else zeros. Nothing for another attack.
    """
    totals = rows.sum(0).reshape(-1, len(_TALLIED))
    told = [(name, dict(zip(_TALLIED, each.tolist(), strict=True))) for name, each in zip(attacks.COMPONENTS, totals)
            if not np.isnan(each).any()]  # fmt: skip
    left, found = correct.sum() + sum(each["broken"] for _, each in told), {}
    for name, each in told:
        left -= each["broken"]
        counts = {key: int(value) for key, value in each.items() if key != "seconds"}
        accuracy = round(100 * float(left) / len(correct), 4)
        found[name] = {"accuracy": accuracy, **counts, "seconds": round(each["seconds"], 2)}
    return {"components": found} if found else {}


def _values(
    run: RunConfig, attack: AttackConfig, correct: np.ndarray, losses: np.ndarray, reached: np.ndarray,
    model: ChunkedModel, data: Dataset,
) -> dict:  # fmt: skip
    """What the JSON of an attack says of its flags [n], losses [n] and lengths [n]."""
    n = len(correct)
    values = {
        "settings": asdict(attack),
        "path": path_of(attack, run, next(model.parameters()).device),
        "images": n,
        "data_sha256": data.sha256,
        "correct": int(correct.sum()),
        "accuracy": round(100 * float(correct.mean()), 4),
        "loss": round(float(losses.mean()), 6),
        "loss_std": round(float(losses.std(ddof=1)), 6) if n > 1 else 0.0,
    }
    if attack.kind == "pgd" and attack.norm != "linf" and attack.epsilon > 0:  # median of the images that withstood
        share = float(np.median(reached[correct])) / attack.epsilon if correct.any() else None
        values["budget_used"] = None if share is None else round(share, 4)
    return values


def _nested_result(
    run: RunConfig, name: str, larger: str, model: ChunkedModel, data: Dataset, key: str
) -> tuple[dict, dict]:
    """AutoAttack at a budget within that of `larger`: searched only for images that fell there.

    A tenth of the others, drawn from the run's seed, is searched anyway. Should one of them fall, the larger
    search missed it, and every image is searched.
    """
    attack, n = resolved_attack(run, name), images_of(run, name, data)
    withstood = read_arrays(RESULTS.arrays(run, larger), "correct")["correct"][:n]
    robust = np.flatnonzero(withstood)
    draw = np.random.default_rng([run.seed, zlib.crc32(name.encode())])
    spot = np.sort(draw.choice(robust, -(-len(robust) // 10), replace=False)) if len(robust) else robust
    where = np.concatenate([spot, np.flatnonzero(~withstood)])
    found, numbers = _over_images(run, [name], [attack], where, model, data, digest([key, "nested", where.tolist()]))
    broken = int((~found[: len(spot), 0]).sum())
    nested = {"within": larger, "skipped": len(robust) - len(spot), "checked": len(spot), "broken": broken}
    if broken:
        nested["skipped"] = 0
        found, numbers = _over_images(run, [name], [attack], np.arange(n), model, data, digest([key, "all"]))
        correct = found[:, 0]
    else:
        correct = withstood.copy()
        correct[where] = found[:, 0]
    values = _values(run, attack, correct, np.zeros(n), np.zeros(n), model, data)
    del values["loss"], values["loss_std"]  # of adversarial images, which were not made for all
    return values | {"nested": nested} | _components(numbers[:, 0, 2:], correct), {"correct": correct}


def _paired_features(run: RunConfig, name: str, model: nn.Module, data: Dataset) -> dict[str, Tensor]:
    """Clean and adversarial features [N, d] and labels [N] of the first test images, on the CPU."""
    attack, n = resolved_attack(run, name), images_of(run, name, data)
    clean, adversarial = [], []
    progress = Progress(f"{run.id} features under {name}", n, stops=False)
    for start, stop, x, y in _batches(run, data, n, next(model.parameters()).device):
        x_adv_features = partial(_attacked, model.features, model, x, y, attack, run, name, start)
        adversarial.append(retry_with_smaller_chunks(model, x_adv_features).cpu())
        clean.append(retry_with_smaller_chunks(model, partial(_seen, model.features, x)).cpu())
        progress.update(stop - start)
    progress.finish()
    return {"clean": torch.cat(clean), "adv": torch.cat(adversarial), "labels": data.labels[:n]}


def feature_attack(run: RunConfig) -> str:
    """The attack behind "adversarial features": PGD-20 (Section 4.3), PGD-40 on Figure 2's MNIST runs."""
    return "pgd40_mnist" if run.block.startswith("mnist/") else "pgd20"


def _geometry_result(run: RunConfig, name: str, model: nn.Module, data: Dataset, key: str) -> tuple[dict, dict]:
    """Table 4: Eqs. (8)-(10) on clean and adversarial test features, Eqs. (11)-(12) on the centers.

    Features are what the head compares with its centers (ledger 21). Beside Eq. (10) stands the same with class means
    as centers: weights of norm 1 are no centers of features of norm 10.
    """
    attack, n = feature_attack(run), images_of(run, name, data)
    classes = len(data.labels[:n].unique())
    if classes < run.facts.classes:
        raise UserError(
            f"{run.id}: geometry needs test images of all {run.facts.classes} classes, and the first {n:,} are of "
            f"{classes}; raise evaluation.test_images."
        )
    found, centers = _paired_features(run, attack, model, data), model.centers.detach().cpu()
    labels = found["labels"]
    values = {"feature_attack": attack, "images": len(labels), "definition": GEOMETRY_DEFINITION}
    values["unit_features"] = model.model.unit_features
    for kind in ("clean", "adv"):
        features = model.model.embedding(found[kind])
        values |= {
            f"fdr_{kind}": geometry.fisher_discriminant_ratio(features, labels),
            f"fdr_as_printed_{kind}": geometry.fisher_discriminant_ratio(features, labels, normalise=False),
            f"afs_{kind}": geometry.angular_fisher_score(features, labels),
            f"scr_{kind}": geometry.separation_to_compactness(features, labels, centers),
            f"scr_means_{kind}": geometry.separation_to_compactness(
                features, labels, geometry.class_means(features, labels)
            ),
            f"distance_{kind}": geometry.distance_over_norm(features, labels, centers),
        }
    values |= {"mean_sep": geometry.mean_separation(centers), "min_sep": geometry.min_separation(centers)}
    return values | {"data_sha256": data.sha256}, {"centers": centers.numpy()}


def _features_result(run: RunConfig, name: str, model: nn.Module, data: Dataset, key: str) -> tuple[dict, dict]:
    """Figure 2: the features themselves, with labels and centers."""
    attack = feature_attack(run)
    found = _paired_features(run, attack, model, data)
    place = model.centers.device
    with torch.no_grad():
        heads = {kind: model.classify(found[kind].to(place)).argmax(1).cpu() for kind in ("clean", "adv")}
    accuracy = {f"accuracy_{kind}": 100 * float((heads[kind] == found["labels"]).float().mean()) for kind in heads}
    values = {"feature_attack": attack, "images": len(found["labels"]), **accuracy, "data_sha256": data.sha256}
    arrays = {kind: found[kind].numpy() for kind in ("clean", "adv")}
    arrays |= {"labels": found["labels"].numpy(), "centers": model.centers.detach().cpu().numpy()}
    return values, arrays


def _corruptions_result(run: RunConfig, name: str, model: nn.Module, data: Dataset, key: str) -> tuple[dict, dict]:
    """Table 5 and Figure 3: accuracy (%) on 19 corruptions at 5 severities."""
    from advdpnp.data import cifar10c  # here, because it needs scipy and nothing else does

    n, device = images_of(run, name, data), next(model.parameters()).device
    images = data.images[:n].permute(0, 2, 3, 1).numpy()
    root = data_root() if run.dataset == "cifar10" else None  # the official files are CIFAR-10's
    variants = [(corruption, severity) for corruption in cifar10c.CORRUPTIONS for severity in range(1, 6)]
    part = part_path(RESULTS.evaluation(run, name))
    correct, official, first = load_part(part, key, len(variants), n)
    progress, saved = Progress(f"{run.id} corruptions", len(variants), done=first), time.monotonic()
    for at, (corruption, severity) in enumerate(variants[first:], first):
        corrupted, labels, source = cifar10c.corrupted_test_set(
            images, data.labels[:n].numpy(), corruption, severity, root=root
        )
        official[at] = source == "official"
        pixels = torch.from_numpy(np.array(corrupted[:n])).permute(0, 3, 1, 2)
        changed = Dataset(data.name, "test", pixels, torch.from_numpy(np.array(labels[:n])).long(), "")
        for start, stop, x, y in _batches(run, changed, n, device):
            logits = retry_with_smaller_chunks(model, partial(_seen, model.forward, x))
            correct[at, start:stop] = is_right(logits, y, f"{run.id} {corruption} at severity {severity}")
        if time.monotonic() - saved > SAVE_EVERY:
            saved = time.monotonic()
            save_part(part, key, at + 1, correct, official)
        try:
            progress.update()
        except TimeUp:
            save_part(part, key, at + 1, correct, official)
            raise
    progress.finish()
    sources = (("official", official.any()), ("regenerated", not official.all()))
    correct = correct.reshape(len(cifar10c.CORRUPTIONS), 5, n)
    accuracy = np.round(100 * correct.mean(2), 4)
    an_image = 100 * correct.mean((0, 1))  # its corruptions are not independent: the interval is over images
    values = {
        "images": n,
        "source": "+".join(source for source, there in sources if there),
        "data_sha256": data.sha256,
        "accuracy": round(float(an_image.mean()), 4),
        "accuracy_std": round(float(an_image.std(ddof=1)), 4) if n > 1 else 0.0,
        "accuracies": dict(zip(cifar10c.CORRUPTIONS, accuracy.tolist(), strict=True)),
    }
    return values, {"correct": correct}


def _transfer_source(run: RunConfig) -> RunConfig | None:
    """The trained standard run whose adversarial images are transferred to this run's network, or None."""
    other = standard_of(run)
    trained = RESULTS.read_training(other, "settings_digest") if other else None
    if other is None or trained is None or not (RESULTS.run(other) / "model.pt").exists():
        return None  # `restore` brings a run back without its weights
    return other if trained["settings_digest"] == digest(other.training_settings()) else None


def _guard_result(run: RunConfig, name: str, model: nn.Module, data: Dataset, key: str) -> tuple[dict, dict]:
    """The checks of masking.py that need the model, on a few images."""
    n, attack, other = images_of(run, name, data), feature_attack(run), _transfer_source(run)
    device = next(model.parameters()).device
    x, y = to_float(data.images[:n].to(device)), data.labels[:n].to(device)
    standard = load_model(other, device=device) if other else None

    def probed() -> dict:
        surrogate = None if standard is None else ChunkedModel(standard, model.size)  # halved with the network's own
        return masking.run_probes(model, x, y, resolved_attack(run, attack), surrogate, run.seed)

    found = retry_with_smaller_chunks(model, probed)
    checks = [asdict(check) for check in masking.check_probes(found)]
    values = {"white_box": attack, "images": n, "data_sha256": data.sha256, "checks": checks}
    return values, {name: flags for name, flags in found.items() if flags is not None}


SPECIAL: dict[str, Callable] = {
    "guard": _guard_result,
    "geometry": _geometry_result,
    "features": _features_result,
    "corruptions": _corruptions_result,
}


# -------------------------------------------------------------------------------- what is on disk and still true


def _key(run: RunConfig, name: str, data: Dataset, model_sha256: str) -> str:
    """Key of a result: digest of model, images and attack, the only things that change a number."""
    what = {"name": name, "images": images_of(run, name, data), "data": data.sha256, "model": model_sha256}
    if name == "corruptions":
        from advdpnp.data import cifar10c

        return digest(what | {"official": run.dataset == "cifar10" and cifar10c.has_official(data_root())})
    attack = resolved_attack(run, name if name in ATTACKS else feature_attack(run))
    if name == "geometry":
        what["definition"] = GEOMETRY_DEFINITION
    if name == "guard":
        other = _transfer_source(run)
        surrogate = read_json(RESULTS.trained(other), "model_sha256")["model_sha256"] if other else None
        what |= masking.cache_key() | {"seed": run.seed, "surrogate": surrogate}
    elif attack.random_start or attack.kind == "autoattack":
        what |= {"batch_size": run.evaluation.batch_size, "seed": run.seed}
        if attack.random_start:
            what["starts"] = "nested"  # drawn by the evaluation's name before, so that 40 steps did not contain 20
        if larger := _larger_budget(run, name, data):
            what["within"] = larger
    if is_fast(run, attack) and attack.kind != "clean":
        what |= {"fast": True}  # another rounding: an image on the boundary may fall the other way
    return digest(what | {"attack": asdict(attack)})
