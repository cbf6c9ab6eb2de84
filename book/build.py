"""Build the book: `make book`, or python book/build.py once its packages are there.

Nothing is trained, measured or downloaded here. Executed notebooks, reports and documents are staged in
results/book/pages, one Markdown page per module is written for the reference, and Sphinx turns all of it into
results/book/html.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from advdpnp.config import ROOT, load_tier
from advdpnp.errors import UserError
from advdpnp.report.page import costs_markdown, published_dir
from advdpnp.share.publish import without_paths
from advdpnp.store import results_root, tier_dir

HERE = Path(__file__).resolve().parent
BOOK = results_root() / "book"
PAGES = BOOK / "pages"
TIERS = ("paper", "medium", "short", "short100", "demo")
# Documents of the repository that are pages of the book, where they exist.
DOCUMENTS = ("docs/*.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "notebooks/exercises/*.ipynb")
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")
OPTIONS = "   :members:\n   :member-order: bysource\n   :ignore-module-all:\n"


def source_of(tier: str) -> Path | None:
    """results/<tier> once it is complete, else its committed copy, else None."""
    for folder in (tier_dir(tier), published_dir(tier)):
        if (folder / "report.md").exists():
            return folder
    return None


def pages() -> dict[str, Path]:
    """Each page of the book, by its path inside it: the file that it is made from."""
    found = {}
    for tier in TIERS:
        folder = source_of(tier)
        if folder is None:
            continue
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
    known |= {published_dir(tier) / "report.md": f"{tier}/report.md" for tier in TIERS if f"{tier}/report.md" in found}

    def target(match: re.Match) -> str:
        # An executed notebook lies in results/<tier>/notebooks, but its links were written in notebooks/.
        base = ROOT / "notebooks" if source.parent.name == "notebooks" else source.parent
        path = Path(os.path.normpath(base / match[1]))
        if path in known:
            return os.path.relpath(known[path], here) + (match[2] or "")
        if path.is_file():
            copy = PAGES / "files" / path.name
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
            return os.path.relpath(copy, PAGES / here)
        return "NOWHERE"

    return re.sub(r"\[([^]]*)\]\(NOWHERE\)", r"\1", LINK.sub(target, text))


def stage(page: str, source: Path, found: dict[str, Path]) -> None:
    target = PAGES / page
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".md":
        text = source.read_text().replace("```mermaid", "```text")  # to draw it takes a script
        target.write_text(relink(text, page, source, found))
        return
    notebook = nbformat.reads(without_paths(source), as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = relink(cell.source, page, source, found)
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output.data.pop("text/plain", None)  # "<Figure size ...>" says nothing beside the picture
    nbformat.write(notebook, target)


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
        folder = source_of(tier)
        if folder is not None:
            parts.append(f"## Tier {tier}\n\n{load_tier(tier).label}\n\n{costs_markdown(load_tier(tier), folder)}\n")
        else:
            parts.append(f"## Tier {tier}\n\nNot run: `python -m advdpnp plan --tier {tier}` estimates its hours.\n")
    (PAGES / "costs.md").write_text("\n".join(parts))


def toctree(caption: str, entries: list[str]) -> str:
    names = "\n".join(entry.removesuffix(".md").removesuffix(".ipynb") for entry in entries)
    return f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{names}\n```\n"


def write_landing(found: dict[str, Path]) -> None:
    """index.md, with a toctree of what exists and a sentence for each tier."""
    of_tier = {tier: [page for page in found if page.startswith(f"{tier}/")] for tier in TIERS}
    tiers = []
    for tier, of in of_tier.items():
        note = f"[report]({tier}/report.md), {len(of) - 1} notebooks" if of else "not run yet"
        tiers.append(f"| **{tier}** | {load_tier(tier).label} | {note} |")
    exercises = [page for page in found if page.startswith("notebooks/exercises/")]
    teaching = [page for page in found if Path(page).name == "lecture-plan.md"] + exercises
    rest = [page for page in found if page.endswith(".md") and not page.startswith(TIERS) and page not in teaching]
    other = "tier (not the paper's protocol)"
    names = {
        "paper": "Paper tier", "medium": f"Medium {other}", "short": f"Short {other}", "short100": f"Short100 {other}",
        "demo": "Demo tier (8x8 digits)",
    }  # fmt: skip
    trees = [toctree("The method", ["notebooks/method.ipynb"])]
    trees += [toctree(names[tier], of) for tier, of in of_tier.items() if of]
    trees += [toctree("To teach", teaching)] if teaching else []
    trees.append(toctree("To look up", ["costs.md", *rest, "api/index.md"]))
    first = (
        f"[{'the lecture plan' if 'plan' in teaching[0] else 'the exercises'}]({teaching[0]})"
        if teaching
        else "[the method](notebooks/method.ipynb)"
    )
    text = (HERE / "index.md").read_text()
    for key, value in {"TIERS": "\n".join(tiers), "TREES": "\n".join(trees), "TEACH": first}.items():
        text = text.replace(f"%{key}%", value)
    (PAGES / "index.md").write_text(text)


def main() -> int:
    try:
        found = pages()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shutil.rmtree(BOOK, ignore_errors=True)
    for page, source in found.items():
        stage(page, source, found)
    write_reference()
    write_costs()
    write_landing(found)
    shutil.copytree(HERE / "static", PAGES / "static")
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
