"""One picture of a results/benchmarks.json, with one panel per part that was measured."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from advdpnp.report.figures import PALETTE, figure

SCALED = {"batch": "images per batch", "width": "channels of the first stage", "steps": "PGD steps"}


def ratios(found: Mapping) -> dict[str, float]:
    """{label: how many times as fast}, from every part that compares."""
    out = {name: point["ratio"] for name, point in found.get("steps", {}).items()}
    names = {"pgd20": "PGD-20", "aa": "AutoAttack"}
    out |= {label: found["attacks"][name]["ratio"] for name, label in names.items() if name in found.get("attacks", {})}
    out |= {part: point["ratio"] for part, point in found.get("once", {}).items() if isinstance(point, Mapping)}
    return out | ({"augmentation": found["data"]["ratio"]} if "data" in found else {})


def draw(found: Mapping) -> Figure:
    """Ratios, scaling along three axes, and the demo's seconds by rule; of a part that is missing, nothing."""
    found = {name: value for name, value in found.items() if not (isinstance(value, Mapping) and "missing" in value)}
    bars, rules = ratios(found), found.get("demo", {}).get("rules", {})
    shares = [1.9, 1, 1, 1, 1.2] if rules else [1.9, 1, 1, 1]
    fig, axes = figure(1, len(shares), width=3.1, height=4.2, width_ratios=shares)
    axes[0].barh(list(bars), list(bars.values()), color=PALETTE[0])
    axes[0].bar_label(axes[0].containers[0], fmt="%.1f", padding=3, fontsize=8)
    axes[0].axvline(1, color="black", linewidth=0.8)
    axes[0].set(
        title="how many times as fast as a plain\nloop, other code or an earlier commit",
        xlabel="times (line: equally fast)",
    )
    axes[0].margins(x=0.1)
    axes[0].invert_yaxis()
    for ax, axis in zip(axes[1:4], SCALED):
        points = found.get("scaling", {}).get(axis, {})
        for name, colour in (("ours", PALETTE[0]), ("textbook", PALETTE[6])):
            medians = [point["median"][name] for point in points.values()]
            ax.plot(
                [int(value) for value in points],
                medians,
                marker="o",
                color=colour,
                label={"textbook": "plain loop"}.get(name, name),
            )
        ax.set(title="a step of Adv-DPNP", xlabel=SCALED[axis], ylabel="seconds", ylim=(0, None))
        ax.set_xticks([int(value) for value in points])
        ax.legend(frameon=False, fontsize=8)
    if rules:
        axes[4].barh(list(rules), [rule["seconds"] for rule in rules.values()], color=PALETTE[2])
        axes[4].set(title="the demo, by rule", xlabel="seconds")
    about = f"width {found['width']}, batch {found['batch']}, medians of {found['rounds']} rounds"
    fig.supxlabel(f"{found['provenance']['device']}; {about}", fontsize=8, color="#777777", parse_math=False)
    return fig
