"""One page for a tier: every table beside the paper's, the claims, the costs; and the copy that is committed."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from advdpnp import protocol, tables
from advdpnp.claims import claims_markdown
from advdpnp.config import ROOT
from advdpnp.errors import UserError
from advdpnp.paper import consistency, values_from
from advdpnp.progress import duration
from advdpnp.results import read_json, tier_dir, write_text
from advdpnp.tiers import Tier, load_tier


def published_dir(tier: str) -> Path:
    """published/<tier>/ of the checkout."""
    return ROOT / "published" / tier


def built_tables() -> list[str]:
    """Names of the tables whose notebooks exist."""
    return [name for name in protocol.built() if name.startswith("table")]


def costs_markdown(tier: Tier, root: Path) -> str:
    """What each training took, on what, as its train.json says."""
    lines = ["| run | images | epochs | wall time | images/s | precision | device |", "|---|---|---|---|---|---|---|"]
    for name in protocol.all_runs(tier):
        path = root / "runs" / name / "train.json"
        if path.exists():
            t = read_json(path)
            lines.append(
                f"| {name} | {t['train_images']:,} | {t['final']['epoch'] + 1} | {duration(t['seconds'])} | "
                f"{t['images_per_second']:.0f} | {t['precision']} | {t['provenance']['device']} |"
            )
    return "\n".join(lines)


def report_markdown(tier: Tier, root: Path) -> str:
    """The report's text from the evaluation files below `root`. Raises UserError when there are none."""
    if not (root / "evals").is_dir():
        raise UserError(f"{root}: holds no evaluations; run snakemake --cores 1 {tier.name}, or report another tier.")
    comparable = tier.name == "paper"
    lines = [f"# Results of tier {tier.name}", "", f"Protocol: {tier.label}.", ""]
    if not comparable:
        lines += [
            "**This is not the paper's protocol.** The paper's numbers stand beside ours to show what would be "
            "compared; there is no difference between the two, and every verdict reads *smaller protocol*.",
            "",
        ]
    rows = []
    for name in built_tables():
        found = tables.table_rows(tier, name, root)
        rows += found
        spec = protocol.artefact(name)
        lines += [f"## Table {name.removeprefix('table')}: {spec.title}", "", tables.markdown(found, tier.label)]
    verdicts = {v: sum(row["verdict"] == v for row in rows) for v in dict.fromkeys(row["verdict"] for row in rows)}
    lines += ["## Verdicts", "", ", ".join(f"{n} cells: {v}" for v, n in verdicts.items()), ""]
    ours = values_from(rows) if tier.name != "demo" else None
    lines += ["## The paper's claims", "", claims_markdown(ours), ""]
    lines += ["## Does the paper agree with itself?", "", "| where | what | holds | detail |", "|---|---|---|---|"]
    lines += [
        f"| {f.where} | {f.what} | {'yes' if f.ok else '**no**'} | {f.detail} |" for f in consistency() if not f.ok
    ]
    lines += ["", f"({sum(f.ok for f in consistency())} further checks hold.)", ""]
    lines += ["## Costs", "", costs_markdown(tier, root), ""]
    return "\n".join(lines)


def write_report(tier_name: str, *, published: bool = False, output: str | None = None) -> str:
    """Write the report; returns its path, or its text for output '-'."""
    tier = load_tier(tier_name)
    root = published_dir(tier.name) if published else tier_dir(tier.name)
    text = report_markdown(tier, root)
    if output == "-":
        return text
    return str(write_text(Path(output) if output else tier_dir(tier.name) / "report.md", text))


def without_paths(notebook: Path) -> str:
    """An executed notebook without papermill's record of folders and times, and without this machine's paths."""
    content = read_json(notebook)
    for part in (content, *content["cells"]):
        part["metadata"].pop("papermill", None)
    return json.dumps(content, indent=1, ensure_ascii=False).replace(str(ROOT), ".") + "\n"


def small_files(run_ids: Iterable[str]) -> list[str]:
    """Patterns below results/<tier>/ of what the runs measured: everything but weights and states."""
    patterns = []
    for name in run_ids:
        patterns += [f"evals/{name}/*.json", f"evals/{name}/*.npz"]
        patterns += [f"runs/{name}/{file}" for file in ("config.json", "train.json", "log.csv")]
    return patterns


def publish(tier_name: str) -> str:
    """Copy what a tier measured, without weights, to published/<tier>/ and figures/<tier>/; returns a summary."""
    tier = load_tier(tier_name)
    source, target, pictures = tier_dir(tier.name), published_dir(tier.name), ROOT / "figures" / tier.name
    if not (source / "evals").is_dir():
        raise UserError(f"{source}: holds no evaluations to publish; run snakemake --cores 1 {tier.name} first.")
    wanted = ["tables/*", "notebooks/*.ipynb", "report.md", *small_files(protocol.all_runs(tier))]
    copied, size = 0, 0
    for pattern, base in [*((w, target) for w in wanted), ("figures/*.png", None)]:
        for path in sorted(source.glob(pattern)):
            if path.name.endswith(".part.npz") or not path.is_file():
                continue
            to = pictures / path.name if base is None else base / path.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".ipynb":
                write_text(to, without_paths(path))
            else:
                shutil.copyfile(path, to)
            copied, size = copied + 1, size + path.stat().st_size
    return f"{copied} files, {size / 1e6:.1f} MB, copied to {target.relative_to(ROOT)} and {pictures.relative_to(ROOT)}"
