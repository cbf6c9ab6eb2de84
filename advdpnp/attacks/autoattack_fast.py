"""AutoAttack's search on a quicker network, with the model itself as judge.

The components are pyautoattack's. What changes is where they look: on `search`, a stand-in for the model (folded, in
bfloat16). An image counts as fooled only when the model itself, in float32, is wrong about it inside ball and box. An
image that the stand-in claims and the model denies is disputed: the caller attacks it again on the model itself.
Square, which stops where it believes to have won, asks the model there and goes on unless it agrees.

What is saved beside the stand-in's speed leaves the strength alone: APGD and FAB drop an image at the first step that
the judge confirms, where the package works on it to the end; FAB's projection needs no sort.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from advdpnp.attacks.gradient import margin_loss
from advdpnp.attacks.tally import Tallies

Judge = Callable[[Tensor, Tensor, Tensor], Tensor]  # (candidates, clean images, labels) -> fooled [B] bool
SLACK = 1e-6  # rounding of x + delta - x


class AllFooled(Exception):
    """Nothing is left to search for."""


def judge_of(model: nn.Module, epsilon: float, norm: str) -> Judge:
    """Whether candidates lie in ball and box and fool the model; only those inside are shown to it."""
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]

    @torch.no_grad()
    def judge(candidates: Tensor, x: Tensor, y: Tensor) -> Tensor:
        reached = (candidates - x).flatten(1).norm(order, dim=1)
        low, high = candidates.flatten(1).aminmax(dim=1)
        fooled = (reached <= epsilon * (1 + SLACK) + SLACK) & (low >= 0) & (high <= 1)
        rows = fooled.nonzero()[:, 0]
        if len(rows):
            fooled[rows] = model(candidates[rows]).argmax(1) != y[rows]
        return fooled

    return judge


class Watched(nn.Module):
    """The network that an attack searches on: inside `watching`, images that the judge confirmed are passed over."""

    def __init__(self, search: nn.Module, judge: Judge):
        super().__init__()
        self.search, self.judge = search, judge
        self.clean: Tensor | None = None

    @contextmanager
    def watching(self, x: Tensor, y: Tensor) -> Iterator[None]:
        """Inside, what fools the judge on the way is kept: x [B, C, H, W], y [B]."""
        self.clean, self.labels, self.found = x, y, x.clone()
        self.fooled = torch.zeros_like(y, dtype=torch.bool)
        self.logits: Tensor | None = None
        try:
            yield
        finally:
            self.clean = None

    def forward(self, x: Tensor) -> Tensor:
        if self.clean is None or x.shape != self.clean.shape:
            return self.search(x)
        todo = (~self.fooled).nonzero()[:, 0]
        logits = self.search(x if len(todo) == len(x) else x[todo])
        claimed = todo[logits.detach().argmax(1) != self.labels[todo]]
        if len(claimed):
            images = x.detach()[claimed]
            right = self.judge(images, self.clean[claimed], self.labels[claimed])
            self.found[claimed[right]], self.fooled[claimed[right]] = images[right], True
            if self.fooled.all():
                raise AllFooled
        if len(todo) < len(x):  # the others keep the logits with which they were dropped, and have no gradient
            logits = self.logits.index_copy(0, todo, logits)
        self.logits = logits.detach()
        return logits


def _watch(attack: Any, network: Watched, merge: Callable) -> None:
    """Let the attack's every run drop what is confirmed; `merge(result, fooled, found)` puts it back in."""
    run = attack.attack_single_run

    def watched(x: Tensor, y: Tensor, *arguments: Any, **options: Any) -> Any:
        with network.watching(x, y):
            try:
                result = run(x, y, *arguments, **options)
            except AllFooled:
                result = None
            return merge(result, network.fooled, network.found)

    attack.attack_single_run = watched


def _merge_apgd(result: tuple | None, fooled: Tensor, found: Tensor) -> tuple[Tensor, ...]:
    """(images of highest loss, not fooled, that loss, fooling images), as APGD returns them."""
    if result is None:
        return found, ~fooled, torch.zeros(len(found), device=found.device), found
    best, right, loss, images = result
    return best, right, loss, torch.where(fooled[:, None, None, None], found, images)


def _merge_fab(images: Tensor | None, fooled: Tensor, found: Tensor) -> Tensor:
    return found if images is None else torch.where(fooled[:, None, None, None], found, images)


def _confirm(square: Any, search: nn.Module, model: nn.Module) -> None:
    """Let Square search on `search`, and stop on an image only when `model` is wrong about it.

    The package stops at the first margin <= 0, hence on all that the stand-in ties on or errs about: in bfloat16 one
    image in ten has two equal logits, of which argmax may take the right one, and the image counted as withstanding.
    """

    def margin_and_loss(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        loss = -margin_loss(search(x), y)
        margin, claimed = loss.clone(), (loss <= 0).nonzero()[:, 0]
        if len(claimed):
            logits = model(x[claimed])
            loss[claimed] = -margin_loss(logits, y[claimed])  # the model's own slope, where the stand-in sees none
            wrong = logits.argmax(1) != y[claimed]
            margin[claimed] = torch.where(wrong, -1.0, loss[claimed].clamp_min(torch.finfo(loss.dtype).tiny))
        return margin, loss

    square.predict, square.margin_and_loss = model, margin_and_loss


def project_linf(points: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
    """The step [B, d] of least linf norm from points [B, d] in [0, 1]^d to {z: <w, z> = b} inside the box.

    Every coordinate moves by min(l, its room) in the direction that helps, where l solves
    sum_i |w_i| min(l, room_i) = |b - <w, t>|. The left side is concave in l, so Newton's method from 0 climbs to the
    solution without overshooting, in a handful of steps; the package sorts. Unreachable: as far as the box allows.
    """
    gap = offsets - (normals * points).sum(1)
    upwards = (normals > 0) == (gap > 0)[:, None]
    weights, room, gap = normals.abs(), torch.where(upwards, 1 - points, points), gap.abs()
    level = torch.zeros_like(gap)
    for _ in range(50):
        moved = torch.minimum(room, level[:, None])
        slope = (weights * (room > level[:, None])).sum(1)
        missing = gap - (weights * moved).sum(1)
        step = torch.where((slope > 0) & (missing > 0), missing / slope.clamp_min(1e-30), 0)
        if not (step > 1e-7 * level).any():
            break
        level = level + step
    moved = torch.minimum(room, level[:, None]) * (normals != 0)
    return torch.where(upwards, moved, -moved)


@contextmanager
def _quick_projection() -> Iterator[None]:
    """FAB with the projection above, for as long as the search lasts."""
    from pyautoattack import fab_base

    original, fab_base.projection_linf = fab_base.projection_linf, project_linf
    try:
        yield
    finally:
        fab_base.projection_linf = original


def _component(ensemble: Any, name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The ensemble's attack of that name, set up as its own loop does: (x, y) -> candidates."""
    kind = name.removesuffix("-t")
    attack = {"apgd": ensemble.apgd, "fab": ensemble.fab, "square": ensemble.square}[kind.partition("-")[0]]
    if name in ("apgd-ce", "apgd-dlr"):
        attack.loss = name.removeprefix("apgd-")
    elif name == "apgd-t":
        attack = ensemble.apgd_targeted
    elif kind == "fab":
        attack.targeted = name == "fab-t"
        attack.n_restarts = 1 if attack.targeted else attack.n_restarts
    attack.seed = ensemble.seed
    return attack.perturb


def search_and_judge(
    ensemble: Any,
    search: nn.Module,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    norm: str,
    batch_size: int,
    tallies: Tallies,
) -> tuple[Tensor, Tensor]:
    """(images [B, C, H, W] as `autoattack` returns them, disputed [B] bool) of an ensemble set up for `model`.

    What each component did is added to `tallies`.
    """
    from pyautoattack import checks

    judge, logger = judge_of(model, epsilon, norm), logging.getLogger("auto-attack")
    network = Watched(search, judge)
    for attack in (ensemble.apgd, ensemble.apgd_targeted):
        attack.model = network
        _watch(attack, network, _merge_apgd)
    ensemble.fab.predict = network
    _watch(ensemble.fab, network, _merge_fab)
    _confirm(ensemble.square, search, model)

    x_adv, robust, disputed = x.clone(), ~judge(x, x, y), torch.zeros_like(y, dtype=torch.bool)
    accuracy = {"clean": robust.float().mean().item()}
    tallies.begin(ensemble.attacks_to_run)
    with torch.no_grad(), _quick_projection():
        for name in ensemble.attacks_to_run:
            logger.debug("running %s", name)
            for rows in (robust & ~disputed).nonzero()[:, 0].split(batch_size):
                with tallies.running(name) as tally:
                    candidates = _component(ensemble, name)(x[rows], y[rows])
                    fooled = judge(candidates, x[rows], y[rows])
                    x_adv[rows[fooled]], robust[rows[fooled]] = candidates[fooled], False
                    disputed[rows] = ~fooled & (search(candidates).argmax(1) != y[rows])
                    tally.searches += len(rows)
                    tally.broken += int(fooled.sum())
            accuracy[name] = robust.float().mean().item()
            logger.debug("robust accuracy after %s: %.2f%%", name.upper(), 100 * accuracy[name])
    checks.check_square_sr(accuracy, logger=logger)
    return x_adv, disputed
