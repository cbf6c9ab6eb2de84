"""CIFAR-10-C (Hendrycks and Dietterich, 2019): 19 corruptions at 5 severities, read from the official files or redone.

The official files were drawn without a seed, so no code can make them again: what `corrupt` and `generate` make is
"CIFAR-10-C (regenerated)", the same parameters and quirks with seeds of its own, and is always labelled so. Two
corruptions are approximations: frost (random fields instead of photographs) and water spatter (see each).
All 95 variants of 1,000 images take about a minute on one core. Needs numpy, scipy and Pillow only.
"""

from .catalogue import BENCHMARK, CORRUPTIONS, EXTRA, GROUPS, PARAMETERS, SEVERITIES, corrupt
from .files import (
    OFFICIAL_MD5,
    corrupted_test_set,
    generate,
    has_official,
    load_official,
    official_labels,
)

__all__ = [
    "BENCHMARK",
    "CORRUPTIONS",
    "EXTRA",
    "GROUPS",
    "OFFICIAL_MD5",
    "PARAMETERS",
    "SEVERITIES",
    "corrupt",
    "corrupted_test_set",
    "generate",
    "has_official",
    "load_official",
    "official_labels",
]
