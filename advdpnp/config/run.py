"""What a run is: its settings, its id, the digest that results are kept under."""

import hashlib
import json
import re
from collections.abc import Mapping, Sized
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple

from advdpnp.config.attacks import GUARD_IMAGES, AttackConfig
from advdpnp.config.datasets import DATASETS, DatasetFacts
from advdpnp.config.methods import slug
from advdpnp.config.settings import CraftConfig, DataConfig, EvaluationConfig, ModelConfig, OptimConfig

RUN_ID = r"[a-z0-9]+-[a-z0-9_]+-[a-z0-9_]+(?:\.[a-z0-9_]+)?-s(?:0|[1-9][0-9]{0,17})"


class RunId(NamedTuple):
    """<dataset>-<backbone>-<defense>-s<seed>; a variant's name follows the defense after a dot. `str` writes it."""

    dataset: str
    backbone: str
    defense: str  # a method's slug
    variant: str
    seed: int

    def __str__(self) -> str:
        defense = f"{self.defense}.{self.variant}" if self.variant else self.defense
        return f"{self.dataset}-{self.backbone}-{defense}-s{self.seed}"


def parse_run_id(text: str) -> RunId | None:
    """The parts of a run id; None for another text."""
    if not re.fullmatch(RUN_ID, text):
        return None
    dataset, backbone, defense, seed = text.split("-")
    defense, _, variant = defense.partition(".")
    return RunId(dataset, backbone, defense, variant, int(seed[1:]))


@dataclass(frozen=True)
class RunConfig:
    """One training, fully resolved; saved beside its weights as config.json."""

    tier: str
    block: str  # the paper's dataset/backbone that this run is, or stands in for
    dataset: str
    backbone: str
    method: str
    seed: int
    variant: str
    data: DataConfig
    model: ModelConfig
    optim: OptimConfig
    craft: CraftConfig
    hyper: Any  # the method's own dataclass from METHODS
    evaluation: EvaluationConfig
    attacks: Mapping[str, AttackConfig]
    # The block's own sections, before a variant: what another method is trained with beside this run (tiers.py).
    plain: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def id(self) -> str:
        """Its `RunId` as text."""
        return str(RunId(self.dataset, self.backbone, slug(self.method), self.variant, self.seed))

    @property
    def facts(self) -> DatasetFacts:
        """What is known of its data set."""
        return DATASETS[self.dataset]

    def training_settings(self) -> dict:
        """All that decides the weights, as plain data; how the run is evaluated later is left out."""
        settings = asdict(replace(self, attacks={}, plain={}))
        for key in ("evaluation", "attacks", "tier", "block", "plain"):
            del settings[key]
        del settings["optim"]["compile"]  # how fast, not what: may change between the calls that finish a training
        for key, part in settings.items():
            if is_dataclass(known := getattr(self, key)):
                for f in fields(known):
                    if f.metadata.get("legacy") is not None and part.get(f.name) == f.metadata["legacy"]:
                        del part[f.name]
        return json.loads(json.dumps(settings))  # tuples become lists, as in the saved file


def resolved_attack(run: RunConfig, name: str) -> AttackConfig:
    """The attack with the tier's scale applied to its budget and step."""
    attack, scale = run.attacks[name], run.evaluation.budget_scale
    return replace(attack, epsilon=scale * attack.epsilon, step_size=scale * attack.step_size)


def images_of(run: RunConfig, name: str, data: Sized) -> int:
    """How many test images of `data`, from the first on, an evaluation uses."""
    most = run.evaluation.test_images or len(data)
    own = {"corruptions": run.evaluation.corruption_images, "guard": GUARD_IMAGES}.get(name, 0)
    own = run.attacks[name].images if name in run.attacks else own
    return min(own or most, most)


def digest(settings: Any) -> str:
    """First 16 hex digits of the sha256 of canonical JSON: the identity of a configuration."""
    settings = asdict(settings) if is_dataclass(settings) else settings
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
