"""How long: operations of a training, hours of a tier by kind of hardware, seconds of a step timed here."""

from collections.abc import Iterable
from statistics import median

from advdpnp.config import RunConfig, Tier, facts, load_tier
from advdpnp.markdown import markdown_table
from advdpnp.paper import artefacts
from advdpnp.progress import duration
from advdpnp.report.costs import of_all, seconds_of
from advdpnp.store import Store

# GFLOP of one forward pass of one image at the paper's width, that width, and pixels per side; a test counts them.
FORWARD = {"resnet18": (1.11, 64, 32), "wrn34_10": (13.3, 160, 32), "lenetspp": (0.162, 32, 28)}

# TFLOP/s that a training sustains, from and to. The CPU's was measured (published/short), on a busy machine and on a
# quiet one. A GPU's is a twentieth of its bfloat16 peak, as in ordinary loops over 32x32 images, to a quarter; for the
# T4, which has none, of its float32 peak a fifth to a half. No GPU has been measured.
SUSTAINED = {
    "one CPU core with AVX512-BF16": (0.15, 0.3),
    "NVIDIA T4": (1.6, 4.0),
    "RTX 4090": (8.0, 40.0),
    "A100": (16.0, 78.0),
    "H100": (49.0, 247.0),
}


def network(run: RunConfig) -> tuple:
    """What decides the seconds of a pass: backbone, width, channels, pixels."""
    return run.backbone, run.model.width, run.facts.channels, run.facts.size


def forward_gflop(run: RunConfig) -> float:
    """GFLOP of one image through the run's network: quadratic in width and in pixels per side."""
    gflop, width, size = FORWARD[run.backbone]
    return gflop * ((run.model.width or width) / width) ** 2 * (run.facts.size / size) ** 2


def steps(run: RunConfig) -> int:
    """PGD steps per training image."""
    return 0 if run.method == "ST" else run.craft.steps


def passes(run: RunConfig) -> float:
    """Forward-and-backward passes of a whole training, in images."""
    n = run.data.train_images or run.facts.train_images
    return n * run.optim.epochs * (steps(run) + facts(run.method).updates)


def training_pflop(run: RunConfig) -> float:
    """PFLOP of a training: a PGD step needs no gradient of the weights, two forward passes' worth; an update three."""
    n = run.data.train_images or run.facts.train_images
    forwards = 2 * steps(run) + 3 * facts(run.method).updates
    return n * run.optim.epochs * forwards * forward_gflop(run) / 1e6


def by_hardware(runs: Iterable[RunConfig]) -> list[str]:
    """Hours of the trainings on each kind of hardware, one after the other, as estimated from operations alone."""
    runs = list(runs)
    pflop = sum(map(training_pflop, runs))
    if pflop < 0.1:  # starting processes and loading data take longer
        return ["trainings alone: minutes on any machine"]
    narrow = any(forward_gflop(run) < FORWARD[run.backbone][0] / 2 for run in runs)
    lines = ["trainings alone, one after the other, estimated from their operations and not measured:"]
    for name in SUSTAINED:
        if "CPU" in name or not narrow:
            lines.append(f"  {name:<32}about {training_hours_on(name, runs)}")
    return [*lines, "  a GPU                           less; networks this narrow do not fill one"] if narrow else lines


def training_hours_on(hardware: str, runs: Iterable[RunConfig]) -> str:
    """'13 hours to 2.8 days', '34 to 85 days': operations over what the hardware sustains, from and to."""
    pflop = sum(map(training_pflop, runs))
    least, most = (rough(1000 * pflop / rate) for rate in reversed(SUSTAINED[hardware]))
    number, unit = least.split(maxsplit=1)
    return most if least == most else f"{number if most.endswith(unit) else least} to {most}"


def rough(seconds: float) -> str:
    """Two digits, as an estimate deserves: '40 minutes', '13 hours', '3.4 days'."""
    for unit, size, limit in (("minutes", 60, 7200), ("hours", 3600, 48 * 3600), ("days", 86400, float("inf"))):
        if seconds < limit:
            return f"{float(f'{seconds / size:.2g}'):g} {unit}"
    return "for ever"


def seconds_per_pass(run: RunConfig) -> float:
    """One forward and backward pass of the run's network, in seconds per image, timed on this machine just now."""
    import time

    import torch

    from advdpnp.defenses.at import AdversarialTraining
    from advdpnp.hardware import pick_device, pick_memory_format, pick_precision

    device = pick_device()
    bf16 = pick_precision(run.optim.precision, device) == "bf16"
    model = AdversarialTraining.build(run)
    layout = pick_memory_format(model, device)
    model = model.to(device, memory_format=layout)
    batch = 8 if device.type == "cpu" else run.optim.batch_size
    x = torch.rand(batch, run.facts.channels, run.facts.size, run.facts.size, device=device)
    x = x.contiguous(memory_format=layout)

    def step() -> float:
        begin = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = model(x).square().mean()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    return min(step() for _ in range(3)) / batch


def seconds_here(runs: Iterable[RunConfig]) -> dict[str, float]:
    """{run id: rough seconds of its training here}, from a step of each network timed now."""
    speed: dict[tuple, float] = {}
    for run in runs:
        if (kind := network(run)) not in speed:
            speed[kind] = seconds_per_pass(run)
    return {run.id: passes(run) * speed[network(run)] for run in runs}


def plan(tier_name: str, *, measure: bool = False) -> str:
    """The trainings and evaluations of a tier; with `measure`, how long each training would take here."""
    tier = load_tier(tier_name)
    runs = artefacts.all_runs(tier)
    pairs = {
        (run.id, name) for item in artefacts.with_notebook() for run, name in artefacts.needed_evaluations(tier, item)
    }
    lines = [f"tier {tier.name} ({tier.label}): {len(runs)} trainings, {len(pairs):,} evaluations"]
    here = seconds_here(runs.values()) if measure else {}
    longest = max(map(len, runs), default=0)
    for run in runs.values():
        images = run.data.train_images or run.facts.train_images
        passed = steps(run) + facts(run.method).updates
        line = f"  {run.id:<{longest}}  {run.optim.epochs} epochs of {images:,} images, {passed} passes per image"
        lines.append(line + (f", about {duration(here[run.id])}" if measure else ""))
    if measure:
        lines.append(f"all trainings, one after the other, on this machine: about {duration(sum(here.values()))}")
    elif runs:
        lines += [
            *by_hardware(runs.values()),
            f"on this machine: `plan --tier {tier.name} --measure` times a step of each network",
        ]
    return "\n".join(lines)


def papers_trainings() -> str:
    """'13 hours to 2.8 days': the trainings of the paper's tier on one H100, by their operations."""
    return training_hours_on("H100", artefacts.all_runs(load_tier("paper")).values())


def guide(tier: Tier, store: Store) -> str:
    """How long a published tier took on the machine that measured it, and the paper's, estimated, as a table."""
    trained, evaluated = seconds_of(tier, store)
    networks = artefacts.all_runs(tier).values()
    robust = [seconds for run in networks if run.backbone == "resnet18" and (seconds := trained.get(run.id))]
    own = evaluated["cifar10-resnet18-adv_dpnp-s0"]
    wall = "wall time on one core, some of it beside other work"
    rows = [
        ("a training of the short tier, ResNet-18 (median)", rough(median(robust)), wall),
        ("all attacks of all tables and figures on one network, Adv-DPNP", rough(own), wall),
        (f"the short tier: {len(trained)} trainings", rough(sum(trained.values())), "the same, summed"),
        ("the short tier: their attacks", rough(sum(evaluated.values())), "the same, summed"),
        ("the paper's trainings", papers_trainings(), "estimated from operations, one H100"),
    ]
    return markdown_table(["what", "takes", "how it is known"], rows)


def tiers(tier: Tier, store: Store) -> str:
    """What each tier needs, as the README says it: the published one's time as measured, the paper's as estimated."""
    trained, evaluated = seconds_of(tier, store)
    took = sum(trained.values()) + sum(evaluated.values())
    said = f"about {rough(took)} of one core for {of_all(tier, trained)}"
    paper = f"trainings {papers_trainings()} on an H100, estimated and not measured; attacks besides"
    rows = [
        ("`demo`", "8x8 digits, included", "any laptop", "minutes"),
        (f"`{tier.name}`", "CIFAR-10, MNIST", "two CPU cores", said),
        ("`medium`", "CIFAR-10", "two CPU cores", "days"),
        ("`paper`", "CIFAR-10, CIFAR-100, SVHN, MNIST", "one GPU", paper),
    ]
    return markdown_table(["tier", "data", "hardware", "time"], rows)
