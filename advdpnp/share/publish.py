"""The copy of a tier's results that is committed, and back."""

import json
from collections.abc import Iterable
from pathlib import Path

from advdpnp.config import ROOT, load_tier, need_checkout
from advdpnp.errors import UserError
from advdpnp.paper import artefacts
from advdpnp.report import agreement
from advdpnp.report.model_card import write_card
from advdpnp.report.page import published_dir
from advdpnp.store import copy_file, read_json, results_root, tier_dir, write_text


def without_paths(notebook: Path) -> str:
    """An executed notebook without papermill's record of folders and times, and without this machine's paths."""
    content = read_json(notebook)
    for part in (content, *content["cells"]):
        part["metadata"].pop("papermill", None)
    text = json.dumps(content, indent=1, ensure_ascii=False).replace(str(results_root()), "results")
    return text.replace(str(ROOT), ".") + "\n"


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
    agreement.refuse(artefacts.all_runs(tier).values(), source)
    wanted = ["tables/*", "notebooks/*.ipynb", "report.md", *small_files(artefacts.all_runs(tier))]
    copied, size = 0, 0
    for pattern, base in [*((w, target) for w in wanted), ("figures/*.png", None)]:
        for path in sorted(source.glob(pattern)):
            if path.name.endswith(".part.npz") or not path.is_file():
                continue
            to = pictures / path.name if base is None else base / path.relative_to(source)
            if path.suffix == ".ipynb":
                write_text(to, without_paths(path))
            elif path.name == "report.md":  # its pictures lie in figures/<tier>/ then
                text = path.read_text(encoding="utf-8")
                write_text(to, text.replace("](figures/", f"](../../figures/{tier.name}/"))
            else:
                copy_file(path, to)
            copied, size = copied + 1, size + path.stat().st_size
    for name in artefacts.all_runs(tier):
        if (target / "runs" / name / "train.json").exists():
            write_card(target, name, tier.policy.comparable)
    return f"{copied} files, {size / 1e6:.1f} MB, copied to {target.relative_to(ROOT)} and {pictures.relative_to(ROOT)}"


def restore(tier_name: str) -> str:
    """Copy published runs and evaluations back to results/<tier>/ where there are none; returns a summary.

    A tier that was measured in part goes on from there: its tables show what was published, and what is missing is
    made. Runs come back without weights, so a further attack on them needs them trained again.
    """
    tier = load_tier(tier_name)
    need_checkout("published results lie")
    source, target = published_dir(tier.name), tier_dir(tier.name)
    if not (source / "evals").is_dir():
        raise UserError(
            f"{source}: nothing was published for tier {tier.name}; snakemake --cores 1 {tier.name} makes it."
        )
    copied = 0
    for path in sorted([*source.glob("runs/*/*"), *source.glob("evals/*/*")]):
        to = target / path.relative_to(source)
        if not to.exists():
            copy_file(path, to)
            copied += 1
    return f"{copied} files copied to {target}"
