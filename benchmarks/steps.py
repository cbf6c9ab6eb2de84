"""One training step of each defense, ours against the plain textbook loop.

Ours is what advdpnp/train.py does. The textbook loop is what the official scripts write: float32, eager, NCHW, batch
norm not folded, weights not frozen while crafting, and for TRADES, HAT and IKL the clean images forwarded again in
every step of crafting. Losses and networks are the same; only the way to them differs.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from advdpnp.config import METHODS, RunConfig, parse_tier
from advdpnp.defenses import DEFENSES
from advdpnp.defenses.base import Defense
from advdpnp.hardware import pick_memory_format, pick_precision, seeded
from advdpnp.train import build_optimizer, compile_backbone
from benchmarks.timing import interleaved, line


def run_of(method: str, width: int, batch: int, steps: int = 10) -> RunConfig:
    """The paper's settings for CIFAR-10 and ResNet-18, with another width, batch and number of PGD steps."""
    settings = {"model": {"width": width}, "optim": {"batch_size": batch}, "craft": {"steps": steps}}
    blocks = {"cifar10/resnet18": None}
    tier = parse_tier("bench", {"label": "benchmark", "defaults": settings, "blocks": blocks}, "bench")
    return tier.run("cifar10/resnet18", method)


def build(run: RunConfig) -> Defense:
    """The run's defense, untrained; HAT's standard network is untrained too, which costs the same."""
    with seeded(torch.device("cpu"), run.seed, -1):
        helper = DEFENSES["ST"].build(run) if run.method == "HAT" else None
        return DEFENSES[run.method](run, helper)


def random_batch(batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images [B, 3, 32, 32] in [0, 1] and labels [B]."""
    return torch.rand(batch, 3, 32, 32, device=device), torch.randint(10, (batch,), device=device)


def ours(run: RunConfig, device: torch.device, *, compiled: str = "off") -> Callable[[Tensor, Tensor], Tensor]:
    """A step as train_epoch takes it; returns the loss. `compiled`: as optim.compile, on or graphs."""
    defense = build(run)
    layout = pick_memory_format(defense, device)
    defense = defense.to(device, memory_format=layout).train()
    optimizer, bf16 = build_optimizer(defense, run), pick_precision(run.optim.precision, device) == "bf16"
    defense.start_epoch(0)
    compile_backbone(defense, compiled)

    def step(x: Tensor, y: Tensor) -> Tensor:
        x = x.contiguous(memory_format=layout)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss, _ = defense.loss(x, defense.craft(x, y), y)
        return _update(defense, optimizer, loss)

    return step


def textbook(run: RunConfig, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """The same mathematics as most scripts write it; returns the loss."""
    defense = build(run).to(device).train()
    optimizer = build_optimizer(defense, run)
    defense.start_epoch(0)

    def step(x: Tensor, y: Tensor) -> Tensor:
        loss, _ = defense.loss(x, plain_craft(defense, x, y), y)
        return _update(defense, optimizer, loss)

    return step


def _update(defense: Defense, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    defense.before_step()
    optimizer.step()
    defense.after_step()
    return loss.detach()


def plain_craft(defense: Defense, x: Tensor, y: Tensor) -> Tensor:
    """x~ [B, C, H, W] of a defense by the plain loop; ST crafts nothing."""
    if defense.run.method == "ST":
        return x

    def objective(x_adv: Tensor) -> Tensor:
        loss = defense.inner_loss(x, y)  # anew in every step: the KL methods forward the clean images in it
        return F.cross_entropy(defense.model(x_adv), y) if loss == "ce" else loss(defense.model, x_adv, y).mean()

    defense.eval()
    settings = defense.run.craft
    x_adv = plain_pgd(objective, x, settings.epsilon, settings.step_size, settings.steps, defense.start)
    defense.train()
    return x_adv


def plain_pgd(
    objective: Callable[[Tensor], Tensor], x: Tensor, epsilon: float, step_size: float, steps: int, start: bool | str
) -> Tensor:
    """linf PGD on a scalar objective of x~, as the scripts write it."""
    noise = torch.zeros_like(x)
    if start:
        noise = 0.001 * torch.randn_like(x) if start == "normal" else noise.uniform_(-epsilon, epsilon)
    x_adv = (x + noise).clamp(0, 1)
    for _ in range(steps):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(objective(x_adv), x_adv)
        x_adv = x_adv.detach() + step_size * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - epsilon), x + epsilon).clamp(0, 1)
    return x_adv.detach()


def duel(run: RunConfig, device: torch.device, rounds: int) -> dict:
    """Seconds of one step of a run, ours and textbook."""
    x, y = random_batch(run.optim.batch_size, device)
    contestants = {"ours": ours(run, device), "textbook": textbook(run, device)}
    return interleaved({name: partial(step, x, y) for name, step in contestants.items()}, rounds)


def measure(args, device: torch.device) -> dict:
    """{method: seconds, median, spread, ratio} for all twelve, or those asked for."""
    found = {}
    for method in args.methods or METHODS:
        found[method] = duel(run_of(method, args.width, args.batch), device, args.rounds)
        print(line(f"step of {method}", found[method]), flush=True)
    return found
