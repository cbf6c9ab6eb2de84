"""Which epoch's weights a training ends with: held-out images are attacked, the best is kept, also after a kill."""

import csv

import pytest
import torch

from advdpnp import train, validation
from advdpnp.attacks import pgd
from advdpnp.data import load, to_float
from advdpnp.evaluate import evaluate
from advdpnp.train import build_defense, fit, load_model, load_state, train_epoch

HELD_OUT = {"train_images": 100, "validation_images": 60}


def log(directory):
    with (directory / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def scores(monkeypatch):
    """The accuracies under attack that the epochs get, in their order: scores([20, 30, 25])."""

    def pretend(values):
        measured = iter(values)
        monkeypatch.setattr(
            train, "val_accuracies", lambda *args, **more: {"val_clean": 50.0, "val_adv": float(next(measured))}
        )

    return pretend


@pytest.mark.parametrize("method", ["AT", "Adv-DPNP", "OC"])
def test_the_log_holds_what_the_attack_leaves_of_the_held_out_images(tiny, tmp_path, method):
    more = {"data": {"train_images": 600, "validation_images": 60}, "craft": {"steps": 5}}
    fit(run := tiny(method, optim={"epochs": 4, "milestones": [3]}, **more), tmp_path)
    model, whole = load_model(run, tmp_path), load("digits", "train")
    x, y = to_float(whole.images[-60:]), whole.labels[-60:]
    craft = run.craft
    budget = {"epsilon": craft.epsilon, "step_size": craft.step_size, "steps": craft.steps, "norm": "linf"}
    with torch.no_grad():
        clean = (model(x).argmax(1) == y).float().mean()
        robust = (model(pgd(model, x, y, random_start=False, **budget)).argmax(1) == y).float().mean()
    last = log(tmp_path)[-1]
    assert float(last["val_clean"]) == pytest.approx(100 * float(clean))
    assert float(last["val_adv"]) == pytest.approx(100 * float(robust), abs=100 / 60)  # folded: an image may tip
    assert robust < clean


def test_batches_are_put_together(tiny, monkeypatch):
    data = load("digits", "train").subset(50)
    defense = build_defense(tiny("AT"))
    whole = validation.val_accuracies(defense, data.images, data.labels)
    monkeypatch.setattr(validation, "BATCH", 7)
    assert validation.val_accuracies(defense, data.images, data.labels) == pytest.approx(whole, abs=2)
    assert 0 < whole["val_clean"] <= 100


@pytest.mark.parametrize("method", ["AT", "Adv-DPNP", "PCL"])
def test_looking_changes_nothing(tiny, tmp_path, method):
    fit(tiny(method, data={"train_images": 100}), tmp_path / "unseen")
    fit(tiny(method, data=HELD_OUT), tmp_path / "seen")
    assert same(load_state(tmp_path / "unseen/model.pt"), load_state(tmp_path / "seen/model.pt"))
    assert "val_adv" not in log(tmp_path / "unseen")[0]


def test_the_best_epoch_is_kept(tiny, tmp_path, scores, monkeypatch):
    scores([20, 30, 30, 25])
    optim = {"epochs": 4, "milestones": [3]}
    done = fit(tiny(data=HELD_OUT, optim=optim | {"checkpoint": "best"}), tmp_path / "best")
    assert done["checkpoint"]["epoch"] == 1
    assert done["final"]["epoch"] == 3
    snapshots = []

    def watched(defense, *args):
        means = train_epoch(defense, *args)
        snapshots.append({name: value.clone() for name, value in defense.model.state_dict().items()})
        return means

    scores([20, 30, 30, 25])
    monkeypatch.setattr(train, "train_epoch", watched)
    fit(tiny(data=HELD_OUT, optim=optim), tmp_path / "last")
    best = load_state(tmp_path / "best/model.pt")
    assert same(best, snapshots[1])
    assert not same(best, snapshots[3])
    assert same(load_state(tmp_path / "last/model.pt"), snapshots[3])


def test_the_best_epoch_outlives_a_kill(tiny, tmp_path, scores, monkeypatch):
    run = tiny(data=HELD_OUT, optim={"epochs": 4, "milestones": [3], "checkpoint": "best"})
    scores([20, 30, 10, 25])
    whole = fit(run, tmp_path / "whole")

    def killed(*args):
        if args[4] == 2:
            raise KeyboardInterrupt
        return train_epoch(*args)

    scores([20, 30])
    with monkeypatch.context() as patch:
        patch.setattr(train, "train_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(run, tmp_path / "killed")
    scores([10, 25])
    again = fit(run, tmp_path / "killed")
    assert again["model_sha256"] == whole["model_sha256"]
    assert again["checkpoint"]["epoch"] == 1
    assert [row["val_adv"] for row in log(tmp_path / "killed")] == ["20.0", "30.0", "10.0", "25.0"]


def test_a_best_network_is_another_run_and_can_be_evaluated(tiny):
    best = tiny("AT", data=HELD_OUT, optim={"checkpoint": "best"})
    last = tiny("AT", data=HELD_OUT)
    assert "checkpoint" not in last.training_settings()["optim"]  # older records stay valid
    assert best.training_settings()["optim"]["checkpoint"] == "best"
    fit(best, restart=True)
    assert evaluate(best, "clean")["clean"]["accuracy"] > 0
