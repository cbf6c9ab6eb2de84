"""One training step of AT and Adv-DPNP, ours against the plain textbook loop, on this machine.

The textbook loop is what the baselines' scripts do: float32, NCHW, torch.optim.SGD, batch norm in evaluation mode while
crafting. Both craft with PGD-10 on the same random images; rounds alternate, so that a busy machine slows both down.
Prints a line a method and writes results/benchmarks.json: medians, spread and ratio. Takes a minute on two cores.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from advdpnp.config import slug
from advdpnp.losses import adv_dpnp_loss
from advdpnp.results import provenance, results_root, write_json
from advdpnp.tiers import parse_tier
from advdpnp.train import build_defense, build_optimizer, pick_device, pick_precision


def run_of(method: str, width: int, batch: int):
    settings = {"model": {"width": width}, "optim": {"batch_size": batch}}
    tier = parse_tier(
        "bench", {"label": "benchmark", "defaults": settings, "blocks": {"cifar10/resnet18": None}}, "bench"
    )
    return tier.run("cifar10/resnet18", method)


def ours(run, device):
    """Our step: channels_last and bf16 where the hardware has it."""
    defense = build_defense(run).to(device, memory_format=torch.channels_last).train()
    optimizer, bf16 = build_optimizer(defense, run), pick_precision("auto", device) == "bf16"

    def step(x, y):
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss, _ = defense.loss(x, defense.craft(x, y), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def textbook(run, device):
    """The same mathematics as most scripts write it."""
    model = build_defense(run).model.to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    epsilon, step_size, h = run.craft.epsilon, run.craft.step_size, run.hyper

    def step(x, y):
        model.eval()
        x_adv = (x + torch.empty_like(x).uniform_(-epsilon, epsilon)).clamp(0, 1)
        for _ in range(run.craft.steps):
            x_adv.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(x_adv), y), x_adv)
            x_adv = x_adv.detach() + step_size * gradient.sign()
            x_adv = torch.min(torch.max(x_adv, x - epsilon), x + epsilon).clamp(0, 1)
        model.train()
        if run.method == "AT":
            loss = F.cross_entropy(model(x_adv), y)
        else:
            weights = {"lambda_dpp": h.lambda_dpp, "lambda_dnp": h.lambda_dnp, "lambda_dfa": h.lambda_dfa}
            clean, adversarial = model.features(x), model.features(x_adv)
            loss = adv_dpnp_loss(clean, adversarial, model.centers, y, radius=h.radius, **weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def timed(step, x, y) -> float:
    begin = time.perf_counter()
    step(x, y)
    if x.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=16, help="of ResNet-18's first stage (the paper's is 64)")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    device = pick_device()
    x, y = torch.rand(args.batch, 3, 32, 32, device=device), torch.randint(10, (args.batch,), device=device)
    results = {"width": args.width, "batch": args.batch, "rounds": args.rounds, "provenance": provenance(device)}
    for method in ("AT", "Adv-DPNP"):
        run = run_of(method, args.width, args.batch)
        steps = {"ours": ours(run, device), "textbook": textbook(run, device)}
        for step in steps.values():
            timed(step, x, y)
        times = {name: [] for name in steps}
        for _ in range(args.rounds):
            for name, step in steps.items():
                times[name].append(timed(step, x, y))
        median = {name: statistics.median(values) for name, values in times.items()}
        ratio = median["textbook"] / median["ours"]
        results[slug(method)] = {"seconds": times, "median": median, "ratio": round(ratio, 2)}
        spread = {name: f"{min(v):.2f}-{max(v):.2f} s" for name, v in times.items()}
        print(f"{method}: ours {median['ours']:.2f} s ({spread['ours']}), textbook {median['textbook']:.2f} s "
              f"({spread['textbook']}): {ratio:.2f} times as fast", flush=True)  # fmt: skip
    print(write_json(results_root() / "benchmarks.json", results))


if __name__ == "__main__":
    main()
