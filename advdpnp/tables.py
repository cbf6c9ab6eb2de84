"""Tables: our numbers beside the paper's, in long form for machines and in the paper's shape for people.

A cell is the mean over the seeds of a run. Long form, one row a cell:
table, dataset, backbone, method, column, ours, std, seeds, paper, difference, verdict. Outside of the paper tier there
is no difference, because a smaller protocol's number and the paper's are not two measurements of one thing.
"""

import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

from advdpnp import protocol
from advdpnp.config import RunConfig
from advdpnp.paper import column_kind, reported, verdict
from advdpnp.results import read_json, tier_dir
from advdpnp.tiers import Tier

COLUMNS = (
    "table", "dataset", "backbone", "method", "column", "ours", "std", "seeds", "paper", "difference", "verdict",
)  # fmt: skip
LOWER_IS_BETTER = ("fdr", "afs", "loss")


def stored(run: RunConfig, name: str, root: Path | None = None) -> dict | None:
    """The JSON of an evaluation below `root` (results/<tier>, or published/<tier>), or None where there is none."""
    path = (tier_dir(run.tier) if root is None else root) / "evals" / run.id / f"{name}.json"
    return read_json(path) if path.exists() else None


def stored_flags(run: RunConfig, name: str, root: Path | None = None):
    """The flags beside it: bool [N], True where the run is right; or None."""
    import numpy as np

    path = (tier_dir(run.tier) if root is None else root) / "evals" / run.id / f"{name}.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["correct"]


def ensemble_accuracy(all_flags: Iterable) -> float:
    """Percent of images right under every attack: a sample is wrong if any of them succeeds (Table 2's caption)."""
    import numpy as np

    return 100 * float(np.logical_and.reduce(list(all_flags)).mean())


def cell(run: RunConfig, source: str, root: Path | None = None) -> float | None:
    """One number of one run: an accuracy (%), a loss or a metric; None where an evaluation is missing."""
    if source == "avg":  # mean of clean and AutoAttack accuracy
        both = [cell(run, name, root) for name in ("clean", "aa")]
        return None if None in both else sum(both) / 2
    if source == "ensemble":
        found = [stored_flags(run, name, root) for name in ("clean", *protocol.ENSEMBLE)]
        return None if any(f is None for f in found) else ensemble_accuracy(found)
    name, _, field = source.partition(".")
    result = stored(run, name, root)
    return None if result is None else result[field or "accuracy"]


def images_used(run: RunConfig, source: str, root: Path | None = None) -> int | None:
    """The fewest test images behind a cell, or None where an evaluation is missing."""
    found = [stored(run, name, root) for name in protocol.sources_of(source)]
    there = [result["images"] for result in found if result is not None]
    return min(there) if len(there) == len(found) else None


def table_rows(tier: Tier, name: str, root: Path | None = None) -> list[dict]:
    """Every cell of a table in long form, the paper's rows and columns in their order. Reads, computes nothing."""
    spec, number = protocol.artefact(name), int(name.removeprefix("table"))
    rows = []
    for block, methods in spec.rows.items():
        here = tier.blocks.get(block)
        dataset, backbone = (here.dataset, here.backbone) if here else block.split("/")
        for method in methods:
            runs = [tier.run(block, method, seed) for seed in tier.seeds_of(method)] if here else []
            for column, source in spec.columns.items():
                found = [value for run in runs if (value := cell(run, source, root)) is not None]
                images = min((n for run in runs if (n := images_used(run, source, root))), default=None)
                rows.append(
                    {"table": number, "dataset": dataset, "backbone": backbone, "method": method, "column": column}
                    | _judged(found, paper_number(number, block, method, column), tier.name, column, images)
                )
    return rows


def paper_number(table: int, block: str, method: str, column: str) -> float | None:
    """The paper's value of a cell of `block` (dataset/backbone), in the column's unit; None where it has none."""
    dataset, backbone = block.split("/")
    return reported(table, dataset=dataset, backbone=backbone, method=method, column=column)


def _judged(found: list[float], paper: float | None, tier: str, column: str, images: int | None) -> dict:
    """Mean and standard deviation over the seeds, beside the paper's number; `images` is the fewest that were used."""
    ours = statistics.fmean(found) if found else None
    spread = statistics.stdev(found) if len(found) > 1 else None
    judged = verdict(ours, paper, tier=tier, n=images, kind=column_kind(column))
    difference = ours - paper if judged in ("match", "near", "differs") else None
    digits = 2 if ours is not None and abs(ours) >= 10 else 4
    values = {"ours": ours, "std": spread, "seeds": len(found), "paper": paper, "difference": difference}
    shown = {k: "" if v is None else v if k == "paper" else round(v, digits) for k, v in values.items()}
    return shown | {"verdict": judged}


def best_and_second(values: Mapping[str, float], column: str) -> tuple[set[str], set[str]]:
    """Methods with the best and second best value of a column, bold and underlined in the paper; ties share a mark.

    A method alone is neither best nor second.
    """
    order = sorted(set(values.values()), reverse=not column.startswith(LOWER_IS_BETTER))
    first, second = ({m for m, value in values.items() if value in order[k : k + 1]} for k in (0, 1))
    return (first, second) if len(values) > 1 else (set(), set())


def paper_shaped(rows: list[dict]) -> dict[tuple[str, str], dict[str, dict[str, dict]]]:
    """Long form -> {(dataset, backbone): {method: {column: row}}}, orders kept."""
    shaped: dict = {}
    for row in rows:
        shaped.setdefault((row["dataset"], row["backbone"]), {}).setdefault(row["method"], {})[row["column"]] = row
    return shaped


def number(row: Mapping) -> str:
    """'83.78', '83.78 ± 0.21 (2)' with seeds, or '–' for a cell that was not run."""
    if row["ours"] == "":
        return "–"
    value = float(row["ours"])
    digits = 2 if abs(value) >= 10 or value == 0 else 3
    spread = f" ± {float(row['std']):.{digits}f} ({row['seeds']})" if row["std"] != "" else ""
    return f"{value:.{digits}f}{spread}"


def markdown(rows: list[dict], label: str) -> str:
    """The table in the paper's shape, 'ours | paper' in each cell; best bold, second underlined, among ours."""
    lines = [f"*{label}. Each cell: ours | paper. Best in bold, second best underlined.*", ""]
    for (dataset, backbone), methods in paper_shaped(rows).items():
        columns = list(next(iter(methods.values())))
        lines += [f"**{dataset}, {backbone}**", "", "| method | " + " | ".join(columns) + " |"]
        lines.append("|---|" + "---|" * len(columns))
        marks = {c: best_and_second(competing(methods, c), c) for c in columns}
        for method, cells in methods.items():
            shown = []
            for column in columns:
                text = number(cells[column])
                best, second = marks[column]
                if text != "–":
                    text = f"**{text}**" if method in best else f"<u>{text}</u>" if method in second else text
                shown.append(f"{text} \\| {cells[column]['paper']}")
            lines.append(f"| {method} | " + " | ".join(shown) + " |")
        lines.append("")
    return "\n".join(lines)


def competing(methods: Mapping[str, Mapping], column: str) -> dict[str, float]:
    """Ours in one column. ST, which defends against nothing, does not compete (the paper's convention)."""
    return {m: float(c[column]["ours"]) for m, c in methods.items() if c[column]["ours"] != "" and m != "ST"}


def latex(rows: list[dict], label: str) -> str:
    """The table as a LaTeX tabular of ours, best in bold, second underlined; the protocol in a comment."""
    lines = [f"% {label}"]
    for (dataset, backbone), methods in paper_shaped(rows).items():
        columns = list(next(iter(methods.values())))
        clean = [c.replace("_", r"\_") for c in columns]
        lines += [rf"\begin{{tabular}}{{l{'c' * len(columns)}}} % {dataset}, {backbone}", r"\hline"]
        lines += ["Method & " + " & ".join(clean) + r" \\", r"\hline"]
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
