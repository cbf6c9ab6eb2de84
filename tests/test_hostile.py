"""Untrusted files: what they carry is never executed, and what they say is shown and not obeyed."""

import dataclasses
import hashlib
import io
import json
import pickle
import struct
import tarfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from archives import tar_of
from PIL import Image

from advdpnp import data
from advdpnp import evaluate as evaluation
from advdpnp.__main__ import main
from advdpnp.config import DATASETS, load_tier, parse_tier, resolve
from advdpnp.data import download
from advdpnp.data.cifar10c import files as corruption_files
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate, masking
from advdpnp.markdown import escape_markdown
from advdpnp.report import page, render, tables
from advdpnp.store import RESULTS, Store, sha256_file, write_json
from advdpnp.train import fit, load_model, load_state

# --- Payloads: unpickling one leaves a file, the harmless form of running any program


class Opens:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


class Evaluates(Opens):
    def __reduce__(self):
        return eval, (f"open({self.path!r}, 'w')",)


class Commands(Opens):
    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


class Builds(Opens):
    """By way of what numpy's own arrays may ask for: an object array that holds the payload."""

    def __reduce__(self):
        return np.array([Opens(self.path), None], dtype=object).__reduce__()


PAYLOADS = [Opens, Evaluates, Commands, Builds]


@pytest.fixture
def owned(tmp_path):
    """Where a payload would leave its file; checked to be absent at the end of every test that asks for it."""
    path = tmp_path / "owned"
    yield path
    assert not path.exists(), "the payload was executed"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_payloads_work_on_a_trusting_reader(tmp_path, payload):
    path = tmp_path / "mine"
    pickle.loads(pickle.dumps({"data": payload(path)}))
    assert path.exists()
    path.unlink()
    torch.save({"x": payload(path)}, tmp_path / "x.pt")
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert path.exists()
    path.unlink()
    np.savez(tmp_path / "x.npz", correct=np.array([payload(path), None], dtype=object))
    np.load(tmp_path / "x.npz", allow_pickle=True)["correct"]
    assert path.exists()


# --- Data


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """The data root of a CIFAR-10 of four images."""
    monkeypatch.setenv("ADVDPNP_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ADVDPNP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(DATASETS, "cifar10", dataclasses.replace(DATASETS["cifar10"], train_images=4, test_images=4))
    return tmp_path / "data"


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("published", [True, False])
def test_a_cifar_batch(cifar10, owned, monkeypatch, payload, protocol, published):
    """Refused for its checksum; and were the checksum the published one, for what it asks for."""
    name, raw = "cifar-10-batches-py/test_batch", pickle.dumps({"data": payload(owned), "labels": [0]}, protocol)
    (cifar10 / name).parent.mkdir(parents=True)
    (cifar10 / name).write_bytes(raw)
    if published:
        monkeypatch.setitem(data.formats.MD5, name, hashlib.md5(raw).hexdigest())
    with pytest.raises(UserError, match="it asks for" if published else "was not opened because its md5 is"):
        data.load("cifar10", "test")


def test_the_cache_of_decoded_images(cifar10, owned, tmp_path):
    write_shard(cifar10, [png(image) for image in PIXELS])
    data.load("cifar10", "test")
    (file,) = (tmp_path / "cache").iterdir()
    np.savez(file, images=np.array([Opens(owned)], dtype=object), labels=[0], sha256="")
    assert np.array_equal(data.load("cifar10", "test").images.numpy(), PIXELS)


def test_a_corruption_file(tmp_path, owned):
    (tmp_path / "CIFAR-10-C").mkdir()
    np.save(tmp_path / "CIFAR-10-C/fog.npy", np.array([Opens(owned), None], dtype=object))
    with pytest.raises(UserError, match="is not a readable"):
        corruption_files.load_official(tmp_path, "fog", 1)


# --- Checkpoints and cached results


@pytest.fixture
def run(tiny):
    run = tiny("AT", optim={"epochs": 1})
    fit(run)
    evaluate(run, "clean")
    return run


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_checkpoint_that_train_json_vouches_for(run, owned, payload):
    model, trained = RESULTS.run(run) / "model.pt", RESULTS.trained(run)
    torch.save({"head.weight": payload(owned)}, model)
    trained.write_text(json.dumps(json.loads(trained.read_text()) | {"model_sha256": sha256_file(model)}))
    with pytest.raises(UserError, match=r"model\.pt: is not a checkpoint of this project"):
        load_model(run)
    with pytest.raises(UserError, match="is not a checkpoint"):
        evaluate(run, "fgsm")


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("legacy", [True, False])
def test_a_state_to_resume_from(run, owned, payload, legacy):
    last = RESULTS.run(run) / "last.pt"
    state = load_state(last) | {"optimizer": payload(owned)}
    torch.save(state, last, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match=r"last\.pt: is not a checkpoint"):
        fit(run)


def test_the_flags_of_a_cached_evaluation(run, owned, tmp_path):
    path = RESULTS.arrays(run, "clean")
    np.savez(path, correct=np.array([Opens(owned), None], dtype=object))
    with pytest.raises(UserError, match=r"clean\.npz: does not hold the arrays correct"):
        RESULTS.read_flags(run, "clean")


def test_an_unfinished_evaluation(run, owned):
    """With the right key, so that only its arrays can be what is refused."""
    key = evaluate(run, "fgsm")["fgsm"]["key"]
    honest = evaluate(run, "fgsm")["fgsm"]["accuracy"]
    bad = np.array([Opens(owned)] * 60, dtype=object)
    for arrays in ({"correct": bad, "losses": bad}, {"correct": np.ones(3, bool), "losses": np.zeros(3)}):
        np.savez(evaluation.part_path(RESULTS.evaluation(run, "fgsm")), key=key, done=40, **arrays)
        assert evaluate(run, "fgsm", force=True)["fgsm"]["accuracy"] == honest


# --- Archives


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("../outside", b"x"),
        ("a/../../outside", b"x"),
        ("/outside", b"x"),
        ("link", (tarfile.SYMTYPE, "/etc/passwd")),
        ("link", (tarfile.SYMTYPE, "..")),
        ("link", (tarfile.LNKTYPE, "good")),
        ("pipe", (tarfile.FIFOTYPE, "")),
        ("device", (tarfile.CHRTYPE, "")),
    ],
)
def test_an_archive_that_reaches_out_is_refused_whole(tmp_path, name, content):
    archive, folder = tmp_path / "bad.tar.gz", tmp_path / "inside"
    folder.mkdir()
    archive.write_bytes(tar_of(("good", b"fine"), (name, content)))
    with pytest.raises(UserError, match="was not unpacked: its member"):
        download.extract_tar(archive, folder)
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "outside").exists()


# --- Parquet images

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width, height, *extra):
    """A PNG of a few kilobytes that says it is width x height; `extra` chunks come before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = zlib.compress(bytes(10**7), 9)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def write_shard(root, encoded):
    (root / "cifar10").mkdir(parents=True, exist_ok=True)
    images = pa.array([{"bytes": b} for b in encoded], pa.struct([("bytes", pa.binary())]))
    table = pa.table({"img": images, "label": pa.array([0, 1, 2, 3], pa.int64())})
    pq.write_table(table, root / "cifar10/test-00000-of-00001.parquet", compression="zstd")


NO_IMAGES = {
    "a picture of 10 gigapixels": bomb(100_000, 100_000),
    "a comment of 100 MB": bomb(32, 32, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10**8), 9))),
    "a profile of 100 MB": bomb(32, 32, chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(10**8), 9))),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n(r) file quit\n",
    "a GIF": b"GIF89a\x20\x00\x20\x00" + bytes(20),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "a program": b"\x7fELF" + bytes(60),
    "a pickle": pickle.dumps([1]),
}


@pytest.mark.parametrize("raw", NO_IMAGES.values(), ids=NO_IMAGES)
def test_a_parquet_image_that_is_none_is_refused_with_its_row(cifar10, raw):
    write_shard(cifar10, [png(PIXELS[0]), png(PIXELS[1]), raw, png(PIXELS[3])])
    with pytest.raises(UserError, match=r"test-00000-of-00001\.parquet, row 2 is not a PNG or lossless WebP"):
        data.load("cifar10", "test")


def test_a_huge_picture_is_refused_by_its_header(cifar10, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decompressed"))
    for size, reason in ((100_000, "could be decompression bomb"), (9_000, "9000 x 9000 RGB, not 32 x 32 RGB")):
        with pytest.raises(UserError, match=reason):
            data.formats.decode_image(bomb(size, size), 3, 32, "row 0")


def test_a_shard_that_unpacks_to_far_more_than_its_images_is_refused_unread(cifar10, monkeypatch):
    write_shard(cifar10, [png(image) for image in PIXELS[:3]] + [bytes(10**8)])
    assert (cifar10 / "cifar10/test-00000-of-00001.parquet").stat().st_size < 10**6
    monkeypatch.setattr(data.formats, "_rows", lambda *_: pytest.fail("it was read"))
    with pytest.raises(UserError, match=r"the test shards unpack to 100,\d{3},\d{3} bytes"):
        data.load("cifar10", "test")


# --- What is shown

EVIL = "<script>alert(1)</script> **bold** [link](javascript:x) | cell `code` $x$ ![i](y)"


def shows_no_markup(text):
    assert "<script" not in text
    assert "**bold**" not in text
    assert "[link](" not in text
    assert "| cell" not in text.replace("\\|", "")
    return True


def test_literal_text_survives_markdown():
    """Rendered by a Markdown engine with raw HTML allowed, the text reads as it was written."""
    import re
    from html import unescape

    import mistune

    for text in (EVIL, "# no heading", "a_b_c *d* ~~e~~", "100 % <b>", "1 < 2 & 3", "back\\slash", "demo: 8x8 digits"):
        rendered = mistune.html("x " + escape_markdown(text))
        shown = unescape(re.sub(r"</?p>", "", rendered)).strip()
        assert shown == f"x {text}"
        assert not re.search(r"<(?!/?p>)", rendered)


def test_a_label_acts_neither_in_tables_nor_in_the_report_nor_in_a_notebook(monkeypatch, tmp_path):
    from advdpnp import notebook

    raw = {"label": EVIL, "blocks": {"cifar10/resnet18": {"dataset": "digits"}},
           "defaults": {"optim": {"epochs": 1, "milestones": []}}}  # fmt: skip
    tier = parse_tier("evil", raw, "evil.toml")
    (tmp_path / "evil" / "evals").mkdir(parents=True)
    assert shows_no_markup(render.markdown(tables.table_rows(tier, "table1", Store(tmp_path)), tier.label))
    assert shows_no_markup(page.report_markdown(tier, Store(tmp_path)))
    shown = []
    monkeypatch.setattr(notebook, "display", shown.append)
    monkeypatch.setattr(notebook, "load_tier", lambda name: tier)
    notebook.begin("evil")
    notebook.show_table(tier, "table1")
    assert len(shown) >= 2
    for item in shown:  # Markdown does not act inside an HTML block
        assert "<script" not in item.data
        assert item.data.startswith("<table>") or shows_no_markup(item.data)


def test_what_a_result_says_is_shown_and_not_obeyed(tmp_path):
    """train.json's device and the guard's evidence come from files that may be anybody's."""
    run, store = resolve("demo", "digits-resnet18-at-s0"), Store(tmp_path)
    trained = {"train_images": 1, "final": {"epoch": 0}, "seconds": 1.0, "images_per_second": 1.0, "precision": EVIL,
               "provenance": {"device": EVIL}}  # fmt: skip
    write_json(store.trained(run), trained)
    checks = [{"name": "gradient", "ok": False, "detail": EVIL}]
    write_json(store.evaluation(run, "guard"), {"images": 100, "seconds": 1.0, "checks": checks})
    text = page.report_markdown(load_tier("demo"), store)
    assert "&lt;script&gt;" in text
    assert shows_no_markup(text)


@pytest.mark.parametrize("checks", [[{"name": "gradient"}], [3], [{"name": EVIL, "ok": False, "detail": ""}]])
def test_checks_that_the_guard_never_wrote_are_refused(checks):
    with pytest.raises(UserError, match="holds other checks than"):
        masking.from_json(checks, "a file")


def test_a_number_that_is_none_is_refused(run, capsys):
    path = RESULTS.evaluation(run, "clean")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"accuracy": EVIL}))
    with pytest.raises(UserError, match=r"clean\.json: accuracy is no number"):
        tables.cell(run, "clean")


def test_a_label_is_no_formula(tmp_path):
    from matplotlib import pyplot as plt

    from advdpnp.report import figures

    fig = plt.figure()
    figures.label_protocol(fig, "costs $5 and $x_{")
    figures.save(fig, tmp_path / "x.png")
    plt.close(fig)
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_a_run_id_never_leaves_its_folder(capsys):
    for text in ("../../etc/passwd", "digits-resnet18-at-s0/../../x", "digits-resnet18-at.x/../y-s0", "a\0b"):
        assert main(["evaluate", text, "clean"]) == 2
