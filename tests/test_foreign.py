"""Case 10: a network of anybody's under our attacks; what cannot be attacked ends in one sentence."""

import json
import math
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from advdpnp import attacks
from advdpnp.__main__ import main
from advdpnp.config import AttackConfig
from advdpnp.data import load, to_float
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate_model
from advdpnp.evaluate.crafting import SLACK
from advdpnp.evaluate.foreign import read_model

CLASSES = 3


def network(**options) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 16, **options), nn.BatchNorm1d(16, **options), nn.Tanh(),
                         nn.Linear(16, CLASSES, **options))  # fmt: skip


@pytest.fixture
def x():
    return torch.rand(24, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def y(x):
    with torch.no_grad():
        return network().eval()(x).argmax(1)


class Answers(nn.Module):
    """A network whose answer is wrapped."""

    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = network(), wrap

    def forward(self, x):
        return self.wrap(self.net(x))


def test_case_10_any_network_is_attacked_and_left_as_it_was(x, y):
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = evaluate_model(model, x, y, "clean", "pgd20", "fgsm", batch_size=7)
    assert [*found] == ["clean", "pgd20", "fgsm"]
    assert found["clean"]["accuracy"] == 100  # its own labels
    assert (found["pgd20"]["images"], found["pgd20"]["flags"].shape) == (24, (24,))
    assert found["pgd20"]["accuracy"] == pytest.approx(100 * found["pgd20"]["flags"].mean(), abs=1e-4)
    budget = {"epsilon": 8 / 255, "step_size": 1 / 255, "steps": 20, "norm": "linf", "random_start": False}
    with torch.no_grad():
        by_hand = network().eval()(attacks.pgd(network(), x, y, **budget)).argmax(1) == y
    assert found["pgd20"]["flags"].tolist() == by_hand.tolist()
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_case_10_settings_of_ones_own_and_batches_do_not_change_what_is_counted(x, y):
    mine = {"mine": AttackConfig("pgd", epsilon=0.2, step_size=0.05, steps=5), "all": AttackConfig("clean", images=5)}
    whole = evaluate_model(network(), x, y, "mine", "all", attacks=mine)
    parts = evaluate_model(network(), x, y, "mine", attacks=mine, batch_size=5)
    assert whole["mine"]["flags"].tolist() == parts["mine"]["flags"].tolist()
    assert whole["mine"]["settings"]["epsilon"] == 0.2
    assert whole["all"]["images"] == 5


def test_case_10_the_guard_knows_a_network_that_hides_its_gradient(x, y):
    honest = evaluate_model(network(), x, y, "pgd20", "guard")["guard"]
    masked = evaluate_model(Answers(lambda z: (40 * z).round() / 40 + 0 * z), x, y, "pgd20", "guard")["guard"]
    verdicts = [{check["name"]: check["ok"] for check in found["checks"]} for found in (honest, masked)]
    assert verdicts[0]["gradient"] is True
    assert verdicts[0]["order"] is None  # one attack alone
    assert verdicts[1]["gradient"] is False


def test_case_10_images_that_leave_the_ball_are_no_result(x, y, monkeypatch):
    monkeypatch.setattr(attacks, "fgsm", lambda model, x, y, *, epsilon: (x + 2 * epsilon).clamp(0, 1))
    with pytest.raises(RuntimeError, match="left its linf ball"):
        evaluate_model(network(), x, y, "fgsm")
    assert SLACK < 0.01


class NoWayBack(torch.autograd.Function):
    """The identity, as somebody writes it who never trains."""

    @staticmethod
    def forward(context, z):
        return z.clone()

    @staticmethod
    def backward(context, gradient):
        raise NotImplementedError("inference only")


MODELS = {
    "a tuple": (Answers(lambda z: (z, z)), "must return logits [B, M], got a tuple"),
    "a dict": (Answers(lambda z: {"logits": z}), "must return logits [B, M], got a dict"),
    "one number": (Answers(lambda z: z.argmax(1)), "must return logits [B, M], got int64 ["),
    "no way back": (Answers(NoWayBack.apply), "the model's backward pass stops at images [2, 3, 4, 4] (NotImpl"),
    "no gradient": (Answers(lambda z: z.detach()), "no gradient reaches the images"),
    "nan": (Answers(lambda z: z * math.nan), "logits are not finite"),
    "two classes": (Answers(lambda z: z[:, :2]), "label 2 is out of range: the model has 2 classes, 0 to 1"),
    "a function": (lambda x: x.flatten(1), "must be a torch.nn.Module, got a function"),
    "double": (network(dtype=torch.float64), "images are float32, the model's weights float64"),
    "another shape": (nn.Sequential(nn.Flatten(), nn.Linear(5, 3)), "the model stops at images [2, 3, 4, 4]"),
}


@pytest.mark.parametrize("name", MODELS)
def test_case_10_a_model_that_cannot_be_attacked_is_one_sentence(x, y, name):
    y[0], (model, says) = 2, MODELS[name]
    with pytest.raises(UserError) as told:
        evaluate_model(model, x, y, "pgd20")
    assert says in str(told.value)


INPUTS = {
    "bytes": (lambda x, y: ((255 * x).byte(), y), "images must be floating point in [0, 1], got torch.uint8"),
    "0 to 255": (lambda x, y: (255 * x, y), "images must lie in [0, 1], got [0"),
    "normalised": (lambda x, y: (2 * x - 1, y), "images must lie in [0, 1], got [-"),
    "half": (lambda x, y: (x.half(), y), "images are float16, too coarse for a budget"),
    "numpy": (lambda x, y: (x.numpy(), y), "images must be a tensor, got a ndarray"),
    "flat": (lambda x, y: (x.flatten(1), y), "images must be [N, C, H, W] with at least one, got [24, 48]"),
    "a list of labels": (lambda x, y: (x, y.tolist()), "labels must be a tensor, got a list"),
    "float labels": (lambda x, y: (x, y.float()), "labels must be 24 integers, one per image, got torch.float32"),
    "one-hot": (lambda x, y: (x, torch.eye(3, dtype=torch.int64)[y]), "labels must be 24 integers"),
    "from 1": (lambda x, y: (x, y + 1 + (y == 1)), "label 3 is out of range: the model has 3 classes"),
    "negative": (lambda x, y: (x, y - 3), "labels count from 0, got -"),
    "fewer": (lambda x, y: (x, y[:5]), "labels must be 24 integers"),
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_case_10_images_and_labels_that_do_not_fit_are_one_sentence(x, y, name):
    y[0], (change, says) = 2, INPUTS[name]
    with pytest.raises(UserError) as told:
        evaluate_model(network(), *change(x, y), "pgd20")
    assert says in str(told.value)


NAMES = {
    ("pgd2",): "unknown attack 'pgd2'; did you mean 'pgd20'?",
    ("geometry",): "unknown attack 'geometry'",
    ("adaptive20",): "adaptive20 needs the prototypes of Adv-DPNP",
    ("clean_renormalised",): "clean_renormalised needs the prototypes",
    ("pgd100_l1", "pgd20"): "",
    (): "name at least one attack",
}


@pytest.mark.parametrize("names", NAMES)
def test_case_10_an_attack_that_is_not_there_is_one_sentence(x, y, names):
    if not NAMES[names]:
        assert len(evaluate_model(network(), x[:4], y[:4], *names)) == 2
        return
    with pytest.raises(UserError) as told:
        evaluate_model(network(), x, y, *names)
    assert NAMES[names] in str(told.value)


def test_case_10_a_budget_in_0_to_255_is_refused_here_too(x, y):
    with pytest.raises(UserError, match=r"wide\.epsilon: 8 is out of range; pixels lie in"):
        evaluate_model(network(), x, y, "wide", attacks={"wide": AttackConfig("fgsm", epsilon=8)})


SETTINGS = {
    "a version": ({"kind": "autoattack", "version": "standrad"}, "mine.version: 'standrad' is not known; did you mean"),
    "no version": ({"kind": "autoattack", "version": "plus"}, "'plus' is not known; choose one of: standard, smoke"),
    "a kind": ({"kind": "gpd"}, "mine.kind: 'gpd' is not known; did you mean 'pgd'?"),
    "a norm": ({"kind": "cw", "norm": "l2"}, "mine.norm: cw is an attack in linf, not l2; use the kind pgd"),
    "a start": ({"kind": "cw", "random_start": True, "restarts": 10}, "cw has none; only the kind pgd starts at rand"),
    "restarts": ({"restarts": 10}, "mine: 10 restarts without random_start: true would all be the same"),
    "a word": ({"random_start": "yes"}, "mine.random_start: expected true or false, got 'yes'"),
    "images": ({"images": 25}, "mine.images: expected at most 24, the number of test images, got 25"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_case_10_settings_that_would_run_as_another_attack_are_refused(x, y, name):
    settings, says = SETTINGS[name]
    with pytest.raises(UserError) as told:
        evaluate_model(network(), x, y, "mine", attacks={"mine": AttackConfig(**settings)})
    assert says in str(told.value)


def test_case_10_the_guards_own_attack_is_checked_too(x, y):
    with pytest.raises(UserError, match=r"pgd20\.norm: 'l3' is not known"):
        evaluate_model(network(), x, y, "guard", attacks={"pgd20": AttackConfig(norm="l3")})


class Stops(nn.Module):
    """A network that takes so many images and no more."""

    def __init__(self, most: int, error: Exception):
        super().__init__()
        self.net, self.most, self.error = network(), most, error

    def forward(self, x):
        if len(x) > self.most:
            raise self.error
        return self.net(x)


def test_case_10_a_model_that_stops_late_is_one_sentence(x, y, capsys):
    for names in (("pgd20",), ("guard",)):
        with pytest.raises(UserError, match=r"stops at images \[24, 3, 4, 4\] \(KeyError: 'boom'\)"):
            evaluate_model(Stops(2, KeyError("boom")), x, y, *names)
    full = evaluate_model(Stops(6, torch.OutOfMemoryError("CUDA out of memory")), x, y, "clean", batch_size=24)
    assert full["clean"]["images_at_once"] == 6
    assert "memory is out" in capsys.readouterr().err


def test_case_10_probabilities_in_place_of_logits_are_warned_of(x, y):
    with pytest.warns(UserWarning, match="look like probabilities"):
        evaluate_model(Answers(lambda z: z.softmax(1)), x, y, "clean")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate_model(network(), x, y, "clean")


ATTACKS = {
    "fgsm": lambda *batch: attacks.fgsm(*batch, epsilon=0.1),
    "pgd": lambda *batch: attacks.pgd(*batch, epsilon=0.1, step_size=0.05, steps=2, norm="l2"),
    "cw": lambda *batch: attacks.cw(*batch, epsilon=0.1, step_size=0.05, steps=2, confidence=0),
    "autoattack": lambda *batch: attacks.autoattack(*batch, epsilon=0.1, attacks=["apgd-ce"]),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", ["a tuple", "a dict", "one number", "two classes", "a function", "double"])
def test_case_10_the_attacks_alone_say_what_is_wrong_with_a_model(x, y, attack, name):
    y[0], (model, says) = 2, MODELS[name]
    with pytest.raises(ValueError) as told:
        ATTACKS[attack](model, x[:2], y[:2])
    assert says in str(told.value)


@pytest.mark.parametrize("attack", ATTACKS)
def test_case_10_the_attacks_alone_say_what_is_wrong_with_labels_and_modes(x, y, attack):
    y[0] = 2
    for labels, says in ((y.tolist(), "labels must be a tensor"), (y + 1, "label 3 is out of range")):
        with pytest.raises(ValueError, match=says):
            ATTACKS[attack](network(), x, labels)
    with torch.inference_mode(), pytest.raises(ValueError, match=r"outside torch\.inference_mode"):
        ATTACKS[attack](network(), x, y)


def test_case_10_a_loss_of_ones_own_may_read_another_output(x, y):
    def first(model, images, labels):
        return nn.functional.cross_entropy(model(images)[0], labels, reduction="none")

    budget = {"epsilon": 0.1, "step_size": 0.05, "steps": 2, "norm": "linf", "random_start": False}
    found = attacks.pgd(Answers(lambda z: (z, 0)), x, y, loss=first, **budget)
    assert torch.equal(found, attacks.pgd(network(), x, y, **budget))


# ------------------------------------------------------------------------------------------------ the command line

FILE = """
import torch
from torch import nn

from beside import CLASSES


def load():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("CLASSES = 10\n")
    path = tmp_path / "my_model.py"
    path.write_text(FILE)
    return path


def command(*words) -> int:
    return main(["evaluate", "--dataset", "digits", "--device", "cpu", "--model", *map(str, words)])


def test_case_10_from_the_command_line(file, tmp_path, capsys):
    assert command(file, "--images", 40, "--output", tmp_path / "out", "clean", "fgsm") == 0
    shown = capsys.readouterr().out
    assert f"{file}  fgsm  " in shown
    assert shown.count("(40 images)") == 2
    found = json.loads((tmp_path / "out" / "fgsm.json").read_text())
    data = load("digits", "test")
    assert (found["dataset"], found["data_sha256"]) == ("digits", data.subset(40).sha256)
    assert (found["images"], len(found["weights_sha256"])) == (40, 64)
    torch.manual_seed(0)
    twin = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    own = evaluate_model(twin, to_float(data.images[:40]), data.labels[:40], "fgsm")["fgsm"]
    with np.load(tmp_path / "out" / "fgsm.npz") as arrays:
        assert arrays["correct"].tolist() == own["flags"].tolist()


def test_case_10_the_example_of_the_page_runs(tmp_path):
    """pyautoattack's ResNet-18, real weights; test_reference_model.py holds its accuracy against the published one."""
    text = (Path(__file__).parent.parent / "docs" / "running.md").read_text(encoding="utf-8")
    path = tmp_path / "my_model.py"
    path.write_text(re.search(r"```python\n(# my_model.py.*?)```", text, re.DOTALL).group(1))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = evaluate_model(read_model(path), x, torch.tensor([3, 5]), "clean", classes=10)
    assert found["clean"]["images"] == 2


FILES = {
    "def load(): return 5": "load() must return a torch.nn.Module, got int",
    "net = None": "defines neither load() nor model",
    "import nothing_of_this_name": "stops with ModuleNotFoundError: No module named 'nothing_of_this_name'",
    "raise SystemExit(3)": "stops with SystemExit: 3",
    "from torch import nn; model = nn.Sequential(nn.Flatten(), nn.Linear(64, 100))": "100 classes; 10 are wanted",
    "from torch import nn; model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))": "stops at images [2, 1, 8, 8]",
}


@pytest.mark.parametrize("text", FILES)
def test_case_10_a_file_that_holds_no_such_network_is_one_sentence(tmp_path, capsys, text):
    path = tmp_path / "other.py"
    path.write_text(text)
    assert command(path, "clean") == 2
    assert FILES[text] in (told := capsys.readouterr().err)
    assert told.count("\n") == 1


def test_case_10_two_networks_do_not_share_a_folder(file, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(file, "--images", 4, "--output", out, "clean") == 0
    (out / "network.json").write_text("[]")  # of somebody else
    (out / "cut.json").write_text("{")
    assert command(file, "--images", 4, "--output", out, "clean", "fgsm") == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    file.write_text(FILE.replace("manual_seed(0)", "manual_seed(1)"))
    assert command(file, "--images", 4, "--output", out, "pgd20") == 2
    assert "out: holds results of another network; name another folder with --output" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


LAZY = "from torch import nn; model = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))"
SPARSE = "import torch\n" + FILE + "\nmodel = load()\nmodel.register_buffer('s', torch.eye(3).to_sparse())\ndel load"


def test_case_10_what_a_network_keeps_need_not_be_dense_but_must_be_there(file, tmp_path, capsys):
    file.write_text(LAZY)
    assert command(file, "--images", 4, "clean") == 2
    assert "error: 1.weight has no values yet: let load() pass an image" in capsys.readouterr().err
    file.write_text(SPARSE)
    assert command(file, "--images", 4, "clean") == 0


@pytest.mark.parametrize("change", ["sys.path.clear()", "sys.path = sys.path[1:]", "sys.path.append('mine')"])
def test_case_10_a_file_may_change_the_path_of_imports(file, monkeypatch, change):
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = [*sys.path]
    file.write_text(f"import sys\n{FILE}\n{change}\n")
    read_model(file)
    assert {*sys.path} == {*before, *(["mine"] if "mine" in change else [])}


WORDS = {
    ("evaluate", "model.pt", "aa"): "--model my_model.py --dataset cifar10",
    ("evaluate",): "name a run, or a network of your own",
    ("evaluate", "--model", "no.py", "--dataset", "digits", "clean"): "no.py: there is no such file",
    ("evaluate", "--model", "no.pt", "--dataset", "digits", "clean"): "a Python file is wanted",
    ("evaluate", "--model", "no.py", "clean"): "--model needs --dataset",
    ("evaluate", "--model", "no.py", "--dataset", "digits", "--for", "table1"): "--for goes with a run",
    ("evaluate", "--images", "3", "digits-resnet18-at-s0", "clean"): "--images goes with --model",
}


@pytest.mark.parametrize("words", WORDS)
def test_case_10_words_that_do_not_go_together_are_one_sentence(capsys, words):
    assert main([*words]) == 2
    assert WORDS[words] in capsys.readouterr().err
