"""make chaos: random SIGKILLs over training, evaluation and the workflow until there are enough."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: forked children may not inherit a pool of threads
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import Chaos, Lost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="at least so many (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--each", type=int, default=4, help="most kills of one piece of work (default: 4)")
    parser.add_argument("--workflows", type=int, default=5, help="most kills of the workflow (default: 5)")
    args = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="advdpnp-chaos-") as place:
        chaos, seed = Chaos(Path(place)), args.seed
        try:
            if args.workflows:
                chaos.workflow(seed, args.workflows)
            while sum(chaos.kills.values()) < args.kills:
                for name in chaos.scenarios:
                    chaos.trial(name, seed, args.each)
                seed += 1
        except Lost as lost:
            print(f"LOST after {sum(chaos.kills.values())} kills: {lost}", file=sys.stderr)
            return 1
    each = ", ".join(f"{name} {n}" for name, n in chaos.kills.items())
    print(f"{sum(chaos.kills.values())} kills in {time.monotonic() - begin:.0f} s ({each}): none lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
