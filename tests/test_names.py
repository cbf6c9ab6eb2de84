"""People read names, not keys."""

import re

import pytest

from advdpnp.names import block_name, column_name, heading
from advdpnp.paper.artefacts import ARTEFACTS

COLUMNS = sorted({column for artefact in ARTEFACTS.values() for column in artefact.columns})


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_of_every_table_and_figure_has_a_name(column):
    assert not re.search(r"_|eps\d", column_name(column))


def test_no_two_columns_of_a_table_share_a_name():
    for artefact in ARTEFACTS.values():
        assert len({column_name(column) for column in artefact.columns}) == len(artefact.columns)


def test_names_are_the_fields():
    assert column_name("pgd_eps2") == "PGD-20 (2/255)"
    assert column_name("fdr_adv") == "FDR, adversarial"
    assert block_name("cifar10", "wrn34_10") == "CIFAR-10, WRN-34-10"
    assert (column_name("mine"), block_name("mine", "net")) == ("mine", "mine, net")


def test_arrows_say_which_way_is_better():
    assert [heading(c)[-1] for c in ("aa", "fdr_clean", "scr_adv", "loss_20", "min_sep")] == ["↑", "↓", "↑", "↓", "↑"]
