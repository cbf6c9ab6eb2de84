"""A trained network for others: weights without pickle, Python that needs only torch and safetensors, ONNX.

The code that goes with the weights is a copy of this package's own files, so it cannot drift from them. The JSON has
the fields that RobustBench's model zoo asks for (model_info/<dataset>/Linf/<name>.json); what was not measured is null.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advdpnp import models
from advdpnp.config import RunConfig, facts
from advdpnp.defenses import DEFENSES
from advdpnp.errors import UserError
from advdpnp.evaluate import resolved_attack
from advdpnp.paper.numbers import reported
from advdpnp.report.model_card import EXPORTED, write_card
from advdpnp.store import RESULTS, code_revision, write_atomic, write_json, write_text
from advdpnp.train import load_model

PACKAGE = Path(__file__).resolve().parents[1]
OPSET = 20  # of ONNX; onnxruntime 1.17 and later run it
ARCHITECTURES = {"resnet18": ("ResNet-18", "RN18"), "wrn34_10": ("WideResNet-34-10", "WRN34_10"),
                 "lenetspp": ("LeNets++", "LeNetsPP")}  # fmt: skip


def export(
    run: RunConfig, label: str, output: Path | None = None, *, comparable: bool = False, onnx: bool = False
) -> Path:
    """Write a trained run to `output` (default results/<tier>/export/<run id>); returns that folder.

    `label` is the tier's own line about its protocol, `comparable` its policy: both go with the network. Files:
    model.safetensors, model.py, README.md (the model card), network.json, network/ with the code,
    model_info/<dataset>/Linf/<name>.json, and model.onnx on request. Raises UserError when the run is not trained, its
    method builds a network that it does not describe, or a package of the extra `export` is missing.
    """
    needed = ["safetensors", *(("onnx", "onnxscript") if onnx else ())]
    for package in needed:
        try:
            __import__(package)
        except ImportError:
            raise UserError(f"export needs {package}: pip install -c constraints.txt -e '.[export]'") from None
    trained = RESULTS.read_training(run, "model_sha256")
    if trained is None:
        command = f"python -m advdpnp train --tier {run.tier} {run.id}"
        raise UserError(f"{run.id} is not trained in tier {run.tier}; {command}")
    from safetensors.torch import save

    folder = RESULTS.tier(run.tier) / "export" / run.id if output is None else output
    model = load_model(run)
    network = described(run, model)
    protocol = f"tier {run.tier} ({label})" + ("" if comparable else ": not the paper's protocol")
    about = {"run": run.id, "protocol": protocol, "code_revision": code_revision()}
    about["model_sha256"] = trained["model_sha256"]
    weights = {name: value.clone().contiguous() for name, value in model.state_dict().items()}  # shared ones apart
    write_atomic(folder / "model.safetensors", lambda handle: handle.write(save(weights, metadata=about)))
    write_json(folder / "network.json", about | network)
    write_text(folder / "model.py", model_file(run, about))
    for path in (*sorted((PACKAGE / "models").glob("*.py")), *(PACKAGE / name for name in BESIDE)):
        write_text(folder / "network" / path.relative_to(PACKAGE), path.read_text(encoding="utf-8"))
    write_text(folder / "network" / "__init__.py", '"""Copied from the Adv-DPNP companion (MIT licence)."""\n')
    name = f"{facts(run.method).key}_{ARCHITECTURES[run.backbone][1]}.json"
    write_json(folder / "model_info" / run.dataset / "Linf" / name, model_info(run, protocol, comparable))
    write_card(run, comparable, folder=folder, snippet=EXPORTED)
    if onnx:
        write_onnx(run, model, folder / "model.onnx", about)
    return folder


# ------------------------------------------------------------------------------------------------------- RobustBench


def measured(run: RunConfig, attack: str) -> dict | None:
    """The evaluation of the run's present weights under an attack of config.ATTACKS as the tier has it now, or None."""
    found = RESULTS.read_evaluation(run, attack, "accuracy", "images", "model_sha256", "settings")
    trained = RESULTS.read_training(run, "model_sha256")
    if not found or not trained or found["model_sha256"] != trained["model_sha256"]:
        return None
    return found if found["settings"] == asdict(resolved_attack(run, attack)) else None


def model_info(run: RunConfig, protocol: str, comparable: bool) -> dict[str, Any]:
    """RobustBench's fields; accuracies in percent as strings of two decimals, null where nothing was measured.

    `reported` is the authors' own number, given only where this run follows their protocol (Adv-DPNP, `comparable`).
    """
    paper = facts(run.method)
    attack = resolved_attack(run, "aa")
    clean, aa = measured(run, "clean"), measured(run, "aa")
    if attack.version != "standard" or attack.square_queries:
        aa = None  # a smoke test of AutoAttack's code is not AutoAttack
    same = comparable and run.method == "Adv-DPNP" and not run.variant
    place = {"dataset": run.dataset, "backbone": run.backbone, "method": run.method}
    authors_own = reported(2, **place, column="aa") if same else None
    seen = {"clean_acc": clean, "autoattack_acc": aa}
    notes = [f"{key} on {found['images']:,} test images" for key, found in seen.items() if found]
    return {
        "link": paper.link or None,
        "name": paper.title,
        "authors": paper.authors or None,
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": run.dataset,
        "venue": paper.venue or None,
        "architecture": ARCHITECTURES[run.backbone][0],
        "eps": f"{255 * attack.epsilon:.6g}/255",
        "clean_acc": f"{clean['accuracy']:.2f}" if clean else None,
        "reported": None if authors_own is None else f"{authors_own:.2f}",
        "autoattack_acc": f"{aa['accuracy']:.2f}" if aa else None,
        "footnote": "; ".join(["a reproduction by the Adv-DPNP companion", protocol, *notes]),
        "tier": run.tier,
    }


# ---------------------------------------------------------------------------------------- the code beside the weights

BESIDE = ("losses.py", "errors.py")  # what models/ needs of this package
LOADER = '''
import importlib.util
import json
import sys
from pathlib import Path

from torch import nn

HERE = Path(__file__).resolve().parent


def build() -> nn.Module:
    """The untrained network of network.json."""
    name = "network_" + HERE.as_posix().encode().hex()  # of this folder alone: several exports can be loaded at once
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / "network" / "__init__.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return importlib.import_module(name + ".models").build(json.loads((HERE / "network.json").read_text()))


def load(path: str | Path = HERE / "model.safetensors", device: str = "cpu") -> nn.Module:
    """The trained network in eval mode."""
    from safetensors.torch import load_file

    model = build()
    model.load_state_dict(load_file(path, device=device))
    return model.to(device).eval()
'''


def described(run: RunConfig, model: nn.Module) -> dict[str, Any]:
    """The run's network as plain data, from which `models.build` makes the same function. Raises UserError."""
    network = json.loads(json.dumps(DEFENSES[run.method].network(run)))
    shape = (2, run.facts.channels, run.facts.size, run.facts.size)
    images, copy = torch.linspace(0, 1, math.prod(shape)).view(shape), models.build(network).eval()
    try:
        copy.load_state_dict(model.state_dict())
        with torch.no_grad():
            same = torch.allclose(copy(images), model(images), rtol=1e-3, atol=1e-4)
    except RuntimeError:  # weights of other names or shapes
        same = False
    if not same:
        raise UserError(f"{run.id}: {run.method} builds another network than its `network` describes: say it there.")
    return network


def model_file(run: RunConfig, about: Mapping[str, str]) -> str:
    """The text of model.py."""
    size, classes = f"{run.facts.channels}, {run.facts.size}, {run.facts.size}", run.facts.classes
    header = f'''\
"""{run.id}: {run.method} on {run.dataset}, {ARCHITECTURES[run.backbone][0]}. Needs torch and safetensors, nothing else.

Trained under {about["protocol"]}.
model.pt's sha256: {about["model_sha256"]}; code: {about["code_revision"]}.

    from model import load
    logits = load()(images)   # [B, {size}] in [0, 1] -> [B, {classes}]; normalisation is inside

Written by `python -m advdpnp export`; network/ is a copy of the Adv-DPNP companion's sources (MIT licence).
"""
'''
    return header + LOADER


# --------------------------------------------------------------------------------------------------------------- ONNX


def write_onnx(run: RunConfig, model: nn.Module, path: Path, about: Mapping[str, str]) -> None:
    """images [batch, C, H, W] in [0, 1] -> logits [batch, M], at opset OPSET, batch of any size."""
    import onnx

    images = torch.zeros(2, run.facts.channels, run.facts.size, run.facts.size)
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        model.to(memory_format=torch.contiguous_format),
        (images,),
        input_names=["images"],
        output_names=["logits"],
        opset_version=OPSET,
        dynamic_shapes=({0: batch},),
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    onnx.helper.set_model_props(proto, dict(about))
    onnx.checker.check_model(proto)
    write_atomic(path, lambda handle: handle.write(proto.SerializeToString()))
