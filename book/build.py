"""Build the book: `make book`, or python book/build.py once its packages are there.

Nothing is trained, measured or downloaded here. Executed notebooks, reports and documents are staged in
results/book/pages, one Markdown page per module is written for the reference, and Sphinx turns all of it into
results/book/html. outputs.py shapes notebooks, instruments.py feeds the two instruments, drawing.py draws.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path

import drawing
import instruments
import nbformat
import outputs
import pictures

from advdpnp.config import ROOT, load_tier
from advdpnp.errors import UserError
from advdpnp.jobs.estimate import by_hardware
from advdpnp.paper import artefacts
from advdpnp.report import overview, summary
from advdpnp.report.costs import costs_markdown
from advdpnp.report.page import overview_svg
from advdpnp.share.publish import without_paths
from advdpnp.store import PUBLISHED, RESULTS, Snapshot, Store, results_root

HERE = Path(__file__).resolve().parent
BOOK = results_root() / "book"
PAGES = BOOK / "pages"
STATIC = BOOK / "static"  # what is made for the site beside book/static
TIERS = ("paper", "medium", "short", "short100", "demo")
# Documents of the repository that are pages of the book, where they exist.
DOCUMENTS = ("docs/*.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "notebooks/exercises/*.ipynb")
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")
DRAWN = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LEDGER = re.compile(r"\bledger (\d+)")
LEDGER_ROW = re.compile(r"^\| (\d+) \|", re.MULTILINE)
WIDE = (*(f"{tier}/" for tier in TIERS), "docs/ledger.md")  # pages whose tables need the place of the contents
ORDER = ("report", "table", "figure", "ledger")  # the order of the sidebar
SIDEBAR = {
    "method": "Equations and code", "report": "All results", "ledger": "What the open choices are worth",
    "prototypes": "Where do the prototypes go?", "images": "Who wins on which image?", "figures": "All figures",
}  # fmt: skip
SHORT = {
    "table1": "baselines", "table2": "state of the art", "table3": "small budgets", "table4": "geometry",
    "table5": "corruptions", "table6": "more iterations", "table7": "more starts", "table8": "adaptive attack",
    "figure2": "features of MNIST", "figure3": "by severity", "figure4": "growing budgets",
}  # fmt: skip
FILM = 'aria-label="Test features and prototypes over training'  # of the landing page, among those of the method
EFFORT = {"inputs": 60, "stride": 16, "epochs": 12, "steps": 120}  # of the simulator: a few seconds in a browser
OPTIONS = "   :members:\n   :member-order: bysource\n   :ignore-module-all:\n"


def source_of(tier: str) -> Store | None:
    """Where a tier is complete: results/, else the committed copy, else None."""
    return next((store for store in (RESULTS, PUBLISHED) if (store.tier(tier) / "report.md").exists()), None)


def pages() -> dict[str, Path]:
    """Each page of the book, by its path inside it: the file that it is made from."""
    found = {}
    for tier in TIERS:
        store = source_of(tier)
        if store is None:
            continue
        folder = store.tier(tier)
        found[f"{tier}/report.md"] = folder / "report.md"
        for notebook in sorted((folder / "notebooks").glob("*.ipynb"), key=tables_first):
            found[f"{tier}/{notebook.name}"] = notebook
    found["notebooks/method.ipynb"] = method_of(found)
    for pattern in DOCUMENTS:
        found |= {str(path.relative_to(ROOT)): path for path in sorted(ROOT.glob(pattern))}
    return found


def tables_first(path: Path) -> tuple[bool, str]:
    return not path.name.startswith("table"), path.name


def method_of(found: dict[str, Path]) -> Path:
    """One method page: the live example is the same in every tier. Raises UserError when it was executed in none."""
    executed = [found.pop(f"{tier}/method.ipynb", None) for tier in TIERS]
    for path in reversed(executed):
        if path is not None:
            return path
    raise UserError("results/demo/notebooks/method.ipynb: not there; run make demo first, or make book, which does.")


def relink(text: str, page: str, source: Path, found: dict[str, Path]) -> str:
    """Point the relative links of a page to pages, or to copies of files; what is neither becomes plain text."""
    here = Path(page).parent
    known = {path.resolve(): name for name, path in found.items()}
    known |= {ROOT / "notebooks" / Path(name).name: name for name in found if name.startswith(("demo/", "notebooks/m"))}
    known |= {path: f"api/{module}.md" for module, path in modules().items()}
    # A link to a committed report leads to that tier's page, whichever copy the page was made from.
    known |= {PUBLISHED.tier(tier) / "report.md": f"{tier}/report.md" for tier in TIERS if f"{tier}/report.md" in found}

    def target(match: re.Match) -> str:
        # An executed notebook lies in results/<tier>/notebooks, but its links were written in notebooks/.
        base = ROOT / "notebooks" if source.parent.name == "notebooks" else source.parent
        path = Path(os.path.normpath(base / match[1]))
        if path == ROOT / "README.md":
            return os.path.relpath("index.md", here)  # what README says, the landing page says
        if path in known:
            return os.path.relpath(known[path], here) + (match[2] or "")
        if path.is_file() and path.suffix != ".md":
            tier = f"{here}-" if str(here) in TIERS else ""  # each tier's report has a picture of that name
            copy = PAGES / "files" / f"{tier}{path.name}"
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
            return os.path.relpath(copy, PAGES / here)
        return "NOWHERE"

    return re.sub(r"\[([^]]*)\]\(NOWHERE\)", r"\1", LINK.sub(target, text))


def stage(page: str, source: Path, found: dict[str, Path]) -> None:
    target = PAGES / page
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".md":
        text = DRAWN.sub(lambda match: drawing.flowchart(match[1]), source.read_text())
        if page == "docs/architecture.md":
            text = drawing.with_layers(text)
        if page == "docs/ledger.md":
            text = LEDGER_ROW.sub(r'| <span id="ledger-\1"></span>\1 |', text)
        text = outputs.unbroken(relink(text, page, source, found))
        target.write_text(front_matter(page, found) + (with_contents(text) if page.startswith(TIERS) else text))
        return
    notebook = nbformat.reads(without_paths(source), as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = to_the_ledger(relink(cell.source, page, source, found), page)
    if not page.startswith("notebooks/exercises/"):  # there code is what is read, and to be written
        outputs.shape(notebook, Path(page).stem, source.parent.parent, STATIC / "films")
    own = ROOT / (page if page.startswith("notebooks/") else f"notebooks/{source.name}")
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(how_to_open(page, own)))
    notebook.metadata |= page_options(page, found)
    nbformat.write(notebook, target)


def to_the_ledger(text: str, page: str) -> str:
    """'ledger 8' as a link to that entry."""
    place = os.path.relpath("docs/ledger.html", Path(page).parent)
    return LEDGER.sub(rf'<a href="{place}#ledger-\1">ledger \1</a>', text)


def how_to_open(page: str, source: Path) -> str:
    """Where `source`, the notebook of a page, lies, and a copy of it: a page of the book cannot be run."""
    copy = PAGES / "files" / source.name
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, copy)
    here = os.path.relpath(copy, PAGES / Path(page).parent)
    place = source.relative_to(ROOT)
    return f"To run it, `.venv/bin/jupyter lab {place}` in the checkout; or {{download}}`take the notebook <{here}>`."


def with_contents(text: str) -> str:
    """A long page whose headings stand in a list behind its title."""
    title, _, rest = text.partition("\n")
    headings = re.findall(r"^## (.+)$", rest, re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    links = "\n".join(f"- [{heading}](#{slug})" for heading, slug in zip(headings, slugs, strict=True))
    return f"{title}\n\n<details><summary>On this page</summary>\n\n{links}\n\n</details>\n{rest}"


def page_options(page: str, found: dict[str, Path]) -> dict:
    """What the theme is told of a page; a tier's twin of another page is not in the sidebar a second time."""
    options = {"hide-toc": True} if page.startswith(WIDE) else {}
    return options | ({"orphan": True} if page.startswith(TIERS) and page not in first_of_each(found) else {})


def front_matter(page: str, found: dict[str, Path]) -> str:
    options = page_options(page, found)
    return "---\n" + "".join(f"{key}: true\n" for key in options) + "---\n\n" if options else ""


def first_of_each(found: dict[str, Path]) -> dict[str, str]:
    """{page: its name}: each report, table and figure in the first tier that has it."""
    first: dict[str, str] = {}
    for page in found:
        if page.startswith(TIERS):
            first.setdefault(Path(page).name, page)
    return {page: name for name, page in first.items()}


def modules() -> dict[str, Path]:
    """Every public module of the package: name -> file."""
    found = {}
    for path in sorted((ROOT / "advdpnp").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if "__main__" not in name and path.stat().st_size:
            found[name] = path
    return found


def write_reference() -> None:
    folder = PAGES / "api"
    folder.mkdir(parents=True)
    rows = []
    for name, path in modules().items():
        summary = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].replace("\n", " ")
        rows.append(f"| [`{name}`]({name}.md) | {summary.replace('|', chr(92) + '|')} |")
        (folder / f"{name}.md").write_text(f"# `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n{OPTIONS}```\n")
    toc = "\n".join(modules())
    (folder / "index.md").write_text(
        "# Reference\n\nFrom the docstrings.\n\n"
        "| module | what |\n|---|---|\n" + "\n".join(rows) + f"\n\n```{{toctree}}\n:hidden:\n\n{toc}\n```\n"
    )


def write_costs() -> None:
    parts = ["# Costs\n\nWhat each training took, on what, as its `train.json` says.\n"]
    for tier in TIERS:
        store = source_of(tier)
        if store is not None:
            parts.append(f"## Tier {tier}\n\n{load_tier(tier).label}\n\n{costs_markdown(load_tier(tier), store)}\n")
        else:
            said, *hours = by_hardware(artefacts.all_runs(load_tier(tier)).values())
            block = "\n".join(["```text", *hours, "```", ""]) if hours else ""
            parts.append(f"## Tier {tier}\n\n{load_tier(tier).label}\n\nNot run; {said}\n\n{block}")
    (PAGES / "costs.md").write_text("\n".join(parts))


def toctree(caption: str, entries: list[str]) -> str:
    names = "\n".join(entry_of(entry) for entry in entries)
    return f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{names}\n```\n"


def entry_of(page: str) -> str:
    """A page in the sidebar, under a title that fits there; others have their own."""
    name, path = Path(page).stem, str(Path(page).with_suffix(""))
    titles = SIDEBAR | {k: f"{re.sub(r'(?=[0-9])', ' ', k).title()}: {SHORT[k]}" for k in SHORT}
    return f"{titles[name]} <{path}>" if name in titles else path


def write_instruments() -> list[str]:
    """The two pages that compute: their text and their data."""
    folder = PAGES / "instruments"
    folder.mkdir()
    lines = instruments.paper_lines()
    text = fill("prototypes.md", DATA=instruments.json_script("paper-lines", lines | {"effort": EFFORT}),
                SIMPLEX=f"{lines['simplex']:.1f}", INPUTS=str(EFFORT["inputs"]),
                STEPS=str(round(391 / EFFORT["stride"])))  # fmt: skip
    (folder / "prototypes.md").write_text(text)
    measured = [tier for tier in TIERS if source_of(tier)]
    flags = [b for tier in measured for b in instruments.flags_of(load_tier(tier), source_of(tier))]
    (folder / "images.md").write_text(fill("images.md", DATA=instruments.json_script("flags", flags)))
    return ["instruments/prototypes.md", "instruments/images.md"]


def write_figures() -> None:
    """All published pictures on one page, each with what it shows and, from the table's rows, where Adv-DPNP stands."""
    parts = [
        "# Figures",
        "Every published picture; click for its full size. Each says what protocol it has.",
    ]
    for tier in TIERS:
        found = sorted((ROOT / "figures" / tier).glob("*.png"))
        parts += [f"## Tier {tier}"] if found else []
        for path in found:
            shutil.copyfile(path, PAGES / "files" / f"{tier}-{path.name}")
            alt, name = pictures.alt_of_file(path.stem), f"{tier}-{path.name}"
            options = f":alt: {alt}\n:target: ../_images/{name}"
            parts.append(f"```{{figure}} ../files/{name}\n{options}\n\n{caption_of(tier, path.stem)}{alt}\n```")
    (PAGES / "docs" / "figures.md").write_text("\n\n".join(parts) + "\n")


def caption_of(tier: str, picture: str) -> str:
    """A link to the picture's page and, for a table, where Adv-DPNP stands."""
    name, _, kind = picture.partition("-")
    if name not in artefacts.ARTEFACTS:
        return ""
    of_a_table = name.startswith("table") and not kind.startswith(("rivals", "training"))
    read = pictures.reading(source_of(tier).table(tier, name)) if of_a_table else ""
    number = re.sub(r"(?=\d)", " ", name).title()
    return f"[{number}: {artefacts.ARTEFACTS[name].title}](../{tier}/{name}.ipynb). {read}"


def verdict_list(tier: str) -> str:
    """The five verdicts of `advdpnp.report.summary.headlines`, which README shows too, as a list."""
    items = []
    for line in summary.headlines(load_tier(tier), source_of(tier)).splitlines()[2:]:
        claim, paper, _, ours, verdict = (cell.strip().strip("*") for cell in line.strip("|").split("|"))
        kind = verdict.replace(" ", "-")
        items.append(
            f'<li class="{kind}"><strong>{verdict}</strong> <span>{escape(claim)}</span> '
            f"<small>ours {escape(ours)}; paper {escape(paper)}</small></li>"
        )
    return f'<ul class="verdicts">{"".join(items)}</ul>'


def film_of(notebook: Path) -> str:
    """The film of a training network from a staged page, for a page that lies one folder higher; '' without one."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", ()):
            html = output.get("data", {}).get("text/html", "")
            if FILM in html:
                return html.replace("url(../_static/", "url(_static/")
    return ""


def fill(template: str, **values: str) -> str:
    text = (HERE / "pages" / template).read_text()
    for key, value in values.items():
        text = text.replace(f"%{key}%", value)
    return text


def write_landing(found: dict[str, Path], tried: list[str]) -> None:
    """index.md: the picture, the verdicts, a sentence per tier, and the sidebar with one entry per table."""
    of_tier = {tier: [page for page in found if page.startswith(f"{tier}/")] for tier in TIERS}
    tiers = []
    for tier, of in of_tier.items():
        note = f"[report]({tier}/report.md), {len(of) - 1} notebooks" if of else "not run yet"
        tiers.append(f"| **{tier}** | {load_tier(tier).label} | {note} |")
    exercises = [page for page in found if page.startswith("notebooks/exercises/")]
    teaching = [page for page in found if Path(page).name in ("lecture-plan.md", "teaching.md")] + exercises
    results = sorted(first_of_each(found), key=lambda page: ORDER.index(re.match("[a-z]*", Path(page).stem).group()))
    rest = [page for page in found if page.endswith(".md") and not page.startswith(TIERS) and page not in teaching]
    trees = [toctree("The method", ["notebooks/method.ipynb"]), toctree("Try it", tried)]
    trees += [toctree("Results", [*results, "docs/figures.md"])]
    trees.append(toctree("To teach", teaching))
    trees.append(toctree("To look up", ["costs.md", *rest, "api/index.md"]))
    first = f"[lecture plan]({teaching[0]})" if "plan" in teaching[0] else f"[exercises]({teaching[0]})"
    best = next(tier for tier in TIERS if of_tier[tier] and load_tier(tier).has_paper_data)
    drawn = next(tier for tier in TIERS if (ROOT / "figures" / tier / "figure2.png").exists())
    source, tier = source_of(best), load_tier(best)
    (PAGES / "files" / "standing.svg").write_text(overview_svg(tier, Snapshot(source.root)))
    shown = overview.described([])
    (PAGES / "index.md").write_text(
        fill("index.md", TIERS="\n".join(tiers), TREES="\n".join(trees), VERDICTS=verdict_list(best), TEACH=first,
             BEST=best, ANSWER=summary.answer(tier, source), STANDING=shown, LABEL=tier.label.split(": ", 1)[-1],
             DRAWN=drawn, ALT=pictures.alt_of_file("figure2"), FILM=film_of(PAGES / "notebooks" / "method.ipynb"))
    )  # fmt: skip


def main() -> int:
    try:
        found = pages()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shutil.rmtree(BOOK, ignore_errors=True)
    (STATIC / "films").mkdir(parents=True)
    for page, source in found.items():
        stage(page, source, found)
    (PAGES / "files").mkdir(exist_ok=True)
    write_reference()
    write_costs()
    write_figures()
    write_landing(found, write_instruments())
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "-c",
        HERE,
        PAGES,
        BOOK / "html",
    ]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode == 0:
        print(f"{len(found) + len(modules()) + 3} pages: open {BOOK / 'html' / 'index.html'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
