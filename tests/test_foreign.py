"""Networks of other people under the paper's attacks: numbers, and one sentence for whatever does not fit."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from advdpnp.__main__ import main
from advdpnp.attacks import pgd
from advdpnp.config import ATTACKS
from advdpnp.data import load, to_float
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate_model


@pytest.fixture(scope="module")
def linear():
    """A linear classifier of the digits, trained for a moment, and twenty test images."""
    train, test = load("digits", "train"), load("digits", "test").subset(20)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(to_float(train.images)), train.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.train(), to_float(test.images), test.labels


def test_case_10_a_model_of_ones_own_is_evaluated(linear):
    model, x, y = linear
    found = evaluate_model(model, x, y, "clean", "fgsm", "pgd20", "aa", "guard", batch_size=7)
    assert model.training  # as it was
    with torch.no_grad():
        assert found["clean"].correct.tolist() == (model.eval()(x).argmax(1) == y).tolist()
    attack = ATTACKS["pgd20"]
    x_adv = pgd(
        model, x, y, epsilon=attack.epsilon, step_size=attack.step_size, steps=20, norm="linf", random_start=False
    )
    assert found["pgd20"].correct.tolist() == (model(x_adv).argmax(1) == y).tolist()
    assert found["pgd20"].accuracy == pytest.approx(100 * found["pgd20"].correct.mean())
    assert (found["aa"].correct <= found["clean"].correct).all()
    assert found["aa"].accuracy <= found["pgd20"].accuracy + 5
    assert {check.name for check in found["guard"].checks} >= {"gradient", "black box"}
    assert all(not p.grad_fn for p in model.parameters())


def test_case_10_a_function_will_do_and_labels_as_a_list(linear):
    model, x, y = linear
    model.eval()
    found = evaluate_model(lambda images: model(images), x, y.tolist(), "pgd20")
    assert found["pgd20"].correct.tolist() == evaluate_model(model, x, y, "pgd20")["pgd20"].correct.tolist()


def test_case_10_memory_that_runs_out_changes_nothing(linear, monkeypatch):
    model, x, y = linear

    class Small(nn.Module):
        def forward(self, images):
            if len(images) > 5:
                raise torch.OutOfMemoryError("too many")
            return model(images)

    model.eval()
    expected = evaluate_model(model, x, y, "pgd20", batch_size=20)["pgd20"].correct
    assert evaluate_model(Small(), x, y, "pgd20", batch_size=20)["pgd20"].correct.tolist() == expected.tolist()


def double(model, x):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()


BAD = {
    "a tuple as output": (lambda m, x: lambda images: (m(images),), None, None, "expected logits .* got a tuple: wrap"),
    "a dict as output": (lambda m, x: lambda images: {"logits": m(images)}, None, None, "got a dict"),
    "one output": (lambda m, x: lambda images: m(images)[:, 0], None, None, r"expected logits \[2, M\].*got \[2\]"),
    "nan": (lambda m, x: lambda images: m(images) * torch.nan, None, None, "finite logits"),
    "no model": (lambda m, x: "resnet18", None, None, "expected a model, got str"),
    "float64": (double, None, None, r"expected a model in float32, got torch.float64: model.float\(\)"),
    "another size": (lambda m, x: nn.Linear(3, 3), None, None, "the model fails on images"),
    "bytes": (None, lambda x: (255 * x).byte(), None, r"expected images in float32, got torch.uint8"),
    "0 to 255": (None, lambda x: 255 * x, None, r"expected pixels in \[0, 1\], got 0 to 255"),
    "normalised": (None, lambda x: (x - 0.5) / 0.2, None, "undo any normalisation"),
    "one image": (None, lambda x: x[0], None, r"\[N, C, H, W\], got Tensor \[1, 8, 8\]"),
    "a NumPy array": (None, lambda x: x.numpy(), None, "got ndarray"),
    "labels from 1": (None, None, lambda y: y + 1, "expected labels 0 to 9 for logits of 10 classes, got 1 to 10"),
    "labels in float": (None, None, lambda y: y.float(), "whole-numbered labels"),
    "too few labels": (None, None, lambda y: y[:3], "expected 20 whole-numbered labels"),
}


@pytest.mark.parametrize("name", BAD)
def test_case_10_what_does_not_fit_is_one_sentence(linear, name):
    model, x, y = linear
    of_model, of_images, of_labels, said = BAD[name]
    model = of_model(model, x) if of_model else model
    with pytest.raises(UserError, match=said):
        evaluate_model(model, of_images(x) if of_images else x, of_labels(y) if of_labels else y, "clean")


def test_case_10_inference_mode_and_unknown_attacks_are_one_sentence(linear):
    model, x, y = linear
    with torch.inference_mode(), pytest.raises(UserError, match="leave torch"):
        evaluate_model(model, x, y, "pgd20")
    with pytest.raises(UserError, match="unknown attack 'pgd2'; did you mean 'pgd20'"):
        evaluate_model(model, x, y, "pgd2")
    with pytest.raises(UserError, match="only Adv-DPNP trains with"):
        evaluate_model(model, x, y, "adaptive20")


MODEL = """
import torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""


def test_case_10_from_the_command_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "mine.py").write_text(MODEL)
    record = tmp_path / "found.json"
    command = ["evaluate", "--model", str(tmp_path / "mine.py"), "--dataset", "digits", "--images", "30"]
    assert main([*command, "clean", "pgd20", "--record", str(record)]) == 0
    said = capsys.readouterr().out
    flags = np.load(record.with_suffix(".npz"))
    accuracy = json.loads(record.read_text())["pgd20"]["accuracy"]
    assert f"mine.py  pgd20  {accuracy:.2f} %  (30 images)" in said
    assert accuracy == pytest.approx(100 * flags["pgd20"].mean())
    for words, expected in (
        (["--model", str(tmp_path / "absent.py"), "clean"], "absent.py: no such file"),
        (["--model", str(tmp_path / "mine.py")], "name at least one attack after --model"),
        ([*command[1:], "pgd2"], "did you mean 'pgd20'"),
        (
            ["--model", str(tmp_path / "mine.py"), "--dataset", "digits", "--images", "-1", "clean"],
            "--images: expected",
        ),
        (["--tier", "demo"], "name a run"),
    ):
        assert main(["evaluate", *words]) == 2
        assert expected in capsys.readouterr().err
