"""Tables: our numbers beside the paper's, in long form for machines and in the paper's shape for people. Figures in
numbers are tables too, without a number of the paper's, which it draws and does not print.

A cell is the mean over the seeds of a run. Long form, one row a cell: table, dataset, backbone, method, column, ours,
std, seeds, paper, difference, verdict, and the 95 % interval with what it stands for. Outside of the paper tier there
is no difference, because a smaller protocol's number and the paper's are not two measurements of one thing.
"""

import re
import statistics
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from advdpnp import protocol
from advdpnp.config import RunConfig
from advdpnp.errors import UserError
from advdpnp.paper import Spread, column_kind, mean_interval, reported, seed_interval, verdict, wilson
from advdpnp.results import read_arrays, read_json, tier_dir
from advdpnp.tiers import Tier

if TYPE_CHECKING:
    import numpy as np

COLUMNS = (
    "table", "dataset", "backbone", "method", "column", "ours", "std", "seeds", "paper", "difference", "verdict",
    "low", "high", "interval", "images",
)  # fmt: skip
LOWER_IS_BETTER = ("fdr", "afs", "loss", "angular", "radial")


def stored(run: RunConfig, name: str, root: Path | None = None, key: str = "images") -> dict | None:
    """The JSON of an evaluation below `root` (results/<tier>, or published/<tier>), or None where there is none.

    Raises UserError for one without `key`.
    """
    path = (tier_dir(run.tier) if root is None else root) / "evals" / run.id / f"{name}.json"
    return read_json(path, "images", key) if path.exists() else None


def stored_flags(run: RunConfig, name: str, root: Path | None = None) -> "np.ndarray | None":
    """The flags beside it: bool [N], True where the run is right; or None."""
    path = (tier_dir(run.tier) if root is None else root) / "evals" / run.id / f"{name}.npz"
    return read_arrays(path, "correct")["correct"] if path.exists() else None


def ensemble_accuracy(all_flags: Iterable) -> float:
    """Percent of images right under every attack: a sample is wrong if any of them succeeds (Table 2's caption)."""
    import numpy as np

    return 100 * float(np.logical_and.reduce(list(all_flags)).mean())


def ensemble_flags(run: RunConfig, root: Path | None = None) -> "np.ndarray | None":
    """bool [N], True where the run is right under every attack of Table 2's Ensemble; None where one is missing."""
    import numpy as np

    found = [stored_flags(run, name, root) for name in ("clean", *protocol.ENSEMBLE)]
    return None if any(flags is None for flags in found) else np.logical_and.reduce(found)


class Measured(NamedTuple):
    """One number of one run: an accuracy (%), a loss or a metric; its 95 % interval over images, where it has one."""

    value: float
    images: int  # the fewest test images behind it
    low: float | None = None
    high: float | None = None


def measured(run: RunConfig, source: str, root: Path | None = None) -> Measured | None:
    """A column's number for one run with what its test images leave open; None where an evaluation is missing.

    Accuracies have Wilson's interval, losses and the mean over corruptions a normal one over images. The interval of
    "avg" is the mean of both parts' (as if both erred the same way: never too narrow). The metrics of Table 4 and
    Figure 2 have none. What the figures show is computed from the stored flags and features, not read from a JSON.
    """
    if source == "avg":  # mean of clean and AutoAttack accuracy
        both = [part for name in ("clean", "aa") if (part := measured(run, name, root)) is not None]
        if len(both) < 2:
            return None
        parts = [[part[k] for part in both] for k in (0, 2, 3)]
        value, low, high = (None if None in part else sum(part) / 2 for part in parts)
        return Measured(value, min(part.images for part in both), low, high)
    if source == "ensemble":
        flags = ensemble_flags(run, root)
        if flags is None:
            return None
        return Measured(100 * float(flags.mean()), len(flags), *wilson(int(flags.sum()), len(flags)))
    name, _, field = source.partition(".")
    if name == "features" or field.startswith("severity_"):
        return _of_a_figure(run, name, field, tier_dir(run.tier) if root is None else root)
    field = field or "accuracy"
    result = stored(run, name, root, field)
    if result is None:
        return None
    if isinstance(result[field], bool) or not isinstance(result[field], int | float):
        raise UserError(f"{run.id}, {name}: {field} is no number (damaged?); delete its JSON and evaluate again.")
    value, n = result[field], result["images"]
    if f"{field}_std" in result:
        return Measured(value, n, *mean_interval(value, result[f"{field}_std"], n))
    return Measured(value, n, *(wilson(result["correct"], n) if field == "accuracy" and "correct" in result else ()))


def _of_a_figure(run: RunConfig, name: str, field: str, root: Path) -> Measured | None:
    """`measured` for features.<metric> and corruptions.severity_<s>: from the arrays beside the evaluation's JSON."""
    path = root / "evals" / run.id / f"{name}.npz"
    if stored(run, name, root) is None or not path.exists():
        return None
    try:
        if name == "corruptions":
            return at_severity(read_arrays(path, "correct")["correct"], int(field.removeprefix("severity_")))
        return feature_metric(read_arrays(path, "clean", "adv", "labels", "centers"), field)
    except (IndexError, TypeError, ValueError, RuntimeError):
        raise UserError(f"{path}: {field} cannot be taken from it (damaged?); delete it and evaluate again.") from None


def at_severity(correct: "np.ndarray", severity: int) -> Measured:
    """Accuracy (%) over all corruptions of one severity, from flags [corruptions, severities, N] and 1, 2, ...

    Its interval is over images, because an image's corruptions are not independent. Raises ValueError for other flags.
    """
    if correct.ndim != 3 or correct.size == 0:
        raise ValueError(f"flags [corruptions, severities, N] are wanted, not {[*correct.shape]}")
    an_image = 100 * correct[:, severity - 1].mean(0)
    n, mean, std = len(an_image), float(an_image.mean()), float(an_image.std(ddof=1)) if an_image.size > 1 else 0.0
    return Measured(mean, n, *mean_interval(mean, std, n))


def feature_metric(arrays: Mapping[str, "np.ndarray"], metric: str) -> Measured:
    """One of protocol.FEATURES, from features "clean" and "adv" [N, d], "labels" [N] and "centers" [M, d].

    Angles are in degrees, radial variation is a fraction. Raises ValueError where geometry.py does.
    """
    import torch  # here, because accuracies do without

    from advdpnp.geometry import min_separation, variation_within_classes

    found = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if metric == "min_sep":
        return Measured(min_separation(found["centers"]), len(found["labels"]))
    quantity, _, side = metric.partition("_")
    variation = variation_within_classes(found[side], found["labels"])._asdict()
    return Measured(variation[quantity], len(found["labels"]))


def cell(run: RunConfig, source: str, root: Path | None = None) -> float | None:
    """`measured` without its interval: the number alone, or None where an evaluation is missing."""
    found = measured(run, source, root)
    return None if found is None else found.value


def printed_as(name: str) -> int | str:
    """What rows and claims call an artefact: "table4" is 4, "figure2" stays."""
    return int(name.removeprefix("table")) if name.startswith("table") else name


def table_rows(tier: Tier, name: str, root: Path | None = None) -> list[dict]:
    """Every cell of a table or figure in long form, the paper's rows and columns in their order. Attacks nothing."""
    spec, number = protocol.artefact(name), printed_as(name)
    rows = []
    for block, methods in spec.rows.items():
        here = tier.blocks.get(block)
        dataset, backbone = (here.dataset, here.backbone) if here else block.split("/")
        for method in methods:
            seeds = tier.seeds_of(method)[: 1 if spec.one_seed else None] if here else []
            runs = [tier.run(block, method, seed) for seed in seeds]
            for column, source in spec.columns.items():
                found = [one for run in runs if (one := measured(run, source, root)) is not None]
                rows.append(
                    {"table": number, "dataset": dataset, "backbone": backbone, "method": method, "column": column}
                    | _judged(found, paper_number(number, block, method, column), tier.name, column)
                )
    return rows


def paper_number(table: int | str, block: str, method: str, column: str) -> float | None:
    """The paper's value of a cell of `block` (dataset/backbone), in the column's unit; None where it prints none."""
    dataset, backbone = block.split("/")
    return reported(table, dataset=dataset, backbone=backbone, method=method, column=column)


def _widest(found: list[Measured], over: Spread, column: str) -> tuple[float | None, float | None, str]:
    """The wider of two intervals, and what it is over: "seeds", "images", or "" where there is none.

    Student's t over seeds says what another seed would do, the one over test images what other images would: all seeds
    saw the same ones, so more seeds do not narrow it. Two seeds may agree by chance, and then the first says nothing.
    """
    both = {}
    if over.low is not None and over.high is not None:
        both["seeds"] = over.low, over.high
    if lows := [one.low for one in found if one.low is not None]:
        both["images"] = statistics.fmean(lows), statistics.fmean(one.high for one in found if one.high is not None)
    if not both:
        return None, None, ""
    what = max(both, key=lambda name: both[name][1] - both[name][0])
    low, high = both[what]  # Student's may reach beyond what is possible; nothing that a table shows is below zero
    return max(0.0, low), min(100.0, high) if column_kind(column) == "accuracy" else high, what


def _judged(found: list[Measured], paper: float | None, tier: str, column: str) -> dict:
    """Mean over the seeds with the wider of its intervals, beside the paper's number."""
    images = min((one.images for one in found), default=None)
    over = seed_interval([one.value for one in found]) if found else None
    ours, spread = (over.mean, over.std) if over else (None, None)
    low, high, interval = _widest(found, over, column) if over else (None, None, "")
    judged = verdict(ours, paper, tier=tier, n=images, kind=column_kind(column))
    difference = ours - paper if judged in ("match", "near", "differs") else None
    digits = 2 if ours is not None and abs(ours) >= 10 else 4
    rounded = {"ours": ours, "std": spread, "difference": difference, "low": low, "high": high}
    values = {key: "" if value is None else round(value, digits) for key, value in rounded.items()}
    values |= {"paper": "" if paper is None else paper, "seeds": len(found), "verdict": judged, "interval": interval}
    values["images"] = "" if images is None else images
    return {key: values[key] for key in COLUMNS if key in values}


def best_and_second(values: Mapping[str, float], column: str) -> tuple[set[str], set[str]]:
    """Methods with the best and second best value of a column, bold and underlined in the paper; ties share a mark.

    A method alone is neither best nor second.
    """
    order = sorted(set(values.values()), reverse=not column.startswith(LOWER_IS_BETTER))
    first, second = ({m for m, value in values.items() if value in order[k : k + 1]} for k in (0, 1))
    return (first, second) if len(values) > 1 else (set(), set())


def paper_shaped(rows: list[dict]) -> dict[tuple[str, str], dict[str, dict[str, dict]]]:
    """Long form -> {(dataset, backbone): {method: {column: row}}}, orders kept; a figure's curves run down instead."""
    shaped: dict = {}
    for row in rows:
        shaped.setdefault((row["dataset"], row["backbone"]), {}).setdefault(row["method"], {})[row["column"]] = row
    for block, methods in shaped.items():
        if len(methods) == 1 and any(EPSILON in column for column in next(iter(methods.values()))):
            shaped[block] = curves_down(next(iter(methods.values())))
    return shaped


EPSILON = "_eps"  # between a curve and its budget in 1/255: pgd_eps8


def curves_down(cells: Mapping[str, dict]) -> dict[str, dict[str, dict]]:
    """{column: row} of one method -> {budget: {curve: row}}: Figure 4 with its points below each other.

    A column without a budget ("clean") is where all curves start.
    """
    split = {column: column.rpartition(EPSILON) for column in cells}
    curves = dict.fromkeys(curve for curve, _, _ in split.values() if curve)
    budgets = dict.fromkeys(budget for _, _, budget in split.values())
    return {b: {c: cells[f"{c}{EPSILON}{b}" if f"{c}{EPSILON}{b}" in cells else b] for c in curves} for b in budgets}


def empty(methods: Mapping[str, Mapping[str, dict]]) -> bool:
    """Whether a block of `paper_shaped` holds no number at all, neither ours nor the paper's."""
    return all(row["ours"] == row["paper"] == "" for cells in methods.values() for row in cells.values())


def corner(methods: Mapping[str, Mapping[str, dict]]) -> str:
    """What the first column of a block of `paper_shaped` holds."""
    down = any(label != row["method"] for label, cells in methods.items() for row in cells.values())
    return "epsilon (1/255)" if down else "method"


def number(row: Mapping) -> str:
    """'83.78', '83.78 ± 0.21 (2)' with seeds, or '–' for a cell that was not run."""
    if row["ours"] == "":
        return "–"
    value = float(row["ours"])
    digits = 2 if abs(value) >= 10 or value == 0 else 3
    spread = f" ± {float(row['std']):.{digits}f} ({row['seeds']})" if row["std"] != "" else ""
    return f"{value:.{digits}f}{spread}"


def bounds(row: Mapping) -> str:
    """'[81.2, 84.3]', the 95 % interval of a cell, or nothing where it has none."""
    if row["low"] == "":
        return ""
    digits = 1 if abs(float(row["ours"])) >= 10 else 3
    return f"[{float(row['low']):.{digits}f}, {float(row['high']):.{digits}f}]"


MARKS = {"match": "✓", "near": "≈", "differs": "✗"}  # beside a cell that is compared with the paper
LEGEND = (
    "Each cell: ours [95 % interval]{paper}. Best in bold, second best underlined. Intervals are over test images, or "
    "over seeds where ± is given and they leave more open"
)


def literal(text: object) -> str:
    """`text` as Markdown that shows it as it is: neither its HTML nor its Markdown acts."""
    return re.sub(r"([\\`*_\[\]|$~#])", r"\\\1", escape(" ".join(str(text).split()), quote=False))


def images_note(methods: Mapping[str, Mapping]) -> str:
    """A sentence where the columns of a block rest on different numbers of test images; nothing where they do not."""
    groups: dict[int, list[str]] = {}
    for cells in methods.values():
        for column, row in cells.items():
            if row["ours"] != "" and row["images"] != "" and column not in groups.setdefault(int(row["images"]), []):
                groups[int(row["images"])].append(column)
    counts = "; ".join(f"the first {n:,} for {', '.join(groups[n])}" for n in sorted(groups, reverse=True))
    return f"Compare down, not across: test images are {counts}." if len(groups) > 1 else ""


def markdown(rows: list[dict], label: str) -> str:
    """The table in the paper's shape, 'ours [low, high] | paper' in each cell; our best bold, our second underlined."""
    compared = {row["verdict"] for row in rows} & set(MARKS)
    verdicts = "; " + ", ".join(f"{mark} {v}" for v, mark in MARKS.items()) if compared else ""
    printed = any(row["paper"] != "" for row in rows)  # a figure's numbers are not
    lines = [f"*{literal(label)}. {LEGEND.format(paper=' | paper' if printed else '')}{verdicts}.*", ""]
    for (dataset, backbone), methods in paper_shaped(rows).items():
        if empty(methods):
            lines += [f"**{dataset}, {backbone}**: not run.", ""]
            continue
        columns = list(next(iter(methods.values())))
        lines += [f"**{dataset}, {backbone}**", "", f"| {corner(methods)} | " + " | ".join(columns) + " |"]
        lines.append("|---|" + "---|" * len(columns))
        marks = {c: best_and_second(competing(methods, c), c) for c in columns}
        for method, cells in methods.items():
            shown = []
            for column in columns:
                text = number(cells[column])
                best, second = marks[column]
                if text != "–":
                    text = f"**{text}**" if method in best else f"<u>{text}</u>" if method in second else text
                extras = bounds(cells[column]), MARKS.get(cells[column]["verdict"], "")
                paper = f" \\| {cells[column]['paper']}" if printed and cells[column]["paper"] != "" else ""
                shown.append(" ".join(filter(None, (text, *extras))) + paper)
            lines.append(f"| {method} | " + " | ".join(shown) + " |")
        lines.append("")
        if note := images_note(methods):
            lines += [literal(note), ""]
    return "\n".join(lines)


def competing(methods: Mapping[str, Mapping], column: str) -> dict[str, float]:
    """Ours in one column by method; one method's points do not compete with each other.

    ST, which defends against nothing, does not compete (the paper's convention).
    """
    rows = [cells[column] for cells in methods.values()]
    return {row["method"]: float(row["ours"]) for row in rows if row["ours"] != "" and row["method"] != "ST"}


def latex(rows: list[dict], label: str) -> str:
    """The table as a LaTeX tabular of ours, best in bold, second underlined; the protocol in a comment."""
    lines = [f"% {label}"]
    for (dataset, backbone), methods in paper_shaped(rows).items():
        columns = list(next(iter(methods.values())))
        clean = [c.replace("_", r"\_") for c in columns]
        lines += [rf"\begin{{tabular}}{{l{'c' * len(columns)}}} % {dataset}, {backbone}", r"\hline"]
        lines += [f"{corner(methods).capitalize()} & " + " & ".join(clean) + r" \\", r"\hline"]
        for method, cells in methods.items():
            shown = []
            for column in columns:
                text = number(cells[column]).replace("±", r"$\pm$").replace("–", "--")
                best, second = best_and_second(competing(methods, column), column)
                wrap = r"\textbf{%s}" if method in best else r"\underline{%s}" if method in second else "%s"
                shown.append(wrap % text)
            lines.append(method.replace("_", r"\_") + " & " + " & ".join(shown) + r" \\")
        lines += [r"\hline", r"\end{tabular}"]
    return "\n".join(lines) + "\n"
