"""Every checkable claim of Sections 4.1-4.5 of the paper (and one of its abstract), as a test of numbers.

A claim's check takes a lookup `values(table, dataset, backbone, method, column) -> float | None`, so the same check
runs on the paper's numbers (`paper.paper_values`) and on ours (`paper.values_from`). Where a claim's wording leaves
its strength open ("competitive", "marginally"), `criterion` says how it is read here. Section 4.1 makes no claim
about a number.

The figures carry no numbers in the paper; on ours these claims read the rows that `tables.table_rows` makes of
"figure2" (mnist, lenetspp; columns angular_clean, angular_adv, radial_clean, radial_adv, min_sep), "figure3"
(severity_1 ... severity_5) and "figure4" (fgsm_eps<e>, pgd_eps<e> with e in units of 1/255).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from advdpnp.paper import FIGURES, OURS, STATED, TINY, Values, methods_of, paper_values, reported_table


class Outcome(NamedTuple):
    """Whether a claim holds (None: a cell it needs is missing, and those there do not refute it), with numbers."""

    holds: bool | None
    detail: str


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
        return self.dataset if self.backbone == "resnet18" else f"{self.dataset}/{self.backbone}"


class Quantity(NamedTuple):
    """A number made of one or more columns of a method's row."""

    label: str
    columns: tuple[str, ...]
    combine: Callable[..., float] = lambda value: value


def change(metric: str) -> Quantity:
    """|adversarial - clean| of a metric of Table 4."""
    return Quantity(f"{metric} change", (f"{metric}_clean", f"{metric}_adv"), lambda c, a: abs(a - c))


def growth(metric: str) -> Quantity:
    """adversarial / clean of a metric of Table 4."""
    columns = (f"{metric}_clean", f"{metric}_adv")
    return Quantity(f"{metric} adv/clean", columns, lambda c, a: a / c if c else float("inf"))


def _read(values: Values, block: Block, method: str, quantity: Quantity) -> float | None:
    cells = [values(*block, method, column) for column in quantity.columns]
    return None if any(cell is None for cell in cells) else quantity.combine(*cells)


class Part(NamedTuple):
    """One comparison of a check; `slack` is how comfortably it holds, relative to the numbers compared."""

    holds: bool | None
    detail: str
    slack: float = 0.0


def combine(parts: Sequence[Part], show: int = 4) -> Outcome:
    """All parts together: one False refutes, else one None leaves it open. Long lists show what matters."""
    known = [part.holds for part in parts]
    holds = False if False in known else None if None in known else True
    if len(parts) <= show:
        return Outcome(holds, "; ".join(part.detail for part in parts))
    failed, open_ = ([p.detail for p in parts if p.holds is state] for state in (False, None))
    good = [part for part in parts if part.holds]
    lines = [f"{len(good)} of {len(parts)} comparisons hold"]
    lines += [f"not: {', '.join(failed)}"] if failed else []
    lines += [f"{len(open_)} undecided, first: {open_[0]}"] if open_ else []
    lines += [f"closest: {min(good, key=lambda part: part.slack).detail}"] if good and not failed else []
    return Outcome(holds, "; ".join(lines))


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
    """Is `who` among the first `place`? A rival counts as ahead unless beaten by more than `by`."""
    name = f"{block} {quantity.label}"
    own = _read(values, block, who, quantity)
    if own is None:
        return Part(None, f"{name}: {who} is missing")
    sign = -1 if lowest else 1
    found = {rival: _read(values, block, rival, quantity) for rival in rivals}
    missing = [rival for rival, value in found.items() if value is None]
    order = sorted(((sign * (own - v), r, v) for r, v in found.items() if v is not None), key=lambda item: item[0])
    ahead = sum(lead <= by + TINY for lead, _, _ in order)
    holds = False if ahead >= place else None if ahead + len(missing) >= place else True
    detail = f"{name} {'' if who == OURS else who + ' '}{own:.4g}"
    if order:
        _, rival, value = order[0]
        detail += f" against {rival} {value:.4g} ({own - value:+.3g})"
    if place > 1:
        detail += f", place {ahead + 1}"
    if missing:
        detail += f", missing: {', '.join(missing)}"
    slack = (order[place - 1][0] - by) / max(abs(own), TINY) if len(order) >= place else float("inf")
    return Part(holds, detail, slack)


def placed(
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
    first = placed([Block(*stated[1:4])], [stated.column], without=("ST",))

    def check(values: Values) -> Outcome:
        outcome = first(values)
        return Outcome(outcome.holds, f"{outcome.detail}; text: +{stated.margin}")

    return check


def every(*checks: Check) -> Check:
    """All of several checks."""
    return lambda values: combine([Part(*check(values)) for check in checks], show=len(checks))


def at_least(count: int, *checks: Check) -> Check:
    """At least `count` of several checks."""

    def check(values: Values) -> Outcome:
        outcomes = [check(values) for check in checks]
        yes, open_ = (sum(o.holds is state for o in outcomes) for state in (True, None))
        holds = True if yes >= count else None if yes + open_ >= count else False
        return Outcome(holds, f"{yes} of {len(checks)}: " + "; ".join(o.detail for o in outcomes))

    return check


def rises(blocks: Sequence[Block], metrics: Sequence[str]) -> Check:
    """For every method of the block, the adversarial value of a metric of Table 4 exceeds the clean one."""

    def part(values: Values, block: Block, method: str, metric: str) -> Part:
        clean, adv = (values(*block, method, f"{metric}_{side}") for side in ("clean", "adv"))
        name = f"{block} {method} {metric}"
        if clean is None or adv is None:
            return Part(None, f"{name} is missing")
        return Part(adv > clean, f"{name} {clean:.4g} -> {adv:.4g}", (adv - clean) / max(abs(adv), TINY))

    return lambda values: combine(
        [part(values, b, method, metric) for b in blocks for method in methods_of(*b) for metric in metrics]
    )


def series(table: int, prefix: str) -> tuple[str, ...]:
    """The columns of one of the paper's tables that start with `prefix`, in its order."""
    return tuple(dict.fromkeys(c.column for c in reported_table(table) if c.column.startswith(prefix)))


def monotone(blocks: Sequence[Block], prefix: str, *, rising: bool = False) -> Check:
    """Adv-DPNP's numbers never move the wrong way along the columns of `series`."""

    def part(values: Values, block: Block) -> Part:
        columns = series(block.table, prefix)
        numbers = [values(*block, OURS, column) for column in columns]
        missing = [c for c, number in zip(columns, numbers) if number is None]
        steps = [(b - a) * (1 if rising else -1) for a, b in pairwise(n for n in numbers if n is not None)]
        holds = False if any(step < -TINY for step in steps) else None if missing else True
        shown = " ".join("?" if number is None else f"{number:g}" for number in numbers)
        return Part(holds, f"{block} {columns[0]} to {columns[-1]}: {shown}")

    return lambda values: combine([part(values, block) for block in blocks])


def settled(blocks: Sequence[Block], prefix: str, *, within: float, relative: bool = False) -> Check:
    """Adv-DPNP's numbers along the columns of `series` differ by at most `within` (of the first, when relative)."""

    def part(values: Values, block: Block) -> Part:
        columns = series(block.table, prefix)
        numbers = [values(*block, OURS, column) for column in columns]
        known = [number for number in numbers if number is not None]
        missing = [column for column, number in zip(columns, numbers) if number is None]
        if len(known) < 2:
            return Part(None, f"{block}: fewer than two of {', '.join(columns)}")
        span = (max(known) - min(known)) / (max(abs(known[0]), TINY) if relative else 1.0)
        holds = False if span > within + TINY else None if missing else True
        size = f"{100 * span:.3g} %" if relative else f"{span:.3g}"
        limit = f"{100 * within:g} %" if relative else f"{within:g}"
        there = [column for column in columns if column not in missing]
        detail = f"{block} {there[0]} to {there[-1]}: {known[0]:g} to {known[-1]:g}, range {size} (limit {limit})"
        return Part(holds, detail + (f", missing: {', '.join(missing)}" if missing else ""))

    return lambda values: combine([part(values, block) for block in blocks])


def _curve(values: Values, block: Block, attack: str) -> dict[int, float]:
    """{budget in 1/255: accuracy} of Figure 4, wherever it was measured."""
    found = {e: values(*block, OURS, f"{attack}_eps{e}") for e in range(256)}
    return {e: accuracy for e, accuracy in found.items() if accuracy is not None}


def _curve_falls(values: Values) -> Outcome:
    def part(block: Block, attack: str) -> Part:
        curve = _curve(values, block, attack)
        if len(curve) < 2:
            return Part(None, f"{block} {attack}: fewer than two budgets")
        bad = [f"{a}/255 {curve[a]:g} -> {b}/255 {curve[b]:g}" for a, b in pairwise(curve) if 0 < curve[a] <= curve[b]]
        ends = f"{next(iter(curve.values())):g} to {list(curve.values())[-1]:g}"
        return Part(not bad, f"{block} {attack} {ends}" + (f", not at {', '.join(bad)}" if bad else ""))

    return combine([part(block, attack) for block in F4 for attack in ("fgsm", "pgd")])


def _curve_ends(values: Values) -> Outcome:
    def part(block: Block) -> Part:
        curve = _curve(values, block, "pgd")
        if not curve:
            return Part(None, f"{block} pgd: not measured")
        largest = max(curve)
        return Part(curve[largest] < ZERO, f"{block} pgd at {largest}/255: {curve[largest]:g}")

    return combine([part(block) for block in F4])


def _curve_order(values: Values) -> Outcome:
    def part(block: Block) -> Part:
        fgsm, pgd = (_curve(values, block, attack) for attack in ("fgsm", "pgd"))
        shared = [e for e in fgsm if e in pgd]
        if not shared:
            return Part(None, f"{block}: no budget with both attacks")
        bad = [f"{e}/255: FGSM {fgsm[e]:g} < PGD {pgd[e]:g}" for e in shared if fgsm[e] < pgd[e]]
        return Part(not bad, f"{block}: {', '.join(bad)}" if bad else f"{block}: all {len(shared)} budgets")

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

_NOT_ST = ("ST",)


def _collapsed(values: Values) -> Outcome:
    def part(block: Block) -> Part:
        accuracy = values(*block, "ST", "aa")
        if accuracy is None:
            return Part(None, f"{block} aa: ST is missing")
        return Part(accuracy < COLLAPSED, f"{block} aa: ST {accuracy:g}")

    return combine([part(block) for block in T1])


_L1_STALLS = "pgd_l1 is the l1 step that stalls, most likely the paper's (ledger 11); Table 1 has pgd_l1_free beside it"

CLAIMS = (
    # Abstract
    Claim(
        "abstract-clean", "Abstract",
        "experiments (CIFAR-10/100 and SVHN) confirm that Adv-DPNP improves clean accuracy over state-of-the-art "
        "defenses and baseline methods",
        (1, 2), every(placed(T1, ["clean"], without=_NOT_ST), placed(T2, ["clean"])),
        "highest clean accuracy of all defenses in every block of Tables 1 and 2",
    ),
    # Section 4.2, baselines (Table 1)
    Claim(
        "t1-st-clean", "4.2", "ST achieves the highest clean accuracy", (1,), placed(T1, ["clean"], who="ST"),
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
        placed(T1, ["pgd_l1", "pgd_l2"]), _L1_STALLS,
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
        "t1-aa-cifar10", "4.2", "it attains the highest AA accuracy on CIFAR-10", (1,), placed([T1_C10], ["aa"]),
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
        placed([T1_C100], ["aa"], by=-COMPETITIVE), f"less than {COMPETITIVE} point behind the best",
    ),
    # Section 4.2, state of the art (Table 2)
    Claim(
        "t2-avg", "4.2", "Adv-DPNP consistently achieves the highest Avg in all four evaluation blocks", (2,),
        placed(T2, ["avg"]),
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
        every(
            placed([T2_C10], ["avg"], who="HAT", without=(OURS,)),
            placed([T2_SVHN], ["avg"], who="DIO", without=(OURS,)),
            placed([T2_WRN], ["avg"], who="FSR", without=(OURS,)),
        ),
        "first once Adv-DPNP is left out",
    ),
    Claim(
        "t2-aa", "4.2", "either the highest or second-highest AA accuracy across all four settings", (2,),
        placed(T2, ["aa"], place=2),
    ),
    Claim(
        "t2-attacks", "4.2",
        "consistently ranks among the top defenses against diverse individual attacks (FGSM, PGD-20, PGD-100, "
        "C&W) as well as under the Ensemble metric",
        (2,), placed(T2, ["fgsm", "pgd20", "pgd100", "cw", "ensemble"], place=2), "first or second in each column",
    ),
    Claim(
        "t2-ensemble", "4.2", "it achieves the highest Ensemble accuracy in three of the four evaluation settings",
        (2,), at_least(3, *(placed([block], ["ensemble"]) for block in T2)), "at least three",
    ),
    # Section 4.2, perturbation sizes (Table 3)
    Claim(
        "t3-pgd", "4.2", "consistently outperforms other methods across all tested perturbation sizes: PGD", (3,),
        placed(T3, ["pgd_eps2", "pgd_eps4", "pgd_eps6"]),
    ),
    Claim(
        "t3-aa", "4.2", "consistently outperforms other methods across all tested perturbation sizes: AA", (3,),
        placed(T3, ["aa_eps2", "aa_eps4", "aa_eps6"]),
    ),
    # Section 4.3 (Table 4, Figure 2)
    Claim(
        "t4-adversarial-higher", "4.3",
        "Across all models, adversarial features exhibit higher FDR and AFS values compared to clean features",
        (4,), rises(T4, ["fdr", "afs"]),
    ),
    Claim(
        "t4-st-clean", "4.3", "undefended ST achieves the lowest FDR and AFS values for clean features", (4,),
        placed(T4, ["fdr_clean", "afs_clean"], who="ST", lowest=True),
    ),
    Claim(
        "t4-st-inconsistent", "4.3",
        "ST drastically fails to maintain a consistent latent space structure under adversarial perturbations",
        (4,), placed(T4, [growth("fdr"), growth("afs")], who="ST"),
        "the largest growth (adversarial / clean) of FDR and of AFS among all models",
    ),
    Claim(
        "t4-robust-fdr", "4.3", "adversarially trained models preserve better structure: FDR", (4,),
        placed(T4, ["fdr_adv"], who="ST"), "ST has the highest adversarial FDR",
    ),
    Claim(
        "t4-robust-afs", "4.3", "adversarially trained models preserve better structure: AFS", (4,),
        placed(T4, ["afs_adv"], who="ST"), "ST has the highest adversarial AFS",
    ),
    Claim(
        "t4-robust-scr", "4.3", "adversarially trained models preserve better structure: SCR", (4,),
        placed(T4, ["scr_adv"], who="ST", lowest=True), "ST has the lowest adversarial SCR",
    ),
    Claim(
        "t4-fdr", "4.3", "lowest FDR among robust models in both clean and adversarial settings", (4,),
        placed(T4, ["fdr_clean", "fdr_adv"], lowest=True, without=_NOT_ST),
    ),
    Claim(
        "t4-afs", "4.3", "lowest AFS among robust models in both clean and adversarial settings", (4,),
        placed(T4, ["afs_clean", "afs_adv"], lowest=True, without=_NOT_ST),
    ),
    Claim(
        "t4-scr", "4.3", "Adv-DPNP maintains the highest SCR", (4,), placed(T4, ["scr_clean", "scr_adv"]),
        "clean and adversarial, among all models",
    ),
    Claim(
        "t4-angles", "4.3", "... and the best angular margins", (4,), placed(T4, ["mean_sep", "min_sep"]),
        "highest MeanSep and MinSep among all models",
    ),
    Claim(
        "t4-angles-substantial", "4.3",
        "MeanSep/MinSep reach 95.32°/94.51° on CIFAR-10 and 89.90°/89.52° on CIFAR-100, substantially better than "
        "other methods",
        (4,), placed(T4, ["mean_sep", "min_sep"], by=SUBSTANTIAL), f"more than {SUBSTANTIAL:g}° ahead of each",
    ),
    Claim(
        "t4-change-scatter", "4.3",
        "the smaller change between corresponding values of clean/adversarial columns in the case of Adv-DPNP: "
        "FDR and AFS",
        (4,), placed(T4, [change("fdr"), change("afs")], lowest=True), "the smallest |adversarial - clean|",
    ),
    Claim(
        "t4-change-scr", "4.3",
        "the smaller change between corresponding values of clean/adversarial columns in the case of Adv-DPNP: SCR",
        (4,), placed(T4, [change("scr")], lowest=True), "the smallest |adversarial - clean|",
    ),
    Claim(
        "f2-variation", "4.3",
        "Compared to AT, Adv-DPNP significantly reduces both angular and radial variations of feature "
        "representations under clean and adversarial conditions",
        ("figure2",), placed(F2, ["angular_clean", "angular_adv", "radial_clean", "radial_adv"], lowest=True),
        "each variation is lower than AT's",
    ),
    Claim(
        "f2-margins", "4.3", "Adv-DPNP creates more distinct inter-class margins", ("figure2",),
        placed(F2, ["min_sep"]), "the smallest angle between two class centers is larger than AT's",
    ),
    # Section 4.4 (Figure 3, Table 5)
    Claim(
        "f3-severity", "4.4",
        "Adv-DPNP consistently improves accuracy at each severity level and outperforms other methods",
        ("figure3",), placed(F3, [f"severity_{s}" for s in (1, 2, 3, 4, 5)]),
    ),
    Claim(
        "t5-average", "4.4", "Adv-DPNP increases the average accuracy by 0.57%", (5,), stated_margin("t5-average"),
        "leads every method",
    ),
    Claim(
        "t5-second", "4.4", "... with AT in second place", (5,),
        placed(T5, ["avg_accuracy"], who="AT", without=(OURS,)), "AT is first once Adv-DPNP is left out",
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
        (6,), settled(T6, "accuracy_", within=MARGINAL), f"a range of at most {MARGINAL:g} point",
    ),
    Claim(
        "t6-loss-marginal", "4.5", "... and so does the loss", (6,),
        settled(T6, "loss_", within=MARGINAL_LOSS, relative=True),
        f"a range of at most {100 * MARGINAL_LOSS:g} % of the first value",
    ),
    Claim(
        "t6-converges", "4.5", "This behavior confirms that the iterative PGD attack converges correctly", (6,),
        every(monotone(T6, "accuracy_"), monotone(T6, "loss_", rising=True)),
        "with iterations accuracy never rises and loss never falls",
    ),
    Claim(
        "t7-accuracy-marginal", "4.5", "accuracy changes marginally with increases in random starts", (7,),
        settled(T7, "starts_", within=MARGINAL), f"a range of at most {MARGINAL:g} point",
    ),
    Claim(
        "t7-monotone", "4.5", "the iterative PGD attack converges correctly: random starts", (7,),
        monotone(T7, "starts_"), "accuracy never rises with random starts",
    ),
    Claim(
        "t8-adaptive", "4.5", "only a negligible difference in accuracy between the two loss objectives", (8,),
        settled(T8, "", within=NEGLIGIBLE), f"at most {NEGLIGIBLE} point",
    ),
)  # fmt: skip


def check_claims(values: Values) -> list[tuple[Claim, Outcome]]:
    """Every claim with its outcome on the numbers that `values` looks up."""
    return [(claim, claim.check(values)) for claim in CLAIMS]


_WORDS = {True: "holds", False: "does not hold", None: "undecided"}
DRAWN = "drawn, not printed"  # what the paper does with the numbers of its figures


def claims_markdown(ours: Values | None = None, claims: Iterable[Claim] = CLAIMS, *, whose: str = "ours") -> str:
    """A Markdown table: each claim, how it is read, its outcome on the paper's numbers and on `ours` (a lookup).

    Without `ours` no claim is asked of it. `whose` stands in the header.
    """
    lines = [f"| Section | Claim | On the paper's numbers | On {whose} |", "|---|---|---|---|"]
    for claim in claims:
        theirs = DRAWN if set(claim.tables) <= set(FIGURES) else _outcome(claim, paper_values)
        mine = "not asked" if ours is None else _outcome(claim, ours)
        text = claim.text + (f" *({claim.criterion})*" if claim.criterion else "")
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in (claim.section, text, theirs, mine)) + " |")
    return "\n".join(lines) + "\n"


def _outcome(claim: Claim, values: Values) -> str:
    holds, detail = claim.check(values)
    return f"**{_WORDS[holds]}**: {detail}"
