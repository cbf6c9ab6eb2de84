"""torch.compile of the backbone, on and off: seconds of a training step, and what compiling costs before the first."""

import time
from functools import partial

import torch

from advdpnp.train import pick_compile
from benchmarks.steps import ours, random_batch, run_of
from benchmarks.timing import interleaved, line

METHODS = ("AT", "Adv-DPNP")


def measure(args, device: torch.device) -> dict:
    """{method: seconds, median, spread, ratio, compile_seconds}, `auto`: what optim.compile chooses here."""
    found: dict = {"auto": pick_compile("auto", device)}
    pick_compile("on", device)  # a sentence now, where there is no compiler
    for method in METHODS:
        run = run_of(method, args.width, args.batch)
        x, y = random_batch(args.batch, device)
        steps = {"compiled": ours(run, device, compiled=True), "eager": ours(run, device)}
        torch._dynamo.reset()
        begin = time.perf_counter()
        steps["compiled"](x, y)
        took = time.perf_counter() - begin
        found[method] = interleaved({name: partial(step, x, y) for name, step in steps.items()}, args.rounds)
        found[method]["compile_seconds"] = round(took - found[method]["median"]["compiled"], 2)
        pays = f"; compiling took {found[method]['compile_seconds']:.0f} s"
        print(line(f"compiled step of {method}", found[method]) + pays, flush=True)
    return found
