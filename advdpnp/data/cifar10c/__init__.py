"""CIFAR-10-C (Hendrycks and Dietterich, 2019): 19 corruptions at 5 severities, read from the official files or redone.

The official files were drawn without a seed, so no code can make them again: what `corrupt` makes is
"CIFAR-10-C (regenerated)", the same parameters and quirks with seeds of its own, and is always labelled so. One
corruption is an approximation: frost adds random fields instead of photographs. Given the same draws, the steps that
the official script leaves to scikit-image and OpenCV 5 (blurs, HSV, warps, water) came out within one level in 255.
All 95 variants of 1,000 images take 15 to 35 seconds on one core. Needs numpy, scipy and Pillow only.
"""

from .catalogue import BENCHMARK, CORRUPTIONS, EXTRA, PARAMETERS, SEVERITIES, corrupt
from .files import (
    OFFICIAL_MD5,
    corrupted_test_set,
    has_official,
    load_official,
    official_labels,
)

__all__ = [
    "BENCHMARK",
    "CORRUPTIONS",
    "EXTRA",
    "OFFICIAL_MD5",
    "PARAMETERS",
    "SEVERITIES",
    "corrupt",
    "corrupted_test_set",
    "has_official",
    "load_official",
    "official_labels",
]
