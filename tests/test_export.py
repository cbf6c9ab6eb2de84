"""An exported network gives the same logits and accuracy where nothing of this project can be imported."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from advdpnp.__main__ import main
from advdpnp.config import METHODS, ROOT, facts
from advdpnp.data import load, to_float
from advdpnp.defenses import DEFENSES
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate
from advdpnp.models import build, describe
from advdpnp.share.export import export
from advdpnp.store import RESULTS, provenance, read_json, write_json
from advdpnp.train import build_defense, load_model, save_trained

SHAPES = {"resnet18": "cifar10/resnet18", "wrn34_10": "cifar10/wrn34_10", "lenetspp": "mnist/lenetspp"}
# RobustBench's conventions: images in [0, 1], a model in eval mode that returns logits, batches, top-1.
ELSEWHERE = """
import importlib.util, json, sys
sys.modules["advdpnp"] = None  # importing it is an error
import torch, numpy as np
data = np.load(sys.argv[1])
x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
found = {}
for folder in sys.argv[2:]:
    spec = importlib.util.spec_from_file_location("model", folder + "/model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.load()
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in x.split(20)])
    np.save(folder + "/logits.npy", logits.numpy())
    found[folder] = 100 * (logits.argmax(1) == y).double().mean().item()
print(json.dumps(found))
"""


ABOUT = {"train_images": 200, "data_sha256": "0" * 64, "seconds": 1.0, "precision": "fp32"}  # the training


def untrained(run):
    """A run as training leaves it, with random weights and batch norms that have seen images."""
    directory = RESULTS.run(run)
    if not (directory / "train.json").exists():
        defense = build_defense(run)
        images = to_float(load("digits", "train").images[:200])
        with torch.no_grad():
            defense.model.train()(images)
        write_json(directory / "config.json", run.training_settings())
        save_trained(run, directory, defense, ABOUT | {"provenance": provenance("cpu")})
    return run


def built(tiny, method, backbone="resnet18", **changes):
    changes = {"pcl": {"warmup_epochs": 1}} | changes
    if method == "HAT":
        untrained(tiny("ST", block=SHAPES[backbone], **changes))
    return untrained(tiny(method, block=SHAPES[backbone], **changes))


def ours(run):
    images = to_float(load("digits", "test").images[:60])
    with torch.no_grad():
        model = load_model(run).to(memory_format=torch.contiguous_format)
        return torch.cat([model(batch) for batch in images.split(20)])


def test_every_method_and_backbone_gives_the_same_logits_without_this_project(tiny, tmp_path):
    pairs = [(m, b) for b in SHAPES for m in METHODS if m != "OC" or b == "resnet18"]  # OC needs PReLU and room
    runs = [built(tiny, method, backbone) for method, backbone in pairs]
    folders = [str(export(run, "tiny")) for run in runs]
    data = load("digits", "test")
    np.savez(tmp_path / "data.npz", x=to_float(data.images[:60]).numpy(), y=data.labels[:60].numpy())
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "data.npz"), *folders]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    accuracies = json.loads(done.stdout)
    for run, folder in zip(runs, folders):
        assert np.array_equal(np.load(folder + "/logits.npy"), ours(run).numpy()), run.id
        assert accuracies[folder] == pytest.approx(evaluate(run, "clean", device="cpu")["clean"]["accuracy"], abs=1e-4)


def imported(folder):
    """model.py of an exported network, as a module."""
    spec = importlib.util.spec_from_file_location("exported", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_switches_that_change_the_network_are_exported(tiny):
    run = built(tiny, "AT_HE", model={"last_relu": False, "normalise": False}, at_he={"scale_at_test": False})
    folder = export(run, "tiny")
    network = read_json(folder / "network.json")
    assert network["backbone"] == ["ResNet18", {"channels": 1, "last_relu": False, "width": 4}]
    assert network["head"] == ["CosineHead", {"scale": 1.0}]
    assert (network["mean"], network["std"]) == ([0.0], [1.0])
    assert "not the paper's protocol" in network["protocol"]
    assert "from model import load  # of this folder" in (folder / "README.md").read_text()
    assert imported(folder).load()(torch.rand(2, 1, 8, 8)).abs().max() <= 1


def test_the_code_of_an_exported_network_is_ours_and_imports_nothing_else_of_us(tiny):
    folder = export(built(tiny, "AT"), "tiny") / "network"
    copies = sorted(path for path in folder.rglob("*.py") if path != folder / "__init__.py")
    assert {path.name for path in copies} >= {"losses.py", "errors.py", "heads.py", "resnet.py"}
    for path in copies:
        assert path.read_bytes() == (ROOT / "advdpnp" / path.relative_to(folder)).read_bytes()
        assert "from advdpnp" not in path.read_text()


def test_a_network_that_its_method_does_not_describe_is_refused(tiny, monkeypatch):
    run = built(tiny, "AT")
    other = staticmethod(lambda run: describe(run, head=("CosineHead", {"scale": 2.0})))
    monkeypatch.setattr(DEFENSES["AT"], "network", other)
    monkeypatch.setattr(DEFENSES["AT"], "build", classmethod(lambda cls, run: build(describe(run))))
    with pytest.raises(UserError, match="AT builds another network than its `network` describes"):
        export(run, "tiny")


# ST, AT, TRADES, MART, HAT and IKL are the same network with other weights.
@pytest.mark.parametrize(
    ("method", "backbone"),
    [(m, "resnet18") for m in ("AT", "AT_HE", "OC", "PCL", "FSR", "DIO", "Adv-DPNP")]
    + [("AT", "wrn34_10"), ("FSR", "lenetspp")],
)
def test_onnx_gives_the_same_logits_for_batches_of_any_size(tiny, method, backbone):
    onnxruntime = pytest.importorskip("onnxruntime")
    run = built(tiny, method, backbone)
    path = export(run, "tiny", onnx=True) / "model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = ours(run).numpy()
    images = to_float(load("digits", "test").images[:60]).numpy()
    for size in (1, 7, 60):
        (logits,) = session.run(["logits"], {"images": images[:size]})
        np.testing.assert_allclose(logits, expected[:size], rtol=1e-3, atol=1e-4)
    assert "not the paper's protocol" in session.get_modelmeta().custom_metadata_map["protocol"]


def test_the_json_holds_what_was_measured_and_null_for_the_rest(tiny):
    run = built(tiny, "Adv-DPNP")

    def info():
        (path,) = (export(run, "eight by eight") / "model_info").rglob("*.json")
        assert path.parts[-3:] == ("digits", "Linf", "ZareiSabzevar2025Deep_RN18.json")
        return read_json(path)

    fields = ["link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture",
              "eps", "clean_acc", "reported", "autoattack_acc"]  # fmt: skip
    first = info()
    assert [key for key in first if key in fields] == fields
    assert (first["clean_acc"], first["autoattack_acc"], first["reported"]) == (None, None, None)
    assert (first["eps"], first["tier"]) == ("32/255", "tiny")
    assert "eight by eight" in first["footnote"]
    assert "not the paper's protocol" in first["footnote"]
    accuracy = evaluate(run, "clean", device="cpu")["clean"]["accuracy"]
    assert info()["clean_acc"] == f"{accuracy:.2f}"
    assert "clean_acc on 60 test images" in info()["footnote"]


def test_a_smoke_run_of_autoattack_is_not_exported_as_autoattack(tiny):
    run = built(tiny, "AT", attacks={"aa": {"version": "smoke", "square_queries": 5, "images": 20}})
    evaluate(run, "aa", device="cpu")
    (path,) = (export(run, "tiny") / "model_info").rglob("*.json")
    assert read_json(path)["autoattack_acc"] is None


def test_an_evaluation_of_other_weights_is_not_exported(tiny):
    run = built(tiny, "AT")
    evaluate(run, "clean", device="cpu")
    with torch.no_grad():
        defense = build_defense(run)
        defense.model.head.bias.add_(1)
    save_trained(run, RESULTS.run(run), defense, ABOUT | {"provenance": provenance("cpu")})
    (path,) = (export(run, "tiny") / "model_info").rglob("*.json")
    assert read_json(path)["clean_acc"] is None


def test_an_evaluation_under_another_attack_than_the_tiers_is_not_exported(tiny):
    smoke = {"aa": {"version": "smoke", "square_queries": 5, "images": 20}}
    evaluate(built(tiny, "AT", attacks=smoke), "aa", "clean", device="cpu")
    (path,) = (export(built(tiny, "AT"), "tiny") / "model_info").rglob("*.json")  # the tier has AutoAttack whole by now
    assert read_json(path)["autoattack_acc"] is None
    assert read_json(path)["clean_acc"] is not None


def test_robustbench_itself_agrees(tiny):
    from benchmarks.vision import import_torchvision

    import_torchvision()
    utils = pytest.importorskip("robustbench.utils")
    run = built(tiny, "FSR")
    model = imported(export(run, "tiny")).load()
    data = load("digits", "test")
    found = utils.clean_accuracy(model, to_float(data.images[:60]), data.labels[:60], batch_size=20)
    assert 100 * found == pytest.approx(evaluate(run, "clean", device="cpu")["clean"]["accuracy"], abs=1e-3)


def test_every_method_has_its_paper():
    assert all(facts(method).key and facts(method).title for method in METHODS)
    assert len({facts(method).key for method in METHODS}) == len(METHODS)


def test_exporting_what_is_not_trained_is_one_sentence(capsys, tmp_path):
    assert main(["export", "digits-resnet18-at-s0", "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "is not trained" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
