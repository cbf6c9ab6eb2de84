"""What a tier's results took to make, as their JSON files say, and the command that makes them. Loads no torch."""

import re
from collections.abc import Sized

from advdpnp.config import Tier
from advdpnp.markdown import escape_markdown, markdown_table
from advdpnp.names import counted
from advdpnp.paper import artefacts
from advdpnp.progress import duration
from advdpnp.store import Store, machines

TARGETS = {"paper": "all", **{name: name for name in ("demo", "short", "short100", "medium")}}  # of the Snakefile


def command_of(tier: Tier) -> str:
    """What makes all of a tier."""
    return f"snakemake --cores 2 {TARGETS.get(tier.name, f'results/{tier.name}/report.md')}"


def in_short(tier: Tier, store: Store) -> str:
    """How a tier's results were made and how long that took; without results, how they would be. One sentence."""
    trained, evaluated = seconds_of(tier, store)
    if not trained:
        return f"`{command_of(tier)}` makes them."
    training, attacks = (duration(sum(seconds.values())) for seconds in (trained, evaluated))
    both = sum(trained.values()) + sum(evaluated.values())
    took = f"{of_all(tier, trained)} took {training} and their evaluation {attacks}, summed over jobs"
    took += f"; about {duration(both / 2)} by the clock, two at a time"
    return f"Made by `{command_of(tier)}`: {took}."


def of_all(tier: Tier, trained: Sized) -> str:
    """'3 trainings', or '3 of 5 trainings' of a tier that is not complete."""
    planned = len(artefacts.all_runs(tier))
    return counted(planned, "training") if len(trained) == planned else f"{len(trained)} of {planned} trainings"


def seconds_of(tier: Tier, store: Store) -> tuple[dict[str, float], dict[str, float]]:
    """{run id: seconds} of the trainings of a tier that are in the store, and of the evaluations of each run."""
    runs = artefacts.all_runs(tier).values()
    trained = {run.id: found["seconds"] for run in runs if (found := store.read_training(run, "seconds"))}
    needed = {
        (run.id, name): run
        for item in artefacts.with_notebook()
        for run, name in artefacts.needed_evaluations(tier, item)
    }
    evaluated: dict[str, float] = {}
    for (run_id, name), run in needed.items():
        if found := store.read_evaluation(run, name, "seconds"):
            evaluated[run_id] = evaluated.get(run_id, 0.0) + found["seconds"]
    return trained, evaluated


def costs_markdown(tier: Tier, store: Store) -> str:
    """What each table and figure took, then each training, on what, as the JSON files say."""
    if not (store.tier(tier.name) / "runs").is_dir():
        return "Nothing was trained."
    tables, runs = [], []
    for name in artefacts.with_notebook():
        costs = costs_of(tier, name, store)
        if any(costs):
            called = re.sub(r"(?=\d)", " ", name, count=1).capitalize()
            tables.append((called, *(text for took in costs for text in (str(len(took)), duration(sum(took))))))
    keys = ("train_images", "final.epoch", "seconds", "images_per_second", "precision", "provenance.device")
    for name, run in artefacts.all_runs(tier).items():
        if t := store.read_training(run, *keys):
            took = duration(t["seconds"]), f"{t['images_per_second']:.0f}"
            where = escape_markdown(t["precision"]), escape_markdown(machines(t))
            runs.append((name, f"{t['train_images']:,}", str(t["final"]["epoch"] + 1), *took, *where))
    shared = "Trainings and evaluations that several tables share are counted in each of them, and done once."
    header = "run", "images", "epochs", "wall time", "images/s", "precision", "device"
    first = markdown_table(("table or figure", "trainings", "took", "evaluations", "took"), tables)
    return f"{first}\n\n{shared}\n\n{markdown_table(header, runs)}"


def costs_of(tier: Tier, name: str, store: Store) -> tuple[list[float], list[float]]:
    """Seconds of each training and of each evaluation behind a table or figure, as far as they are there."""
    trained = [store.read_training(run, "seconds") for run in artefacts.all_runs(tier, (name,)).values()]
    evaluated = [store.read_evaluation(run, e, "seconds") for run, e in artefacts.needed_evaluations(tier, name)]
    first, second = ([found["seconds"] for found in some if found] for some in (trained, evaluated))
    return first, second
