"""The sentences under a table say what its cells say."""

import pytest

from advdpnp.paper.numbers import Cell
from advdpnp.report.differences import Comparison
from advdpnp.report.sentences import ordinal, sentences


def cells(table, rows, dataset="cifar10"):
    return [Cell(table, dataset, "resnet18", m, c, ours=v) for m, row in rows.items() for c, v in row.items()]


ROWS = {
    "ST": {"clean": 99.0, "fdr_clean": 0.01},
    "AT": {"clean": 40.0, "fdr_clean": 0.3},
    "HAT": {"clean": 46.9, "fdr_clean": 0.2},
    "Adv-DPNP": {"clean": 43.4, "fdr_clean": 0.1},
}


def test_the_best_defense_and_the_place_of_adv_dpnp_lower_where_lower_is_better():
    assert sentences(cells(1, ROWS)) == (
        "CIFAR-10, ResNet-18: best of 3 rows without ST: HAT in clean (46.90), Adv-DPNP in FDR, clean (0.100). "
        "Adv-DPNP is second (43.40) and first (0.100), and first in 1 of 2 columns."
    )


def test_a_column_that_not_all_have_decides_nothing():
    rows = ROWS | {"AT": {"clean": 40.0, "fdr_clean": None}}
    assert "first in 0 of 1 column." in sentences(cells(1, rows))


def test_differences_are_counted_by_their_intervals():
    def against(low, high, dataset="cifar10"):
        return Comparison(1, dataset, "resnet18", "AT", "clean", 1, 1, 0, low, high, 1, 10, 1)

    said = sentences(cells(1, ROWS), [against(1, 2), against(-2, -1), against(-1, 1), against(1, 2, "svhn")])
    assert said.endswith(
        "Of its 3 differences to other rows, 1 in its favour and 1 against it exclude zero; 1 does not."
    )


def test_a_table_of_one_method_tells_what_more_of_the_attack_did():
    rows = {"Adv-DPNP": {"accuracy_20": 26.0, "loss_20": 1.9, "accuracy_500": 25.6, "loss_500": 2.0}}
    assert sentences(cells(6, rows)) == (
        "CIFAR-10, ResNet-18: Adv-DPNP goes from 26.00 % (20 iterations) to 25.60 % (500 iterations), -0.40 points."
    )


def test_nothing_measured_is_nothing_said():
    assert sentences(cells(1, {"AT": {"clean": None}})) == sentences([]) == ""


@pytest.mark.parametrize(("place", "said"), [(1, "first"), (3, "third"), (4, "4th")])
def test_ordinals(place, said):
    assert ordinal(place) == said
