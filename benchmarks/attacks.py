"""PGD-20 and AutoAttack, ours against the plain loop and the official package, on the same network and images.

Ours is evaluation's path: batch norm folded, AutoAttack's search on a surrogate. Both are counted by the float32
network; `difference` is ours minus the official robust accuracy in points: more than +0.2 would mean a weaker attack.
"""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdpnp.config import RunConfig, load_tier, resolve, resolved_attack
from advdpnp.data import load, to_float
from advdpnp.evaluate.crafting import craft
from advdpnp.store import RESULTS, read_json
from advdpnp.train import load_model
from benchmarks.reference import third_party_resnet18
from benchmarks.steps import build, plain_pgd
from benchmarks.timing import interleaved, line


def network(run_dir: Path | None, device: torch.device, reference: bool = False) -> tuple[nn.Module, RunConfig, str]:
    """The trained network of a run's folder, else the demo's, else an untrained one; and which it is, in words.

    reference: the ResNet-18 of pyautoattack's wheel, under the attacks of the paper's protocol.
    """
    if reference:
        model = third_party_resnet18().to(device)
        return model, resolve(load_tier("paper"), "cifar10-resnet18-at-s0"), "pyautoattack's ResNet-18 for CIFAR-10"
    demo = resolve("demo", "digits-resnet18-at-s0")
    if run_dir is None and RESULTS.trained(demo).exists():
        run_dir = RESULTS.run(demo)
    if run_dir is not None:
        about = read_json(run_dir / "train.json", "run", "tier")
        run = resolve(load_tier(about["tier"]), about["run"])
        return load_model(run, run_dir, device), run, f"{run.id} of tier {run.tier}"
    model = build(demo).model.to(device, memory_format=torch.channels_last).eval()
    return model, demo, "an untrained network (attacks on it end early: no measure of AutoAttack's time)"


def plain_pgd20(model: nn.Module, x: Tensor, y: Tensor, run: RunConfig) -> Tensor:
    attack = resolved_attack(run, "pgd20")
    start = bool(attack.random_start)
    return plain_pgd(
        lambda x_adv: F.cross_entropy(model(x_adv), y), x, attack.epsilon, attack.step_size, attack.steps, start
    )


def official_autoattack(model: nn.Module, x: Tensor, y: Tensor, run: RunConfig) -> Tensor:
    """The package alone, its standard ensemble."""
    from pyautoattack import AutoAttack

    epsilon = resolved_attack(run, "aa").epsilon
    adversary = AutoAttack(model, eps=epsilon, norm="Linf", version="standard", seed=0, device=x.device)
    return adversary.run_standard_evaluation(x, y, batch_size=run.evaluation.batch_size)[0]


@torch.no_grad()
def robust_accuracy(model: nn.Module, x_adv: Tensor, y: Tensor) -> float:
    return round(100 * float((model(x_adv).argmax(1) == y).float().mean()), 4)


def duel(name: str, model: nn.Module, run: RunConfig, x: Tensor, y: Tensor, rounds: int) -> dict:
    """Times of one attack ('pgd20' or 'aa'), ours and official, and the robust accuracy of the last round of each."""
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format).eval()
    theirs = {"pgd20": plain_pgd20, "aa": official_autoattack}[name]
    fast_x, x = x.contiguous(memory_format=torch.channels_last), x.contiguous()
    made: dict[str, Tensor] = {}

    def ours() -> None:
        made["ours"] = craft(model, fast_x, y, resolved_attack(run, name), run, seed=0)

    def official() -> None:
        torch.manual_seed(0)
        made["official"] = theirs(plain, x, y, run)

    found = interleaved({"ours": ours, "official": official}, rounds, warm=name == "pgd20")
    accuracy = {who: robust_accuracy(plain, images.contiguous(), y) for who, images in made.items()}
    return found | {"robust": accuracy, "difference": round(accuracy["ours"] - accuracy["official"], 4)}


def measure(args, device: torch.device) -> dict:
    """{'model', 'images', 'pgd20': ..., 'aa': ...}"""
    model, run, words = network(args.run_dir, device, args.reference)
    data = load(run.dataset, "test")
    n = args.images or 128
    x, y = to_float(data.images[:n]).to(device), data.labels[:n].to(device)
    print(f"attacks on {words}, {len(y)} images", flush=True)
    found: dict = {"model": words, "images": len(y), "clean": robust_accuracy(model, x, y)}
    for name, rounds in (("pgd20", args.rounds), ("aa", 1 if args.quick else args.rounds)):
        found[name] = duel(name, model, run, x, y, rounds)
        robust = found[name]["robust"]
        print(line(name, found[name]), f"(robust: {robust['ours']:g} % and {robust['official']:g} %)", flush=True)
    return found
