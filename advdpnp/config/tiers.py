"""Strict loading of the tiers in config/: a mistake ends in one sentence with file, key and nearest valid choice.

A tier says which of the paper's blocks (dataset/backbone) it trains, on what, for how long, and how hard the attacks
are. Settings are layered: the paper's protocol (config.py), then the tier's `defaults`, its `blocks.<block>` and its
`variants.<name>`.
"""

import json
import math
import re
import reprlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from advdpnp.config.attacks import ATTACKS, AttackConfig, budget_fault
from advdpnp.config.datasets import BACKBONES, DATASETS
from advdpnp.config.methods import METHODS, facts, slug, slugs
from advdpnp.config.run import RunConfig, parse_run_id, resolved_attack
from advdpnp.config.settings import (
    ROOT,
    SHIPPED,
    CraftConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    OptimConfig,
    Policy,
)
from advdpnp.errors import UserError, nearest

CONFIG_DIR = SHIPPED / "config"
_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = 80
brief = _shorten.repr  # a value as a message shows it: a file may hold one of any size
PAPER_BLOCKS = ("cifar10/resnet18", "cifar100/resnet18", "svhn/resnet18", "cifar10/wrn34_10", "mnist/lenetspp")


def parse_number(value: Any) -> float:
    """A finite number, or one as people write budgets: 0.1, '1e-3', '8/255'. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("expected a number")
    try:
        above, *below = (float(part) for part in str(value).split("/"))
        number = above / below[0] if below else above
    except (OverflowError, ZeroDivisionError):
        raise ValueError("expected a finite number") from None
    if len(below) > 1 or not all(math.isfinite(part) for part in (above, *below, number)):
        raise ValueError("expected a finite number")
    return number


def parse_switch(value: Any, where: str) -> bool:
    """True or false as people write it; Snakemake hands over text, and the text 'false' is true in Python."""
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False, "none": False}
    if (said := str(value).lower()) not in known:
        raise UserError(f"{where}: expected true or false, got {brief(value)}")
    return known[said]


def _check(value: Any, spec: Field, where: str) -> Any:
    """`value` as the field `spec` takes it, or UserError naming the key `where`."""
    kind = type(spec.default)
    low, high, choices = (spec.metadata.get(key) for key in ("low", "high", "choices"))
    if kind is bool:
        if not isinstance(value, bool):
            raise UserError(f"{where}: expected true or false, got {brief(value)}.")
    elif kind is str:
        if value not in choices:
            raise UserError(f"{where}: {brief(value)} is not known; {nearest(value, choices)}")
    elif kind is tuple:
        if not isinstance(value, list | tuple) or any(isinstance(v, bool) or not isinstance(v, int) for v in value):
            raise UserError(f"{where}: expected a list of whole numbers, got {brief(value)}.")
        if list(value) != sorted(set(value)) or (value and value[0] < low):
            shown = brief(value)
            raise UserError(f"{where}: expected epochs from {low} up, each larger than the last, got {shown}.")
        value = tuple(value)
    else:
        if kind is int and (isinstance(value, bool) or not isinstance(value, int)):
            raise UserError(f"{where}: expected a whole number, got {brief(value)}.")
        try:
            number = value if kind is int else parse_number(value)
        except ValueError:
            raise UserError(f"{where}: expected a number such as 0.1 or 8/255, got {brief(value)}.") from None
        if not (low is None or number >= low) or not (high is None or number <= high):
            bounds = f"from {low:g}" + (f" to {high:g}" if high is not None else " up")
            raise UserError(f"{where}: expected a number {bounds}, got {value}.")
        value = number
    return value


def build(base: Any, changes: Any, where: str) -> Any:
    """The dataclass `base` with `changes` (a mapping) applied strictly. Raises UserError."""
    if changes is None:
        changes = {}
    if not isinstance(changes, Mapping):
        raise UserError(f"{where}: expected a mapping of settings, got {brief(changes)}.")
    specs = {spec.name: spec for spec in fields(base)}
    for key in changes:
        if key not in specs:
            raise UserError(
                f"{where}: unknown key '{key}'; {nearest(key, specs) if specs else 'it takes no settings.'}"
            )
    return replace(base, **{k: _check(v, specs[k], f"{where}.{k}") for k, v in changes.items()})


def paper_sections() -> dict[str, Any]:
    """The sections of a tier's file with the paper's protocol in them: five, and one for each method."""
    return {
        "data": DataConfig(), "model": ModelConfig(), "optim": OptimConfig(), "craft": CraftConfig(),
        "evaluation": EvaluationConfig(), **{slug(name): cls() for name, cls in METHODS.items()},
    }  # fmt: skip


@dataclass(frozen=True)
class Block:
    """One dataset/backbone of the paper, and what this tier trains for it."""

    paper: str
    dataset: str
    backbone: str
    sections: Mapping[str, Any]
    attacks: Mapping[str, AttackConfig]


@dataclass(frozen=True)
class Tier:
    """A file of config/, checked: which blocks, methods and seeds; how long; how hard the attacks; its policy."""

    name: str
    path: Path
    label: str  # printed on every picture and table
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    more_seeds: Mapping[str, tuple[int, ...]]
    blocks: Mapping[str, Block]
    variants: Mapping[str, Mapping[str, Any]]
    variant_seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    printed: str = "printed"  # the variant that the row "Adv-DPNP (as printed)" shows
    policy: Policy = field(default_factory=Policy)

    @property
    def has_paper_data(self) -> bool:
        """Whether any of its blocks is trained on the paper's data set and network, not on a stand-in for them."""
        return any(name == f"{block.dataset}/{block.backbone}" for name, block in self.blocks.items())

    def seeds_of(self, method: str, variant: str = "") -> tuple[int, ...]:
        """The seeds that a method is trained with; under a variant with `variant_seeds` of its own, those."""
        own = tuple(dict.fromkeys(self.seeds + self.more_seeds.get(method, ())))
        return self.variant_seeds.get(variant, own) if variant else own

    @cached_property
    def _resolved(self) -> dict[tuple[str, str, int, str], RunConfig]:
        return {}

    def run(self, block: str, method: str, seed: int = 0, variant: str = "") -> RunConfig:
        """The resolved configuration of one training. Raises UserError for a contradiction."""
        key = (block, method, seed, variant)
        if key not in self._resolved:  # a report asks for each of its runs some sixty times
            self._resolved[key] = check_run(self._resolve(*key), self.path)
        return self._resolved[key]

    def _resolve(self, block: str, method: str, seed: int, variant: str) -> RunConfig:
        spec = self.blocks[block]
        sections = dict(spec.sections)
        if variant:
            if variant not in self.variants:
                raise UserError(f"{self.path}: no variant '{variant}'; {nearest(variant, self.variants)}")
            for key, changes in self.variants[variant].items():
                sections[key] = build(sections[key], changes, f"{self.path}: variants.{variant}.{key}")
        return RunConfig(
            tier=self.name, block=block, dataset=spec.dataset, backbone=spec.backbone, method=method, seed=seed,
            variant=variant, hyper=sections[slug(method)], attacks=spec.attacks, plain=spec.sections,
            **{key: sections[key] for key in ("data", "model", "optim", "craft", "evaluation")},
        )  # fmt: skip


def sibling(run: RunConfig, method: str) -> RunConfig:
    """The run of another method on the same block of the same tier, with the same seed, and without a variant.

    Its settings are the block's own: a variant of `run` changes neither its name nor what it is trained with.
    """
    sections = {key: run.plain[key] for key in ("data", "model", "optim", "craft", "evaluation")}
    return replace(run, method=method, variant="", hyper=run.plain[slug(method)], **sections)


def dependency(run: RunConfig) -> RunConfig | None:
    """The run whose trained model this one needs first (HAT: the ST run of the same seed), or None."""
    needed = facts(run.method).requires
    return sibling(run, needed) if needed else None


def standard_of(run: RunConfig) -> RunConfig | None:
    """The standard run of the same data, network and seed: `guard` transfers its adversarial images."""
    return None if run.method == "ST" else sibling(run, "ST")


def with_dependencies(runs: Iterable[RunConfig]) -> list[RunConfig]:
    """The runs, each once, after the one that it requires."""
    found: dict[str, RunConfig] = {}
    for run in runs:
        found |= {other.id: other for other in (dependency(run), run) if other and other.id not in found}
    return list(found.values())


def check_run(run: RunConfig, path: Path | str) -> RunConfig:
    """`run` itself, or UserError where its settings contradict each other or the data set."""
    facts, where = run.facts, f"{path}: blocks.{run.block}"
    available = facts.train_images
    used = (run.data.train_images or available - run.data.validation_images) + run.data.validation_images
    if used > available:
        raise UserError(
            f"{where}.data: expected at most {available} training and validation images, which {run.dataset} has, "
            f"got {used}."
        )
    if run.optim.checkpoint == "best" and not run.data.validation_images:
        raise UserError(
            f'{where}.optim.checkpoint: "best" is chosen on images held out of training; set data.validation_images, '
            "for example to 1000."
        )
    for key in ("test_images", "corruption_images"):
        if getattr(run.evaluation, key) > facts.test_images:
            raise UserError(f"{where}.evaluation.{key}: {run.dataset} has only {facts.test_images} test images.")
    if any(m >= run.optim.epochs for m in run.optim.milestones):
        raise UserError(
            f"{where}.optim: lr falls at epochs {list(run.optim.milestones)}, but training ends after "
            f"{run.optim.epochs}; set milestones below it (or [] for none)."
        )
    images = run.data.train_images or available - run.data.validation_images
    if images % run.optim.batch_size == 1:
        raise UserError(
            f"{where}.optim.batch_size: {images} images in batches of {run.optim.batch_size} leave a last batch of "
            "one, which has no batch statistics; change either by one."
        )
    for key in ("warmup_epochs", "epsilon_warmup_epochs"):
        section = "optim" if key == "warmup_epochs" else "craft"
        if (warm := getattr(getattr(run, section), key)) > run.optim.epochs:
            raise UserError(f"{where}.{section}.{key}: {warm:g} of {run.optim.epochs} epochs: warm-up would never end.")
    for name, attack in run.attacks.items():
        check_attack(attack, facts.pixels, facts.test_images, f"{path}: attacks.{name}")
    # Figure 4's budgets grow until nothing is left: they are checked when they are evaluated.
    base = resolved_attack(run, "pgd20")
    if fault := budget_fault(base.norm, base.epsilon, 0.0, facts.pixels):
        scale = f"{run.evaluation.budget_scale:g} times attacks.pgd20.epsilon"
        raise UserError(f"{where}.evaluation.budget_scale: {scale}: {fault}")
    if run.craft.step_size > 2 * run.craft.epsilon > 0:
        raise UserError(
            f"{where}.craft.step_size: {run.craft.step_size:g} is more than twice epsilon ({run.craft.epsilon:g}), so "
            "every step would leap across the whole ball; use for example 2/255."
        )
    if run.craft.epsilon > 0 and run.craft.step_size == 0:
        raise UserError(f"{where}.craft.step_size: 0 would never leave the clean image; use for example 2/255.")
    return run


def check_attack(attack: AttackConfig, pixels: int, images: int, key: str) -> None:
    """Refuse contradictory settings, more images than there are, and budgets that no two of so many pixels (times
    channels) can exceed. Raises UserError.
    """
    if attack.restarts > 1 and not attack.random_start:
        raise UserError(f"{key}: {attack.restarts} restarts without random_start: true would all be the same.")
    if attack.random_start and attack.kind != "pgd":
        raise UserError(f"{key}.random_start: {attack.kind} has none; only the kind pgd starts at random.")
    if attack.norm != "linf" and attack.kind in ("fgsm", "cw", "adaptive"):
        raise UserError(f"{key}.norm: {attack.kind} is an attack in linf, not {attack.norm}; use the kind pgd.")
    if attack.kind in ("pgd", "cw", "adaptive") and attack.epsilon > 0 and attack.step_size == 0:
        raise UserError(f"{key}.step_size: 0 would never leave the clean image; use for example 1/255.")
    if attack.images > images:
        most = f"{images}, the number of test images"
        raise UserError(f"{key}.images: expected at most {most}, got {attack.images}.")
    step = attack.step_size if attack.kind in ("pgd", "cw", "adaptive") else 0.0
    if attack.kind != "clean" and (fault := budget_fault(attack.norm, attack.epsilon, step, pixels)):
        raise UserError(f"{key}.{fault.replace(' ', ': ', 1)}")
    if attack.epsilon > 0 and step > 2 * attack.epsilon and (attack.norm, attack.l1_step) != ("l1", "dense"):
        raise UserError(
            f"{key}.step_size: {step:g} is more than twice epsilon ({attack.epsilon:g}), so every step would leap "
            "across the whole ball; write a step in 1/255 as, for example, 1/255."
        )


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: expected a mapping, got {brief(value)}.")
    return value


def _seeds(value: Any, where: str) -> tuple[int, ...]:
    ok = (
        isinstance(value, list)
        and value
        and all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in value)
    )
    if not ok or len(set(value)) != len(value):
        raise UserError(f"{where}: expected a list of different whole numbers from 0 up, got {brief(value)}.")
    return tuple(value)


def _sections(base: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    for key in changes:
        if key not in base:
            raise UserError(f"{where}: unknown key '{key}'; {nearest(key, base)}")
    return {key: build(value, changes.get(key), f"{where}.{key}") for key, value in base.items()}


def _attacks(base: Mapping[str, AttackConfig], changes: Any, where: str) -> dict[str, AttackConfig]:
    changes = _mapping(changes, where)
    for name in changes:
        if name not in base:
            raise UserError(f"{where}: unknown attack '{name}'; {nearest(name, base)}")
    return {name: build(attack, changes.get(name), f"{where}.{name}") for name, attack in base.items()}


def _block(name: str, changes: Any, base: Mapping[str, Any], attacks: Mapping, where: str) -> Block:
    changes = dict(_mapping(changes, where))
    dataset, backbone = name.split("/")
    dataset, backbone = changes.pop("dataset", dataset), changes.pop("backbone", backbone)
    for key, value, known in (("dataset", dataset, DATASETS), ("backbone", backbone, BACKBONES)):
        if str(value) not in known:
            raise UserError(f"{where}.{key}: '{value}' is not known; {nearest(value, known)}")
    own_attacks = _attacks(attacks, changes.pop("attacks", None), f"{where}.attacks")
    return Block(name, dataset, backbone, _sections(base, changes, where), own_attacks)


_TIER_KEYS = (
    "label", "methods", "seeds", "more_seeds", "variant_seeds", "printed", "policy", "defaults", "attacks", "blocks",
    "variants",
)  # fmt: skip


def parse_tier(name: str, raw: Any, path: Path | str) -> Tier:
    """A Tier from the plain data of its file. Raises UserError naming file, key and the nearest valid choice."""
    raw = _mapping(raw, str(path))
    for key in raw:
        if key not in _TIER_KEYS:
            raise UserError(f"{path}: unknown key '{key}'; {nearest(key, _TIER_KEYS)}")
    label = raw.get("label")
    if not isinstance(label, str) or not label.strip() or not label.strip().isprintable():
        raise UserError(f"{path}: label: expected one line that says what this protocol is.")
    methods = raw.get("methods", list(METHODS))
    if not isinstance(methods, list) or not methods:
        raise UserError(f"{path}: methods: expected a list of methods, got {brief(methods)}.")
    for method in [*methods, *_mapping(raw.get("more_seeds"), f"{path}: more_seeds")]:
        if str(method) not in METHODS:
            raise UserError(f"{path}: unknown method '{method}'; {nearest(method, METHODS)}")
    if len(set(methods)) != len(methods):
        raise UserError(f"{path}: methods: expected each method once, got {brief(methods)}.")
    seeds = _seeds(raw.get("seeds", [0]), f"{path}: seeds")
    more = {m: _seeds(s, f"{path}: more_seeds.{m}") for m, s in (raw.get("more_seeds") or {}).items()}
    defaults = _sections(paper_sections(), _mapping(raw.get("defaults"), f"{path}: defaults"), f"{path}: defaults")
    attacks = _attacks(ATTACKS, raw.get("attacks"), f"{path}: attacks")
    blocks: dict[str, Block] = {}
    for block, changes in _mapping(raw.get("blocks"), f"{path}: blocks").items():
        if block not in PAPER_BLOCKS:
            raise UserError(f"{path}: blocks: unknown block '{block}'; {nearest(block, PAPER_BLOCKS)}")
        blocks[block] = _block(block, changes, defaults, attacks, f"{path}: blocks.{block}")
    if not blocks:
        raise UserError(f"{path}: blocks: expected at least one of {', '.join(PAPER_BLOCKS)}.")
    taken: dict[tuple[str, str], str] = {}
    for spec in blocks.values():
        other = taken.setdefault((spec.dataset, spec.backbone), spec.paper)
        if other != spec.paper:
            raise UserError(
                f"{path}: blocks: {other} and {spec.paper} would share the runs of {spec.dataset}-{spec.backbone}."
            )
    variants = _mapping(raw.get("variants"), f"{path}: variants")
    variants = {str(v): _mapping(changes, f"{path}: variants.{v}") for v, changes in variants.items()}
    for variant, changes in variants.items():
        if not re.fullmatch(r"[a-z0-9_]+", variant):
            raise UserError(f"{path}: variants: '{variant}' may hold only a-z, 0-9 and _.")
        _sections(defaults, changes, f"{path}: variants.{variant}")
    of_variants = _mapping(raw.get("variant_seeds"), f"{path}: variant_seeds")
    printed = raw.get("printed", "printed")
    for key, known in [
        *(("variant_seeds", v) for v in of_variants),
        *([("printed", printed)] if "printed" in raw else []),
    ]:
        if not isinstance(known, str) or known not in variants:
            raise UserError(f"{path}: {key}: no variant {brief(known)}; {nearest(str(known), variants)}")
    own_seeds = {v: _seeds(s, f"{path}: variant_seeds.{v}") for v, s in of_variants.items()}
    policy = build(Policy(), raw.get("policy"), f"{path}: policy")
    tier = Tier(
        name, Path(path), label.strip(), tuple(methods), seeds, more, blocks, variants, own_seeds, printed, policy
    )
    for block in tier.blocks:
        for method in METHODS:
            tier.run(block, method)
    return tier


def _each_once(pairs: list[tuple[Any, Any]]) -> dict:
    """The mapping of (key, value) pairs. Raises ValueError for a key that comes twice: one would be lost in silence."""
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ValueError(f"the key {brief(twice)} comes twice in one mapping")
    return dict(pairs)


def load_tier(name: str) -> Tier:
    """The tier `name` of config/, or of a path to a .toml or .json file. Raises UserError.

    A file elsewhere may not take the name of a tier of config/: its results would be filed and judged as that tier's.
    """
    if not isinstance(name, str):
        raise UserError(f"a tier is asked for by its name or file, such as 'demo', not by {brief(name)}.")
    return _load_tier(name)


@lru_cache
def _load_tier(name: str) -> Tier:
    """`load_tier`, once per process."""
    if name.endswith((".yaml", ".yml")):
        raise UserError(f"{name}: tiers are TOML now; write it as {Path(name).stem}.toml, as those of config/ are.")
    path = Path(name) if name.endswith((".toml", ".json")) else CONFIG_DIR / f"{name}.toml"
    if not path.is_file():
        known = sorted(p.stem for p in CONFIG_DIR.glob("*.toml"))
        raise UserError(f"{path}: no such tier; {nearest(path.stem, known)}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", path.stem, re.ASCII):
        raise UserError(f"{path}: its name becomes a folder, and may hold only a-z, 0-9, '_', '.' and '-'; rename it.")
    own = CONFIG_DIR / f"{path.stem}.toml"
    if own.exists() and own.resolve() != path.resolve():
        raise UserError(f"{path}: the name '{path.stem}' is taken by {_shown(own)}; rename the file.")
    try:
        text = path.read_text(encoding="utf-8")
        json_tier = path.suffix == ".json"
        raw = json.loads(text, object_pairs_hook=_each_once) if json_tier else tomllib.loads(text)
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not a text file.") from None
    except Exception as error:
        raise UserError(f"{path}: is not valid {path.suffix[1:].upper()}: {' '.join(str(error).split())}") from None
    return parse_tier(path.stem, raw, _shown(path))


def _shown(path: Path) -> Path:
    """A path as a message gives it: from the place that it is known by, where that is absolute."""
    if not path.is_absolute():
        return path
    return next((path.relative_to(base) for base in (SHIPPED, ROOT) if path.is_relative_to(base)), path)


def resolve(tier: Tier | str, run_id: str) -> RunConfig:
    """'cifar10-resnet18-adv_dpnp-s0' in a tier -> its RunConfig. Raises UserError with the nearest valid choice."""
    tier = load_tier(tier) if isinstance(tier, str) else tier
    found = parse_run_id(run_id)
    if found is None:
        first = next(iter(tier.blocks.values()))
        raise UserError(
            f"'{run_id}' is not a run id; write <dataset>-<backbone>-<defense>-s<seed>, for example "
            f"{first.dataset}-{first.backbone}-adv_dpnp-s0."
        )
    if found.defense not in slugs():
        raise UserError(f"run id '{run_id}': unknown defense '{found.defense}'; {nearest(found.defense, slugs())}")
    blocks = {f"{b.dataset}-{b.backbone}": b.paper for b in tier.blocks.values()}
    if (place := f"{found.dataset}-{found.backbone}") not in blocks:
        raise UserError(f"run id '{run_id}': tier {tier.name} has no '{place}'; {nearest(place, blocks)}")
    return tier.run(blocks[place], slugs()[found.defense], found.seed, found.variant)
