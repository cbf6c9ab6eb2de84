"""Which of the paper's leads one run per method can tell, by constants that the published flags confirm."""

import math
import statistics

import numpy as np
import pytest

from advdpnp.config import load_tier
from advdpnp.paper import artefacts, resolution
from advdpnp.paper.artefacts import CIFAR10
from advdpnp.report.tables import by_seed
from advdpnp.store import PUBLISHED


def test_a_lead_is_over_the_best_defense_and_st_is_none():
    found = {(lead.table, lead.block, lead.column): lead for lead in resolution.leads()}
    assert len(found) == 40
    clean = found[1, "CIFAR-10, ResNet-18", "clean"]
    assert (clean.rival, clean.lead) == ("AT", pytest.approx(0.85))  # not ST's 94.39
    assert clean.open == pytest.approx(1.96 * math.sqrt(33.5**2 / 10_000 + 2 * 0.15**2))
    assert clean.told
    aa = found[1, "CIFAR-10, ResNet-18", "aa"]
    assert (aa.rival, aa.lead, aa.told) == ("TRADES", pytest.approx(0.18), False)
    assert found[2, "SVHN, ResNet-18", "fgsm"].open < clean.open  # 26,032 test images
    assert not any(lead.told for lead in found.values() if lead.table == 3 or lead.column.startswith("aa"))


def test_the_sentence_counts_what_is_told():
    told = [lead for lead in resolution.leads() if lead.told]
    text = resolution.resolution_markdown()
    assert f"leads in 40 cells of the paper's Tables 1, 2, 3 and 5; {len(told)} of these leads are larger" in text
    assert "Table 3: 0 of 6" in text


@pytest.mark.parametrize(("source", "stated"), [("aa", resolution.SINGLE_SD), ("avg", resolution.PAIRED_SD["avg"])])
def test_the_deviation_of_a_difference_is_that_of_the_published_networks(source, stated):
    tier = load_tier("short")
    (ours, *_) = by_seed(artefacts.runs_of_row(tier, CIFAR10, artefacts.PRINTED), source, PUBLISHED).values()
    deviations = []
    for method in tier.methods:
        theirs = by_seed(artefacts.runs_of_row(tier, CIFAR10, method), source, PUBLISHED).get(0)
        if theirs is not None and method not in ("ST", "Adv-DPNP"):
            seen = min(len(ours), len(theirs))
            deviations.append(100 * float(np.std(ours[:seen].astype(float) - theirs[:seen], ddof=1)))
    assert len(deviations) == 10
    assert statistics.median(deviations) == pytest.approx(stated, abs=0.5)
