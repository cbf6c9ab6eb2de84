"""Which attacks share one computation: groups of those that the tables ask for.

PGD with one loss, norm, budget, step and start is a single trajectory. PGD-20 is the beginning of PGD-100; Table 6's 20
to 500 iterations are one run of 500, read at five places; Table 7's 1, 5, 10 and 20 starts are the first ones of 20.
AutoAttack's budgets are nested: an image that it cannot break at 8/255 is broken at 2/255 only if the search missed it
at 8/255, so a smaller budget is searched only for images that fell at the next larger one, where a tier says so
(`evaluation.nested_budgets`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from advdpnp.config import AttackConfig


def shared(attacks: Mapping[str, AttackConfig], images: Mapping[str, int]) -> list[list[str]]:
    """Names in groups that share one computation, in order of appearance; `images`: how many each attacks.

    In a group of one step count the starts differ, in one of single starts the steps do.
    """
    families: dict[tuple, list[str]] = {}
    for name, attack in attacks.items():
        alone = () if attack.kind == "pgd" else (name,)
        families.setdefault((replace(attack, steps=1, restarts=1, images=0), images[name], *alone), []).append(name)
    groups: list[list[str]] = []
    for family in families.values():
        many = {attacks[name].steps for name in family if attacks[name].restarts > 1}
        groups += [[name for name in family if attacks[name].steps == steps] for steps in sorted(many)]
        groups += [rest] if (rest := [name for name in family if attacks[name].steps not in many]) else []
    order = {name: at for at, name in enumerate(attacks)}
    return sorted(groups, key=lambda group: order[group[0]])


def passes(group: Sequence[AttackConfig]) -> tuple[int, int]:
    """Gradient steps per image of one group's attacks: each computed alone, and all in one computation."""
    each = [attack.steps * attack.restarts for attack in group]
    return sum(each), max(each)


def next_larger(name: str, attacks: Mapping[str, AttackConfig], images: Mapping[str, int]) -> str | None:
    """The same AutoAttack at the next larger budget, on at least as many images; None where there is none."""
    own = attacks[name]
    if own.kind != "autoattack":
        return None
    larger = [
        other
        for other, attack in attacks.items()
        if attack.epsilon > own.epsilon
        and images[other] >= images[name]
        and replace(attack, epsilon=own.epsilon, images=own.images) == own
    ]
    return min(larger, key=lambda other: attacks[other].epsilon, default=None)
