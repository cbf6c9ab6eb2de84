"""What people read instead of the keys of configuration and tables. One place, for every text, table and picture."""

import re

DATASETS = {
    "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "svhn": "SVHN", "mnist": "MNIST", "digits": "digits",
}  # fmt: skip
BACKBONES = {"resnet18": "ResNet-18", "wrn34_10": "WRN-34-10", "lenetspp": "LeNets++"}
COLUMNS = {  # of tables and figures; regular ones, such as "aa_eps4", are made by column_name
    "clean": "clean", "aa": "AutoAttack", "avg": "Avg", "fgsm": "FGSM", "pgd": "PGD-20", "cw": "C&W-30",
    "ensemble": "Ensemble", "avg_accuracy": "mean accuracy", "ce": "PGD-20 on cross-entropy",
    "adv-dpnp": "PGD-20 on Eq. (7)", "pgd_l1": "PGD-100 (l1)", "pgd_l1_free": "PGD-100 (l1, free step)",
    "pgd_l2": "PGD-20 (l2)", "pgd_linf": "PGD-20 (linf)", "mean_sep": "MeanSep", "min_sep": "MinSep",
}  # fmt: skip
METRICS = {
    "fdr": "FDR", "afs": "AFS", "scr": "SCR", "scr_means": "SCR to class means", "angular_median": "median angle",
    "angular_q90": "90 % quantile of the angle", "angular_rms": "RMS angle", "radial": "radial variation",
    "gap": "smallest gap", "distance": "distance over norm",
}  # fmt: skip
SIDES = {"clean": "clean", "adv": "adversarial"}
TERMS = {  # of the losses, as training logs them
    "ce_clean": "CE, clean", "ce_adv": "CE, adversarial", "pull_clean": "pull, clean", "pull_adv": "pull, adversarial",
    "dfa": "DFA, Eq. (6)", "dnp": "DNP, Eq. (5)",
}  # fmt: skip
ATTACKS = {  # the first word of an evaluation's name
    "aa": "AutoAttack", "fgsm": "FGSM", "cw30": "C&W-30", "clean": "no attack", "adaptive20": "PGD-20 on Eq. (7)",
    "corruptions": "CIFAR-10-C",
}  # fmt: skip
DETAILS = {
    "random": "random start", "free": "free step", "dense": "dense step", "fig4": "", "confidence0": "confidence 0",
    "renormalised": "prototypes renormalised", "restarts1": "one start", "mnist": "MNIST",
}  # fmt: skip
PATTERNS = (  # of a column, and what people read
    (r"pgd_?(\d+)", r"PGD-\1"), (r"pgd_eps(\d+)", r"PGD-20 (\1/255)"), (r"aa_eps(\d+)", r"AutoAttack (\1/255)"),
    (r"fgsm_eps(\d+)", r"FGSM (\1/255)"), (r"accuracy_(\d+)", r"\1 iterations"),
    (r"loss_(\d+)", r"loss after \1 iterations"), (r"starts_(\d+)", r"random starts: \1"),
    (r"severity_(\d)", r"severity \1"),
)  # fmt: skip
LOWER_IS_BETTER = ("fdr", "afs", "loss", "angular", "radial", "distance")


def block_name(dataset: str, backbone: str) -> str:
    """'cifar10', 'wrn34_10' -> 'CIFAR-10, WRN-34-10'; a name of one's own stays as it is."""
    return f"{DATASETS.get(dataset, dataset)}, {BACKBONES.get(backbone, backbone)}"


def column_name(column: str) -> str:
    """'pgd_eps2' -> 'PGD-20, 2/255', 'fdr_adv' -> 'FDR, adversarial'; a name of one's own stays as it is."""
    if column in COLUMNS:
        return COLUMNS[column]
    metric, _, side = column.rpartition("_")
    if metric in METRICS and side in SIDES:
        return f"{METRICS[metric]}, {SIDES[side]}"
    for pattern, words in PATTERNS:
        if re.fullmatch(pattern, column):
            return re.sub(pattern, words, column)
    return column


def step_of(column: str) -> tuple[str, int] | None:
    """'accuracy_20' -> ('accuracy', 20), 'starts_5' -> ('starts', 5): how much of an attack; None for other columns."""
    found = re.fullmatch(r"(accuracy|loss|starts)_(\d+)", column)
    return (found[1], int(found[2])) if found else None


def attack_name(attack: str) -> str:
    """'pgd100_l1_free' -> 'PGD-100 (l1, free step)', 'aa_eps2' -> 'AutoAttack (2/255)'; its budget stands beside it."""
    kind, *more = attack.split("_")
    name = ATTACKS.get(kind) or re.sub(r"^pgd(\d+)$", r"PGD-\1", kind)
    words = [DETAILS.get(word, re.sub(r"^restarts(\d+)$", r"best of \1 starts", word)) for word in more]
    words = [re.sub(r"^eps(\d+)$", r"\1/255", word) for word in words if word]
    return f"{name} ({', '.join(words)})" if words else name


def heading(column: str) -> str:
    """The name with an arrow that says which way is better: 'FDR, clean ↓', 'AutoAttack ↑'."""
    return f"{column_name(column)} {'↓' if column.startswith(LOWER_IS_BETTER) else '↑'}"


def counted(n: int, what: str) -> str:
    """'1 training', '1,023 evaluations'."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"
