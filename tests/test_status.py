"""status: done, running, stale, missing, and the time left from what was measured; colour on terminals alone."""

import io
import json
import os
import socket
import subprocess

import pytest

from advdpnp.config import GEOMETRY_DEFINITION
from advdpnp.jobs.status import eval_state, run_state, time_left
from advdpnp.progress import colour
from advdpnp.store import RESULTS, lock_holder, locked, read_json, write_json
from advdpnp.train import fit


@pytest.fixture
def trained(tiny):
    run = tiny("AT")
    fit(run)
    return run


def _evaluation(run, seconds=30.0, **changes):
    from dataclasses import asdict

    from advdpnp.config import resolved_attack

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


def test_geometry_by_an_earlier_definition_is_stale(trained):
    stored = {"model_sha256": read_json(RESULTS.trained(trained))["model_sha256"]}
    write_json(RESULTS.evaluation(trained, "geometry"), stored | {"definition": GEOMETRY_DEFINITION})
    assert eval_state(trained, "geometry") == "done"
    write_json(RESULTS.evaluation(trained, "geometry"), stored)  # the first definition had no number
    assert eval_state(trained, "geometry") == "stale"


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
    assert lines == ["left: 1 trainings, 1 evaluations", "left, on a: about 2m30s, one job after the other"]
    lines = time_left(runs | {other.id: other}, states | {other.id: "missing"}, pairs)
    assert "1 jobs without a measured like" in lines[1]
    assert time_left({trained.id: trained}, {trained.id: "done"}, {}) == ["nothing is left to do"]
    assert "plan --measure" in time_left({trades.id: trades}, {trades.id: "missing"}, {})[0]


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
