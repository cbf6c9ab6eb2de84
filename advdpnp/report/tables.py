"""Tables: our numbers beside the paper's, in long form for machines and in the paper's shape for people. Figures in
numbers are tables too, without a number of the paper's, which it draws and does not print.

A cell is the mean over the seeds of a run. Long form, one row per cell: table, dataset, backbone, method, column, ours,
std, seeds, paper, difference, verdict, the 95 % interval (intervals.py) with what it is over, each seed's own value.
Where a tier is not `comparable` there is no difference, because a smaller protocol's number and the paper's are not two
measurements of one thing.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

from advdpnp.config import CORRUPTION_TYPES, GEOMETRY_DEFINITION, RunConfig, Tier
from advdpnp.errors import UserError
from advdpnp.intervals import SeedVariance, accuracy_interval, mean_interval, pooled_seed_variance
from advdpnp.names import LOWER_IS_BETTER
from advdpnp.paper import artefacts
from advdpnp.paper.consistency import UNIT_FEATURES
from advdpnp.paper.numbers import Cell, reported
from advdpnp.paper.verdict import column_kind, verdict
from advdpnp.report import mixed_protocols
from advdpnp.store import RESULTS, Store, read_arrays

COLUMNS = tuple(field.name for field in fields(Cell))  # of the CSV


def on_same_images(found: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The first images that all evaluations saw; every one sees the first of the test set, some of them fewer."""
    seen = min(map(len, found), default=0)
    return [values[:seen] for values in found]


def ensemble_accuracy(all_flags: Iterable) -> float:
    """Percent of images right under every attack: a sample is wrong if any of them succeeds (Table 2's caption)."""
    return 100 * float(np.logical_and.reduce(on_same_images(list(all_flags))).mean())


def ensemble_flags(run: RunConfig, store: Store = RESULTS) -> np.ndarray | None:
    """bool [N], True where the run is right under every attack of Table 2's Ensemble; None where one is missing.

    N is how many images all of them saw.
    """
    found = [store.read_flags(run, name) for name in ("clean", *artefacts.ENSEMBLE)]
    known = [flags for flags in found if flags is not None]
    return np.logical_and.reduce(on_same_images(known)) if len(known) == len(found) else None


def per_image(run: RunConfig, source: str, store: Store = RESULTS) -> np.ndarray | None:
    """How often the run is right on each test image, [N] in 0 ... 1; None where an evaluation is missing.

    0 or 1 under one attack; the mean of both for "avg", on the images that both saw; over all corruptions, or those of
    one severity or type, for "corruptions". A column that is no accuracy has no such number, hence None. Raises
    UserError for flags that do not fit the JSON beside them. Not to be written to.
    """
    return store.once(("per image", run.tier, run.id, source), lambda: _per_image(run, source, store))


def _per_image(run: RunConfig, source: str, store: Store) -> np.ndarray | None:
    if source == "avg":
        both = [per_image(run, name, store) for name in artefacts.sources_of(source)]
        known = [values for values in both if values is not None]
        return np.mean(on_same_images(known), axis=0) if len(known) == len(both) else None
    if source == "ensemble":
        return ensemble_flags(run, store)
    name, _, field = source.partition(".")
    flags = store.read_flags(run, name) if is_accuracy(source) else None
    said = None if flags is None else store.read_evaluation(run, name, "images", "accuracy")
    if flags is None or said is None:
        return None
    if not field:
        accuracy = _number(run, name, said, "accuracy")
        if not flags.size or abs(100 * flags.mean() - accuracy) > 0.01:
            raise UserError(f"{run.id}, {name}: JSON and flags disagree (damaged?); delete both and evaluate again.")
        return flags.mean(axis=tuple(range(flags.ndim - 1)))  # the last axis is the images
    if flags.ndim != 3 or not flags.size:
        path = store.arrays(run, name)
        raise UserError(f"{path}: {field} cannot be taken from it (damaged?); delete it and evaluate again.")
    part, _, which = field.partition("_")
    if part == "severity":
        return flags[:, int(which) - 1].mean(0)
    here = [name in CORRUPTION_TYPES[which] for name in said["accuracies"]]  # in the order of the flags
    return flags[here].mean((0, 1))


SEED_SOURCES = ("clean", "pgd20", "aa", "corruptions")  # what every defense of the paper is evaluated under


def seed_spread(tier: Tier, block: str, store: Store = RESULTS) -> SeedVariance | None:
    """The variance between seeds of a block's trainings, pooled over methods; None where none has two seeds."""
    return store.once(("seed spread", tier.name, block), lambda: _seed_spread(tier, block, store))


def _seed_spread(tier: Tier, block: str, store: Store) -> SeedVariance | None:
    groups: dict[tuple[str, str], list[RunConfig]] = {}
    for run in artefacts.all_runs(tier, tuple(artefacts.ARTEFACTS)).values():
        if run.block == block:
            groups.setdefault((run.method, run.variant), []).append(run)
    return pooled_seed_variance(
        [list(values.values()) for source in SEED_SOURCES if len(values := by_seed(runs, source, store)) > 1]
        for runs in groups.values()
        if len(runs) > 1
    )


def by_seed(runs: Iterable[RunConfig], source: str, store: Store = RESULTS) -> dict[int, np.ndarray]:
    """{seed: `per_image`} of the runs that have it."""
    return {run.seed: values for run in runs if (values := per_image(run, source, store)) is not None}


MARKS = {"match": "✓", "near": "≈", "differs": "✗"}  # beside a cell that is compared with the paper
Placed = Any  # a Cell, or another row with a dataset, backbone, method and column
LATER = ("scr_means_clean", "scr_means_adv", "distance_clean", "distance_adv")  # results made earlier lack them


class Measured(NamedTuple):
    """A loss or a metric of one run; its 95 % interval over images, where it has one."""

    value: float
    images: int  # the fewest test images behind it
    low: float | None = None
    high: float | None = None


def measured(run: RunConfig, source: str, store: Store = RESULTS) -> Measured | None:
    """A loss, or a metric of Table 4 or Figure 2, of one run; None where an evaluation is missing.

    A metric that is not defined, such as FDR's 0 / 0 where all features are one point, is None too. Losses have a
    normal interval over images, metrics none. What Figure 2 shows is computed from the stored features.
    """
    found = store.once(("measured", run.tier, run.id, source), lambda: _measured(run, source, store))
    return None if found is None or math.isnan(found.value) else found


def _measured(run: RunConfig, source: str, store: Store) -> Measured | None:
    name, _, field = source.partition(".")
    if name == "features":
        return figure_value(run, name, field, store)
    result = store.read_evaluation(run, name, "images", "images" if field in LATER else field)
    if result is None or field not in result or _of_other_features(run, name, field, result):
        return None
    value, n, deviation = _number(run, name, result, field), result["images"], f"{field}_std"
    if deviation not in result:
        return Measured(value, n)
    return Measured(value, n, *mean_interval(value, _number(run, name, result, deviation), n))


def _of_other_features(run: RunConfig, name: str, field: str, result: Mapping) -> bool:
    """Whether features that no head compares are set against its centers: SCR by the definition before ledger 21."""
    earlier = name == "geometry" and result.get("definition", 1) != GEOMETRY_DEFINITION
    return earlier and run.method in UNIT_FEATURES and field.startswith("scr")


def _number(run: RunConfig, name: str, result: Mapping, field: str) -> float:
    """A field of an evaluation's JSON. Raises UserError where it is no number."""
    if isinstance(result[field], bool) or not isinstance(result[field], int | float):
        raise UserError(f"{run.id}, {name}: {field} is no number (damaged?); delete its JSON and evaluate again.")
    return result[field]


def figure_value(run: RunConfig, name: str, field: str, store: Store) -> Measured | None:
    """`measured` for features.<metric>: from the arrays beside the evaluation's JSON."""
    path = store.arrays(run, name)
    if store.read_evaluation(run, name, "images") is None or not path.exists():
        return None
    try:
        return feature_metric(read_arrays(path, "clean", "adv", "labels", "centers"), field)
    except (IndexError, TypeError, ValueError, RuntimeError):
        raise UserError(f"{path}: {field} cannot be taken from it (damaged?); delete it and evaluate again.") from None


def feature_metric(arrays: Mapping[str, np.ndarray], metric: str) -> Measured:
    """One of protocol.FEATURES, from features "clean" and "adv" [N, d], "labels" [N] and "centers" [M, d].

    Angles are in degrees, radial variation and distances are fractions. Raises ValueError where geometry.py does.
    """
    import torch  # here, because accuracies do without

    from advdpnp.geometry import distance_over_norm, smallest_gap, variation_within_classes

    found = {name: torch.from_numpy(array) for name, array in arrays.items()}
    quantity, _, side = metric.rpartition("_")
    features, labels = found[side], found["labels"]
    if quantity == "gap":
        value = smallest_gap(features, labels)
    elif quantity == "distance":
        value = distance_over_norm(features, labels, found["centers"])
    else:
        value = variation_within_classes(features, labels)._asdict()[quantity]
    return Measured(value, len(labels))


def is_accuracy(source: str) -> bool:
    """Whether a column's source is one of accuracies, image by image."""
    return "." not in source or source.startswith("corruptions.")


def cell(run: RunConfig, source: str, store: Store = RESULTS) -> float | None:
    """A column's number for one run: an accuracy in percent, a loss or a metric; None where it was not measured."""
    if is_accuracy(source):
        values = per_image(run, source, store)
        return None if values is None else 100 * float(values.mean())
    found = measured(run, source, store)
    return None if found is None else found.value


def printed_as(name: str) -> int | str:
    """What rows and claims call an artefact: "table4" is 4, "figure2" stays."""
    return int(name.removeprefix("table")) if name.startswith("table") else name


def table_rows(tier: Tier, name: str, store: Store = RESULTS) -> list[Cell]:
    """Every cell of a table or figure in long form, the paper's rows and columns in their order. Attacks nothing."""
    spec, number = artefacts.artefact(name), printed_as(name)
    mixed_protocols.refuse(artefacts.runs_of(tier, name), store)
    cells = []
    for block, methods in spec.rows.items():
        here = tier.blocks.get(block)
        dataset, backbone = (here.dataset, here.backbone) if here else block.split("/")
        spread = seed_spread(tier, block, store) if here and not spec.one_seed else None
        for method in methods:
            runs = artefacts.runs_of_row(tier, block, method, spec.one_seed)
            for column, source in spec.columns.items():
                found = _over_seeds(runs, source, spread, store)
                printed = paper_number(number, block, method, column)
                place = Cell(number, dataset, backbone, method, column, paper=printed)
                cells.append(_judged(place, found, tier.policy.comparable) if found else place)
    return cells


class OverSeeds(NamedTuple):
    """A cell: the mean over the seeds, each seed's own value, and the 95 % interval with what it is over."""

    mean: float
    by_seed: tuple[float, ...]
    images: int
    low: float | None
    high: float | None
    over: str


def _over_seeds(runs: list[RunConfig], source: str, spread: SeedVariance | None, store: Store) -> OverSeeds | None:
    """One cell of a table, or None where no run has it."""
    if is_accuracy(source):
        values = list(by_seed(runs, source, store).values())
        if not values:
            return None
        found = accuracy_interval(values, spread)
        own = tuple(100 * float(seed[: found.images].mean()) for seed in values)
        return OverSeeds(found.mean, own, found.images, found.low, found.high, found.over)
    each = [one for run in runs if (one := measured(run, source, store)) is not None]
    if not each:
        return None
    mean, own = statistics.fmean(one.value for one in each), tuple(one.value for one in each)
    ends = [[one[k] for one in each] for k in (2, 3)]
    low, high = (None if None in end else statistics.fmean(end) for end in ends)
    return OverSeeds(mean, own, min(one.images for one in each), low, high, "" if low is None else "images")


def paper_number(table: int | str, block: str, method: str, column: str) -> float | None:
    """The paper's value of a cell of `block` (dataset/backbone), in the column's unit; None where it prints none.

    It has one row for Adv-DPNP, whichever way it was trained, so a row of VARIANT_ROWS stands beside its method's.
    """
    method, _ = artefacts.VARIANT_ROWS.get(method, (method, ""))
    dataset, backbone = block.split("/")
    return reported(table, dataset=dataset, backbone=backbone, method=method, column=column)


def digits_of(column: str) -> int:
    """Digits behind the point, the same all down a column: 2 for percent and degrees, 3 for ratios and losses."""
    fractions = ("radial", "distance")
    return 2 if column_kind(column) in ("accuracy", "angle") and not column.startswith(fractions) else 3


def _judged(place: Cell, found: OverSeeds, comparable: bool) -> Cell:
    """The cell with what was measured, rounded, and the verdict beside the paper's number."""
    kind, digits = column_kind(place.column), digits_of(place.column)
    digits += digits > 2  # a digit more for machines where numbers are small
    judged = verdict(found.mean, place.paper, comparable=comparable, n=found.images, kind=kind)
    values = {"ours": found.mean, "low": found.low, "high": found.high}
    values["std"] = statistics.stdev(found.by_seed) if len(found.by_seed) > 1 else None
    values["difference"] = found.mean - place.paper if judged in MARKS and place.paper is not None else None
    rounded = {key: None if value is None else round(value, digits) for key, value in values.items()}
    seeds = {"seeds": len(found.by_seed), "by_seed": " ".join(f"{value:.{digits}f}" for value in found.by_seed)}
    return replace(place, verdict=judged, interval=found.over, images=found.images, **rounded, **seeds)


def best_and_second(values: Mapping[str, float], column: str) -> tuple[set[str], set[str]]:
    """Methods with the best and second best value of a column, bold and underlined in the paper; ties share a mark.

    A method alone is neither best nor second.
    """
    order = sorted(set(values.values()), reverse=not column.startswith(LOWER_IS_BETTER))
    first, second = ({m for m, value in values.items() if value in order[k : k + 1]} for k in (0, 1))
    return (first, second) if len(values) > 1 else (set(), set())


def paper_shaped(rows: Iterable[Placed]) -> dict[tuple[str, str], dict[str, dict[str, Placed]]]:
    """Long form -> {(dataset, backbone): {method: {column: cell}}}, orders kept; a figure's curves run down instead."""
    shaped: dict = {}
    for row in rows:
        shaped.setdefault((row.dataset, row.backbone), {}).setdefault(row.method, {})[row.column] = row
    for block, methods in shaped.items():
        if len(methods) == 1 and any(EPSILON in column for column in next(iter(methods.values()))):
            shaped[block] = curves_down(next(iter(methods.values())))
    return shaped


EPSILON = "_eps"  # between a curve and its budget in 1/255: pgd_eps8


def curves_down(cells: Mapping[str, Placed]) -> dict[str, dict[str, Placed]]:
    """{column: cell} of one method -> {budget: {curve: cell}}: Figure 4 with its points below each other.

    A column without a budget ("clean") is where all curves start.
    """
    split = {column: column.rpartition(EPSILON) for column in cells}
    curves = dict.fromkeys(curve for curve, _, _ in split.values() if curve)
    budgets = dict.fromkeys(budget for _, _, budget in split.values())
    return {b: {c: cells[f"{c}{EPSILON}{b}" if f"{c}{EPSILON}{b}" in cells else b] for c in curves} for b in budgets}


def format_value(row: Cell) -> str:
    """'83.78', or '–' for a cell that was not run; as many digits as the others of its column."""
    return "–" if row.ours is None else f"{row.ours:.{digits_of(row.column)}f}"


def format_interval(row: Cell) -> str:
    """'[81.2, 84.3]', the 95 % interval of a cell, or nothing where it has none."""
    if row.low is None or row.high is None:
        return ""
    digits = 1 if digits_of(row.column) == 2 else 3
    return f"[{row.low:.{digits}f}, {row.high:.{digits}f}]"
