"""What a tier needs, what of it is done, and how long the rest would take here. `status` loads no torch."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from advdpnp.config import (
    GEOMETRY_DEFINITION,
    INSTALLED,
    RunConfig,
    Tier,
    digest,
    images_of,
    load_tier,
    resolved_attack,
)
from advdpnp.jobs.estimate import by_hardware, network, passes
from advdpnp.names import column_name, counted
from advdpnp.paper import artefacts
from advdpnp.progress import colour, duration
from advdpnp.report import mixed_protocols
from advdpnp.store import PUBLISHED, RESULTS, Snapshot, Store, lock_holder


def epochs_done(run: RunConfig) -> int:
    """Finished epochs of a training, as its log says."""
    log = RESULTS.run(run) / "log.csv"
    return max(0, len(log.read_bytes().splitlines()) - 1) if log.exists() else 0


def run_state(run: RunConfig, odd: Collection[Path] = (), store: Store = RESULTS) -> str:
    """'done', 'running ...', 'stale' (trained under other settings, or among the `odd` files, which disagree with those
    of other runs), '7/110 epochs', or 'missing'.
    """
    epochs, holder = epochs_done(run), lock_holder(store.run(run))
    if holder:
        return f"running, {epochs}/{run.optim.epochs} epochs, {holder}"
    if made := store.read_training(run, "settings_digest"):
        other_settings = made["settings_digest"] != digest(run.training_settings())
        return "stale" if other_settings or store.trained(run) in odd else "done"
    return f"{epochs}/{run.optim.epochs} epochs" if epochs else "missing"


def figures_of(run: RunConfig, store: Store = RESULTS) -> dict[str, float]:
    """What a finished training took (seconds) and came to (clean, aa: percent), as far as it is known.

    What was measured of other weights, or by other settings than the run's present ones, is not told.
    """
    trained = store.read_training(run, "settings_digest") or {}
    found = {"seconds": trained.get("seconds")}
    for name in ("clean", "aa") if trained else ():
        if eval_state(run, name, store=store) == "done":
            found[name] = (store.read_evaluation(run, name) or {}).get("accuracy")
    return {key: value for key, value in found.items() if isinstance(value, int | float)}


def measured(run: RunConfig, store: Store = RESULTS) -> str:
    """', 16m39s, clean 43.6 %, AutoAttack 21.8 %': the same in words."""
    found = figures_of(run, store)
    took = [duration(found.pop("seconds"))] if "seconds" in found else []
    return "".join(f", {part}" for part in (*took, *(f"{column_name(k)} {v:.1f} %" for k, v in found.items())))


def eval_state(run: RunConfig, name: str, odd: Collection[Path] = (), store: Store = RESULTS) -> str:
    """'done', 'running', 'stale' (of other weights, images, attack or definition than now), or 'missing'."""
    path = store.evaluation(run, name)
    if lock_holder(path):
        return "running"
    found, trained = store.read_evaluation(run, name, "model_sha256"), store.read_training(run, "model_sha256")
    if found is None:
        return "missing"
    other_weights = store.unfinished(run) or (trained is not None and trained["model_sha256"] != found["model_sha256"])
    other_attack = name in run.attacks and found.get("settings") != asdict(resolved_attack(run, name))
    n = images_of(run, name, range(run.facts.test_images))
    other_images = found.get("images", n) != n
    other_definition = name == "geometry" and found.get("definition", 1) != GEOMETRY_DEFINITION
    return "stale" if path in odd or other_weights or other_attack or other_images or other_definition else "done"


class Survey(NamedTuple):
    """What is there of a tier: its runs by id, the state of each, and of each evaluation that a table or figure needs.

    `needed` has the evaluations of each table and figure, as keys of `pairs`.
    """

    tier: Tier
    store: Store
    runs: dict[str, RunConfig]
    states: dict[str, str]
    pairs: dict[tuple[str, str], str]
    needed: dict[str, list[tuple[str, str]]]


def survey(tier_name: str) -> Survey:
    """Look at results/<tier>/ once."""
    tier, store = load_tier(tier_name), Snapshot(RESULTS.root)
    runs = artefacts.all_runs(tier)
    odd = {mismatch.path for mismatch in mixed_protocols.mismatches(runs.values(), store)}
    states = {name: run_state(run, odd, store) for name, run in runs.items()}
    pairs: dict[tuple[str, str], str] = {}
    needed: dict[str, list[tuple[str, str]]] = {}
    for name in artefacts.with_notebook():
        wanted = artefacts.needed_evaluations(tier, name)
        pairs |= {(run.id, e): eval_state(run, e, odd, store) for run, e in wanted if (run.id, e) not in pairs}
        needed[name] = [(run.id, e) for run, e in wanted]
    return Survey(tier, store, runs, states, pairs, needed)


def status(tier_name: str) -> str:
    """What is done, running, stale and missing of a tier's trainings, tables and figures, and the hours left."""
    tier, store, runs, states, pairs, needed = survey(tier_name)
    done = sum(state == "done" for state in states.values())
    lines = [f"tier {tier.name}: {tier.label}", f"{counted(len(runs), 'training')}, {done} done:"]
    width = max([44, *(len(name) + 2 for name in states)])
    for name, state in states.items():
        more = measured(runs[name], store) if state == "done" else ""
        lines.append(f"  {name:<{width}}{colour(state, state.split(',')[0])}{more}")
    lines.append("evaluations:")
    for name, wanted in needed.items():
        count = Counter(pairs[pair] for pair in wanted)
        more = "".join(colour(f", {count[state]} {state}", state) for state in ("running", "stale") if count[state])
        if wanted:
            complete = "done" if count["done"] == len(wanted) else "missing" if not count["done"] else ""
            shown = colour(f"{count['done']}/{len(wanted)}", complete)
            lines.append(f"  {name:<{width}}{shown}{more}")
    missing = [name for name in artefacts.ARTEFACTS if name not in artefacts.with_notebook()]
    if missing:
        lines.append(f"no notebook yet: {', '.join(missing)}")
    if INSTALLED:
        lines.append("pictures are drawn by the notebooks, which need a checkout; `work` and `report` do not")
    left = time_left(runs, states, pairs, store)
    return "\n".join([*lines, *left, *weightless(runs, states), *elsewhere(tier.name, states)])


def status_json(tier_name: str) -> str:
    """The same for programs: trainings with state, epochs and numbers, evaluations by state, what is left."""
    tier, store, runs, states, pairs, needed = survey(tier_name)
    trainings = {}
    for name, state in states.items():
        word = state.split(",")[0]
        there = {"state": "begun" if word.endswith("epochs") else word, "epochs": epochs_done(runs[name])}
        trainings[name] = there | {"of_epochs": runs[name].optim.epochs} | figures_of(runs[name], store)
    unfinished = {"trainings": [state for state in states.values() if state != "done"],
                  "evaluations": [state for state in pairs.values() if state != "done"]}  # fmt: skip
    return json.dumps({
        "tier": tier.name,
        "label": tier.label,
        "trainings": trainings,
        "evaluations": {
            name: {"needed": len(wanted), **Counter(pairs[pair] for pair in wanted)} for name, wanted in needed.items()
        },
        "left": {what: len(which) for what, which in unfinished.items()},
    }, indent=1)  # fmt: skip


def weightless(runs: dict[str, RunConfig], states: dict[str, str]) -> list[str]:
    """A line where finished trainings are here without their weights; [] where none are."""
    gone = [n for n, state in states.items() if state == "done" and not (RESULTS.run(runs[n]) / "model.pt").exists()]
    said = "without weights: to attack or export one of them, `train --restart` it first"
    return (
        [f"{counted(len(gone), 'finished training')} {'is' if len(gone) == 1 else 'are'} here {said}"] if gone else []
    )


def elsewhere(tier: str, states: dict[str, str]) -> list[str]:
    """What to do where trainings are missing here whose results the repository holds; [] where none are."""
    published = {path.parent.name for path in (PUBLISHED.tier(tier) / "runs").glob("*/train.json")}
    there = [name for name, state in states.items() if state == "missing" and name in published]
    if not there:
        return []
    return [
        f"published/{tier} holds the results of {len(there)} of the missing trainings, without weights:",
        f"  python -m advdpnp report --tier {tier} --published    shows them",
        f"  python -m advdpnp restore --tier {tier}               copies them here, to go on from them",
    ]


def time_left(
    runs: dict[str, RunConfig], states: dict[str, str], pairs: dict[tuple[str, str], str], store: Store = RESULTS
) -> list[str]:
    """A line for each hardware that finished something of this tier: what is left would take so long there.

    Trainings are scaled by passes and network; an evaluation counts as the mean of its like on the same network. What
    has no measured like is counted, not guessed.
    """
    speed: dict[tuple, list[float]] = defaultdict(list)  # (device, network) -> seconds per pass
    took: dict[tuple, list[float]] = defaultdict(list)  # (device, network, evaluation) -> seconds
    keys = ("seconds", "provenance.device")
    for name, run in runs.items():
        if states[name] == "done" and (t := store.read_training(run, *keys)):
            speed[t["provenance"]["device"], network(run)].append(t["seconds"] / passes(run))
    for (name, evaluation), state in pairs.items():
        if state == "done" and name in runs and (e := store.read_evaluation(runs[name], evaluation, *keys)):
            took[e["provenance"]["device"], network(runs[name]), evaluation].append(e["seconds"])
    kept = {n: 0 if s == "stale" else epochs_done(runs[n]) / runs[n].optim.epochs for n, s in states.items()}
    train = {n: 1 - kept[n] for n, s in states.items() if s != "done"}
    attack = [pair for pair, state in pairs.items() if state != "done" and pair[0] in runs]
    if not runs:
        return ["no table or figure shows a run of this tier; `train` and `evaluate` take runs by name"]
    if not train and not attack:
        return ["nothing is left to do"]
    lines = []
    for device in dict.fromkeys(key[0] for key in (*speed, *took)):
        rate = {n: speed[device, network(runs[n])] for n in train if (device, network(runs[n])) in speed}
        like = [took[key] for n, e in attack if (key := (device, network(runs[n]), e)) in took]
        seconds = sum(fmean(rate[n]) * passes(runs[n]) * share for n, share in train.items() if n in rate)
        unknown = len(train) - len(rate) + len(attack) - len(like)
        text = f"left, on {device}: about {duration(seconds + sum(map(fmean, like)))}, one job after the other"
        lines.append(text + (f"; not included: {counted(unknown, 'job')} like none measured so far" if unknown else ""))
    left = f"left: {counted(len(train), 'training')}, {counted(len(attack), 'evaluation')}"
    return [left, *lines] if lines or not train else [left, *by_hardware(runs[name] for name in train)]
