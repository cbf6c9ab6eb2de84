"""One page for a tier: every table beside the paper's, the claims, the costs; and the copy that is committed."""

import json
from dataclasses import asdict
from pathlib import Path

from advdpnp.config import (
    ATTACKS,
    FACTS,
    GEOMETRY_DEFINITION,
    INSTALLED,
    METHODS,
    ROOT,
    Tier,
    load_tier,
    need_checkout,
)
from advdpnp.errors import UserError
from advdpnp.evaluate import SPECIAL, images_of, masking, resolved_attack
from advdpnp.markdown import escape_markdown, markdown_table
from advdpnp.paper import artefacts
from advdpnp.paper.claims import CLAIMS, claims_markdown, counts, outcomes
from advdpnp.paper.consistency import consistency
from advdpnp.paper.numbers import Cell
from advdpnp.paper.resolution import resolution_markdown
from advdpnp.report import contrasts, differences, fingerprint, mixed_protocols, overview, render, summary, tables
from advdpnp.report.ablations import effects, ledger_markdown
from advdpnp.report.costs import costs_markdown, in_short
from advdpnp.report.html import html_page
from advdpnp.report.measurements import Measurements
from advdpnp.report.sentences import sentences
from advdpnp.store import PUBLISHED, RESULTS, Snapshot, Store, read_json, write_text
from advdpnp.train import changed_settings

METHOD = (
    "Adv-DPNP ([arXiv 2504.03782](https://arxiv.org/abs/2504.03782)) trains a classifier whose weights are prototypes "
    "of the classes, on clean and on adversarial images: features are pulled to the prototype of their class, "
    "prototypes are pushed apart, and only clean images move them. Here it stands beside the defenses that the paper "
    "compares it with."
)
LEDGER_NOTE = (
    "Entries of docs/ledger.md. The effect is other minus default, in points of accuracy or degrees; its 95 % interval "
    "is over test images, each under both choices, and over seeds where the other choice is another training. A "
    "variant in brackets is what both sides share. Each seed's own effect stands in the last column."
)
READINGS_NOTE = (
    'Ledger 17 and docs/ledger.md, "Which reading of Eq. (3)": eight quantities of Table 4 that hardly depend on width '
    "or schedule. Distance / norm is the mean distance of a feature to its prototype over that prototype's norm; for "
    "the paper it follows from its MeanSep and SCR. Summed is |log(ours / the paper's on CIFAR-10)|, and a reading "
    f"fits if the mean of the eight is below {fingerprint.FITS:.3f} for each seed. † is not counted by the rule. "
    "Accuracies (%) and PGD-20's cross-entropy follow the protocol, which is not the paper's, and are not counted."
)
CONTRASTS_NOTE = (
    "Named, with the rule that judges them, in docs/medium-preregistration.md before a network was evaluated. `worst`: "
    "right on the image itself, under PGD-20 and under C&W-30; `avg`: the mean of clean and worst. p after Holm's "
    f"correction for six; small: the 95 % interval lies within {contrasts.MATTERS:g} point of zero."
)
FIGURES_NOTE = (
    "The paper draws its figures without numbers, so none stands beside ours. Figure 2: spread within a class, a mean "
    "over the classes (the angle to the class's mean in degrees: median, 90 % quantile and root mean square; radial as "
    "a fraction of the class's mean radius), the smallest angle between two class means (gap, degrees), and the mean "
    "distance to the class's center over that center's norm; of one network each. Figure 3: accuracy (%) over 19 kinds "
    "of corruption. Figure 4: accuracy (%) by budget, named as in the paper, before the tier's `budget_scale`."
)
SCR_NOTE = (
    "SCR, Eq. (10), measures how far features are from the class centers. Where the centers are weights of norm 1 and "
    "the features have norm 10, it compares unlike things: a difference to prototypes that features follow is then one "
    "of scale, not of compactness. SCR to class means, ours, is the same with the class means of the features as "
    "centers, alike for all methods; the paper has no number for it."
)
EARLIER_GEOMETRY = (
    "AT_HE's features as they are before its head normalises them, where ledger 21 takes unit features: its SCR, of "
    "features that the head does not compare with its centers, is a dash, while FDR and AFS need no centers; nothing "
    "else differs, but for quantities that came later and are a dash too"
)
TRUST = (
    "Signs of masked gradients and of broken attacks (`advdpnp/evaluate/masking.py`). A check that compares two "
    "attacks does so on the same images, and warns when chance explains the difference with a probability below "
    f"{masking.LEVEL:g}."
)


def table_names() -> list[str]:
    """Names of the tables whose notebooks exist."""
    return [name for name in artefacts.with_notebook() if name.startswith("table")]


def figure_names() -> list[str]:
    """Names of the figures with numbers of ours whose notebooks exist."""
    return [name for name in artefacts.with_notebook() if name.startswith("figure")]


def methods_markdown() -> str:
    """The rows of the tables, each with the paper that it is from, in the order of the tables."""
    lines = []
    for name in (name for name in METHODS if name in FACTS):  # one of a user's own has no paper
        told = FACTS[name]
        title = f"[{told.title}]({told.link})" if told.link else told.title
        lines.append((escape_markdown(name), f"{title}{', ' if told.venue else ''}{told.venue}"))
    return markdown_table(("row", "is from"), lines)


def figures_markdown(tier: Tier, rows: list[Cell]) -> str:
    """The rows of the figures, a Markdown table each, in the order of their names."""
    lines = [FIGURES_NOTE, ""]
    for name in figure_names():
        own = [row for row in rows if row.table == name]
        title = f"Figure {name.removeprefix('figure')}: {artefacts.artefact(name).title}"
        lines += [f"### {title}", "", render.markdown(own)]
    return "\n".join(lines)


def earlier_geometry(tier: Tier, store: Store) -> list[str]:
    """A paragraph naming the runs whose geometry was measured by an earlier definition; [] where none was."""
    found = {run.id: store.read_evaluation(run, "geometry") for run in artefacts.all_runs(tier).values()}
    old = [name for name, value in found.items() if value and value.get("definition", 1) != GEOMETRY_DEFINITION]
    return [f"Measured by an earlier definition ({EARLIER_GEOMETRY}): {', '.join(old)}.", ""] if old else []


def protocol_mismatches(tier: Tier, store: Store = RESULTS) -> list[str]:
    """Result files made under another protocol than the tier's, each with the first difference.

    A setting that a file does not know, because it came later, is no difference; nor is the code's revision.
    """
    found: list[str] = []
    runs = artefacts.all_runs(tier)
    for run in runs.values():
        path, sha256 = store.run(run) / "config.json", None
        if path.exists():
            found += _mismatch(path, read_json(path, "method"), run.training_settings())
        if (path := store.trained(run)).exists():
            trained = store.read_json(path, "seconds")
            sha256 = trained.get("model_sha256")
            found += _mismatch(path, trained, {"run": run.id, "tier": tier.name, "seed": run.seed})
        for path in store.evaluations(run):
            if path.stem not in (*ATTACKS, *SPECIAL):
                continue
            if store.unfinished(run):
                found.append(f"{path.parent.name}/{path.name} (of former weights: a training begun anew is unfinished)")
                continue
            expected = {"run": run.id, "tier": tier.name, "seed": run.seed}
            expected |= {"model_sha256": sha256} if sha256 else {}
            expected["images"] = images_of(run, path.stem, range(run.facts.test_images))
            if path.stem in ATTACKS:
                expected["settings"] = json.loads(json.dumps(asdict(resolved_attack(run, path.stem))))
            found += _mismatch(path, store.read_json(path, "images"), expected)
    return found + [str(mismatch) for mismatch in mixed_protocols.mismatches(runs.values(), store)]


def _mismatch(path: Path, value: dict, expected: dict) -> list[str]:
    """[] or one sentence part: the file, and how the keys that both know differ."""
    there = {key: value[key] for key in expected if key in value}
    if isinstance(value.get("settings"), dict) and "settings" in expected:
        there["settings"] = expected["settings"] | value["settings"]
    changes = changed_settings(there, {key: expected[key] for key in there}, known=True)
    return [f"{path.parent.name}/{path.name} ({changes[0]})"] if changes else []


def refuse_mismatches(tier: Tier, store: Store) -> None:
    """One table shows one protocol. Raises UserError naming the files of another."""
    if found := protocol_mismatches(tier, store):
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise UserError(
            f"{store.tier(tier.name)}: {len(found)} results are not of tier {tier.name} as it is configured now: "
            f"{'; '.join(found[:3])}{more}; train or evaluate these again, or restore the settings they were made with."
        )


def preregistered(tier: Tier, store: Store) -> list[str]:
    """The contrasts of docs/medium-preregistration.md, a table for each reading; [] for a tier that has none."""
    if not any(artefacts.runs_of(tier, "contrasts")):
        return []
    lines = ["### The contrasts that were named first", "", CONTRASTS_NOTE, ""]
    for reading in ("Adv-DPNP", artefacts.PRINTED):
        lines += [contrasts.markdown(contrasts.contrasts(tier, reading, store), reading), ""]
    return lines


def trust_markdown(tier: Tier, store: Store = RESULTS) -> str:
    """What masking.py says of each run that was evaluated: from the stored flags, and from the evaluation `guard`."""
    checks = {}
    for run in artefacts.all_runs(tier).values():
        if store.evaluations(run):
            flags = {name: store.read_flags(run, name) for name in ("clean", "aa", *artefacts.ENSEMBLE)}
            flags["ensemble"] = tables.ensemble_flags(run, store)
            probed = store.read_evaluation(run, "guard", "images", "checks") or {"checks": []}
            norms = (name for name, attack in run.attacks.items() if attack.kind == "pgd" and attack.norm != "linf")
            used = {name: (store.read_evaluation(run, name, "images") or {}).get("budget_used") for name in norms}
            checks[run.id] = [
                *masking.check_attack_order(flags),
                masking.check_gap(flags),
                masking.check_budget_spent(used),
            ]
            checks[run.id] += masking.from_json(probed["checks"], f"{run.id}, guard.json")
    if not checks:
        return "There is nothing to check: no run was evaluated."
    answers = [check.ok for found in checks.values() for check in found]
    good, bad = answers.count(True), answers.count(False)
    said = f"Of {good + bad} checks of {len(checks)} networks, {good} find nothing and {bad} warn."
    return f"{said}\n\n{masking.markdown(checks)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def report_markdown(tier: Tier, store: Store = RESULTS) -> str:
    """The report's text from the evaluations of the store; without any, every cell reads "not run"."""
    refuse_mismatches(tier, store)
    lines = [f"# Results of tier {tier.name}", "", METHOD, ""]
    lines += [f"{_capital(escape_markdown(tier.label))}. {in_short(tier, store)}", ""]
    ran = store.has_evaluations(tier.name)
    if not ran:
        lines += ["**Nothing has been run under this protocol yet.** Where our numbers would stand is a dash.", ""]
    if not tier.policy.comparable:
        beside = (
            "The paper's numbers stand beside ours to show what would be compared; no difference between the two is "
            "taken. The paper's claims are judged by comparing our numbers with each other."
        )
        shown = "Its data are not the paper's either, so the paper's numbers are left out."
        shown = beside if tier.has_paper_data else shown
        lines += [f"**This is not the paper's protocol.** {shown}", ""]
    found_rows = {name: tables.table_rows(tier, name, store) for name in (*table_names(), *figure_names())}
    rows = [row for name in table_names() for row in found_rows[name]]
    drawn = [row for name in figure_names() for row in found_rows[name]]
    ours = Measurements(tier, [*rows, *drawn], store) if tier.has_paper_data else None
    if ran:
        lines += ["## In short", ""]
        if ours:
            lines += [summary.answer(tier, store, ours), ""]
        lines += picture(tier, store, "overview.svg", overview.described(_words(ours)))
        if ours:
            lines += [summary.headlines(tier, store, ours), "", all_claims(ours), ""]
            lines += picture(tier, store, "fingerprint.png", FINGERPRINT)
    lines += ["## How to read the tables", "", render.legend(rows), ""]
    lines += ["### The methods", "", methods_markdown(), ""]
    for name in table_names():
        found = found_rows[name]
        spec = artefacts.artefact(name)
        lines += [f"## Table {name.removeprefix('table')}: {spec.title}", "", render.markdown(found, fold=ran)]
        against = differences.rivals(tier, name, store) if name in differences.TABLES else []
        if said := sentences(found, against):
            lines += [said, ""]
        if name == "table4":
            lines += [SCR_NOTE, "", *earlier_geometry(tier, store)]
        if against:
            if name == "table1":
                lines += [
                    "### The primary contrasts",
                    "",
                    differences.primary_markdown(differences.primary(against)),
                    "",
                    *preregistered(tier, store),
                ]
            lines += ["### Image by image", "", differences.markdown(against)]
            lines += picture(tier, store, f"{name}-rivals-cifar10-resnet18.png", RIVALS.format(spec.title))
    lines += ["## The figures in numbers", "", figures_markdown(tier, drawn)]
    verdicts = {v: sum(row.verdict == v for row in rows) for v in dict.fromkeys(row.verdict for row in rows)}
    lines += ["## Verdicts", "", ", ".join(f"{n} cells: {v}" for v, n in verdicts.items()), ""]
    lines += ["## Can these numbers be trusted?", "", TRUST, "", trust_markdown(tier, store)]
    lines += ["## The paper's claims", "", claims_markdown(ours), ""]
    lines += ["## Does the paper agree with itself?", "", "| where | what | holds | detail |", "|---|---|---|---|"]
    lines += [
        f"| {f.where} | {f.what} | {'yes' if f.ok else '**no**'} | {f.detail} |" for f in consistency() if not f.ok
    ]
    lines += ["", f"({sum(f.ok for f in consistency())} further checks hold.)", ""]
    lines += ["### What one run per method can tell", "", resolution_markdown(), ""]
    lines += [
        "## The readings of Eq. (3)",
        "",
        READINGS_NOTE,
        "",
        fingerprint.markdown(tier, fingerprint.rows(tier, store)),
        "",
    ]
    lines += ["## The ledger: what the open choices are worth here", "", LEDGER_NOTE, ""]
    lines += [ledger_markdown(effects(tier, store)), ""]
    lines += ["## Costs", "", costs_markdown(tier, store), ""]
    return "\n".join(lines)


def all_claims(ours: Measurements) -> str:
    """How many of the paper's claims hold here, with links to them and to what speaks for the numbers."""
    return (
        f"Of the paper's {len(CLAIMS)} claims, {counts(outcomes(ours).values())}: [each of them](#the-papers-claims), "
        "and [whether these numbers can be trusted](#can-these-numbers-be-trusted)."
    )


FINGERPRINT = (
    "The readings of Eq. (3): geometry of networks trained under each, over the paper's of Table 4 (the black line); a "
    "reading fits if it is within the grey band on average."
)
RIVALS = "Adv-DPNP minus each rival, with 95 % intervals. {}."


def picture(tier: Tier, store: Store, name: str, what: str) -> list[str]:
    """A picture by its file's name with `what` it shows, linked from where the report lies; [] where it is not."""
    place = ""
    if store.figure(tier.name, name).with_name(name).exists():
        place = f"figures/{name}"
    elif store.root == PUBLISHED.root and (ROOT / "figures" / tier.name / name).exists():
        place = f"../../figures/{tier.name}/{name}"
    return [f"![{what}]({place})", "", f"*{what}*", ""] if place else []


def _words(ours: Measurements | None) -> list[str]:
    """The verdict on each of the paper's claims; [] where they are not asked."""
    return [outcome.word for outcome in outcomes(ours).values()] if ours else []


def overview_svg(tier: Tier, store: Store = RESULTS) -> str:
    """The picture of the first screen; '' where too little was measured."""
    names = ("table1", "table2")
    cells = [row for name in names for row in tables.table_rows(tier, name, store)]
    against = [row for name in names for row in differences.rivals(tier, name, store)]
    ours = summary.measurements(tier, store) if tier.has_paper_data else None
    return overview.overview(cells, against, _words(ours))


def write_report(tier_name: str, *, published: bool = False, output: str | None = None) -> str:
    """Write the report as Markdown and as HTML, or as the one that `output` names.

    Returns the path of the page, or the text for output '-'.

    A tier of which nothing is published has a report all the same: it says so. Raises UserError when the checkout's
    own results hold no evaluations; and when they do, but were not published: their report is not written over.
    """
    tier = load_tier(tier_name)
    store = PUBLISHED if published else RESULTS
    if published:
        need_checkout("published results lie")
    if not (published or RESULTS.has_evaluations(tier.name)):
        how = f"python -m advdpnp work --tier {tier_name}" if INSTALLED else f"snakemake --cores 1 {tier.name}"
        raise UserError(f"{RESULTS.tier(tier.name)}: holds no evaluations; run {how}, or report another tier.")
    if not store.has_evaluations(tier.name) and RESULTS.has_evaluations(tier.name):
        raise UserError(
            f"{PUBLISHED.tier(tier.name)}: nothing is published of tier {tier.name}; without --published, "
            f"{RESULTS.tier(tier.name)} is reported."
        )
    seen = Snapshot(store.root)
    if not published and (drawn := overview_svg(tier, seen)):
        write_text(store.figure(tier.name, "overview").with_suffix(".svg"), drawn)
    text = report_markdown(tier, seen)
    if output == "-":
        return text
    place = Path(output) if output else RESULTS.tier(tier.name) / "report.html"
    if not output:
        write_text(place.with_suffix(".md"), text)
    return str(write_text(place, html_page(text, store.tier(tier.name)) if place.suffix == ".html" else text))
