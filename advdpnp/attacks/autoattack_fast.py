"""AutoAttack on a faster surrogate; what it finds counts only if it fools the target, the model itself.

The components are pyautoattack's. Candidates are found on the surrogate (the target folded, in bfloat16) and count only
if they fool the target, in float32, inside ball and box. An image that fools the surrogate alone is unconfirmed: the
caller attacks it again on the target. Square, which stops where it believes to have won, asks the target there and goes
on unless the target is wrong too.

What is saved besides leaves the strength alone: APGD and FAB drop an image at the first step that fools the target,
where the package works on it to the end; FAB's projection needs no sort.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from advdpnp.attacks.gradient import margin_loss
from advdpnp.attacks.tally import Tallies

FoolsTarget = Callable[[Tensor, Tensor, Tensor], Tensor]  # (candidates, clean images, labels) -> fooled [B] bool
SLACK = 1e-6  # rounding of x + delta - x


class AllFooled(Exception):
    """Nothing is left to search for."""


class Kept(Protocol):
    """Where a search keeps what it has found, to go on from there after a kill."""

    def load(self) -> Mapping[str, np.ndarray] | None:
        """What was saved last, None where nothing was."""

    def save(self, arrays: Mapping[str, np.ndarray]) -> None:
        """In place of what was saved before."""


def target_check(target: nn.Module, epsilon: float, norm: str) -> FoolsTarget:
    """Whether candidates lie in ball and box and fool the target; only those inside are shown to it.

    >>> x, y = torch.tensor([[[[0.6, 0.5]]]]), torch.tensor([0])
    >>> fools_target = target_check(nn.Flatten(), 0.1, "linf")  # logits: the two pixels
    >>> candidates = torch.tensor([[[[0.51, 0.59]]], [[[0.1, 0.9]]]])  # the second leaves the ball
    >>> fools_target(candidates, x.expand_as(candidates), y.expand(2))
    tensor([ True, False])
    """
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]

    @torch.no_grad()
    def fools_target(candidates: Tensor, x: Tensor, y: Tensor) -> Tensor:
        reached = (candidates - x).flatten(1).norm(order, dim=1)
        low, high = candidates.flatten(1).aminmax(dim=1)
        fooled = (reached <= epsilon * (1 + SLACK) + SLACK) & (low >= 0) & (high <= 1)
        rows = fooled.nonzero()[:, 0]
        if len(rows):
            fooled[rows] = target(candidates[rows]).argmax(1) != y[rows]
        return fooled

    return fools_target


class Watched(nn.Module):
    """The surrogate as an attack sees it: inside `watching`, images that already fool the target are left out."""

    def __init__(self, surrogate: nn.Module, fools_target: FoolsTarget):
        super().__init__()
        self.surrogate, self.fools_target = surrogate, fools_target
        self.clean: Tensor | None = None

    @contextmanager
    def watching(self, x: Tensor, y: Tensor) -> Iterator[None]:
        """Inside, what fools the target on the way is kept: x [B, C, H, W], y [B]."""
        self.clean, self.labels, self.found = x, y, x.clone()
        self.fooled = torch.zeros_like(y, dtype=torch.bool)
        self.logits: Tensor | None = None
        try:
            yield
        finally:
            self.clean = None

    def forward(self, x: Tensor) -> Tensor:
        if self.clean is None or x.shape != self.clean.shape:
            return self.surrogate(x)
        todo = (~self.fooled).nonzero()[:, 0]
        logits = self.surrogate(x if len(todo) == len(x) else x[todo])
        candidates = todo[logits.detach().argmax(1) != self.labels[todo]]
        if len(candidates):
            images = x.detach()[candidates]
            confirmed = self.fools_target(images, self.clean[candidates], self.labels[candidates])
            rows = candidates[confirmed]
            self.found[rows], self.fooled[rows] = images[confirmed], True
            if self.fooled.all():
                raise AllFooled
        if len(todo) < len(x):  # the others keep the logits with which they were dropped, and have no gradient
            logits = self.logits.index_copy(0, todo, logits)
        self.logits = logits.detach()
        return logits


def _watch(attack: Any, network: Watched, merge: Callable) -> None:
    """Drop confirmed images in every run of the attack; `merge(result, fooled, found)` puts them back."""
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


def _confirm(square: Any, surrogate: nn.Module, target: nn.Module) -> None:
    """Let Square search on the surrogate, and stop on an image only when the target is wrong about it.

    The package stops at the first margin <= 0, hence on all that the surrogate ties on or errs about: in bfloat16 one
    image in ten has two equal logits, of which argmax may take the right one, and the image counted as withstanding.
    """

    def margin_and_loss(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        loss = -margin_loss(surrogate(x), y)
        margin, rows = loss.clone(), (loss <= 0).nonzero()[:, 0]
        if len(rows):
            logits = target(x[rows])
            loss[rows] = -margin_loss(logits, y[rows])  # the target's own slope, where the surrogate has none
            wrong = logits.argmax(1) != y[rows]
            margin[rows] = torch.where(wrong, -1.0, loss[rows].clamp_min(torch.finfo(loss.dtype).tiny))
        return margin, loss

    square.predict, square.margin_and_loss = target, margin_and_loss


def project_linf(points: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
    """The step [B, d] of least linf norm from points [B, d] in [0, 1]^d to {z: <w, z> = b} inside the box.

    Every coordinate moves by min(l, its room) in the direction that helps, where l solves
    sum_i |w_i| min(l, room_i) = |b - <w, t>|. The left side is concave in l, so Newton's method from 0 climbs to the
    solution without overshooting, in a handful of steps; the package sorts. Unreachable: as far as the box allows.

    >>> points, normals = torch.tensor([[0.2, 0.5]]), torch.tensor([[1.0, 2.0]])
    >>> project_linf(points, normals, torch.tensor([1.8]))  # to 1 z_1 + 2 z_2 = 1.8
    tensor([[0.2000, 0.2000]])
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
def _fast_projection() -> Iterator[None]:
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


def attack_by_surrogate(
    ensemble: Any,
    surrogate: nn.Module,
    target: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    norm: str,
    batch_size: int,
    tallies: Tallies,
    kept: Kept | None = None,
) -> tuple[Tensor, Tensor]:
    """(images [B, C, H, W] as `autoattack` returns them, unconfirmed [B] bool) of an ensemble set up for `target`.

    What each component did is added to `tallies`. With `kept`, a search that was killed goes on after the last piece
    of `batch_size` images that one component had finished; each component seeds itself, so the bits are the same.
    """
    from pyautoattack import checks

    fools_target, logger = target_check(target, epsilon, norm), logging.getLogger("auto-attack")
    network = Watched(surrogate, fools_target)
    for attack in (ensemble.apgd, ensemble.apgd_targeted):
        attack.model = network
        _watch(attack, network, _merge_apgd)
    ensemble.fab.predict = network
    _watch(ensemble.fab, network, _merge_fab)
    _confirm(ensemble.square, surrogate, target)

    names = ensemble.attacks_to_run
    if before := kept.load() if kept else None:
        x_adv, robust, unconfirmed, todo = (
            torch.from_numpy(before[key]).to(x.device) for key in ("x_adv", "robust", "unconfirmed", "todo")
        )
        accuracy, begun = before["accuracy"].tolist(), int(before["component"])
        tallies.put_back(names, before["tallies"])
    else:
        x_adv, robust, unconfirmed = x.clone(), ~fools_target(x, x, y), torch.zeros_like(y, dtype=torch.bool)
        accuracy, begun, todo = [robust.float().mean().item()], 0, robust.nonzero()[:, 0]
        tallies.begin(names)
    with torch.no_grad(), _fast_projection():
        for k, name in enumerate(names[begun:], begun):
            logger.debug("running %s", name)
            if k > begun:
                todo = (robust & ~unconfirmed).nonzero()[:, 0]
            while len(todo):
                rows, todo = todo[:batch_size], todo[batch_size:]
                with tallies.running(name) as tally:
                    candidates = _component(ensemble, name)(x[rows], y[rows])
                    fooled = fools_target(candidates, x[rows], y[rows])
                    x_adv[rows[fooled]], robust[rows[fooled]] = candidates[fooled], False
                    unconfirmed[rows] = ~fooled & (surrogate(candidates).argmax(1) != y[rows])
                    tally.searches += len(rows)
                    tally.broken += int(fooled.sum())
                if kept:
                    found = {"x_adv": x_adv, "robust": robust, "unconfirmed": unconfirmed, "todo": todo}
                    where = {"component": np.array(k), "accuracy": np.array(accuracy), "tallies": tallies.table()}
                    kept.save({key: value.cpu().numpy() for key, value in found.items()} | where)
                tallies.tell()
            accuracy.append(robust.float().mean().item())
            logger.debug("robust accuracy after %s: %.2f%%", name.upper(), 100 * accuracy[-1])
    checks.check_square_sr(dict(zip(["clean", *names], accuracy, strict=True)), logger=logger)
    return x_adv, unconfirmed
