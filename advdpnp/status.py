"""What a tier needs, what of it is done, and how long the rest would take here. `status` loads no torch."""

from collections import Counter, defaultdict
from dataclasses import asdict
from statistics import fmean

from advdpnp import protocol
from advdpnp.config import GEOMETRY_DEFINITION, RunConfig, digest, resolved_attack
from advdpnp.progress import duration, paint
from advdpnp.results import eval_path, held, read_json, run_dir
from advdpnp.tiers import Tier, load_tier

# Forward-and-backward passes of one training step besides the PGD steps: images that reach the loss.
UPDATES = {
    "ST": 1, "AT": 1, "AT_HE": 1, "TRADES": 2, "MART": 2, "OC": 2, "PCL": 2, "HAT": 3, "FSR": 1, "DIO": 1, "IKL": 2,
    "Adv-DPNP": 2,
}  # fmt: skip


def epochs_done(run: RunConfig) -> int:
    """Finished epochs of a training, as its log says."""
    log = run_dir(run) / "log.csv"
    return max(0, len(log.read_bytes().splitlines()) - 1) if log.exists() else 0


def run_state(run: RunConfig) -> str:
    """'done', 'running ...', 'stale' (trained under other settings), '7/110 epochs', or 'missing'."""
    epochs, holder = epochs_done(run), held(run_dir(run))
    if holder:
        return f"running, {epochs}/{run.optim.epochs} epochs, {holder}"
    done = run_dir(run) / "train.json"
    if done.exists():
        made = read_json(done, "settings_digest")["settings_digest"]
        return "done" if made == digest(run.training_settings()) else "stale"
    return f"{epochs}/{run.optim.epochs} epochs" if epochs else "missing"


def eval_state(run: RunConfig, name: str) -> str:
    """'done', 'running', 'stale' (of other weights, another attack or definition than now), or 'missing'."""
    path = eval_path(run, name)
    if held(path):
        return "running"
    if not path.exists():
        return "missing"
    found, trained = read_json(path, "model_sha256"), run_dir(run) / "train.json"
    other_weights = trained.exists() and read_json(trained, "model_sha256")["model_sha256"] != found["model_sha256"]
    other_attack = name in run.attacks and found.get("settings") != asdict(resolved_attack(run, name))
    other_definition = name == "geometry" and found.get("definition", 1) != GEOMETRY_DEFINITION
    return "stale" if other_weights or other_attack or other_definition else "done"


def status(tier_name: str) -> str:
    """What is done, running, stale and missing of a tier's trainings, tables and figures, and the hours left."""
    tier = load_tier(tier_name)
    runs = protocol.all_runs(tier)
    states = {name: run_state(run) for name, run in runs.items()}
    lines = [f"tier {tier.name}: {tier.label}", f"{len(runs)} trainings:"]
    lines += [f"  {name:<44}{paint(state, state.split(',')[0])}" for name, state in states.items()]
    lines.append("evaluations:")
    pairs: dict[tuple[str, str], str] = {}
    for name in protocol.built():
        wanted = protocol.wanted(tier, name)
        pairs |= {(run.id, e): eval_state(run, e) for run, e in wanted if (run.id, e) not in pairs}
        count = Counter(pairs[run.id, e] for run, e in wanted)
        more = "".join(paint(f", {count[state]} {state}", state) for state in ("running", "stale") if count[state])
        if wanted:
            complete = "done" if count["done"] == len(wanted) else "missing" if not count["done"] else ""
            shown = paint(f"{count['done']}/{len(wanted)}", complete)
            lines.append(f"  {name:<44}{shown}{more}")
    missing = [name for name in protocol.ARTEFACTS if name not in protocol.built()]
    if missing:
        lines.append(f"no notebook yet: {', '.join(missing)}")
    return "\n".join([*lines, *time_left(runs, states, pairs)])


def time_left(runs: dict[str, RunConfig], states: dict[str, str], pairs: dict[tuple[str, str], str]) -> list[str]:
    """A line for each hardware that finished something of this tier: what is left would take so long there.

    Trainings are scaled by passes and network; an evaluation counts as the mean of its like on the same network. What
    has no measured like is counted, not guessed.
    """
    speed: dict[tuple, list[float]] = defaultdict(list)  # (device, network) -> seconds a pass
    took: dict[tuple, list[float]] = defaultdict(list)  # (device, network, evaluation) -> seconds
    for name, run in runs.items():
        done = run_dir(run) / "train.json"
        if done.exists() and states[name] == "done":
            t = read_json(done)
            speed[t["provenance"]["device"], network(run)].append(t["seconds"] / passes(run))
    for (name, evaluation), state in pairs.items():
        if state == "done" and name in runs:
            e = read_json(eval_path(runs[name], evaluation))
            took[e["provenance"]["device"], network(runs[name]), evaluation].append(e["seconds"])
    kept = {n: 0 if s == "stale" else epochs_done(runs[n]) / runs[n].optim.epochs for n, s in states.items()}
    train = {n: 1 - kept[n] for n, s in states.items() if s != "done"}
    attack = [pair for pair, state in pairs.items() if state != "done" and pair[0] in runs]
    if not train and not attack:
        return ["nothing is left to do"]
    lines = []
    for device in dict.fromkeys(key[0] for key in (*speed, *took)):
        rate = {n: speed[device, network(runs[n])] for n in train if (device, network(runs[n])) in speed}
        like = [took[key] for n, e in attack if (key := (device, network(runs[n]), e)) in took]
        seconds = sum(fmean(rate[n]) * passes(runs[n]) * share for n, share in train.items() if n in rate)
        unknown = len(train) - len(rate) + len(attack) - len(like)
        text = f"left, on {device}: about {duration(seconds + sum(map(fmean, like)))}, one job after the other"
        lines.append(text + (f"; {unknown} jobs without a measured like are not in it" if unknown else ""))
    left = f"left: {len(train)} trainings, {len(attack)} evaluations"
    return [left, *lines] if lines else [f"{left}; hours: `python -m advdpnp plan --measure`, until one is done"]


def network(run: RunConfig) -> tuple:
    """What decides the seconds of a pass: backbone, width, channels, pixels."""
    return run.backbone, run.model.width, run.facts.channels, run.facts.size


def passes(run: RunConfig) -> float:
    """Forward-and-backward passes of a whole training, in images."""
    n = run.data.train_images or run.facts.train_images
    steps = 0 if run.method == "ST" else run.craft.steps
    return n * run.optim.epochs * (steps + UPDATES[run.method])


def seconds_per_pass(run: RunConfig) -> float:
    """One forward and backward pass of the run's network, in seconds an image, timed on this machine just now."""
    import time

    import torch

    from advdpnp.defenses.at import AdversarialTraining
    from advdpnp.train import pick_device, pick_precision

    device = pick_device()
    bf16 = pick_precision(run.optim.precision, device) == "bf16"
    model = AdversarialTraining.build(run).to(device, memory_format=torch.channels_last)
    batch = 8 if device.type == "cpu" else run.optim.batch_size
    x = torch.rand(batch, run.facts.channels, run.facts.size, run.facts.size, device=device)

    def step() -> float:
        begin = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = model(x).square().mean()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    return min(step() for _ in range(3)) / batch


def training_hours(tier: Tier, runs: dict[str, RunConfig]) -> float:
    """Rough hours of all trainings here, one after the other, from a step of each network timed now."""
    speed: dict[tuple, float] = {}
    total = 0.0
    for run in runs.values():
        kind = network(run)
        if kind not in speed:
            speed[kind] = seconds_per_pass(run)
        total += passes(run) * speed[kind]
    return total / 3600


def plan(tier_name: str, *, measure: bool = False) -> str:
    """The trainings and evaluations of a tier; with `measure`, the hours that the trainings would take here."""
    tier = load_tier(tier_name)
    runs = protocol.all_runs(tier)
    pairs = {(run.id, name) for item in protocol.built() for run, name in protocol.wanted(tier, item)}
    lines = [f"tier {tier.name} ({tier.label}): {len(runs)} trainings, {len(pairs)} evaluations"]
    for run in runs.values():
        lines.append(f"  {run.id:<44}{run.optim.epochs} epochs, {passes(run):.2g} passes")
    if measure:
        lines.append(f"all trainings, one after the other, on this machine: about {hours(tier, runs)}")
    return "\n".join(lines)


def hours(tier: Tier, runs: dict[str, RunConfig]) -> str:
    """`training_hours` as people read it: '3h20m', '12d04h'."""
    return duration(3600 * training_hours(tier, runs))
