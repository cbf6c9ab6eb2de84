"""AutoAttack component by component: the counts are those of its own log, resume, and say what was nested."""

import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from chaos.harness import untimed
from doubles import Counting, stopped_at_third_call

from advdpnp import attacks, notebook
from advdpnp import evaluate as module
from advdpnp.evaluate import evaluate
from advdpnp.evaluate.cache import KeptSearch, discard_parts
from advdpnp.models.batchnorm_folding import FoldedSurrogate
from advdpnp.progress import Progress, TimeUp, time_limit
from advdpnp.store import RESULTS, read_json, write_json
from advdpnp.train import fit

pytest.importorskip("pyautoattack")
STANDARD = ["apgd-ce", "apgd-t", "fab-t", "square"]


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("at")
    fit(tiny("AT", optim={"epochs": 6}, data={"train_images": 300}), folder)
    return folder


@pytest.fixture
def measure(tiny, trained, ten_steps):
    def call(*names, force=False, **changes):
        run = tiny("AT", optim={"epochs": 6}, data={"train_images": 300}, **changes)
        return run, evaluate(run, *names, directory=trained, device="cpu", force=force)

    return call


class Coarse(torch.nn.Module):
    """A network whose gradient sees little of the image: what one component misses, another breaks."""

    def __init__(self):
        super().__init__()
        layers = torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10)
        self.net = torch.nn.Sequential(*layers)

    def forward(self, x):
        return self.net(0.4 * x + 0.6 * (16 * x).round() / 16)


@pytest.fixture(scope="module")
def victim():
    """(model, 30 images, their labels, of which the first three are wrong)."""
    torch.manual_seed(0)
    model, x = Coarse().eval(), torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    y[:3] = (y[:3] + 1) % 10
    return model, x, y


@pytest.mark.parametrize("fast", [False, True], ids=["package", "fast"])
def test_the_counts_are_those_of_the_search(victim, fast, ten_steps):
    model, x, y = victim
    lines, told = [], []
    surrogate = FoldedSurrogate(model, bf16=True) if fast else None
    options = {"epsilon": 0.03, "square_queries": 20, "batch_size": 11, "surrogate": surrogate}
    x_adv = attacks.autoattack(model, x, y, **options, log=lines.append, record=told.append)
    names, tallies = [*told[-1]], told[-1]
    assert names == STANDARD
    assert len(told) > len(STANDARD), "told as it goes on, not only at its end"
    right = [27 / 30]
    for name in names:
        (line,) = [line for line in lines if line.startswith(f"robust accuracy after {name.upper()}")]
        right.append(float(re.search(r"([\d.]+)%", line)[1]) / 100)
        assert tallies[name].broken == pytest.approx(30 * (right[-2] - right[-1]), abs=1e-2)
        assert tallies[name].searches == pytest.approx(30 * right[-2], abs=1e-2)
        assert tallies[name].seconds > 0
    assert sum(tally.broken for tally in tallies.values()) == (model(x_adv).argmax(1) != y).sum() - 3
    assert tallies["apgd-ce"].broken > 0 < tallies["apgd-t"].broken
    plain = attacks.autoattack(model, x, y, **options)
    assert torch.equal(plain, x_adv)  # to look on changes nothing


def test_passes_are_the_images_that_the_network_saw(victim):
    """All but those of the package's own checks and of its first look at the images."""
    model, x, y = victim
    counting, told = Counting(model), []
    attacks.autoattack(counting, x, y, epsilon=0.03, attacks=["square"], square_queries=1, record=told.append)
    without = counting.images - told[-1]["square"].passes
    counting.images = 0
    attacks.autoattack(counting, x, y, epsilon=0.03, attacks=["square"], square_queries=50, record=told.append)
    assert counting.images - told[-1]["square"].passes == without
    assert told[-1]["square"].passes > told[0]["square"].passes


def test_a_long_search_says_how_far_it_is(measure, monkeypatch, capsys):
    monkeypatch.setattr(module, "Progress", lambda *args, **more: Progress(*args, **more, log_every=0))
    measure("aa", force=True, attacks=AA)
    said = capsys.readouterr().err
    lines = re.findall(r"aa +0%, (\d+) of 20 images fell to (.*)", said)  # of the first batch
    fallen = [int(count) for count, _ in lines]
    assert fallen == sorted(fallen), said
    assert [*dict.fromkeys(to for _, to in lines)] == ["apgd-ce", "apgd-ce, square"], said
    (share,) = re.findall(r"aa +33%, .* left, ([\d.]+) % so far", said)
    assert 0 < fallen[-1] <= 20 - 20 * float(share) / 100  # some were wrong before


def test_unconfirmed_images_are_searched_twice_and_broken_once(victim):
    model, x, y = victim

    class Absurd(torch.nn.Module):
        def forward(self, x):
            return torch.eye(10)[0] + 0 * x.flatten(1).sum(1, keepdim=True)

    told = []
    options = {"epsilon": 0.03, "attacks": ["apgd-ce", "square"], "square_queries": 20, "record": told.append}
    x_adv = attacks.autoattack(model, x, y, **options, surrogate=Absurd())
    assert sum(tally.broken for tally in told[0].values()) == (model(x_adv).argmax(1) != y).sum() - 3
    assert told[0]["apgd-ce"].searches > 27


def test_nothing_left_is_told_as_well(victim):
    model, x, y = victim
    for surrogate in (None, FoldedSurrogate(model, bf16=False)):
        told = []
        attacks.autoattack(model, x[:3], y[:3], epsilon=0.1, surrogate=surrogate, record=told.append)
        assert [*told[0]] == STANDARD
        assert {(tally.searches, tally.broken, tally.passes) for tally in told[0].values()} == {(0, 0, 0)}


# --- In a result


AA = {f"aa{e}": {"square_queries": 20, "version": "smoke"} for e in ("", "_eps2", "_eps4", "_eps6")}


def test_a_result_says_what_is_left_after_each_component(measure):
    run, found = measure("aa", attacks=AA, evaluation={"budget_scale": 2})
    components = read_json(RESULTS.evaluation(run, "aa"))["components"]
    assert components == found["aa"]["components"]
    assert [*components] == ["apgd-ce", "square"]
    first, last = components.values()
    assert (
        last["accuracy"]
        == found["aa"]["accuracy"]
        == pytest.approx(100 * RESULTS.read_flags(run, "aa").mean(), abs=1e-3)
    )
    assert first["accuracy"] - last["accuracy"] == pytest.approx(100 * last["broken"] / 60, abs=1e-3)
    assert first["searches"] - first["broken"] == last["searches"]
    assert first["broken"] > 0 < first["passes"]
    assert first["seconds"] + last["seconds"] <= found["aa"]["seconds"] + 0.02
    assert "components" not in measure("pgd20")[1]["pgd20"]


def test_a_stopped_search_keeps_what_it_told_also_within_a_batch(measure, monkeypatch):
    changes = {"attacks": AA, "evaluation": {"budget_scale": 2, "autoattack": "surrogate"}}
    run, through = measure("aa", **changes)
    RESULTS.evaluation(run, "aa").unlink()
    monkeypatch.setattr(module, "SAVE_EVERY", -1.0)
    with stopped_at_third_call(monkeypatch, KeptSearch, "save"):
        measure("aa", **changes)
    folder = RESULTS.evaluation(run, "aa").parent
    assert {path.name for path in folder.glob("*.part.npz")} == {"aa.part.npz", "aa.search.part.npz"}
    _, found = measure("aa", **changes)
    assert untimed(found["aa"]["components"]) == untimed(through["aa"]["components"])
    assert found["aa"]["correct"] == through["aa"]["correct"]
    assert not [*folder.glob("*.part.npz")]


def test_a_time_limit_stops_a_search_within_its_batch_and_each_call_gets_further(measure):
    changes = {"attacks": AA, "evaluation": {"budget_scale": 2, "autoattack": "surrogate", "batch_size": 60}}
    run, through = measure("aa", **changes)
    RESULTS.evaluation(run, "aa").unlink()
    for _ in ("apgd-ce", "square"):
        with pytest.raises(TimeUp), time_limit(0):
            measure("aa", **changes)
    with time_limit(0):
        _, found = measure("aa", **changes)
    assert untimed(found["aa"]["components"]) == untimed(through["aa"]["components"])
    assert found["aa"]["correct"] == through["aa"]["correct"]


class Memory:
    """Keeps a search in memory, and has it killed after so many savings."""

    def __init__(self, last=None):
        self.saved, self.savings, self.last = {}, 0, last

    def __call__(self, stage):
        return SimpleNamespace(load=lambda: self.saved.get(stage), save=partial(self.save, stage))

    def save(self, stage, arrays):
        self.saved[stage] = {key: value.copy() for key, value in arrays.items()}
        self.savings += 1
        if self.savings == self.last:
            raise KeyboardInterrupt


def absurd(x):
    """A surrogate that sees class 0 or 9 everywhere: what it misses is attacked again."""
    return torch.eye(10)[(x.flatten(1).sum(1) * 7).long() % 2 * 9] + 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("surrogate", [lambda model: FoldedSurrogate(model, bf16=False), lambda model: absurd],
                         ids=["folded", "absurd"])  # fmt: skip
def test_a_killed_search_goes_on_within_its_batch_and_ends_with_the_same_bits(victim, surrogate):
    model, x, y = victim
    options = {"epsilon": 0.03, "attacks": ["apgd-ce", "square"], "square_queries": 20, "batch_size": 16}
    options |= {"surrogate": surrogate(model)}
    whole, told = Memory(), []
    through = attacks.autoattack(model, x, y, **options, keep=whole, record=told.append)
    assert set(whole.saved) == {"search"} | ({"again"} if options["surrogate"] is absurd else set())
    assert whole.savings > 2  # within a component too
    for last in {1, whole.savings - 1, whole.savings}:
        memory, again = Memory(last), []
        with pytest.raises(KeyboardInterrupt):
            attacks.autoattack(model, x, y, **options, keep=memory)
        memory.last = None
        resumed = attacks.autoattack(model, x, y, **options, keep=memory, record=again.append)
        assert torch.equal(resumed, through)
        assert memory.savings == whole.savings  # no piece was searched twice
        counts = [[(each.searches, each.broken) for each in found[-1].values()] for found in (again, told)]
        assert counts[0] == counts[1]


def test_what_another_search_kept_is_not_taken_up(tmp_path):
    path = tmp_path / "aa.json"
    KeptSearch(path, "one 0", "search").save({"todo": np.arange(3)})
    assert KeptSearch(path, "one 0", "search").load()["todo"].tolist() == [0, 1, 2]
    assert KeptSearch(path, "one 20", "search").load() is None  # the next batch
    assert KeptSearch(path, "one 0", "again").load() is None
    KeptSearch(path, "one 0", "search").path.write_bytes(b"PK damaged")
    assert KeptSearch(path, "one 0", "search").load() is None
    KeptSearch(path, "one 0", "search").save({"todo": np.arange(3)})
    raw = bytearray(KeptSearch(path, "one 0", "search").path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 10] = 99  # compressed in a way that nobody knows
    KeptSearch(path, "one 0", "search").path.write_bytes(raw)
    assert KeptSearch(path, "one 0", "search").load() is None
    discard_parts(path)
    assert not [*tmp_path.iterdir()]


def test_images_that_a_nested_search_skips_count_as_withstanding_every_component(measure):
    nested = {"budget_scale": 2, "nested_budgets": True}
    _, found = measure("aa", "aa_eps6", attacks=AA, evaluation=nested)
    result = found["aa_eps6"]
    first, last = result["components"].values()
    assert result["nested"]["skipped"] > 0
    assert first["searches"] <= 60 - result["nested"]["skipped"]
    assert last["accuracy"] == result["accuracy"]
    assert first["accuracy"] == pytest.approx(result["accuracy"] + 100 * last["broken"] / 60, abs=1e-3)


def test_the_notebook_shows_what_was_stored_and_says_when_nothing_was(tiny, monkeypatch):
    shown = []
    monkeypatch.setattr(notebook, "display", shown.append)
    runs = [tiny("AT", seed=seed) for seed in (0, 1)]
    write_json(RESULTS.evaluation(runs[0], "aa"), {"accuracy": 40.0})
    assert notebook.components(runs).empty
    assert "Not stored" in shown[0].data
    told = {"accuracy": 43.25, "searches": 60, "broken": 7, "passes": 1234, "seconds": 0.5}
    write_json(RESULTS.evaluation(runs[1], "aa"), {"accuracy": 40.0, "components": {"apgd-ce": told}})
    table = notebook.components(runs)
    assert [*table.index] == ["digits-resnet18-at-s1"]
    assert table.loc["digits-resnet18-at-s1", ("apgd-ce", "left (%)")] == 43.25
    assert table.loc["digits-resnet18-at-s1", ("apgd-ce", "passes")] == 1234
    assert len(shown) == 1
