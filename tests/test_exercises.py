"""The exercises: a solution passes its checks, a stub fails them kindly, and each check knows the likely mistakes."""

import ast
import functools
import importlib.util
import math
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import nbformat
import pytest
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt

from advdpnp import exercises, losses
from advdpnp.attacks import fgsm, pgd
from advdpnp.config import METHODS
from advdpnp.data import Dataset
from advdpnp.defenses import DEFENSES
from advdpnp.errors import UserError
from advdpnp.exercises import Verdict, cifar10, ladder, masked, readings

FOLDER = Path(__file__).parent.parent / "notebooks" / "exercises"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


@pytest.fixture(autouse=True)
def _twelve_methods_after_each_test():
    plt.switch_backend("Agg")
    yield
    METHODS.pop("ALP", None), DEFENSES.pop("ALP", None)
    plt.close("all")


def notebook(name: str):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def solution(name: str):
    spec = importlib.util.spec_from_file_location(f"solution_{name}", FOLDER / "solutions" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Small(torch.nn.Module):
    """What stands in for the networks on CIFAR-10."""

    def __init__(self):
        super().__init__()
        self.centers = torch.nn.Parameter(torch.randn(10, 48))

    def features(self, x):
        return F.adaptive_avg_pool2d(x, 4).flatten(1)

    def forward(self, x):
        return self.features(x) @ self.centers.T


class Session(NamedTuple):
    """What came of running a notebook's cells: verdicts, how often it asked for CIFAR-10, and what it printed."""

    verdicts: list[Verdict]
    asked: int
    printed: str


@functools.cache
def session(name: str, solved: bool) -> Session:
    """Every code cell in order, in one namespace; with `solved`, the solution's definitions after each stub cell.

    What trains does so on 128 images, as it need only run. A cell on CIFAR-10 runs without the images, then with some.
    """
    space, verdicts, asked, whole = {"__name__": "__main__"}, [], [], Dataset.subset

    def given(images):
        asked.append(images)
        if len(asked) == 1:
            return None
        draw = torch.Generator().manual_seed(0)
        return {"AT": Small(), "Adv-DPNP": Small()}, torch.rand(40, 3, 32, 32, generator=draw), torch.arange(40) % 10

    with (
        patch.object(cifar10, "robust_networks", given),
        patch.object(Dataset, "subset", lambda self, n: whole(self, min(n, 128))),
        redirect_stdout(StringIO()) as printed,
    ):
        for cell in notebook(name).cells:
            if cell.cell_type != "code":
                continue
            tree = ast.parse(cell.source)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            for _ in range(1 + ("robust_networks(" in cell.source)):
                exec(compile(tree, f"{name}.ipynb", "exec"), space)
            value = eval(compile(ast.Expression(last.value), f"{name}.ipynb", "eval"), space) if last else None
            if isinstance(value, Verdict):
                verdicts.append(value)
            if solved and "stub" in cell.metadata.get("tags", []):
                space |= {k: v for k, v in vars(solution(name)).items() if not k.startswith("__")}
    return Session(verdicts, len(asked), printed.getvalue())


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes_every_check(name):
    verdicts = session(name, True).verdicts
    assert verdicts
    assert all(verdicts), verdicts


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_fails_every_check_and_stops_nothing(name):
    verdicts = session(name, False).verdicts
    assert verdicts
    assert not any(verdicts), verdicts
    for verdict in verdicts:
        assert "stub" in verdict.says or "no method" in verdict.says


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_says_what_a_student_needs(name):
    content = notebook(name)
    nbformat.validate(content)
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    assert not [cell for cell in code if cell.outputs or cell.execution_count]
    head = content.cells[0].source
    for wanted in (f"# Exercise {int(name[:2])}: ", "**Goal.**", "**In the paper:**", "**Takes**", "**Needs**"):
        assert wanted in head, wanted
    stubs = [i for i, cell in enumerate(content.cells) if "stub" in cell.metadata.get("tags", [])]
    assert stubs
    hints = re.findall(r"<details><summary>Hint (\d+)", "\n".join(cell.source for cell in content.cells))
    assert hints == [str(i + 1) for i in range(len(hints))]
    checks = [i for i, cell in enumerate(content.cells) if cell.source.rstrip().startswith("check_")]
    assert all(any(stub < check <= stub + 3 for check in checks) or name.startswith("09") for stub in stubs)


ON_CIFAR10 = [name for name in NAMES if "robust_networks" in str(notebook(name))]


@pytest.mark.parametrize("name", ON_CIFAR10)
@pytest.mark.parametrize("solved", [False, True])
def test_the_cell_on_cifar10_runs_where_the_images_are_and_waits_for_the_solution(name, solved):
    _, asked, printed = session(name, solved)
    assert asked == (2 if solved else 0)  # a stub fetches nothing
    shown = re.search(r"^(Adv-DPNP |bare network: clean .*, PGD-20 .*\nquantised: .* your attack \d)", printed, re.M)
    assert bool(shown) == solved


def test_four_exercises_go_on_with_cifar10():
    assert [name[:2] for name in ON_CIFAR10] == ["01", "02", "07", "08"]


def test_without_cifar10_one_sentence_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADVDPNP_DATA", str(tmp_path))
    assert cifar10.robust_networks(10) is None
    assert "python -m advdpnp fetch cifar10" in capsys.readouterr().out


def test_there_is_a_solution_for_each_and_no_other():
    assert len(NAMES) >= 8
    assert {path.stem for path in (FOLDER / "solutions").glob("*.py")} == set(NAMES)


def test_links_lead_somewhere():
    for name in NAMES:
        for cell in notebook(name).cells:
            for target in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", cell.source):
                assert (FOLDER / target).exists(), f"{name} links to {target}"


# ---------------------------------------------------------------------------------------------- plausible mistakes


def _gradient(model, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y), x)[0]


def _logits(features, prototypes, radius):
    return features @ prototypes.T / radius


def _pgd_descends(model, x, y, epsilon, step_size, steps):
    for _ in range(steps):
        x_next = x - step_size * _gradient(model, x, y).sign()
        x = x_next.clamp(x - epsilon, x + epsilon).clamp(0, 1)
    return x


def _pgd_ball_moves(model, x, y, epsilon, step_size, steps):
    for _ in range(steps):
        x = (x + step_size * _gradient(model, x, y).sign()).clamp(x - epsilon, x + epsilon).clamp(0, 1)
    return x


def _clip_first(z, x, epsilon):
    delta = z.clamp(0, 1) - x
    return x + delta * (epsilon / delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp(max=1)


def _naive(model, x, y, epsilon, steps=20, ball=1.0):
    return pgd(model, x, y, epsilon=ball * epsilon, step_size=epsilon / 8, steps=steps, norm="linf", random_start=False)


def _angles(centers):
    return (F.normalize(centers, dim=1) @ F.normalize(centers, dim=1).T).clamp(-1, 1).arccos()


def _difference(c):
    return (c - c[losses.negative_prototypes(c)]).abs()


def _dpp(f, c, y, radius, weight):
    return losses.dpp_loss(f, c, y, radius=radius, lambda_dpp=weight)


def _smallest_that_fits(distances):
    fits = {n: of for n, of in distances.items() if all(d / 8 < math.log(1.25) for d in of.values())}
    return min(fits, key=lambda n: sum(fits[n].values())) if fits else "sum"


WRONG = [
    ("check_fgsm", lambda m, x, y, e: (x + e * _gradient(m, x, y)).clamp(0, 1), "not its sign", 2),
    ("check_fgsm", lambda m, x, y, e: (x - e * _gradient(m, x, y).sign()).clamp(0, 1), "goes down", 2),
    ("check_fgsm", lambda m, x, y, e: x + e * _gradient(m, x, y).sign(), r"left \[0, 1\]", 3),
    ("check_worst_margin", lambda m, w, e: m - e * w.norm(), "l2 norm", 5),
    ("check_worst_margin", lambda m, w, e: m + e * w.abs().sum(), "smaller, not larger", 5),
    ("check_project_linf", lambda z, x, e: z.clamp(-e, e).clamp(0, 1), "not around 0", 2),
    ("check_project_linf", lambda z, x, e: x + (z - x).clamp(-e, e), r"left \[0, 1\]", 2),
    ("check_project_l2", _clip_first, "project, then clip", 3),
    ("check_project_l2", lambda z, x, e: (x + e * F.normalize((z - x).flatten(1)).view_as(x)).clamp(0, 1), "sphere", 3),
    ("check_pgd", _pgd_ball_moves, "moves along", 4),
    ("check_pgd", lambda m, x, y, epsilon, step_size, steps: fgsm(m, x, y, epsilon=step_size), "one step", 4),
    ("check_pgd", _pgd_descends, ".", 4),
    ("check_probabilities", lambda f, c, r: (f @ c.T).softmax(1), "temperature", 1),
    ("check_probabilities", lambda f, c, r: _logits(f, c, r).softmax(0), "over the classes", 2),
    ("check_probabilities", lambda f, c, r: F.normalize(_logits(f, c, r).exp(), p=1), "overflow", 2),
    ("check_dpp_loss", lambda f, c, y, r, w: _dpp(f, c, y, r, 2 * w), "twice too strong", 4),
    ("check_dpp_loss", lambda f, c, y, r, w: len(y) * _dpp(f, c, y, r, w), "summed over the batch", 3),
    ("check_dpp_loss", lambda f, c, y, r, w: F.cross_entropy(_logits(f, c, r), y) + w / 2 * F.mse_loss(f, c[y]), "mse",
     4),
    ("check_negative_prototypes", lambda c: torch.cdist(c, c).argmin(1), "its own nearest", 1),
    ("check_negative_prototypes", lambda c: torch.cdist(c, c).argmax(1), "furthest", 1),
    ("check_dnp_loss", lambda c: _difference(c).sqrt().sum(1).mean(), "the sign", 2),
    ("check_dnp_loss", lambda c: -_difference(c).sqrt().mean(), "averaged over the coordinates", 3),
    ("check_dnp_loss", lambda c: -_difference(c).sqrt().sum(1).mean(), "infinite gradient", 4),
    ("check_dfa_loss", lambda z, za: losses.dfa_loss(za, z), "swapped", 2),
    ("check_dfa_loss", lambda z, za: F.kl_div(za.log_softmax(1), z.softmax(1), reduction="mean"), "batchmean", 3),
    ("check_dfa_loss", lambda z, za: len(z) * losses.dfa_loss(z, za), "summed over the batch", 3),
    ("check_adv_dpnp", lambda t, **w: 2 * losses.weigh_terms(t, **w) - w["lambda_dnp"] * t["dnp"], "1/2 is missing", 4),
    ("check_adv_dpnp", lambda t, **w: losses.weigh_terms(t, **w) - w["lambda_dnp"] * t["dnp"] / 2, "not halved", 4),
    ("check_trades_loss", lambda z, za, y, b: F.cross_entropy(za, y) + b * losses.dfa_loss(z, za), "clean images", 5),
    ("check_adversarial_branch", _dpp, "still reaches", 1),
    ("check_adversarial_branch", lambda f, c, y, r, w: _dpp(f.detach(), c, y, r, w), "features were locked", 2),
    ("check_adversarial_branch", lambda f, c, y, r, w: _dpp(f, c, y, r, w).detach(), "no gradient", 2),
    ("check_dfa_branches", lambda f, g, c, r: losses.dfa_loss(_logits(f, c, r), _logits(g, c, r)), "nothing is", 3),
    ("check_dfa_branches", lambda f, g, c, r: losses.dfa_loss(_logits(f, c.detach(), r), _logits(g, c, r)), "wrong", 3),
    ("check_min_separation", lambda c: torch.rad2deg(_angles(c).min()), "itself", 1),
    ("check_min_separation", lambda c: _angles(c).fill_diagonal_(9).min(), "radians", 2),
    ("check_mean_separation", lambda c: torch.rad2deg(_angles(c)).mean(), "all pairs", 1),
    ("check_scr", lambda f, y, c: 1 / solution("07_geometry").scr(f, y, c), "upside down", 3),
    ("check_scr", lambda f, y, c: len(c) * solution("07_geometry").scr(f, y, c), "summed", 3),
    ("check_alp_loss", lambda z, za, y, w: F.cross_entropy(z, y) + F.cross_entropy(za, y) + w * (z - za).square().sum(1)
     .mean(), "half", 1),
    ("check_alp_loss", lambda z, za, y, w: (F.cross_entropy(z, y) + F.cross_entropy(za, y)) / 2 + w * F.mse_loss(z, za),
     "mse", 2),
    ("check_summed_gradient", lambda f, c, y, w: w * (c[y] - f).sum(0) / len(y), "twice too large", 2),
    ("check_summed_gradient", lambda f, c, y, w: w / 2 * (f - c[y]).sum(0) / len(y), "the sign", 2),
    ("check_summed_gradient", lambda f, c, y, w: w / 2 * (c[y] - f).sum(0), "averages over them", 2),
    ("check_shortening", lambda w, m, wd, d, pull: m * wd / w, "half too small", 4),
    ("check_shortening", lambda w, m, wd, d, pull: 2 * wd / w, "number of classes", 4),
    ("check_shortening", lambda w, m, wd, d, pull: 2 * m * wd / w, "d times weaker", 5),
    ("check_shortening", lambda w, m, wd, d, pull: w / (2 * m * wd), "upside down", 3),
    ("check_mean_angle", lambda n, r, m: math.acos((m * (n / r) ** 2 - 1) / (m - 1)), "radians", 6),
    ("check_mean_angle", lambda n, r, m: math.degrees(math.acos((n / r) ** 2)), "itself", 6),
    ("check_implied_distance", lambda a, s: 2 * math.sin(a / 2) / s, "takes radians", 1),
    ("check_implied_distance", lambda a, s: 2 * math.sin(math.radians(a / 2)) * s, "divide by it", 2),
    ("check_log_distance", lambda a, b: abs(sum(math.log(a[n] / b[n]) for n in b)), "cancel", 3),
    ("check_log_distance", lambda a, b: sum(abs(a[n] - b[n]) for n in b), "cannot be added", 3),
    ("check_decide", lambda d: min(d, key=lambda n: min(d[n].values())), "for one seed alone", 4),
    ("check_decide", lambda d: _smallest_that_fits(d), "change places", 5),
    ("check_decide", lambda d: 3, "expected one of", 4),
]  # fmt: skip


@pytest.mark.parametrize(("check", "answer", "said", "hint"), WRONG, ids=[f"{i}-{w[0]}" for i, w in enumerate(WRONG)])
def test_a_check_catches_a_plausible_mistake(check, answer, said, hint):
    verdict = getattr(exercises, check)(answer)
    assert not verdict
    assert re.search(said, verdict.says), verdict
    assert verdict.hint == hint


FIRST = {  # each check: the hint that a stub is sent to, and the one about a wrong shape
    "check_fgsm": (1, 1), "check_worst_margin": (4, 5), "check_project_linf": (1, 2), "check_project_l2": (3, 3),
    "check_pgd": (4, 4), "check_probabilities": (1, 1), "check_dpp_loss": (3, 3), "check_negative_prototypes": (1, 1),
    "check_dnp_loss": (2, 2), "check_dfa_loss": (1, 3), "check_adv_dpnp": (4, 4), "check_trades_loss": (5, 5),
    "check_adversarial_branch": (1, 1), "check_dfa_branches": (3, 3), "check_min_separation": (1, 1),
    "check_mean_separation": (1, 1), "check_scr": (3, 3), "check_alp_loss": (1, 2),
    "check_summed_gradient": (1, 2), "check_shortening": (3, 3), "check_mean_angle": (6, 6),
    "check_implied_distance": (1, 1), "check_log_distance": (3, 3),
}  # fmt: skip


@pytest.mark.parametrize("check", FIRST)
def test_a_stub_and_a_wrong_shape_are_sent_to_their_own_hints(check):
    stub, shape = FIRST[check]
    ask = getattr(exercises, check)
    assert ask(lambda *_, **__: ...).hint == stub
    verdict = ask(lambda *_, **__: torch.zeros(2, 3, 7))
    assert "expected shape" in verdict.says
    assert verdict.hint == shape


@pytest.mark.parametrize(("name", "own"), [("quantised", 1), ("stochastic", 2), ("saturated", 3)])
def test_a_masked_defense_has_a_hint_of_its_own_and_the_rules_have_the_fourth(name, own):
    assert exercises.check_break(name, lambda *_: ...).hint == own
    assert exercises.check_break(name, lambda *_: torch.zeros(2)).hint == 4
    assert exercises.check_break(name, lambda *_: None).hint is None
    assert exercises.check_break(name, lambda m, x, y, e: x).hint == own
    assert exercises.check_break(name, lambda m, x, y, e: x + 1).hint == 4


def _parts(name: str) -> list[tuple[str, set[int]]]:
    """(source of a check's cell, numbers of the hints in the first cell with hints below it)."""
    found, cells = [], notebook(name).cells
    for i, cell in enumerate(cells):
        if cell.cell_type == "code" and re.search(r"^check_\w+\(.*\)$", cell.source.rstrip().splitlines()[-1]):
            below = [re.findall(r"<details><summary>Hint (\d+)", c.source) for c in cells[i:]]
            found.append((cell.source, {int(n) for n in next(filter(None, below))}))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_is_sent_to_a_hint_of_its_own_part(name):
    parts, verdicts = _parts(name), session(name, False).verdicts
    assert len(parts) == len(verdicts)
    for (check, hints), verdict in zip(parts, verdicts):
        assert verdict.hint in hints, f"{name}, {check}: hint {verdict.hint} is not among {hints}"


def test_the_usual_slips_with_autograd_are_sent_to_the_hint_about_it():
    def a_tuple(model, x, y, epsilon):
        x = x.clone().requires_grad_()
        return x + epsilon * torch.autograd.grad(F.cross_entropy(model(x), y), x).sign()

    def no_leaf(model, x, y, epsilon):
        return x + epsilon * torch.autograd.grad(F.cross_entropy(model(x), y), x)[0].sign()

    assert exercises.check_fgsm(a_tuple).hint == exercises.check_fgsm(no_leaf).hint == 1
    per_image = exercises.check_dpp_loss(lambda f, c, y, r, w: F.cross_entropy(_logits(f, c, r), y)
                                         + w / 2 * (f - c[y]).square().sum(1))  # fmt: skip
    assert per_image.hint == 4


@pytest.mark.parametrize("name", ladder.RUNGS)
def test_a_rung_has_a_hint_of_its_own_and_the_rules_have_the_seventh(name):
    own = [*ladder.RUNGS].index(name) + 1
    assert exercises.check_rung(name, lambda *_: ...).hint == own
    assert exercises.check_rung(name, lambda *_: torch.zeros(2)).hint == 7
    far = exercises.check_rung(name, lambda m, x, y, e: x + 1)
    assert "the ball allows" in far.says
    assert far.hint == 7


def test_plain_pgd_breaks_no_rung_of_the_ladder():
    x, y = ladder.images()
    for name, rung in ladder.RUNGS.items():
        torch.manual_seed(0)  # some of them draw
        model = ladder.defended(name)
        assert ladder.accuracy(model, x, y) > 85, name
        assert ladder.accuracy(model, ladder.naive(model, x, y, rung.epsilon), y) > rung.goal, name


def test_the_ladder_judges_its_own_network_and_no_image_outside_of_the_box():
    def sabotage(model, x, y, epsilon):
        for parameter in model.parameters():
            parameter.data.zero_()
        return x

    assert "98 % are still right" in exercises.check_rung("quantised", sabotage).says
    assert "left [0, 1]" in exercises.check_rung("quantised", lambda m, x, y, e: x - e / 2).says
    assert "no rung" in exercises.check_rung("seventh", lambda m, x, y, e: x).says


def test_the_leaderboard_keeps_the_best_of_each(tmp_path):
    board = tmp_path / "leaderboard.csv"
    best = solution("10_ladder")
    assert ladder.read_board(board) == []
    assert ladder.climb("Ann", "quantised", ladder.naive, board)
    assert ladder.climb("Bob", "quantised", best.attack_quantised, board)
    assert ladder.climb("Ann", "quantised", best.attack_quantised, board)
    assert ladder.climb("Ann", "quantised", ladder.naive, board), "a worse attack is judged and not entered"
    assert ladder.climb("Ann", "saturated", best.attack_saturated, board)
    assert not ladder.climb("Bob", "saturated", lambda m, x, y, e: x + 1, board)
    rows = ladder.read_board(board)
    assert [(row["who"], row["rung"]) for row in rows] == [
        ("Bob", "quantised"),
        ("Ann", "quantised"),
        ("Ann", "saturated"),
    ]
    assert [(row["who"], row["broken"]) for row in ladder.standings(board)] == [("Ann", 2), ("Bob", 1)]
    begun = board.read_text()
    for text in ("a,b\n1,2\n", begun + "Eve,quantised\n", begun + "Eve,quantised,7\n", begun + "Eve,quantised,²,1,2\n"):
        board.write_text(text)
        with pytest.raises(UserError, match="is no leaderboard"):
            ladder.read_board(board)


def test_the_published_numbers_decide_as_the_ledger_says():
    mine, distances = solution("12_fingerprint"), {}
    for row in readings.measured():
        if row["counts"]:
            distances.setdefault(row["reading"], {})[row["seed"]] = mine.log_distance(row, readings.paper())
    assert mine.decide(distances) == "mean"
    assert min(distances["sum"].values()) > 2.5 > max(distances["mean"].values())


@pytest.mark.parametrize("name", masked.DEFENSES)
def test_plain_pgd_breaks_no_masked_defense_and_a_wider_ball_is_no_answer(name):
    verdict = exercises.check_break(name, _naive)
    assert not verdict
    assert "no better than plain PGD-20" in verdict.says
    wide = exercises.check_break(name, lambda m, x, y, e: _naive(m.net, x, y, e, ball=3))
    assert not wide
    assert "the ball allows 40/255" in wide.says


def test_a_masked_defense_costs_no_accuracy_and_protects_nothing():
    x, y = masked.images()
    bare = masked.undefended()
    assert masked.accuracy(bare, masked.naive(bare, x, y, masked.EPSILON), y) < 10
    for name in masked.DEFENSES:
        assert masked.accuracy(masked.defended(name), x, y) > 90
        claim = masked.accuracy(masked.defended(name), masked.naive(masked.defended(name), x, y, masked.EPSILON), y)
        assert claim > 2 * masked.BROKEN, f"{name}: nothing to learn if plain PGD breaks it"


_alp = exercises.defense.alp_loss


def _run(tiny):
    from dataclasses import replace

    class Alp:
        weight = 0.1

    return replace(tiny("AT"), hyper=Alp())


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda self, x, x_adv, y: F.cross_entropy(self.model(x), y), "two things"),
        (lambda self, x, x_adv, y: (_alp(self.model(x), self.model(x), y, 0.1), {}), "twice"),
        (lambda self, x, x_adv, y: (_alp(self.model(x), self.model(x_adv).detach(), y, 0.1), {}), "gradient"),
        (lambda self, x, x_adv, y: (_alp(self.model(x), self.model(x_adv), y, 0.1), {}), "terms"),
    ],
)
def test_a_thirteenth_defense_gone_wrong(tiny, loss, said):
    method = type("ALP", (exercises.defense.Defense,), {"loss": loss})
    verdict = exercises.check_defense(method, _run(tiny))
    assert not verdict
    assert said in verdict.says, verdict


# ---------------------------------------------------------------------------------------------- kindness


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda m, x, y, e: None, "does it end in `return`"),
        (lambda m, x, y, e: ..., "still a stub"),
        (lambda m, x, y, e: x.nonsense, "AttributeError"),
        (lambda x: x, "TypeError"),
        (lambda m, x, y, e: x[0], "shape"),
        (torch.zeros(1), "the function itself"),
        (lambda m, x, y, e: x * torch.nan, "nan"),
        (lambda m, x, y, e: "no idea", "got str"),
    ],
)
def test_whatever_a_student_returns_ends_in_a_sentence(answer, said):
    verdict = exercises.check_fgsm(answer)
    assert not verdict
    assert said in str(verdict)


LOSSES = {
    "dpp_loss": "03_pull", "dnp_loss": "04_repulsion", "dfa_loss": "05_alignment", "adv_dpnp_loss": "05_alignment",
    "trades_loss": "05_alignment",
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_case_15_a_loss_without_a_gradient_is_not_right(name):
    check = getattr(exercises, "check_adv_dpnp" if name == "adv_dpnp_loss" else f"check_{name}")
    right = getattr(solution(LOSSES[name]), name)
    assert check(right)
    for answer, said in (
        (lambda *given, **more: float(right(*given, **more)), "trains nothing"),
        (lambda *given, **more: right(*given, **more).detach(), "no gradient"),
        (torch.no_grad()(right), "no gradient"),
    ):
        verdict = check(answer)
        assert not verdict
        assert said in verdict.says


class Attack(torch.nn.Module):
    def forward(self, model, x, y, epsilon):
        return None


@pytest.mark.parametrize("answer", [functools.partial(lambda m, x, y, e: None), Attack(), functools.partial(Attack())])
def test_case_15_an_answer_without_a_name_ends_in_a_sentence(answer):
    assert exercises.check_fgsm(answer).says == "your function returns None: does it end in `return`?"


def test_case_15_what_the_notebook_has_set_does_not_matter():
    right = solution("01_fgsm").fgsm
    with torch.device("meta"):
        assert exercises.check_fgsm(right)
    with torch.no_grad():
        assert exercises.check_fgsm(right)


def test_case_15_an_answer_that_the_check_cannot_read_ends_in_a_sentence():
    assert exercises.check_mean_separation(lambda centers: "wide").says
    verdict = exercises.check_pgd(lambda *_, **__: torch.zeros(2, 2, device="meta"))
    assert not verdict
    assert verdict.says


def test_a_verdict_names_the_line_and_shows_as_html():
    def fgsm(model, x, y, epsilon):
        x = x + 1
        return x.nonsense

    verdict = exercises.check_fgsm(fgsm)
    assert "fgsm, line 3 of the function, stops with AttributeError" in verdict.says
    assert "&#x27;" in verdict._repr_html_(), "what a student wrote is escaped"
    assert repr(exercises.check_fgsm(lambda m, x, y, e: x)).startswith("✗ x_adv: these are the clean images. (hint 2")


def test_a_check_leaves_its_inputs_alone():
    def greedy(model, x, y, epsilon):
        x.add_(1)
        return x

    assert not exercises.check_fgsm(greedy)
    assert exercises.check_fgsm(solution("01_fgsm").fgsm)
