"""Every checkable claim of Sections 4.1-4.5 of the paper (and one of its abstract), as a test of numbers.

A claim's check takes a lookup `values(table, dataset, backbone, method, column) -> float | None`, so the same check
runs on the paper's numbers (`paper.paper_values`) and on ours (`paper.values_from`). Where a claim's wording leaves
its strength open ("competitive", "marginally"), `criterion` says how it is read here. Section 4.1 makes no claim
about a number.

The figures carry no numbers in the paper; on ours these claims read the rows that `tables.table_rows` makes of
"figure2" (mnist, lenetspp; columns of protocol.FEATURES), "figure3"
(severity_1 ... severity_5) and "figure4" (fgsm_eps<e>, pgd_eps<e> with e in units of 1/255).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from advdpnp.config import CORRUPTION_TYPES
from advdpnp.names import BACKBONES, DATASETS, METRICS, column_name
from advdpnp.paper.consistency import STATED
from advdpnp.paper.numbers import FIGURES, OURS, TINY, Values, methods_of, paper_values, reported_table


class Outcome(NamedTuple):
    """Whether a claim holds where it was measured (None: these numbers do not decide it), with numbers.

    `ran` and `missing` name the parts (data sets) that were measured and those of which nothing was; `failing` those
    of `ran` in which a part does not hold.
    """

    holds: bool | None
    detail: str
    ran: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """'holds', 'does not hold', 'not decided', or 'not run' where nothing was measured."""
        return {True: "holds", False: "does not hold", None: "not decided"}[self.holds] if self.ran else "not run"

    @property
    def text(self) -> str:
        """The word, with where it is so if that is not everywhere: 'holds on CIFAR-10; CIFAR-100 not run'."""
        if not (self.ran and self.missing):
            return self.word
        return f"{self.word} on {', '.join(self.ran)}; {', '.join(self.missing)} not run"


Check = Callable[[Values], Outcome]


@dataclass(frozen=True)
class Claim:
    """`text` quotes the paper, or paraphrases it closely; `tables` are those the check reads."""

    id: str
    section: str
    text: str
    tables: tuple[int | str, ...]
    check: Check
    criterion: str = ""


# --- What checks are made of ----------------------------------------------------------------------------------


class Block(NamedTuple):
    """One dataset and backbone of a table or figure."""

    table: int | str
    dataset: str
    backbone: str = "resnet18"

    def __str__(self) -> str:
        name = DATASETS.get(self.dataset, self.dataset)
        return f"{name} ({BACKBONES[self.backbone]})" if self.backbone == "wrn34_10" else name


class Quantity(NamedTuple):
    """A number made of one or more columns of a method's row."""

    label: str
    columns: tuple[str, ...]
    combine: Callable[..., float] = lambda value: value


def change(metric: str) -> Quantity:
    """|adversarial - clean| of a metric of Table 4."""
    return Quantity(f"{METRICS[metric]} change", (f"{metric}_clean", f"{metric}_adv"), lambda c, a: abs(a - c))


def growth(metric: str) -> Quantity:
    """adversarial / clean of a metric of Table 4."""
    columns = (f"{metric}_clean", f"{metric}_adv")
    return Quantity(f"{METRICS[metric]} adversarial/clean", columns, lambda c, a: a / c if c else float("inf"))


CURVES = {"fgsm": "FGSM", "pgd": "PGD-20"}  # of Figure 4
GAP = Quantity("clean minus AutoAttack", ("clean", "aa"), lambda clean, aa: clean - aa)


def _read(values: Values, block: Block, method: str, quantity: Quantity) -> float | None:
    ask = getattr(values, "quantity", None)
    if ask and len(quantity.columns) > 1 and (found := ask(block, method, quantity)) is not None:
        return found
    cells = [values(*block, method, column) for column in quantity.columns]
    return None if any(cell is None for cell in cells) else quantity.combine(*cells)


# Numbers may come with what they leave open: a lookup that has `difference(block, quantity, one, other, level)` and
# `change(block, method, before, after)` gives a difference with its bounds (measurements.py), or None; `quantity` gives
# one of several accuracies on the same images. The paper's numbers have no bounds, and are compared as they stand.
LEVEL = 0.95


class Bounded(NamedTuple):
    """A difference and its bounds."""

    value: float
    low: float
    high: float


def _difference(
    values: Values, block: Block, quantity: Quantity, one: str, other: str, point: float, level: float = LEVEL,
) -> Bounded:  # fmt: skip
    """Numbers alone, as the paper's, are taken as exact; methods measured on no common seed leave all open."""
    ask = getattr(values, "difference", None)
    if ask is None:
        return Bounded(point, point, point)
    return ask(block, quantity, one, other, level) or Bounded(point, -math.inf, math.inf)


def _step(values: Values, block: Block, before: str, after: str, point: float) -> Bounded:
    ask = getattr(values, "change", None)
    return (ask and ask(block, OURS, before, after)) or Bounded(point, point, point)


class Part(NamedTuple):
    """One comparison of a check, about `where`; `slack` is how comfortably it holds, relative to the numbers compared.

    `ran` is False where nothing at all was measured: then it says nothing, and does not leave the rest open.
    """

    holds: bool | None
    detail: str
    where: str = ""
    slack: float = 0.0
    ran: bool = True
    failing: tuple[str, ...] = ()  # of `where`, if it is several


def all_of(states: Iterable[bool | None]) -> bool | None:
    """Three-valued and: one False refutes, else one None leaves it open."""
    known = set(states)
    if False in known:
        return False
    return None if None in known else True


def at_least_so_many(count: int, states: Sequence[bool | None]) -> bool | None:
    """Three-valued "at least `count` of them"."""
    yes, open_ = states.count(True), states.count(None)
    if yes >= count:
        return True
    return None if yes + open_ >= count else False


SIGNS = {True: "✓", False: "✗", None: "?"}  # before each part of a claim


def _marked(part: Part) -> str:
    return part.detail if part.detail[:1] in SIGNS.values() else f"{SIGNS[part.holds]} {part.detail}"


def combine(parts: Sequence[Part], show: int = 6) -> Outcome:
    """All parts of which something was measured, together. Each is marked; long lists show what matters."""
    there = [part for part in parts if part.ran]
    ran = tuple(dict.fromkeys(part.where for part in there))
    missing = tuple(dict.fromkeys(part.where for part in parts if not part.ran and part.where not in ran))
    holds = all_of(part.holds for part in there) if there else None
    fails = [part for part in there if part.holds is False]
    failing = tuple(dict.fromkeys(where for part in fails for where in part.failing or (part.where,)))
    if not there:
        return Outcome(None, "", (), missing)
    if len(there) == 1:
        return Outcome(holds, there[0].detail, ran, missing, failing)
    if len(there) <= show:
        return Outcome(holds, "; ".join(map(_marked, there)), ran, missing, failing)
    good, failed, open_ = ([part for part in there if part.holds is state] for state in (True, False, None))
    lines = [f"{len(good)} of {len(there)} comparisons hold"]
    lines += [f"{len(failed)} do not: {'; '.join(p.detail for p in failed[:show])}"] if failed else []
    lines += [f"{len(open_)} not decided, first: {open_[0].detail}"] if open_ else []
    lines += [f"closest: {min(good, key=lambda part: part.slack).detail}"] if good and not failed else []
    return Outcome(holds, "; ".join(lines), ran, missing, failing)


def _standing(
    values: Values,
    block: Block,
    quantity: Quantity,
    who: str,
    rivals: Iterable[str],
    place: int,
    lowest: bool,
    by: float,
) -> Part:
    """Is `who` among the first `place`? A rival is beaten if the whole 95 % interval of the lead exceeds `by`; between
    being beaten and ahead these numbers do not tell. Ahead it is if the whole interval does not exceed `by`, at a level
    that is corrected for the number of rivals (Bonferroni): of ten that are no better, one may well look so. To be
    first, all have to be beaten, which needs no correction.
    """
    name = f"{block}, {column_name(quantity.label)}:"
    own = _read(values, block, who, quantity)
    found = {rival: _read(values, block, rival, quantity) for rival in rivals}
    missing = [rival for rival, value in found.items() if value is None]
    if own is None:
        return Part(None, f"{name}: {who} is missing", str(block), ran=len(missing) < len(found))
    together = 1 - (1 - LEVEL) / max(1, len(found))

    def lead(rival: str, point: float, level: float = LEVEL) -> Bounded:
        value, low, high = _difference(values, block, quantity, who, rival, point, level)
        return Bounded(-value, -high, -low) if lowest else Bounded(value, low, high)

    leads = sorted((lead(rival, own - value), rival, value) for rival, value in found.items() if value is not None)
    behind = [(rival, value) for each, rival, value in leads if each.high <= by + TINY]
    ahead = sum(lead(rival, own - value, together).high <= by + TINY for rival, value in behind)
    beaten = sum(each.low > by + TINY for each, _, _ in leads)
    behind_at_most = len(found) - beaten
    holds = False if ahead >= place else True if behind_at_most < place else None
    detail = f"{name} {'' if who == OURS else who + ' '}{own:.4g}"
    if leads:
        each, rival, value = min(leads, key=lambda lead: (lead[0].high > by + TINY, lead[0]))
        told, low, high = (-each.value, -each.high, -each.low) if lowest else each
        shared = abs(told - (own - value)) > 0.011 + 0.02 * abs(told)  # of the seeds that both have, not all of each
        detail += f" against {rival} {value:.4g} ({told:+.3g}"
        if math.isfinite(low):
            detail += f" [{low:+.3g}, {high:+.3g}]" if low < high else ""
        else:
            detail += ", no seed in common"
        detail += " on shared seeds)" if shared else ")"
    if place > 1:
        detail += f", place {ahead + 1}" + (f" to {behind_at_most + 1}" if behind_at_most > ahead else "")
    if missing:
        detail += f", missing: {', '.join(missing)}"
    slack = (leads[place - 1][0].value - by) / max(abs(own), TINY) if len(leads) >= place else float("inf")
    return Part(holds, detail, str(block), slack)


def ranks(
    blocks: Sequence[Block], quantities: Sequence[str | Quantity], *, who: str = OURS, place: int = 1,
    lowest: bool = False, by: float = 0.0, without: tuple[str, ...] = (),
) -> Check:  # fmt: skip
    """`who` stands first (or among the first `place`) in every block and quantity, ties counting against it.

    `by`: how far it must lead, in the quantity's unit; negative: how far it may trail. `without`: methods left out.
    """

    def check(values: Values) -> Outcome:
        parts = []
        for block in blocks:
            rivals = [m for m in methods_of(*block) if m != who and m not in without]
            for quantity in quantities:
                q = Quantity(quantity, (quantity,)) if isinstance(quantity, str) else quantity
                parts.append(_standing(values, block, q, who, rivals, place, lowest, by))
        return combine(parts)

    return check


def stated_margin(claim_id: str) -> Check:
    """Adv-DPNP leads its adversarially trained rivals in the cell of STATED[claim_id].

    Holds when it leads: by how much is a matter of the paper's own run, so the margin is shown but not judged
    (whether the text's margin is the table's is checked in paper.consistency).
    """
    stated = STATED[claim_id]
    first = ranks([Block(*stated[1:4])], [stated.column], without=("ST",))

    def check(values: Values) -> Outcome:
        outcome = first(values)
        return outcome._replace(detail=f"{outcome.detail}; text: +{stated.margin}") if outcome.ran else outcome

    return check


def all_hold(*checks: Check) -> Check:
    """All of several checks."""
    return lambda values: combine([part for check in checks for part in _parts_of(check(values))], show=len(checks))


def _parts_of(outcome: Outcome) -> list[Part]:
    """An outcome as a part of a larger one; what it lacks stays named."""
    whole = Part(outcome.holds, outcome.detail, ", ".join(outcome.ran), failing=outcome.failing)
    known = [whole] if outcome.ran else []
    return [*known, *(Part(None, "", where, ran=False) for where in outcome.missing)]


def at_least(count: int, *checks: Check) -> Check:
    """At least `count` of several checks; one of which nothing was measured might go either way."""

    def check(values: Values) -> Outcome:
        outcomes = [check(values) for check in checks]
        holds = at_least_so_many(count, [o.holds for o in outcomes])
        yes = sum(o.holds is True for o in outcomes)
        ran, missing = (tuple(dict.fromkeys(w for o in outcomes for w in o[k])) for k in (2, 3))
        known = "; ".join(_marked(Part(o.holds, o.detail)) for o in outcomes if o.ran)
        return Outcome(holds, f"{yes} of {len(checks)}: {known}" if ran else "", ran, missing)

    return check


def increases_under_attack(blocks: Sequence[Block], metrics: Sequence[str]) -> Check:
    """For every method of the block, the adversarial value of a metric of Table 4 exceeds the clean one."""

    def part(values: Values, block: Block, method: str, metric: str) -> Part:
        clean, adv = (values(*block, method, f"{metric}_{side}") for side in ("clean", "adv"))
        name = f"{block}, {method} {METRICS.get(metric, metric)}:"
        if clean is None or adv is None:
            there = any(values(*block, m, f"{metric}_clean") is not None for m in methods_of(*block))
            return Part(None, f"{name} is missing", str(block), ran=there)
        return Part(adv > clean, f"{name} {clean:.4g} -> {adv:.4g}", str(block), (adv - clean) / max(abs(adv), TINY))

    return lambda values: combine(
        [part(values, b, method, metric) for b in blocks for method in methods_of(*b) for metric in metrics]
    )


def series(table: int, prefix: str) -> tuple[str, ...]:
    """The columns of one of the paper's tables that start with `prefix`, in its order."""
    return tuple(dict.fromkeys(c.column for c in reported_table(table) if c.column.startswith(prefix)))


def monotone(blocks: Sequence[Block], prefix: str, *, rising: bool = False) -> Check:
    """Adv-DPNP's numbers never move the wrong way along the columns of `series`, beyond what images leave open."""

    def part(values: Values, block: Block) -> Part:
        columns = series(block.table, prefix)
        numbers = {c: n for c in columns if (n := values(*block, OURS, c)) is not None}
        wrong = []
        for before, after in pairwise(numbers):
            _, low, high = _step(values, block, before, after, numbers[after] - numbers[before])
            if (high < -TINY) if rising else (low > TINY):
                wrong.append(after)
        holds = False if wrong else None if len(numbers) < len(columns) else True
        shown = " ".join(f"{numbers[c]:g}" if c in numbers else "?" for c in columns)
        first, last = column_name(columns[0]), column_name(columns[-1])
        return Part(holds, f"{block}, {first} to {last}: {shown}", str(block), ran=bool(numbers))

    return lambda values: combine([part(values, block) for block in blocks])


def stays_within(blocks: Sequence[Block], prefix: str, *, within: float, relative: bool = False) -> Check:
    """Adv-DPNP's numbers along the columns of `series` differ by at most `within` (of the first, when relative)."""

    def part(values: Values, block: Block) -> Part:
        columns = series(block.table, prefix)
        numbers = {c: n for c in columns if (n := values(*block, OURS, c)) is not None}
        missing = [column for column in columns if column not in numbers]
        if len(numbers) < 2:
            return Part(None, f"{block}: fewer than two of {', '.join(columns)}", str(block), ran=bool(numbers))
        first, last = min(numbers, key=numbers.__getitem__), max(numbers, key=numbers.__getitem__)
        unit = max(abs(next(iter(numbers.values()))), TINY) if relative else 1.0
        span = (numbers[last] - numbers[first]) / unit
        _, low, high = (end / unit for end in _step(values, block, first, last, numbers[last] - numbers[first]))
        holds = False if low > within + TINY else None if missing or high > within + TINY else True
        percent, scale = (" %", 100) if relative else ("", 1)
        bounds = f" [{scale * low:.3g}, {scale * high:.3g}]" if low < high else ""
        ends = f"{column_name(columns[0])} to {column_name(columns[-1])}"
        detail = f"{block}, {ends}: range {scale * span:.3g}{percent}{bounds}"
        detail += f" (limit {scale * within:g}{percent})"
        return Part(holds, detail + (f", missing: {', '.join(missing)}" if missing else ""), str(block))

    return lambda values: combine([part(values, block) for block in blocks])


def not_lower(blocks: Sequence[Block], before: str, after: str, *, by: float) -> Check:
    """Adv-DPNP's accuracy in column `after` is at most `by` points below that in `before`."""

    def part(values: Values, block: Block) -> Part:
        names = column_name(before), column_name(after)
        numbers = [values(*block, OURS, column) for column in (before, after)]
        if None in numbers:
            return Part(None, f"{block}: {names[0]} or {names[1]} is missing", str(block), ran=numbers != [None, None])
        step, low, high = _step(values, block, before, after, numbers[1] - numbers[0])
        holds = True if low >= -by - TINY else False if high < -by - TINY else None
        bounds = f" [{low:+.3g}, {high:+.3g}]" if low < high else ""
        detail = f"{block}, {names[0]} {numbers[0]:.4g}, {names[1]} {numbers[1]:.4g} ({step:+.3g}{bounds})"
        return Part(holds, detail, str(block))

    return lambda values: combine([part(values, block) for block in blocks])


def _curve(values: Values, block: Block, attack: str) -> dict[int, float]:
    """{budget in 1/255: accuracy} of Figure 4, wherever it was measured."""
    found = {e: values(*block, OURS, f"{attack}_eps{e}") for e in range(256)}
    return {e: accuracy for e, accuracy in found.items() if accuracy is not None}


def _curve_falls(values: Values) -> Outcome:
    def part(block: Block, attack: str) -> Part:
        curve = _curve(values, block, attack)
        if len(curve) < 2:
            return Part(None, f"{block}, {CURVES[attack]}: fewer than two budgets", str(block), ran=bool(curve))
        rises: list[str] = []
        flat: list[str] = []
        for a, b in pairwise(curve):
            if 0 < curve[a] <= curve[b]:
                _, low, _ = _step(values, block, f"{attack}_eps{a}", f"{attack}_eps{b}", curve[b] - curve[a])
                told = low > 0 or not hasattr(values, "change")
                (rises if told else flat).append(f"{a}/255 {curve[a]:g} -> {b}/255 {curve[b]:g}")
        ends = f"{next(iter(curve.values())):g} to {list(curve.values())[-1]:g}"
        note = f", not at {', '.join(rises or flat)}" if rises or flat else ""
        return Part(False if rises else None if flat else True, f"{block}, {CURVES[attack]} {ends}{note}", str(block))

    return combine([part(block, attack) for block in F4 for attack in ("fgsm", "pgd")])


def _curve_ends(values: Values) -> Outcome:
    def part(block: Block) -> Part:
        curve = _curve(values, block, "pgd")
        if not curve:
            return Part(None, f"{block}, PGD-20: not measured", str(block), ran=False)
        largest = max(curve)
        return Part(curve[largest] < ZERO, f"{block}, PGD-20 at {largest}/255: {curve[largest]:g}", str(block))

    return combine([part(block) for block in F4])


def _curve_order(values: Values) -> Outcome:
    def part(block: Block) -> Part:
        fgsm, pgd = (_curve(values, block, attack) for attack in ("fgsm", "pgd"))
        shared = [e for e in fgsm if e in pgd]
        if not shared:
            return Part(None, f"{block}: no budget with both attacks", str(block), ran=bool(fgsm or pgd))
        bad: list[str] = []
        close: list[str] = []
        for e in shared:
            if fgsm[e] < pgd[e]:
                _, _, high = _step(values, block, f"pgd_eps{e}", f"fgsm_eps{e}", fgsm[e] - pgd[e])
                told = high < 0 or not hasattr(values, "change")
                (bad if told else close).append(f"{e}/255: FGSM {fgsm[e]:g} < PGD {pgd[e]:g}")
        holds = False if bad else None if close else True
        wrong = ", ".join(bad or close)
        return Part(holds, f"{block}: {wrong}" if wrong else f"{block}: all {len(shared)} budgets", str(block))

    return combine([part(block) for block in F4])


# --- The claims -----------------------------------------------------------------------------------------------

T1 = T1_C10, T1_C100 = Block(1, "cifar10"), Block(1, "cifar100")
T2 = T2_C10, T2_C100, T2_SVHN, T2_WRN = (
    Block(2, "cifar10"), Block(2, "cifar100"), Block(2, "svhn"), Block(2, "cifar10", "wrn34_10"),
)  # fmt: skip
T3 = (Block(3, "cifar10"),)
T4 = Block(4, "cifar10"), Block(4, "cifar100")
T5 = (Block(5, "cifar10"),)
T6 = Block(6, "cifar10"), Block(6, "cifar100")
T7 = Block(7, "cifar10"), Block(7, "cifar100")
T8 = Block(8, "cifar10"), Block(8, "cifar100")
F2 = (Block("figure2", "mnist", "lenetspp"),)
F3 = (Block("figure3", "cifar10"),)
F4 = Block("figure4", "cifar10"), Block("figure4", "cifar100")

# How words are read.
COLLAPSED = ZERO = 0.5  # percent: accuracy that prints as 0
COMPETITIVE = 1.0  # points behind the best
SUBSTANTIAL = 10.0  # degrees ahead of the next
MARGINAL = 1.0  # points over a whole series of attacks
MARGINAL_LOSS = 0.02  # of the first loss
NEGLIGIBLE = 0.5  # points between two losses

ALIGNED = 0.25  # of a prototype's norm
SIDES = ("clean", "adv")

_NOT_ST = ("ST",)


def _aligned(values: Values) -> Outcome:
    (block,) = F2
    distance = values(*block, OURS, "distance_adv")
    if distance is None:
        return Outcome(None, "", (), (str(block),))
    return Outcome(distance < ALIGNED, f"{block}: distance {distance:.3g} of the norm", (str(block),))


def _collapsed(values: Values) -> Outcome:
    def part(block: Block) -> Part:
        accuracy = values(*block, "ST", "aa")
        if accuracy is None:
            return Part(None, f"{block}, AutoAttack: ST is missing", str(block), ran=False)
        return Part(accuracy < COLLAPSED, f"{block}, AutoAttack: ST {accuracy:g}", str(block))

    return combine([part(block) for block in T1])


_L1_STALLS = "its l1 step stalls, most likely as the paper's does (ledger 11); Table 1 has one beside it that does not"

CLAIMS = (
    # Abstract
    Claim(
        "abstract-clean", "Abstract",
        "experiments (CIFAR-10/100 and SVHN) confirm that Adv-DPNP improves clean accuracy over state-of-the-art "
        "defenses and baseline methods",
        (1, 2), all_hold(ranks(T1, ["clean"], without=_NOT_ST), ranks(T2, ["clean"])),
        "highest clean accuracy of all defenses in every block of Tables 1 and 2",
    ),
    Claim(
        "abstract-robust", "Abstract",
        "... while maintaining competitive or superior robustness under a suite of widely used attacks, including "
        "FGSM, PGD, C&W, and AutoAttack", (2,),
        ranks(T2, ["fgsm", "pgd20", "pgd100", "cw", "aa"], by=-COMPETITIVE),
        f"less than {COMPETITIVE} point behind the best, under each attack",
    ),
    Claim(
        "s1-consistent", "1",
        "Adv-DPNP consistently outperforms state-of-the-art adversarial training methods in terms of clean accuracy "
        "and robustness", (2,), ranks(T2, ["clean", "fgsm", "pgd20", "pgd100", "cw", "aa"]),
        "first in each column and block of Table 2",
    ),
    Claim(
        "gap", "4.2", "Adv-DPNP successfully shrinks the gap between accuracy and robustness", (1, 2),
        all_hold(ranks(T1, [GAP], lowest=True, without=("ST",)), ranks(T2, [GAP], lowest=True)),
        "read literally: the smallest difference of clean and AutoAttack accuracy among the defenses; a weak network "
        "has a small one too, so this verdict says little",
    ),
    # Section 4.2, baselines (Table 1)
    Claim(
        "t1-st-clean", "4.2", "ST achieves the highest clean accuracy", (1,), ranks(T1, ["clean"], who="ST"),
    ),
    Claim(
        "t1-st-collapses", "4.2", "ST collapses under attacks (AA ≈ 0%)", (1,), _collapsed,
        f"AA below {COLLAPSED} %",
    ),
    Claim(
        "t1-clean-cifar10", "4.2", "Adv-DPNP increases clean accuracy, improving by 0.85% on CIFAR-10", (1,),
        stated_margin("t1-clean-cifar10"), "leads every adversarial defense",
    ),
    Claim(
        "t1-clean-cifar100", "4.2", "... and 1.78% on CIFAR-100 compared with other defenses", (1,),
        stated_margin("t1-clean-cifar100"), "leads every adversarial defense",
    ),
    Claim(
        "t1-unforeseen", "4.2",
        "Adv-DPNP outperforms the baselines under unforeseen perturbation types (l1, l2) on both datasets", (1,),
        ranks(T1, ["pgd_l1", "pgd_l2"]), _L1_STALLS,
    ),
    Claim(
        "t1-l1-cifar10", "4.2", "it improves robustness against l1 perturbations by 2.7% on CIFAR-10", (1,),
        stated_margin("t1-l1-cifar10"), f"leads every adversarial defense; {_L1_STALLS}",
    ),
    Claim(
        "t1-l2-cifar100", "4.2", "... and against l2 perturbations by 1.07% on CIFAR-100", (1,),
        stated_margin("t1-l2-cifar100"), "leads every adversarial defense",
    ),
    Claim(
        "t1-aa-cifar10", "4.2", "it attains the highest AA accuracy on CIFAR-10", (1,), ranks([T1_C10], ["aa"]),
    ),
    Claim(
        "t1-avg-cifar10", "4.2", "... and improves Avg by 0.92%", (1,), stated_margin("t1-avg-cifar10"),
        "leads every adversarial defense",
    ),
    Claim(
        "t1-avg-cifar100", "4.2", "on CIFAR-100 it increases Avg by 1.05%", (1,), stated_margin("t1-avg-cifar100"),
        "leads every adversarial defense",
    ),
    Claim(
        "t1-aa-cifar100", "4.2", "... and maintains competitive AA performance", (1,),
        ranks([T1_C100], ["aa"], by=-COMPETITIVE), f"less than {COMPETITIVE} point behind the best",
    ),
    # Section 4.2, state of the art (Table 2)
    Claim(
        "t2-avg", "4.2", "Adv-DPNP consistently achieves the highest Avg in all four evaluation blocks", (2,),
        ranks(T2, ["avg"]),
    ),
    Claim(
        "t2-avg-cifar10", "4.2", "Avg of 66.91%, outperforming the second-best (HAT) by 1.01%", (2,),
        stated_margin("t2-avg-cifar10"), "leads; who is second is a claim of its own",
    ),
    Claim(
        "t2-avg-cifar100", "4.2", "Avg of 42.58%, surpassing the next-best method by 0.72%", (2,),
        stated_margin("t2-avg-cifar100"), "leads",
    ),
    Claim(
        "t2-avg-svhn", "4.2", "Avg to 70.55%, outperforming DIO by 1.07%", (2,), stated_margin("t2-avg-svhn"),
        "leads",
    ),
    Claim(
        "t2-avg-wrn", "4.2", "with WRN-34-10, Avg of 70.12%, surpassing FSR by 1.35%", (2,),
        stated_margin("t2-avg-wrn"), "leads",
    ),
    Claim(
        "t2-runners-up", "4.2", "second-best in Avg: HAT (CIFAR-10), DIO (SVHN), FSR (WRN-34-10)", (2,),
        all_hold(
            ranks([T2_C10], ["avg"], who="HAT", without=(OURS,)),
            ranks([T2_SVHN], ["avg"], who="DIO", without=(OURS,)),
            ranks([T2_WRN], ["avg"], who="FSR", without=(OURS,)),
        ),
        "first once Adv-DPNP is left out",
    ),
    Claim(
        "t2-aa", "4.2", "either the highest or second-highest AA accuracy across all four settings", (2,),
        ranks(T2, ["aa"], place=2),
    ),
    Claim(
        "t2-attacks", "4.2",
        "consistently ranks among the top defenses against diverse individual attacks (FGSM, PGD-20, PGD-100, "
        "C&W) as well as under the Ensemble metric",
        (2,), ranks(T2, ["fgsm", "pgd20", "pgd100", "cw", "ensemble"], place=2), "first or second in each column",
    ),
    Claim(
        "t2-ensemble", "4.2", "it achieves the highest Ensemble accuracy in three of the four evaluation settings",
        (2,), at_least(3, *(ranks([block], ["ensemble"]) for block in T2)), "at least three",
    ),
    # Section 4.2, perturbation sizes (Table 3)
    Claim(
        "t3-pgd", "4.2", "consistently outperforms other methods across all tested perturbation sizes: PGD", (3,),
        ranks(T3, ["pgd_eps2", "pgd_eps4", "pgd_eps6"]),
    ),
    Claim(
        "t3-aa", "4.2", "consistently outperforms other methods across all tested perturbation sizes: AA", (3,),
        ranks(T3, ["aa_eps2", "aa_eps4", "aa_eps6"]),
    ),
    # Section 4.3 (Table 4, Figure 2)
    Claim(
        "t4-adversarial-higher", "4.3",
        "Across all models, adversarial features exhibit higher FDR and AFS values compared to clean features",
        (4,), increases_under_attack(T4, ["fdr", "afs"]),
    ),
    Claim(
        "t4-st-clean", "4.3", "undefended ST achieves the lowest FDR and AFS values for clean features", (4,),
        ranks(T4, ["fdr_clean", "afs_clean"], who="ST", lowest=True),
    ),
    Claim(
        "t4-st-inconsistent", "4.3",
        "ST drastically fails to maintain a consistent latent space structure under adversarial perturbations",
        (4,), ranks(T4, [growth("fdr"), growth("afs")], who="ST"),
        "the largest growth (adversarial / clean) of FDR and of AFS among all models",
    ),
    Claim(
        "t4-robust-fdr", "4.3", "adversarially trained models preserve better structure: FDR", (4,),
        ranks(T4, ["fdr_adv"], who="ST"), "ST has the highest adversarial FDR",
    ),
    Claim(
        "t4-robust-afs", "4.3", "adversarially trained models preserve better structure: AFS", (4,),
        ranks(T4, ["afs_adv"], who="ST"), "ST has the highest adversarial AFS",
    ),
    Claim(
        "t4-robust-scr", "4.3", "adversarially trained models preserve better structure: SCR", (4,),
        ranks(T4, ["scr_adv"], who="ST", lowest=True), "ST has the lowest adversarial SCR",
    ),
    Claim(
        "t4-fdr", "4.3", "lowest FDR among robust models in both clean and adversarial settings", (4,),
        ranks(T4, ["fdr_clean", "fdr_adv"], lowest=True, without=_NOT_ST),
    ),
    Claim(
        "t4-afs", "4.3", "lowest AFS among robust models in both clean and adversarial settings", (4,),
        ranks(T4, ["afs_clean", "afs_adv"], lowest=True, without=_NOT_ST),
    ),
    Claim(
        "t4-scr", "4.3", "Adv-DPNP maintains the highest SCR", (4,), ranks(T4, ["scr_clean", "scr_adv"]),
        "clean and adversarial, among all models",
    ),
    Claim(
        "t4-angles", "4.3", "... and the best angular margins", (4,), ranks(T4, ["mean_sep", "min_sep"]),
        "highest MeanSep and MinSep among all models",
    ),
    Claim(
        "t4-angles-substantial", "4.3",
        "MeanSep/MinSep reach 95.32°/94.51° on CIFAR-10 and 89.90°/89.52° on CIFAR-100, substantially better than "
        "other methods",
        (4,), ranks(T4, ["mean_sep", "min_sep"], by=SUBSTANTIAL), f"more than {SUBSTANTIAL:g}° ahead of each",
    ),
    Claim(
        "t4-change-scatter", "4.3",
        "the smaller change between corresponding values of clean/adversarial columns in the case of Adv-DPNP: "
        "FDR and AFS",
        (4,), ranks(T4, [change("fdr"), change("afs")], lowest=True), "the smallest |adversarial - clean|",
    ),
    Claim(
        "t4-change-scr", "4.3",
        "the smaller change between corresponding values of clean/adversarial columns in the case of Adv-DPNP: SCR",
        (4,), ranks(T4, [change("scr")], lowest=True), "the smallest |adversarial - clean|",
    ),
    Claim(
        "f2-variation", "4.3",
        "Compared to AT, Adv-DPNP significantly reduces both angular and radial variations of feature "
        "representations under clean and adversarial conditions",
        ("figure2",),
        ranks(F2, [f"{m}_{s}" for m in ("angular_median", "angular_q90", "radial") for s in SIDES], lowest=True),
        "median and 90 % quantile of the angle to the class's mean, and the radial variation, are lower than AT's",
    ),
    Claim(
        "f2-margins", "4.3", "Adv-DPNP creates more distinct inter-class margins", ("figure2",),
        ranks(F2, [f"gap_{side}" for side in SIDES]), "the smallest angle between two class means is larger than AT's",
    ),
    Claim(
        "f2-align", "4.3",
        "the adversarially perturbed features in Adv-DPNP closely align with the prototypes learned from clean data",
        ("figure2",), _aligned, f"their mean distance to the own prototype is below {ALIGNED} of its norm",
    ),
    # Section 4.4 (Figure 3, Table 5)
    Claim(
        "f3-severity", "4.4",
        "Adv-DPNP consistently improves accuracy at each severity level and outperforms other methods",
        ("figure3",), ranks(F3, [f"severity_{s}" for s in (1, 2, 3, 4, 5)]),
    ),
    Claim(
        "abstract-types", "Abstract",
        "on CIFAR-10-C, where Adv-DPNP achieves the highest average accuracy across severities and corruption types",
        ("figure3",), ranks(F3, list(CORRUPTION_TYPES)),
        "first in each of the four types, as we read it: the paper prints one average, the next claim",
    ),
    Claim(
        "t5-average", "4.4", "Adv-DPNP increases the average accuracy by 0.57%", (5,), stated_margin("t5-average"),
        "leads every method",
    ),
    Claim(
        "t5-second", "4.4", "... with AT in second place", (5,),
        ranks(T5, ["avg_accuracy"], who="AT", without=(OURS,)), "AT is first once Adv-DPNP is left out",
    ),
    # Section 4.5 (Figure 4, Tables 6-8)
    Claim(
        "f4-falls", "4.5", "increasing the perturbation budget strictly decreases the model accuracy", ("figure4",),
        _curve_falls, "from each measured budget to the next, until accuracy is 0",
    ),
    Claim(
        "f4-zero", "4.5", "PGD eventually achieves a 100% success rate at larger ε values", ("figure4",),
        _curve_ends, f"accuracy below {ZERO} % at the largest measured budget",
    ),
    Claim(
        "f4-fgsm-weaker", "4.5", "the single-step FGSM attack is relatively weaker", ("figure4",), _curve_order,
        "accuracy under FGSM is at least that under PGD at each measured budget",
    ),
    Claim(
        "t6-accuracy-marginal", "4.5", "accuracy changes marginally with increases in the number of iterations",
        (6,), stays_within(T6, "accuracy_", within=MARGINAL), f"a range of at most {MARGINAL:g} point",
    ),
    Claim(
        "t6-loss-marginal", "4.5", "... and so does the loss", (6,),
        stays_within(T6, "loss_", within=MARGINAL_LOSS, relative=True),
        f"a range of at most {100 * MARGINAL_LOSS:g} % of the first value",
    ),
    Claim(
        "t6-converges", "4.5", "This behavior confirms that the iterative PGD attack converges correctly", (6,),
        all_hold(monotone(T6, "accuracy_"), monotone(T6, "loss_", rising=True)),
        "with iterations accuracy never rises and loss never falls",
    ),
    Claim(
        "t7-accuracy-marginal", "4.5", "accuracy changes marginally with increases in random starts", (7,),
        stays_within(T7, "starts_", within=MARGINAL), f"a range of at most {MARGINAL:g} point",
    ),
    Claim(
        "t7-monotone", "4.5", "the iterative PGD attack converges correctly: random starts", (7,),
        monotone(T7, "starts_"), "accuracy never rises with random starts",
    ),
    Claim(
        "t8-not-stronger", "4.5", "... an attack that knows the loss of Eq. (7) is no stronger (what Table 8 is for)",
        (8,), not_lower(T8, "ce", "adv-dpnp", by=NEGLIGIBLE),
        f"at most {NEGLIGIBLE} point below the one on cross-entropy",
    ),
    Claim(
        "t8-adaptive", "4.5", "only a negligible difference in accuracy between the two loss objectives", (8,),
        stays_within(T8, "", within=NEGLIGIBLE), f"at most {NEGLIGIBLE} point",
    ),
)  # fmt: skip


DRAWN = "drawn, not printed"  # what the paper does with the numbers of its figures
JUDGED = (
    "That Adv-DPNP leads is told by the 95 % interval of the difference, that a rival leads by one corrected for how "
    "many rivals there are (Bonferroni)."
)
WORDS = ("holds", "does not hold", "not decided", "not run")
ONE_LINE = 80  # characters of a detail that need not be folded


def outcomes(values: Values, claims: Iterable[Claim] = CLAIMS) -> dict[str, Outcome]:
    """{claim id: its outcome on the numbers that `values` looks up}."""
    return {claim.id: claim.check(values) for claim in claims}


def counts(found: Iterable[Outcome]) -> str:
    """'12 hold, 20 do not hold, ...': how many claims have each of WORDS, where measured."""
    words = [outcome.word for outcome in found]
    said = {"holds": ("holds", "hold"), "does not hold": ("does not hold", "do not hold"),
            "not decided": ("is not decided by these numbers", "are not decided by these numbers"),
            "not run": ("was not run", "were not run")}  # fmt: skip
    return ", ".join(f"{n} {said[w][n > 1]}" for w in WORDS if (n := words.count(w)))


def claims_markdown(ours: Values | None = None, claims: Iterable[Claim] = CLAIMS, *, whose: str = "ours") -> str:
    """Counts, then a Markdown table: each claim, how it is read, its outcome on the paper's numbers and on `ours`.

    Without `ours` no claim is asked of it. `whose` stands in the header.
    """
    claims = list(claims)
    found = {} if ours is None else outcomes(ours, claims)
    lines = []
    if ours is not None:
        counted = counts(found.values())
        lines += [f"Of {len(claims)} claims on {whose}: {counted}, judged where they were measured. {JUDGED}", ""]
    lines += [f"| Section | Claim | On the paper's numbers | On {whose} |", "|---|---|---|---|"]
    for claim in claims:
        theirs = DRAWN if set(claim.tables) <= set(FIGURES) else _shown(claim.check(paper_values))
        mine = "not asked" if ours is None else _shown(found[claim.id])
        text = claim.text + (f" *({claim.criterion})*" if claim.criterion else "")
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in (claim.section, text, theirs, mine)) + " |")
    return "\n".join(lines) + "\n"


def _shown(outcome: Outcome) -> str:
    """The verdict, with the numbers behind it; where they are many, folded below it."""
    if len(outcome.detail) > ONE_LINE:
        return f"<details><summary><b>{outcome.text}</b></summary>{outcome.detail}</details>"
    return f"**{outcome.text}**" + (f": {outcome.detail}" if outcome.detail else "")
