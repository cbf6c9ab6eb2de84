"""Write published/benchmarks/variants-float32.json from trainings of the short tier in float32.

    ADVDPNP_RESULTS=RESULTS python tools/float32_variants.py RUN ...     # each trained and evaluated there

The published tier is bfloat16, so these stand in no table of it. Each named run is written anew, the others stay:
train.json, the evaluations, for Adv-DPNP the fingerprint over the *published* AT of the same seed, and, where a run has
the default's seed 0, the paired difference to the default, in points, over images.
"""

import sys
from pathlib import Path

from advdpnp.config import RunConfig, load_tier, resolve
from advdpnp.errors import UserError
from advdpnp.intervals import paired_difference
from advdpnp.report.fingerprint import QUANTITIES, fingerprint, log_distance, paper_fingerprint
from advdpnp.store import PUBLISHED, RESULTS, Store, read_json, write_json

PLACE = PUBLISHED.root / "benchmarks" / "variants-float32.json"
DEFAULT, OURS = "cifar10-resnet18-adv_dpnp-s0", "Adv-DPNP"
ACCURACIES = ("clean", "pgd20", "cw30")
WHERE_THERE = ("pgd100_l1", "pgd100_l1_free")  # told where they were evaluated


class TwoStores(Store):
    """The published evaluations of rivals, and one's own of Adv-DPNP."""

    def _evaluated(self, run: RunConfig, file: str) -> Path:
        return (RESULTS if run.method == OURS else PUBLISHED)._evaluated(run, file)


def entry(name: str) -> dict:
    """What the file says of a run. Raises UserError where it is not trained in float32, or not evaluated."""
    tier = load_tier("short")
    run = resolve(tier, name)
    trained = read_json(RESULTS.trained(run), "precision")
    if trained["precision"] != "fp32":
        raise UserError(f"{RESULTS.trained(run)}: expected a training in fp32, got {trained['precision']}")
    further = [each for each in WHERE_THERE if RESULTS.evaluation(run, each).exists()]
    found = {each: read_json(RESULTS.evaluation(run, each)) for each in (*ACCURACIES, *further, "geometry")}
    told = {"train": trained, "evaluations": found}
    if run.method == OURS:
        own = fingerprint(run, tier.run(run.block, "AT", run.seed), TwoStores())
        distance = log_distance(own, paper_fingerprint())
        told |= {"fingerprint": {key: round(value, 4) for key, value in own.items()}}
        told |= {"mean_log_distance": round(distance / len(QUANTITIES), 4)}
    default = resolve(tier, DEFAULT)
    if run.seed == default.seed and run.id != default.id and RESULTS.trained(default).exists():
        shared = [each for each in (*ACCURACIES, *further) if RESULTS.evaluation(default, each).exists()]
        told["minus_default"] = {each: difference(run, default, each) for each in shared}
    return told


def difference(run: RunConfig, default: RunConfig, name: str) -> dict[str, float]:
    """{'difference', 'low', 'high'} in points, of one training each."""
    one, other = ({0: RESULTS.read_flags(each, name)} for each in (run, default))
    found = paired_difference(one, other)
    return {key: round(getattr(found, key), 2) for key in ("difference", "low", "high")}


if __name__ == "__main__":
    try:
        told = read_json(PLACE, "about", "runs")
        told["runs"] |= {name: entry(name) for name in sys.argv[1:]}
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(write_json(PLACE, told))
