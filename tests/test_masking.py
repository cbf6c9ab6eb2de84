"""The guard against evaluations that flatter: each check catches a model built to cheat, and honest models pass.

A cheater is an honest network behind a layer that hides its gradient or rolls dice; it is as easily fooled as before.
The networks that cheat have two layers: on a ResNet-18 the same probes take twenty times as long.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from doubles import mlp
from torch import nn

from advdpnp import data
from advdpnp.__main__ import main
from advdpnp.config import AttackConfig, load_tier
from advdpnp.evaluate import evaluate, masking, resolved_attack
from advdpnp.evaluate.masking import CHECKS, LEVEL, check_attack_order, check_probes, mcnemar_p, run_probes
from advdpnp.report import page
from advdpnp.store import RESULTS, read_json
from advdpnp.train import fit, load_model

PGD = AttackConfig(epsilon=32 / 255, step_size=4 / 255)
LONGER = {"optim": {"epochs": 8}, "data": {"train_images": 600}}


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory):
    """{method: where its network was trained}"""
    found = {method: tmp_path_factory.mktemp(method) for method in ("ST", "AT")}
    for method, folder in found.items():
        fit(tiny(method, **LONGER), folder)
    return found


@pytest.fixture(scope="module")
def models(tiny, folders):
    """{method: trained network}, in eval mode."""
    return {method: load_model(tiny(method, **LONGER), folder) for method, folder in folders.items()}


@pytest.fixture(scope="module")
def probed(models, images):
    """{method: what the probes found}; ST has no other model to be attacked through."""
    return {"ST": run_probes(models["ST"], *images, PGD), "AT": run_probes(models["AT"], *images, PGD, models["ST"])}


@pytest.fixture(scope="module")
def bare():
    """The network of the cheaters, trained on clean images."""
    return mlp()


@pytest.fixture(scope="module")
def images():
    test = data.load("digits", "test").subset(100)
    return data.to_float(test.images), test.labels


class Behind(nn.Module):
    """A network behind `before` (of the images) and `after` (of the logits)."""

    def __init__(self, model, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.model, self.before, self.after = model, before, after

    def forward(self, x):
        return self.after(self.model(self.before(x)))


def warnings(found):
    return {check.name for check in check_probes(found) if check.ok is False}


# --- Honest models pass


@pytest.mark.parametrize("method", ["ST", "AT"])
def test_an_honest_model_gets_no_warning(probed, method):
    found = {check.name: check for check in check_probes(probed[method])}
    assert not warnings(probed[method])
    assert found["transfer"].ok is (True if method == "AT" else None)
    assert set(found) == set(CHECKS) - {"order", "autoattack", "budget", "gap"}


def test_the_network_of_the_cheaters_is_an_honest_one(bare, images):
    assert not warnings(run_probes(Behind(bare), *images, PGD, bare))


def test_probing_repeats_and_leaves_the_model_as_it_was(models, images, probed):
    model = models["AT"].train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    again = run_probes(model, *images, PGD, models["ST"])
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert again.keys() == probed["AT"].keys()
    assert all(np.array_equal(again[name], value) for name, value in probed["AT"].items())
    model.eval()


# --- Cheaters are caught


def staircase(x):
    return (4 * x).round() / 4


def shattered(x):
    """Nearly the image itself, with a slope that is all noise."""
    return x + 0.02 * torch.sin(1e5 * x)


CHEATERS = {
    "stochastic": (Behind, {"before": lambda x: x + 0.1 * torch.randn_like(x)}, {"deterministic"}),
    "stochastic logits": (Behind, {"after": lambda z: z + torch.randn_like(z)}, {"deterministic"}),
    "quantised": (Behind, {"before": staircase}, {"gradient", "black box", "large epsilon", "transfer"}),
    "cut off": (Behind, {"before": lambda x: x.detach()}, {"gradient", "black box", "large epsilon", "transfer"}),
    "saturated": (Behind, {"after": lambda z: 1e5 * z}, {"gradient", "saturation", "black box", "transfer"}),
    "shattered": (Behind, {"before": shattered}, {"black box", "large epsilon", "transfer"}),
}


@pytest.mark.parametrize(("cheat", "layers", "wanted"), CHEATERS.values(), ids=CHEATERS)
def test_a_cheater_is_caught(bare, images, cheat, layers, wanted):
    torch.manual_seed(0)
    assert wanted <= warnings(run_probes(cheat(bare, **layers), *images, PGD, bare))


def test_half_a_mask_is_caught_too(bare, images):
    """Only images that the network is sure of are masked."""

    def sure(z):
        return torch.where(z.topk(2).values.diff().abs() > 3, 1e4, 1.0) * z

    assert "gradient" in warnings(run_probes(Behind(bare, after=sure), *images, PGD))


# --- Paired comparison


@pytest.mark.parametrize(
    ("lost", "won", "p"), [(0, 0, 1), (1, 0, 0.5), (10, 0, 2**-10), (1, 1, 0.75), (2, 8, 1 - 11 / 1024)]
)
def test_surprise_is_the_exact_binomial_tail(lost, won, p):
    stronger = np.array([True] * lost + [False] * won + [True, False])
    weaker = np.array([False] * lost + [True] * won + [True, False])
    assert mcnemar_p(weaker, stronger) == pytest.approx(p)


def test_surprise_agrees_with_scipy():
    from scipy.stats import binomtest

    rng = np.random.default_rng(0)
    weaker, stronger = rng.random((2, 1000)) < 0.5
    lost, won = (stronger & ~weaker).sum(), (weaker & ~stronger).sum()
    expected = binomtest(int(lost), int(lost + won), alternative="greater").pvalue
    assert mcnemar_p(weaker, stronger) == pytest.approx(expected)


def test_equal_models_rarely_warn():
    """Two attacks of the same strength, 2,000 times: about LEVEL of them warn."""
    rng = np.random.default_rng(1)
    flags = rng.random((2000, 2, 200)) < 0.4
    assert sum(mcnemar_p(*pair) < LEVEL for pair in flags) <= 8  # Poisson(2) exceeds it once in 4,000


# --- The order of stored evaluations


def some(right, n=1000):
    return np.arange(n) < right


HONEST = {
    "clean": some(800), "fgsm": some(600), "pgd20": some(500), "pgd100": some(495), "aa": some(460),
    "ensemble": some(470),
}  # fmt: skip


def test_an_honest_order_passes():
    assert [(check.name, check.ok) for check in check_attack_order(HONEST)] == [("order", True), ("autoattack", True)]


@pytest.mark.parametrize(
    ("name", "right", "check"),
    [
        ("fgsm", 850, "order"),
        ("pgd20", 650, "order"),
        ("pgd100", 540, "order"),
        ("ensemble", 520, "order"),
        ("aa", 520, "autoattack"),
    ],
)
def test_a_stronger_attack_that_is_beaten_warns(name, right, check):
    assert [c.name for c in check_attack_order(HONEST | {name: some(right)}) if not c.ok] == [check]


def test_a_beaten_attack_is_no_warning_within_noise():
    rng = np.random.default_rng(2)
    noisy = some(500) ^ (rng.random(1000) < 0.02)  # about twenty images fall either way
    assert all(check.ok for check in check_attack_order(HONEST | {"pgd100": noisy, "ensemble": None}))


def test_only_images_that_both_attacked_are_compared():
    """AutoAttack on the first 100 images, which are easy ones: 100 % there is not above PGD's 100 %."""
    assert check_attack_order(HONEST | {"aa": some(100, n=100)})[1].ok


def test_what_was_not_run_is_not_checked():
    assert [check.ok for check in check_attack_order({"clean": some(9)})] == [None, None]
    chain = check_attack_order({"clean": some(800), "pgd20": some(500), "aa": some(700)})
    assert [check.ok for check in chain] == [True, False]  # PGD-20 stands in for PGD-100


# --- With an evaluation, and in the report


def test_the_guard_is_an_evaluation_with_a_transfer_once_st_is_there(tiny, folders, capsys):
    whole = {"evaluation": {"batch_size": 60}}  # all its images at once
    run, standard = tiny("AT", **LONGER, **whole), tiny("ST", **LONGER, **whole)
    shutil.copytree(folders["AT"], RESULTS.run(run))
    checks = {check["name"]: check for check in evaluate(run, "guard")["guard"]["checks"]}
    assert checks["transfer"]["ok"] is None
    shutil.copytree(folders["ST"], RESULTS.run(standard))
    found = evaluate(run, "guard")["guard"]
    assert {check["name"]: check["ok"] for check in found["checks"]}["transfer"] is True
    assert found == read_json(RESULTS.evaluation(run, "guard")) == evaluate(run, "guard")["guard"]
    assert found["white_box"] == "pgd20"
    assert resolved_attack(run, "pgd20").epsilon == pytest.approx(32 / 255)


def test_the_report_shows_every_run_and_each_warning():
    root, tier = RESULTS.tier("demo"), load_tier("demo")
    for run, fgsm in (("digits-resnet18-at-s0", 600), ("digits-resnet18-trades-s0", 850)):
        folder = root / "evals" / run
        folder.mkdir(parents=True)
        for name, right in (("clean", 800), ("fgsm", fgsm)):
            np.savez(folder / f"{name}.npz", correct=some(right))
        bad = masking.Check("deterministic", run.endswith("at-s0"), "7 of 100 images get other logits when asked again")
        (folder / "guard.json").write_text(json.dumps({"images": 100, "seconds": 1.0, "checks": [vars(bad)]}))
    text = page.trust_markdown(tier)
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| digits")}
    assert rows["digits-resnet18-at-s0"].count(" ok ") == 2
    assert rows["digits-resnet18-trades-s0"].count("**warning**") == 2
    assert "- digits-resnet18-trades-s0: the forward pass is random" in text
    assert "fgsm leaves 85 %, clean 80 %" in text
    assert "digits-resnet18-at-s0: " not in text


def test_the_command_line_says_a_warning(tiny, monkeypatch, capsys):
    check = {"name": "black box", "ok": False, "detail": "Square is stronger"}
    found = {"guard": {"checks": [check], "images": 100, "key": "k"}}
    monkeypatch.setattr("advdpnp.evaluate.evaluate", lambda *args, **options: found)
    assert main(["evaluate", "digits-resnet18-at-s0", "guard"]) == 0
    assert "warning: black box, Square is stronger" in capsys.readouterr().out
