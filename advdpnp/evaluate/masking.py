"""Can an evaluation be trusted? Symptoms of gradient masking and of broken attacks, each as a check with its evidence.

After Athalye et al. (2018), Carlini et al. (2019, "On Evaluating Adversarial Robustness") and Pintor et al. (2022,
"Indicators of Attack Failure"). `run_probes` (masking_probes.py) attacks a few images in ways that cannot beat
the white-box attack on an honest model, and `check_probes` reads the outcome; `check_attack_order`, `check_gap` and
`check_budget_spent` read the stored evaluations.
"Stronger" always means beyond noise: two attacks on the same images are compared by McNemar's exact test, at LEVEL.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from advdpnp.errors import UserError
from advdpnp.evaluate.masking_probes import IMAGES, SCALES, cache_key, run_probes
from advdpnp.markdown import escape_markdown, markdown_table
from advdpnp.paper.consistency import widest_gap

__all__ = [
    "CHECKS", "IMAGES", "LEVEL", "Check", "cache_key", "check_attack_order", "check_budget_spent", "check_gap",
    "check_probes", "from_json", "markdown", "mcnemar_p", "run_probes",
]  # fmt: skip

LEVEL = 0.001  # a tier asks about a hundred such questions; false alarms should be rare among all of them
_UPHILL = 0.25  # share of the linear gain that a converged attack has not left; half is a random point's
_SPENT = 0.5  # share of an l1 or l2 budget that the survivors of a working attack have used

CHECKS = {  # name: (heading in the report, what a warning means)
    "order": ("clean ≥ FGSM ≥ PGD-20 ≥ PGD-100 ≥ Ensemble", "a stronger attack is beaten by a weaker one"),
    "autoattack": ("AA ≤ PGD", "AutoAttack is beaten by PGD"),
    "gradient": ("gradients are not zero", "images count as robust whose gradient is zero: no attack moved them"),
    "saturation": ("gradients do not vanish", "cross-entropy is too saturated to be attacked: see the margin loss"),
    "deterministic": ("the same every time", "the forward pass is random: attacks must average over it"),
    "black box": ("Square ≤ white box", "a black-box attack is stronger: gradients mislead"),
    "large epsilon": ("0 % at ε = 1/2", "PGD fails where every image can become grey"),
    "transfer": ("transfer from ST ≤ white box", "another model's adversarial images are stronger: gradients mislead"),
    "temperature": ("the same at every temperature", "cross-entropy is stronger on rescaled logits than as it is"),
    "stationary": ("PGD has converged", "images withstand where the gradient still points uphill: it may mislead"),
    "heads": ("both heads ≤ white box", "an attack through the other reading of the prototypes is stronger"),
    "straight through": ("no operator hides its gradient", "passing by an operator's own gradient is stronger"),
    "budget": ("l1, l2 spend their budget", "images withstand an attack that left most of its budget unused"),
    "gap": ("PGD-20 - AA as in the paper", "AutoAttack finds more beyond PGD-20 than for any network of the paper"),
}


@dataclass(frozen=True)
class Check:
    """The answer to one question of CHECKS: ok True, False (a warning) or None (not checked), and the evidence."""

    name: str
    ok: bool | None
    detail: str


# ------------------------------------------------------------------------------------------------ paired comparison


def mcnemar_p(weaker: np.ndarray, stronger: np.ndarray) -> float:
    """One-sided exact McNemar test: the chance of such flags if `stronger` were at least as strong as `weaker`.

    Flags, bool [N], say which images the model still gets right. Of the images on which the two differ, at most half
    would then be right under `stronger`: P(Binomial(differing, 1/2) >= right under stronger alone).
    """
    lost, won = int((stronger & ~weaker).sum()), int((weaker & ~stronger).sum())
    return sum(math.comb(lost + won, k) for k in range(lost, lost + won + 1)) / 2 ** (lost + won)


def _not_weaker(name: str, flags: Mapping[str, np.ndarray | None], stronger: str, weaker: str) -> Check:
    """Whether `weaker` is no stronger than `stronger`, on the images that both attacked."""
    one, other = flags.get(stronger), flags.get(weaker)
    if one is None or other is None:
        return Check(name, None, f"{stronger if one is None else weaker} was not run")
    n = min(len(one), len(other))
    p = mcnemar_p(other[:n], one[:n])
    shown = f"{stronger} leaves {_percent(one[:n])}, {weaker} {_percent(other[:n])} of {n} images"
    return Check(name, p >= LEVEL, shown if p >= LEVEL else f"{shown} (p = {p:.1g})")


def _percent(flags: np.ndarray) -> str:
    return f"{100 * flags.mean():.4g} %"


# ------------------------------------------------------------------------------------------------ stored evaluations


def check_attack_order(flags: Mapping[str, np.ndarray | None]) -> list[Check]:
    """clean >= FGSM >= PGD-20 >= PGD-100 >= Ensemble, and AutoAttack not above the strongest PGD, as far as stored.

    flags: {evaluation: bool [N] or None}; the first images of each are the same. Neighbours are compared in pairs.
    """
    chain = [name for name in ("clean", "fgsm", "pgd20", "pgd100", "ensemble") if flags.get(name) is not None]
    pairs = [_not_weaker("order", flags, below, above) for above, below in pairwise(chain)]
    wrong = [pair for pair in pairs if not pair.ok]
    detail = "; ".join(pair.detail for pair in wrong or pairs)
    first = Check("order", not wrong if pairs else None, detail or "fewer than two of its attacks were run")
    strongest = next((name for name in ("pgd100", "pgd20") if flags.get(name) is not None), "pgd100")
    return [first, _not_weaker("autoattack", flags, "aa", strongest)]


def check_gap(flags: Mapping[str, np.ndarray | None]) -> Check:
    """Whether PGD-20 minus AutoAttack stays within the paper's largest gap, up to three standard errors."""
    pgd20, aa = flags.get("pgd20"), flags.get("aa")
    if pgd20 is None or aa is None:
        return Check("gap", None, f"{'pgd20' if pgd20 is None else 'aa'} was not run")
    n = min(len(pgd20), len(aa))
    lost = 100.0 * pgd20[:n] - 100.0 * aa[:n]
    error, most = lost.std(ddof=1) / n**0.5 if n > 1 else np.inf, widest_gap()
    paper = f"the paper's largest {most.value:.1f} ({', '.join(most.row)})"
    shown = f"PGD-20 minus AA is {lost.mean():.1f} points on {n} images, {paper}"
    return Check("gap", bool(lost.mean() - 3 * error <= most.value), shown)


def check_budget_spent(used: Mapping[str, float | None]) -> Check:
    """Whether l1 and l2 attacks used their budget on the images that withstood them: {evaluation: median share}."""
    known = {name: share for name, share in used.items() if share is not None}
    little = {name: share for name, share in known.items() if share < _SPENT}
    shown = "; ".join(f"{name} used {100 * share:.0f} % of its budget" for name, share in (little or known).items())
    return Check(
        "budget", not little if known else None, shown or "no l1 or l2 attack recorded what its survivors used"
    )


# ----------------------------------------------------------------------------------------------- what the probes found


def check_probes(found: Mapping[str, Any]) -> list[Check]:
    """What the flags of `run_probes` say: the checks from "gradient" to "straight through"."""
    flat, n = found["zero_gradient"] & found["white box"], len(found["clean"])
    random, left = int((~found["repeated"]).sum()), found["large epsilon"]
    temperatures = (*(f"logits x {scale:g}" for scale in SCALES), "best temperature")
    return [
        Check("gradient", not flat.any(), f"{flat.sum()} of {n} images withstand PGD with a zero gradient"),
        _not_weaker("saturation", found, "white box", "margin"),
        Check("deterministic", random == 0, f"{random} of {n} images get other logits when asked again"),
        _not_weaker("black box", found, "white box", "Square"),
        Check("large epsilon", not left.any(), f"PGD on two losses leaves {_percent(left)} of {n} images"),
        _not_weaker("transfer", found, "white box", "transfer"),
        _worst("temperature", [_not_weaker("temperature", found, "white box", name) for name in temperatures]),
        _stationary(found["uphill"][found["white box"]]),
        _heads(found),
        _not_weaker("straight through", found, "white box", "straight through"),
    ]


def _worst(name: str, pairs: list[Check]) -> Check:
    """The warnings of several comparisons as one check; without any, all of them."""
    asked = [pair for pair in pairs if pair.ok is not None]
    wrong = [pair for pair in asked if not pair.ok]
    return Check(name, not wrong if asked else None, "; ".join(pair.detail for pair in wrong or asked or pairs))


def _stationary(left: np.ndarray) -> Check:
    """`left`: of the images that withstand PGD, which share of the linear gain is left."""
    if not len(left):
        return Check("stationary", True, "no image withstands PGD")
    median = float(np.median(left))
    share = f"{100 * median:.2g} % of the linear gain is left, in the median of {len(left)} images that withstand PGD"
    return Check("stationary", median <= _UPHILL, share)


def _heads(found: Mapping[str, np.ndarray | None]) -> Check:
    """Both readings of the prototypes: no attack through one may beat the model's own, nor the other's on the other."""
    if "inner by distance" not in found:
        return Check("heads", None, "its centers are no prototypes, or it has none")
    pairs = [("white box", "model by inner"), ("white box", "model by distance")]
    pairs += [("inner by inner", "inner by distance"), ("distance by distance", "distance by inner")]
    return _worst("heads", [_not_weaker("heads", found, own, other) for own, other in pairs])


# ------------------------------------------------------------------------------------------------------------ report


def from_json(values: list, where: str) -> list[Check]:
    """The checks of an evaluation's JSON. Raises UserError for what `check_probes` never writes."""
    known = {"name": CHECKS, "ok": (True, False, None)}
    if not all(isinstance(v, dict) and v.keys() == {"name", "ok", "detail"} for v in values) or not all(
        v[key] in known[key] for v in values for key in known
    ):
        raise UserError(f"{where}: holds other checks than masking.py's (damaged?); delete it and evaluate again.")
    return [Check(**value) for value in values]


def markdown(checks: Mapping[str, list[Check]]) -> str:
    """run x check as a table of ok, warning and not checked, with a sentence for each warning."""
    headings = ["run", *(heading for heading, _ in CHECKS.values())]
    rows: list[list[str]] = []
    word, warnings = {True: "ok", False: "**warning**", None: "not checked"}, []
    for run, found in checks.items():
        by_name = {check.name: check for check in found}
        rows.append([run, *(word[by_name[c].ok if c in by_name else None] for c in CHECKS)])
        warnings += [f"- {run}: {CHECKS[c.name][1]} ({escape_markdown(c.detail)})." for c in found if c.ok is False]
    return "\n".join([markdown_table(headings, rows), "", *(warnings or ["No warning."]), ""])
