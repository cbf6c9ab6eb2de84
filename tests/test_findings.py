"""docs/findings.md and the questions: the numbers in their prose are those of the published files and of the theory.

The tables of findings.md are made from the files: tests/test_summary.py.
"""

import csv
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advdpnp import prototype_dynamics as theory
from advdpnp.paper.numbers import OURS, reported
from advdpnp.store import PUBLISHED, read_arrays, read_json

DOCS = Path(__file__).parent.parent / "docs"
FINDINGS, QUESTIONS = ((DOCS / name).read_text() for name in ("findings.md", "questions-for-the-authors.md"))


def test_the_gaps_between_prototypes_in_the_prose_are_those_of_figure_2():
    stored = PUBLISHED.tier("short") / "evals" / "mnist-lenetspp-adv_dpnp-s0" / "features.npz"
    centers = read_arrays(stored, "centers")["centers"]
    angles = np.sort(np.degrees(np.arctan2(centers[:, 1], centers[:, 0])))
    gaps = sorted(np.diff(angles, append=angles[0] + 360))
    assert f"gaps of {gaps[-2]:.0f} and {gaps[-1]:.0f} degrees on the circle" in " ".join(FINDINGS.split())
    assert f"closest (0 and 9) are {gaps[0]:.0f} degrees apart" in " ".join(FINDINGS.split())


def test_the_losses_of_the_other_readings_in_the_prose_are_those_published():
    evals = PUBLISHED.tier("short") / "evals"
    names = ("adv_dpnp.features_only", "adv_dpnp.slow_prototypes", "adv_dpnp")
    features, slow, mean = (
        read_json(evals / f"cifar10-resnet18-{name}-s0" / "pgd20.json", "loss")["loss"] for name in names
    )
    says(FINDINGS, f"under PGD-20, {features:.2f} and {slow:.2f} (seed 0) where the average has {mean:.2f}")


# --- The theory of the prototypes (advdpnp/prototype_dynamics.py): nothing in it is fitted, so the logs are a test, of
# the model of the features where the pull is strong, of the dynamics of the prototypes everywhere.

SHORT = theory.Setting(features=128, milestones=(6, 7), steps_per_epoch=79)  # Eq. (3) as printed, the short protocol
PAPER = theory.Setting(milestones=(20, 25))  # the paper's width; 20 epochs at 0.1 end where 100 do
PAPER_100 = replace(PAPER, classes=100, lambda_dpp=0.3, lambda_dnp=3.0, milestones=(8, 10))


RUNS = sorted(path.parent for path in PUBLISHED.tier("short").glob("runs/cifar10-resnet18-adv_dpnp*/log.csv"))


def logged(run):
    """The run's config.json, and its log.csv as {column: [one value per epoch]}."""
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    return read_json(run / "config.json"), {key: [float(row[key]) for row in rows] for key in rows[0]}


def predicted(config, log, **changes):
    clean, adversarial = ([value / 100 for value in log[key]] for key in ("train_clean", "train_adv"))
    setting = replace(theory.setting_of(config), **changes)
    return theory.predict(setting, clean, adversarial, start=theory.start_of(config)).epochs


def gaps(rows, log, key="mean_sep"):
    return [abs(row[key] - value) for row, value in zip(rows, log[key], strict=True)]


def says(text: str, *sentences: str) -> None:
    """Each sentence is in the text, wherever its lines (or those of a quotation) break."""
    flat = re.sub(r"\s*\n(> )?\s*", " ", text)
    for sentence in sentences:
        assert sentence in flat


@pytest.fixture(scope="module")
def every():
    """{run: (config, log, theory's rows)} of every published log"""
    logs = {run.name: logged(run) for run in RUNS}
    return {name: (config, log, predicted(config, log)) for name, (config, log) in logs.items()}


@pytest.fixture(scope="module")
def followed(every):
    """{(setting, seed): (log, theory's rows)} of those with the printed pull."""
    found = {(theory.setting_of(config), config["seed"]): (log, rows) for config, log, rows in every.values()}
    return {key: value for key, value in found.items() if key[0].pull == "sum"}


@pytest.fixture(scope="module")
def at_the_papers_width():
    """{reading: row} of prototypes.compare at the accuracies of Table 1."""
    readings = {
        "sum": PAPER,
        "mean": replace(PAPER, pull="mean"),
        "norm": replace(PAPER, pull="norm"),
        "signed": replace(PAPER, last_relu=False),
        "features only": replace(PAPER, pull_prototypes=False),
    }
    return {row["reading"]: row for row in theory.compare(readings, *accuracies("cifar10"))}


def accuracies(dataset):
    return (papers(1, column, dataset) / 100 for column in ("clean", "pgd_linf"))


def papers(table, column, dataset="cifar10", method=OURS):
    return reported(table, dataset=dataset, backbone="resnet18", method=method, column=column)


def test_there_are_published_runs():
    assert len(RUNS) >= 8


@pytest.mark.parametrize("name", [run.name for run in RUNS])
def test_the_theory_is_within_3_degrees_of_every_published_log(every, name):
    config, log, rows = every[name]
    assert len(rows) == config["optim"]["epochs"]
    assert max(gaps(rows, log)) < 3
    assert max(gaps(rows, log, "min_sep")) < 3
    relative = [gap / norm for gap, norm in zip(gaps(rows, log, "center_norm_mean"), log["center_norm_mean"])]
    assert max(relative) < 0.05


def test_another_reading_does_not_fit_the_log():
    config, log = next(pair for pair in map(logged, RUNS) if theory.setting_of(pair[0]).pull == "sum")
    assert max(gaps(predicted(config, log, pull="mean"), log)) > 10  # degrees; its own reading stays within 3


def test_what_the_theory_makes_of_the_logs_is_what_the_prose_says(followed):
    printed, unlocked, signed = (
        followed[replace(SHORT, **changes), 0] for changes in ({}, {"lock_prototypes": False}, {"last_relu": False})
    )
    here, without, bare = (f"{rows[-1]['mean_sep']:.0f}" for _, rows in (printed, unlocked, signed))
    network = [f"{log['mean_sep'][-1]:.0f}" for log, _ in (printed, unlocked, signed)]
    log = printed[0]
    worst = max(max(gaps(rows, log)) for log, rows in followed.values())
    says(
        FINDINGS,
        f"MeanSep falls from {log['mean_sep'][0]:.0f} degrees after the first epoch to {network[0]} after the last",
        f"a network that is right on {log['train_clean'][-1]:.0f} % of its images",
        f"end at {here} degrees where the network has {network[0]} (seed 0), at {without} ({network[1]}) without the "
        f"lock and at {bare} ({network[2]}) without the last ReLU",
        f"the gap is at most {worst:.1f} degrees",
    )
    assert printed[1][-1]["negative_share"] == pytest.approx(1 / 3, abs=0.04)  # "a third of them are"


def test_how_the_pull_dominates_the_loss_is_what_the_log_says(followed):
    log, _ = followed[SHORT, 0]
    ratios = [
        0.1 * (log["pull_clean"][e] + log["pull_adv"][e]) / (log["ce_clean"][e] + log["ce_adv"][e]) for e in (0, -1)
    ]
    starts, ends = (round(log["pull_clean"][e], -1) for e in (0, -1))
    says(
        FINDINGS,
        f"starts near {starts:.0f} and ends near {ends:.0f}",
        f"{ratios[0]:.0f} times the two cross-entropies in the first epoch and {ratios[1]:.0f} times in the last",
    )


def test_what_the_theory_expects_at_the_papers_width_is_what_the_prose_says(at_the_papers_width):
    r = at_the_papers_width
    losses = [papers(6, f"loss_{steps}") for steps in (20, 40, 100, 250, 500)]
    mean, norm, signed = (
        f"{row['mean_sep']:.0f}, {row['scr_clean']:.{n}f}, {row['scr_adv']:.{n}f} and {row['loss_adv']:.{n}f}"
        for row, n in ((r["mean"], 2), (r["norm"], 2), (r["signed"], 1))
    )
    says(
        FINDINGS,
        f"ends at {r['sum']['mean_sep']:.0f} degrees, with an SCR of {r['sum']['scr_clean']:.1f} clean and "
        f"{r['sum']['scr_adv']:.1f} under attack and a cross-entropy under attack of {r['sum']['loss_adv']:.1f}",
        f"the paper has {papers(4, 'mean_sep'):.1f}, {papers(4, 'scr_clean'):.2f}, {papers(4, 'scr_adv') + 1e-9:.2f} "
        f"and {min(losses):.2f} to {max(losses):.2f}",
        f"averaged over the d coordinates it gives {mean}",
        f"with the norm not squared {norm}",
        f"Leaving the last ReLU out repairs the angles alone: {signed.replace(', ', ', but ', 1)}",
    )
    says(
        QUESTIONS,
        f"ends at {r['sum']['mean_sep']:.0f} degrees, SCR {r['sum']['scr_clean']:.1f} and {r['sum']['scr_adv']:.1f}",
        f"your Table 4 has {papers(4, 'mean_sep')}, {papers(4, 'scr_clean')} and {papers(4, 'scr_adv')}",
        f"the average gives {r['mean']['mean_sep']:.0f}, {r['mean']['scr_clean']:.2f} and {r['mean']['scr_adv']:.2f}",
        f"({r['signed']['mean_sep']:.0f} in the model), though not your SCR ({r['signed']['scr_clean']:.1f} there)",
        f"opens the angles to {r['features only']['mean_sep']:.0f} degrees in the model, though its cross-entropy "
        f"under attack is {r['features only']['loss_adv']:.1f} where your Table 6 has {min(losses):.2f} to "
        f"{max(losses):.2f}",
    )


def test_what_the_theory_expects_on_cifar100_is_what_the_prose_says():
    readings = {"sum": PAPER_100, "mean": replace(PAPER_100, pull="mean")}
    rows = theory.compare(readings, *accuracies("cifar100"), epochs=12, inputs=500)
    ours = [
        f"{row['mean_sep']:.0f}, {row['scr_clean']:.2f}, {row['scr_adv']:.2f} and {row['loss_adv']:.1f}" for row in rows
    ]
    losses = [papers(6, f"loss_{steps}", "cifar100") for steps in (20, 40, 100, 250, 500)]
    mean_sep, clean, adversarial = (papers(4, column, "cifar100") for column in ("mean_sep", "scr_clean", "scr_adv"))
    says(
        FINDINGS,
        f"On CIFAR-100 the printed pull gives {ours[0]}, the averaged one {ours[1]}, the paper has {mean_sep:.1f}, "
        f"{clean:.2f}, {adversarial:.2f} and {min(losses):.2f} to {max(losses):.2f}",
    )


def test_more_epochs_do_not_open_the_angles_and_accuracy_does():
    certain, uncertain, actual = (
        [row["mean_sep"] for row in theory.predict(PAPER, [accuracy] * 30, stride=8, inputs=200).epochs]
        for accuracy in (0.995, 0.4, papers(1, "clean") / 100)
    )
    for angles in (uncertain, actual):
        assert abs(angles[9] - angles[19]) < 1  # "stands still after about ten epochs"
    says(FINDINGS, f"to {certain[-1]:.0f} degrees at 99.5 %")
    assert max(certain[-1], uncertain[-1], actual[-1]) < 90


def test_the_misprint_of_at_he_is_what_the_questions_say():
    def distance(column):  # of a feature to its center, on the unit sphere: nearest chord over SCR
        chord = 2 * math.sin(math.radians(papers(4, "mean_sep", method="AT_HE")) / 2)
        return chord / papers(4, column, method="AT_HE")

    clean, angle = papers(4, "scr_clean", method="AT_HE"), papers(4, "mean_sep", method="AT_HE")
    says(
        QUESTIONS,
        f"{clean} in Table 4, a misprint?",
        f"beside a MeanSep of {angle} degrees it puts unit features at a mean distance of {distance('scr_clean'):.1f}",
        f"({papers(4, 'scr_adv', method='AT_HE')} gives {distance('scr_adv'):.2f})",
    )


def test_what_the_rivals_keep_in_float32_is_what_the_file_says():
    runs = read_json(PUBLISHED.root / "benchmarks" / "variants-float32.json", "runs")["runs"]

    def kept(method, attack):
        return runs[f"cifar10-resnet18-{method}-s0"]["evaluations"][attack]["accuracy"]

    attacks = ("clean", "pgd20", "cw30")
    trades, ours = ([f"{kept(method, attack):.1f}" for attack in attacks] for method in ("trades", "adv_dpnp"))
    lead = runs["cifar10-resnet18-trades-s0"]["minus_default"]
    clean, cw = lead["clean"], lead["cw30"]
    gaps = {method: kept(method, "pgd20") - kept(method, "cw30") for method in ("at", "trades", "adv_dpnp", "at_he")}
    says(
        FINDINGS,
        f"TRADES, trained again, has clean {trades[0]} %, PGD-20 {trades[1]} and C&W {trades[2]}, "
        f"where Adv-DPNP has {ours[0]}, {ours[1]} and {ours[2]}",
        f"{-clean['difference']:.1f} points behind clean [{clean['low']:.1f}, {clean['high']:.1f}] and "
        f"{cw['difference']:.1f} ahead under C&W [{cw['low']:.1f}, {cw['high']:.1f}]",
        "{at:.1f} points for AT, {trades:.1f} for TRADES, {adv_dpnp:.1f} for Adv-DPNP, {at_he:.1f} for AT_HE".format(
            **gaps
        ),
    )
    assert clean["low"] < 0 < clean["high"]
    assert cw["low"] < 0 < cw["high"]
