"""Checks for notebooks/exercises: each takes a student's function and answers with a Verdict that says what is off.

A check never raises: a stub, a wrong shape or an exception in the student's code all end in a sentence. It knows the
likely mistakes by what they would give (the sign forgotten, a sum for a mean) and points to the hint about them.
"""

import sys

from advdpnp.checkout import check_kernel
from advdpnp.exercises.attacks import check_fgsm, check_pgd, check_project_l2, check_project_linf, check_worst_margin
from advdpnp.exercises.defense import check_alp_loss, check_defense
from advdpnp.exercises.geometry import check_mean_separation, check_min_separation, check_scr
from advdpnp.exercises.ladder import check_rung
from advdpnp.exercises.losses import (
    check_adv_dpnp,
    check_adversarial_branch,
    check_dfa_branches,
    check_dfa_loss,
    check_dnp_loss,
    check_dpp_loss,
    check_negative_prototypes,
    check_probabilities,
    check_trades_loss,
)
from advdpnp.exercises.masked import check_break
from advdpnp.exercises.prototypes import check_mean_angle, check_shortening, check_summed_gradient
from advdpnp.exercises.readings import check_decide, check_implied_distance, check_log_distance
from advdpnp.exercises.verdict import Verdict

__all__ = [
    "Verdict", "check_adv_dpnp", "check_adversarial_branch", "check_alp_loss", "check_break", "check_decide",
    "check_defense", "check_dfa_branches", "check_dfa_loss", "check_dnp_loss", "check_dpp_loss", "check_fgsm",
    "check_implied_distance", "check_log_distance", "check_mean_angle", "check_mean_separation",
    "check_min_separation", "check_negative_prototypes", "check_pgd", "check_probabilities", "check_project_l2",
    "check_project_linf", "check_rung", "check_scr", "check_shortening", "check_summed_gradient", "check_trades_loss",
    "check_worst_margin",
]  # fmt: skip

if "ipykernel" in sys.modules:  # a student's notebook, and the code that judges it, are of one checkout
    check_kernel()
