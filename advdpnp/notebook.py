"""What the notebooks share, so that a cell says what it shows and not how: provenance line, measuring, tables.

A notebook runs alone: it trains and evaluates what is missing where the tier says so (`policy.train_in_notebooks`: the
demo, minutes); in other tiers it shows what is there, and cells that were not run say so.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING

import torch
from IPython.display import HTML, Image, Markdown, display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from advdpnp import __version__
from advdpnp.checkout import check_kernel
from advdpnp.config import ATTACKS, RunConfig, Tier, dependency, load_tier
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate, feature_attack, resolved_attack
from advdpnp.hardware import pick_device
from advdpnp.markdown import escape_markdown
from advdpnp.names import block_name, step_of
from advdpnp.paper import artefacts
from advdpnp.paper.claims import CLAIMS, claims_markdown
from advdpnp.paper.numbers import Cell
from advdpnp.report import differences, figures, render, tables
from advdpnp.report.measurements import Measurements
from advdpnp.report.sentences import sentences
from advdpnp.store import RESULTS, code_revision, device_name, write_csv, write_text
from advdpnp.train import fit

if TYPE_CHECKING:
    import pandas as pd


def begin(tier_name: str) -> Tier:
    """Load the tier and print where the numbers come from and go to.

    Raises UserError for an unknown tier, or in a kernel that runs another checkout's code.
    """
    check_kernel()
    tier, python = load_tier(tier_name), platform.python_version()
    line = f"advdpnp {__version__}, code {code_revision()}, torch {torch.__version__}, {device_name(pick_device())}"
    line += f", Python {python}; results in {RESULTS.tier(tier.name)}"
    display(Markdown(f"**Tier {tier.name}** ({escape_markdown(tier.label)})  \n<small>{escape(line)}</small>"))
    return tier


def _ensure_trained(run: RunConfig) -> None:
    for needed in filter(None, (dependency(run), run)):
        if not RESULTS.trained(needed).exists():
            fit(needed, wait=True)  # two notebooks may want the same network at once


def measure(tier: Tier, name: str) -> list[RunConfig]:
    """Have every run of a table or figure evaluated; returns the runs that are there.

    With `policy.train_in_notebooks` what is missing is trained first; else it is named, with the command that makes it.
    Of a run that is here without its weights, as `restore` leaves it, the stored results are shown as they are.
    """
    there, missing, lacking = [], [], []
    for run in artefacts.runs_of(tier, name):
        if tier.policy.train_in_notebooks:
            _ensure_trained(run)
        evaluations = artefacts.artefact(name).evaluations(run.variant)
        if not RESULTS.trained(run).exists():
            missing.append(run.id)
            continue
        there.append(run)
        if (RESULTS.run(run) / "model.pt").exists():
            evaluate(run, *evaluations, wait=True)
        elif absent := [each for each in evaluations if not RESULTS.evaluation(run, each).exists()]:
            lacking.append(f"{run.id} ({', '.join(absent)})")
    if lacking:
        display(Markdown(f"*Not evaluated, and the weights are not here: {'; '.join(lacking)}.*"))
    if missing:
        command = f"snakemake --cores 1 results/{tier.name}/{artefacts.output_of(name)}"
        display(Markdown(f"*Not trained in this tier: {', '.join(missing)}. `{command}` does it.*"))
    return there


def attacks_of(tier: Tier, name: str) -> "pd.DataFrame":
    """The attacks of a table or figure as this tier runs them: a DataFrame, budgets in 1/255."""
    import pandas as pd

    run = next(artefacts.runs_of(tier, name), None)
    if run is None:
        return pd.DataFrame()
    rows = []
    evaluations = artefacts.artefact(name).evaluations()
    names = [feature_attack(run) if e in ("geometry", "features") else e for e in evaluations]
    for attack_name in dict.fromkeys(n for n in names if n in ATTACKS):
        a = resolved_attack(run, attack_name)
        steps = {"clean": "", "fgsm": 1, "autoattack": ""}.get(a.kind, a.steps)
        iterated = a.kind in ("pgd", "cw", "adaptive")
        rows.append(
            {
                "attack": attack_name,
                "kind": a.kind,
                "norm": "" if a.kind == "clean" else a.norm,
                "epsilon (1/255)": "" if a.kind == "clean" else round(255 * a.epsilon, 3),
                "step (1/255)": round(255 * a.step_size, 3) if iterated else "",
                "steps": steps,
                "starts": a.restarts if a.random_start else "",
                "images": a.images or run.evaluation.test_images or run.facts.test_images,
            }
        )
    return pd.DataFrame(rows).set_index("attack") if rows else pd.DataFrame()  # corruptions are no attack


def components(runs: list[RunConfig]) -> "pd.DataFrame":
    """AutoAttack by component: accuracy (%) left after it, seconds, images sent through the network; a row per run.

    Results from before this was stored are left out, and when there are no others, that is said.
    """
    import pandas as pd

    names = {"accuracy": "left (%)", "seconds": "seconds", "passes": "passes"}
    rows = {}
    for run in runs:
        told = (RESULTS.read_evaluation(run, "aa") or {}).get("components", {})
        if told:
            rows[run.id] = {(part, shown): told[part][key] for part in told for key, shown in names.items()}
    if not rows:
        display(Markdown("*Not stored with these results: they are of an earlier build.*"))
    return pd.DataFrame(rows).T


@contextmanager
def saving() -> Iterator[None]:
    """Where nothing can be written, as on a read-only share, a notebook opened by hand says so and goes on.

    In the workflow, which wants the files, it ends. Raises UserError there.
    """
    try:
        yield
    except UserError as error:
        if "ADVDPNP_PREFIX" in os.environ:
            raise
        display(Markdown(f"*Not saved: {error}*"))


def show_table(tier: Tier, name: str) -> list[Cell]:
    """Show a table in the paper's shape, or a figure in numbers; save CSV, Markdown and LaTeX; return the long form."""
    rows = tables.table_rows(tier, name)
    path = RESULTS.table(tier.name, name)
    text = render.markdown(rows, tier.label)
    with saving():
        write_text(path.with_suffix(".md"), text)
        write_text(path.with_suffix(".tex"), render.latex(rows, tier.label))
        write_csv(path, map(asdict, rows), tables.COLUMNS)
    for block in render.blocks(rows):
        display(HTML(render.html(block, f"{block.name} ({tier.label})")))
    if said := sentences(rows):
        display(Markdown(said))
    if missing := render.not_run(rows):
        display(Markdown(f"*{missing}*"))
    return rows


def show_dots(tier: Tier, name: str, rows: list[Cell]) -> None:
    """Show and save a table as dots with intervals, one picture per data set and network that was measured.

    A table of more and more iterations or starts (Tables 6 and 7) is drawn as lines over them.
    """
    for (dataset, backbone), methods in tables.paper_shaped(rows).items():
        cells = [row for columns in methods.values() for row in columns.values()]
        if any(row.ours is not None for row in cells):
            columns = list(next(iter(methods.values())))
            compared, rising = tier.policy.comparable, all(map(step_of, columns))
            picture = figures.effort_lines(cells, paper=compared) if rising else None
            picture = picture or figures.dots(cells, columns, paper=compared)
            marks = ": dots are ours, diamonds the paper's" if compared else ""
            picture.suptitle(block_name(dataset, backbone) + marks)
            save_figure(tier, f"{name}-{dataset}-{backbone}", picture)


def show_rivals(tier: Tier, name: str) -> list[differences.Comparison]:
    """Show Adv-DPNP minus each rival, image by image, as a table and pictures; save both; return the long form."""
    rows = differences.rivals(tier, name)
    with saving():
        write_csv(RESULTS.table(tier.name, f"{name}-rivals"), map(asdict, rows), differences.COLUMNS)
    display(Markdown(differences.markdown(rows, tier.label)))
    for dataset, backbone in dict.fromkeys((row.dataset, row.backbone) for row in rows):
        here = [row for row in rows if (row.dataset, row.backbone) == (dataset, backbone)]
        save_figure(tier, f"{name}-rivals-{dataset}-{backbone}", figures.rivals(here))
    return rows


def verdicts(rows: list[Cell]) -> "pd.DataFrame":
    """The long form with the verdict of every cell: a DataFrame."""
    import pandas as pd

    return pd.DataFrame(rows).astype(object).fillna("")


def show_claims(tier: Tier, name: str, rows: list[Cell]) -> None:
    """The paper's claims that rest on this table or figure: on the paper's own numbers, and on ours.

    Networks on other data than the paper's are not asked: what they say of its claims would mean nothing.
    """
    claims = [claim for claim in CLAIMS if tables.printed_as(name) in claim.tables]
    ours = Measurements(tier, rows) if tier.has_paper_data else None
    display(Markdown(claims_markdown(ours, claims, whose=f"ours ({tier.name})")))


def show(fig: Figure) -> None:
    """Display a picture once, whatever the backend."""
    display(fig)
    plt.close(fig)


def show_film(animated_png: bytes, text: str) -> None:
    """Display a picture that moves; `text` says what it shows where it can't be seen."""
    display(Image(data=animated_png, format="png", alt=text))


def save_figure(tier: Tier, name: str, fig: Figure) -> None:
    """Label a picture with the protocol, save it to results/<tier>/figures/<name>.png and .pdf, and display it."""
    figures.label_protocol(fig, tier.label, paper=tier.policy.comparable)
    with saving():
        figures.save(fig, RESULTS.figure(tier.name, name))
    show(fig)
