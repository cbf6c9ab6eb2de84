"""Every picture, in one style: colour-blind safe, readable in print, the tier's label on anything but the paper's
protocol. Functions take plain arrays and return a Figure; `save` writes PNG and PDF.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from advdpnp.names import SIDES, TERMS, attack_name, block_name, column_name, heading, step_of
from advdpnp.paper.numbers import Cell
from advdpnp.store import write_atomic

# Paul Tol's "muted" palette: distinguishable with all common colour deficiencies.
PALETTE = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#777777",
)  # fmt: skip
STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 150,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "image.cmap": "cividis",
}
# What a metadata-free file needs, so that equal data give equal bytes.
_METADATA = {".png": {"Software": None}, ".pdf": {"CreationDate": None, "Producer": None, "Creator": None}}


def figure(
    rows: int = 1, columns: int = 1, *, width: float = 4.2, height: float = 3.4, **options: Any
) -> tuple[Figure, Any]:
    """A Figure in the house style and its axes (a single Axes, or an array of them)."""
    with plt.rc_context(STYLE):
        return plt.subplots(rows, columns, figsize=(width * columns, height * rows), **options)


def label_protocol(fig: Figure, label: str, *, paper: bool = False) -> Figure:
    """Write the tier's label under the picture, and across it unless it is the paper's protocol."""
    lines = textwrap.fill(label, int(14 * fig.get_figwidth()), break_on_hyphens=False)  # an inch holds about 18
    fig.supxlabel(lines, fontsize=8, color="#777777", parse_math=False)  # a label is text, not a formula
    if not paper:
        fig.text(
            0.5, 0.5, "not the paper's protocol", fontsize=min(22, 4 * fig.get_figwidth()), color="#777777", alpha=0.16,
            ha="center", va="center", rotation=18, zorder=10,
        )  # fmt: skip
    return fig


def save(fig: Figure, path: Path) -> Path:
    """Write `path` (.png) and the same as .pdf, atomically. Returns the PNG's path."""
    with plt.rc_context(STYLE):
        for suffix in (".png", ".pdf"):
            target = path.with_suffix(suffix)
            write_atomic(target, lambda handle, s=suffix: fig.savefig(handle, format=s[1:], metadata=_METADATA[s]))
    return path.with_suffix(".png")


def feature_panels(
    panels: Sequence[tuple[str, np.ndarray, np.ndarray]], stars: Sequence[np.ndarray | None], *, most: int = 4000
) -> Figure:
    """Figure 2: 2-d features [N, 2], coloured by label [N], one panel each; `stars` [M, 2] are prototypes or None.

    Four panels stand two by two, so that they can be read in a column of text. Panels whose titles are alike up to the
    comma ("AT, clean", "AT, adversarial") have the same range.
    """
    columns = 2 if len(panels) == 4 else len(panels)
    fig, axes = figure(len(panels) // columns, columns, width=3.0, height=2.7, squeeze=False)
    alike: dict[str, list[Axes]] = {}
    for k, (ax, (title, features, labels), centers) in enumerate(zip(axes.flat, panels, stars)):
        features, labels = features[:most], labels[:most]
        for label in range(int(labels.max()) + 1):
            own, colour = features[labels == label], PALETTE[label % 10]
            size = 3 if len(features) > 1500 else 9
            ax.scatter(own[:, 0], own[:, 1], s=size, alpha=0.45, linewidths=0, color=colour, label=str(label))
        if centers is not None:
            colours = [PALETTE[label % 10] for label in range(len(centers))]
            ax.scatter(*centers.T, marker="*", s=190, c=colours, edgecolors="black", linewidths=0.8, zorder=3)
        ax.set_title(f"({chr(ord('a') + k)}) {title}" if len(panels) > 1 else title)
        alike.setdefault(title.partition(",")[0], []).append(ax)
        ax.axhline(0, color="#bbbbbb", linewidth=0.6, zorder=0)
        ax.axvline(0, color="#bbbbbb", linewidth=0.6, zorder=0)
    for group in alike.values():
        ends = np.array([ax.axis() for ax in group])
        for ax in group:
            ax.set(xlim=(ends.min(), ends.max()), ylim=(ends.min(), ends.max()), aspect="equal")
    handles, labels = axes.flat[-1].get_legend_handles_labels()
    if any(centers is not None for centers in stars):
        handles.append(Line2D([], [], marker="*", linestyle="", color="white", markeredgecolor="black", markersize=4))
        labels.append("prototype")
    fig.legend(handles, labels, loc="outside right center", markerscale=3, title="class", frameon=False)
    return fig


def effects(rows: Sequence[Mapping]) -> Figure:
    """Measured effects on accuracy (rows of ledger.effects): points with 95 % intervals, a tick for each seed.

    One effect that reaches four times as far as all others would squeeze them: it is written at the edge instead.
    """
    rows = [row for row in rows if row["low"] is not None][::-1]
    fig, ax = figure(width=7.2, height=1.1 + 0.36 * len(rows))
    reach = []
    for height, row in enumerate(rows):
        ax.plot([row["low"], row["high"]], [height] * 2, color=PALETTE[0], linewidth=2)
        ax.plot(row["effect"], height, "o", color=PALETTE[0], markersize=7)
        seeds = [float(value) for value in row["by_seed"].split()]
        ax.plot(seeds, [height] * len(seeds), "|", color=PALETTE[6], markersize=11, markeredgewidth=2)
        reach.append(max(map(abs, (row["low"], row["high"], *seeds))))
    measures = [
        column_name(row["measure"]) if row["measure"] == "clean" else attack_name(row["measure"]) for row in rows
    ]
    labels = [f"{row['choice']}: {row['default']} → {row['other']}, {m}" for row, m in zip(rows, measures)]
    ax.set_yticks(range(len(rows)), labels, fontsize=8)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    others, farthest = sorted(reach)[:-1], max(reach, default=0)
    if others and farthest > 4 * (limit := 1.2 * max(others[-1], 1)):
        height = reach.index(farthest)
        effect, low, high = (rows[height][key] for key in ("effect", "low", "high"))
        edge, arrow = limit if effect > 0 else -limit, {"arrowstyle": "->"}
        place = {"xy": (edge, height), "xytext": (0.55 * edge, height), "ha": "center", "va": "center"}
        ax.set_xlim(-limit, limit)
        ax.annotate(f"{effect:+.1f} [{low:+.1f}, {high:+.1f}]", **place, fontsize=8, arrowprops=arrow)
    ax.set_xlabel("effect on accuracy (points)")
    fig.suptitle("bars: 95 % over images, and over seeds where a network was trained anew; ticks: seeds", fontsize=9)
    return fig


def training_curves(log: Sequence[Mapping[str, float]], radius: float | None = None) -> Figure:
    """A run's log.csv over the epochs: loss terms, accuracies, norms of the centers, and their angles."""
    epochs = [row["epoch"] for row in log]
    known = {"epoch", "lr", "seconds", "loss"}
    geometry = ("center_norm_min", "center_norm_mean", "center_norm_max", "mean_sep", "min_sep")
    terms = [k for k in log[0] if k not in known and k not in geometry and not k.startswith(("train_", "val_"))]
    fig, axes = figure(1, 4, width=3.4, height=3.0)
    for name in terms:
        values = np.array([row[name] for row in log])
        term = TERMS.get(name, name)
        axes[0].plot(epochs, np.abs(values), label=f"|{term}|" if (values < 0).any() else term)
    axes[0].set(title="loss terms, before their weights", yscale="log")
    for name in (k for k in log[0] if k.startswith(("train_", "val_"))):
        where, side = name.split("_", 1)
        style, what = ("-", "") if where == "train" else ("--", ", held out")
        axes[1].plot(epochs, [row[name] for row in log], style, label=SIDES.get(side, side) + what)
    axes[1].set(title="training accuracy (%)", ylim=(0, 100))
    axes[2].fill_between(
        epochs, [r["center_norm_min"] for r in log], [r["center_norm_max"] for r in log], alpha=0.3, label="min to max"
    )
    axes[2].plot(epochs, [r["center_norm_mean"] for r in log], label="mean")
    if radius is not None:
        axes[2].axhline(radius, color="black", linestyle=":", linewidth=1, label="radius")
    axes[2].set(title="norms of the centers, end of epoch")
    for name, text in (("mean_sep", "MeanSep, Eq. (11)"), ("min_sep", "MinSep, Eq. (12)")):
        axes[3].plot(epochs, [row[name] for row in log], label=text)
    axes[3].set(title="angles of the centers (degrees)")
    for ax in axes:
        ax.set_xlabel("epoch")
    for ax in axes[1:]:
        ax.legend(fontsize=8, frameon=False)
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, high * (high / low) ** 0.45)  # the lines fill the panel: room for the legend above them
    axes[0].legend(fontsize=7, frameon=False, ncols=2, loc="upper center")
    return fig


HIGHLIGHT = {"Adv-DPNP": PALETTE[6], "AT": PALETTE[0]}  # what the claims are about; the rest is context


def dots(rows: Sequence[Cell], columns: Sequence[str], *, paper: bool) -> Figure:
    """A table as dots with 95 % intervals, a panel per column (rows of one dataset/backbone); ticks are the seeds.

    `paper` marks the paper's numbers, as hollow diamonds. A column that would be empty is left out.
    """
    methods = list(dict.fromkeys(row.method for row in rows))
    there = {row.column for row in rows if row.ours is not None or (paper and row.paper is not None)}
    columns = [column for column in columns if column in there] or columns[:1]
    cells = {(row.method, row.column): row for row in rows}
    fig, axes = figure(1, len(columns), width=max(2.1, 5 / len(columns)), height=1.3 + 0.32 * len(methods), sharey=True)
    for ax, column in zip(np.atleast_1d(axes), columns):
        for y, method in enumerate(methods):
            row, colour = cells[method, column], HIGHLIGHT.get(method, "#666666")
            if row.ours is not None:
                if row.low is not None:
                    ax.plot([row.low, row.high], [y, y], color=colour, linewidth=1.8, alpha=0.55)
                for value in row.by_seed.split()[: 9 if row.seeds != 1 else 0]:
                    ax.plot([float(value)] * 2, [y - 0.22, y + 0.22], color=colour, linewidth=1.1)
                ax.plot(row.ours, y, "o", color=colour, markersize=5.5)
            if paper and row.paper is not None:
                ax.plot(row.paper, y, "D", markersize=5.5, markerfacecolor="none", markeredgecolor="black")
        ax.set(title=textwrap.fill(heading(column), 18), yticks=range(len(methods)), yticklabels=methods)
        ax.title.set_fontsize(9)
        ax.grid(axis="y", visible=False)
    np.atleast_1d(axes)[0].invert_yaxis()
    return fig


def rivals(rows: Sequence[Any]) -> Figure:
    """Adv-DPNP minus each rival (`differences.rivals`, one dataset/backbone), a 95 % bar each; one panel per column."""
    names, columns = (list(dict.fromkeys(getattr(row, key) for row in rows)) for key in ("rival", "column"))
    size = {"width": max(1.9, 5 / len(columns)), "height": 1.3 + 0.3 * len(names)}
    fig, axes = figure(1, len(columns), **size, sharex=True, sharey=True)
    for ax, column in zip(np.atleast_1d(axes), columns):
        for row in (row for row in rows if row.column == column):
            height = names.index(row.rival)
            colour = PALETTE[0 if row.low > 0 else 6 if row.high < 0 else 9]
            ax.plot([row.low, row.high], [height] * 2, color=colour, linewidth=2)
            ax.plot(row.difference, height, "o", color=colour, markersize=6)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set(
            title=textwrap.fill(column_name(column), 18),
            yticks=range(len(names)),
            yticklabels=names,
            ylim=(len(names) - 0.4, -0.6),
        )
    place = ", ".join({block_name(row.dataset, row.backbone): None for row in rows})
    said = f"{place}: Adv-DPNP minus each rival, in points; right of the line it is ahead"
    over = "images and seeds" if any(row.seeds > 1 for row in rows) else "images"
    fig.suptitle(f"{said}\nbars: 95 % over {over}, grey where they span zero", fontsize=9)
    return fig


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Heights in ascending order, moved as little as it takes to lie `gap` apart: where labels can stand."""
    placed: list[list[float]] = []  # runs of heights that touch, each centred on its members
    for height in heights:
        placed.append([height])
        while len(placed) > 1 and _start(placed[-1], gap) < _start(placed[-2], gap) + gap * len(placed[-2]):
            placed[-2:] = [placed[-2] + placed[-1]]
    return [_start(run, gap) + gap * k for run in placed for k in range(len(run))]


def _start(run: Sequence[float], gap: float) -> float:
    return sum(run) / len(run) - gap * (len(run) - 1) / 2


def severity_lines(rows: Sequence[Cell], *, chance: float = 10) -> Figure:
    """Figure 3: accuracy (%) by severity, a line per method with its 95 % band (cells "severity_1" ... "severity_5").

    Adv-DPNP and AT, which the text speaks of, stand out; a method that lacks a severity is left out.
    """
    severities = (1, 2, 3, 4, 5)
    curves: dict[str, list[Cell]] = {}
    for row in rows:
        if row.column.startswith("severity_") and row.ours is not None:
            curves.setdefault(row.method, []).append(row)
    curves = {method: cells for method, cells in curves.items() if len(cells) == len(severities)}
    fig, ax = figure(width=5.4, height=4.2)
    ends = {}
    for method, cells in curves.items():
        colour, strong = HIGHLIGHT.get(method, "#aaaaaa"), method in HIGHLIGHT
        values = [row.ours for row in cells]
        if strong:
            ax.fill_between(severities, *([getattr(row, end) for row in cells] for end in ("low", "high")),
                            color=colour, alpha=0.15, linewidth=0)  # fmt: skip
        ax.plot(severities, values, "o-", color=colour, linewidth=2.2 if strong else 1.2, markersize=3.5,
                zorder=3 if strong else 2)  # fmt: skip
        ends[method] = values[-1]
    ax.set(xlabel="corruption severity", ylabel="accuracy (%), mean of 19 kinds", xticks=severities, xlim=(0.8, 6.4))
    ax.set_ylim(0)
    ax.axhline(chance, color="#777777", linewidth=0.9, linestyle=":")
    ax.text(0.85, chance + 0.4, "chance", fontsize=8, color="#777777")
    order = sorted(ends, key=ends.__getitem__)
    gap = 0.035 * (ax.get_ylim()[1] - ax.get_ylim()[0])
    for method, height in zip(order, _apart([ends[method] for method in order], gap)):
        ax.text(5.12, height, method, color=HIGHLIGHT.get(method, "#666666"), fontsize=8, va="center",
                fontweight="bold" if method == "Adv-DPNP" else "normal")  # fmt: skip
    return fig


def epsilon_curves(epsilons: Sequence[float], curves: Mapping[str, Sequence[Cell]], *, chance: float = 10) -> Figure:
    """Figure 4: accuracy (%) with its 95 % band against epsilon in 1/255, doubling per tick, a line per attack.

    `curves` has the cells of a line, one per epsilon; a name with "FGSM" in it is dashed.
    """
    fig, ax = figure(width=5.6, height=3.8)
    for name, cells in curves.items():
        style = "--" if "FGSM" in name else "-"
        (line,) = ax.plot(epsilons, [cell.ours for cell in cells], style, marker="o", markersize=3.5, label=name)
        if all(cell.low is not None for cell in cells):
            bounds = ([getattr(cell, end) for cell in cells] for end in ("low", "high"))
            ax.fill_between(epsilons, *bounds, color=line.get_color(), alpha=0.15, linewidth=0)
    first = min((value for value in epsilons if value), default=1)
    ax.set_xscale("symlog", base=2, linthresh=first)
    doubled = [value for value in epsilons if not value or math.log2(value / first).is_integer()]
    ax.set_xticks(doubled, [f"{value:g}" for value in doubled])
    ax.minorticks_off()
    ax.axhline(chance, color="#777777", linewidth=0.9, linestyle=":")
    ax.text(epsilons[0], chance + 1, "chance", fontsize=8, color="#777777")
    ax.set(xlabel="epsilon (1/255)", ylabel="accuracy (%)", ylim=(-2, 102))
    ax.legend(frameon=False)
    return fig


def effort_lines(rows: Sequence[Cell], *, paper: bool) -> Figure:
    """Tables 6 and 7: a number of Adv-DPNP over the iterations or starts, with 95 % intervals; a panel per quantity.

    The columns end in the iterations or starts ("accuracy_20", "loss_20"). `paper` draws the paper's numbers, dashed.
    """
    panels: dict[str, list[tuple[int, Cell]]] = {}
    for row in rows:
        if step := step_of(row.column):
            panels.setdefault(step[0], []).append((step[1], row))
    fig, axes = figure(1, len(panels), width=4.2, height=3.0, squeeze=False)
    for ax, (quantity, points) in zip(axes.flat, panels.items()):
        there = [(n, row) for n, row in points if row.ours is not None]
        values = [row.ours for _, row in there]
        spans = [(row.ours - row.low, row.high - row.ours) if row.low is not None else (0, 0) for _, row in there]
        ax.errorbar([n for n, _ in there], values, np.array(spans).reshape(-1, 2).T, marker="o", markersize=5,
                    color=HIGHLIGHT["Adv-DPNP"], capsize=3, label="ours")  # fmt: skip
        printed = [(n, row.paper) for n, row in points if row.paper is not None]
        if paper and printed:
            ax.plot(*zip(*printed), "--D", color="black", markersize=5, markerfacecolor="none", label="the paper")
            ax.legend(frameon=False, fontsize=8)
        numbers = [n for n, _ in points]
        ax.set_xscale("log")
        ax.set_xticks(numbers, [str(n) for n in numbers])
        ax.minorticks_off()
        ax.set_ylim(0)
        label, axis = {"accuracy": ("accuracy (%)", "PGD iterations"), "starts": ("accuracy (%)", "random starts"),
                       "loss": ("cross-entropy", "PGD iterations")}[quantity]  # fmt: skip
        ax.set(xlabel=axis, ylabel=label)
    return fig


def dual_branch() -> Figure:
    """Figure 1 as a diagram: which branch updates what (Section 3.3)."""
    fig, ax = figure(width=8.4, height=4.0)
    ax.axis("off")
    ax.grid(False)
    boxes = {
        "x": (0.02, 0.62, 0.16, 0.2, "clean images\n$x$", "#DDE7F5"),
        "xadv": (0.02, 0.14, 0.16, 0.2, "adversarial images\n$\\tilde{x}$ (PGD)", "#F6DDE0"),
        "f": (0.29, 0.38, 0.18, 0.2, "feature extractor\n$f(\\cdot\\,;\\theta)$\nupdated by both", "#E8E8E8"),
        "fx": (0.56, 0.68, 0.13, 0.14, "$f(x)$", "#DDE7F5"),
        "fxadv": (0.56, 0.14, 0.13, 0.14, "$f(\\tilde{x})$", "#F6DDE0"),
        "c": (0.80, 0.62, 0.19, 0.22, "prototypes $c_1 \\ldots c_M$\n= classifier weights\nupdated", "#DFF0DF"),
        "locked": (0.80, 0.10, 0.19, 0.22, "the same prototypes,\nlocked\n(no gradient)", "#F2F2F2"),
    }
    for x, y, w, h, text, colour in boxes.values():
        ax.add_patch(FancyBboxPatch((x, y), w, h, boxstyle="round,pad=0.01", facecolor=colour, edgecolor="#444444"))
        ax.text(x + w / 2, y + h / 2, text, ha="center", va="center", fontsize=9.5)
    arrows = [
        ((0.19, 0.72), (0.28, 0.53), "-|>"), ((0.19, 0.24), (0.28, 0.43), "-|>"),
        ((0.48, 0.53), (0.55, 0.73), "-|>"), ((0.48, 0.43), (0.55, 0.23), "-|>"),
        ((0.70, 0.75), (0.79, 0.75), "<|-|>"), ((0.70, 0.21), (0.79, 0.21), "<|-"),
        ((0.625, 0.67), (0.625, 0.29), "<|-|>"),
    ]  # fmt: skip
    for a, b, style in arrows:
        ax.add_patch(FancyArrowPatch(a, b, arrowstyle=style, mutation_scale=13, color="#444444", linewidth=1.3))
    ax.text(0.745, 0.79, "$L_{DPP}$", ha="center", fontsize=11)
    ax.text(0.745, 0.25, "$L_{DPP}$", ha="center", fontsize=11)
    ax.text(0.64, 0.48, "$L_{DFA}$", fontsize=11, va="center")
    ax.text(0.895, 0.89, "$L_{DNP}$ between prototypes", ha="center", fontsize=11)
    ax.set(xlim=(0, 1.0), ylim=(0.02, 0.98))
    return fig


def arrow_fields(
    points: np.ndarray, fields: Mapping[str, np.ndarray], centers: np.ndarray, *, highlight: int
) -> Figure:
    """Vector fields [N, 2] over the same points [N, 2], one panel each; `centers` [M, 2] as stars, one highlighted."""
    fig, axes = figure(1, len(fields), width=4.0, height=3.9)
    for ax, (title, arrows) in zip(np.atleast_1d(axes), fields.items()):
        length = np.linalg.norm(arrows, axis=1)
        unit = arrows / np.maximum(length, 1e-9)[:, None]
        quiver = ax.quiver(*points.T, *unit.T, length, cmap="cividis", scale=26, width=0.006)
        colours = [PALETTE[6] if k == highlight else "#bbbbbb" for k in range(len(centers))]
        ax.scatter(*centers.T, marker="*", s=170, c=colours, edgecolors="black", linewidths=0.7, zorder=3)
        ax.set(title=title, aspect="equal")
        fig.colorbar(quiver, ax=ax, shrink=0.75, label="length")
    return fig


def repulsion(before: np.ndarray, after: np.ndarray, separations: Sequence[tuple[float, float]]) -> Figure:
    """Prototypes [M, 2] before and after, and (MeanSep, MinSep) in degrees over the steps between."""
    fig, axes = figure(1, 3, width=3.3, height=3.2)
    for ax, title, c in zip(axes, ("start", "end"), (before, after)):
        ax.add_patch(plt.Circle((0, 0), np.linalg.norm(c[0]), fill=False, color="#bbbbbb"))
        ax.scatter(*c.T, marker="*", s=150, c=list(PALETTE[: len(c)]), edgecolors="black", linewidths=0.7, zorder=3)
        ax.set(title=title, aspect="equal")
    for k, name in enumerate(("MeanSep, Eq. (11)", "MinSep, Eq. (12)")):
        axes[2].plot([pair[k] for pair in separations], label=name)
    axes[2].set(xlabel="step", title="angle to the nearest rival (degrees)")
    axes[2].legend(frameon=False, fontsize=8)
    return fig


def settings_grid(rows: Mapping[str, Sequence[tuple[str, np.ndarray, np.ndarray]]], labels: np.ndarray) -> Figure:
    """What settings do: a row each, and each value a panel (caption, features [N, 2], prototypes [M, 2])."""
    columns = max(len(panels) for panels in rows.values())
    fig, axes = figure(len(rows), columns, width=2.9, height=2.9, squeeze=False)
    for line, (name, panels) in zip(axes, rows.items()):
        line[0].set_ylabel(name, fontsize=12)
        for ax, (caption, features, centers) in zip(line, panels):
            scatter_plane(ax, caption, features, labels, centers)
    return fig


def scatter_plane(ax: Axes, caption: str, features: np.ndarray, labels: np.ndarray, centers: np.ndarray) -> None:
    """Features [N, 2] by label [N], prototypes [M, 2] as stars; all prototypes are in view, far features may not be."""
    colours = np.array(PALETTE)
    ax.scatter(*features.T, s=8, alpha=0.5, linewidths=0, c=colours[labels % 10])
    ax.scatter(*centers.T, marker="*", s=120, c=colours[: len(centers)], edgecolors="black", linewidths=0.7, zorder=3)
    limit = 1.05 * max(1.25 * np.abs(centers).max(), np.quantile(np.abs(features), 0.995))
    ax.set(aspect="equal", xlim=(-limit, limit), ylim=(-limit, limit))
    ax.set_title(caption, fontsize=9)


def paired_seeds(
    panels: Sequence[tuple[str, np.ndarray, np.ndarray]], labels: np.ndarray, measured: Mapping[str, np.ndarray]
) -> Figure:
    """Two variants: a plane each (caption, features, prototypes), then each measure [seeds, 2], one line per seed."""
    ratios = [1.6] * len(panels) + [1] * len(measured)
    fig, axes = figure(1, len(ratios), width=2.4, height=3.0, width_ratios=ratios)
    for ax, (caption, features, centers) in zip(axes, panels):
        scatter_plane(ax, caption, features, labels, centers)
    for ax, (name, values) in zip(axes[len(panels) :], measured.items()):
        ax.plot([0, 1], values.T, color=PALETTE[0], alpha=0.45, marker="o", markersize=4)
        ax.plot([0, 1], values.mean(0), color=PALETTE[6], linewidth=2.5, marker="D", label="mean")
        ax.set(title=name, xticks=[0, 1], xticklabels=[caption for caption, *_ in panels], xlim=(-0.3, 1.3))
        ax.title.set_fontsize(10)
    axes[-1].legend(frameon=False, fontsize=8)
    return fig


MARKERS = "osDv^P"  # beside the colours, for whoever does not tell those apart


def fingerprint(rows: Sequence[Mapping], paper: Mapping[str, float], names: Mapping[str, str], fits: float) -> Figure:
    """Eight quantities over the paper's (rows of fingerprint.rows): a line each, a dot per reading and seed.

    `paper` has the values behind the line at 1, `names` what to call them; grey is what the rule calls near, a factor
    of exp(`fits`). Readings that the rule does not count are hollow; what was not measured has no dot.
    """
    readings = list(dict.fromkeys(row["reading"] for row in rows))
    fig, ax = figure(width=7.2, height=1.6 + 0.5 * len(names))
    ax.axvspan(np.exp(-fits), np.exp(fits), color="#eeeeee", zorder=0, linewidth=0)
    ax.axvline(1, color="black", linewidth=1.2)
    seen = [1.0]
    for k, reading in enumerate(readings):
        own, colour = [row for row in rows if row["reading"] == reading], PALETTE[(0, 6, 2, 4, 8, 9)[k % 6]]
        lane = (k - (len(readings) - 1) / 2) * min(0.13, 0.7 / len(readings))
        dots = [(row[name] / paper[name], y + lane) for row in own for y, name in enumerate(names) if row[name]]
        seen += [x for x, _ in dots]
        face = colour if own[0]["decides"] else "white"
        ax.plot(
            *zip(*dots), linestyle="", marker=MARKERS[k % 6], color=colour, markerfacecolor=face, markersize=5.5,
            label=reading + ("" if own[0]["decides"] else " (not counted)"),
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(0.9 * min(np.exp(-fits), *seen), 1.1 * max(np.exp(fits), *seen))
    (low, high), every = ax.get_xlim(), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10)
    ticks = [tick for tick in every if low < tick < high]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    said = [f"{text}\npaper {paper[name]:.{2 if paper[name] >= 10 else 3}f}" for name, text in names.items()]
    ax.set_yticks(range(len(names)), said, fontsize=8)
    ax.set_ylim(len(names) - 0.45, -0.55)
    ax.grid(axis="y", visible=False)
    for between in range(1, len(names)):
        ax.axhline(between - 0.5, color="#dddddd", linewidth=0.6, zorder=0)
    ax.set_xlabel(f"ours over the paper's (the line), a dot per seed; grey: a factor of {np.exp(fits):.3g}", fontsize=9)
    fig.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return fig


def angles_and_theory(runs: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]) -> Figure:
    """MeanSep over the epochs: {name: [(network's, theory's) per seed]}; points are networks, lines the theory."""
    fig, ax = figure(width=7.4, height=4.0)
    for k, (name, seeds) in enumerate(runs.items()):
        for i, (network, theory) in enumerate(seeds):
            epochs = np.arange(1, len(network) + 1) + 0.05 * (k - len(runs) / 2)  # beside each other
            colour, marker = PALETTE[k % len(PALETTE)], "os^D"[i % 4]
            ax.plot(epochs, theory, color=colour, linewidth=1.6)
            ax.plot(epochs, network, marker, color=colour, markersize=5, fillstyle="none" if i else "full")
        ax.plot([], [], "-o", color=PALETTE[k % len(PALETTE)], markersize=5, label=name)
    ax.axhline(90, color="#777777", linewidth=0.8, linestyle=":")
    ax.set(xlabel="epoch", ylabel="MeanSep (degrees)", ylim=(0, 100))
    ax.set_title("points: trained networks (full, hollow: seeds 0, 1); lines: free features", fontsize=9)
    fig.legend(loc="outside right center", fontsize=8, frameon=False)
    return fig


def pull_scan(rows: Sequence[Mapping[str, Any]], named: Sequence[str], paper: Mapping[str, Sequence[float]]) -> Figure:
    """Rows of prototypes.compare over the pull's strength; the `named` readings are marked, the others make the lines.

    `paper`: {column: one value, or lowest and highest} of Table 4 and, as loss_adv, of Table 6.
    """
    panels = {
        "MeanSep (degrees)": {"mean_sep": ""},
        "SCR, Eq. (10)": {"scr_clean": "clean", "scr_adv": "under attack"},
        "cross-entropy under attack": {"loss_adv": ""},
    }
    fig, axes = figure(1, 3, width=3.5, height=3.7)
    line = sorted((row for row in rows if row["reading"] not in named), key=lambda row: row["pull"])
    marks = dict(zip(named, zip("osD^v", (PALETTE[6], PALETTE[2], PALETTE[5], PALETTE[7], PALETTE[8]))))
    for ax, (title, columns) in zip(axes, panels.items()):
        for column, label in columns.items():
            style = "-" if column != "scr_adv" else "--"
            ax.plot([row["pull"] for row in line], [row[column] for row in line], style, color=PALETTE[0], zorder=1)
            low, high = min(paper[column]), max(paper[column])
            ax.axhspan(low, high, color="black", linestyle=style, linewidth=1.0, alpha=0.75, zorder=0)
            for row in (row for row in rows if row["reading"] in marks):
                marker, colour = marks[row["reading"]]
                fill = "full" if style == "-" else "none"
                ax.plot(row["pull"], row[column], marker, color=colour, markersize=8, fillstyle=fill, zorder=3)
            if label:
                ax.plot([], [], style, color=PALETTE[0], label=label)
        ax.set(xscale="log", title=title, xlabel="pull per squared unit of distance")
        ax.title.set_fontsize(10)
    axes[1].legend(fontsize=8, frameon=False, loc="upper left")
    for name, (marker, colour) in marks.items():
        axes[0].plot([], [], marker, color=colour, label=name)
    axes[0].plot([], [], "-", color="black", label="the paper")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return fig
