"""What the README and docs/findings.md say of a tier, made from its rows: prose and report cannot disagree.

`python tools/refresh_docs.py` writes these blocks between their markers; a test fails while they are not up to date.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from advdpnp.config import Tier
from advdpnp.markdown import escape_markdown
from advdpnp.names import attack_name, block_name, column_name, heading
from advdpnp.paper import artefacts
from advdpnp.paper.claims import CLAIMS, WORDS, Outcome, counts, outcomes
from advdpnp.paper.numbers import OURS, Values, methods_of, paper_values
from advdpnp.report import ablations, differences, fingerprint
from advdpnp.report.measurements import Measurements
from advdpnp.report.tables import format_interval, format_value, table_rows
from advdpnp.store import RESULTS, Store, read_json


class Headline(NamedTuple):
    """A claim of the first screen in its words, and the column of CIFAR-10, ResNet-18 that shows it best."""

    text: str
    tables: tuple[int, ...]
    column: str
    unit: str = "%"
    lowest: bool = False
    without: tuple[str, ...] = ("ST",)


PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}
HEADLINES = {  # by the id of the claim
    "abstract-clean": Headline("highest clean accuracy of all defenses", (1, 2), "clean"),
    "t2-aa": Headline("first or second under AutoAttack (Table 2)", (2,), "aa"),
    "t4-fdr": Headline("tightest classes: lowest FDR of the robust models", (4,), "fdr_clean", "", lowest=True),
    "t4-angles": Headline("widest angles between class centers (smallest of them)", (4,), "min_sep", "°", without=()),
    "t5-average": Headline("highest average accuracy on CIFAR-10-C", (5,), "avg_accuracy"),
}


def measurements(tier: Tier, store: Store = RESULTS) -> Measurements:
    """All numbers of a tier as the claims look them up."""
    names = [name for name in artefacts.with_notebook() if name.startswith(("table", "figure"))]
    return Measurements(tier, [row for name in names for row in table_rows(tier, name, store)], store)


def headlines(tier: Tier, store: Store = RESULTS, values: Measurements | None = None) -> str:
    """The claims of HEADLINES as a table: Adv-DPNP and its best rival with the verdict, in the paper and here."""
    values = values or measurements(tier, store)
    chosen = [claim for claim in CLAIMS if claim.id in HEADLINES]
    theirs, ours = outcomes(paper_values, chosen), outcomes(values, chosen)
    whose = "ours" if tier.policy.comparable else "ours, smaller protocol"
    header = (
        "what the paper claims of Adv-DPNP",
        "the paper's numbers, CIFAR-10",
        "there the claim",
        whose,
        "here the claim",
    )
    lines = [f"| {' | '.join(header)} |", "|---|---|---|---|---|"]
    for name, headline in HEADLINES.items():
        sides = _beside(paper_values, headline), _said(theirs[name])
        lines.append(f"| {headline.text} | {' | '.join(sides)} | {_beside(values, headline)} | **{ours[name].word}** |")
    return "\n".join(lines)


def answer(tier: Tier, store: Store = RESULTS, values: Measurements | None = None) -> str:
    """Whether the method holds up, in a sentence, and which of HEADLINES do: of the same verdicts as `headlines`."""
    chosen = [claim for claim in CLAIMS if claim.id in HEADLINES]
    found = outcomes(values or measurements(tier, store), chosen)
    named = {word: [_short(HEADLINES[n].text) for n in HEADLINES if found[n].word == word] for word in WORDS}
    holding, against, rest = named["holds"], named["does not hold"], named["not decided"] + named["not run"]
    verdict = "In part" if holding and (against or rest) else "Yes" if holding else "No" if against else "Not decided"
    where = "" if tier.policy.comparable else ", under a smaller protocol"
    said = {
        "holds": ("holds", "hold"), "does not hold": ("does not", "do not"),
        "not decided": ("is not decided", "are not decided"), "not run": ("was not run", "were not run"),
    }  # fmt: skip
    parts = [f"{len(of)} {said[word][len(of) > 1]} ({', '.join(of)})" for word, of in named.items() if of]
    return f"**Does the method hold up? {verdict}{where}.** Of {len(found)} headline claims {'; '.join(parts)}."


def _short(text: str) -> str:
    """'tightest classes: lowest FDR of ...' -> 'tightest classes'."""
    return text.partition(":")[0].partition(" (")[0]


def _said(outcome: Outcome) -> str:
    """Its word, and where it fails if that is not everywhere: 'does not hold on SVHN'."""
    partly = outcome.failing and {*outcome.failing} < {*", ".join(outcome.ran).split(", ")}
    return outcome.word + (f" on {', '.join(outcome.failing)}" if partly else "")


def _beside(values: Values, headline: Headline) -> str:
    """'43.4 %, HAT 46.9': Adv-DPNP's number and the best of its rivals'."""
    found: dict[str, float] = {}
    for table in headline.tables:
        for method in methods_of(table, "cifar10", "resnet18"):
            value = values(table, "cifar10", "resnet18", method, headline.column)
            if value is not None and method not in headline.without:
                found.setdefault(method, value)
    digits = 3 if headline.lowest else 1
    if OURS not in found:
        return "–"
    own, unit = found.pop(OURS), headline.unit.replace("%", " %")
    rival = (min if headline.lowest else max)(found, key=found.get, default=None)
    return f"{own:.{digits}f}{unit}" + (f", {rival} {found[rival]:.{digits}f}" if rival else "")


def verdicts(tier: Tier, store: Store = RESULTS) -> str:
    """How many claims hold where they were measured, and each of them by its verdict, one line per claim."""
    found = outcomes(measurements(tier, store))
    texts: Mapping[str, str] = {claim.id: claim.text for claim in CLAIMS}
    lines = [f"Of the paper's {len(found)} claims, {counts(found.values())}, judged where they were measured."]
    for word in WORDS[:-1]:
        named = [name for name, outcome in found.items() if outcome.word == word]
        if named:
            lines += ["", f"**{word[0].upper()}{word[1:]}:**", ""]
            lines += [f"- {escape_markdown(texts[name])} ({escape_markdown(found[name].detail)})" for name in named]
    return "\n".join(lines)


def contrasts(tier: Tier, store: Store = RESULTS) -> str:
    """The six primary contrasts."""
    return differences.primary_markdown(differences.primary(differences.rivals(tier, "table1", store)), tier.label)


def readings(tier: Tier, store: Store = RESULTS) -> str:
    """The readings of Eq. (3) beside the paper, and what the rule says."""
    return fingerprint.markdown(tier, fingerprint.rows(tier, store))


def accuracies(tier: Tier, store: Store = RESULTS) -> str:
    """Table 1 of ours on the first data set, with intervals, without the paper's numbers."""
    rows = [row for row in table_rows(tier, "table1", store) if row.ours is not None]
    dataset, backbone = rows[0].dataset, rows[0].backbone
    rows = [row for row in rows if (row.dataset, row.backbone) == (dataset, backbone)]
    columns, methods = (list(dict.fromkeys(getattr(row, key) for row in rows)) for key in ("column", "method"))
    lines = [f"| {block_name(dataset, backbone)}, accuracy (%) | {' | '.join(heading(c) for c in columns)} |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    cells = {(row.method, row.column): row for row in rows}
    for method in methods:
        shown = [
            f"{format_value(row)} {format_interval(row)}" if (row := cells.get((method, c))) else "–" for c in columns
        ]
        lines.append(f"| {escape_markdown(method)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def effects(tier: Tier, store: Store = RESULTS) -> str:
    """What the ledger's switches are worth."""
    return ablations.ledger_markdown(ablations.effects(tier, store))


# Entries of the ledger that are readings of Eq. (3): what stands beside what.
READINGS = {
    "17": ("sum", "mean", "norm"), "19": ("sum", "slow_prototypes"), "20": ("sum", "balanced"),
    "22": ("sum", "features_only"),
}  # fmt: skip
LEDGER_CELL = re.compile(r"^(\| (\d+) \|.*\| )[^|\n]*?(\[measured\]\([^|\n]*\|)$", re.MULTILINE)


def ledger_numbers(tier: Tier, store: Store = RESULTS) -> dict[str, str]:
    """By the id of the ledger's entry, what the other choice is worth: 'clean -3.10 [-4.92, -1.28], ...'."""
    switches: dict[str, dict[str, list[str]]] = {}
    for row in ablations.effects(tier, store):
        name, _, key = row["measure"].rpartition(".")
        what = column_name(key) if name or key == "clean" else attack_name(key)
        bounds = f" [{row['low']:+.2f}, {row['high']:+.2f}]" if row["low"] is not None else "°"
        choice = f"{row['choice'].partition(' (')[0]} {row['other']}"
        switches.setdefault(row["id"], {}).setdefault(choice, []).append(f"{what} {row['effect']:+.2f}{bounds}")
    numbers = {
        id: "; ".join((f"{choice}: " if len(of) > 1 else "") + ", ".join(said) for choice, said in of.items())
        for id, of in switches.items()
    }
    angles: dict[str, list[float]] = {}
    for row in fingerprint.rows(tier, store):
        angles.setdefault(row["reading"], []).append(row["mean_sep"])
    for id, names in READINGS.items():
        if all(angles.get(name) for name in names):
            shown = (f"`{name}` {sum(angles[name]) / len(angles[name]):.1f}°" for name in names)
            numbers[id] = f"MeanSep {', '.join(shown)}"
    return numbers


def with_ledger_numbers(text: str, numbers: Mapping[str, str]) -> str:
    """docs/ledger.md with these numbers before each link to where its entry was measured."""
    return LEDGER_CELL.sub(lambda m: m[1] + (f"{numbers[m[2]]}, " if m[2] in numbers else "") + m[3], text)


def figure2(tier: Tier, store: Store = RESULTS) -> str:
    """Figure 2 in numbers, a line per quantity."""
    rows = table_rows(tier, "figure2", store)
    methods = list(dict.fromkeys(row.method for row in rows))
    lines = [f"| Figure 2 | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    for column in dict.fromkeys(row.column for row in rows):
        cells = {row.method: format_value(row) for row in rows if row.column == column}
        lines.append(f"| {heading(column)} | {' | '.join(cells[method] for method in methods)} |")
    return "\n".join(lines)


def weights(tier: Tier, store: Store = RESULTS) -> str:
    """The networks whose weights are published, with what was measured of each."""
    found = [read_json(path) for path in sorted((store.tier("weights") / tier.name).glob("*.json"))]
    if not found:
        return "None yet."
    columns = list(dict.fromkeys(name for about in found for name in about["measured"]))
    heads = [heading(name) if name == "clean" else f"{attack_name(name)} ↑" for name in columns]
    lines = [f"| network | trained in | {' | '.join(heads)} |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for about in found:
        precision = PRECISIONS.get(about["precision"], about["precision"])
        told = [_measured(about["measured"].get(name)) for name in columns]
        lines.append(f"| `{about['run']}` | {precision} | {' | '.join(told)} |")
    others = [f"`{about['run']}`" for about in found if not about["in_tables"]]
    if others:
        lines += ["", "Trained again for this, not the networks that the tables are of: " + ", ".join(others) + "."]
    return "\n".join(lines)


def _measured(found: Mapping | None) -> str:
    """'38.1 % of 1,000', or a dash."""
    return f"{found['accuracy']:.1f} % of {found['images']:,}" if found else "–"
