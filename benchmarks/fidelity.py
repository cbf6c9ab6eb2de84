"""Do the speed-ups change what is learned? Each run is trained twice per seed, fast and plain, and compared.

Fast: bfloat16, batch norm folded while crafting and under attack. Plain: float32, nothing folded. Seeds pair the two
(same first weights, same order of images), and the interval of the mean difference is Student's over the seeds. Runs
are kept in results/<tier>.fidelity/, so that more seeds go on from fewer; a run that the tier itself trained fast is
taken from there.
"""

import statistics
from dataclasses import replace

import torch
from scipy.stats import t

from advdpnp.config import RunConfig, Tier, load_tier
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate
from advdpnp.store import RESULTS
from advdpnp.train import fit

METHODS = ("AT", "TRADES", "Adv-DPNP")
ATTACKS = ("clean", "pgd20")
BLOCK = "cifar10/resnet18"


def twin(run: RunConfig, fast: bool) -> RunConfig:
    """The run with all means of speed on, or with all of them off."""
    return replace(
        run,
        tier=f"{run.tier}.fidelity",
        variant="fast" if fast else "plain",
        optim=replace(run.optim, precision="bf16" if fast else "fp32", compile="off"),
        craft=replace(run.craft, fold_batch_norm=fast),
        evaluation=replace(run.evaluation, fast=fast),
    )


def contestants(tier: Tier, method: str, seed: int) -> dict[str, RunConfig]:
    """{'fast': run, 'plain': run}; fast is the tier's own run where that was trained with all means of speed."""
    own = tier.run(BLOCK, method, seed)
    trained = RESULTS.read_training(own, "precision")
    fast = trained is not None and trained["precision"] == "bf16"
    fast = fast and own.craft.fold_batch_norm and own.evaluation.fast
    return {"fast": own if fast else twin(own, fast=True), "plain": twin(own, fast=False)}


def outcome(run: RunConfig, device: torch.device) -> dict[str, float]:
    """{attack: accuracy in percent} of a run, trained if it is not."""
    if not RESULTS.trained(run).exists():
        fit(run, device=device)
    return {name: result["accuracy"] for name, result in evaluate(run, *ATTACKS, device=str(device)).items()}


def summary(fast: list[float], plain: list[float]) -> dict:
    """Means and standard deviations over seeds, the mean difference with its 95 % interval, and whether it covers 0."""
    differences = [a - b for a, b in zip(fast, plain, strict=True)]
    mean, n = statistics.mean(differences), len(differences)
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(differences) / n**0.5
    return {
        "fast": [round(statistics.mean(fast), 2), round(statistics.stdev(fast), 2)],
        "plain": [round(statistics.mean(plain), 2), round(statistics.stdev(plain), 2)],
        "difference": round(mean, 2),
        "interval": [round(mean - half, 2), round(mean + half, 2)],
        "within_noise": abs(mean) <= half,
    }


def together(values: dict, attack: str) -> dict:
    """The summary of one attack over the seeds of all methods; only its difference means something."""
    fast, plain = ([one[attack] for sides in values.values() for one in sides[side]] for side in ("fast", "plain"))
    return summary(fast, plain)


def table(found: dict) -> str:
    """The summaries as a Markdown table, accuracies in percent; last, each attack's difference over all methods."""
    rows = ["| method | attack | fast | plain | fast - plain, 95 % interval |", "|---|---|---|---|---|"]
    for method in found["values"]:
        for attack, row in found[method].items():
            sides = " | ".join("{:.1f} ± {:.1f}".format(*row[side]) for side in ("fast", "plain"))
            low, high = row["interval"]
            rows.append(f"| {method} | {attack} | {sides} | {row['difference']:+.1f} [{low:+.1f}, {high:+.1f}] |")
    for attack in ATTACKS:
        row = together(found["values"], attack)
        low, high = row["interval"]
        rows.append(f"| together | {attack} | | | {row['difference']:+.1f} [{low:+.1f}, {high:+.1f}] |")
    return "\n".join(rows)


def measure(args, device: torch.device) -> dict:
    """{tier, label, seeds, values: every accuracy, method: {attack: summary}}. Raises UserError for one seed."""
    if args.seeds < 2:
        raise UserError("fidelity needs --seeds 2 or more: one seed has no spread.")
    tier = load_tier(args.tier)
    values: dict = {}
    found: dict = {"tier": tier.name, "label": tier.label, "seeds": args.seeds, "values": values}
    for method in args.methods or METHODS:
        sides: dict = {"fast": [], "plain": []}
        for seed in range(args.seeds):
            for side, run in contestants(tier, method, seed).items():
                sides[side].append(outcome(run, device))
        values[method] = sides
        found[method] = {name: summary(*([a[name] for a in sides[side]] for side in sides)) for name in ATTACKS}
    print(f"{tier.label}, {args.seeds} seeds", table(found), sep="\n", flush=True)
    return found
