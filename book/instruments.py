"""What the two instruments of the book read: the paper's lines, and every evaluation's flags as bits.

Both are written into their page as JSON: a page opened from the file system may not fetch a file.
"""

import base64
import json

import numpy as np

from advdpnp.config import ATTACKS, AttackConfig, RunConfig, Tier
from advdpnp.names import block_name
from advdpnp.paper import artefacts
from advdpnp.paper.consistency import simplex_angle
from advdpnp.paper.numbers import OURS, reported
from advdpnp.report.fingerprint import paper_fingerprint
from advdpnp.report.model_card import budget
from advdpnp.report.tables import seed_spread
from advdpnp.store import Store

NORMS = {"linf": "l∞", "l2": "l2", "l1": "l1"}


def json_script(name: str, value: object) -> str:
    """A value as a <script> of JSON that a page's own script finds by its id."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
    return f'<script type="application/json" id="{name}">{text}</script>'


# --- Prototypes


def paper_lines() -> dict[str, float]:
    """What the paper's Table 4 says of Adv-DPNP on CIFAR-10, and its accuracies, as fractions, for the inputs."""
    place = {"dataset": "cifar10", "backbone": "resnet18", "method": OURS}
    prints = paper_fingerprint()
    accuracies = {"clean": (1, "clean"), "adversarial": (1, "pgd_linf")}
    lines = {name: prints[name] for name in ("mean_sep", "min_sep", "distance_clean", "distance_adv")}
    lines |= {name: reported(table, column=column, **place) / 100 for name, (table, column) in accuracies.items()}
    return lines | {"simplex": simplex_angle(10)}


# --- Images won and lost


def attack_label(attack: AttackConfig) -> str:
    """'PGD-20, l∞, 8/255': an attack as people call it, with what tells it from its like."""
    names = {
        "clean": "no attack",
        "fgsm": "FGSM",
        "pgd": f"PGD-{attack.steps}",
        "cw": f"C&W, {attack.steps} steps",
        "adaptive": f"PGD-{attack.steps} on Eq. (7)",
        "autoattack": "AutoAttack",
    }
    parts = [names[attack.kind]]
    if attack.kind != "clean":
        parts += [NORMS[attack.norm], budget(attack.epsilon)]
    if attack.kind in ("pgd", "adaptive"):
        parts.append(f"step {budget(attack.step_size)}")
    if attack.kind == "cw" and attack.confidence == 0:
        parts.append("confidence 0")
    if attack.norm == "l1":
        steps = {"top1": "largest gradient", "top1_free": "largest that may move", "dense": "all pixels"}
        parts.append(steps[attack.l1_step])
    if attack.restarts > 1 or attack.random_start:
        parts.append(f"{attack.restarts} random start{'s' if attack.restarts > 1 else ''}")
    if attack.renormalise:
        parts.append("prototypes renormalised")
    return ", ".join(part for part in parts if part)


def packed(flags: np.ndarray) -> list:
    """[N, base64 of the bits]: 1 where the network was right, the first image in the highest bit."""
    return [len(flags), base64.b64encode(np.packbits(flags.astype(bool)).tobytes()).decode()]


def row_label(run: RunConfig) -> str:
    """What a training is called: its method, or the table's name of a variant that has a row of its own."""
    rows = {pair: row for row, pair in artefacts.VARIANT_ROWS.items()}
    return rows.get((run.method, run.variant), run.method + (f", {run.variant}" if run.variant else ""))


def flags_of(tier: Tier, store: Store) -> list[dict]:
    """A tier's blocks: [{label, spread, attacks: {name: label}, rows: {row: {seed: {attack: packed flags}}}}].

    `spread` is what `advdpnp.report.differences` gives `paired_difference`: variance in points^2 and its degrees of
    freedom, or None. Attacks with one flag per image only: corruptions have ninety-five.
    """
    blocks: dict[str, dict] = {}
    for run in artefacts.all_runs(tier, tuple(artefacts.ARTEFACTS)).values():
        found = {name: store.read_flags(run, name) for name in ATTACKS}
        own = {name: packed(flags) for name, flags in found.items() if flags is not None and flags.ndim == 1}
        if own:
            block = blocks.setdefault(run.block, new_block(tier, run, store))
            block["rows"].setdefault(row_label(run), {})[str(run.seed)] = own
            block["attacks"] |= {name: attack_label(run.attacks[name]) for name in own}
    for block in blocks.values():
        block["attacks"] = told_apart({name: block["attacks"][name] for name in ATTACKS if name in block["attacks"]})
    return list(blocks.values())


def told_apart(labels: dict[str, str]) -> dict[str, str]:
    """Where two attacks are called alike (Figure 4 repeats a budget of the tables), the later one with its key."""
    first: dict[str, str] = {}
    for name, label in labels.items():
        first.setdefault(label, name)
    return {name: label if first[label] == name else f"{label} ({name})" for name, label in labels.items()}


def new_block(tier: Tier, run: RunConfig, store: Store) -> dict:
    spread, place = seed_spread(tier, run.block, store), tier.blocks[run.block]
    label = f"{block_name(place.dataset, place.backbone)} ({tier.name} tier)"
    return {"label": label, "spread": spread._asdict() if spread else None, "attacks": {}, "rows": {}}
