"""Pictures: labelled with their protocol, the same bytes from the same data, and nothing left half-written."""

import matplotlib

matplotlib.use("Agg")

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot as plt

from advdpnp.config import load_tier
from advdpnp.paper.numbers import Cell
from advdpnp.report import figures


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def texts(fig) -> str:
    return " ".join(text.get_text() for text in fig.findobj(matplotlib.text.Text))


def picture():
    rng = np.random.default_rng(0)
    return figures.feature_panels([("a title", rng.normal(size=(40, 2)), np.arange(40) % 4)], [np.eye(4, 2)])


def test_only_the_papers_protocol_goes_without_a_watermark():
    assert "not the paper's protocol" in texts(figures.label_protocol(picture(), "demo: digits"))
    paper = texts(figures.label_protocol(picture(), "paper protocol", paper=True))
    assert "not the paper's" not in paper
    assert "paper protocol" in paper


@pytest.mark.parametrize("width", [3, 4.2, 9])
@pytest.mark.parametrize("tier", ["demo", "short", "short100", "medium", "paper"])
def test_the_protocol_stands_whole_under_the_picture(width, tier):
    fig, ax = figures.figure(width=width, height=3)
    ax.set_xlabel("epoch")
    label = load_tier(tier).label
    figures.label_protocol(fig, label)
    fig.canvas.draw()
    assert label in texts(fig).replace("\n", " ")
    drawn, above = fig._supxlabel.get_window_extent(), ax.xaxis.label.get_window_extent()
    assert fig.bbox.x0 < drawn.x0 < drawn.x1 < fig.bbox.x1
    assert fig.bbox.y0 < drawn.y0 < drawn.y1 <= above.y0, "below the axes, not over them"
    assert ("\n" in fig._supxlabel.get_text()) == (len(label) > int(14 * width)), "one line where that is enough"


def test_equal_data_give_equal_bytes(tmp_path):
    first, second = (figures.save(picture(), tmp_path / f"{k}.png") for k in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".pdf").read_bytes() == second.with_suffix(".pdf").read_bytes()
    assert len(list(tmp_path.iterdir())) == 4, "no temporary files stay"


def test_training_curves_show_every_term_and_the_radius():
    row = {"epoch": 0, "lr": 0.1, "seconds": 1.0, "loss": 1.0, "ce_clean": 1.0, "dnp": -3.0, "train_clean": 50.0}
    row |= {
        "center_norm_min": 9.0,
        "center_norm_mean": 10.0,
        "center_norm_max": 11.0,
        "mean_sep": 60.0,
        "min_sep": 40.0,
    }
    shown = texts(figures.training_curves([row, row | {"epoch": 1}], radius=10.0))
    for word in ("CE, clean", "|DNP, Eq. (5)|", "clean", "radius", "MeanSep", "MinSep"):
        assert word in shown


def cells_of(table, columns, values, width=2.0):
    """Cells of Adv-DPNP, one per column, with intervals; the paper's number is one higher."""
    place = (table, "cifar10", "resnet18", "Adv-DPNP")
    return [
        Cell(*place, column, value, low=value - width, high=value + width, paper=value + 1)
        for column, value in zip(columns, values, strict=True)
    ]


def test_epsilon_curves_have_bands_a_line_at_chance_and_ticks_that_double():
    epsilons, names = [0, 4, 8, 24], ["CIFAR-10: PGD-20", "CIFAR-10: FGSM"]
    curves = {name: cells_of("figure4", "abcd", [80.0, 50.0, 20.0, k]) for k, name in enumerate(names)}
    (ax,) = figures.epsilon_curves(epsilons, curves).axes
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[80.0, 50.0, 20.0, 0.0], [80.0, 50.0, 20.0, 1.0]]
    assert [line.get_linestyle() for line in ax.lines[:2]] == ["-", "--"]
    assert list(ax.lines[2].get_ydata()) == [10, 10]
    assert len(ax.collections) == 2
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "4", "8"]  # 24 is no doubling


def test_more_iterations_are_a_line_per_quantity_with_the_papers_beside_it():
    rows = cells_of(6, ["accuracy_20", "accuracy_500"], [26.0, 25.0]) + cells_of(6, ["loss_20", "loss_500"], [1.9, 2.0])
    accuracy, loss = figures.effort_lines(rows, paper=True).axes
    drawn = [list(line.get_ydata()) for line in accuracy.lines if len(line.get_ydata()) == 2]
    assert [26.0, 25.0] in drawn
    assert [27.0, 26.0] in drawn
    assert [text.get_text() for text in accuracy.get_xticklabels()] == ["20", "500"]
    assert "cross-entropy" in loss.get_ylabel()
    alone = figures.effort_lines(rows, paper=False).axes[0]
    assert [27.0, 26.0] not in [list(line.get_ydata()) for line in alone.lines], "a smaller protocol is not compared"


def test_panels_of_one_method_have_one_range_and_letters():
    rng = np.random.default_rng(0)
    points = {"AT, clean": 1, "AT, adversarial": 3, "Adv-DPNP, clean": 50}
    panels = [(name, size * rng.normal(size=(40, 2)), np.arange(40) % 4) for name, size in points.items()]
    fig = figures.feature_panels(panels, [None, None, np.eye(4, 2)])
    first, second, third = fig.axes
    assert first.axis() == second.axis() != third.axis()
    assert first.get_title() == "(a) AT, clean"
    assert "prototype" in texts(fig)


def test_four_panels_stand_two_by_two_at_the_width_of_a_column():
    panels = [(f"{name}, {side}", np.eye(4, 2), np.arange(4)) for side in ("clean", "adversarial") for name in "AB"]
    fig = figures.feature_panels(panels, [None] * 4)
    assert fig.axes[0].get_subplotspec().get_gridspec().get_geometry() == (2, 2)
    assert fig.get_figwidth() < 7
    assert figures.feature_panels(panels[:3], [None] * 3).axes[0].get_gridspec().get_geometry() == (1, 3)


def test_severities_are_lines_with_bands_and_labels_that_do_not_overlap():
    def row(method, severity, value):
        column = f"severity_{severity}"
        return Cell("figure3", "cifar10", "resnet18", method, column, value, low=value - 2, high=value + 2)

    starts = {"AT": 80, "MART": 79.9, "Adv-DPNP": 81}
    rows = [row(method, s, start - s) for method, start in starts.items() for s in range(1, 6)]
    rows += [row("HAT", 1, 50.0), Cell("figure3", "cifar10", "resnet18", "AT", "noise", 3.0)]
    fig = figures.severity_lines(rows)
    (ax,) = fig.axes
    drawn = [list(line.get_ydata()) for line in ax.lines if len(line.get_ydata()) == 5]
    assert drawn == [[start - s for s in range(1, 6)] for start in starts.values()]  # HAT lacks severities
    assert len(ax.collections) == 2  # bands of AT and Adv-DPNP
    labels = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert labels["MART"] < labels["AT"] < labels["Adv-DPNP"]
    heights = sorted(height for name, height in labels.items() if name != "chance")
    gap = 0.035 * (ax.get_ylim()[1] - ax.get_ylim()[0])
    assert min(np.diff(heights)) == pytest.approx(gap)
    assert sum(heights) == pytest.approx(75 + 74.9 + 76)  # moved as little as it takes


def test_a_table_as_dots_marks_intervals_seeds_and_the_papers_number():
    place, seeds = (1, "cifar10", "resnet18"), {"seeds": 2, "by_seed": "46.50 47.50"}
    rows = [
        Cell(*place, "AT", "aa", paper=48.2),
        Cell(*place, "Adv-DPNP", "aa", 47.0, low=45.0, high=49.0, paper=49.18, **seeds),
    ]
    rows += [replace(row, column="pgd", ours=None, paper=None) for row in rows]
    ax, *others = figures.dots(rows, ["aa", "pgd"], paper=True).axes
    assert not others  # nothing to show under pgd
    assert [list(line.get_xdata()) for line in ax.lines] == [[48.2], [45, 49], [46.5] * 2, [47.5] * 2, [47.0], [49.18]]
    alone = figures.dots(rows, ["aa"], paper=False).axes[0]
    assert all(49.18 not in line.get_xdata() for line in alone.lines), "a smaller protocol is not compared"
