"""torch.compile and other means of speed: the same training, no graph compiled twice, no waiting for the device."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from advdpnp.config import METHODS, digest
from advdpnp.errors import UserError
from advdpnp.hardware import SPACED, pick_compile
from advdpnp.store import RESULTS, read_json
from advdpnp.train import build_defense, build_optimizer, compile_backbone, fit, load_model, train_epoch

CPU = torch.device("cpu")
NO_SPACE = pytest.mark.skipif(SPACED, reason="torch.compile needs a folder without a space in its name")


class Silent:
    """A progress bar that shows nothing."""

    def update(self, *_):
        pass


@pytest.fixture
def captured(monkeypatch):
    """torch.compile captures graphs and runs them as they are, without a C++ compiler: seconds instead of minutes."""
    plain = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: plain(self, backend="eager", **options))
    monkeypatch.setattr("advdpnp.hardware.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("advdpnp.hardware.SPACED", False)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield torch._dynamo.utils.counters
    torch._dynamo.reset()


def weights(run):
    return load_model(run).state_dict()


def test_held_out_images_are_attacked_without_graphs_of_their_own(tiny, captured):
    """Batches of another size in float32 would count against torch's limit of graphs per function."""
    settings, optim = {"train_images": 80}, {"epochs": 2, "milestones": [], "compile": "on"}
    counts = []
    for held_out in (0, 45):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        fit(tiny("AT", data=settings | {"validation_images": held_out}, optim=optim), restart=True)
        counts.append(captured["stats"]["unique_graphs"])
    assert counts[0] == counts[1] > 0


# What a method adds is compiled around any backbone; ResNet-18 (OC's and FSR's own) takes three times as long.
BACKBONES = {method: "cifar10/resnet18" if method in ("AT", "Adv-DPNP", "OC", "FSR") else "mnist/lenetspp"
             for method in METHODS}  # fmt: skip


@pytest.mark.parametrize(("method", "block"), BACKBONES.items(), ids=BACKBONES)
def test_a_compiled_training_is_the_same_and_compiles_no_more_after_epoch_0(tiny, captured, monkeypatch, method, block):
    """80 images in batches of 32: the last, smaller batch has graphs of its own."""
    settings = {"block": block, "data": {"train_images": 80}, "pcl": {"warmup_epochs": 1}}
    optim = {"epochs": 3, "milestones": []}
    if method == "HAT":
        fit(tiny("ST", **settings, optim=optim))
    graphs = []
    epoch = train_epoch

    def counting(*arguments):
        means = epoch(*arguments)
        graphs.append(captured["stats"]["unique_graphs"])
        return means

    monkeypatch.setattr("advdpnp.train.train_epoch", counting)
    fit(eager := tiny(method, **settings, optim=optim | {"compile": "off"}))
    before, graphs[:] = weights(eager), []
    done = fit(tiny(method, **settings, optim=optim | {"compile": "on"}), restart=True)
    assert done["compiled"] == "on"
    assert graphs[0] > 0
    assert len(set(graphs)) == 1, f"graphs after each epoch: {graphs}"
    for name, value in weights(eager).items():
        torch.testing.assert_close(value, before[name], rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


@NO_SPACE
def test_the_real_compiler_ends_near_the_same_loss(tiny):
    """LeNets++ through Inductor on this CPU: other kernels, so only nearly the same."""
    try:
        assert pick_compile("on", CPU)
    except UserError as error:
        pytest.skip(str(error))
    runs = [tiny("AT", block="mnist/lenetspp", optim={"epochs": 1, "compile": mode}) for mode in ("off", "on")]
    eager, compiled = (fit(run, restart=True) for run in runs)
    assert (eager["compiled"], compiled["compiled"]) == ("off", "on")
    assert compiled["final"]["loss"] == pytest.approx(eager["final"]["loss"], rel=1e-3)


def test_compiling_is_no_setting_of_the_weights(tiny):
    """A training may begin on a CPU and go on compiled on a GPU; what was trained before this switch stays valid."""
    runs = [tiny("AT", optim={"compile": mode}) for mode in ("auto", "on", "graphs", "off")]
    assert len({digest(run.training_settings()) for run in runs}) == 1
    fit(runs[0])
    assert "compile" not in read_json(RESULTS.run(runs[0]) / "config.json", "optim")["optim"]


def test_auto_does_not_compile_on_a_cpu():
    assert [pick_compile(requested, CPU) for requested in ("auto", "off")] == ["off", "off"]


@pytest.mark.parametrize(("triton", "auto"), [(True, "on"), (False, "off")])
def test_auto_compiles_on_a_gpu_with_triton(monkeypatch, triton, auto):
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: triton)
    assert pick_compile("auto", torch.device("cuda")) == auto
    if triton:
        assert pick_compile("graphs", torch.device("cuda")) == "graphs"
    else:
        with pytest.raises(UserError, match=r"graphs, but torch\.compile needs Triton"):
            pick_compile("graphs", torch.device("cuda"))


def test_a_folder_with_a_space_is_named_before_anything_is_compiled(monkeypatch):
    monkeypatch.setattr("advdpnp.hardware.SPACED", True)
    assert pick_compile("auto", CPU) == "off"
    with pytest.raises(UserError, match="needs an environment in a folder without a space in its name"):
        pick_compile("on", CPU)


def test_graphs_are_for_gpus():
    with pytest.raises(UserError, match="graphs are recorded on a GPU only; use auto, on or off"):
        pick_compile("graphs", CPU)


@NO_SPACE
def test_the_options_of_graphs_compile(tiny):
    """Through Inductor on this CPU, where the same options compile without recording: two batches, the same loss."""
    try:
        pick_compile("on", CPU)
    except UserError as error:
        pytest.skip(str(error))
    run = tiny("TRADES", block="mnist/lenetspp")
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8)
    losses = []
    for mode in ("off", "graphs"):
        defense = build_defense(run).train()
        compile_backbone(defense, mode)
        losses.append([defense.loss(x, (x + shift).clamp(0, 1), y)[0].item() for shift in (0.05, 0.1)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_on_without_a_compiler_is_one_sentence(tiny, monkeypatch):
    monkeypatch.setattr("advdpnp.hardware.shutil.which", lambda name: None)
    run = tiny("AT", optim={"compile": "on"})
    with pytest.raises(UserError, match=r"optim\.compile: on, but torch\.compile needs a C\+\+ compiler"):
        fit(run)
    assert not RESULTS.run(run).exists() or not any(RESULTS.run(run).glob("*.json"))


class Waits(TorchDispatchMode):
    """Collects what makes the host wait for the device: reading a value, or a shape that depends on values."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"):
            self.found.append(func._schema.name)
        return func(*args, **(kwargs or {}))


READS_OF_THE_HOST = {"DIO": 2}  # a step: the heads that its two PGD steps attack are drawn on the CPU


@pytest.mark.parametrize("method", METHODS)
def test_no_step_of_training_waits_for_the_device(tiny, method, monkeypatch):
    """The epoch's means and its check for finite numbers are read once, at the end, after 1 step as after 3."""
    # On a CPU one_hot looks at the labels; on a GPU it does not.
    monkeypatch.setattr(torch.nn.functional, "one_hot", lambda y, m: (y[:, None] == torch.arange(m)).long())
    if method == "HAT":
        fit(tiny("ST"))
    counts = []
    for images in (32, 96):
        run = tiny(method, pcl={"warmup_epochs": 1})
        defense = build_defense(run).train()
        x, y = torch.randint(256, (images, 1, 8, 8), dtype=torch.uint8), torch.arange(images) % 10
        if method == "PCL":  # its centres start once in a training: here before the first step
            defense.class_counts.fill_(1)
        defense.start_epoch(1)
        with Waits() as waits:
            train_epoch(defense, build_optimizer(defense, run), x, y, 1, Silent(), "fp32")
        counts.append(waits.found)
    assert len(counts[1]) - len(counts[0]) == 2 * READS_OF_THE_HOST.get(method, 0)
    assert counts[0]  # the mode sees the reads at the end


def test_waiting_is_noticed(tiny):
    """The test above can fail: attacks that check their images read their range."""
    with Waits() as waits:
        if torch.rand(3).max() > 2:
            raise AssertionError
    assert waits.found == ["aten::_local_scalar_dense"]
