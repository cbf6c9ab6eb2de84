"""torch.compile of the backbone, on (a GPU: also with CUDA graphs) and off: a training step, and the wait before it."""

from functools import partial

import torch

from advdpnp.hardware import pick_compile
from benchmarks.steps import ours, random_batch, run_of
from benchmarks.timing import interleaved, line, seconds_of

METHODS = ("AT", "Adv-DPNP")


def measure(args, device: torch.device) -> dict:
    """{method: {mode: seconds, median, spread, ratio, compile_seconds}}, `auto`: what optim.compile chooses here."""
    found: dict = {"auto": pick_compile("auto", device)}
    pick_compile("on", device)  # a sentence now, where there is no compiler
    for method in METHODS:
        run, found[method] = run_of(method, args.width, args.batch), {}
        x, y = random_batch(args.batch, device)
        for mode in ("on", "graphs") if device.type == "cuda" else ("on",):
            torch._dynamo.reset()
            steps = {"compiled": ours(run, device, compiled=mode), "eager": ours(run, device)}
            first = seconds_of(partial(steps["compiled"], x, y))
            point = interleaved({name: partial(step, x, y) for name, step in steps.items()}, args.rounds)
            point["compile_seconds"] = round(first - point["median"]["compiled"], 2)
            found[method][mode] = point
            pays = f"; compiling took {point['compile_seconds']:.0f} s"
            print(line(f"compiled step of {method}, {mode}", point) + pays, flush=True)
    return found
