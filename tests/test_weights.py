"""Published weights: written from a training, read back without a further package, refused when they are others'."""

import json

import numpy as np
import pytest
import torch

import advdpnp
from advdpnp.config import DATASETS
from advdpnp.data import load, to_float
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate
from advdpnp.share import weights
from advdpnp.share.weights import load_published, pack, publish_weights, unpack
from advdpnp.train import fit, load_model

RUN = "digits-resnet18-adv_dpnp-s0"
TIER = """
label = "a test"
[defaults]
data = {train_images = 64}
model = {width = 4}
optim = {epochs = 1, batch_size = 32, milestones = [], precision = "fp32"}
craft = {epsilon = "32/255", step_size = "16/255", steps = 1}
evaluation = {test_images = 40}
[blocks."cifar10/resnet18"]
dataset = "digits"
"""


@pytest.fixture
def published(tmp_path):
    """(folder of weights, the run): one tiny network trained, evaluated and published."""
    from advdpnp.config import resolve

    path = tmp_path / "mine.toml"
    path.write_text(TIER)
    run = resolve(str(path), RUN)
    fit(run)
    evaluate(run, "clean")
    said = publish_weights(str(path), [RUN], tmp_path / "weights")
    assert said.startswith("1 networks")
    return tmp_path / "weights", run


def test_the_network_is_the_one_that_was_trained(published):
    folder, run = published
    model, trained = load_published(RUN, "mine", folder), load_model(run)
    x = to_float(load("digits", "test").images[:40])
    with torch.no_grad():
        assert torch.equal(model(x), trained(x))
        assert torch.equal(model.features(x), trained.features(x))
    assert torch.equal(model.centers, trained.centers)
    assert not model.training


def test_the_json_says_what_it_is_and_what_was_measured(published):
    folder, _ = published
    about = json.loads((folder / "mine" / f"{RUN}.json").read_text())
    x, y = load("digits", "test").images[:40], load("digits", "test").labels[:40]
    with torch.no_grad():
        right = load_published(RUN, "mine", folder)(to_float(x)).argmax(1) == y
    assert about["measured"]["clean"] == {"accuracy": pytest.approx(100 * right.float().mean().item()), "images": 40}
    assert about["protocol"] == "a test"
    assert about["precision"] == "fp32"
    assert about["in_tables"] is False
    assert about["licence"].startswith("MIT")
    assert about["bytes"] == (folder / "mine" / f"{RUN}.safetensors").stat().st_size


def test_it_is_a_safetensors_file(published):
    folder, _ = published
    path = folder / "mine" / f"{RUN}.safetensors"
    theirs = pytest.importorskip("safetensors.numpy").load_file(path)
    ours = unpack(path.read_bytes())
    assert theirs.keys() == ours.keys()
    for name, array in theirs.items():
        assert array.dtype == ours[name].dtype
        assert np.array_equal(array, ours[name])
        assert array.dtype in (np.float32, np.int64)


@pytest.mark.parametrize("byte", [3, 40, -1])
def test_a_changed_file_is_refused(published, byte):
    folder, _ = published
    path = folder / "mine" / f"{RUN}.safetensors"
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"is not the file that was published \(sha256 .* restore it with git checkout"):
        load_published(RUN, "mine", folder)


def test_weights_of_another_network_are_refused(published):
    folder, _ = published
    path = folder / "mine" / f"{RUN}.json"
    about = json.loads(path.read_text())
    about["network"]["head"] = {"type": "Nothing"}
    path.write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"does not fit the network that digits-resnet18-adv_dpnp-s0.json describes"):
        load_published(RUN, "mine", folder)


def test_a_file_under_another_name_is_refused(published):
    folder, _ = published
    other = RUN.replace("s0", "s1")
    for kind in ("json", "safetensors"):
        (folder / "mine" / f"{RUN}.{kind}").rename(folder / "mine" / f"{other}.{kind}")
    with pytest.raises(UserError, match=f"is of {RUN} in tier mine"):
        load_published(other, "mine", folder)


def test_what_is_not_published_is_said_with_what_is(published):
    folder, _ = published
    with pytest.raises(UserError, match=f"these weights are not published; did you mean '{RUN}'"):
        load_published(RUN.replace("adv_dpnp", "adv_dpmp"), "mine", folder)
    with pytest.raises(UserError, match=r"publish --tier short --weights x would do it"):
        load_published("x", "short", folder)
    with pytest.raises(UserError, match=r"those of tier mine are: tier='mine'"):
        load_published(RUN, "short", folder)


def test_a_course_finds_them_beside_its_notebooks(published, monkeypatch, tmp_path):
    folder, _ = published
    (tmp_path / "bundle" / "published").mkdir(parents=True)
    folder.rename(tmp_path / "bundle" / "published" / "weights")
    monkeypatch.setattr("advdpnp.checkout.PACKAGE", tmp_path / "site-packages" / "advdpnp")
    monkeypatch.chdir(tmp_path / "bundle")
    assert advdpnp.load_published(RUN, tier="mine").centers.shape == (10, 32)


def test_the_tables_own_network_is_told_apart(published, monkeypatch, tmp_path):
    from advdpnp.store import read_json

    folder, run = published
    trained = weights.RESULTS.trained(run)
    monkeypatch.setattr(weights, "shipped", lambda path: trained)
    publish_weights(str(tmp_path / "mine.toml"), [RUN], folder)
    assert read_json(folder / "mine" / f"{RUN}.json")["in_tables"] is True


@pytest.mark.parametrize("limit", ["MOST", "MOST_IN_ALL"])
def test_networks_that_are_too_large_are_not_written(published, monkeypatch, tmp_path, limit):
    _, run = published
    monkeypatch.setattr(weights, limit, 1000)
    with pytest.raises(UserError, match=r"at most 0.001 MB are published"):
        publish_weights(str(tmp_path / "mine.toml"), [run.id], tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_bytes_that_are_no_such_file_are_refused():
    good = pack({"a": np.arange(3, dtype=np.float32), "n": np.array(7)}, {"about": "x"})
    assert unpack(good)["n"] == 7
    for bad in (b"", b"\0" * 8, good[:-2], good[:20], b"\xff" * 40):
        with pytest.raises(ValueError, match="expected the bytes of a safetensors file"):
            unpack(bad)
    with pytest.raises(ValueError, match="expected a as float32 or int64, got float64"):
        pack({"a": np.zeros(2)}, {})


PUBLISHED = sorted(weights.WEIGHTS.glob("*/*.safetensors"))


def test_the_name_in_the_package_loads_from_the_checkout():
    with pytest.raises(UserError, match="these weights are not published"):
        advdpnp.load_published("cifar10-resnet18-nothing-s0", tier="medium")


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_files_load_and_are_small(path):
    load_published(path.stem, path.parent.name)
    assert path.stat().st_size <= weights.MOST
    assert sum(each.stat().st_size for each in PUBLISHED) <= weights.MOST_IN_ALL


@pytest.mark.slow
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_weights_have_their_published_accuracy(path):
    about = json.loads(path.with_suffix(".json").read_text())
    name = about["run"].split("-")[0]
    assert name in DATASETS
    test, n = load(name, "test"), about["measured"]["clean"]["images"]
    model, right = load_published(path.stem, path.parent.name), 0
    with torch.no_grad():
        for begin in range(0, n, 500):
            x, y = test.images[begin : min(begin + 500, n)], test.labels[begin : min(begin + 500, n)]
            right += int((model(to_float(x)).argmax(1) == y).sum())
    assert 100 * right / n == pytest.approx(about["measured"]["clean"]["accuracy"], abs=0.05)
