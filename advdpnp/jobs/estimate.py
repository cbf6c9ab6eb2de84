"""How long: passes through a network, seconds of one, hours of a tier."""

from advdpnp.config import RunConfig, facts, load_tier
from advdpnp.paper import artefacts
from advdpnp.progress import duration


def network(run: RunConfig) -> tuple:
    """What decides the seconds of a pass: backbone, width, channels, pixels."""
    return run.backbone, run.model.width, run.facts.channels, run.facts.size


def passes(run: RunConfig) -> float:
    """Forward-and-backward passes of a whole training, in images."""
    n = run.data.train_images or run.facts.train_images
    steps = 0 if run.method == "ST" else run.craft.steps
    return n * run.optim.epochs * (steps + facts(run.method).updates)


def seconds_per_pass(run: RunConfig) -> float:
    """One forward and backward pass of the run's network, in seconds per image, timed on this machine just now."""
    import time

    import torch

    from advdpnp.defenses.at import AdversarialTraining
    from advdpnp.hardware import pick_device, pick_precision

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


def training_hours(runs: dict[str, RunConfig]) -> float:
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
    runs = artefacts.all_runs(tier)
    pairs = {
        (run.id, name) for item in artefacts.with_notebook() for run, name in artefacts.needed_evaluations(tier, item)
    }
    lines = [f"tier {tier.name} ({tier.label}): {len(runs)} trainings, {len(pairs)} evaluations"]
    for run in runs.values():
        lines.append(f"  {run.id:<44}{run.optim.epochs} epochs, {passes(run):.2g} passes")
    if measure:
        lines.append(f"all trainings, one after the other, on this machine: about {hours(runs)}")
    return "\n".join(lines)


def hours(runs: dict[str, RunConfig]) -> str:
    """`training_hours` as people read it: '3h20m', '12d04h'."""
    return duration(3600 * training_hours(runs))
