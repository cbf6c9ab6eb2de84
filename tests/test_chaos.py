"""Nothing is lost: kills at random moments, a full disk, two processes on one run, memory that runs out."""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from chaos.harness import contents, differences, untimed

from advdpnp import data
from advdpnp import evaluate as module
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate
from advdpnp.evaluate.memory import ChunkedModel, retry_with_smaller_chunks
from advdpnp.store import RESULTS, locked, write_text
from advdpnp.train import fit

ROOT = Path(__file__).parent.parent
TIER = ROOT / "tests" / "chaos" / "chaos.json"
RUN = "digits-resnet18-adv_dpnp-s0"
LINUX = sys.platform.startswith("linux")


def command(*arguments: str, before: str = "", **options) -> subprocess.CompletedProcess:
    """The command line in a process of its own; `before` is code that runs in it first."""
    code = f"import sys; {before}\nfrom advdpnp.__main__ import main\nsys.exit(main({list(arguments)!r}))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = [sys.executable, "-c", code]
    return subprocess.run(done, env=environment, capture_output=True, text=True, timeout=120, check=False, **options)


def train_command(**options) -> subprocess.CompletedProcess:
    return command("train", "--tier", str(TIER), RUN, "--device", "cpu", **options)


def one_sentence(done: subprocess.CompletedProcess) -> str:
    """The error, which must be the only one, without a traceback, with status 2."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """{method: where its network was trained}"""
    folders = {method: tmp_path_factory.mktemp(method) for method in ("Adv-DPNP", "ST")}
    for method, folder in folders.items():
        fit(tiny(method), folder)
    return folders


# --- Kills


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_at_least_twenty_kills_lose_nothing():
    """Two seeds per scenario, or three; `make chaos` runs at least a hundred."""
    arguments = [str(ROOT / "tests" / "chaos"), "--kills", "20", "--each", "5", "--workflows", "1"]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("none lost\n")
    assert int(done.stdout.split()[0]) >= 20
    for name in ("train fp32", "train bf16", "evaluate fp32", "evaluate bf16", "workflow"):
        assert re.search(rf"{name} [1-9]", done.stdout), done.stdout


def test_the_harness_sees_one_flipped_bit(tmp_path):
    """What the comparison says equal is equal: a weight off by one bit, or a number, is a difference."""
    (tmp_path / "model.pt").write_bytes(b"\0\1")
    (tmp_path / "a.json").write_text('{"accuracy": 1, "seconds": 5}')
    np.savez(tmp_path / "a.npz", correct=np.array([True, False]))
    before = contents(tmp_path)
    (tmp_path / "a.json").write_text('{"accuracy": 1, "seconds": 6}')
    assert differences(before, contents(tmp_path)) == []
    (tmp_path / "model.pt").write_bytes(b"\0\0")
    (tmp_path / "a.json").write_text('{"accuracy": 2, "seconds": 5}')
    np.savez(tmp_path / "a.npz", correct=np.array([True, True]))
    (tmp_path / ".x.abcdefgh.tmp").write_text("")
    assert differences(before, contents(tmp_path)) == [".x.abcdefgh.tmp", "a.json", "a.npz", "model.pt"]


# --- A full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    if not LINUX or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    libc = ctypes.CDLL(None, use_errno=True)
    place = tmp_path / "small"
    place.mkdir()
    if libc.mount(b"tmpfs", str(place).encode(), b"tmpfs", 0, b"size=4m") != 0:
        pytest.skip("mounting is not allowed here")
    yield place
    libc.umount2(str(place).encode(), 2)


def test_a_full_disk_stops_with_a_sentence_and_the_same_command_goes_on(small_disk, tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(small_disk))
    folder = small_disk / "chaos" / "runs" / RUN
    folder.mkdir(parents=True)
    assert train_command().returncode == 0
    through = {name: (folder / name).read_bytes() for name in ("model.pt", "last.pt")}
    for name in ("model.pt", "last.pt", "train.json", "log.csv"):
        (folder / name).unlink()
    free = os.statvfs(small_disk)
    room = len(through["last.pt"]) + len(through["last.pt"]) // 2  # one state, but not the next beside it
    (small_disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - room))
    said = one_sentence(train_command())
    assert "could not be written (No space left on device)" in said
    assert (folder / "last.pt").exists()  # of the epoch before
    assert not list(folder.glob(".*.tmp"))
    (small_disk / "ballast").unlink()
    done = train_command()
    assert done.returncode == 0, done.stderr
    assert (folder / "model.pt").read_bytes() == through["model.pt"]


@pytest.mark.skipif(not LINUX, reason="RLIMIT_FSIZE")
def test_a_limit_on_the_size_of_files_is_a_sentence_too(tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))"
    said = one_sentence(train_command(before=limit))
    assert "last.pt: could not be written (File too large)" in said
    folder = Path(os.environ["ADVDPNP_RESULTS"], "chaos", "runs", RUN)
    assert not (folder / "last.pt").exists()
    assert not list(folder.glob(".*.tmp"))


# --- Two processes


@pytest.fixture
def holder():
    """holder(path) -> a process that holds the lock of `path`."""
    started = []

    def begin(path: Path) -> subprocess.Popen:
        code = (
            "import sys, time; from pathlib import Path; from advdpnp.store import RESULTS, locked\n"
            "with locked(Path(sys.argv[1]), 'is being tested'): print('held', flush=True); time.sleep(100)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_second_process_says_who_holds_the_run(holder, tiny):
    run = tiny("ST")
    first = holder(RESULTS.run(run))
    said = rf"is being tested by process {first.pid} on \S+ since 20\S+; wait until it has ended, or stop it"
    with pytest.raises(UserError, match=said):
        fit(run)
    assert not (RESULTS.run(run) / "config.json").exists()
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (RESULTS.run(run) / "run.holder").exists()  # stale, and no obstacle
    write_text(RESULTS.run(run) / "kept", "")
    (RESULTS.run(run) / ".last.pt.abcd1234.tmp").write_text("half")
    assert fit(run)
    assert not list(RESULTS.run(run).glob(".*.tmp"))
    assert (RESULTS.run(run) / "kept").exists()
    assert not (RESULTS.run(run) / "run.holder").exists()


def test_the_second_process_of_the_command_line_has_status_2(holder):
    first = holder(Path(os.environ["ADVDPNP_RESULTS"], "chaos", "runs", RUN))
    assert f"process {first.pid} on" in one_sentence(train_command())


def test_each_evaluation_is_held_by_itself(holder, tiny, trained):
    run = tiny("ST")
    first = holder(RESULTS.evaluation(run, "pgd20"))
    with pytest.raises(UserError, match=rf"pgd20\.json: is being tested by process {first.pid} on"):
        evaluate(run, "pgd20", directory=trained["ST"])
    assert evaluate(run, "clean", directory=trained["ST"])["clean"]["images"] == 60


def test_who_waits_gets_the_result(holder, tiny, trained, capsys):
    run = tiny("ST")
    first = holder(RESULTS.evaluation(run, "clean"))
    timer = subprocess.Popen([sys.executable, "-c", f"import time, os; time.sleep(1); os.kill({first.pid}, 9)"])
    begin = time.monotonic()
    assert evaluate(run, "clean", directory=trained["ST"], wait=True)["clean"]["images"] == 60
    assert time.monotonic() - begin > 0.5
    assert f"process {first.pid} on" in capsys.readouterr().err
    timer.wait()


def test_a_hold_ends_with_its_block(tmp_path):
    def work():
        with locked(tmp_path, "is being tested"):
            assert json.loads((tmp_path / "run.holder").read_text())["pid"] == os.getpid()
            raise KeyError

    with pytest.raises(KeyError):
        work()
    with locked(tmp_path, "is being tested"):
        pass
    assert not (tmp_path / "run.holder").exists()


# --- Memory


@pytest.fixture
def little_memory(monkeypatch):
    """little_memory(error, most) -> the sizes that the network saw; `error` is raised above `most` images."""

    def limit(error: Exception, most: int) -> list[int]:
        seen, load_model = [], module.load_model

        def load(*arguments):
            model = load_model(*arguments)

            def look(_, inputs):
                if len(inputs[0]) > most:
                    raise error
                seen.append(len(inputs[0]))

            for part in (model, *list(model.children())[:1]):  # features() passes the model's own hooks by
                part.register_forward_pre_hook(look)
            return model

        monkeypatch.setattr(module, "load_model", load)
        return seen

    return limit


CPU_IS_FULL = RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize("name", ["clean", "pgd20_random", "pgd40_restarts5", "aa", "features", "adaptive20"])
def test_out_of_memory_halves_what_the_network_sees_and_changes_no_result(tiny, trained, little_memory, name):
    run = tiny(attacks={"aa": {"square_queries": 10, "version": "smoke"}, "pgd40_restarts5": {"steps": 5}})
    through = evaluate(run, name, directory=trained["Adv-DPNP"])[name]
    arrays = dict(np.load(RESULTS.arrays(run, name)))
    seen = little_memory(torch.OutOfMemoryError("CUDA out of memory"), 6)
    found = evaluate(run, name, directory=trained["Adv-DPNP"], force=True)[name]
    assert (through["images_at_once"], found["images_at_once"]) == (20, 5)
    assert max(seen) <= 5
    counts, expected = (
        {k: v for k, v in untimed(result).items() if k not in ("images_at_once", "loss")} for result in (found, through)
    )
    assert counts == expected
    assert found.get("loss", 0) == pytest.approx(through.get("loss", 0), abs=1e-5)
    for key, value in np.load(RESULTS.arrays(run, name)).items():
        assert np.allclose(value, arrays[key], atol=1e-4), key


CUBLAS_IS_FULL = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@pytest.mark.parametrize("error", [CPU_IS_FULL, CUBLAS_IS_FULL])
def test_plain_errors_are_out_of_memory_too(tiny, trained, little_memory, capsys, error):
    run, where = tiny("ST"), {"directory": trained["ST"]}
    expected = (evaluate(run, "pgd20", **where), RESULTS.read_flags(run, "pgd20").tolist())[1]
    little_memory(error, 10)
    assert evaluate(run, "pgd20", force=True, **where)["pgd20"]["images_at_once"] == 10
    assert RESULTS.read_flags(run, "pgd20").tolist() == expected
    assert "memory is out; going on with 10 images at once" in capsys.readouterr().err


def test_one_image_too_many_is_a_sentence(tiny, trained, little_memory):
    run = tiny("ST")
    little_memory(CPU_IS_FULL, 0)
    with pytest.raises(UserError, match="a single image does not fit into memory"):
        evaluate(run, "clean", directory=trained["ST"])


def test_the_network_that_images_are_transferred_from_shrinks_too(tiny, monkeypatch):
    run, sizes = tiny(), []

    def probes(model, x, y, attack, surrogate, seed):
        sizes.append((model.size, surrogate.size))
        if surrogate.size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {}

    monkeypatch.setattr(module, "_transfer_source", lambda run: run)
    monkeypatch.setattr(module, "load_model", lambda run, device: torch.nn.Identity())
    monkeypatch.setattr(module.masking, "run_probes", probes)
    monkeypatch.setattr(module.masking, "check_probes", lambda found: [])
    model = ChunkedModel(torch.nn.Linear(1, 1), 8)
    module._guard_result(run, "guard", model, data.load("digits", "test"), "")
    assert sizes == [(8, 8), (4, 4), (2, 2)]


def test_another_error_is_no_lack_of_memory():
    def wrong():
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        retry_with_smaller_chunks(ChunkedModel(torch.nn.Identity(), 4), wrong)


def test_a_gradient_in_pieces_is_the_gradient():
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    x = torch.rand(7, 3, dtype=torch.double, requires_grad=True)
    (whole,) = torch.autograd.grad(model(x).square().sum(), x)
    (pieces,) = torch.autograd.grad(ChunkedModel(model, 2)(x).square().sum(), x)
    assert torch.allclose(whole, pieces, atol=1e-12)


# --- Losses


@pytest.mark.parametrize(
    ("epoch", "kept"), [(0, "nothing was saved before it"), (1, "last.pt keeps the state after epoch 0")]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_what_is_kept(tiny, monkeypatch, epoch, kept, value):
    from advdpnp.defenses import DEFENSES

    run, calls, loss = tiny("ST"), [], DEFENSES["ST"].loss

    def poisoned(self, x, x_adv, y):
        calls.append(1)
        total, terms = loss(self, x, x_adv, y)
        return total + (value if len(calls) == 2 * epoch + 2 else 0), terms  # two steps per epoch

    monkeypatch.setattr(DEFENSES["ST"], "loss", poisoned)
    said = rf"not finite from epoch {epoch}, step 1 on \(loss={value}, .*\); {re.escape(kept)}; a lower optim\.lr"
    with pytest.raises(UserError, match=said):
        fit(run)
    assert (RESULTS.run(run) / "last.pt").exists() == (epoch > 0)
