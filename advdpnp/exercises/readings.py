"""Exercise 12: which reading of Eq. (3) fits the paper's Table 4? Its checks, and the numbers it is decided by.

The rule is that of docs/ledger.md, "Which reading of Eq. (3)", written before the networks were trained.
"""

import csv
import math
from collections.abc import Callable
from pathlib import Path

from advdpnp.checkout import shipped
from advdpnp.errors import UserError
from advdpnp.exercises.verdict import Mistake, WrongAnswer, call_student, checks, compare
from advdpnp.report.fingerprint import FITS, QUANTITIES, READINGS, decide, paper_fingerprint

TABLE = Path("published") / "short" / "tables" / "fingerprint.csv"


def measured() -> list[dict]:
    """Rows of the published fingerprint: reading, seed, the eight QUANTITIES, and whether the rule counts the row.

    Raises UserError where the file is not here.
    """
    if (found := shipped(TABLE)) is None:
        raise UserError(f"{TABLE}: is not here; it lies in the checkout, and in the bundle beside the notebooks")
    with found.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    return [
        {"reading": row["reading"], "seed": int(row["seed"]), "counts": row["decides"] == "True"}
        | {name: float(row[name]) for name in QUANTITIES}
        for row in rows
    ]


def paper() -> dict[str, float]:
    """The same eight quantities of the paper's Adv-DPNP on CIFAR-10, from its Table 4."""
    return {name: float(value) for name, value in paper_fingerprint().items() if value is not None}


@checks
def check_implied_distance(implied_distance: Callable) -> str:
    """Distance of a feature to its prototype over the prototype's norm, 2 sin(MeanSep / 2) / SCR."""
    for mean_sep, scr in ((95.32, 1.681), (60.0, 2.5)):
        chord = 2 * math.sin(math.radians(mean_sep / 2))
        mistakes: list[Mistake] = [
            (2 * math.sin(mean_sep / 2) / scr, "MeanSep is in degrees; sin takes radians.", 1),
            (2 * math.sin(math.radians(mean_sep)) / scr, "the sine of half the angle.", 1),
            (chord / 2 / scr, "the chord is 2 sin(angle / 2).", 1),
            (chord, "that is how far apart two prototypes are; SCR is still to be used.", 2),
            (chord * scr, "SCR is separation over compactness: divide by it.", 2),
            (scr / chord, "upside down.", 2),
        ]
        answer = call_student(implied_distance, mean_sep, scr, hint=1)
        compare("the distance", answer, chord / scr, mistakes, hint=1, tolerance=1e-5)
    return "right: 0.879 for the paper's Table 4: its features lie nearly a radius away from their prototypes."


@checks
def check_log_distance(log_distance: Callable) -> str:
    """The sum over the quantities of |log(ours / paper)|."""
    ours = {"a": 0.5, "b": 2.0, "c": 90.0}
    theirs = {"a": 0.8, "b": 1.0, "c": 95.0}
    logs = [math.log(ours[name] / theirs[name]) for name in theirs]
    right = sum(abs(value) for value in logs)
    mistakes: list[Mistake] = [
        (abs(sum(logs)), "errors of both signs cancel: take the absolute value of each.", 3),
        (sum(logs), "errors of both signs cancel: take the absolute value of each.", 3),
        (right / 3, "that is the mean; the rule sums.", 3),
        (math.sqrt(sum(value**2 for value in logs)), "that is the Euclidean norm; the rule sums absolute values.", 3),
        (right / math.log(10), "the logarithm is the natural one.", 3),
        (sum(abs(ours[n] - theirs[n]) for n in theirs), "differences of degrees and of ratios cannot be "
         "added; logarithms of ratios can.", 3),
    ]  # fmt: skip
    compare("the distance", call_student(log_distance, ours, theirs, hint=3), right, mistakes, hint=3, tolerance=1e-6)
    return "right: a quantity that is 25 % off counts 0.22, whatever its unit."


NEAR, FAR = 0.5, 8 * FITS + 0.5
CASES = (
    ({"sum": {0: FAR, 1: FAR}, "mean": {0: 0.9, 1: 0.8}, "norm": {0: 1.2, 1: 1.1}}, "the smallest of those that fit"),
    ({"sum": {0: NEAR, 1: FAR}, "mean": {0: 1.0, 1: 1.0}, "norm": {0: 1.3, 1: 1.2}}, "`sum` fits for one seed alone"),
    ({"sum": {0: FAR, 1: FAR}, "mean": {0: 1.0, 1: 1.0}, "norm": {0: 0.7, 1: 1.1}}, "the two best change places"),
    ({"sum": {0: FAR, 1: FAR}, "mean": {0: FAR, 1: FAR + 1}, "norm": {0: FAR - 0.2, 1: FAR}}, "none fits"),
    ({"sum": {0: 0.3, 1: 0.4}, "mean": {0: 0.6, 1: 0.7}, "norm": {0: FAR, 1: FAR}}, "`sum` is the nearest"),
    ({"sum": {0: FAR, 1: FAR}, "mean": {0: 1.2, 1: 1.3}, "norm": {0: 0.8, 1: 0.9}}, "`norm` is ahead for both seeds"),
)


@checks
def check_decide(decide_: Callable) -> str:
    """The rule: which of READINGS, from {reading: {seed: distance}}."""
    for distances, why in CASES:
        answer = call_student(decide_, {name: dict(of) for name, of in distances.items()}, hint=4)
        right = decide(distances).pull
        if answer not in READINGS:
            raise WrongAnswer(f"expected one of {', '.join(READINGS)}, got {str(answer)[:40]!r}.", 4)
        if answer != right:
            shown = {name: [round(d, 2) for d in of.values()] for name, of in distances.items()}
            hint = 5 if "places" in why else 4
            raise WrongAnswer(f"for {shown} the rule says '{right}' ({why}), got '{answer}'.", hint)
    return "right. You have judged before you have looked, which is the point of writing the rule down first."
