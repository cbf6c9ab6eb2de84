"""The benchmarks measure what they say: the same mathematics on both sides, every defense, medians and spread."""

import json
import os
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from advdpnp.config import METHODS, load_tier
from advdpnp.config.tiers import parse_tier
from advdpnp.errors import UserError
from advdpnp.paper.artefacts import EVERYTHING, all_runs, evaluations_of
from advdpnp.store import RESULTS, Store, write_json
from benchmarks import attacks, compiling, data, demo, fidelity, figure, many_runs, once, scaling, steps
from benchmarks.__main__ import PARTS, main
from benchmarks.timing import interleaved

CPU = torch.device("cpu")


@pytest.fixture
def one_step(monkeypatch):
    """PGD of one step and float32, so that both sides can be compared and nothing takes long."""
    monkeypatch.setattr(steps, "pick_precision", lambda requested, device: "fp32")
    return lambda method: steps.run_of(method, width=4, batch=4, steps=1)


@pytest.mark.parametrize("method", METHODS)
def test_both_sides_have_the_same_loss(one_step, monkeypatch, method):
    """On the same adversarial images; the step also has to run, which covers every defense's hooks."""
    x, y = steps.random_batch(4, CPU)
    x_adv = (x + 0.02 * torch.randn_like(x)).clamp(0, 1)
    # FSR draws in the order of memory, which channels_last changes.
    monkeypatch.setattr(torch, "rand_like", lambda values: torch.full_like(values, 0.5))
    monkeypatch.setattr(steps, "plain_craft", lambda defense, x, y: x_adv)
    monkeypatch.setattr("advdpnp.defenses.base.Defense.craft", lambda self, x, y: x_adv)
    losses = []
    for side in (steps.ours, steps.textbook):
        step = side(one_step(method), CPU)
        torch.manual_seed(1)
        losses.append(step(x, y).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("method", ["AT", "TRADES", "HAT", "IKL"])
def test_both_sides_craft_the_same_images(method):
    """From the same start; a sign may flip where a gradient is zero up to rounding."""
    defense = steps.build(steps.run_of(method, width=4, batch=4, steps=2)).train()
    x, y = steps.random_batch(4, CPU)
    torch.manual_seed(1)
    ours = defense.craft(x, y)
    torch.manual_seed(1)
    plain = steps.plain_craft(defense, x, y)
    assert defense.training
    assert not torch.equal(ours, x)
    assert ((ours - plain).abs() < 1e-6).float().mean() > 0.99


def test_only_the_textbook_forwards_clean_images_in_every_step():
    calls = {}
    for method in ("AT", "TRADES", "HAT", "IKL"):
        defense = steps.build(steps.run_of(method, width=4, batch=2, steps=3))
        count = []
        defense.model.register_forward_hook(lambda *_, count=count: count.append(1))
        x, y = steps.random_batch(2, CPU)
        steps.plain_craft(defense, x, y)
        plain = len(count)
        defense.craft(x, y)
        calls[method] = plain, len(count) - plain
    assert calls == {"AT": (3, 3), "TRADES": (6, 4), "HAT": (6, 4), "IKL": (6, 4)}


def test_interleaved_takes_turns():
    order = []
    found = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4
    assert len(found["seconds"]["a"]) == 3
    low, high = found["spread"]["b"]
    assert low <= found["median"]["b"] <= high
    assert found["ratio"] == pytest.approx(found["median"]["b"] / found["median"]["a"], abs=1e-3)


def test_attacks_report_accuracy_and_ratio(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    model, run, words = attacks.network(None, CPU)
    assert "untrained" in words
    images = attacks.load(run.dataset, "test")
    found = attacks.duel("pgd20", model, run, attacks.to_float(images.images[:8]), images.labels[:8], 1)
    assert found["difference"] == found["robust"]["ours"] - found["robust"]["official"]
    assert found["ratio"] > 0


def test_augmentation_sides_see_every_image():
    images = torch.randint(256, (10, 3, 32, 32), dtype=torch.uint8)
    theirs = torch.cat(list(data.loader(images, 4)))
    assert theirs.shape == (10, 3, 32, 32)
    assert theirs.min() >= 0
    assert theirs.max() <= 1
    data.ours(images, 4)


def test_share_of_the_matrix_peak():
    """The GPU's code path, with sizes for a CPU. A forward pass of ResNet-18 is known to cost 1.11 GFLOP an image."""
    assert scaling.crafting_flops(steps.run_of("AT", 64, 1), CPU) == pytest.approx(20 * 1.11e9, rel=0.01)
    found = scaling.crafting_share(steps.run_of("AT", 4, 2, steps=1), CPU, rounds=1, size=64)
    assert found["share"] == pytest.approx(found["crafting_tflops"] / found["peak_tflops"])


def test_demo_by_rule(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    with pytest.raises(UserError, match="run `make demo` first"):
        demo.measure(SimpleNamespace(), CPU)
    for path, seconds, peak, end in (
        ("train/a.tsv", 2, "300.5", 3),
        ("train/b.tsv", 3.5, "200", 6),
        ("evaluate/x/a.tsv", 9, "NA", 10),
    ):
        file = tmp_path / "demo/benchmarks" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t{peak}\n")
        os.utime(file, (1000 + end, 1000 + end))
    found = demo.measure(SimpleNamespace(), CPU)
    assert found["wall"] == 9  # from second 1 (3 less 2) to second 10
    assert list(found["rules"].items()) == [
        ("evaluate", {"jobs": 1, "seconds": 9, "megabytes": 0}),
        ("train", {"jobs": 2, "seconds": 5.5, "megabytes": 300.5}),
    ]


def test_json_and_picture(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    monkeypatch.setattr(scaling, "grid", lambda *_: [("steps", 1, {"width": 4, "batch": 2, "steps": 1})])
    assert main(["scaling", "--width", "4", "--batch", "2", "--rounds", "1", "--quick"]) == 0
    found = json.loads((tmp_path / "benchmarks.json").read_text())
    assert {"seconds", "median", "spread", "ratio"} <= found["scaling"]["steps"]["1"].keys()
    assert found["provenance"]["device"]
    assert (tmp_path / "benchmarks.png").exists()
    assert figure.ratios(found) == {}


def test_a_part_that_cannot_run_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    """Without a part named; one that was asked for by name is an error."""
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torchvision", None)
    for part in PARTS.keys() - {"data", "demo"}:
        monkeypatch.delitem(PARTS, part)
    assert main([]) == 0
    found = json.loads((tmp_path / "benchmarks.json").read_text())
    assert found["data"]["missing"].startswith("torchvision is not installed")
    assert "make demo" in found["demo"]["missing"]
    assert "data: not measured, torchvision is not installed" in capsys.readouterr().out
    assert main(["data"]) == 2
    assert capsys.readouterr().err == f"error: {found['data']['missing']}\n"


def test_unknown_method_and_part(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    assert main(["steps", "--methods", "AT,TRADE"]) == 2
    assert capsys.readouterr().err == "error: --methods: there is no 'TRADE'; did you mean 'TRADES'?\n"
    assert main(["stpes"]) == 2
    assert capsys.readouterr().err == "error: there is no benchmark 'stpes'; did you mean 'steps'?\n"
    assert not list(tmp_path.iterdir())


def test_fidelity_trains_twins_and_compares_them(tmp_path, monkeypatch):
    """Two seeds of one method on digits: the same first weights, other arithmetic, every accuracy kept."""
    small = tmp_path / "tiny.toml"
    small.write_text(
        'label = "tiny"\n[defaults]\ndata = {train_images = 64}\nmodel = {width = 4}\ncraft = {steps = 1}\n'
        "optim = {epochs = 1, batch_size = 32, milestones = []}\nevaluation = {test_images = 60}\n"
        '[blocks]\n"cifar10/resnet18" = {dataset = "digits"}\n'
    )
    found = fidelity.measure(SimpleNamespace(tier=str(small), seeds=2, methods=["AT"]), CPU)
    assert list(found["values"]) == ["AT"]
    fast, plain = (
        RESULTS.run(fidelity.twin(load_tier(str(small)).run(fidelity.BLOCK, "AT"), on)) for on in (True, False)
    )
    made = [json.loads((folder / "train.json").read_text()) for folder in (fast, plain)]
    assert [about["precision"] for about in made] == ["bf16", "fp32"]
    assert json.loads((plain / "config.json").read_text())["craft"]["fold_batch_norm"] is False
    assert [len(side) for side in found["values"]["AT"].values()] == [2, 2]
    trained = {path: path.stat().st_mtime_ns for path in (fast / "model.pt", plain / "model.pt")}
    assert fidelity.measure(SimpleNamespace(tier=str(small), seeds=2, methods=["AT"]), CPU) == found
    assert {path: path.stat().st_mtime_ns for path in trained} == trained


def test_fidelity_takes_what_the_tier_trained_fast(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    tier = load_tier("demo")
    own = tier.run(fidelity.BLOCK, "AT", 0)
    RESULTS.run(own).mkdir(parents=True)
    for precision, tiers in (("fp32", ["demo.fidelity"] * 2), ("bf16", ["demo", "demo.fidelity"])):
        (RESULTS.trained(own)).write_text(json.dumps({"precision": precision}))
        assert [run.tier for run in fidelity.contestants(tier, "AT", 0).values()] == tiers


def test_the_attacked_network_is_a_run_or_the_reference(capsys):
    with pytest.raises(SystemExit):
        main(["attacks", "--reference", "--run-dir", "results/demo/runs/digits-resnet18-at-s0"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_fidelity_summary():
    """By hand: differences 1, 2, 3 have mean 2 and standard deviation 1; Student's 97.5 % point for 2 is 4.303."""
    found = fidelity.summary([11.0, 12.0, 13.0], [10.0, 10.0, 10.0])
    assert (found["fast"], found["plain"], found["difference"]) == ([12.0, 1.0], [10.0, 0.0], 2.0)
    assert found["interval"] == pytest.approx([2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5], abs=0.01)
    assert found["within_noise"]
    assert not fidelity.summary([13.0, 13.1, 13.2], [10.0, 10.1, 10.2])["within_noise"]


def test_fidelity_wants_seeds(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    assert main(["fidelity", "--seeds", "1"]) == 2
    assert "fidelity needs --seeds 2 or more" in capsys.readouterr().err


def test_compiling_reports_both_sides(monkeypatch):
    """With graphs captured and run as they are; the real compiler is in test_compile."""
    plain = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: plain(self, backend="eager", **options))
    monkeypatch.setattr("advdpnp.hardware.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("advdpnp.hardware.SPACED", False)  # the stand-in compiles nothing
    monkeypatch.setattr(compiling, "METHODS", ("AT",))
    found = compiling.measure(SimpleNamespace(width=4, batch=2, rounds=1), CPU)
    assert found["auto"] == "off"
    assert found["AT"]["on"]["compile_seconds"] > 0
    assert set(found["AT"]["on"]["median"]) == {"compiled", "eager"}


def test_once_asks_each_build_in_its_own_files(tmp_path, monkeypatch):
    """A stand-in for an earlier commit: it knows fewer attacks, takes twice as long and gets one image otherwise."""
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path / "results"))
    run = load_tier("demo").run("cifar10/resnet18", "AT", 0)
    about = {"run": run.id, "tier": "demo"}
    write_json(RESULTS.trained(run), about)
    write_json(RESULTS.run(run) / "config.json", run.training_settings())
    asked = []

    def answer(build, results, code, *arguments):
        earlier = build != once.ROOT
        if code == once.SETTINGS:
            return json.dumps({"settings": {"method": "AT"}, "digest": "d"})
        if code == once.KNOWN:
            return "clean pgd20 aa" if earlier else "clean pgd20 pgd100 aa geometry adaptive20"
        asked.append((earlier, arguments))
        for name in arguments[4:]:
            path = results / "demo" / "evals" / run.id / f"{name}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, correct=np.array([True, not earlier or name != "pgd20"]))
        return json.dumps({"core": 1.0 + earlier, "wall": 3.0, "megabytes": 100.4})

    monkeypatch.setattr(once, "asked", answer)
    monkeypatch.setattr(once, "unpacked", lambda commit, folder: folder)
    monkeypatch.setattr(once, "PARTS", {"PGD": ["pgd20", "pgd20_random"]})
    found = once.measure(SimpleNamespace(run_dir=None, against="abc", quick=False, rounds=2, images=40), CPU)
    assert found["images"] == 40
    assert found["PGD"]["ratio"] == 2
    assert found["PGD"]["flags"] == {"pgd20": 1}  # those with a random start are drawn otherwise
    assert found["everything"]["megabytes"] == {"once": 100, "earlier": 100}
    assert [earlier for earlier, _ in asked] == [False, True] * 4
    assert set(asked[-1][1][4:]) == {"clean", "pgd20", "aa"}
    assert asked[-2][1][:4] == ("demo", run.id, str(RESULTS.run(run)), "40")
    assert asked[-1][1][2] != str(RESULTS.run(run))  # a copy, under the earlier build's settings
    assert figure.ratios({"once": found}) == {"PGD": 2, "everything": 2}


def test_a_build_that_lacks_a_setting_gets_the_weights_beside_its_own_settings(tmp_path):
    trained = tmp_path / "trained"
    write_json(trained / "config.json", {"method": "Adv-DPNP", "model": {"width": 4}, "hyper": {"pull": "mean"}})
    write_json(trained / "train.json", {"run": "a", "settings_digest": "new"})
    (trained / "model.pt").write_bytes(b"weights")
    told = {"settings": {"method": "Adv-DPNP", "model": {"width": 4}, "hyper": {}}, "digest": "old"}
    copy = once.adopted(trained, told, tmp_path / "copy")
    assert json.loads((copy / "config.json").read_text()) == told["settings"]
    assert json.loads((copy / "train.json").read_text()) == {"run": "a", "settings_digest": "old"}
    assert (copy / "model.pt").read_bytes() == b"weights"
    told["settings"]["model"]["width"] = 8
    with pytest.raises(UserError, match=r"other settings for this run: model\.width"):
        once.adopted(trained, told, tmp_path / "another")


def test_once_wants_an_image_of_every_class(tiny):
    once.check_images(tiny(), None)
    once.check_images(tiny(), 40)
    with pytest.raises(UserError, match=r"--images 5: expected at least 14, so that each class has a test image"):
        once.check_images(tiny(), 5)


def test_once_wants_a_commit_and_a_trained_network(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    assert main(["once"]) == 2
    assert "run `make demo` first" in capsys.readouterr().err
    with pytest.raises(UserError, match="--against nothing: expected a commit of this checkout"):
        once.unpacked("nothing", tmp_path)


def published_ratios(name):
    return figure.ratios(json.loads(Path(f"published/benchmarks/{name}.json").read_text()))


def test_the_page_on_speed_shows_the_ratios_that_were_published():
    lines = [line.strip("| ").split(" | ") for line in Path("docs/speed.md").read_text().splitlines()]
    rows = {cells[0]: cells[2:] for cells in lines if len(cells) == 4}
    widths = [published_ratios("cpu"), published_ratios("cpu-width64") | published_ratios("cpu-width64-others")]
    named = {"AT", "MART", "Adv-DPNP", "TRADES", "HAT", "IKL"}
    for column, found in enumerate(widths):
        for methods in ("AT, MART, Adv-DPNP", "TRADES", "HAT, IKL"):
            shown = ", ".join(f"{found[method]:.1f}" for method in methods.split(", "))
            assert rows[f"training step of {methods}"][column] == shown
        low, *_, high = sorted((found[method], method) for method in set(METHODS) - named)
        shown = f"{low[0]:.1f} ({low[1]}) to {high[0]:.1f} ({high[1]})"
        assert rows["training step of the other six"][column] == shown
    for name, column, end in (("cpu-autoattack", 0, "500 images"), ("cpu-third-party", 1, "128 images")):
        found = published_ratios(name)
        shown = [cells[column] for what, cells in rows.items() if end in what and cells[column] != "–"]
        assert shown == [f"{found['PGD-20']:.1f}", f"{found['AutoAttack']:.2g}"]
    assert rows["crop and flip, 10,000 images of 32x32"][0] == f"{widths[0]['augmentation']:.0f}"


def test_the_page_on_speed_shows_what_computing_once_is_worth():
    told = json.loads(Path("published/benchmarks/cpu-once-demo.json").read_text())["once"]
    lines = [line.strip("| ").split(" | ") for line in Path("docs/speed.md").read_text().splitlines()]
    rows = {cells[0]: cells[1:] for cells in lines}
    rows["everything"] = rows["all that the tables and figures ask of it"]
    parts = {name: part for name, part in told.items() if isinstance(part, dict)}
    assert len(parts) == 5
    for name, part in parts.items():
        seconds = [f"{part['median'][build]:.1f} s" for build in ("earlier", "once")]
        assert rows[name] == [*seconds, f"{part['ratio']:.2f}"]
        assert not any(part["flags"].values())  # "No flag differs"


def test_the_page_on_speed_opens_with_the_ratios_that_were_published():
    text = Path("docs/speed.md").read_text()
    found, attacked = published_ratios("cpu"), published_ratios("cpu-autoattack")
    ordered = sorted(found[method] for method in METHODS)
    assert f"is {ordered[0]:.1f} ({min(METHODS, key=found.get)}) to {ordered[-1]:.1f} (AT, TRADES) times" in text
    assert f"{found['Adv-DPNP']:.1f} times for" in text
    assert f"PGD-20 is {attacked['PGD-20']:.1f} times" in text
    assert f"AutoAttack {attacked['AutoAttack']:.1f} times" in text
    assert f"augmentation {found['augmentation']:.0f} times" in text


def test_the_page_on_speed_shows_the_fidelity_that_was_published():
    text = Path("docs/speed.md").read_text()
    published = sorted(Path("published/benchmarks").glob("fidelity-*.json"))
    assert len(published) == 3
    for path in published:
        found = json.loads(path.read_text())["fidelity"]
        assert fidelity.table(found) in text
        assert f"{found['seeds']} seeds" in text
        for method, sides in found["values"].items():  # the summaries are those of the values
            for attack in fidelity.ATTACKS:
                fast, plain = ([seed[attack] for seed in sides[side]] for side in ("fast", "plain"))
                assert found[method][attack] == fidelity.summary(fast, plain)


def test_the_invented_tier_has_every_block_and_seed_and_its_runs_are_complete(tmp_path):
    tier = parse_tier("many", tomllib.loads(many_runs.tier_text(3)), "many")
    runs = all_runs(tier)
    assert {run.block for run in runs.values()} >= {"cifar100/resnet18", "svhn/resnet18", "cifar10/wrn34_10"}
    assert {run.seed for run in runs.values()} == {0, 1, 2}
    run, store = tier.run("svhn/resnet18", "IKL", 2), Store(tmp_path)
    many_runs.write_run(store, tier, run, many_runs.templates(), np.random.default_rng(0))
    for name in evaluations_of(tier, run, EVERYTHING):
        assert store.read_evaluation(run, name)["run"] == run.id
        if name in run.attacks:
            flags, told = store.read_flags(run, name), store.read_evaluation(run, name)
            assert (len(flags), int(flags.sum())) == (told["images"], told["correct"])


def test_memory_is_the_commands_own_and_not_ours(tmp_path):
    ours = np.ones(200 * 2**20, dtype=np.uint8)  # 200 MB here
    seconds, megabytes = many_runs.cost(["-c", "x = bytearray(50 * 2**20)"], tmp_path)
    assert ours.nbytes > 2**20 * megabytes > 50 * 2**20
    assert seconds > 0
    with pytest.raises(UserError, match="failed: no such luck"):
        many_runs.cost(["-c", "raise SystemExit('no such luck')"], tmp_path)


def test_the_page_on_speed_shows_what_the_demo_takes_beside_the_earlier_build():
    told = json.loads(Path("published/benchmarks/cpu-demo-beside-earlier.json").read_text())
    page, (now, earlier) = Path("docs/speed.md").read_text(), (told[who] for who in ("now", "earlier"))
    spent = [each["evaluation_seconds"] for each in (now, earlier)]
    assert f"{now['wall_seconds'] / 60:.1f} minutes by the clock, {now['core_seconds'] / 60:.1f} core-minutes" in page
    assert f"at most {now['mebibytes']} MiB per process now, {earlier['wall_seconds'] / 60:.1f} minutes" in page
    assert f"{earlier['core_seconds'] / 60:.1f} core-minutes and {earlier['mebibytes']} MiB then" in page
    assert f"{now['slowest_network_seconds']:.0f} s instead of {earlier['slowest_network_seconds']:.0f}" in page
    assert f"{now['core_seconds'] / earlier['core_seconds']:.2f} of the core-minutes" in page
    added = set(spent[0]) - set(spent[1])
    l1 = sum(seconds for name, seconds in spent[0].items() if name in added and "l1" in name)
    assert f"another l1 attack ({l1:.0f} s)" in page
    assert f"({spent[0]['guard']:.0f} s, {spent[1]['guard']:.0f} s then)" in page
    assert (now["trainings"], earlier["trainings"]) == (18, 17)
