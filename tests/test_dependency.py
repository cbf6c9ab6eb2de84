"""The run that another one depends on: HAT's helper and the guard's surrogate are the plain ST run, variant or not."""

from dataclasses import asdict

import pytest

from advdpnp import evaluate, notebook, train
from advdpnp.config import dependency, digest, load_tier, parse_tier, resolve, standard_of, with_dependencies
from advdpnp.errors import UserError
from advdpnp.paper import artefacts
from advdpnp.store import RESULTS, write_json

VARIANTS = [(name, variant) for name in ("demo", "short", "medium", "paper") for variant in load_tier(name).variants]
SMALL = {"train_images": 128}


def tier():
    blocks = {"cifar10/resnet18": {"dataset": "digits", "optim": {"epochs": 1, "milestones": []}}}
    variants = {
        "signed": {"model": {"last_relu": False}},
        "long": {"optim": {"epochs": 2}, "data": {"train_images": 64}},
    }
    defaults = {"data": SMALL, "model": {"width": 4}}
    return parse_tier("t", {"label": "t", "defaults": defaults, "blocks": blocks, "variants": variants}, "t")


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_the_surrogate_of_a_variant_is_the_tiers_own_standard_run(name, variant):
    tier = load_tier(name)
    for block in tier.blocks:
        other = standard_of(tier.run(block, "Adv-DPNP", 1, variant))
        own = tier.run(block, "ST", 1)
        assert (other.id, asdict(other)) == (own.id, asdict(own))
        assert digest(other.training_settings()) == digest(own.training_settings())


@pytest.mark.parametrize("variant", ["", "signed", "long"])
def test_hat_needs_the_plain_standard_run_of_its_seed(variant):
    needed = dependency(tier().run("cifar10/resnet18", "HAT", 3, variant))
    assert needed == tier().run("cifar10/resnet18", "ST", 3)
    assert needed.id == "digits-resnet18-st-s3"
    assert (needed.model.last_relu, needed.optim.epochs, needed.data.train_images) == (True, 1, 128)


def test_only_hat_depends_on_another_run_and_st_has_no_surrogate():
    t = tier()
    needs = {method: dependency(t.run("cifar10/resnet18", method)) for method in t.methods}
    assert {method for method, needed in needs.items() if needed} == {"HAT"}
    assert standard_of(t.run("cifar10/resnet18", "ST", 0, "signed")) is None


def test_a_run_comes_after_the_one_it_needs_and_each_once():
    t = tier()
    hat, st = t.run("cifar10/resnet18", "HAT"), t.run("cifar10/resnet18", "ST")
    signed = t.run("cifar10/resnet18", "HAT", 0, "signed")
    assert [run.id for run in with_dependencies([hat, signed, st, hat])] == [st.id, hat.id, signed.id]
    assert {run.id for run in with_dependencies([st])} == {st.id}


def test_the_settings_of_a_run_do_not_hold_what_its_dependency_is_made_of():
    run = load_tier("short").run("cifar10/resnet18", "Adv-DPNP", 0, "signed")
    assert "plain" not in run.training_settings()
    assert "plain" not in repr(run)


def test_hat_under_a_variant_is_trained_beside_the_plain_standard_run(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    hat = tier().run("cifar10/resnet18", "HAT", 0, "signed")
    with pytest.raises(UserError, match=r"^digits-resnet18-hat.signed-s0 needs the trained digits-resnet18-st-s0;"):
        train.fit(hat, device="cpu")
    train.fit(dependency(hat), device="cpu")
    train.fit(hat, device="cpu")
    assert (RESULTS.run(hat) / "model.pt").exists()


def test_the_guard_of_a_variant_transfers_from_the_trained_standard_run(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    short = load_tier("short")
    signed, st = resolve(short, "cifar10-resnet18-adv_dpnp.signed-s0"), resolve(short, "cifar10-resnet18-st-s0")
    assert evaluate._transfer_source(signed) is None  # nothing trained yet
    write_json(RESULTS.trained(st), {"settings_digest": digest(st.training_settings())})
    assert evaluate._transfer_source(signed) is None  # brought back without its weights
    (RESULTS.run(st) / "model.pt").touch()
    assert evaluate._transfer_source(signed) == st


def test_the_dependency_is_resolved_in_one_place():
    assert {id(m.dependency) for m in (train, notebook)} == {id(dependency)}
    assert evaluate.standard_of is standard_of
    runs = artefacts.all_runs(load_tier("paper"))
    order, needs = [*runs], {run.id: dependency(run).id for run in runs.values() if dependency(run)}
    assert needs
    assert all(order.index(needed) < order.index(run) for run, needed in needs.items())
