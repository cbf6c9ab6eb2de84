"""One computation for several attacks: which, what it saves, and that each number is the one it would have alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from doubles import stopped_at_third_call

from advdpnp import attacks, data
from advdpnp import evaluate as module
from advdpnp.config import ATTACKS
from advdpnp.evaluate import evaluate
from advdpnp.evaluate.trajectories import next_larger, passes, shared
from advdpnp.store import RESULTS
from advdpnp.train import fit

TABLE6 = [f"pgd{n}_random" for n in (20, 40, 100, 250, 500)]
TABLE7 = [f"pgd40_restarts{n}" for n in (1, 5, 10, 20)]


def groups(*names, **images):
    return shared({name: ATTACKS[name] for name in names}, {name: images.get(name, 1000) for name in names})


# --- What goes together


def test_iterations_are_one_trajectory_and_starts_are_another():
    assert groups(*TABLE6) == [TABLE6]
    assert groups(*TABLE7) == [TABLE7]
    assert groups("clean", "pgd20", "fgsm", "pgd100", "aa") == [["clean"], ["pgd20", "pgd100"], ["fgsm"], ["aa"]]


def test_another_budget_norm_start_or_number_of_images_is_another_trajectory():
    for names in (
        ("pgd20", "pgd20_eps4"),
        ("pgd20", "pgd20_random"),
        ("pgd100_l1", "pgd100_l1_free"),
        ("cw30", "pgd20"),
    ):
        assert groups(*names) == [[names[0]], [names[1]]]
    assert groups("pgd20", "pgd100", pgd100=500) == [["pgd20"], ["pgd100"]]


def test_several_starts_need_the_same_steps():
    some = {"a": 20, "b": 40}
    attack = ATTACKS["pgd40_restarts5"]
    mixed = {f"{k}{n}": replace(attack, steps=steps, restarts=n) for k, steps in some.items() for n in (1, 5)}
    assert shared(mixed, dict.fromkeys(mixed, 10)) == [["a1", "a5"], ["b1", "b5"]]


def test_the_saving_is_told():
    for names, alone, together in ((TABLE6, 910, 500), (TABLE7, 36 * 40, 20 * 40), (["pgd20", "pgd100"], 120, 100)):
        assert passes([ATTACKS[name] for name in names]) == (alone, together)


def test_a_budget_rests_on_the_next_larger_one_of_the_same_attack():
    images = dict.fromkeys(ATTACKS, 500)
    rests = {name: next_larger(name, ATTACKS, images) for name in ("aa", "aa_eps6", "aa_eps4", "aa_eps2", "pgd20_eps2")}
    assert rests == {"aa": None, "aa_eps6": "aa", "aa_eps4": "aa_eps6", "aa_eps2": "aa_eps4", "pgd20_eps2": None}
    assert next_larger("aa_eps4", ATTACKS, images | {"aa_eps6": 400}) == "aa"  # not enough images there


# --- The same numbers


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(8 * 64, 10),
    ).eval()  # fmt: skip
    test = data.load("digits", "test")
    x = data.to_float(test.images[:37])
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize(("norm", "epsilon", "step"), [("linf", 0.1, 0.02), ("l2", 0.5, 0.1), ("l1", 2.0, 0.3)])
@pytest.mark.parametrize("start", [True, False])
def test_fewer_steps_are_the_beginning_of_more(network, norm, epsilon, step, start):
    options = {"epsilon": epsilon, "step_size": step, "norm": norm, "random_start": start}
    together = attacks.pgd_prefixes(
        *network, reads=[(7, 1), (3, 1), (12, 1)], **options, generator=torch.Generator().manual_seed(5)
    )
    for steps, x_adv in zip((7, 3, 12), together):
        alone = attacks.pgd(*network, steps=steps, **options, generator=torch.Generator().manual_seed(5))
        assert torch.equal(x_adv, alone)
    assert not torch.equal(together[0], together[2])


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.04), ("l2", 0.3), ("l1", 1.0)])
def test_fewer_starts_are_the_first_ones_of_more(network, norm, epsilon):
    options = {"epsilon": epsilon, "step_size": epsilon / 4, "norm": norm}
    reads = [(4, 6), (4, 1), (4, 3)]
    together = attacks.pgd_prefixes(*network, reads=reads, **options, generator=torch.Generator().manual_seed(5))
    for (steps, restarts), x_adv in zip(reads, together):
        alone = attacks.pgd(
            *network, steps=steps, restarts=restarts, **options, generator=torch.Generator().manual_seed(5)
        )
        assert torch.equal(x_adv, alone)
    model, _, y = network
    right = [(model(x_adv).argmax(1) == y).sum() for x_adv in together]
    assert right[0] <= right[2] <= right[1] < len(y)
    assert not torch.equal(together[0], together[1])


def test_starts_with_different_steps_are_refused(network):
    with pytest.raises(ValueError, match="must have the same steps"):
        attacks.pgd_prefixes(*network, reads=[(4, 6), (5, 1)], epsilon=0.1, step_size=0.1, norm="linf")


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("at")
    fit(tiny("AT", optim={"epochs": 6}, data={"train_images": 300}), folder)
    return folder


@pytest.fixture
def measure(tiny, trained):
    def call(*names, force=False, **changes):
        changes = {"optim": {"epochs": 6}, "data": {"train_images": 300}} | changes
        run = tiny("AT", **changes)
        return run, evaluate(run, *names, directory=trained, device="cpu", force=force)

    return call


def test_together_or_alone_the_results_are_the_same(measure):
    names = ("pgd100", "pgd20", "pgd40_random", "pgd20_random", "pgd40_restarts5", "pgd40_restarts1")
    attack = {"steps": 30}  # shorter, for the test
    settings = {"attacks": {"pgd100": attack, **{name: {"steps": 10} for name in names[4:]}}}
    run, together = measure(*names, **settings)
    right = {name: RESULTS.read_flags(run, name) for name in names}
    assert [*together] == [*names]
    assert together["pgd20"]["computed_with"] == ["pgd100", "pgd20"]
    for name in names:
        _, alone = measure(name, force=True, **settings)
        assert "computed_with" not in alone[name]
        for key in ("accuracy", "loss", "loss_std", "correct", "key", "settings"):
            assert alone[name][key] == together[name][key], (name, key)
        assert np.array_equal(RESULTS.read_flags(run, name), right[name]), name
    assert not (right["pgd40_restarts5"] & ~right["pgd40_restarts1"]).any()  # more starts, never more right


def test_what_is_there_is_not_computed_with_the_rest(measure, monkeypatch):
    measure("pgd20")
    read = []
    whole = attacks.pgd_prefixes

    def watched(*arguments, reads, **options):
        read.append(list(reads))
        return whole(*arguments, reads=reads, **options)

    monkeypatch.setattr(attacks, "pgd_prefixes", watched)
    _, found = measure("pgd20", "pgd100", "pgd20_random", "pgd40_random")
    assert read == [[(20, 1), (40, 1)]] * 3  # in three batches; pgd100 is alone
    assert "computed_with" not in found["pgd100"]


def test_a_stopped_group_goes_on_where_it_was(measure, monkeypatch):
    names = ("pgd20", "pgd100")
    settings = {"attacks": {"pgd100": {"steps": 30}}}
    run, through = measure(*names, **settings)
    for name in names:
        RESULTS.evaluation(run, name).unlink()
    monkeypatch.setattr(module, "SAVE_EVERY", -1.0)
    with stopped_at_third_call(monkeypatch, module.crafting, "craft_together"):
        measure(*names, **settings)
    assert not RESULTS.evaluation(run, "pgd20").exists()
    whole, calls = module.crafting.craft_together, []
    monkeypatch.setattr(module.crafting, "craft_together", lambda m, x, *a: calls.append(len(x)) or whole(m, x, *a))
    _, found = measure(*names, **settings)
    assert calls == [20]
    for name in names:
        assert (found[name]["loss"], found[name]["correct"]) == (through[name]["loss"], through[name]["correct"])
    assert not list(RESULTS.evaluation(run, "pgd20").parent.glob("*.part.npz"))


# --- Nested budgets


SMOKE = {f"aa{e}": {"version": "smoke", "square_queries": 20} for e in ("", "_eps2", "_eps4", "_eps6")}
NESTED = {"attacks": SMOKE, "evaluation": {"nested_budgets": True, "budget_scale": 2}}
WHOLE = {"attacks": SMOKE, "evaluation": {"budget_scale": 2}}


def test_a_smaller_budget_is_searched_where_the_larger_one_succeeded(measure, monkeypatch, ten_steps):
    searched = []
    whole = attacks.autoattack

    def watched(model, x, y, *, epsilon, **options):
        searched.append((round(255 * epsilon), len(x)))
        return whole(model, x, y, epsilon=epsilon, **options)

    monkeypatch.setattr(attacks, "autoattack", watched)
    run, found = measure("aa_eps2", force=True, **NESTED)
    assert [*found] == ["aa_eps2"]  # what it rests on is computed and stored, not returned
    right = {name: RESULTS.read_flags(run, name) for name in ("aa", "aa_eps6", "aa_eps4", "aa_eps2")}
    counts = [int(each.sum()) for each in right.values()]
    assert counts == sorted(counts)
    told = found["aa_eps2"]["nested"]
    assert (told["within"], told["broken"]) == ("aa_eps4", 0)
    assert told["checked"] == -(-counts[2] // 10)
    assert told["skipped"] == counts[2] - told["checked"]
    per_budget = {e: sum(n for budget, n in searched if budget == e) for e, _ in searched}
    assert per_budget == {16: 60, 12: 60 - counts[0] + -(-counts[0] // 10), 8: 60 - counts[1] + -(-counts[1] // 10),
                          4: 60 - counts[2] + told["checked"]}  # fmt: skip
    assert "loss" not in found["aa_eps2"]
    _, alone = measure("aa_eps2", force=True, **WHOLE)
    assert "nested" not in alone["aa_eps2"]
    assert alone["aa_eps2"]["key"] != found["aa_eps2"]["key"]
    assert alone["aa_eps2"]["correct"] == pytest.approx(found["aa_eps2"]["correct"], abs=1)


def test_a_nested_search_goes_on_with_its_own_images_only(measure, monkeypatch):
    """Should the larger budget be searched again, as many images may fall, but others: its state is not theirs."""
    real, keys = module._over_images, []

    def watched(run, names, group, where, model, data, key):
        correct, numbers = real(run, names, group, where, model, data, key)
        again = any(name == names[0] for name, *_ in keys)
        keys.append((names[0], tuple(where), key))
        return np.roll(correct, 1, axis=0) if again else correct, numbers

    monkeypatch.setattr(module, "_over_images", watched)
    monkeypatch.setattr(attacks, "autoattack", lambda model, x, y, **options: x)
    for _ in range(2):
        measure("aa_eps6", force=True, **NESTED)
    (_, some, one), (_, others, two) = [each for each in keys if each[0] == "aa_eps6"]
    assert len(some) == len(others)
    assert some != others
    assert one != two


def test_a_spot_check_that_fails_searches_every_image(measure, monkeypatch):
    """A search at the larger budget that finds nothing is found out by the tenth that is searched all the same."""

    def lazy(model, x, y, *, epsilon, **options):
        return x

    monkeypatch.setattr(attacks, "autoattack", lazy)
    real = module._over_images
    calls = []

    def watched(run, names, group, where, model, data, key):
        correct, numbers = real(run, names, group, where, model, data, key)
        calls.append((names[0], len(where)))
        if names[0] == "aa_eps6":
            correct[:] = False  # the smaller search breaks what the larger one left
        return correct, numbers

    monkeypatch.setattr(module, "_over_images", watched)
    run, found = measure("aa_eps6", force=True, **NESTED)
    robust = int(RESULTS.read_flags(run, "aa").sum())
    assert found["aa_eps6"]["nested"] == {"within": "aa", "skipped": 0, "checked": -(-robust // 10),
                                          "broken": -(-robust // 10)}  # fmt: skip
    assert calls == [("aa", 60), ("aa_eps6", 60 - robust + -(-robust // 10)), ("aa_eps6", 60)]
    assert found["aa_eps6"]["correct"] == 0
