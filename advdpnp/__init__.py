"""Adv-DPNP: adversarially trained deep positive-negative prototypes (arXiv 2504.03782), reproduced.

Importing the package is free: torch is loaded by the modules that need it.
"""

__version__ = "0.1.0"
