"""What data sets must look like to be believed, in every layout, and what is said when they do not.

Synthetic files in the exact official formats stand in for the real ones, with their own md5 and counts; the tests of
real data at the end run where ADVDPNP_DATA names a folder that holds some.
"""

import dataclasses
import gzip
import hashlib
import io
import logging
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from archives import tar_of
from PIL import Image
from scipy.io import savemat

from advdpnp import data
from advdpnp.config import DATASETS
from advdpnp.data import download
from advdpnp.errors import UserError
from benchmarks.vision import import_torchvision

REAL_ROOT, REAL_CACHE = os.environ.get("ADVDPNP_DATA"), os.environ.get("ADVDPNP_CACHE", "")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDPNP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ADVDPNP_DATA", raising=False)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def expect(monkeypatch):
    """Set how many images a data set must hold."""

    def set_counts(name, train, test):
        monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], train_images=train, test_images=test))

    return set_counts


@pytest.fixture
def put(root, monkeypatch):
    """Write a file below the root and publish its md5, as if it were the official one."""

    def write(path, raw, md5=None):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(raw)
        if path in data.formats.MD5:
            monkeypatch.setitem(data.formats.MD5, path, md5 or hashlib.md5(raw).hexdigest())

    return write


def pixels(n, channels, size):
    return RNG.integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def cifar_batch(images, labels, key="labels"):
    return pickle.dumps({"data": images.reshape(len(images), -1), key: list(map(int, labels))}, protocol=2)


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def encode(image, kind="PNG", **options):
    """[C, H, W] uint8 to the bytes of an image file."""
    buffer = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(buffer, kind, **options)
    return buffer.getvalue()


def write_shards(folder, split, encoded, labels, shards=1, columns=("img", "label")):
    folder.mkdir(parents=True, exist_ok=True)
    for i, part in enumerate(np.array_split(np.arange(len(labels)), shards)):
        table = pa.table(
            {
                columns[0]: pa.array(
                    [{"bytes": encoded[j], "path": None} for j in part],
                    pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
                ),
                columns[1]: pa.array([labels[j] for j in part], pa.int64()),
            }
        )
        pq.write_table(table, folder / f"{split}-{i:05d}-of-{shards:05d}.parquet")


# --- official layouts ---------------------------------------------------------------------------------------------


def test_cifar10_joins_the_five_batches_in_order_and_reads_planes(put, expect, root):
    images, labels = pixels(10, 3, 32), np.arange(10)
    for i in range(5):
        two = slice(2 * i, 2 * i + 2)
        put(f"cifar-10-batches-py/data_batch_{i + 1}", cifar_batch(images[two], labels[two]))
    put("cifar-10-batches-py/test_batch", cifar_batch(images[:3], labels[:3]))
    expect("cifar10", 10, 3)

    train, test = data.load("cifar10", "train", root), data.load("cifar10", "test", root)

    assert torch.equal(train.images, torch.from_numpy(images))
    assert train.images.dtype == torch.uint8
    assert train.labels.tolist() == labels.tolist()
    assert train.labels.dtype == torch.int64
    assert len(test) == 3
    assert train.sha256 == hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()


def test_cifar100_takes_the_fine_labels(put, expect, root):
    images = pixels(2, 3, 32)
    raw = {"data": images.reshape(2, -1), "fine_labels": [99, 7], "coarse_labels": [3, 4]}
    put("cifar-100-python/test", pickle.dumps(raw, protocol=2))
    expect("cifar100", 2, 2)
    found = data.load("cifar100", "test", root)
    assert found.labels.tolist() == [99, 7]
    assert torch.equal(found.images, torch.from_numpy(images))


def test_svhn_moves_the_sample_axis_first_and_reads_label_10_as_zero(put, expect, root):
    images, labels = pixels(4, 3, 32), np.array([[10], [1], [9], [10]], dtype=np.uint8)
    buffer = io.BytesIO()
    savemat(buffer, {"X": images.transpose(2, 3, 1, 0), "y": labels})
    put("train_32x32.mat", buffer.getvalue())
    expect("svhn", 4, 4)
    found = data.load("svhn", "train", root)
    assert found.labels.tolist() == [0, 1, 9, 0]
    assert torch.equal(found.images, torch.from_numpy(images))


@pytest.mark.parametrize("label", [0, 11])
def test_svhn_labels_outside_1_to_10_are_refused(put, expect, root, label):
    buffer = io.BytesIO()
    savemat(buffer, {"X": pixels(2, 3, 32).transpose(2, 3, 1, 0), "y": np.array([[1], [label]], dtype=np.uint8)})
    put("test_32x32.mat", buffer.getvalue())
    expect("svhn", 2, 2)
    with pytest.raises(UserError, match=rf"test_32x32.mat: row 1 has label {label}, outside 1..10"):
        data.load("svhn", "test", root)


@pytest.mark.parametrize("compressed", [False, True])
def test_mnist_is_read_raw_and_compressed(put, expect, root, compressed):
    images, labels = pixels(3, 1, 28), np.array([5, 0, 9], dtype=np.uint8)
    for path, array in zip(data.formats.LAYOUT["mnist"]["test"], (images[:, 0], labels)):
        raw = idx(array)
        put(path + ".gz" if compressed else path, gzip.compress(raw) if compressed else raw)
    expect("mnist", 3, 3)
    found = data.load("mnist", "test", root)
    assert torch.equal(found.images, torch.from_numpy(images))
    assert found.labels.tolist() == [5, 0, 9]


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b"\0\0\x0d\x03" + raw[4:], lambda raw: raw[:7]],
    ids=["truncated", "too long", "float magic", "no header"],
)
def test_a_damaged_mnist_file_is_named(put, expect, root, damage):
    images, labels = data.formats.LAYOUT["mnist"]["test"]
    put(images, damage(idx(pixels(3, 1, 28)[:, 0])))
    put(labels, idx(np.zeros(3, dtype=np.uint8)))
    expect("mnist", 3, 3)
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte is damaged .*advdpnp fetch mnist"):
        data.load("mnist", "test", root)


# --- pickles --------------------------------------------------------------------------------------------------------


def test_a_wrong_checksum_is_found_before_unpickling(put, expect, root, monkeypatch):
    put("cifar-10-batches-py/test_batch", cifar_batch(pixels(1, 3, 32), [0]), md5="0" * 32)
    expect("cifar10", 1, 1)
    monkeypatch.setattr(data.formats, "_unpickle", lambda *_: pytest.fail("the file was opened"))
    with pytest.raises(UserError, match=r"delete it and run `python -m advdpnp fetch cifar10`"):
        data.load("cifar10", "test", root)


def test_published_checksums_cover_every_pickle_and_mat_file():
    for name in ("cifar10", "cifar100", "svhn"):
        for files in data.formats.LAYOUT[name].values():
            assert set(files) <= set(data.formats.MD5)


# --- parquet --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channels", "size", "columns", "config", "kind", "options"),
    [
        ("cifar10", 3, 32, ("img", "label"), "", "WEBP", {"lossless": True}),
        ("cifar10", 3, 32, ("img", "label"), "plain_text", "PNG", {}),
        ("cifar100", 3, 32, ("img", "fine_label"), "cifar100", "PNG", {}),
        ("mnist", 1, 28, ("image", "label"), "mnist", "PNG", {}),
        ("svhn", 3, 32, ("image", "label"), "elsewhere", "WEBP", {"lossless": True, "icc_profile": bytes(300)}),
    ],
)
def test_both_hub_schemas_in_any_number_of_shards(root, expect, name, channels, size, columns, config, kind, options):
    images, labels = pixels(7, channels, size), [int(label) for label in RNG.integers(0, 10, 7)]
    encoded = [encode(image, kind, **options) for image in images]
    write_shards(root / name / config, "train", encoded, labels, shards=3, columns=columns)
    expect(name, 7, 1)
    found = data.load(name, "train", root)
    assert torch.equal(found.images, torch.from_numpy(images))
    assert found.labels.tolist() == labels


def test_svhn_takes_the_cropped_digits_of_the_hub(root, expect):
    right, wrong = pixels(2, 3, 32)
    write_shards(root / "svhn" / "cropped_digits", "test", [encode(right)], [1], columns=("image", "label"))
    write_shards(root / "svhn" / "another", "test", [encode(wrong)], [2], columns=("image", "label"))
    expect("svhn", 1, 1)
    assert data.load("svhn", "test", root).labels.tolist() == [1]


def test_the_official_layout_wins_over_parquet(put, root, expect):
    official, hub = pixels(2, 3, 32)
    put("cifar-10-batches-py/test_batch", cifar_batch(official[None], [3]))
    write_shards(root / "cifar10", "test", [encode(hub)], [4])
    expect("cifar10", 1, 1)
    assert data.load("cifar10", "test", root).labels.tolist() == [3]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_shard_is_noticed(root, expect, lost):
    write_shards(root / "mnist", "train", [encode(image) for image in pixels(6, 1, 28)], [0] * 6, shards=3)
    (root / "mnist" / f"train-{lost:05d}-of-00003.parquet").unlink()
    expect("mnist", 4, 1)
    with pytest.raises(UserError, match=r"shards of mnist/train .* are not complete"):
        data.load("mnist", "train", root)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda image: encode(image, "JPEG"), "no such image"),
        (lambda image: encode(image, "WEBP", quality=80), "lossy WebP"),
        (lambda image: encode(image[:, :31]), "32 x 31 RGB, not 32 x 32 RGB"),
        (lambda image: encode(image[:1]), "32 x 32 L, not 32 x 32 RGB"),
        (lambda image: encode(image)[:200], "PNG or lossless WebP"),
        (lambda image: None, "no such image"),
    ],
    ids=["jpeg", "lossy webp", "size", "mode", "truncated", "no bytes"],
)
def test_an_image_that_is_not_exact_is_refused_with_its_row(root, expect, bad, reason):
    images = pixels(4, 3, 32)
    encoded = [encode(image) for image in images]
    encoded[3] = bad(images[3])
    write_shards(root / "cifar10", "test", encoded, [0] * 4, shards=2)
    expect("cifar10", 4, 4)
    with pytest.raises(UserError, match=rf"test-00001-of-00002.parquet, row 1 is not .*{reason}"):
        data.load("cifar10", "test", root)


def test_a_subset_in_parquet_is_refused_before_decoding(root, expect, monkeypatch):
    write_shards(root / "cifar10", "test", [encode(image) for image in pixels(3, 3, 32)], [0, 1, 2])
    expect("cifar10", 9, 9)
    monkeypatch.setattr(data.formats, "decode_image", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"hold 3 images, not 9"):
        data.load("cifar10", "test", root)


# --- cache ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(root, expect):
    images = pixels(5, 1, 28)
    write_shards(root / "mnist", "test", [encode(image) for image in images], [4, 3, 2, 1, 0])
    expect("mnist", 5, 5)
    return images


def cached(tmp_path):
    return sorted((tmp_path / "cache").iterdir())


def test_the_second_load_decodes_nothing(small, root, monkeypatch):
    first = data.load("mnist", "test", root)
    monkeypatch.setattr(data.formats, "decode_image", lambda *_: pytest.fail("decoded again"))
    again = data.load("mnist", "test", root)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert first.sha256 == again.sha256


def test_the_cache_follows_the_contents_of_the_files(small, root):
    data.load("mnist", "test", root)
    write_shards(root / "mnist", "test", [encode(255 - image) for image in small], [4, 3, 2, 1, 0])
    assert torch.equal(data.load("mnist", "test", root).images, torch.from_numpy(255 - small))


def flip_a_pixel(raw):
    at = len(raw) // 2
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


@pytest.mark.parametrize("damage", [flip_a_pixel, lambda raw: raw[:100], lambda raw: b"", lambda raw: b"garbage"])
def test_a_corrupt_cache_is_made_again(small, root, tmp_path, caplog, damage):
    data.load("mnist", "test", root)
    (file,) = cached(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(data.load("mnist", "test", root).images, torch.from_numpy(small))
    assert "is damaged" in caplog.text
    caplog.clear()
    data.load("mnist", "test", root)
    assert not caplog.records
    assert cached(tmp_path) == [file]


def test_a_cache_whose_pixels_were_edited_is_made_again(small, root, tmp_path):
    sha256 = data.load("mnist", "test", root).sha256
    np.savez(cached(tmp_path)[0], images=255 - small, labels=np.arange(4, -1, -1), sha256=np.array(sha256))
    assert torch.equal(data.load("mnist", "test", root).images, torch.from_numpy(small))


def test_several_loads_at_once_agree_and_leave_one_file(small, root, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: data.load("mnist", "test", root).sha256, range(8)))
    assert len(set(found)) == 1
    assert len(cached(tmp_path)) == 1


def test_data_in_a_read_only_folder_load(small, root):
    for path in (root / "mnist", root):
        path.chmod(0o555)
    try:
        assert len(data.load("mnist", "test", root)) == 5
        assert not (root / "cache").exists()
    finally:
        for path in (root, root / "mnist"):
            path.chmod(0o755)


def test_without_room_for_a_cache_loading_still_works(small, root, tmp_path, monkeypatch, caplog):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("ADVDPNP_CACHE", str(tmp_path / "a file" / "cache"))
    assert len(data.load("mnist", "test", root)) == 5
    assert "are not kept" in caplog.text


def test_a_failed_write_leaves_no_file(small, root, tmp_path, monkeypatch):
    monkeypatch.setattr(data.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    data.load("mnist", "test", root)
    assert cached(tmp_path) == []


# --- what is asked for ----------------------------------------------------------------------------------------------


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"'cifra10': did you mean 'cifar10'\?"):
        data.load("cifra10", "train")
    with pytest.raises(UserError, match=r"'tset': did you mean 'test'\?"):
        data.load("digits", "tset")
    with pytest.raises(UserError, match="did you mean 'cifar10c'"):
        download.fetch("cifar10-c")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "mnist"])
def test_missing_data_say_both_layouts_and_the_command(root, name):
    with pytest.raises(UserError) as error:
        data.load(name, "test", root)
    message = str(error.value)
    layouts = data.formats.LAYOUT[name]["test"][0], f"{name}/test-*-of-*.parquet"
    for part in (str(root), *layouts, f"python -m advdpnp fetch {name}"):
        assert part in message
    assert "\n" not in message


def test_an_incomplete_official_layout_names_what_is_missing(put, root):
    for i in (1, 2, 4, 5):
        put(f"cifar-10-batches-py/data_batch_{i}", b"")
    with pytest.raises(UserError, match="missing: cifar-10-batches-py/data_batch_3 of the official files"):
        data.load("cifar10", "train", root)


def test_the_root_comes_from_the_environment_unless_given(monkeypatch, tmp_path):
    assert data.data_root() == Path(data.__file__).parents[2] / "data"
    monkeypatch.setenv("ADVDPNP_DATA", str(tmp_path))
    assert data.data_root() == tmp_path
    assert data.data_root("elsewhere") == Path("elsewhere")


# --- digits and subsets ---------------------------------------------------------------------------------------------


def test_digits_are_1797_images_split_four_to_one_in_every_class():
    from sklearn.datasets import load_digits

    train, test = data.load("digits", "train"), data.load("digits", "test")
    assert train.images.shape == (1437, 1, 8, 8)
    assert test.images.shape == (360, 1, 8, 8)
    share = test.labels.bincount() / (train.labels.bincount() + test.labels.bincount())
    assert share.sub(0.2).abs().max() < 0.006  # within one image of a fifth
    # Together they are exactly scikit-learn's images: nothing lost, nothing in both.
    original = load_digits()
    scaled = np.rint(original.images * 255 / 16).astype(np.uint8)
    expected = sorted((bytes(x), y) for x, y in zip(scaled, original.target))
    ours = [(bytes(x.numpy()), int(y)) for part in (train, test) for x, y in zip(part.images, part.labels)]
    assert sorted(ours) == expected
    assert train.images.max() == 255
    assert train.images.min() == 0


@pytest.mark.parametrize("package", [None, ModuleSpec("sklearn", None)])
def test_digits_without_scikit_learn_are_an_error_that_says_so(package, monkeypatch):
    monkeypatch.setattr("advdpnp.data.formats.find_spec", lambda name: package)
    with pytest.raises(UserError, match="part of scikit-learn, which is incomplete here"):
        data.load("digits", "train")


def test_digits_never_change():
    """A changed split would silently change every number of the demo tier."""
    assert data.load("digits", "train").sha256[:16] == "ea4427b357486139"
    assert data.load("digits", "test").sha256[:16] == "86f216cd59a5559f"


def test_a_subset_is_a_run_of_samples_with_a_hash_of_its_own():
    whole = data.load("digits", "test")
    part = whole.subset(10, offset=5)
    assert torch.equal(part.images, whole.images[5:15])
    assert torch.equal(part.labels, whole.labels[5:15])
    assert part.sha256 == hashlib.sha256(part.images.numpy().tobytes() + part.labels.numpy().tobytes()).hexdigest()
    assert part.sha256 != whole.sha256
    assert whole.subset(None).sha256 == whole.sha256
    assert len(whole.subset(None, offset=100)) == 260
    for n, offset in ((361, 0), (10, 355), (-1, 0), (1, -1), (None, 361)):
        with pytest.raises(UserError, match="holds 360 images"):
            whole.subset(n, offset)


# --- augmentation ---------------------------------------------------------------------------------------------------


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("pad_mode", ["zeros", "reflect"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_augment_agrees_with_torchvision_at_the_same_offsets(pad_mode, dtype):
    import_torchvision()
    from torchvision.transforms import functional as tv

    images = torch.from_numpy(pixels(40, 3, 32)).to(dtype)
    found = data.augment(images, generator=seeded(1), pad_mode=pad_mode)
    assert (found.dtype, found.shape) == (images.dtype, images.shape)

    draws = seeded(1)
    tops, lefts = torch.randint(0, 9, (2, 40), generator=draws)
    mirrored = torch.rand(40, generator=draws) < 0.5
    for i, (image, top, left) in enumerate(zip(images, tops.tolist(), lefts.tolist())):
        padded = tv.pad(image, 4, padding_mode={"zeros": "constant", "reflect": "reflect"}[pad_mode])
        expected = tv.crop(padded, top, left, 32, 32)
        assert torch.equal(found[i], tv.hflip(expected) if mirrored[i] else expected)


def test_augment_repeats_with_the_seed_and_leaves_its_input_alone():
    images = torch.from_numpy(pixels(20, 3, 32))
    before = images.clone()
    first, again = (data.augment(images, generator=seeded(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, data.augment(images, generator=seeded(4)))
    assert torch.equal(images, before)


def test_every_offset_occurs_alone_and_half_of_the_images_are_flipped():
    # One bright pixel in the middle shows where its image went; its neighbour on the right shows the mirror.
    images = torch.zeros(5000, 1, 32, 32, dtype=torch.uint8)
    images[:, 0, 16, 15], images[:, 0, 16, 16] = 200, 100
    moved = data.augment(images, generator=seeded())
    place = (moved[:, 0] == 200).flatten(1).int().argmax(1)
    rows, columns = place // 32, place % 32
    right = moved[torch.arange(5000), 0, rows, (columns + 1).clamp(max=31)] == 100
    assert right.float().mean().sub(0.5).abs() < 0.03
    columns = torch.where(right, columns, 31 - columns)
    shifts = torch.stack((rows - 16, columns - 15))
    assert shifts.min() == -4
    assert shifts.max() == 4
    counts = torch.bincount((shifts[0] + 4) * 9 + shifts[1] + 4, minlength=81)
    assert len(counts) == 81
    assert counts.min() > 25  # 62 expected of each of the 81 offsets: rows and columns move on their own


def test_augment_can_do_nothing_and_refuses_what_it_cannot_do():
    images = torch.from_numpy(pixels(4, 1, 8))
    assert torch.equal(data.augment(images, generator=seeded(), padding=0, flip=False), images)
    with pytest.raises(UserError, match="did you mean 'reflect'"):
        data.augment(images, generator=seeded(), pad_mode="reflection")
    with pytest.raises(UserError, match="cannot reflect 8 pixels"):
        data.augment(images, generator=seeded(), pad_mode="reflect", padding=8)


def test_to_float_scales_bytes_once():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert torch.equal(data.to_float(images), torch.tensor([0, 0.2, 1]))
    with pytest.raises(TypeError, match="scaled before"):
        data.to_float(data.to_float(images))


# --- fetch ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch):
    """Replace the network: {url: bytes}; anything else is unreachable. Returns the urls that were asked for."""
    files, asked = {}, []

    def urlopen(request, timeout):
        assert 0 < timeout <= 60
        asked.append(request.full_url)
        if request.full_url not in files:
            raise URLError("Name or service not known")
        answer = io.BytesIO(files[request.full_url])
        answer.headers = {}
        return answer

    monkeypatch.setattr(download, "urlopen", urlopen)
    return files, asked


@pytest.fixture
def tiny_cifar(put, expect, root, monkeypatch, server):
    """A cifar-10-python.tar.gz of six images behind the official url."""
    members = []
    for path in (*data.formats.LAYOUT["cifar10"]["train"], *data.formats.LAYOUT["cifar10"]["test"]):
        raw = cifar_batch(pixels(1, 3, 32), [len(members)])
        members.append((path, raw))
        monkeypatch.setitem(data.formats.MD5, path, hashlib.md5(raw).hexdigest())
    expect("cifar10", 5, 1)
    (archive,) = download.ARCHIVES["cifar10"]
    raw = tar_of(*members)
    changed = dataclasses.replace(archive, md5=hashlib.md5(raw).hexdigest())
    monkeypatch.setitem(download.ARCHIVES, "cifar10", (changed,))
    server[0][archive.urls[0]] = raw
    return archive


def test_fetch_downloads_unpacks_and_then_leaves_it_alone(tiny_cifar, root, server, capsys):
    download.fetch("cifar10", root)
    assert data.load("cifar10", "train", root).labels.tolist() == [0, 1, 2, 3, 4]
    assert len(server[1]) == 1
    download.fetch("cifar10", root)
    assert len(server[1]) == 1
    assert "already in" in capsys.readouterr().out


def test_fetch_into_a_read_only_folder_says_so(root, server, monkeypatch):
    monkeypatch.setattr(download.os, "access", lambda folder, mode: False)
    with pytest.raises(UserError, match=f"{root} is read-only"):
        download.fetch("mnist", root)
    assert server[1] == []


def test_fetch_repairs_a_damaged_file_from_the_archive_at_hand(tiny_cifar, root, server):
    download.fetch("cifar10", root)
    (root / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"damaged")
    download.fetch("cifar10", root)
    assert len(data.load("cifar10", "train", root)) == 5
    assert len(server[1]) == 1


def test_a_download_with_another_checksum_is_not_unpacked(tiny_cifar, root, server):
    server[0][tiny_cifar.urls[0]] = tar_of(("cifar-10-batches-py/evil", b"x"))
    with pytest.raises(
        UserError, match=rf"could not be downloaded \(expected md5 {download.ARCHIVES['cifar10'][0].md5}, got "
    ):
        download.fetch("cifar10", root)
    assert [*root.iterdir()] == []  # neither it nor a half of it


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "mnist", "cifar10c"])
def test_offline_says_what_to_save_where(root, server, name):
    with pytest.raises(UserError) as error:
        download.fetch(name, root)
    message = str(error.value)
    for archive in download.ARCHIVES[name]:
        for part in (archive.urls[0], archive.md5, str(root / archive.path)):
            assert part in message
    assert f"python -m advdpnp fetch {name}" in message
    assert "Name or service not known" in message
    assert "\n" not in message


def test_mnist_comes_from_the_second_mirror_when_the_first_is_down(root, server, expect, monkeypatch):
    arrays = [pixels(2, 1, 28)[:, 0], np.array([1, 2], dtype=np.uint8)] * 2
    archives = []
    for archive, array in zip(download.ARCHIVES["mnist"], arrays):
        raw = gzip.compress(idx(array))
        archives.append(dataclasses.replace(archive, md5=hashlib.md5(raw).hexdigest()))
        monkeypatch.setitem(data.formats.MD5, archive.path, archives[-1].md5)
        server[0][archive.urls[1]] = raw
    monkeypatch.setitem(download.ARCHIVES, "mnist", tuple(archives))
    expect("mnist", 2, 2)
    download.fetch("mnist", root)
    assert sorted(p.name for p in (root / "MNIST" / "raw").iterdir()) == sorted(Path(a.path).name for a in archives)
    assert np.array_equal(data.load("mnist", "test", root).images[:, 0], arrays[0])


def test_cifar10c_is_complete_only_with_all_files_in_full(root, server, monkeypatch, capsys):
    monkeypatch.setattr(download, "CIFAR10C_SIZES", [3, 5, 5])
    (root / "CIFAR-10-C").mkdir()
    for name, size in (("fog", 5), ("labels", 3), ("snow", 4)):
        (root / "CIFAR-10-C" / f"{name}.npy").write_bytes(bytes(size))
    with pytest.raises(UserError, match=r"CIFAR-10-C\.tar"):
        download.fetch("cifar10c", root)
    (root / "CIFAR-10-C" / "snow.npy").write_bytes(bytes(5))
    download.fetch("cifar10c", root)
    assert "already in" in capsys.readouterr().out


def test_digits_need_no_fetching(root, server, capsys):
    download.fetch("digits", root)
    assert "nothing to fetch" in capsys.readouterr().out
    assert server[1] == []


def test_the_table_of_archives_is_torchvisions():
    import_torchvision()
    from torchvision import datasets

    for name, known in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        (archive,) = download.ARCHIVES[name]
        assert (archive.urls, archive.path, archive.md5) == ((known.url,), known.filename, known.tgz_md5)
        for file, md5 in known.train_list + known.test_list:
            assert data.formats.MD5[f"{known.base_folder}/{file}"] == md5
    for archive, split in zip(download.ARCHIVES["svhn"], data.SPLITS):
        assert [archive.urls[0], archive.path, archive.md5] == datasets.SVHN.split_list[split]
    assert [(Path(a.path).name, a.md5) for a in download.ARCHIVES["mnist"]] == datasets.MNIST.resources
    for archive, (file, _) in zip(download.ARCHIVES["mnist"], datasets.MNIST.resources):
        assert list(archive.urls) == [mirror + file for mirror in datasets.MNIST.mirrors]


@pytest.fixture
def website():
    """(address, pages): an HTTP server of this machine; pages maps a path to (status, headers, body)."""
    pages = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = pages.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", pages
        server.shutdown()


def downloaded(root, body, *urls):
    download._download("mine", download.Archive("a/file.bin", hashlib.md5(body).hexdigest(), urls), root)


@pytest.fixture
def by_hand(monkeypatch):
    monkeypatch.setattr(download, "_by_hand", lambda name, root, reasons: "; ".join(reasons))


def test_a_download_follows_redirects_and_shows_how_far_it_is(root, website, capsys):
    address, pages = website
    body = bytes(3 * download.BLOCK + 1)
    pages["/old"] = (302, {"Location": "/new.bin"}, b"")
    pages["/new.bin"] = (200, {"Content-Length": str(len(body))}, body)
    downloaded(root, body, f"{address}/old")
    assert [path.name for path in (root / "a").iterdir()] == ["file.bin"]
    assert (root / "a" / "file.bin").read_bytes() == body
    assert "old done in" in capsys.readouterr().err


def test_what_is_missing_cut_short_or_another_file_leaves_nothing_behind(root, website, by_hand):
    address, pages = website
    body = b"the whole file"
    pages["/short"] = (200, {"Content-Length": "14"}, body[:7])
    pages["/other"] = (200, {}, b"an error page instead")
    with pytest.raises(UserError, match=r"^Not Found; expected md5 \w+, got \w+ from \S+/short; .*/other$"):
        downloaded(root, body, *(f"{address}/{page}" for page in ("missing", "short", "other")))
    assert [path for path in root.rglob("*") if path.is_file()] == []
    pages["/good"] = (200, {}, body)
    downloaded(root, body, f"{address}/other", f"{address}/good")
    assert (root / "a" / "file.bin").read_bytes() == body


def test_a_server_that_says_nothing_is_given_up(root, by_hand, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UserError, match="timed out"):
        downloaded(root, b"x", f"http://127.0.0.1:{silent.getsockname()[1]}/x")


def test_a_full_disk_is_not_blamed_on_the_server(root, server, tiny_cifar, monkeypatch):
    def full(url, archive, handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_receive", full)
    with pytest.raises(UserError, match="could not be written"):
        download.fetch("cifar10", root)


def test_case_14_neither_data_nor_fetch_needs_torchvision():
    program = (
        "import sys, advdpnp.data.download\n"
        "assert not any(m.startswith(('torchvision', 'sklearn', 'scipy')) for m in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(data.__file__).parents[2])


# --- real data ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL_ROOT, reason="ADVDPNP_DATA names no folder of real data")
@pytest.mark.parametrize(
    ("name", "split", "per_class"),
    [
        ("cifar10", "train", 10 * [5000]),
        ("cifar10", "test", 10 * [1000]),
        ("mnist", "train", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        ("mnist", "test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    ],
)
def test_real_data_have_the_official_counts(name, split, per_class, monkeypatch):
    monkeypatch.setenv("ADVDPNP_CACHE", REAL_CACHE)
    try:
        found = data.load(name, split, REAL_ROOT)
    except UserError as error:
        if "is not in" in str(error):
            pytest.skip(str(error))
        raise
    facts = DATASETS[name]
    assert found.images.shape == (sum(per_class), facts.channels, facts.size, facts.size)
    assert found.labels.bincount().tolist() == per_class
    mean = data.to_float(found.images[:5000]).mean((0, 2, 3))
    expected = torch.tensor([0.4914, 0.4822, 0.4465] if name == "cifar10" else [0.1307])
    assert (mean - expected).abs().max() < 0.02
