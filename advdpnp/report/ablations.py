"""What the open choices of docs/ledger.md are worth where it was measured: default against other, image by image."""

from typing import NamedTuple

from advdpnp.config import RunConfig, Tier
from advdpnp.intervals import Difference, SeedVariance, paired_difference
from advdpnp.markdown import markdown_table
from advdpnp.paper import artefacts
from advdpnp.report import mixed_protocols
from advdpnp.report.tables import by_seed, cell, is_accuracy, on_same_images, per_image, seed_spread
from advdpnp.store import RESULTS, Store


class Switch(NamedTuple):
    """One choice, our default and the other way, and how to measure it.

    `sources` are pairs of evaluations (default, other) of one training; where `variant` names a second training, the
    other evaluation is that one's. `base` names the variant that the default side is, if it is one; "printed" is
    the tier's own (`Tier.printed`).
    """

    id: str  # of docs/ledger.md
    choice: str
    default: str
    other: str
    sources: tuple[tuple[str, str], ...]
    variant: str = ""
    base: str = ""


_TRAINED = tuple((source, source) for source in ("clean", "pgd20", "geometry.mean_sep"))
SWITCHES = (
    Switch("1", "crafting maximises", "cross-entropy", "Eq. (7)", _TRAINED, "composite"),
    Switch("2", "batch norm while crafting", "eval", "train", _TRAINED, "train_bn"),
    Switch("3", "start of PGD-20 at evaluation", "none", "uniform", (("pgd20", "pgd20_random"),)),
    Switch("4", "prototypes in the adversarial branch", "locked", "unlocked", _TRAINED, "unlocked", "printed"),
    Switch("4", "weight decay on prototypes", "5e-4", "none", _TRAINED, "undecayed", "printed"),
    Switch(
        "5", "prototypes' norms at test time", "as trained", "renormalised",
        (("clean", "clean_renormalised"), ("pgd20", "pgd20_renormalised")),
    ),
    Switch("6", "p(x) in Eq. (6)", "with gradient", "constant", _TRAINED, "detached"),
    Switch("7", "last ReLU", "kept", "left out", _TRAINED, "signed", "printed"),
    Switch("11", "step of l1 PGD", "one coordinate", "all coordinates", (("pgd100_l1", "pgd100_l1_dense"),)),
    Switch("12", "confidence of C&W", "50", "0", (("cw30", "cw30_confidence0"),)),
    Switch("14", "weights that are kept", "last epoch", "best on held-out images", _TRAINED, "best_epoch"),
)  # fmt: skip
COLUMNS = (
    "id", "choice", "default", "other", "measure", "with_default", "with_other", "effect", "low", "high", "by_seed",
    "images",
)  # fmt: skip


def effects(tier: Tier, store: Store = RESULTS) -> list[dict]:
    """One row per switch and measure: means over seeds and the effect (other - default), where measured.

    Accuracies are in percent, angles in degrees. `low` and `high` bound the effect at 95 %, images and seeds paired
    (intervals.py): over test images, and over seeds too where the other choice is another training. Reads only.
    """
    runs = list(artefacts.runs_of(tier, "ledger"))
    mixed_protocols.refuse(runs, store)
    rows = []
    for switch in SWITCHES:
        default = tier.printed if switch.base == "printed" else switch.base
        base = {run.seed: run for run in runs if run.variant == default}
        others = {run.seed: run for run in runs if run.variant == (switch.variant or default)}
        for source, other_source in switch.sources:
            pairs = [
                (base[seed], source, others[seed], other_source)
                for seed in sorted(base.keys() & others.keys())
                if cell(base[seed], source, store) is not None and cell(others[seed], other_source, store) is not None
            ]
            if pairs:
                spread = seed_spread(tier, pairs[0][0].block, store) if switch.variant else None
                rows.append(_row(switch, pairs, spread, store))
    return rows


Pairs = list[tuple[RunConfig, str, RunConfig, str]]  # one per seed: default run, its evaluation, other run, its


def _row(switch: Switch, pairs: Pairs, spread: SeedVariance | None, store: Store) -> dict:
    both = [_two(*pair, store) for pair in pairs]
    defaults, others = ([of[k] for of in both] for k in (0, 1))
    each = [b - a for a, b in zip(defaults, others, strict=True)]
    paired = _paired(pairs, spread, store)
    values = {
        "with_default": sum(defaults) / len(pairs),
        "with_other": sum(others) / len(pairs),
        "effect": sum(each) / len(pairs),
        "low": paired.low if paired else None,
        "high": paired.high if paired else None,
    }
    return {
        "id": switch.id, "choice": switch.choice + (f" ({pairs[0][0].variant})" if switch.base else ""),
        "default": switch.default, "other": switch.other, "measure": pairs[0][1],
        **{key: None if value is None else round(float(value), 2) for key, value in values.items()},
        "by_seed": " ".join(f"{value:+.2f}" for value in each), "images": paired.images if paired else None,
    }  # fmt: skip


def _two(run: RunConfig, source: str, other: RunConfig, other_source: str, store: Store) -> tuple[float, float]:
    """The value of each side: an accuracy on the images that both saw."""
    sides = ((run, source), (other, other_source))
    if is_accuracy(source) and is_accuracy(other_source):
        flags = [values for side in sides if (values := per_image(*side, store)) is not None]
        one, two = (100 * float(values.mean()) for values in on_same_images(flags))
        return one, two
    one, two = (value for side in sides if (value := cell(*side, store)) is not None)
    return one, two


def _paired(pairs: Pairs, spread: SeedVariance | None, store: Store) -> Difference | None:
    """Other against default, image by image; None for a metric, which has no images to pair."""
    if not all(is_accuracy(source) for _, source, _, _ in pairs):
        return None
    (_, source, _, other), *_ = pairs
    others = by_seed([run for _, _, run, _ in pairs], other, store)
    return paired_difference(others, by_seed([run for run, _, _, _ in pairs], source, store), spread)


def ledger_markdown(rows: list[dict]) -> str:
    """The effects as a Markdown table; one sentence where nothing was measured."""
    if not rows:
        return "No switch was measured in this tier."
    body = []
    for r in rows:
        bounds = f" [{r['low']:+.2f}, {r['high']:+.2f}]" if r["low"] is not None else ""
        numbers = f"{r['with_default']:.2f}", f"{r['with_other']:.2f}", f"{r['effect']:+.2f}{bounds}"
        body.append((r["id"], f"{r['choice']}: {r['default']} → {r['other']}", r["measure"], *numbers, r["by_seed"]))
    header = ("ledger", "choice", "measure", "with default", "with other", "effect [95 %]", "by seed")
    return markdown_table(header, body)
