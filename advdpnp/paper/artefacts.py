"""What each table and figure of Sections 4.2-4.5 needs: which rows, which columns, which attacks, which trainings.

One literal dict; tables.py fills it with numbers, the Snakefile turns it into jobs. Loads no torch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from advdpnp.config import (
    ATTACKS,
    CORRUPTION_TYPES,
    GEOMETRY_DEFINITION,
    INSTALLED,
    ROOT,
    RunConfig,
    Tier,
    with_dependencies,
)
from advdpnp.errors import UserError, nearest

PRINTED = "Adv-DPNP (as printed)"
# Rows beside the paper's: a method under a variant (ledger 17). A tier may say which variant stands there (`printed`).
VARIANT_ROWS = {PRINTED: ("Adv-DPNP", "printed")}
BASELINES = ("ST", "AT", "AT_HE", "TRADES", "MART", "Adv-DPNP")
STATE_OF_THE_ART = ("OC", "PCL", "HAT", "FSR", "DIO", "IKL", "Adv-DPNP")
FOUR = ("FSR", "DIO", "IKL", "Adv-DPNP")
DISCRIMINATIVE = ("ST", "AT", "AT_HE", "TRADES", "MART", "FSR", "IKL", "Adv-DPNP")
CIFAR10, CIFAR100, SVHN, WRN, MNIST = (
    "cifar10/resnet18", "cifar100/resnet18", "svhn/resnet18", "cifar10/wrn34_10", "mnist/lenetspp",
)  # fmt: skip
GEOMETRY = (
    "fdr_clean", "fdr_adv", "afs_clean", "afs_adv", "scr_clean", "scr_adv", "scr_means_clean", "scr_means_adv",
    "mean_sep", "min_sep",
)  # fmt: skip
FEATURES = tuple(  # Figure 2 in numbers
    f"{metric}_{side}"
    for metric in ("angular_median", "angular_q90", "angular_rms", "radial", "gap", "distance")
    for side in ("clean", "adv")
)


@dataclass(frozen=True)
class Artefact:
    """A table or figure of the paper.

    `rows` maps a block (dataset/backbone) to its methods, or keys of VARIANT_ROWS; `columns` maps a column of
    data/paper/table<N>.csv to where its value comes from: an attack of config.ATTACKS (its accuracy), `<attack>.loss`,
    `geometry.<metric>`, `features.<metric>`, `corruptions`, `corruptions.severity_<s>`, `corruptions.type_<type>`, or
    "avg" and "ensemble", which are made of other columns. The figures' columns are ours, because the paper draws them
    without numbers. `attacks` lists what else is evaluated.
    `one_seed`: it shows single networks, not averages. `variants`: trainings under one changed switch of the tier,
    beside those of the rows' methods, evaluated with `variant_attacks`; a tier with none of them lacks the artefact.
    `preregistered`: only a tier of which `policy.preregistered` is true has it.
    """

    title: str
    section: str
    rows: Mapping[str, tuple[str, ...]]
    columns: Mapping[str, str]
    attacks: tuple[str, ...] = ()
    one_seed: bool = False
    variants: tuple[str, ...] = ()
    variant_attacks: tuple[str, ...] = ()
    preregistered: bool = False

    def evaluations(self, variant: str = "") -> tuple[str, ...]:
        """Names for `evaluate`, of a row's own training or of its `variant`, without repetition; the guard with all."""
        names = [name for source in self.columns.values() for name in sources_of(source)]
        one_of_mine = variant in self.variants
        return tuple(dict.fromkeys([*(self.variant_attacks if one_of_mine else [*names, *self.attacks]), "guard"]))


ENSEMBLE = ("fgsm", "pgd20", "pgd100", "cw30")  # Table 2's caption: wrong under any of the four


def sources_of(source: str) -> tuple[str, ...]:
    """The evaluations behind a column's source: 'pgd20.loss' has one, 'avg' and 'ensemble' are made of several."""
    derived = {"avg": ("clean", "aa"), "ensemble": ("clean", *ENSEMBLE)}
    return derived.get(source, (source.split(".")[0],))


# Columns that the paper's tables lack: they stand without a number of the paper's (ledger 11 and 21).
ADDED = ("pgd_l1_free", "scr_means_clean", "scr_means_adv")
FIGURE4_EPSILONS = (4, 8, 16, 24, 32, 48, 64, 96, 128)  # in 1/255

ARTEFACTS = {
    "table1": Artefact(
        "Clean and adversarial accuracy (%) of the baselines", "4.2",
        {CIFAR10: (*BASELINES, PRINTED), CIFAR100: BASELINES},
        {"clean": "clean", "aa": "aa", "avg": "avg",
         "pgd_l1": "pgd100_l1", "pgd_l1_free": "pgd100_l1_free", "pgd_l2": "pgd20_l2", "pgd_linf": "pgd20"},
    ),
    "table2": Artefact(
        "Robustness against the state of the art (%)", "4.2",
        {CIFAR10: (*STATE_OF_THE_ART, PRINTED), CIFAR100: STATE_OF_THE_ART, SVHN: FOUR, WRN: FOUR},
        {"clean": "clean", "aa": "aa", "avg": "avg", "fgsm": "fgsm", "pgd20": "pgd20", "pgd100": "pgd100",
         "cw": "cw30", "ensemble": "ensemble"},
    ),
    "table3": Artefact(
        "Adversarial accuracy (%) at smaller perturbations", "4.2",
        {CIFAR10: ("AT", "TRADES", "AT_HE", "MART", "FSR", "DIO", "IKL", "Adv-DPNP")},
        {f"{column}_eps{e}": f"{attack}_eps{e}" for e in (2, 4, 6)
         for column, attack in (("pgd", "pgd20"), ("aa", "aa"))},
    ),
    "table4": Artefact(
        "Discrimination of the feature space", "4.3",
        {CIFAR10: (*DISCRIMINATIVE, PRINTED), CIFAR100: DISCRIMINATIVE},
        {metric: f"geometry.{metric}" for metric in GEOMETRY},
    ),
    "table5": Artefact(
        "Average accuracy (%) on CIFAR-10-C", "4.4",
        {CIFAR10: ("AT", "AT_HE", "TRADES", "MART", "PCL", "OC", "HAT", "FSR", "DIO", "IKL", "Adv-DPNP")},
        {"avg_accuracy": "corruptions"},
    ),
    "table6": Artefact(
        "More PGD iterations: accuracy (%) and CE loss of Adv-DPNP", "4.5",
        {CIFAR10: ("Adv-DPNP",), CIFAR100: ("Adv-DPNP",)},
        {f"{column}_{n}": f"pgd{n}_random{suffix}" for n in (20, 40, 100, 250, 500)
         for column, suffix in (("accuracy", ""), ("loss", ".loss"))},
    ),
    "table7": Artefact(
        "More random starts: accuracy (%) of Adv-DPNP", "4.5",
        {CIFAR10: ("Adv-DPNP",), CIFAR100: ("Adv-DPNP",)},
        {f"starts_{n}": f"pgd40_restarts{n}" for n in (1, 5, 10, 20)},
    ),
    "table8": Artefact(
        "Adaptive attack: accuracy (%) of Adv-DPNP when PGD maximises CE or Eq. (7)", "4.5",
        {CIFAR10: ("Adv-DPNP",), CIFAR100: ("Adv-DPNP",)},
        {"ce": "pgd20", "adv-dpnp": "adaptive20"},
    ),
    "figure2": Artefact(
        "Two-dimensional features of LeNets++ on MNIST", "4.3",
        {MNIST: ("AT", "Adv-DPNP")},
        {"clean": "clean", "pgd40": "pgd40_mnist"} | {metric: f"features.{metric}" for metric in FEATURES},
        one_seed=True,
    ),
    "figure3": Artefact(
        "Accuracy by corruption severity", "4.4",
        {CIFAR10: ("AT", "AT_HE", "TRADES", "MART", "PCL", "OC", "HAT", "FSR", "DIO", "IKL", "Adv-DPNP")},
        {f"severity_{s}": f"corruptions.severity_{s}" for s in (1, 2, 3, 4, 5)}
        | {kind: f"corruptions.type_{kind}" for kind in CORRUPTION_TYPES},
    ),
    "figure4": Artefact(
        "Accuracy of Adv-DPNP as epsilon grows", "4.5",
        {CIFAR10: ("Adv-DPNP",), CIFAR100: ("Adv-DPNP",)},
        {"clean": "clean"} | {f"{column}_eps{e}": f"{attack}_eps{e}" for e in FIGURE4_EPSILONS
                              for column, attack in (("fgsm", "fgsm"), ("pgd", "pgd20_fig4"))},
    ),
    "ledger": Artefact(
        "Effects of the open choices on Adv-DPNP", "3, 4.1",
        {CIFAR10: ("Adv-DPNP", PRINTED)}, {},
        ("clean", "pgd20", "pgd20_random", "clean_renormalised", "pgd20_renormalised", "cw30", "cw30_confidence0",
         "pgd100_l1", "pgd100_l1_dense", "geometry"),
        variants=("unlocked", "undecayed", "signed", "composite", "train_bn", "detached", "best_epoch"),
        variant_attacks=("clean", "pgd20", "geometry"),
    ),
    "readings": Artefact(  # of Eq. (3), ledger 17; table4 brings AT, whose FDR and AFS they are set beside
        "The readings of Eq. (3) beside the paper's geometry", "3.2",
        {CIFAR10: ("Adv-DPNP",)}, {}, ("clean", "pgd20", "cw30", "geometry"),
        variants=("printed", "norm", "balanced", "features_only", "slow_prototypes"),
        variant_attacks=("clean", "pgd20", "cw30", "geometry"),
    ),
    "contrasts": Artefact(  # docs/medium-preregistration.md; report/contrasts.py makes "worst" of them
        "The contrasts that were named before a network was evaluated", "4.2",
        {CIFAR10: ("AT", "TRADES", "Adv-DPNP", PRINTED)}, {}, ("clean", "pgd20", "cw30"), preregistered=True,
    ),
}  # fmt: skip


# Artefacts that show evaluations of another one: Figure 3 is Table 5 taken apart.
SHARED = {"figure3": "table5"}
SECTIONS = {
    "readings": "table4",
    "contrasts": "table1",
}  # artefacts that are a section of another one's notebook, made by the same job
EVERYTHING = "everything"  # in place of an artefact's name: all of them


def artefact(name: str) -> Artefact:
    """What a table, a figure or the ledger needs. Raises UserError for another name."""
    if name not in ARTEFACTS:
        raise UserError(f"there is no '{name}' in the paper's evaluation; {nearest(name, ARTEFACTS)}")
    return ARTEFACTS[name]


def notebook_of(name: str) -> Path:
    """Path of the artefact's notebook; it may not have been written yet."""
    return ROOT / "notebooks" / f"{SECTIONS.get(name, name)}.ipynb"


def with_notebook() -> tuple[str, ...]:
    """Names of the artefacts whose notebooks exist; of all where the package is installed, which carries none.

    Raises UserError for a checkout without any: nothing would be left to do.
    """
    found = tuple(name for name in ARTEFACTS if INSTALLED or notebook_of(name).exists())
    if not found:
        raise UserError(f"{notebook_of('table1').parent}: holds no notebook; `git checkout notebooks` brings them.")
    return found


def runs_of_row(tier: Tier, block: str, row: str, one_seed: bool = False) -> list[RunConfig]:
    """The trainings behind a row of `block`, one per seed; none where the tier lacks block, method or variant."""
    method, variant = VARIANT_ROWS.get(row, (row, ""))
    variant = tier.printed if row == PRINTED else variant
    if block not in tier.blocks or method not in tier.methods or variant not in ("", *tier.variants):
        return []
    seeds = tier.seeds_of(method, variant)[: 1 if one_seed else None]
    return [tier.run(block, method, seed, variant) for seed in seeds]


def runs_of(tier: Tier, name: str) -> Iterator[RunConfig]:
    """The trainings that a table or figure needs in a tier: its rows and variants, as far as the tier has them."""
    spec = artefact(name)
    variants = [variant for variant in spec.variants if variant in tier.variants]
    if (spec.variants and not variants) or (spec.preregistered and not tier.policy.preregistered):
        return
    for block, rows in spec.rows.items():
        for row in rows:
            for run in runs_of_row(tier, block, row, spec.one_seed):
                trained = [v for v in variants if run.seed in tier.seeds_of(run.method, v)]
                own = [] if row in VARIANT_ROWS else trained
                yield from (run, *(tier.run(block, run.method, run.seed, variant) for variant in own))


def needed_evaluations(tier: Tier, name: str) -> list[tuple[RunConfig, str]]:
    """Every (training, evaluation) behind a table or figure of a tier."""
    return [(run, e) for run in runs_of(tier, name) for e in artefact(name).evaluations(run.variant)]


def evaluations_of(tier: Tier, run: RunConfig, name: str) -> tuple[str, ...]:
    """What `evaluate --for <name>` computes of a run; EVERYTHING: for all artefacts of the tier that show it."""
    if name != EVERYTHING:
        return artefact(name).evaluations(run.variant)
    return tuple(
        dict.fromkeys(e for each in ARTEFACTS for other, e in needed_evaluations(tier, each) if other.id == run.id)
    )


def output_of(name: str) -> str:
    """The file below results/<tier>/ that says an artefact is done: tables/table1.csv, figures/figure4.png."""
    name = SECTIONS.get(name, name)
    return f"figures/{name}.png" if name.startswith("figure") else f"tables/{name}.csv"


def all_runs(tier: Tier, names: tuple[str, ...] | None = None) -> dict[str, RunConfig]:
    """Every training of a tier by run id, each once, and those that others require (HAT's standard helper)."""
    runs: dict[str, RunConfig] = {}
    for name in with_notebook() if names is None else names:
        runs |= {run.id: run for run in runs_of(tier, name)}
    return {run.id: run for run in with_dependencies(runs.values())}


def evaluation_settings(tier: Tier, run: RunConfig, name: str) -> dict:
    """All that decides an artefact's numbers once the run is trained, as plain data."""
    names = evaluations_of(tier, run, name)
    attacks = {e: asdict(run.attacks[e]) for e in names if e in ATTACKS}
    definition = {"geometry": GEOMETRY_DEFINITION} if "geometry" in names else {}
    return {"attacks": attacks, "evaluation": asdict(run.evaluation)} | definition
