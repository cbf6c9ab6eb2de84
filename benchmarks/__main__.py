"""What this code's speed is worth on this machine, side by side with the usual way, as a ratio.

  steps     one training step of each of the twelve defenses, against the plain textbook loop
  attacks   PGD-20 and AutoAttack, against the plain loop and the official package
  data      augmentation, against a torchvision DataLoader with two workers
  scaling   a step along batch, width and PGD steps; on a GPU also its share of the matrix peak
  compile   torch.compile on and off
  demo      the demo's wall time by rule
  many_runs status, a table, the report and Snakemake's plan as a tier grows to 500 runs
  once      one network's evaluations, against an earlier commit that computed each alone
  fidelity  accuracy after training with all means of speed, and with none, over several seeds

Writes benchmarks.json, after each part, and benchmarks.png to results/. Without a part named, those that can't run here
(no compiler, no torchvision, no pyautoattack) say so, and the others run.
"""

import argparse
import sys
from pathlib import Path

import torch

from advdpnp.config import METHODS
from advdpnp.errors import UserError, nearest
from advdpnp.hardware import pick_device, pick_precision
from advdpnp.report.figures import save
from advdpnp.store import provenance, results_root, write_json
from benchmarks import attacks, compiling, data, demo, fidelity, figure, many_runs, once, scaling, steps

PARTS = {
    "steps": steps.measure, "attacks": attacks.measure, "data": data.measure, "scaling": scaling.measure,
    "compile": compiling.measure, "demo": demo.measure, "fidelity": fidelity.measure,
    "once": once.measure, "many_runs": many_runs.measure,
}  # fmt: skip


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError(text)
    return value


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The options. Raises UserError for an unknown part."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=kind)
    parser.add_argument("parts", nargs="*", metavar="part", help="which of the above; all of them without any")
    parser.add_argument("--width", type=positive, default=16, help="of ResNet-18's first stage (the paper's is 64)")
    parser.add_argument("--batch", type=positive, default=128)
    parser.add_argument("--methods", type=lambda text: text.split(","), default=[], help="of steps, fidelity: AT,MART")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--images", type=positive, help="for the attacks (128); of once: the most per evaluation")
    attacked = parser.add_mutually_exclusive_group()
    attacked.add_argument("--run-dir", type=Path, help="a trained run to attack, e.g. results/short/runs/RUN")
    attacked.add_argument("--reference", action="store_true", help="attack pyautoattack's ResNet-18 (needs CIFAR-10)")
    parser.add_argument("--tier", default="demo", help="whose runs fidelity trains (default: demo)")
    parser.add_argument("--seeds", type=positive, default=5, help="of fidelity")
    parser.add_argument("--against", default=once.EARLIER, metavar="COMMIT", help="of once (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="fewer images and points, one round of AutoAttack")
    args = parser.parse_args(arguments)
    for part in args.parts:
        if part not in PARTS:
            raise UserError(f"there is no benchmark '{part}'; {nearest(part, PARTS)}")
    for method in args.methods:
        if method not in METHODS:
            raise UserError(f"--methods: there is no '{method}'; {nearest(method, METHODS)}")
    return args


def measured(part: str, args: argparse.Namespace, device: torch.device) -> dict:
    """What a part finds, or {'missing': why} where it can't run and wasn't asked for by name."""
    try:
        return PARTS[part](args, device)
    except UserError as error:
        if args.parts:
            raise
        print(f"{part}: not measured, {error}", flush=True)
        return {"missing": str(error)}


def main(arguments: list[str] | None = None) -> int:
    """Measure the named parts; returns the exit status."""
    try:
        args, device = parsed(arguments), pick_device()
        settings = {name: getattr(args, name) for name in ("width", "batch", "rounds", "quick")}
        settings |= {"threads": torch.get_num_threads(), "precision": pick_precision("auto", device)}
        found = settings | {"provenance": provenance(device)}
        for part in dict.fromkeys(args.parts or PARTS):
            found[part] = measured(part, args, device)
            path = write_json(results_root() / "benchmarks.json", found)  # a later part may be interrupted
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(path, save(figure.draw(found), results_root() / "benchmarks.png"), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
