"""Pictures: labelled with their protocol, the same bytes from the same data, and nothing left half-written."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib import pyplot as plt

from advdpnp import figures
from advdpnp.tiers import load_tier


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
@pytest.mark.parametrize("tier", ["demo", "short", "paper"])
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
    assert ("\n" in fig._supxlabel.get_text()) == (tier == "short" and width < 9), "one line where that is enough"


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
    for word in ("ce_clean", "|dnp|", "clean", "radius", "MeanSep", "MinSep"):
        assert word in shown


def test_epsilon_curves_and_severity_bars_draw_what_they_are_given():
    fig = figures.epsilon_curves([0, 8], {"cifar10, PGD-20": [80.0, 50.0], "cifar10, FGSM": [80.0, 58.0]})
    assert [list(line.get_ydata()) for line in fig.axes[0].lines] == [[80.0, 50.0], [80.0, 58.0]]
    bars = figures.severity_bars({"AT": [80, 79, 78, 77, 76], "Adv-DPNP": [81, 80, 79, 78, 77]}).axes[0].patches
    assert sorted(bar.get_height() for bar in bars) == sorted([80, 79, 78, 77, 76, 81, 80, 79, 78, 77])


def test_a_table_as_bars_marks_the_papers_number_and_skips_what_was_not_run():
    rows = [
        {"method": "AT", "column": "aa", "ours": "", "paper": 48.2},
        {"method": "Adv-DPNP", "column": "aa", "ours": 47.0, "paper": 49.18},
    ]
    ax = figures.paired_bars(rows, ["aa"], paper=True).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [47.0]
    assert [line.get_xdata()[0] for line in ax.lines] == [48.2, 49.18]
    assert not figures.paired_bars(rows, ["aa"], paper=False).axes[0].lines, "a smaller protocol is not compared"
