"""The twelve methods: losses against values of the official implementations, and what the training loop relies on.

The golden numbers were computed in float64 by the methods' official functions on the waves below.
"""

import warnings
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from advdpnp.attacks import frozen
from advdpnp.config import METHODS, facts, parse_tier
from advdpnp.defenses import DEFENSES
from advdpnp.defenses.at_he import at_he_loss
from advdpnp.defenses.dio import dio_loss, margin_penalty, orthogonality
from advdpnp.defenses.fsr import fsr_loss
from advdpnp.defenses.hat import hat_loss
from advdpnp.defenses.ikl import ikl_loss, soft_cross_entropy, weighted_mse
from advdpnp.defenses.mart import mart_loss, strongest_rivals
from advdpnp.defenses.oc import oc_loss, squared_distances
from advdpnp.defenses.pcl import contrast, pcl_loss, proximity
from advdpnp.defenses.trades import trades_loss
from advdpnp.errors import UserError
from advdpnp.hardware import seeded
from advdpnp.losses import kl_divergence
from advdpnp.models.fsr import separation_mask
from advdpnp.models.heads import HadamardHead, ParallelHeads, hadamard
from advdpnp.train import build_optimizer

TIGHT = 1e-9
ONE_NETWORK = [name for name in METHODS if name != "OC"]  # methods that any backbone can carry


def wave(a: float, b: float, c: float, amplitude: float, rows: int = 4, columns: int = 10) -> torch.Tensor:
    i, k = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(columns, dtype=torch.float64)[None]
    return (amplitude * torch.sin(a * i + b * k + c)).requires_grad_()


def cosine_wave(a: float, b: float, rows: int, columns: int) -> torch.Tensor:
    return wave(a, b, torch.pi / 2, 1, rows, columns)


def gradient_norms(loss: torch.Tensor, *inputs: torch.Tensor) -> list[float]:
    return [float(g.norm()) for g in torch.autograd.grad(loss, inputs)]


def value(loss: torch.Tensor) -> float:
    return float(loss.detach())


def near(expected, tolerance: float = TIGHT):
    return pytest.approx(expected, rel=0, abs=tolerance)


@pytest.fixture
def logits():
    """Clean, adversarial and helper logits [4, 10]."""
    return wave(0.7, 1.3, 0.2, 3), wave(0.9, 1.1, 0.5, 3), wave(0.5, 0.9, 1.1, 3)


Y = torch.tensor([1, 0, 7, 2])


# --- losses against the official implementations ---------------------------------------------------------------------


def test_cross_entropy_of_st_and_at(logits):
    clean, adversarial, _ = logits
    assert value(F.cross_entropy(adversarial, Y)) == near(3.291634235303075)
    assert value(F.cross_entropy(clean, Y)) == near(4.045545535431112)


def test_trades(logits):
    clean, adversarial, _ = logits
    loss, terms = trades_loss(clean, adversarial, Y, beta=6)
    assert value(terms["kl"]) == near(0.42485847165954205)
    assert value(loss) == near(6.594696365388364)
    assert gradient_norms(loss, clean, adversarial) == near([1.3704464608557156, 1.0389631891129678])


def test_mart(logits):
    clean, adversarial, _ = logits
    loss, terms = mart_loss(clean, adversarial, Y, beta=5)
    assert strongest_rivals(adversarial, Y).tolist() == [7, 6, 5, 4]
    assert value(terms["bce"]) == near(3.872206279004026)
    assert value(loss) == near(5.655095944909149)
    assert gradient_norms(loss, clean, adversarial) == near([0.968805085630092, 1.1353354337534403])
    assert value(mart_loss(clean, adversarial, Y, beta=6)[0]) == near(6.011673878090175)


def test_mart_of_a_single_image_is_not_squeezed_away(logits):
    clean, adversarial, _ = logits
    singles = [value(mart_loss(clean[i : i + 1], adversarial[i : i + 1], Y[i : i + 1], beta=5)[0]) for i in range(4)]
    assert sum(singles) / 4 == near(5.655095944909149)


def test_mart_stays_finite_when_the_rival_is_certain():
    certain = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss, _ = mart_loss(certain.detach(), certain, torch.tensor([1]), beta=5)
    loss.backward()
    assert loss.isfinite()
    assert certain.grad.isfinite().all()


def test_hat(logits):
    loss, _ = hat_loss(*logits, Y, torch.tensor([1, 8, 7, 9]), beta=2.5, gamma=0.5)
    assert value(loss) == near(6.567382284959916)
    assert gradient_norms(loss, *logits) == near([0.764452134418542, 0.43290132879707, 0.245617942423712])


def test_at_he():
    cosines = wave(0.7, 1.3, 0.2, 0.8)
    expected = {(15, 0): 12.672609463954025, (15, 0.2): 15.461364886635533, (10, 0): 8.744412653167284}
    expected |= {(10, 0.2): 10.552067604533324, (1, 0): 2.5021426311958446}
    for (scale, margin), wanted in expected.items():
        assert value(at_he_loss(cosines, Y, scale=scale, margin=margin)) == near(wanted)
    assert gradient_norms(at_he_loss(cosines, Y, scale=15, margin=0.2), cosines) == near([9.449300450675555])


def test_hadamard_signs():
    rows = ["".join("+" if sign > 0 else "-" for sign in row) for row in hadamard(8)[:4]]
    assert rows == ["++++++++", "-+-+-+-+", "--++--++", "+--++--+"]


@pytest.mark.parametrize(
    ("dim", "clean_mse", "adversarial_mse", "total"),
    [
        (64, 1.700876934916876, 2.207071334592175, 2.13114217464088),
        (512, 0.6914387299685915, 0.7000828902192243, 0.6987862661816293),
    ],
)
def test_oc(dim, clean_mse, adversarial_mse, total):
    clean, adversarial = wave(0.3, 0.05, 0, 1, 4, dim), cosine_wave(0.2, 0.07, 4, dim)
    centers = HadamardHead(dim, 10, 10.0).double().centers
    centers = centers.sign() * 10 / dim**0.5  # the head's float32 entries, exactly
    loss, terms = oc_loss(clean, adversarial, centers, Y, leverage=0.15)
    assert value(terms["mse_clean"]) == near(clean_mse)
    assert value(terms["mse_adv"]) == near(adversarial_mse)
    assert value(loss) == near(total)
    if dim == 512:
        assert value(squared_distances(adversarial, centers, Y).sum()) == near(1433.7697591689714)


def test_pcl():
    features, centres = wave(0.3, 0.2, 0, 1, 4, 16), cosine_wave(0.1, 0.2, 10, 16)
    pull, push = proximity(features, centres, Y), contrast(features, centres, Y)
    assert value(pull) == near(12.939509807206967)
    assert gradient_norms(pull, features, centres) == near([3.59715301414980] * 2)
    assert value(push) == near(16.143044196581922)
    assert gradient_norms(push, features, centres) == near([3.94308255487347, 2.51989123012396])


def test_pcl_levels_side_by_side_add_up(logits):
    levels = [(wave(0.3, 0.2, 0, 1, 4, d), wave(0.1, 0.4, 1, 1, 10, d), wave(0.2, 0.3, 2, 1, 10, d)) for d in (6, 12)]
    loss, _ = pcl_loss(
        logits[0], *(torch.cat(pair, 1) for pair in zip(*levels)), Y, proximity_weight=1, contrast_weight=0.1
    )
    wanted = F.cross_entropy(logits[0], Y)
    wanted = wanted + sum(proximity(f, c, Y) - 0.1 * contrast(f, d, Y) for f, c, d in levels)
    assert value(loss) == near(value(wanted))


def test_fsr(logits):
    clean, adversarial, helper = logits
    recalibrated = wave(0.2, 0.6, 0.9, 3)
    assert strongest_rivals(adversarial, Y).tolist() == [7, 6, 5, 4]  # labels of the non-robust part
    loss, _ = fsr_loss(adversarial, clean, helper, recalibrated, Y, lambda_sep=1, lambda_rec=1)
    assert value(loss) == near(12.609633359199826)


def test_fsr_mask_in_eval_mode_and_drawn():
    scores = torch.tensor([-1.0, -0.5, 0.0, 0.5])
    assert separation_mask(scores, 0.1, sample=False).tolist() == near([4.5398e-5, 6.6929e-3, 0.5, 0.993307], 1e-6)
    torch.manual_seed(0)
    drawn = separation_mask(scores.expand(20_000, 4), 0.01, sample=True)
    # as tau -> 0 the binary Gumbel softmax is a coin with probability sigmoid(score)
    assert drawn.round().mean(0).tolist() == near(scores.sigmoid().tolist(), 0.015)


def dio_example():
    layer, row, column = (torch.arange(n, dtype=torch.float64) for n in (3, 10, 16))
    angles = 0.5 * layer[:, None, None] + 0.3 * row[None, :, None] + 0.7 * column + 0.1
    weights, features = 0.5 * angles.sin(), wave(0.4, 0.25, 0, 1, 4, 16)
    return features @ weights.mT, weights, torch.tensor([3, 3, 3, 4])


def test_dio():
    logits, weights, y = dio_example()
    assert (logits.argmax(2) == y).tolist() == [[True, True, True, False]] + [[False] * 4] * 2
    loss, terms = dio_loss(logits, weights, y, alpha=0.1, beta=0.1, tau=0.5)
    assert value(terms["ce_adv"]) == near(2.103972726378456)
    assert value(terms["orthogonality"]) == near(730.9346803497041)
    assert value(margin_penalty(logits, weights, y, tau=0.2)) == near(0.18995562557925372)
    assert value(terms["margin"]) == near(0.4899556255792537)
    assert value(loss) == near(75.24643632390679)


def test_dio_margin_ignores_wrong_samples_and_one_head_is_orthogonal():
    logits, weights, y = dio_example()
    assert value(orthogonality(weights[:1])) == 0
    assert value(margin_penalty(logits[1:], weights[1:], y, tau=0.5)) == 0
    # the fourth sample is wrong in head 0: moving it changes nothing
    moved = logits.detach().clone()
    moved[0, 3, int(moved[0, 3].argmax())] += 1
    assert value(margin_penalty(moved, weights, y, tau=0.5)) == near(0.4899556255792537)


def test_dio_heads_start_nearly_orthogonal():
    torch.manual_seed(0)
    assert value(orthogonality(ParallelHeads(512, 10, 10).weight)) == pytest.approx(0.1, abs=0.08)


def test_ikl(logits):
    clean, adversarial, _ = logits
    c, k = torch.arange(10, dtype=torch.float64)[:, None], torch.arange(10, dtype=torch.float64)[None]
    table = (2 * torch.sin(0.3 * c + 0.8 * k) + 3 * (c == k)).softmax(1)
    loss, terms = ikl_loss(clean, adversarial, Y, table, sce_weight=4, wmse_weight=20)
    assert value(terms["wmse"]) == near(0.3510809476442325)
    assert value(terms["sce"]) == near(1.891526868483137)
    assert value(loss) == near(18.63327196224831)
    without_ce = loss - terms["ce_clean"]
    assert value(without_ce) == near(14.587726426817198)
    assert gradient_norms(without_ce, clean, adversarial) == near([3.20722672653134, 3.45414591711667])
    uniform = torch.full((10, 10), 0.1, dtype=torch.float64)
    loss, terms = ikl_loss(clean, adversarial, Y, uniform, sce_weight=5, wmse_weight=20)
    assert value(loss - terms["ce_clean"]) == near(27.121433027590577)


def test_ikl_closed_form_is_the_mean_over_pairs(logits):
    clean, adversarial, helper = logits
    s, pairs = helper.softmax(1), lambda z: z[:, :, None] - z[:, None, :]
    wanted = (s[:, :, None] * s[:, None, :] * (pairs(clean) - pairs(adversarial)).square()).sum((1, 2)) / 4
    assert weighted_mse(clean, adversarial, s).tolist() == near(wanted.tolist())


def test_decoupled_kl_has_the_gradient_of_kl(logits):
    # IKL's starting point: with sample-wise weights p and z~ locked, wMSE + sCE and KL pull alike
    clean, adversarial, _ = logits
    decoupled = weighted_mse(clean, adversarial.detach(), clean.softmax(1).detach())
    decoupled = (decoupled + soft_cross_entropy(clean, adversarial)).sum()
    ours = torch.autograd.grad(decoupled, (clean, adversarial))
    wanted = torch.autograd.grad(kl_divergence(clean, adversarial).sum(), (clean, adversarial))
    for mine, theirs in zip(ours, wanted):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-14)


# --- what the training loop relies on --------------------------------------------------------------------------------

TIER = {
    "label": "test",
    "defaults": {
        "model": {"width": 4},  # 32 features: OC needs a power of two, and as many as classes
        "optim": {"epochs": 3, "milestones": [], "batch_size": 12},
        "craft": {"steps": 2},
        "pcl": {"warmup_epochs": 1},
    },
    "blocks": {
        "cifar10/resnet18": {"dataset": "digits"},
        "cifar10/wrn34_10": {},
        "mnist/lenetspp": {"dataset": "digits"},
    },
}


def a_run(method: str, block: str = "cifar10/resnet18", **hyper):
    run = parse_tier("t", TIER, "t.toml").run(block, method)
    return replace(run, hyper=replace(run.hyper, **hyper))


def build(method: str, block: str = "cifar10/resnet18", seed: int = 0, **hyper):
    run, cls = a_run(method, block, **hyper), DEFENSES[method]
    torch.manual_seed(seed)
    helper = DEFENSES["ST"].build(a_run("ST", block)).eval() if facts(method).requires else None
    return cls(run, helper).train()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.rand(12, 1, 8, 8, generator=generator), torch.randint(10, (12,), generator=generator)


def one_step(defense, optimizer, batch, seed: int, precision=None):
    """One step of the loop in train.py."""
    with seeded(torch.device("cpu"), seed) as generator:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            x_adv = defense.craft(*batch, generator=generator)
            loss, terms = defense.loss(batch[0], x_adv, batch[1])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        defense.before_step()
        optimizer.step()
        defense.after_step()
    return loss.detach(), terms


def test_defenses_are_the_rows_of_the_tables():
    assert list(DEFENSES) == list(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_the_model_keeps_the_contract(method, batch):
    model = build(method).model.eval()
    x = batch[0]
    logits, features = model(x), model.features(x)
    assert logits.shape == (12, 10)
    assert logits.dtype == features.dtype == torch.float32
    assert features.shape == (12, model.centers.shape[1])
    assert model.centers.shape[0] == 10
    assert torch.equal(logits, model(x))  # nothing random in eval mode
    assert torch.equal(logits, model.classify(features))
    torch.testing.assert_close(model(x[:1]), logits[:1])


@pytest.mark.parametrize("method", METHODS)
def test_crafting_stays_in_the_ball_and_leaves_the_defense_alone(method, batch):
    defense = build(method)
    before = deepcopy(defense.state_dict())
    x_adv = defense.craft(*batch, generator=torch.Generator().manual_seed(0))
    assert float((x_adv - batch[0]).abs().max()) <= 8 / 255 + 1e-6
    assert float(x_adv.min()) >= 0
    assert float(x_adv.max()) <= 1
    assert torch.equal(x_adv, batch[0]) == (method == "ST")
    assert all(torch.equal(tensor, before[name]) for name, tensor in defense.state_dict().items())
    assert all(parameter.grad is None for parameter in defense.parameters())
    assert defense.model.training


def test_each_method_starts_pgd_as_its_paper_does():
    starts = {name: cls.start for name, cls in DEFENSES.items() if name != "ST"}
    normal = {"AT_HE", "TRADES", "MART", "HAT", "IKL"}
    assert starts == {name: "normal" if name in normal else name != "PCL" for name in starts}


@pytest.mark.parametrize("method", METHODS)
def test_one_step_moves_the_weights_and_logs_scalars(method, batch):
    defense = build(method)
    optimizer = build_optimizer(defense, defense.run)
    before = [parameter.detach().clone() for parameter in defense.model.parameters()]
    loss, terms = one_step(defense, optimizer, batch, 1)
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    assert all(term.dim() == 0 and term.isfinite() for term in terms.values())
    moved = [not torch.equal(old, new) for old, new in zip(before, defense.model.parameters())]
    assert all(moved)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("saved", ["inside an epoch", "between epochs"])
def test_state_dict_is_the_whole_state(method, saved, batch):
    def first(defense, optimizer):
        defense.start_epoch(0)
        one_step(defense, optimizer, batch, 1)
        if saved == "between epochs":
            defense.end_epoch(0)

    def second(defense, optimizer):
        if saved == "inside an epoch":
            defense.end_epoch(0)
        defense.start_epoch(1)
        one_step(defense, optimizer, batch, 2)
        return defense.state_dict()

    straight, resumed = build(method), build(method, seed=1)
    optimizers = [build_optimizer(defense, defense.run) for defense in (straight, resumed)]
    first(straight, optimizers[0])
    # a copy, since the tensors of a state dict are those in use
    state = deepcopy(straight.state_dict())
    optimizer_state = deepcopy(optimizers[0].state_dict())
    wanted = second(straight, optimizers[0])
    resumed.load_state_dict(state)
    optimizers[1].load_state_dict(optimizer_state)
    got = second(resumed, optimizers[1])
    assert wanted.keys() == got.keys()
    assert [name for name in wanted if not torch.equal(wanted[name], got[name])] == []


@pytest.mark.parametrize("method", METHODS)
def test_losses_stay_in_float32_under_autocast(method, batch, request):
    defense = build(method)
    optimizer = build_optimizer(defense, defense.run)
    defense.start_epoch(0)
    one_step(defense, optimizer, batch, 1, "bf16")
    defense.end_epoch(0)
    defense.start_epoch(1)
    loss, terms = one_step(defense, optimizer, batch, 2, "bf16")
    assert loss.isfinite()
    assert {loss.dtype, *(term.dtype for term in terms.values())} == {torch.float32}


@pytest.mark.parametrize("method", ONE_NETWORK)
def test_methods_run_on_lenetspp(method, batch):
    defense = build(method, "mnist/lenetspp")
    loss, _ = one_step(defense, build_optimizer(defense, defense.run), batch, 1)
    assert loss.isfinite()
    assert defense.model.centers.shape[0] == 10


# Batch norm's running mean after one step: which batches pass the network in train mode, in which order.
PASSES = {"ST": "c", "AT": "a", "AT_HE": "a", "TRADES": "ca", "MART": "ca", "OC": "ca", "PCL": "b", "HAT": "cah"}
PASSES |= {"FSR": "a", "DIO": "a", "IKL": "ac", "Adv-DPNP": "ca"}


def running_mean_after(defense, inputs) -> torch.Tensor:
    model, mean = defense.model, 0.0
    inner = getattr(model.backbone, "backbone", model.backbone)
    for x in inputs:
        mean = 0.9 * mean + 0.1 * inner.conv1(model.normalise(x)).mean((0, 2, 3))
    return mean.detach()


@pytest.mark.parametrize("method", METHODS)
def test_order_of_the_forward_passes(method, batch):
    defense, (x, y) = build(method), batch
    x_adv = (x + 0.5 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)  # far, to see order
    defense.loss(x, x_adv, y)
    inputs = {"c": x, "a": x_adv, "h": x + 2 * (x_adv - x), "b": torch.cat([x, x_adv])}
    wanted = running_mean_after(defense, [inputs[name] for name in PASSES[method]])
    inner = getattr(defense.model.backbone, "backbone", defense.model.backbone)
    torch.testing.assert_close(inner.bn1.running_mean, wanted)


def test_trades_can_pass_the_clean_batch_twice(batch):
    defense, (x, y) = build("TRADES", second_clean_pass=True), batch
    x_adv = 1 - x
    defense.loss(x, x_adv, y)
    wanted = running_mean_after(defense, [x, x_adv, x])
    torch.testing.assert_close(defense.model.backbone.bn1.running_mean, wanted)


# --- each method's own -----------------------------------------------------------------------------------------------


def parameter_count(method: str, block: str) -> int:
    tier = {"label": "paper's", "blocks": {"cifar10/resnet18": {}, "cifar10/wrn34_10": {}}}
    with torch.device("meta"):  # shapes without values
        model = DEFENSES[method].build(parse_tier("t", tier, "t.toml").run(block, method))
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("method", "block", "count"),
    [
        ("ST", "cifar10/resnet18", 11_173_962),
        ("FSR", "cifar10/resnet18", 12_432_980),
        ("FSR", "cifar10/wrn34_10", 47_715_684),
        ("AT_HE", "cifar10/resnet18", 11_173_962 - 10),
        ("DIO", "cifar10/resnet18", 11_173_962 - 10 + 9 * 5120),
        ("PCL", "cifar10/resnet18", 11_173_962 - 5130 + 512 * 1024 + 1024 + 10_250),
        ("OC", "cifar10/resnet18", 11_173_962 - 5130 + 9),  # no classifier, one PReLU a block and one after the stem
    ],
)
def test_parameter_counts(method, block, count):
    assert parameter_count(method, block) == count


def test_at_he_returns_to_the_sphere_after_the_step(batch):
    defense = build("AT_HE")
    optimizer, rows = build_optimizer(defense, defense.run), lambda: defense.model.centers.detach().norm(dim=1)
    x, y = batch
    loss, _ = defense.loss(x, x, y)
    loss.backward()
    optimizer.step()
    assert float((rows() - 1).abs().max()) > 1e-4  # neither gradient nor decay is projected
    defense.after_step()
    torch.testing.assert_close(rows(), torch.ones(10))


def test_at_he_scales_the_cosines_at_test_unless_told(batch):
    scaled, bare = (build("AT_HE", scale_at_test=flag).eval() for flag in (True, False))
    torch.testing.assert_close(scaled.model(batch[0]), 15 * bare.model(batch[0]))
    assert value(bare.model(batch[0]).abs().max()) <= 1 + 1e-6
    crafted = [d.craft(*batch, generator=torch.Generator().manual_seed(0)) for d in (scaled, bare)]
    torch.testing.assert_close(*crafted)  # crafting keeps the scale either way


def test_kl_and_soft_cross_entropy_craft_the_same_images(batch):
    trades, ikl = build("TRADES").double(), build("IKL").double()
    ikl.model.load_state_dict(trades.model.state_dict())
    x, y = batch[0].double(), batch[1]
    crafted = [d.craft(x, y, generator=torch.Generator().manual_seed(0)) for d in (trades, ikl)]
    assert (crafted[0] - crafted[1]).abs().gt(1e-9).double().mean() < 1e-3  # ties of the sign


def test_oc_rows_are_orthogonal_fixed_and_out_of_the_optimiser():
    defense = build("OC")
    centers = defense.model.centers
    torch.testing.assert_close(centers @ centers.T, 100 * torch.eye(10))
    assert sum(p.numel() for g in defense.parameter_groups() for p in g["params"]) == sum(
        p.numel() for p in defense.model.parameters()
    )
    assert not any("head" in name for name, _ in defense.named_parameters())
    assert any(isinstance(module, torch.nn.PReLU) for module in defense.model.modules())
    assert not any(isinstance(module, torch.nn.ReLU) for module in defense.model.modules())


def test_oc_says_what_it_cannot_hold():
    with pytest.raises(UserError, match="not 96; use such a width"):
        HadamardHead(96, 10, 10.0)
    with pytest.raises(UserError, match="8 features cannot hold 10 classes"):
        HadamardHead(8, 10, 10.0)
    with pytest.raises(UserError, match="PReLU"):
        build("OC", "cifar10/wrn34_10")


def pcl_after_warmup(batch):
    defense = build("PCL")
    defense.start_epoch(0)
    x, y = batch
    loss, terms = defense.loss(x, 1 - x, y)
    return defense, loss, terms


def test_pcl_warms_up_on_cross_entropy_alone_and_then_starts_at_class_means(batch):
    x, y = batch
    defense, loss, terms = pcl_after_warmup(batch)
    assert loss == terms["ce"]
    loss.backward()
    assert defense.pulling.grad is None
    assert not defense.centres_started

    twin = build("PCL")  # the features of that step, by hand
    levels = twin.model.backbone.levels(twin.model.normalise(torch.cat([x, 1 - x])))
    features, labels = torch.cat(levels, 1).detach(), torch.cat([y, y])
    means = torch.stack([features[labels == c].mean(0) if (y == c).any() else features.mean(0) for c in range(10)])
    defense.end_epoch(0)
    defense.start_epoch(1)
    assert defense.centres_started
    torch.testing.assert_close(defense.pulling.detach(), means)
    torch.testing.assert_close(defense.pushing.detach(), means)
    _, terms = defense.loss(x, 1 - x, y)
    assert terms["proximity"] > 0
    torch.testing.assert_close(defense.pulling.detach(), means)  # only once


def test_pcl_without_warmup_starts_its_centres_at_the_first_batch(batch):
    defense = build("PCL", warmup_epochs=0)
    defense.start_epoch(0)
    _, terms = defense.loss(batch[0], batch[0], batch[1])
    assert defense.centres_started
    assert terms["proximity"] < terms["contrast"]


def test_pcl_centres_move_by_their_own_learning_rates(batch):
    x, y = batch
    defense, _, _ = pcl_after_warmup(batch)
    defense.start_epoch(1)
    optimizer = build_optimizer(defense, defense.run)
    pulling, pushing = defense.pulling.detach().clone(), defense.pushing.detach().clone()
    with seeded(torch.device("cpu"), 0):
        levels = defense.model.backbone.levels(defense.model.normalise(torch.cat([x, x])))
        features, labels = torch.cat(levels, 1).detach(), torch.cat([y, y])
    loss, _ = defense.loss(x, x, y)
    loss.backward()
    defense.before_step()
    norm = torch.stack([p.grad.norm() for p in defense.model.parameters() if p.grad is not None]).norm()
    assert norm <= 10 * (1 + 1e-4)
    optimizer.step()
    # pull: c <- c - lr dProx/dc; push: d <- d + lr dConProx/dd
    p, q = pulling.clone().requires_grad_(), pushing.clone().requires_grad_()
    (dp,) = torch.autograd.grad(proximity(features, p, labels), p)
    (dq,) = torch.autograd.grad(contrast(features, q, labels), q)
    torch.testing.assert_close(defense.pulling.detach(), pulling - 0.5 * dp, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(defense.pushing.detach(), pushing + 1e-5 * dq, rtol=1e-4, atol=1e-6)


def test_pcl_warns_when_the_warm_up_never_ends():
    with pytest.warns(UserWarning, match="never act"):
        build("PCL", warmup_epochs=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build("PCL")


def test_hat_refuses_without_its_helper():
    with pytest.raises(UserError, match="trained ST model"):
        DEFENSES["HAT"](a_run("HAT"))


def test_hat_asks_a_helper_in_eval_mode_that_does_not_learn(batch):
    defense = build("HAT")
    assert defense.model.training
    assert not any(module.training for module in defense.helper.modules())
    before = deepcopy(defense.helper.state_dict())
    one_step(defense, build_optimizer(defense, defense.run), batch, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in defense.helper.state_dict().items())
    x, y = batch
    with frozen(defense.model):
        _, terms = defense.loss(x, 1 - x, y)
        labels = defense.helper(1 - x).argmax(1)  # hard labels, at x~ and not at the helper example
        wanted = F.cross_entropy(defense.model(x + 2 * (1 - 2 * x)), labels)
    torch.testing.assert_close(terms["ce_helper"], wanted)


def test_fsr_draws_its_mask_only_in_train_mode(batch):
    model = build("FSR").model
    assert not torch.equal(model(batch[0]), model(batch[0]))
    with frozen(model):
        assert torch.equal(model(batch[0]), model(batch[0]))
    torch.manual_seed(0)
    first = model(batch[0])
    torch.manual_seed(0)
    assert torch.equal(model(batch[0]), first)


def test_fsr_splits_the_maps_and_adds_a_recalibrated_rest(batch):
    backbone = build("FSR").model.backbone.eval()
    robust, nonrobust, recalibrated = backbone.parts(batch[0])
    maps = backbone.backbone.maps(batch[0])
    torch.testing.assert_close(robust + nonrobust, maps)
    mask = separation_mask(backbone.separation(maps), 0.1, sample=False)
    torch.testing.assert_close(recalibrated, nonrobust + (1 - mask) * backbone.recalibration(nonrobust))


def test_dio_head_0_is_what_is_evaluated(batch):
    defense = build("DIO").eval()
    model = defense.model
    torch.testing.assert_close(model.head.all(model.features(batch[0]))[0], model(batch[0]))
    assert torch.equal(model.centers, model.head.weight[0])


def test_dio_draws_one_head_a_step_from_the_global_generator(batch):
    defense = build("DIO")
    drawn = []
    one = defense.model.head.one
    defense.model.head.one = lambda features, head: drawn.append(head) or one(features, head)
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        defense.craft(*batch, generator=torch.Generator().manual_seed(0))
    assert len(drawn) == 6
    assert drawn[:2] == drawn[2:4]
    assert set(drawn) <= set(range(10))
    assert len(set(drawn)) > 1


def test_ikl_class_table_is_last_epochs_mean_prediction(batch):
    defense, (x, y) = build("IKL"), batch
    torch.testing.assert_close(defense.class_table, torch.full((10, 10), 0.1))
    defense.loss(x, x, y)
    torch.testing.assert_close(defense.class_table, torch.full((10, 10), 0.1))  # not within the epoch
    with torch.no_grad():
        soft = (defense.model(x) / 4).softmax(1)
    defense.end_epoch(0)
    seen = int(y[0])
    torch.testing.assert_close(defense.class_table[seen], soft[y == seen].mean(0))
    torch.testing.assert_close(defense.class_table.sum(1), torch.ones(10))
    unseen = next(c for c in range(10) if not (y == c).any())
    torch.testing.assert_close(defense.class_table[unseen], torch.full((10,), 0.1))
    assert not defense.class_sums.any()


def test_ikl_can_craft_with_the_weighted_mse(batch):
    plain, both = build("IKL"), build("IKL", craft_wmse=1.0)
    crafted = [d.craft(*batch, generator=torch.Generator().manual_seed(0)) for d in (plain, both)]
    assert not torch.equal(*crafted)
