"""Shared by all tests: results go to a temporary folder, and one tiny training on real 8x8 digits."""

import pytest

from advdpnp.config import METHODS, parse_tier
from advdpnp.defenses import DEFENSES

TINY = {
    "data": {"train_images": 64},
    "model": {"width": 4},
    "optim": {"epochs": 2, "batch_size": 32, "lr": 0.05, "milestones": [], "precision": "fp32"},
    "craft": {"epsilon": "32/255", "step_size": "16/255", "steps": 2},
    "adv_dpnp": {"radius": 10},
    "evaluation": {"test_images": 60, "batch_size": 20, "budget_scale": 4},
}


@pytest.fixture(autouse=True)
def _results_elsewhere(monkeypatch, tmp_path):
    """No test writes to the checkout's results/."""
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path / "results"))


@pytest.fixture(autouse=True)
def _methods_stay():
    """A method that a test enters, as exercise 9 does, is gone after it."""
    before = [(table, dict(table)) for table in (METHODS, DEFENSES)]
    yield
    for table, rows in before:
        table.clear()
        table.update(rows)


@pytest.fixture
def ten_steps(monkeypatch):
    """AutoAttack's components but Square, each a tenth as long: for tests of what is done with them."""
    pyautoattack = pytest.importorskip("pyautoattack")
    whole = pyautoattack.AutoAttack.__init__

    def short(self, *arguments, **options):
        whole(self, *arguments, **options)
        for attack in (self.apgd, self.apgd_targeted, self.fab):
            attack.n_iter = 10

    monkeypatch.setattr(pyautoattack.AutoAttack, "__init__", short)


@pytest.fixture(scope="session")
def tiny():
    """tiny("AT", seed=1, optim={"epochs": 3}) -> a RunConfig that trains in a fraction of a second."""

    def run(method="Adv-DPNP", seed=0, attacks=None, block="cifar10/resnet18", **changes):
        defaults = {key: TINY.get(key, {}) | changes.get(key, {}) for key in TINY | changes}
        raw = {"label": "tiny", "defaults": defaults, "attacks": attacks, "blocks": {block: {"dataset": "digits"}}}
        return parse_tier("tiny", raw, "tiny.toml").run(block, method, seed)

    return run
