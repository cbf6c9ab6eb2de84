"""status: done, running, stale, missing, and the time left from what was measured; colour on terminals alone."""

import io
import json
import os
import re
import socket
import subprocess
from dataclasses import asdict

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from advdpnp.__main__ import main
from advdpnp.config import GEOMETRY_DEFINITION, load_tier, resolved_attack
from advdpnp.defenses.at import AdversarialTraining
from advdpnp.jobs.estimate import forward_gflop, network, rough, training_pflop
from advdpnp.jobs.status import elsewhere, eval_state, measured, run_state, time_left, weightless
from advdpnp.paper.artefacts import all_runs
from advdpnp.progress import colour
from advdpnp.store import PUBLISHED, RESULTS, lock_holder, locked, read_json, write_json
from advdpnp.train import fit


@pytest.fixture
def trained(tiny):
    run = tiny("AT")
    fit(run)
    return run


def _evaluation(run, seconds=30.0, **changes):
    sha = read_json(RESULTS.trained(run))["model_sha256"]
    found = {"model_sha256": sha, "settings": asdict(resolved_attack(run, "pgd20")), "seconds": seconds}
    write_json(RESULTS.evaluation(run, "pgd20"), found | {"provenance": {"device": "a"}} | changes)


def test_a_run_is_missing_running_done_or_stale(tiny, trained):
    assert run_state(tiny("TRADES")) == "missing"
    assert run_state(trained) == "done"
    assert run_state(tiny("AT", optim={"lr": 0.01})) == "stale"
    with locked(RESULTS.run(trained), "is being trained"):
        assert run_state(trained).startswith(f"running, 2/2 epochs, process {os.getpid()} on ")
    assert run_state(trained) == "done"


def test_a_killed_process_holds_nothing(trained):
    process = subprocess.Popen(["true"])
    process.wait()
    note = {"pid": process.pid, "host": socket.gethostname(), "since": "then", "doing": "is being trained"}
    write_json(RESULTS.run(trained) / "run.holder", note)
    assert lock_holder(RESULTS.run(trained)) is None
    write_json(RESULTS.run(trained) / "run.holder", note | {"host": "another"})
    assert "on another since then" in lock_holder(RESULTS.run(trained))


def test_an_evaluation_is_missing_running_done_or_stale(trained):
    assert eval_state(trained, "pgd20") == "missing"
    _evaluation(trained)
    assert eval_state(trained, "pgd20") == "done"
    with locked(RESULTS.evaluation(trained, "pgd20"), "is being evaluated"):
        assert eval_state(trained, "pgd20") == "running"
    _evaluation(trained, model_sha256="of other weights")
    assert eval_state(trained, "pgd20") == "stale"
    _evaluation(trained, settings={"kind": "pgd", "steps": 7})
    assert eval_state(trained, "pgd20") == "stale"
    _evaluation(trained, images=60)
    assert eval_state(trained, "pgd20") == "done"
    _evaluation(trained, images=50)  # the tier evaluates 60 by now
    assert eval_state(trained, "pgd20") == "stale"


def test_an_evaluation_of_weights_that_a_restart_forgot_is_stale(trained):
    _evaluation(trained)
    fit(trained, restart=True, max_minutes=0.0001)
    assert run_state(trained) == "1/2 epochs"
    assert eval_state(trained, "pgd20") == "stale"


def test_geometry_by_an_earlier_definition_is_stale(trained):
    stored = {"model_sha256": read_json(RESULTS.trained(trained))["model_sha256"]}
    write_json(RESULTS.evaluation(trained, "geometry"), stored | {"definition": GEOMETRY_DEFINITION})
    assert eval_state(trained, "geometry") == "done"
    write_json(RESULTS.evaluation(trained, "geometry"), stored)  # the first definition had no number
    assert eval_state(trained, "geometry") == "stale"


def test_a_finished_training_says_what_it_took_and_came_to(trained):
    assert re.fullmatch(r", \d+s", measured(trained))
    for name, accuracy in (("clean", 43.55), ("aa", 21.8)):
        found = {"model_sha256": read_json(RESULTS.trained(trained))["model_sha256"], "accuracy": accuracy}
        settings = {"settings": asdict(resolved_attack(trained, name))}
        write_json(RESULTS.evaluation(trained, name), found | settings)
    assert measured(trained).endswith(", clean 43.5 %, AutoAttack 21.8 %")
    write_json(RESULTS.evaluation(trained, "aa"), found)  # of an attack that it does not tell
    assert measured(trained).endswith(", clean 43.5 %")
    content = read_json(RESULTS.trained(trained))
    write_json(RESULTS.trained(trained), content | {"model_sha256": "trained anew"})
    assert re.fullmatch(r", \d+s", measured(trained)), "the numbers of the weights before"


def test_a_finished_training_without_its_weights_is_said_to_be(trained):
    runs, states = {trained.id: trained}, {trained.id: "done"}
    assert weightless(runs, states) == []
    (RESULTS.run(trained) / "model.pt").unlink()
    (line,) = weightless(runs, states)
    assert line.startswith("1 finished training is here without weights")
    assert weightless(runs, {trained.id: "stale"}) == []


def test_time_left_scales_what_was_measured(tiny, trained):
    path = RESULTS.trained(trained)
    content = read_json(path)
    content["seconds"], content["provenance"]["device"] = 90.0, "a"
    path.write_text(json.dumps(content))
    _evaluation(trained)
    trades, other = tiny("TRADES"), tiny("TRADES", seed=5, model={"width": 6})
    runs = {trained.id: trained, trades.id: trades}
    states = {trained.id: "done", trades.id: "missing"}
    pairs = {(trained.id, "pgd20"): "done", (trades.id, "pgd20"): "missing"}
    # AT: 2 steps + 1 pass in 90 s; TRADES: 2 + 2, so 120 s; its PGD-20 30 s like AT's
    lines = time_left(runs, states, pairs)
    assert lines == ["left: 1 training, 1 evaluation", "left, on a: about 2m30s, one job after the other"]
    lines = time_left(runs | {other.id: other}, states | {other.id: "missing"}, pairs)
    assert lines[1].endswith("; not included: 1 job like none measured so far")
    assert time_left({trained.id: trained}, {trained.id: "done"}, {}) == ["nothing is left to do"]
    left = time_left({trades.id: trades}, {trades.id: "missing"}, {})
    assert left == ["left: 1 training, 0 evaluations", "trainings alone: minutes on any machine"]


def test_the_paper_tier_tells_its_hours_by_hardware_and_that_they_are_estimates(capsys):
    assert main(["status", "--tier", "paper"]) == 0
    *_, head, cpu, t4, _, _, h100 = capsys.readouterr().out.splitlines()
    assert head == "trainings alone, one after the other, estimated from their operations and not measured:"
    assert [line.split("  ")[1] for line in (cpu, t4, h100)] == ["one CPU core with AVX512-BF16", "NVIDIA T4", "H100"]
    runs = all_runs(load_tier("paper")).values()
    assert h100.split("about ")[1] == " to ".join(rough(sum(map(training_pflop, runs)) * 1000 / r) for r in (247, 49))


def test_missing_results_that_are_published_are_named_with_the_way_to_them(capsys):
    runs = dict.fromkeys(("cifar10-resnet18-at-s0", "cifar10-resnet18-at-s77"), "missing")
    first, report, restore = elsewhere("short", runs)
    assert first == "published/short holds the results of 1 of the missing trainings, without weights:"
    assert "report --tier short --published" in report
    assert "restore --tier short" in restore
    assert elsewhere("short", dict.fromkeys(runs, "done")) == elsewhere("demo", runs) == []


@pytest.mark.parametrize("tier", ["paper", "short"])
def test_the_operations_of_a_forward_pass_are_as_counted(tier):
    for run in {network(run): run for run in all_runs(load_tier(tier)).values()}.values():
        model = AdversarialTraining.build(run).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, run.facts.channels, run.facts.size, run.facts.size))
        assert forward_gflop(run) == pytest.approx(counter.get_total_flops() / 1e9, rel=0.03)


def test_a_pgd_step_counts_two_forward_passes_and_an_update_three(tiny):
    at = tiny("AT")  # 2 steps
    images = at.data.train_images * at.optim.epochs
    assert training_pflop(at) == pytest.approx(images * (2 * 2 + 3) * forward_gflop(at) / 1e6)
    assert training_pflop(tiny("ST")) == pytest.approx(images * 3 * forward_gflop(at) / 1e6)


@pytest.mark.parametrize(
    ("seconds", "said"), [(90, "1.5 minutes"), (7199, "120 minutes"), (7200, "2 hours"), (300_000, "3.5 days")]
)
def test_an_estimate_has_two_digits(seconds, said):
    assert rough(seconds) == said


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colour_on_terminals_alone(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colour("ok", "done", Terminal()) == "\x1b[32mok\x1b[0m"
    assert colour("ok", "done", io.StringIO()) == "ok"
    assert colour("3/9 epochs", "3/9 epochs", Terminal()) == "3/9 epochs"
    monkeypatch.setenv("NO_COLOR", "1")
    assert colour("ok", "done", Terminal()) == "ok"


def test_status_for_programs_has_the_published_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    (tmp_path / "short").mkdir()
    for kind in ("runs", "evals"):
        (tmp_path / "short" / kind).symlink_to(PUBLISHED.tier("short") / kind)
    assert main(["status", "--tier", "short", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    at = told["trainings"]["cifar10-resnet18-at-s0"]
    folder = PUBLISHED.tier("short") / "evals" / "cifar10-resnet18-at-s0"
    assert at == {
        "state": "done", "epochs": 8, "of_epochs": 8, "seconds": pytest.approx(at["seconds"]),
        "clean": read_json(folder / "clean.json")["accuracy"], "aa": read_json(folder / "aa.json")["accuracy"],
    }  # fmt: skip
    unfinished = [run for run in told["trainings"].values() if run["state"] != "done"]
    assert len(told["trainings"]) - len(unfinished) == 32
    assert told["left"]["trainings"] == len(unfinished) == sum(run["state"] == "missing" for run in unfinished)
    table = told["evaluations"]["table6"]
    assert table == {"needed": table["done"] + table["missing"], "done": 7, "missing": 5}
    assert main(["status", "--tier", "short"]) == 0
    assert f"{len(told['trainings'])} trainings, 32 done:" in capsys.readouterr().out


def test_a_training_that_was_begun_is_told_to_programs_with_its_epochs(capsys):
    run = load_tier("demo").run("cifar10/resnet18", "AT")
    RESULTS.run(run).mkdir(parents=True)
    (RESULTS.run(run) / "log.csv").write_text("epoch\n0\n1\n")
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trainings"][run.id] == {"state": "begun", "epochs": 2, "of_epochs": 8}
