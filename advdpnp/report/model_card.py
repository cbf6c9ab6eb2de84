"""A model card for each trained network (Mitchell et al., 2019): what it is, how it was trained, what was measured.

Everything is read from the run's own files (config.json, train.json, the evaluations' JSON), so a card is true of the
weights beside it even when the tier's file has changed since.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from advdpnp.config import ATTACKS, RunConfig, Tier
from advdpnp.errors import UserError
from advdpnp.names import attack_name
from advdpnp.paper import artefacts
from advdpnp.progress import duration
from advdpnp.report import mixed_protocols
from advdpnp.store import PUBLISHED, RESULTS, Store, machines, read_json, with_keys, write_text


def budget(value: float) -> str:
    """0.0314 -> '8/255', half of 1/255 -> '0.5/255'; 0.3 stays: pixels of MNIST are counted in hundredths."""
    whole = math.isclose(255 * value, round(255 * value), abs_tol=1e-6)
    hundredths = math.isclose(value, round(value, 2), abs_tol=1e-9)
    return f"{value:g}" if hundredths and not whole else f"{255 * value:.4g}/255"


def attacked(found: Mapping) -> str:
    """What an evaluation did, in words: '20 steps of 1/255, linf budget 8/255'."""
    a = found.get("settings")
    if a is None or a["kind"] == "clean":
        return (found.get("source", "") and f"{found['source']} images") or "no attack"
    text = f"{a['norm']} budget {budget(a['epsilon'])}"
    if a["kind"] in ("pgd", "cw", "adaptive"):
        text = f"{a['steps']} steps of {budget(a['step_size'])}, {text}"
    if a["kind"] == "autoattack":
        text += f", version {a['version']}"
    starts = f", {a['restarts']} random start{'' if a['restarts'] == 1 else 's'}"
    return text + (starts if a["random_start"] else "")


HEADLINES = ("clean", "fgsm", "pgd20", "pgd100", "cw30", "aa", "pgd40_mnist")


def numbers(evaluations: Iterable[Mapping]) -> list[str]:
    """One row per evaluation that has an accuracy, with its protocol: HEADLINES in sight, all others folded."""
    order = list(dict.fromkeys((*HEADLINES, *ATTACKS)))
    found = {each["attack"]: each for each in evaluations if "accuracy" in each}
    names = sorted(found, key=lambda name: order.index(name) if name in order else len(order))
    head = ["| evaluation | protocol | test images | accuracy (%) |", "|---|---|---|---|"]
    rows = {}
    for name in names:
        cells = attack_name(name), attacked(found[name]), f"{found[name]['images']:,}", f"{found[name]['accuracy']:.2f}"
        rows[name] = f"| {' | '.join(cells)} |"
    first = [row for name, row in rows.items() if name in HEADLINES]
    others = [row for name, row in rows.items() if name not in HEADLINES]
    folded = ["", f"<details><summary>{len(others)} more</summary>", "", *head, *others, "", "</details>"]
    return ([*head, *first] if first else []) + (folded if others else []) or ["Not evaluated yet."]


IN_PLACE = """from advdpnp.config import resolve
from advdpnp.train import load_model

model = load_model(resolve("{tier}", "{run}"))"""
EXPORTED = """from model import load  # of this folder; needs torch and safetensors

model = load()"""


def front_matter(settings: Mapping, train: Mapping) -> list[str]:
    """What model hubs read: licence, library, data set, tags."""
    return [
        "---", "license: mit", "library_name: pytorch", f"datasets: [{settings['dataset']}]", "metrics: [accuracy]",
        "pipeline_tag: image-classification", "tags: [adversarial-robustness, adversarial-training, arxiv:2504.03782]",
        f"model_name: {train['run']}", "---", "",
    ]  # fmt: skip


def model_card(
    settings: Mapping, train: Mapping, evaluations: Iterable[Mapping], comparable: bool, snippet: str = IN_PLACE
) -> str:
    """The card as Markdown, from the contents of config.json, train.json and the evaluations' files.

    A tier whose numbers are not `comparable` with the paper's gets a warning. `snippet` loads the network as `model`.
    """
    optim, crafted, model, made = (settings["optim"], settings["craft"], settings["model"], train["provenance"])
    evaluations = [e for e in evaluations if e["model_sha256"] == train["model_sha256"]]  # of these weights, no others
    steps, epsilon = f"{crafted['steps']} steps of {budget(crafted['step_size'])}", budget(crafted["epsilon"])
    crafting = f"linf PGD, {steps}, budget {epsilon}"
    warning = [] if comparable else [
        f"> **Tier {train['tier']}: a smaller protocol than the paper's.** These numbers can't be compared with it.", ""
    ]  # fmt: skip
    own = ", ".join(f"{key} {value}" for key, value in settings["hyper"].items()) or "none"
    lines = [
        *front_matter(settings, train), f"# {train['run']}", "", *warning,
        f"{settings['method']} on {settings['dataset']}, {settings['backbone']}, seed {settings['seed']}"
        + (f", variant {settings['variant']}" if settings["variant"] else "")
        + f"; {train['parameters']:,} parameters. Part of a reproduction of arXiv 2504.03782.", "",
        "## Training", "", "| | |", "|---|---|",
        f"| images | {train['train_images']:,} of {settings['dataset']}'s training set |",
        f"| epochs, batch | {optim['epochs']}, {optim['batch_size']} |",
        f"| SGD | lr {optim['lr']:g}, momentum {optim['momentum']:g}, weight decay {optim['weight_decay']:g}, "
        f"lr times {optim['gamma']:g} at epochs {optim['milestones']} |",
        f"| adversarial images | {'none' if settings['method'] == 'ST' else crafting} |",
        f"| width | {model['width'] or 'as in the paper'} |",
        f"| the method's settings | {own} |",
        f"| took | {duration(train['seconds'])} in {train['precision']} on {machines(train)} |", "",
        "## Measured", "", *numbers(evaluations), "",
        "On the first test images, in float32. Accuracy under attack is an upper bound: others may leave less.",
        "", "## Use", "", "```python", snippet.format(tier=train["tier"], run=train["run"]),
        "logits = model(images)", "```", "",
        "For research on and teaching of adversarial robustness. Input: images `[B, C, H, W]` in `[0, 1]`, normalised "
        "inside; output: logits. Not for decisions about anything: it is not robust outside of the budgets above, to "
        "other changes of an image, or on other data.", "",
        "## Provenance", "", "| | |", "|---|---|",
        f"| weights | sha256 `{train['model_sha256']}` |",
        f"| training data | sha256 `{train['data_sha256']}` |",
        f"| settings | `{train['settings_digest']}` (config.json) |",
        f"| code | revision {made['code_revision']}, torch {made['torch']}, Python {made['python']} |", "",
    ]  # fmt: skip
    return "\n".join(lines)


TRAINED = (
    "run", "tier", "parameters", "train_images", "seconds", "precision", "model_sha256", "data_sha256",
    "settings_digest", *(f"provenance.{key}" for key in ("device", "code_revision", "torch", "python")),
)  # fmt: skip
CONFIGURED = (
    "dataset", "backbone", "method", "seed", "variant", "hyper", "model.width", "craft.steps", "craft.step_size",
    "craft.epsilon", *(f"optim.{k}" for k in ("epochs", "batch_size", "lr", "momentum", "weight_decay", "gamma")),
    "optim.milestones",
)  # fmt: skip


def write_card(
    run: RunConfig, comparable: bool, store: Store = RESULTS, folder: Path | None = None, snippet: str = IN_PLACE
) -> Path:
    """Write README.md into `folder` (default: the run's) from the store's files. Raises UserError if not trained."""
    trained = store.read_training(run, *TRAINED)
    if trained is None:
        restore = f"python -m advdpnp restore --tier {run.tier} brings what was published of it"
        how = restore if PUBLISHED.trained(run).exists() else "train it first"
        raise UserError(f"{run.id} is not trained in {store.tier(run.tier)}; {how}.")
    evaluations = []
    for path in store.evaluations(run):
        found = read_json(path, "attack", "images", "model_sha256")
        evaluations.append(with_keys(path, found, "accuracy") if "accuracy" in found else found)
    settings = read_json(store.run(run) / "config.json", *CONFIGURED)
    text = model_card(settings, trained, evaluations, comparable, snippet)
    return write_text((folder or store.run(run)) / "README.md", text)


def write_cards(tier: Tier, runs: Iterable[RunConfig] = (), store: Store = RESULTS) -> list[Path]:
    """Cards of the named runs, or of all of the tier's that are trained. Raises UserError where there are none."""
    known = artefacts.all_runs(tier).values()
    mixed_protocols.refuse(known, store)
    chosen = [*runs] or [run for run in known if store.trained(run).exists()]
    if not chosen:
        raise UserError(f"{store.tier(tier.name)}: holds no trained run of tier {tier.name}.")
    return [write_card(run, tier.policy.comparable, store) for run in chosen]
