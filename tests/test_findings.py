"""docs/findings.md: the numbers in its prose are those of the published files (its tables: tests/test_summary.py)."""

from pathlib import Path

import numpy as np

from advdpnp.report import published_dir
from advdpnp.results import read_arrays

FINDINGS = " ".join((Path(__file__).parent.parent / "docs" / "findings.md").read_text().split())


def test_the_gaps_between_prototypes_in_the_prose_are_those_of_figure_2():
    stored = published_dir("short") / "evals" / "mnist-lenetspp-adv_dpnp-s0" / "features.npz"
    centers = read_arrays(stored, "centers")["centers"]
    angles = np.sort(np.degrees(np.arctan2(centers[:, 1], centers[:, 0])))
    gaps = sorted(np.diff(angles, append=angles[0] + 360))
    assert f"gaps of {gaps[-2]:.0f} and {gaps[-1]:.0f} degrees on the circle" in FINDINGS
    assert f"closest (0 and 9) are {gaps[0]:.0f} degrees apart" in FINDINGS
