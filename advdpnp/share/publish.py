"""The copy of a tier's results that is committed, and back."""

import json
from pathlib import Path

from advdpnp.config import ROOT, load_tier, need_checkout
from advdpnp.errors import UserError
from advdpnp.paper import artefacts
from advdpnp.report import mixed_protocols
from advdpnp.report.model_card import write_card
from advdpnp.store import PUBLISHED, RESULTS, copy_file, read_json, results_root, write_text


def without_paths(notebook: Path) -> str:
    """An executed notebook without papermill's record of folders and times, and without this machine's paths."""
    content = read_json(notebook)
    for part in (content, *content["cells"]):
        part["metadata"].pop("papermill", None)
    text = json.dumps(content, indent=1, ensure_ascii=False).replace(str(results_root()), "results")
    return text.replace(str(ROOT), ".") + "\n"


def publish(tier_name: str) -> str:
    """Copy what a tier measured, without weights, to published/<tier>/ and figures/<tier>/; returns a summary."""
    tier = load_tier(tier_name)
    source, target, pictures = RESULTS.tier(tier.name), PUBLISHED.tier(tier.name), ROOT / "figures" / tier.name
    if not RESULTS.has_evaluations(tier.name):
        raise UserError(f"{source}: holds no evaluations to publish; run snakemake --cores 1 {tier.name} first.")
    runs = artefacts.all_runs(tier).values()
    mixed_protocols.refuse(runs)
    patterns = ("tables/*", "notebooks/*.ipynb", "report.md", "figures/*.png", "figures/*.svg")
    found = [path for pattern in patterns for path in sorted(source.glob(pattern)) if path.is_file()]
    found += [path for run in runs for path in RESULTS.small_files(run)]
    for path in found:
        to = pictures / path.name if path.parent.name == "figures" else target / path.relative_to(source)
        if path.suffix == ".ipynb":
            write_text(to, without_paths(path))
        elif path.name == "report.md":  # its pictures lie in figures/<tier>/ then
            text = path.read_text(encoding="utf-8")
            write_text(to, text.replace("](figures/", f"](../../figures/{tier.name}/"))
        else:
            copy_file(path, to)
    for run in runs:
        if PUBLISHED.trained(run).exists():
            write_card(run, tier.policy.comparable, PUBLISHED)
    copied, size = len(found), sum(path.stat().st_size for path in found)
    return f"{copied} files, {size / 1e6:.1f} MB, copied to {target.relative_to(ROOT)} and {pictures.relative_to(ROOT)}"


def restore(tier_name: str) -> str:
    """Copy published runs and evaluations back to results/<tier>/ where there are none; returns a summary.

    A tier that was measured in part goes on from there: its tables show what was published, and what is missing is
    made. Runs come back without weights, so a further attack on them needs them trained again. A run that was trained
    or begun here is left as it is: the published evaluations are of another network.
    """
    tier = load_tier(tier_name)
    need_checkout("published results lie")
    source, target = PUBLISHED.tier(tier.name), RESULTS.tier(tier.name)
    if not PUBLISHED.has_evaluations(tier.name):
        raise UserError(
            f"{source}: nothing was published for tier {tier.name}; snakemake --cores 1 {tier.name} makes it."
        )
    runs = [folder.name for folder in source.glob("runs/*")]
    own = {run for run in runs if _is_another(target / "runs" / run, source / "runs" / run)}
    copied = 0
    for path in sorted([*source.glob("runs/*/*"), *source.glob("evals/*/*")]):
        to = target / path.relative_to(source)
        if not to.exists() and path.parent.name not in own:
            copy_file(path, to)
            copied += 1
    left = f"; left as they are, because they were trained here: {', '.join(sorted(own))}" if own else ""
    return f"{copied} files copied to {target}{left}"


def _is_another(here: Path, published: Path) -> bool:
    """Whether the folder of a run holds a training of its own, finished or begun."""
    both = [folder / "train.json" for folder in (here, published)]
    if all(path.is_file() for path in both):
        one, other = (read_json(path, "model_sha256")["model_sha256"] for path in both)
        return one != other
    return (here / "last.pt").exists()
