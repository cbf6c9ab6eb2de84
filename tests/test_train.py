"""Training on real 8x8 digits: same seed same weights, stopped or not; what is refused; what Algorithm 1 asks."""

import csv
import json
import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from advdpnp import checkpoints, data, train
from advdpnp.config import digest, load_tier
from advdpnp.data import to_float
from advdpnp.defenses import DEFENSES
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate
from advdpnp.hardware import pick_device, pick_precision, require_hardware, seeded
from advdpnp.store import RESULTS, locked, machines, provenance
from advdpnp.train import (
    build_defense,
    build_optimizer,
    fit,
    load_model,
    load_state,
    lr_factor,
    train_epoch,
    training_data,
)


def weights(directory):
    return load_state(directory / "model.pt")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def log(directory):
    with (directory / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def untimed_log(directory):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in log(directory)]


def stopped(run, directory, monkeypatch, epoch=1):
    """Train until `epoch` has run, and be killed before it is saved."""

    def killed(*args):
        result = train_epoch(*args)
        if args[4] == epoch:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch:
        patch.setattr(train, "train_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(run, directory)


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """A finished training of Adv-DPNP; tests copy what they change."""
    directory = tmp_path_factory.mktemp("finished")
    fit(tiny(), directory)
    return directory


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


# --- Same seed, same weights


@pytest.mark.parametrize("method", ["ST", "AT", "Adv-DPNP"])
def test_the_same_seed_gives_the_same_weights(tiny, tmp_path, method):
    torch.manual_seed(1)
    one = fit(tiny(method), tmp_path / "one")
    torch.manual_seed(2)
    other = fit(tiny(method), tmp_path / "other")
    assert same(weights(tmp_path / "one"), weights(tmp_path / "other"))
    assert one["model_sha256"] == other["model_sha256"]
    fit(tiny(method, seed=1), tmp_path / "third")
    assert not same(weights(tmp_path / "one"), weights(tmp_path / "third"))


@pytest.mark.parametrize(
    ("method", "precision"),
    [("ST", "fp32"), ("AT", "fp32"), ("PCL", "fp32"), ("IKL", "fp32"), ("Adv-DPNP", "fp32"), ("Adv-DPNP", "bf16")],
)
def test_a_training_that_was_killed_ends_in_the_same_weights(tiny, tmp_path, monkeypatch, method, precision):
    run = tiny(method, optim={"epochs": 3, "milestones": [2], "precision": precision}, pcl={"warmup_epochs": 1})
    fit(run, tmp_path / "through")
    stopped(run, tmp_path / "stopped", monkeypatch)
    assert not (tmp_path / "stopped" / "train.json").exists()
    assert len(log(tmp_path / "stopped")) == 1
    done = fit(run, tmp_path / "stopped")
    assert done["precision"] == precision
    assert same(weights(tmp_path / "through"), weights(tmp_path / "stopped"))
    assert untimed_log(tmp_path / "through") == untimed_log(tmp_path / "stopped")


@pytest.fixture
def threads():
    """Sets torch's threads; as before afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


WIDER = {"model": {"width": 8}, "optim": {"epochs": 2, "batch_size": 64, "precision": "fp32", "milestones": []},
         "data": {"train_images": 128}}  # fmt: skip


def test_case_02_a_training_goes_on_with_the_threads_it_was_begun_with(tiny, tmp_path, threads, capsys):
    run = tiny("AT", **WIDER)
    threads(2)
    fit(run, tmp_path / "two")
    threads(1)
    alone = fit(run, tmp_path / "one")
    assert fit(run, tmp_path / "parts", max_minutes=1e-9) is None  # an epoch
    threads(2)
    capsys.readouterr()
    done = fit(run, tmp_path / "parts")
    assert torch.get_num_threads() == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "goes on" in line]
    assert said == [f"{run.id}: goes on from epoch 1 with 1 threads as begun, not 2"]
    assert same(weights(tmp_path / "one"), weights(tmp_path / "parts"))
    assert not same(weights(tmp_path / "two"), weights(tmp_path / "parts"))  # threads are part of the bits
    assert (done["threads"], alone["threads"]) == (1, 1)
    assert done["provenance"]["device"].endswith(", 1 threads")
    assert "provenances" not in done


def changed_state(directory, change):
    """last.pt with another record of how its epochs were made."""
    state = load_state(directory / "last.pt")
    train.save_torch(directory / "last.pt", state | {"provenance": json.dumps(change(json.loads(state["provenance"])))})


def test_a_state_from_before_threads_were_kept_goes_on_too(tiny, tmp_path, threads, capsys):
    run = tiny("AT", **WIDER)
    threads(1)
    fit(run, tmp_path / "through")
    fit(run, tmp_path / "parts", max_minutes=1e-9)
    changed_state(tmp_path / "parts", lambda made: checkpoints.provenance_of(made[0]))  # a place alone, as it was
    threads(2)
    done = fit(run, tmp_path / "parts")
    assert "1 threads as begun, not 2" in capsys.readouterr().err  # told by the device's name
    assert same(weights(tmp_path / "through"), weights(tmp_path / "parts"))
    assert (done["threads"], "provenances" in done) == (1, False)


def test_case_02_a_training_goes_on_in_its_precision(tiny, tmp_path, monkeypatch, capsys):
    """Begun on a machine that multiplies bfloat16, gone on with on one that does not."""
    run = tiny("AT", optim={"epochs": 2, "precision": "auto"})
    monkeypatch.setattr(train, "pick_precision", lambda requested, device: "bf16")
    fit(run, tmp_path / "through")
    fit(run, tmp_path / "parts", max_minutes=1e-9)
    monkeypatch.setattr(train, "pick_precision", lambda requested, device: "fp32")
    done = fit(run, tmp_path / "parts")
    assert "goes on from epoch 1 with bf16 as begun, not fp32" in capsys.readouterr().err
    assert done["precision"] == "bf16"
    assert same(weights(tmp_path / "through"), weights(tmp_path / "parts"))


def test_case_02_other_training_images_than_the_first_epoch_s_are_refused(tiny, tmp_path, monkeypatch):
    run = tiny("AT")
    fit(run, tmp_path, max_minutes=1e-9)
    real = data.load("digits", "train")
    shuffled = replace(real, images=real.images.flip(0), labels=real.labels.flip(0))
    with monkeypatch.context() as patch:
        patch.setattr(train, "load", lambda *_: shuffled)
        with pytest.raises(UserError, match=r"was begun on other training images .* ADVDPNP_DATA .* --restart"):
            fit(run, tmp_path)
        assert not (tmp_path / "train.json").exists()
        assert fit(run, tmp_path / "other")["data_sha256"] != real.subset(64).sha256
    assert fit(run, tmp_path)["data_sha256"] == real.subset(64).sha256


def test_case_02_every_place_that_took_part_is_told(tiny, tmp_path, capsys):
    run = tiny("AT", optim={"epochs": 3})
    fit(run, tmp_path, max_minutes=1e-9)
    changed_state(tmp_path, lambda made: [made[0] | {"device": "another CPU, 1 threads", "torch": "2.0.0"}])
    done = fit(run, tmp_path)
    assert "goes on from epoch 1 with device another CPU, 1 threads -> " in capsys.readouterr().err
    assert [one["from_epoch"] for one in done["provenances"]] == [0, 1]
    assert [one["torch"] for one in done["provenances"]] == ["2.0.0", provenance("cpu")["torch"]]
    assert checkpoints.provenance_of(done["provenances"][1]) == done["provenance"]
    shown = machines(done)
    assert shown.startswith("another CPU, 1 threads; from epoch 1 on ")
    assert machines({"provenance": {"device": "a CPU"}}) == "a CPU"


def test_time_that_is_up_stops_between_two_epochs(tiny, tmp_path, capsys):
    run = tiny("ST")
    fit(run, tmp_path / "through")
    assert fit(run, tmp_path / "parts", max_minutes=1e-9) is None
    assert "1 of 2 epochs; call again" in capsys.readouterr().err
    assert not (tmp_path / "parts" / "train.json").exists()
    assert fit(run, tmp_path / "parts", max_minutes=10)["final"]["epoch"] == 1
    assert same(weights(tmp_path / "through"), weights(tmp_path / "parts"))


def test_a_finished_training_is_not_trained_again(tiny, copy, monkeypatch):
    before = weights(copy)
    monkeypatch.setattr(train, "train_epoch", lambda *args: pytest.fail("trained again"))
    fit(tiny(), copy)
    assert same(before, weights(copy))


def test_restart_forgets_what_was_trained(tiny, copy):
    run = tiny(optim={"epochs": 1})
    assert fit(run, copy, restart=True)["final"]["epoch"] == 0
    assert len(log(copy)) == 1


def test_restart_leaves_no_log_of_epochs_that_are_gone(tiny, copy, monkeypatch):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny(), copy, restart=True)
    assert not (copy / "log.csv").exists(), "status would count its epochs"


def test_training_leaves_the_global_random_state_alone(tiny, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit(tiny(), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_depend_on_their_key_alone():
    drawn = []
    for key in ((0, 1), (0, 1), (1, 0), (0, -1)):
        torch.rand(3)
        with seeded(torch.device("cpu"), *key) as generator:
            drawn.append((torch.rand(1).item(), torch.rand(1, generator=generator).item()))
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


# --- What is written


def test_the_log_has_a_row_an_epoch(tiny, finished):
    rows = log(finished)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert list(rows[0]) == [
        *("epoch", "lr", "seconds", "loss", "ce_clean", "ce_adv", "pull_clean", "pull_adv", "dfa", "dnp"),
        *("train_clean", "train_adv"),
        *("center_norm_min", "center_norm_mean", "center_norm_max", "mean_sep", "min_sep"),
    ]
    for row in rows:
        assert 0 <= float(row["train_adv"]) <= 100
        # Eq. (7) holds for the means of its terms too
        value = {k: float(v) for k, v in row.items()}
        pulls = 0.1 * (value["pull_clean"] + value["pull_adv"])
        branches = value["ce_clean"] + value["ce_adv"] + pulls + 2 * value["dfa"]
        assert value["loss"] == pytest.approx(0.1 * value["dnp"] + branches / 2, rel=1e-5)


def test_train_json_says_what_was_trained_on_what(tiny, finished):
    run, done = tiny(), json.loads((finished / "train.json").read_text())
    assert done["run"] == "digits-resnet18-adv_dpnp-s0"
    assert done["settings_digest"] == digest(run.training_settings())
    assert json.loads((finished / "config.json").read_text()) == run.training_settings()
    assert (done["train_images"], done["precision"], done["final"]["epoch"]) == (64, "fp32", 1)
    assert done["data_sha256"] == data.load("digits", "train").subset(64).sha256
    assert done["parameters"] == sum(p.numel() for p in load_model(run, finished).parameters())


def test_the_loaded_model_is_ready_for_attacks(tiny, finished):
    model = load_model(tiny(), finished)
    assert not any(module.training for module in model.modules())
    assert same(dict(model.state_dict()), weights(finished))


def test_loss_falls(tiny, tmp_path):
    fit(tiny("ST", optim={"epochs": 8}), tmp_path)
    losses = [float(row["loss"]) for row in log(tmp_path)]
    assert losses[-1] < losses[0] / 2
    assert float(log(tmp_path)[-1]["train_clean"]) > 60  # 10 classes


# --- Which images


@pytest.mark.parametrize("method", DEFENSES)
def test_test_images_never_influence_training(tiny, monkeypatch, method):
    """Whoever opens the test split while a network is trained, or chosen, stops here: no method does."""
    read = data.read_digits

    def without_test(split):
        assert split == "train", "the test images were opened"
        return read(split)

    monkeypatch.setattr(data, "read_digits", without_test)
    if method == "HAT":
        fit(tiny("ST"))
    run = tiny(method)
    assert fit(run)["final"]["epoch"] == run.optim.epochs - 1
    with pytest.raises(AssertionError):
        evaluate(run, "clean")  # the trap is set where evaluation reads


def test_other_test_images_change_the_numbers_and_not_the_network(tiny, monkeypatch):
    """Selection: the network that is evaluated is the last epoch's, whatever the test set says."""
    run, real = tiny("AT", optim={"epochs": 6}, data={"train_images": 300}), data.read_digits
    one = fit(run)
    honest = evaluate(run, "clean", "pgd20")

    def with_wrong_labels(split):
        images, labels = real(split)
        return images, (labels + 1) % 10 if split == "test" else labels

    monkeypatch.setattr(data, "read_digits", with_wrong_labels)
    other = evaluate(run, "clean", "pgd20")
    assert other["clean"]["accuracy"] < honest["clean"]["accuracy"]
    again = fit(run, restart=True)
    assert again["model_sha256"] == one["model_sha256"] == other["clean"]["model_sha256"]
    assert other["pgd20"]["model_sha256"] == honest["pgd20"]["model_sha256"]
    assert again["final"]["epoch"] == run.optim.epochs - 1


def test_progress_names_the_epoch_and_the_last_loss(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "Progress", partial(train.Progress, log_every=0))
    fit(tiny("AT", optim={"epochs": 2}), tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert any(line.endswith(" left, epoch 1 of 2") for line in lines)
    assert any(f" left, epoch 2 of 2, loss {float(log(tmp_path)[0]['loss']):.4g}" in line for line in lines)


def test_validation_images_are_held_out(tiny, tmp_path, monkeypatch):
    run = tiny("ST", data={"train_images": 0, "validation_images": 1_437 - 40})
    whole = data.load("digits", "train")
    assert torch.equal(training_data(run).images, whole.images[:40])
    poison = whole.labels.clone()
    poison[40:] = 10**6  # no such class: cross-entropy would raise
    monkeypatch.setattr(train, "load", lambda *_: replace(whole, labels=poison))
    assert fit(run, tmp_path)["train_images"] == 40


def test_every_training_image_is_seen_once_an_epoch(tiny, tmp_path, monkeypatch):
    seen, loss = [], DEFENSES["ST"].loss

    def watched(self, x, x_adv, y):
        seen.append(x.clone())
        return loss(self, x, x_adv, y)

    monkeypatch.setattr(DEFENSES["ST"], "loss", watched)
    fit(tiny("ST", optim={"epochs": 2}, data={"train_images": 50}), tmp_path)  # batches of 32 and 18
    assert [len(x) for x in seen] == [32, 18, 32, 18]
    expected = data.to_float(data.load("digits", "train").images[:50]).flatten(1)
    epochs = [torch.cat(seen[:2]).flatten(1), torch.cat(seen[2:]).flatten(1)]
    for images in epochs:
        assert sorted(images.tolist()) == sorted(expected.tolist())
    assert not torch.equal(*epochs)  # in another order


# --- Schedule


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (99, 1), (100, 0.1), (104, 0.1), (105, 0.01), (109, 0.01)])
def test_the_learning_rate_falls_at_epochs_100_and_105(epoch, factor):
    run = load_tier("paper").run("cifar10/resnet18", "AT")
    assert lr_factor(run, epoch, 0, 391) == lr_factor(run, epoch, 390, 391) == pytest.approx(factor)


def test_warm_up_rises_linearly_to_the_full_rate(tiny):
    run = tiny(optim={"epochs": 4, "warmup_epochs": 2})
    factors = [lr_factor(run, epoch, step, 2) for epoch in range(3) for step in range(2)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_the_rate_of_each_epoch_is_logged(tiny, tmp_path):
    fit(tiny("ST", optim={"epochs": 3, "milestones": [1, 2]}), tmp_path)
    assert [float(row["lr"]) for row in log(tmp_path)] == pytest.approx([0.05, 0.005, 0.0005])


def test_epsilon_warm_up_scales_the_budget(tiny, tmp_path, monkeypatch):
    budgets, craft = [], DEFENSES["AT"].craft

    def watched(self, x, y, *, budget, generator):
        budgets.append(budget)
        return craft(self, x, y, budget=budget, generator=generator)

    monkeypatch.setattr(DEFENSES["AT"], "craft", watched)
    fit(tiny("AT", optim={"epochs": 3}, craft={"epsilon_warmup_epochs": 2}), tmp_path)
    assert budgets == [0, 0.25, 0.5, 0.75, 1, 1]  # two steps per epoch, from nothing to all in two epochs


# --- Prototypes (Algorithm 1, ledger 4 and 5)


def norms_at_epoch_starts(run, directory, monkeypatch):
    norms = []

    def watched(defense, *args):
        norms.append(defense.model.centers.detach().norm(dim=1))
        return train_epoch(defense, *args)

    monkeypatch.setattr(train, "train_epoch", watched)
    fit(run, directory)
    return torch.stack(norms)


def test_norms_return_to_the_radius_at_the_start_of_each_epoch(tiny, tmp_path, monkeypatch):
    norms = norms_at_epoch_starts(tiny(), tmp_path, monkeypatch)
    assert torch.allclose(norms, torch.full((2, 10), 10.0), rtol=1e-6)
    assert all(float(row["center_norm_min"]) < 9.999 for row in log(tmp_path))  # they drift inside an epoch


def test_norms_may_drift_for_good(tiny, tmp_path, monkeypatch):
    norms = norms_at_epoch_starts(tiny(adv_dpnp={"radius": 10, "renormalise": "never"}), tmp_path, monkeypatch)
    assert torch.allclose(norms[0], torch.full((10,), 10.0), rtol=1e-6)
    assert norms[1].min() < 9.999


def test_norms_may_be_kept_at_every_step(tiny, tmp_path):
    fit(tiny(adv_dpnp={"radius": 10, "renormalise": "step"}), tmp_path)
    for row in log(tmp_path):
        assert [float(row[f"center_norm_{k}"]) for k in ("min", "mean", "max")] == pytest.approx([10.0] * 3, rel=1e-6)


def test_norms_may_return_to_the_radius_after_training(tiny, tmp_path):
    run = tiny(adv_dpnp={"radius": 10, "renormalise_at_test": True})
    fit(run, tmp_path)
    assert load_model(run, tmp_path).centers.norm(dim=1).tolist() == pytest.approx([10.0] * 10, rel=1e-6)
    assert float(log(tmp_path)[-1]["center_norm_min"]) < 9.999


def test_weight_decay_acts_on_everything_unless_prototypes_are_spared(tiny):
    run = tiny(adv_dpnp={"radius": 10, "decay_prototypes": False})
    groups = build_optimizer(build_defense(run), run).param_groups
    assert [group["weight_decay"] for group in groups] == [5e-4, 0]
    assert [tuple(p.shape) for p in groups[1]["params"]] == [(10, 32)]
    defense = build_defense(tiny())
    (group,) = build_optimizer(defense, tiny()).param_groups
    assert (group["weight_decay"], group["momentum"], group["lr"]) == (5e-4, 0.9, 0.05)
    assert len(group["params"]) == len(list(defense.parameters()))


# --- What is refused


def test_other_settings_are_refused_with_the_difference(tiny, copy):
    run = tiny(optim={"lr": 0.1}, craft={"steps": 3})
    with pytest.raises(UserError, match=r"under other settings \(craft\.steps: 2 -> 3; optim\.lr: 0\.05 -> 0\.1\)"):
        fit(run, copy)
    with pytest.raises(UserError, match="under other settings"):
        load_model(run, copy)


def test_settings_of_evaluation_are_no_other_settings(tiny, copy):
    assert load_model(tiny(evaluation={"test_images": 10}), copy)


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_epoch_before(tiny, tmp_path, monkeypatch):
    run, calls, loss = tiny("ST", optim={"epochs": 3}), [], DEFENSES["ST"].loss

    def poisoned(self, x, x_adv, y):
        calls.append(1)
        value, terms = loss(self, x, x_adv, y)
        return value * (float("nan") if len(calls) == 4 else 1), terms  # two steps per epoch: epoch 1, step 1

    with monkeypatch.context() as patch:
        patch.setattr(DEFENSES["ST"], "loss", poisoned)
        with pytest.raises(UserError, match=r"st-s0: the loss is not finite from epoch 1, step 1 on \(loss=nan"):
            fit(run, tmp_path / "one")
    assert len(json.loads(load_state(tmp_path / "one" / "last.pt")["log"])) == 1
    assert not (tmp_path / "one" / "train.json").exists()
    fit(run, tmp_path / "one")
    fit(run, tmp_path / "other")
    assert same(weights(tmp_path / "one"), weights(tmp_path / "other"))


def test_a_rate_far_too_high_ends_in_that_sentence(tiny, tmp_path):
    with pytest.raises(UserError, match=r"not finite from epoch \d, step \d+ on .*; a lower optim\.lr"):
        fit(tiny("AT", optim={"lr": 100}, data={"train_images": 640}), tmp_path)
    assert not (tmp_path / "model.pt").exists()


# --- Where it runs


def test_an_absent_device_is_named():
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(UserError, match=r"--device cuda: .*; use auto, cpu or cuda\."):
        pick_device("cuda")


def test_an_unknown_device_is_named():
    with pytest.raises(UserError, match="--device gpu: "):
        pick_device("gpu")


def test_precision_is_as_asked_unless_auto():
    cpu = torch.device("cpu")
    assert [pick_precision(p, cpu) for p in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert pick_precision("auto", cpu) in ("fp32", "bf16")


def test_the_paper_tier_is_not_started_on_a_cpu_by_accident():
    paper, short = load_tier("paper"), load_tier("short")
    run = paper.run("cifar10/resnet18", "AT")
    with pytest.raises(UserError, match="--allow-cpu"):
        require_hardware(paper, run, "cpu")
    require_hardware(paper, run, "cpu", allow_cpu=True)
    require_hardware(short, short.run("cifar10/resnet18", "AT"), "cpu")


def test_a_finished_run_repeated_keeps_its_weights_and_where_they_were_made(tiny, tmp_path, monkeypatch):
    """The workflow deletes train.json before it repeats a job; nothing is trained again then."""
    done = fit(tiny("AT"), tmp_path)
    (tmp_path / "train.json").unlink()
    monkeypatch.setattr(checkpoints, "provenance", lambda device: {"device": "another machine"})
    again = fit(tiny("AT"), tmp_path)
    assert again == done


def test_a_training_that_waits_takes_what_the_other_process_made(tiny):
    """Two notebooks want the same network: the second waits, and trains nothing."""
    run = tiny("ST")
    made, written = fit(run), (RESULTS.run(run) / "model.pt").stat().st_mtime_ns
    found = []
    with locked(RESULTS.run(run), "is being trained"):
        waiting = threading.Thread(target=lambda: found.append(fit(run, wait=True)))
        waiting.start()
        waiting.join(1.0)
        assert waiting.is_alive()
        with pytest.raises(UserError, match="is being trained by process"):
            fit(run)
    waiting.join(30)
    assert found == [made]
    assert (RESULTS.run(run) / "model.pt").stat().st_mtime_ns == written


# --- Switches of Adv-DPNP


def test_a_prototype_rate_moves_the_prototypes_alone(tiny):
    """One step from the same start under half the rate: half the way for the prototypes, the same for the backbone."""
    moved = {}
    for rate in (1.0, 0.5):
        run = tiny(adv_dpnp={"prototype_lr": rate}, optim={"weight_decay": 0, "momentum": 0})
        defense = build_defense(run)
        before = defense.model.centers.detach().clone()
        optimizer = build_optimizer(defense, run)
        x, y = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4)
        defense.loss(x, x, y)[0].backward()
        optimizer.step()
        conv = next(defense.model.backbone.parameters()).detach()
        moved[rate] = defense.model.centers.detach() - before, conv
    assert torch.allclose(moved[0.5][0], moved[1.0][0] / 2, atol=1e-6)
    assert moved[1.0][0].abs().max() > 1e-4
    assert torch.equal(moved[0.5][1], moved[1.0][1])


def test_prototypes_can_start_at_the_class_means_of_the_untrained_network(tiny):
    run = tiny(adv_dpnp={"prototype_start": "class_means"})
    defense, data = build_defense(run), training_data(run)
    defense.start_training(data.images, data.labels)
    model = build_defense(run).model.eval()
    with torch.no_grad():
        features = model.features(to_float(data.images))
    means = torch.stack([features[data.labels == k].mean(0) for k in range(10)])
    expected = run.hyper.radius * torch.nn.functional.normalize(means, dim=1)
    assert torch.allclose(defense.model.centers, expected, rtol=1e-4, atol=1e-4)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, defense.model.backbone.state_dict()[name]), name  # running statistics too


def test_class_means_need_every_class(tiny):
    defense = build_defense(tiny(adv_dpnp={"prototype_start": "class_means"}))
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(UserError, match="training images of every class; none of class 1"):
        defense.start_training(images, torch.tensor([0, 2, 3, 4]))
