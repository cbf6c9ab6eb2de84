"""Checks of exercises 1 and 2: FGSM, projections, PGD."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdpnp import attacks
from advdpnp.attacks.projections import projection
from advdpnp.exercises.verdict import WrongAnswer, call_student, checks, compare


def _problem() -> tuple[nn.Module, Tensor, Tensor]:
    """A curved little network, images [6, 1, 4, 4] of which some pixels lie at the edge of the box, and labels."""
    draw = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(1.5 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64))
    x = torch.rand(6, 1, 4, 4, generator=draw, dtype=torch.float64)
    x = torch.where(torch.rand(x.shape, generator=draw) < 0.3, x.round(), x)
    return model.requires_grad_(False), x, torch.tensor([0, 1, 2, 0, 1, 2])


def _gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]


@checks
def check_fgsm(fgsm: Callable) -> str:
    """Exercise 1: x_adv = clip(x + epsilon sign(gradient), 0, 1)."""
    (model, x, y), epsilon = _problem(), 0.1
    g = _gradient(model, x, y)
    mistakes = [
        ((x + epsilon * g).clamp(0, 1), "the gradient itself was added, not its sign.", 2),
        ((x + epsilon * g / len(x)).clamp(0, 1), "the gradient itself was added, not its sign.", 2),
        ((x - epsilon * g.sign()).clamp(0, 1), "this goes down the loss; an attack goes up.", 2),
        (x + epsilon * g.sign(), "some pixels left [0, 1]: they are no pixels any more.", 3),
        (x, "these are the clean images.", 2),
    ]
    answer = call_student(fgsm, model, x, y, epsilon, hint=1)
    compare("x_adv", answer, attacks.fgsm(model, x, y, epsilon=epsilon), mistakes, hint=2, shape_hint=1)
    return "right: one signed step up the loss, inside the box."


@checks
def check_worst_margin(worst_margin: Callable) -> str:
    """Exercise 1: min over the linf ball of y (w x + b) is the margin - epsilon ||w||_1."""
    draw = torch.Generator().manual_seed(1)
    w, margin, epsilon = torch.randn(5, generator=draw), torch.randn(4, generator=draw), 0.3
    corners = epsilon * (2 * torch.cartesian_prod(*5 * [torch.tensor([0.0, 1.0])]) - 1)
    right = (margin[:, None] + (corners @ w)[None]).amin(1)  # found by trying every corner of the cube
    mistakes = [
        (margin + epsilon * w.abs().sum(), "the attacker makes the margin smaller, not larger.", 5),
        (margin - epsilon * w.norm(), "that is the l2 norm of w: the worst case of the l2 ball.", 5),
        (margin - epsilon * w.abs().max(), "that is the largest |w_i|: the worst case of the l1 ball.", 5),
        (margin - epsilon * w.sum(), "without absolute values: each pixel chooses its own sign.", 5),
        (margin - w.abs().sum(), "epsilon is missing.", 5),
    ]
    answer = call_student(worst_margin, margin, w, epsilon, hint=4)
    compare("the worst margin", answer, right, mistakes, hint=5)
    return "right: the same as trying all 32 corners of the cube. A linear model's robustness is known in closed form."


def _points() -> tuple[Tensor, Tensor]:
    """Points z to project and their clean images x [4, 1, 3, 3]: one inside the ball, some far out of ball and box."""
    draw = torch.Generator().manual_seed(2)
    x = torch.rand(4, 1, 3, 3, generator=draw)
    x[1] = x[1].round()
    spread = torch.tensor([0.02, 0.6, 0.6, 1.5]).view(-1, 1, 1, 1)
    return x + spread * torch.randn(x.shape, generator=draw), x


@checks
def check_project_linf(project: Callable) -> str:
    """Exercise 2: into the cube of half-width epsilon around x, then into [0, 1]."""
    (z, x), epsilon = _points(), 0.25
    mistakes = [
        (z.clamp(-epsilon, epsilon).clamp(0, 1), "the ball lies around x, not around 0: clamp z - x.", 2),
        ((z - x).clamp(-epsilon, epsilon), "that is the perturbation; the image is x plus it.", 2),
        (x + (z - x).clamp(-epsilon, epsilon), "inside the ball, but some pixels left [0, 1].", 2),
        (z.clamp(0, 1), "inside the box, but further than epsilon from x.", 2),
        ((x + epsilon * (z - x).sign()).clamp(0, 1), "points inside the ball must stay where they are.", 2),
    ]
    answer = call_student(project, z, x, epsilon, hint=1)
    compare("the projection", answer, projection(x, epsilon, "linf")(z), mistakes, hint=2)
    return "right: inside the ball and inside the box, and what was inside already has not moved."


@checks
def check_project_l2(project: Callable) -> str:
    """Exercise 2: z - x scaled down to length epsilon where it is longer, each image by itself; then into [0, 1]."""
    (z, x), epsilon = _points(), 0.5
    delta = z - x
    norm = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    one = (epsilon / delta.norm()).clamp(max=1)
    boxed = z.clamp(0, 1) - x
    boxed_norm = boxed.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    mistakes = [
        ((x + epsilon * delta / norm).clamp(0, 1), "every point was put on the sphere; inside it must stay.", 3),
        ((x + delta * one).clamp(0, 1), "one norm for the whole batch: each image has its own.", 3),
        (x + delta * (epsilon / norm).clamp(max=1), "inside the ball, but some pixels left [0, 1].", 3),
        (projection(x, epsilon, "linf")(z), "that is the linf ball: each pixel was cut by itself.", 3),
        (x + boxed * (epsilon / boxed_norm).clamp(max=1),
         "clipped to the box first, projected second. That also ends inside both, but closer to x than need be: "
         "project, then clip.", 3),
    ]  # fmt: skip
    answer = call_student(project, z, x, epsilon, hint=3)
    compare("the projection", answer, projection(x, epsilon, "l2")(z), mistakes, hint=3)
    return "right: scaled, not cut, and each image by its own length."


def _walk(model: nn.Module, x: Tensor, y: Tensor, epsilon: float, step: float, steps: int, mistake: str) -> Tensor:
    """PGD with one mistake in it."""
    current, box = x, (lambda z: z.clamp(0, 1))
    around = projection(x, epsilon, "linf")
    for _ in range(steps):
        g = _gradient(model, current, y)
        if mistake == "sign forgotten":
            current = around(current + step * g)
        elif mistake == "ball moves along":
            current = projection(current, epsilon, "linf")(current + step * g.sign())
        elif mistake == "never moves on":
            current = around(x + step * g.sign())
        elif mistake == "no ball":
            current = box(current + step * g.sign())
        elif mistake == "descends":
            current = around(current - step * g.sign())
        elif mistake == "ball at the end":
            current = current + step * g.sign()
    return around(current) if mistake == "ball at the end" else current


@checks
def check_pgd(pgd: Callable) -> str:
    """Exercise 2: steps of the sign of the gradient, each followed by the projection onto the ball around x."""
    model, x, y = _problem()
    budget = {"epsilon": 0.15, "step_size": 0.06, "steps": 7}
    right = attacks.pgd(model, x, y, **budget, norm="linf", random_start=False)
    wrong = {
        "sign forgotten": "the gradient itself was added, not its sign.",
        "ball moves along": "the ball must stay around the clean x; here it moves along with every step.",
        "never moves on": "each step starts at the clean x again; start where the last one ended.",
        "no ball": "inside the box, but the projection onto the ball is missing.",
        "descends": "this goes down the loss; an attack goes up.",
        "ball at the end": "projected once at the end: PGD projects after every step.",
    }
    mistakes = [(_walk(model, x, y, *budget.values(), name), says, 4) for name, says in wrong.items()]
    mistakes.append((attacks.fgsm(model, x, y, epsilon=budget["step_size"]), "only one step was taken.", 4))
    answer = call_student(pgd, model, x, y, hint=4, **budget)
    compare("x_adv", answer, right, mistakes, hint=4)
    if answer.requires_grad:
        raise WrongAnswer("the numbers are right, but x_adv still drags its graph along: detach it.", 5)
    return "right, the same as advdpnp.attacks.pgd to the last digit."
