"""Which reading of Eq. (3) did the authors train? Eight quantities of Table 4 that hardly depend on width or
schedule, ours beside the paper's, and what the rule of docs/ledger.md ("Which reading of Eq. (3)") says. Reads results;
needs no torch.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

from advdpnp.config import RunConfig, Tier
from advdpnp.paper import artefacts
from advdpnp.paper.consistency import simplex_angle
from advdpnp.paper.numbers import OURS, reported
from advdpnp.report import mixed_protocols
from advdpnp.report.tables import cell
from advdpnp.store import RESULTS, Store

QUANTITIES = {  # what the rule counts, and how it is called where people read it
    "distance_clean": "distance / norm, clean",
    "distance_adv": "distance / norm, PGD-20",
    "mean_sep": "MeanSep (°)",
    "min_sep": "MinSep (°)",
    "fdr_clean": "FDR / AT's, clean",
    "fdr_adv": "FDR / AT's, PGD-20",
    "afs_clean": "AFS / AT's, clean",
    "afs_adv": "AFS / AT's, PGD-20",
}
SCR = {"distance_clean": "scr_clean", "distance_adv": "scr_adv"}  # what each distance is implied by, with MeanSep
OVER_AT = ("fdr_clean", "fdr_adv", "afs_clean", "afs_adv")  # as multiples of AT's of the same seed
SHOWN = {"clean": "clean", "pgd20": "pgd20", "cw30": "cw30", "loss": "pgd20.loss"}  # beside them, not counted
COLUMNS = ("reading", "seed", "decides", *QUANTITIES, "log_distance", "at_least", "fits", *SHOWN, "run")
READINGS = ("sum", "mean", "norm")  # values of adv_dpnp.pull: the three that the rule decides between
SEEDS = 2  # fewer decide nothing
FITS = math.log(1.25)  # a reading fits if its mean |log(ours / paper)| is below this, for each seed
Values = Mapping[str, float | None]


def paper_fingerprint(block: str = artefacts.CIFAR10) -> dict[str, float | None]:
    """The eight quantities of the paper's Adv-DPNP, from its Table 4; None where it prints no number."""
    dataset, backbone = block.split("/")

    def table4(method: str, column: str) -> float | None:
        return reported(4, dataset=dataset, backbone=backbone, method=method, column=column)

    own = {name: table4(OURS, name) for name in (*OVER_AT, "mean_sep", "min_sep", "scr_clean", "scr_adv")}
    found = own | over(own, {name: table4("AT", name) for name in OVER_AT})
    found |= {name: implied_distance(own["mean_sep"], own[scr]) for name, scr in SCR.items()}
    return {name: found[name] for name in QUANTITIES}


def implied_distance(mean_sep: float | None, scr: float | None) -> float | None:
    """2 sin(MeanSep / 2) / SCR: mean distance to the own prototype over its norm, for prototypes on a sphere."""
    return None if mean_sep is None or scr is None else 2 * math.sin(math.radians(mean_sep / 2)) / scr


def over(own: Values, at: Values) -> dict[str, float | None]:
    """FDR and AFS as multiples of AT's; None where one of both is missing, or AT's is zero."""
    pairs = {name: (own[name], at[name]) for name in OVER_AT}
    return {name: None if ours is None or not theirs else ours / theirs for name, (ours, theirs) in pairs.items()}


def fingerprint(run: RunConfig, at: RunConfig | None, store: Store = RESULTS) -> dict[str, float | None]:
    """The eight quantities of a run, with AT's run of the same seed; None where something was not measured.

    Distances are taken as the paper's have to be, from MeanSep and SCR, so that like stands beside like; the geometry's
    `distance_clean` and `distance_adv` are measured on each feature.
    """
    own = {name: cell(run, f"geometry.{name}", store) for name in (*OVER_AT, "mean_sep", "min_sep", *SCR.values())}
    found = own | over(own, {name: cell(at, f"geometry.{name}", store) if at else None for name in OVER_AT})
    found |= {name: implied_distance(own["mean_sep"], own[scr]) for name, scr in SCR.items()}
    return {name: found[name] for name in QUANTITIES}


def log_distance(ours: Values, paper: Values) -> float | None:
    """Sum over the eight quantities of |log(ours / paper)|; None where one of them was not measured."""
    complete = not any(None in (ours[name], paper[name]) for name in QUANTITIES)
    return least_distance(ours, paper) if complete else None


def least_distance(ours: Values, paper: Values) -> float:
    """The same sum over what was measured: with the rest it can only grow.

    All quantities are positive, but for what has collapsed: a zero is infinitely far away.
    """
    total = 0.0
    for name in QUANTITIES:
        a, b = ours[name], paper[name]
        if a is not None and b is not None:
            total += abs(math.log(a / b)) if a > 0 else math.inf
    return total


class Decision(NamedTuple):
    """The reading that the rule chooses, or None where it does not decide; and why, in a sentence."""

    pull: str | None
    why: str


def decide(
    distances: Mapping[str, Mapping[int, float | None]], least: Mapping[str, Mapping[int, float]] | None = None
) -> Decision:
    """The rule of docs/ledger.md, from {reading: {seed: log distance}}; other names than READINGS decide nothing.

    A reading fits if the mean of the eight |log(ours / paper)| is below FITS for each seed. The choice is the one that
    fits with the smallest distance, averaged over the seeds; `mean` if the two best that fit change places between
    seeds; `sum` if none fits. `least` holds what `least_distance` says where a distance is not complete: it can rule a
    reading out, and never in. None where a reading that is not ruled out lacks a seed that another has, or where there
    are fewer than SEEDS.
    """
    known = {name: {s: d for s, d in distances.get(name, {}).items() if d is not None} for name in READINGS}
    at_least = {name: [*known[name].values(), *(least or {}).get(name, {}).values()] for name in READINGS}
    possible = [name for name in READINGS if all(d / len(QUANTITIES) < FITS for d in at_least[name])]
    seeds = sorted(set().union(*known.values()))
    if lacking := [name for name in possible if len(seeds) < SEEDS or known[name].keys() != set(seeds)]:
        return Decision(None, f"not measured for {SEEDS} seeds of each reading: {', '.join(lacking)}")
    if not possible:
        return Decision("sum", f"no reading fits (mean |log| below {FITS:.3f} for each seed), so `sum` stays")
    average = {name: fmean(known[name].values()) for name in possible}
    best, *others = sorted(possible, key=lambda name: average[name])
    told = ", ".join(f"`{name}` {average[name]:.2f}" for name in (best, *others))
    if others and any(known[others[0]][seed] < known[best][seed] for seed in seeds):
        why = f"`{best}` and `{others[0]}` change places between the seeds, so the usual code's `mean` is taken"
        return Decision("mean", f"{why}; distances of those that fit, averaged over the seeds: {told}")
    return Decision(best, f"the smallest distance of the readings that fit, averaged over the seeds: {told}")


# --- A tier's networks


def readings(tier: Tier) -> list[tuple[str, bool, RunConfig]]:
    """(name, whether the rule counts it, run) of each reading and seed that the tier trains; counted ones first.

    The rule counts runs that differ from the default in `adv_dpnp.pull` alone, named by it; others have their
    variant's name.
    """
    found = []
    for run in artefacts.runs_of(tier, "readings"):
        default = tier.run(run.block, run.method, run.seed)
        hyper: Any = run.hyper
        same = replace(run, variant="", hyper=replace(hyper, pull=default.hyper.pull)) == default
        found.append((hyper.pull if same else run.variant, same, run))
    order = {name: k for k, name in enumerate(READINGS)}
    return sorted(found, key=lambda one: (not one[1], order.get(one[0], 0)))


def rows(tier: Tier, store: Store = RESULTS) -> list[dict]:
    """One row per reading and seed whose geometry was measured, with the keys COLUMNS; None where a number is missing.

    `log_distance` is the rule's, `at_least` the same over what was measured; `fits` is of this seed alone.
    """
    mixed_protocols.refuse((run for _, _, run in readings(tier)), store)
    paper, found = paper_fingerprint(), []
    for name, decides, run in readings(tier):
        at = tier.run(run.block, "AT", run.seed) if run.seed in tier.seeds_of("AT") else None
        ours = fingerprint(run, at, store)
        if ours["mean_sep"] is None:
            continue
        total, least = log_distance(ours, paper), least_distance(ours, paper)
        near = least / len(QUANTITIES) < FITS
        found.append(
            {"reading": name, "seed": run.seed, "decides": decides, **ours, "log_distance": total, "at_least": least}
            | {"fits": None if near and total is None else near}
            | {column: cell(run, source, store) for column, source in SHOWN.items()}
            | {"run": run.id}
        )
    return found


def missing(tier: Tier, measured: Iterable[Mapping]) -> list[str]:
    """What cannot be compared, a phrase each: networks of the tier without a row, and rows that lack quantities."""
    measured = list(measured)
    there = {row["run"] for row in measured}
    absent = [f"{run.id} (not measured)" for _, _, run in readings(tier) if run.id not in there]
    for row in measured:
        if lacks := [name for name in QUANTITIES if row[name] is None]:
            absent.append(f"{row['run']} (without {', '.join(lacks)})")
    return absent


def decision(measured: Iterable[Mapping]) -> Decision:
    """`decide` on `rows`."""
    distances: dict[str, dict[int, float | None]] = {}
    least: dict[str, dict[int, float]] = {}
    for row in measured:
        if row["decides"]:
            distances.setdefault(row["reading"], {})[row["seed"]] = row["log_distance"]
            least.setdefault(row["reading"], {})[row["seed"]] = row["at_least"]
    return decide(distances, least)


def reference_rows() -> list[dict]:
    """Rows without a seed to set beside: the paper on both data sets of Table 4, and the regular simplex's angles."""
    empty: dict[str, Any] = dict.fromkeys(COLUMNS)
    found = []
    for block, name in ((artefacts.CIFAR10, "paper, CIFAR-10"), (artefacts.CIFAR100, "paper, CIFAR-100")):
        dataset, backbone = block.split("/")
        other = {"clean": (2, "clean"), "pgd20": (2, "pgd20"), "cw30": (2, "cw"), "loss": (6, "loss_20")}
        shown = {
            key: reported(table, dataset=dataset, backbone=backbone, method=OURS, column=column)
            for key, (table, column) in other.items()
        }
        found.append(empty | {"reading": name} | paper_fingerprint(block) | shown)
    angle = simplex_angle(10)
    return [*found, empty | {"reading": "regular simplex, 10 classes", "mean_sep": angle, "min_sep": angle}]


def sentence(tier: Tier, measured: list[dict]) -> str:
    """What the rule says of these networks beside the tier's default, in Markdown; and what was left out."""
    chosen = decision(measured)
    default = next((run.hyper.pull for _, _, run in readings(tier) if not run.variant), None)
    if chosen.pull is None:
        text = f"The rule decides nothing here: {chosen.why}."
    else:
        agrees = "as the default has it" if chosen.pull == default else f"where the default has `{default}`"
        text = f"The rule says **`{chosen.pull}`**, {agrees}: {chosen.why}."
    absent = missing(tier, measured)
    return text + (f" Left out: {'; '.join(absent)}." if absent else "")


def markdown(tier: Tier, measured: list[dict]) -> str:
    """Reading x quantity x seed with the paper's on top, then `sentence`."""
    if not measured:
        return "No reading of Eq. (3) was measured in this tier."
    heads = [
        "reading",
        "seed",
        *QUANTITIES.values(),
        "sum of the eight",
        "mean",
        "clean",
        "PGD-20",
        "C&W",
        "PGD-20 loss",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in [*reference_rows(), *measured]:
        name = row["reading"] if row["seed"] is None else f"`{row['reading']}`" + ("" if row["decides"] else " †")
        cells = [name, "" if row["seed"] is None else str(row["seed"]), *(text(row, key) for key in QUANTITIES)]
        if row["seed"] is None:
            cells += ["", ""]
        else:  # what lacks a quantity is at least as far as the others make it
            sign = "≥ " if row["log_distance"] is None else ""
            cells += [f"{sign}{row['at_least'] / n:.3f}" for n in (1, len(QUANTITIES))]
        lines.append("| " + " | ".join([*cells, *(text(row, key) for key in SHOWN)]) + " |")
    return "\n".join([*lines, "", sentence(tier, measured)])


def text(row: Mapping, key: str) -> str:
    """A number as the tables write it; a dash where it was not measured, nothing where a reference has none."""
    value = row[key]
    if value is None:
        return "" if row["seed"] is None else "–"
    return f"{value:.2f}" if key in ("mean_sep", "min_sep", "clean", "pgd20", "cw30") else f"{value:.3f}"
