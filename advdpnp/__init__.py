"""Adv-DPNP: adversarially trained deep positive-negative prototypes (arXiv 2504.03782), reproduced.

Importing the package is free: torch is loaded by the modules that need it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__version__ = "0.1.0"


def load_published(run: str, tier: str = "medium") -> "nn.Module":
    """The trained network of a run id from published/weights/: see `advdpnp.share.weights.load_published`."""
    from advdpnp.share import weights

    return weights.load_published(run, tier)
