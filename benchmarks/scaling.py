"""How a step of Adv-DPNP grows with batch, width and PGD steps; and on a GPU, its share of the matrix peak."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from advdpnp.hardware import pick_precision
from benchmarks.steps import build, duel, random_batch, run_of
from benchmarks.timing import interleaved, line, seconds_of


def grid(width: int, batch: int, quick: bool) -> list[tuple[str, int, dict]]:
    """(axis, value, settings of run_of): one axis at a time from the middle of the grid."""
    base = {"width": width, "batch": batch, "steps": 10}
    values = {"batch": [max(2, batch // 4), max(4, batch // 2), batch], "width": [8, 16, 32], "steps": [1, 5, 10]}
    if quick:
        values = {axis: [at[0], at[-1]] for axis, at in (values | {"width": [8, 16]}).items()}
    return [(axis, value, base | {axis: value}) for axis, points in values.items() for value in points]


def crafting_flops(run, device: torch.device) -> int:
    """Floating-point operations of crafting one batch, for a method that crafts on the cross-entropy.

    PyTorch counts the forward pass; the gradient of a convolution's input costs as much as its forward pass.
    """
    model = build(run).model.to(device).eval()
    x, _ = random_batch(run.optim.batch_size, device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return 2 * run.craft.steps * counter.get_total_flops()


def matrix_peak(device: torch.device, size: int = 8192) -> float:
    """Operations per second of a bfloat16 matrix product of [size, size], the best of five."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    a @ a
    return 2 * size**3 / min(seconds_of(lambda: a @ a) for _ in range(5))


def crafting_share(run, device: torch.device, rounds: int, size: int = 8192) -> dict:
    """TFLOP/s of crafting one batch as we train it, and its share of the matrix peak of the same run."""
    defense = build(run).to(device, memory_format=torch.channels_last).train()
    x, y = random_batch(run.optim.batch_size, device)
    x = x.contiguous(memory_format=torch.channels_last)
    bf16 = pick_precision(run.optim.precision, device) == "bf16"

    def crafting() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            defense.craft(x, y)

    rate = crafting_flops(run, device) / interleaved({"crafting": crafting}, rounds)["median"]["crafting"]
    peak = matrix_peak(device, size)
    return {"crafting_tflops": rate / 1e12, "peak_tflops": peak / 1e12, "share": rate / peak}


def measure(args, device: torch.device) -> dict:
    """{'batch': {value: seconds, median, spread, ratio}, 'width': ..., 'steps': ...} and on a GPU 'gpu'."""
    found: dict = {}
    for axis, value, settings in grid(args.width, args.batch, args.quick):
        point = duel(run_of("Adv-DPNP", **settings), device, args.rounds)
        found.setdefault(axis, {})[str(value)] = point
        print(line(f"step of Adv-DPNP, {axis} {value}", point), flush=True)
    if device.type == "cuda":
        found["gpu"] = gpu = crafting_share(run_of("Adv-DPNP", args.width, args.batch), device, args.rounds)
        print(f"crafting: {gpu['crafting_tflops']:.0f} TFLOP/s, {gpu['share']:.0%} of {gpu['peak_tflops']:.0f}")
    return found
