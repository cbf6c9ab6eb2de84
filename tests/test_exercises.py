"""The exercises: a solution passes its checks, a stub fails them kindly, and each check knows the likely mistakes."""

import ast
import functools
import importlib.util
import re
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt

from advdpnp import exercises, losses
from advdpnp.attacks import fgsm, pgd
from advdpnp.config import METHODS
from advdpnp.defenses import DEFENSES
from advdpnp.exercises import Verdict, masked

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


def run(name: str, solved: bool) -> list[Verdict]:
    """Every code cell in order, in one namespace; with `solved`, the solution's definitions after each stub cell."""
    space, verdicts = {"__name__": "__main__"}, []
    for cell in notebook(name).cells:
        if cell.cell_type != "code":
            continue
        tree = ast.parse(cell.source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{name}.ipynb", "exec"), space)
        value = eval(compile(ast.Expression(last.value), f"{name}.ipynb", "eval"), space) if last else None
        if isinstance(value, Verdict):
            verdicts.append(value)
        if solved and "stub" in cell.metadata.get("tags", []):
            space |= {k: v for k, v in vars(solution(name)).items() if not k.startswith("__")}
    return verdicts


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes_every_check(name):
    verdicts = run(name, solved=True)
    assert verdicts
    assert all(verdicts), verdicts


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_fails_every_check_and_stops_nothing(name):
    verdicts = run(name, solved=False)
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


WRONG = [
    ("check_fgsm", lambda m, x, y, e: (x + e * _gradient(m, x, y)).clamp(0, 1), "not its sign"),
    ("check_fgsm", lambda m, x, y, e: (x - e * _gradient(m, x, y).sign()).clamp(0, 1), "goes down"),
    ("check_fgsm", lambda m, x, y, e: x + e * _gradient(m, x, y).sign(), r"left \[0, 1\]"),
    ("check_worst_margin", lambda m, w, e: m - e * w.norm(), "l2 norm"),
    ("check_worst_margin", lambda m, w, e: m + e * w.abs().sum(), "smaller, not larger"),
    ("check_project_linf", lambda z, x, e: z.clamp(-e, e).clamp(0, 1), "not around 0"),
    ("check_project_linf", lambda z, x, e: x + (z - x).clamp(-e, e), r"left \[0, 1\]"),
    ("check_project_l2", _clip_first, "project, then clip"),
    ("check_project_l2", lambda z, x, e: (x + e * F.normalize((z - x).flatten(1)).view_as(x)).clamp(0, 1), "sphere"),
    ("check_pgd", _pgd_ball_moves, "moves along"),
    ("check_pgd", lambda m, x, y, epsilon, step_size, steps: fgsm(m, x, y, epsilon=step_size), "one step"),
    ("check_pgd", _pgd_descends, "."),
    ("check_probabilities", lambda f, c, r: (f @ c.T).softmax(1), "temperature"),
    ("check_probabilities", lambda f, c, r: _logits(f, c, r).softmax(0), "over the classes"),
    ("check_probabilities", lambda f, c, r: _logits(f, c, r).exp() / _logits(f, c, r).exp().sum(1, True), "overflow"),
    ("check_dpp_loss", lambda f, c, y, r, w: _dpp(f, c, y, r, 2 * w), "twice too strong"),
    ("check_dpp_loss", lambda f, c, y, r, w: len(y) * _dpp(f, c, y, r, w), "summed over the batch"),
    ("check_dpp_loss", lambda f, c, y, r, w: F.cross_entropy(_logits(f, c, r), y) + w / 2 * F.mse_loss(f, c[y]), "mse"),
    ("check_negative_prototypes", lambda c: torch.cdist(c, c).argmin(1), "its own nearest"),
    ("check_negative_prototypes", lambda c: torch.cdist(c, c).argmax(1), "furthest"),
    ("check_dnp_loss", lambda c: _difference(c).sqrt().sum(1).mean(), "the sign"),
    ("check_dnp_loss", lambda c: -_difference(c).sqrt().mean(), "averaged over the coordinates"),
    ("check_dnp_loss", lambda c: -_difference(c).sqrt().sum(1).mean(), "infinite gradient"),
    ("check_dfa_loss", lambda z, za: losses.dfa_loss(za, z), "swapped"),
    ("check_dfa_loss", lambda z, za: F.kl_div(za.log_softmax(1), z.softmax(1), reduction="mean"), "batchmean"),
    ("check_dfa_loss", lambda z, za: len(z) * losses.dfa_loss(z, za), "summed over the batch"),
    ("check_adv_dpnp", lambda t, **w: 2 * losses.weigh_terms(t, **w) - w["lambda_dnp"] * t["dnp"], "1/2 is missing"),
    ("check_adv_dpnp", lambda t, **w: losses.weigh_terms(t, **w) - w["lambda_dnp"] * t["dnp"] / 2, "not halved"),
    ("check_trades_loss", lambda z, za, y, b: F.cross_entropy(za, y) + b * losses.dfa_loss(z, za), "clean images"),
    ("check_adversarial_branch", _dpp, "still reaches"),
    ("check_adversarial_branch", lambda f, c, y, r, w: _dpp(f.detach(), c, y, r, w), "features were locked"),
    ("check_adversarial_branch", lambda f, c, y, r, w: _dpp(f, c, y, r, w).detach(), "no gradient"),
    ("check_dfa_branches", lambda f, g, c, r: losses.dfa_loss(_logits(f, c, r), _logits(g, c, r)), "nothing is locked"),
    ("check_dfa_branches", lambda f, g, c, r: losses.dfa_loss(_logits(f, c.detach(), r), _logits(g, c, r)), "wrong"),
    ("check_min_separation", lambda c: torch.rad2deg(_angles(c).min()), "itself"),
    ("check_min_separation", lambda c: _angles(c).fill_diagonal_(9).min(), "radians"),
    ("check_mean_separation", lambda c: torch.rad2deg(_angles(c)).mean(), "all pairs"),
    ("check_scr", lambda f, y, c: 1 / solution("07_geometry").scr(f, y, c), "."),
    ("check_scr", lambda f, y, c: len(c) * solution("07_geometry").scr(f, y, c), "summed"),
    ("check_alp_loss", lambda z, za, y, w: F.cross_entropy(z, y) + F.cross_entropy(za, y) + w * (z - za).square().sum(1)
     .mean(), "half"),
    ("check_alp_loss", lambda z, za, y, w: (F.cross_entropy(z, y) + F.cross_entropy(za, y)) / 2 + w * F.mse_loss(z, za),
     "mse"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "answer", "said"), WRONG, ids=[f"{i}-{w[0]}" for i, w in enumerate(WRONG)])
def test_a_check_catches_a_plausible_mistake(check, answer, said):
    verdict = getattr(exercises, check)(answer)
    assert not verdict
    assert re.search(said, verdict.says), verdict
    assert verdict.hint, "a mistake points to a hint"


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
