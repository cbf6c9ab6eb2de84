"""Files are written whole or not at all, numbers say where they come from, progress reads well in a log file."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from advdpnp import progress as module
from advdpnp import store
from advdpnp.errors import UserError
from advdpnp.progress import Progress, duration
from advdpnp.store import (
    RESULTS,
    code_hash,
    device_name,
    provenance,
    read_json,
    results_root,
    sha256_file,
    write_atomic,
    write_csv,
    write_json,
    write_text,
)

# --- Places


def test_results_lie_below_one_root(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    run = tiny("AT", seed=2)
    assert results_root() == tmp_path
    assert RESULTS.tier("demo") == tmp_path / "demo"
    assert RESULTS.run(run) == tmp_path / "tiny" / "runs" / "digits-resnet18-at-s2"
    assert RESULTS.evaluation(run, "aa") == tmp_path / "tiny" / "evals" / "digits-resnet18-at-s2" / "aa.json"


# --- Atomic writes


class Stopped(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "raised"),
    [(Stopped(), Stopped), (KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left"), UserError)],
)
def test_a_write_that_fails_midway_leaves_the_old_file(tmp_path, error, raised):
    path = write_text(tmp_path / "kept.json", "old")

    def half(handle):
        handle.write(b"ne")
        handle.flush()
        raise error

    with pytest.raises(raised):
        write_atomic(path, half)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.json"]


def test_a_full_disk_is_named(tmp_path):
    def full(handle):
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"model\.pt: could not be written \(No space left on device\); mend that"):
        write_atomic(tmp_path / "model.pt", full)


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match=r"could not be written \((File exists|Not a directory)\)"):
        write_text(tmp_path / "runs" / "log.csv", "x")


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = write_text(tmp_path / "file", "old")

    def watched(handle):
        handle.write(b"new and ")
        handle.flush()
        assert path.read_text() == "old"
        handle.write(b"longer")

    assert write_atomic(path, watched) == path
    assert path.read_text() == "new and longer"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_reader_of_the_old_file_is_not_disturbed(tmp_path):
    path = write_text(tmp_path / "file", "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_folders_are_made_and_files_are_readable_by_others(tmp_path):
    path = write_text(tmp_path / "a" / "b" / "c.txt", "Größe ± 1")
    assert path.read_text(encoding="utf-8") == "Größe ± 1"
    assert path.stat().st_mode & 0o777 == 0o644


def test_json_comes_back(tmp_path):
    value = {"accuracy": 53.68, "settings": {"milestones": [100, 105]}, "none": None}
    assert read_json(write_json(tmp_path / "a.json", value)) == value
    assert (tmp_path / "a.json").read_text().endswith("}\n")


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(path, {1, 2})
    assert read_json(path) == 1


def test_csv_has_unix_lines_and_quotes_what_needs_it(tmp_path):
    rows = [{"a": 1, "b": "x,y"}, {"a": "", "b": 'say "hi"'}]
    path = write_csv(tmp_path / "t.csv", rows, ("a", "b"))
    assert path.read_bytes().startswith(b'a,b\n1,"x,y"\n')
    with path.open(newline="") as file:
        assert list(csv.DictReader(file))[1]["b"] == 'say "hi"'


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"nothing"])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "train.json").write_bytes(content)
    with pytest.raises(UserError, match=r"train\.json: is not valid JSON \(damaged\?\); delete it and run again"):
        read_json(tmp_path / "train.json")


def test_missing_json_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.json: is missing"):
        read_json(tmp_path / "absent.json")


# --- Where a number comes from


def test_sha256_is_the_published_one(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_provenance_names_versions_device_and_code():
    found = provenance("cpu")
    packages = ["torch", "numpy", "scipy", "pillow", "scikit-learn", "pyautoattack"]
    assert list(found) == ["python", *packages, "device", "code_revision", "code_hash"]
    assert re.match(r"\d+\.\d+\.\d+", found["torch"])
    assert found["code_hash"] == code_hash()
    assert re.fullmatch(r"[0-9a-f]{16}", found["code_hash"])
    assert re.fullmatch(r"[0-9a-f]{12}\+?|unknown", found["code_revision"])
    assert json.loads(json.dumps(found)) == found


def test_the_code_hash_follows_the_sources(tmp_path, monkeypatch):
    (tmp_path / "advdpnp").mkdir()
    source = tmp_path / "advdpnp" / "a.py"
    monkeypatch.setattr(store, "PACKAGE", tmp_path / "advdpnp")
    hashes = []
    for text in ("x = 1", "x = 2", "x = 1"):
        source.write_text(text)
        hashes.append(code_hash.__wrapped__())
    assert hashes[0] == hashes[2] != hashes[1]


def test_the_processor_is_named_with_its_threads():
    assert re.search(r".+, \d+ threads", device_name("cpu"))


def test_nothing_is_written_to_the_checkout():
    assert not results_root().is_relative_to(Path(module.__file__).parent.parent)


# --- Progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (75, "1m15s"),
        (3599, "59m59s"),
        (7300, "2h01m"),
        (172_799, "47h59m"),
        (200_000, "2d07h"),
    ],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_a_log_file_gets_plain_lines_with_the_time_left(clock):
    stream = io.StringIO()
    progress = Progress("train", 10, stream=stream)
    clock.now += 30
    progress.update(1)
    clock.now += 30
    progress.update(1, "loss 2.1")
    assert stream.getvalue().splitlines() == ["train  10%, 4m30s left", "train  20%, 4m00s left, loss 2.1"]
    clock.now += 15
    progress.finish("loss 1.9")
    assert stream.getvalue().splitlines()[-1] == "train done in 1m15s, loss 1.9"
    assert "\r" not in stream.getvalue()
    assert stream.getvalue().replace("\n", "").isprintable()


def test_a_log_file_is_not_flooded(clock):
    stream = io.StringIO()
    progress = Progress("train", 1000, stream=stream)
    for _ in range(100):
        clock.now += 1
        progress.update()
    assert len(stream.getvalue().splitlines()) == 5  # every 20 of 100 seconds


def test_work_of_an_earlier_process_says_nothing_about_speed(clock):
    stream = io.StringIO()
    progress = Progress("train", 10, done=5, stream=stream)
    clock.now += 30
    progress.update(1)
    assert stream.getvalue() == "train  60%, 2m00s left\n"  # four more at 30 s each


def test_parts_of_a_unit_count(clock):
    stream = io.StringIO()
    progress = Progress("train", 2, stream=stream)
    for _ in range(4):
        clock.now += 20
        progress.update(1 / 4)
    assert stream.getvalue().splitlines()[-1] == "train  50%, 1m20s left"


def test_a_terminal_gets_one_line_that_refreshes(clock):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    progress = Progress("train", 4, stream=stream)
    for _ in range(4):
        clock.now += 1
        progress.update()
    progress.finish()
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().count("\r") == 5
    assert stream.getvalue().endswith("train done in 4s\x1b[K\n")


def test_flags_are_read_once_and_again_after_a_change(tiny, tmp_path):
    run, place = tiny("AT"), store.Store(tmp_path)
    path = place.arrays(run, "clean")
    store.write_atomic(path, lambda handle: np.savez_compressed(handle, correct=np.array([True, False])))
    first = place.read_flags(run, "clean")
    assert place.read_flags(run, "clean") is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = False
    store.write_atomic(path, lambda handle: np.savez_compressed(handle, correct=np.array([False, True, True])))
    assert place.read_flags(run, "clean").tolist() == [False, True, True]


def test_a_note_stays_until_another_and_a_line_does_not_wrap(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "40")
    stream, clock = Terminal(), iter(range(0, 1000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    progress = Progress("train", 4, stream=stream)
    progress.note = "epoch 2 of 8, loss 12.34"
    progress.update()
    progress.update(note="other")
    progress.update()
    lines = [line.removesuffix("\x1b[K") for line in stream.getvalue().split("\r")[1:]]
    assert lines[0].startswith("train  25%, ")
    assert "epoch 2 of 8" in lines[0]
    assert lines[1].endswith("left, other")
    assert "epoch 2 of 8" in lines[2]
    assert max(map(len, lines)) < 40


def test_a_snapshot_keeps_what_it_read_and_a_store_reads_anew(tiny, tmp_path):
    run = tiny("AT")
    plain, snapshot = store.Store(tmp_path), store.Snapshot(tmp_path)
    assert snapshot.read_evaluation(run, "clean", "accuracy") is None
    for path in (plain.evaluation(run, "clean"), plain.trained(run)):
        write_json(path, {"accuracy": 1})
    assert snapshot.read_evaluation(run, "clean", "accuracy") is None
    assert snapshot.read_training(run)["accuracy"] == 1
    write_json(plain.trained(run), {"accuracy": 2})
    assert snapshot.read_training(run, "accuracy")["accuracy"] == 1
    assert snapshot.read_json(plain.trained(run))["accuracy"] == 1
    assert plain.read_training(run, "accuracy")["accuracy"] == 2
    with pytest.raises(UserError, match=r"train\.json: does not hold seconds"):
        snapshot.read_training(run, "seconds")


def test_a_report_opens_each_result_once(tmp_path, monkeypatch):
    from advdpnp.config import load_tier
    from advdpnp.report.page import report_markdown

    opened = []
    plain, arrays = store.read_json, store.read_arrays
    monkeypatch.setattr(store, "read_json", lambda path, *keys: opened.append(path) or plain(path, *keys))
    monkeypatch.setattr(store, "read_arrays", lambda path, *names: opened.append(path) or arrays(path, *names))
    store._flags.cache_clear()
    report_markdown(load_tier("short"), store.Snapshot(store.PUBLISHED.root))
    assert len(opened) > 300
    assert [path for path in set(opened) if opened.count(path) > 1] == []
