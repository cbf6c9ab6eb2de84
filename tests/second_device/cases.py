"""What must come out the same on the CPU and on the pretended device, and what the device must refuse.

A case is a function without arguments that picks its device as the library does, and returns tensors and numbers. As
a program: runs every case on the CPU, installs the device, runs every case again, and prints a JSON of
{case: "" or what went wrong}. `tests/test_second_device.py` makes a test of each entry.
"""

import json
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.utils._triton
from torch import Tensor, nn

from advdpnp import attacks, geometry
from advdpnp.config import METHODS, RunConfig, parse_tier
from advdpnp.data import augment, load, to_float
from advdpnp.evaluate import evaluate, masking_probes
from advdpnp.hardware import pick_device, seeded
from advdpnp.jobs import estimate
from advdpnp.models.batchnorm_folding import FoldedSurrogate
from advdpnp.store import RESULTS, read_arrays, read_json
from advdpnp.train import fit, load_model, load_state
from benchmarks import attacks as attack_benchmark
from benchmarks import data as data_benchmark
from benchmarks import fidelity, scaling, steps

TINY = {  # fewer images than elsewhere in the tests: every case runs twice
    "data": {"train_images": 48},
    "model": {"width": 8},
    "optim": {"epochs": 2, "batch_size": 32, "lr": 0.05, "milestones": [], "precision": "fp32", "compile": "off"},
    "craft": {"epsilon": "32/255", "step_size": "16/255", "steps": 2},
    "adv_dpnp": {"radius": 10},
    "pcl": {"warmup_epochs": 1},
    "evaluation": {"test_images": 12, "batch_size": 8, "budget_scale": 4, "corruption_images": 3},
}
# One of each kind, norm and start, with fewer steps.
SHORT = {name: {"steps": 3} for name in ("pgd20", "pgd20_l2", "pgd100_l1", "pgd100_l1_dense", "cw30", "adaptive20")}
SHORT |= {"pgd40_restarts5": {"steps": 3, "restarts": 2}, "aa": {"version": "smoke", "square_queries": 10, "images": 4}}
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")  # AutoAttack's components


def tiny(method: str, variant: str = "", **changes: dict) -> RunConfig:
    """A run that trains in a fraction of a second."""
    defaults = {key: TINY.get(key, {}) | changes.get(key, {}) for key in TINY | changes}
    raw = {
        "label": "tiny",
        "defaults": defaults,
        "attacks": SHORT,
        "blocks": {"cifar10/resnet18": {"dataset": "digits"}},
    }
    return parse_tier(f"tiny{variant}", raw, "tiny.toml").run("cifar10/resnet18", method, 0)


# -------------------------------------------------------------------------------------------------------- training


def trained(run: RunConfig, **options: Any) -> RunConfig:
    """The run after training, which is not done twice; for HAT, its ST run too."""
    if run.method == "HAT":
        trained(tiny("ST"))
    if not (RESULTS.trained(run)).exists():
        fit(run, **options)
    return run


def separations() -> dict[str, float]:
    """Eqs. (8)-(12) of tensors on the device; evaluation has moved them to the CPU by then, a notebook may not."""
    generator, device = torch.Generator().manual_seed(0), pick_device()
    features = torch.randn(40, 6, generator=generator).to(device)
    centers, labels = torch.randn(4, 6, generator=generator).to(device), (torch.arange(40) % 4).to(device)
    return {
        "fdr": geometry.fisher_discriminant_ratio(features, labels),
        "afs": geometry.angular_fisher_score(features, labels),
        "scr": geometry.separation_to_compactness(features, labels, centers),
        "mean": geometry.mean_separation(centers),
        "min": geometry.min_separation(centers),
    }


def weights(run: RunConfig) -> dict[str, Tensor]:
    """Every number that training leaves: the model, and the state of the defense and the optimiser."""
    state = load_state(RESULTS.run(trained(run)) / "last.pt", "defense", "optimizer")
    momentum = {f"momentum {key}": value["momentum_buffer"] for key, value in state["optimizer"]["state"].items()}
    return {**load_model(run).state_dict(), **state["defense"], **momentum}


def resumed() -> dict[str, Tensor]:
    """Stopped after an epoch, the state read from disk, and gone on from there."""
    run = tiny("PCL", "-resumed", optim={"epochs": 3})
    assert fit(run, max_minutes=0) is None
    return weights(run)


def random_streams() -> dict[str, Tensor]:
    """`seeded` draws from its key and leaves the device's own stream as found; augmentation and starts draw from it."""
    device = pick_device()
    torch.manual_seed(5)
    with seeded(torch.device("cpu"), 1, 1):  # as a network's first weights are drawn
        torch.rand(3)
    with seeded(device, 1, 2) as generator:
        inside = torch.rand(3, device=device), torch.rand(3, generator=generator, device=device)
        images = torch.arange(128, dtype=torch.uint8, device=device).reshape(2, 1, 8, 8)
        cropped = [augment(images, generator=generator, pad_mode=mode) for mode in ("zeros", "reflect")]
    return {"inside": torch.cat(inside), "cropped": torch.cat(cropped), "after": torch.rand(3, device=device)}


# ------------------------------------------------------------------------------------------------------ evaluation


def evaluated(name: str, **changes: dict) -> dict[str, Any]:
    """All that an evaluation of Adv-DPNP writes, but for times and names."""
    run = trained(tiny("Adv-DPNP", **changes))
    trained(tiny("ST"))  # whose images the guard transfers
    found = evaluate(run, name)[name]
    left_out = ("seconds", "provenance", "model_sha256", "key")
    for component in found.get("components", {}).values():
        del component["seconds"]
    values = {key: json.dumps(value) for key, value in found.items() if key not in left_out}
    return values | read_arrays(RESULTS.arrays(run, name))


def guarded() -> dict[str, Any]:
    """The guard with fewer steps and queries."""
    with (
        patch.object(masking_probes, "LARGE", replace(masking_probes.LARGE, steps=3)),
        patch.object(masking_probes, "SQUARE_QUERIES", 10),
    ):
        return evaluated("guard", evaluation={"batch_size": 12})


def victim() -> tuple[nn.Module, Tensor, Tensor]:
    """A small network on the device, images there, and what it says of them as labels: every image has to be attacked.

    It has what a surrogate changes, a batch norm and a linear layer; that of a ResNet-18 is `evaluation aa`.
    """
    device = pick_device()
    with seeded(torch.device("cpu"), 3):
        layers = nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)
        model = nn.Sequential(*layers).eval().to(device)
    x = to_float(load("digits", "test").images[:4].to(device))
    with torch.no_grad():
        return model, x, model(x).argmax(1)


def component(name: str, norm: str = "linf", fast: bool = True) -> dict[str, Tensor]:
    """Images of one component of AutoAttack, on a surrogate in bfloat16 or as the package runs it."""
    model, x, y = victim()
    surrogate = FoldedSurrogate(model, bf16=True) if fast else None
    epsilon = {"linf": 0.15, "l2": 1.0, "l1": 5.0}[norm]
    limits = {"attacks": [name], "square_queries": 10, "surrogate": surrogate}
    return {"images": attacks.autoattack(model, x, y, epsilon=epsilon, norm=norm, **limits)}


def attack_on_cpu() -> dict[str, Tensor]:
    """AutoAttack seeds every generator there is; an attack on the CPU restores the device's stream too."""
    x, model = torch.rand(2, 1, 8, 8), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    torch.manual_seed(7)
    attacks.autoattack(model, x, model(x).argmax(1), epsilon=0.1, attacks=["square"], square_queries=2)
    return {"after": torch.rand(3, device=pick_device())}


def cpu_start() -> dict[str, Tensor]:
    """A generator of the CPU gives the same start on every device."""
    model, x, y = victim()
    found = {}
    for norm in attacks.NORMS:
        generator = torch.Generator().manual_seed(3)
        found[norm] = attacks.pgd(model, x, y, epsilon=0.5, step_size=0.2, steps=1, norm=norm, generator=generator)
    return found


# ------------------------------------------------------------------------------------------------------ benchmarks


def one_step(method: str) -> dict[str, Tensor]:
    """A step of both sides of benchmarks/steps.py: the loss that each starts from."""
    run, device, found = steps.run_of(method, width=8, batch=4, steps=1), pick_device(), {}
    for side in (steps.ours, steps.textbook):
        torch.manual_seed(1)
        found[side.__name__] = side(run, device)(*steps.random_batch(4, device))
    # DIO draws its head from the CPU's stream and its start from the device's, which are one on the CPU.
    return {name: loss.isfinite() if method == "DIO" else loss for name, loss in found.items()}


def attack_duel() -> dict[str, float]:
    """benchmarks/attacks.py on its untrained network, and on labels that are wrong, so that AutoAttack ends at once."""
    device = pick_device()
    model, run, _ = attack_benchmark.network(None, device)
    x = to_float(load(run.dataset, "test").images[:4]).to(device)
    with torch.no_grad():
        labels = model(x).argmax(1)
    found = {"pgd20": attack_benchmark.duel("pgd20", model, run, x, labels, 1)}
    found["aa"] = attack_benchmark.duel("aa", model, run, x, (labels + 1) % 10, 1)
    return {name: point["robust"]["ours"] for name, point in found.items()}


def augmentation() -> dict[str, float]:
    """Our side of benchmarks/data.py, and that theirs takes images from the device."""
    images = torch.randint(256, (10, 3, 32, 32), dtype=torch.uint8, device=pick_device())
    data_benchmark.ours(images, 4)
    return {"batches": len(data_benchmark.loader(images, 4))}


def speeds() -> dict[str, bool]:
    """benchmarks/scaling.py's share of the peak, and the estimate of `plan --measure`: positive, whatever they are."""
    share = scaling.crafting_share(steps.run_of("AT", 4, 2, steps=1), pick_device(), rounds=1, size=32)
    pass_ = estimate.seconds_per_pass(tiny("AT", optim={"batch_size": 8}))
    return {"share": share["share"] > 0, "pass": pass_ > 0}


def fidelity_outcome() -> dict[str, float]:
    """benchmarks/fidelity.py hands the device on by name."""
    return fidelity.outcome(fidelity.twin(tiny("AT"), fast=True), pick_device())


CASES: dict[str, Callable[[], Mapping[str, Any]]] = {
    **{f"training {method}": partial(lambda method: weights(tiny(method)), method) for method in METHODS},
    "training on the device by name": lambda: weights(
        trained(tiny("Adv-DPNP", "-named"), device=pick_device().type)  # cuda, where auto gives cuda:0
    ),
    "training in bfloat16": lambda: weights(tiny("Adv-DPNP", "-bf16", optim={"precision": "bf16"})),
    "training with crop and flip": lambda: weights(
        tiny("AT", "-augmented", data={"augment": "on", "padding": 2, "pad_mode": "reflect"})
    ),
    "training with clipping": lambda: weights(tiny("AT", "-clipped", optim={"clip_norm": 0.5})),
    "training in train mode": lambda: weights(tiny("TRADES", "-train", craft={"bn_mode": "train"})),
    "training with Eq. (7) inside": lambda: weights(
        tiny("Adv-DPNP", "-composite", adv_dpnp={"radius": 10, "inner_loss": "composite", "renormalise": "step"})
    ),
    "training with IKL's MSE inside": lambda: weights(tiny("IKL", "-mse", ikl={"craft_wmse": 1.0})),
    "training resumed": resumed,
    "random streams": random_streams,
    **{f"evaluation {name}": partial(evaluated, name) for name in ("clean", "fgsm", "clean_renormalised", *SHORT)},
    **{f"evaluation {name}": partial(evaluated, name) for name in ("features", "corruptions")},
    "evaluation guard": guarded,
    "evaluation geometry": partial(evaluated, "geometry", evaluation={"test_images": 40}),  # every class is there
    "geometry on the device": separations,
    "evaluation aa, plain": partial(evaluated, "aa", evaluation={"fast": False}),
    **{f"AutoAttack {name}": partial(component, name) for name in (*STANDARD, "apgd-dlr", "fab")},
    **{f"AutoAttack {norm} {name}": partial(component, name, norm) for norm in ("l2", "l1") for name in STANDARD},
    **{f"AutoAttack {name}, plain": partial(component, name, fast=False) for name in STANDARD},
    "AutoAttack on the CPU": attack_on_cpu,
    "start from the CPU": cpu_start,
    **{f"step of {method}": partial(one_step, method) for method in METHODS},
    "benchmark of attacks": attack_duel,
    "benchmark of data": augmentation,
    "benchmark of fidelity": fidelity_outcome,
    "speeds": speeds,
}

# -------------------------------------------------------------------------------------------------------- refusals


def forgotten_buffer() -> Any:
    """A defense with a tensor that is no buffer, so that defense.to(device) leaves it behind."""
    defense = steps.build(steps.run_of("IKL", width=8, batch=4, steps=1))
    table = defense.class_table
    del defense.class_table
    defense.to(pick_device()).class_table = table
    x, y = steps.random_batch(4, pick_device())
    return defense.loss(x, x, y)


HERE, THERE = torch.ones(3, 3), lambda: torch.ones(3, 3, device=pick_device())  # THERE: once the device is
INDEX, SAME, NUMPY = torch.tensor([0, 2]), "Expected all tensors to be on the same device", "can't convert cuda"
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a sum": (lambda: HERE + THERE(), SAME),
    "a sum with one number": (lambda: HERE + THERE()[0, 0], SAME),
    "a sum in place": (lambda: HERE[0, 0].clone().add_(THERE()[0, 0]), SAME),
    "a product": (lambda: THERE() @ HERE, SAME),
    "a concatenation": (lambda: torch.cat([THERE(), HERE]), SAME),
    "index_select": (lambda: THERE().index_select(0, INDEX), SAME),
    "gather": (lambda: THERE().gather(1, INDEX[None]), SAME),
    "an index of the device": (lambda: HERE[INDEX.to(pick_device())], SAME),
    "a value of the CPU": (lambda: THERE().__setitem__(INDEX, HERE[INDEX]), SAME),
    "labels of the CPU": (lambda: nn.functional.cross_entropy(THERE(), torch.tensor([0, 1, 2])), SAME),
    "a network of the CPU": (lambda: nn.Linear(3, 3)(THERE()), SAME),
    "a forgotten buffer": (forgotten_buffer, SAME),
    "numpy": (lambda: THERE().numpy(), NUMPY),
    "numpy.asarray": (lambda: np.asarray(THERE()), NUMPY),
    "a generator of the CPU": (
        lambda: torch.rand(2, generator=torch.Generator(), device=pick_device()), "Expected a 'cuda' device type",
    ),
    "a generator of the device": (
        lambda: torch.rand(2, generator=torch.Generator(pick_device())), "Expected a 'cpu' device type",
    ),
}  # fmt: skip


def allowed() -> str:
    """What CUDA lets pass: numbers (0-dim) and indices of the CPU, copies, and saving."""
    there = THERE()
    there += torch.tensor(2.0)
    there[INDEX] = torch.tensor(1.0)
    there[0].copy_(HERE[0] * 5)
    path = Path(os.environ["ADVDPNP_RESULTS"]) / "there.pt"
    torch.save({"there": there}, path)
    back = torch.load(path, map_location="cpu", weights_only=True)["there"]
    right = torch.tensor([[5.0] * 3, [3.0] * 3, [1.0] * 3])
    return "" if torch.equal(back, right) and torch.equal(there[INDEX].cpu(), right[INDEX]) else f"{back}"


def refusal(wrong: Callable[[], Any], words: str) -> str:
    """'' if it raises with these words, else what happened."""
    try:
        return f"did not raise: {wrong()}"
    except (RuntimeError, TypeError) as error:
        return "" if words in str(error) else f"raised {error!r}"


# --------------------------------------------------------------------------------------------------------- program


def outcome(case: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray] | str:
    """What a case returns, as arrays, or its traceback."""
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            found = case()
        return {name: np.asarray(v.detach().cpu() if isinstance(v, Tensor) else v) for name, v in found.items()}
    except Exception:
        return traceback.format_exc()


def difference(here: dict | str, there: dict | str) -> str:
    """'' if equal bit for bit, else which values differ, or the traceback."""
    for found in (here, there):
        if isinstance(found, str):
            return found
    wrong = [name for name in here.keys() | there.keys() if not np.array_equal(here.get(name), there.get(name))]
    return f"differ: {sorted(wrong)}" if wrong else ""


def main() -> None:
    """Print the JSON."""
    from second_device import device

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.cpu._is_avx512_bf16_supported = lambda: True  # "auto" is bfloat16 on both
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ADVDPNP_RESULTS"] = f"{folder}/cpu"
        here = {name: outcome(case) for name, case in CASES.items()}
        device.install()
        torch.utils._triton.has_triton = lambda: False  # a CUDA build would ask the card
        os.environ["ADVDPNP_RESULTS"] = f"{folder}/device"
        found = {name: difference(here[name], outcome(case)) for name, case in CASES.items()}
        found |= {f"refused: {name}": refusal(*wrong) for name, wrong in REFUSED.items()}
        found |= {
            "allowed": allowed(),
            "device": read_json(RESULTS.trained(trained(tiny("ST"))))["provenance"]["device"],
        }
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
