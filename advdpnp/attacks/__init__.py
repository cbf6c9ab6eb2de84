"""Attacks: fgsm, pgd (l1, l2, linf), cw, adaptive, autoattack. One contract for all.

Take a model (images [B, C, H, W] in [0, 1] -> logits [B, M]), images x and labels y [B]; return images in
[0, 1], within the ball, detached, with x's shape, dtype and device. The model is left as found, and so is x.

projections.py          projections, ascent directions, random starts: pure functions of tensors
gradient.py             frozen, the losses, fgsm, pgd, cw, adaptive
autoattack_adapter.py   AutoAttack, through pyautoattack
autoattack_fast.py      its search on a faster surrogate, confirmed by the target
tally.py                what each of its components did, and at what cost
"""

from advdpnp.attacks.autoattack_adapter import COMPONENTS, autoattack
from advdpnp.attacks.gradient import (
    LOSSES,
    adaptive,
    adaptive_objective,
    cross_entropy,
    cw,
    cw_loss,
    fgsm,
    frozen,
    margin_loss,
    pgd,
    pgd_prefixes,
)
from advdpnp.attacks.projections import NORMS, linf_bounds, project_l1, project_l2
from advdpnp.attacks.tally import Tally

__all__ = [
    "COMPONENTS",
    "LOSSES",
    "NORMS",
    "Tally",
    "adaptive",
    "adaptive_objective",
    "autoattack",
    "cross_entropy",
    "cw",
    "cw_loss",
    "fgsm",
    "frozen",
    "linf_bounds",
    "margin_loss",
    "pgd",
    "pgd_prefixes",
    "project_l1",
    "project_l2",
]
