"""Pack a tier's results into one file that others can read without this project: `make archive` (TIER=short).

    python tools/archive.py --tier demo                       # results/demo -> advdpnp-demo.crate.zip
    python tools/archive.py --tier short --published OUT.zip  # what published/short holds

The zip is an RO-Crate by the profile Workflow Run Crate: beside the results it holds the workflow, the tier's settings,
the paper's numbers and the pinned versions, and ro-crate-metadata.json says what was made from what, with which program
and when. Left out: the states to resume from, locks and logs.
"""

import argparse
import json
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from advdpnp.config import ROOT
from advdpnp.errors import UserError
from advdpnp.store import PUBLISHED, RESULTS, write_atomic

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
FORMS = {
    ".json": "application/json", ".csv": "text/csv", ".png": "image/png", ".md": "text/markdown",
    ".toml": "application/toml", ".tex": "application/x-tex", ".ipynb": "application/x-ipynb+json",
    ".npz": "application/x-npz", ".pt": "application/x-pytorch", ".safetensors": "application/x-safetensors",
}  # fmt: skip
INPUTS = ("data/paper/*.csv", "requirements.lock")
ABOUT = ("README.md", "LICENSE", "CITATION.cff", "codemeta.json")
LEFT_OUT = ("last.pt", ".holder", ".part.npz", ".log", ".tmp")


def wanted(folder: Path) -> list[Path]:
    """The files of a tier that are worth keeping, sorted."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    visible = (path for path in found if not any(p.startswith(".") for p in path.relative_to(folder).parts))
    kept = [p for p in visible if not p.name.endswith(LEFT_OUT) and p.relative_to(folder).parts[0] != "logs"]
    return sorted(kept)


def described(name: str, path: Path, **more: object) -> dict:
    """A file of the crate."""
    size, form = str(path.stat().st_size), FORMS.get(path.suffix, "text/plain")
    return {"@id": name, "@type": "File", "name": name, "contentSize": size, "encodingFormat": form, **more}


def links(names: list[str]) -> list[dict]:
    return [{"@id": name} for name in names]


def instant(seconds: float) -> str:
    """A time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def span(paths: list[Path], told: bool) -> dict:
    """When the results were written, where the files' times tell: those of a checkout are of its making."""
    times = [path.stat().st_mtime for path in paths]
    return {"startTime": instant(min(times)), "endTime": instant(max(times))} if told else {}


def workflow(about: dict) -> list[dict]:
    """The Snakefile, its language, and who wrote it."""
    author = about["author"][0]["name"]
    return [
        {
            "@id": "Snakefile", "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"], "name": "Snakefile",
            "description": "the whole paper as a graph of jobs", "license": about["license"],
            "version": about["version"], "programmingLanguage": {"@id": "#snakemake"}, "creator": {"@id": "#authors"},
            "conformsTo": {"@id": BIOSCHEMAS}, "encodingFormat": "text/plain",
        },
        {
            "@id": "#snakemake", "@type": "ComputerLanguage", "name": "Snakemake", "alternateName": "Snakemake",
            "identifier": {"@id": "https://snakemake.github.io"}, "url": {"@id": "https://snakemake.github.io"},
        },
        {"@id": "#authors", "@type": "Organization", "name": author},
    ]  # fmt: skip


def run_of(tier: str, inputs: list[str], results: list[str], **when: str) -> dict:
    """The workflow's run: what it was given, and what it made."""
    return {
        "@id": f"#run-{tier}", "@type": "CreateAction", "name": f"snakemake {tier}", "agent": {"@id": "#authors"},
        "description": f"all trainings, evaluations, tables and figures of the tier {tier}",
        "actionStatus": "http://schema.org/CompletedActionStatus", "instrument": {"@id": "Snakefile"},
        "object": links(inputs), "result": links(results), **when,
    }  # fmt: skip


def metadata(tier: str, files: dict[str, Path], results: list[str], published: bool) -> dict:
    """ro-crate-metadata.json of files {name in the crate: path here}, of which `results` were made."""
    about = json.loads((ROOT / "codemeta.json").read_text())
    inputs = [name for name in files if name not in {*results, *ABOUT, "Snakefile"}]
    newest = instant(max(files[name].stat().st_mtime for name in results))
    root = {
        "@id": "./", "@type": "Dataset", "name": f"{about['name']}: results of the tier {tier}",
        "description": f"{about['description']}. Tables, figures, evaluations and runs of the tier {tier}.",
        "license": {"@id": about["license"]}, "datePublished": newest, "mainEntity": {"@id": "Snakefile"},
        "conformsTo": links(list(PROFILES)), "hasPart": links(list(files)), "mentions": {"@id": f"#run-{tier}"},
        "author": {"@id": "#authors"}, "creator": {"@id": "#authors"}, "publisher": {"@id": "#authors"},
        "citation": {"@id": about["referencePublication"][0]["url"]},
    }  # fmt: skip
    readme = {"README.md": {"about": {"@id": "./"}}}
    described_files = [
        described(name, path, **readme.get(name, {})) for name, path in files.items() if name != "Snakefile"
    ]
    ends = [
        {"@id": profile, "@type": "CreativeWork", "name": name, "version": profile.rsplit("/", 1)[1]}
        for profile, name in PROFILES.items()
    ]
    paper = about["referencePublication"][0]
    descriptor = {
        "@id": "ro-crate-metadata.json", "@type": "CreativeWork", "about": {"@id": "./"},
        "conformsTo": links(["https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"]),
    }  # fmt: skip
    return {
        "@context": "https://w3id.org/ro/crate/1.1/context",
        "@graph": [
            descriptor, root, *workflow(about), *described_files, *ends,
            run_of(tier, inputs, results, **span([files[name] for name in results], not published)),
            {"@id": about["license"], "@type": "CreativeWork", "name": "MIT"},
            {"@id": paper["url"], "@type": "ScholarlyArticle", "name": paper["name"]},
        ],
    }  # fmt: skip


def named(place: str, folder: Path) -> dict[str, Path]:
    """{place/name: file} of a folder."""
    found = wanted(folder) if folder.is_dir() else []
    return {f"{place}/{path.relative_to(folder).as_posix()}": path for path in found}


def collect(tier: str, published: bool) -> tuple[dict[str, Path], list[str]]:
    """({name in the crate: path}, the names of the results). Raises UserError where the tier has none."""
    place = "published" if published else "results"
    folder = (PUBLISHED if published else RESULTS).tier(tier)
    made = named(f"{place}/{tier}", folder)
    if not any("/evals/" in name for name in made):
        raise UserError(f"{folder}: holds no results to pack; run snakemake --cores 1 {tier} first")
    if published:
        made |= named(f"figures/{tier}", ROOT / "figures" / tier)
    settings = f"config/{tier}.toml"
    if not (ROOT / settings).exists():
        known = ", ".join(sorted(path.stem for path in (ROOT / "config").glob("*.toml")))
        raise UserError(f"{settings}: is missing; the tiers are {known}")
    given = [path for pattern in (settings, *INPUTS, *ABOUT, "Snakefile") for path in sorted(ROOT.glob(pattern))]
    return {path.relative_to(ROOT).as_posix(): path for path in given} | made, list(made)


def pack(tier: str, target: Path, published: bool) -> int:
    """Write the crate; returns how many files it holds. The file is whole or not there."""
    files, made = collect(tier, published)
    text = json.dumps(metadata(tier, files, made, published), indent=1) + "\n"

    def write(handle: Any) -> None:
        with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("ro-crate-metadata.json", text)
            for name, path in files.items():
                archive.write(path, name)

    write_atomic(target, write)
    return len(files)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="archive.py", description="Pack a tier's results as an RO-Crate.")
    parser.add_argument("--tier", required=True)
    parser.add_argument("--published", action="store_true", help="what published/ holds, not results/")
    parser.add_argument("target", nargs="?", type=Path)
    given = parser.parse_args(words)
    target = given.target or Path(f"advdpnp-{given.tier}.crate.zip")
    try:
        count = pack(given.tier, target, given.published)
    except UserError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    print(f"{target}: {count} files, {target.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
