"""Gradient attacks: fgsm, pgd (l1, l2, linf), cw and the adaptive attack on Eq. (7).

A step costs one forward and one backward to the image; no weight gradient is computed and nothing waits for
the device. The losses are per sample and in float32 (float64 stays), also under torch.autocast.
"""

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdpnp.attacks import projections
from advdpnp.config import budget_fault
from advdpnp.errors import nearest
from advdpnp.losses import kl_divergence, prototype_logits, pull_distance

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]  # (model, x_adv, y) -> [B], to be maximised


@contextmanager
def frozen(model: nn.Module, eval_mode: bool = True) -> Iterator[nn.Module]:
    """The model in eval mode and without weight gradients; every flag is restored, also after an exception.

    eval_mode=False leaves the modes alone: batch normalisation in train mode then uses batch statistics and
    updates its running ones. Raises ValueError for what is no nn.Module.

    >>> model = nn.Linear(2, 2)
    >>> with frozen(model):
    ...     print(model.training, model.weight.requires_grad)
    False False
    >>> model.training, model.weight.requires_grad
    (True, True)
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"the model must be a torch.nn.Module, got {_article(model)}: let a module's forward call it")
    modes = [(module, module.training) for module in model.modules()]
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        if eval_mode:
            model.eval()
        for parameter, _ in trainable:
            parameter.requires_grad_(False)
        yield model
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in trainable:
            parameter.requires_grad_(flag)


def _article(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


# --- losses: logits [B, M], labels [B] -> [B], larger is worse for the model --------------------------------


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision to float32; wider types as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log p_y, per sample.

    >>> cross_entropy(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    tensor([0.1269, 1.3133])
    """
    return F.cross_entropy(at_least_float32(logits), y, reduction="none")


def margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    """max_{k != y} z_k - z_y, per sample: positive exactly when the label is wrong.

    >>> margin_loss(torch.tensor([[2.0, 0.5], [0.0, 1.0]]), torch.tensor([0, 0]))
    tensor([-1.5000,  1.0000])
    """
    logits = at_least_float32(logits)
    rivals = logits.scatter(1, y[:, None], -torch.inf)
    return rivals.amax(dim=1) - logits.gather(1, y[:, None]).squeeze(1)


def cw_loss(logits: Tensor, y: Tensor, confidence: float) -> Tensor:
    """-max(z_y - max_{k != y} z_k + confidence, 0), per sample: FSR's "C&W" loss.

    >>> cw_loss(torch.tensor([[2.0, 0.5], [0.0, 0.5]]), torch.tensor([0, 0]), confidence=1.0)
    tensor([-2.5000, -0.5000])
    """
    return -(confidence - margin_loss(logits, y)).clamp_min(0)


LOSSES = {"ce": cross_entropy, "margin": margin_loss}


def _as_objective(loss: str | Objective) -> Objective:
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}: {nearest(loss, LOSSES)}")
    return lambda model, x_adv, y: LOSSES[loss](model(x_adv), y)


# --- arguments ----------------------------------------------------------------------------------------------


def checked_inputs(x: Tensor, y: Tensor, epsilon: float, norm: str, step_size: float = 0.0) -> tuple[Tensor, Tensor]:
    """x detached and y as int64, or a ValueError. Waits for the device: the ranges of x and y."""
    for name, value in (("images", x), ("labels", y)):
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} must be a tensor, got {_article(value)}: torch.as_tensor makes one")
    if torch.is_inference_mode_enabled() or x.is_inference() or y.is_inference():
        raise ValueError("attacks need gradients: call them outside torch.inference_mode, with tensors made outside")
    if norm not in projections.NORMS:
        raise ValueError(f"unknown norm {norm!r}: {nearest(norm, projections.NORMS)}")
    if not (epsilon >= 0 and math.isfinite(epsilon)):
        raise ValueError(f"epsilon must be a finite number >= 0, got {epsilon}")
    if not x.is_floating_point():
        raise ValueError(f"images must be floating point in [0, 1], got {x.dtype}")
    projections.full_precision(x)
    if x.numel() and (fault := budget_fault(norm, epsilon, step_size, x[0].numel())):
        raise ValueError(fault)
    if y.shape != x.shape[:1] or y.is_floating_point():
        raise ValueError(f"labels must be {x.shape[0]} integers, one per image, got {y.dtype} {list(y.shape)}")
    if x.numel():
        low, high = x.detach().aminmax()  # NaN propagates, and fails the comparison
        if not (low >= 0) & (high <= 1):
            raise ValueError(f"images must lie in [0, 1], got [{low.item():.4g}, {high.item():.4g}]")
        if y.min() < 0:
            raise ValueError(f"labels count from 0, got {int(y.min())}")
    return x.detach(), y.long()


def checked_logits(logits: object, images: int, y: Tensor) -> Tensor:
    """What a model answered to so many images, if it is logits [B, M] with a class for each label; else ValueError."""
    if not isinstance(logits, Tensor):
        raise ValueError(f"the model must return logits [B, M], got {_article(logits)}: return the tensor in it alone")
    if logits.ndim != 2 or len(logits) != images or not logits.is_floating_point():
        got = f"{str(logits.dtype).removeprefix('torch.')} {list(logits.shape)}"
        raise ValueError(f"the model must return logits [B, M], got {got} for a batch of {images}")
    if y.numel() and (highest := int(y.max())) >= logits.shape[1]:
        raise ValueError(f"label {highest} is out of range: the model has {logits.shape[1]} classes, 0 to "
                         f"{logits.shape[1] - 1}")  # fmt: skip
    return logits


@contextmanager
def answering(model: nn.Module, x: Tensor, y: Tensor, logits: bool = True) -> Iterator[None]:
    """Inside, the model's first answer goes through `checked_logits`; one that cannot answer x at all is told why.

    logits=False for a loss that reads something else. Raises ValueError, also for images of another type than the
    weights, or on another device.
    """
    heard = []

    def listen(module: nn.Module, inputs: tuple, answer: object) -> None:
        heard.append(True)
        hook.remove()
        if logits:
            checked_logits(answer, len(inputs[0]), y)

    hook = model.register_forward_hook(listen)
    try:
        yield
    except RuntimeError as error:
        if heard or not (fault := misfit(model, x)):
            raise
        raise ValueError(fault) from error
    finally:
        hook.remove()


def misfit(model: nn.Module, x: Tensor) -> str:
    """How the type or the place of the images differs from the weights': a sentence, or "" where they are alike."""
    weights = [parameter for parameter in model.parameters() if parameter.is_floating_point()]
    for attribute in ("device", "dtype"):
        own, wanted = getattr(x, attribute), {getattr(weight, attribute) for weight in weights}
        if weights and own not in wanted:
            given, asked = (" or ".join(sorted(str(v).removeprefix("torch.") for v in vs)) for vs in ({own}, wanted))
            return f"images are {given}, the model's weights {asked} ({attribute}): take the images or the model there"
    return ""


def _check_schedule(
    epsilon: float, step_size: float, steps: int, restarts: int, random_start: bool | str, l1_step: str
) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, got {restarts}")
    if epsilon > 0 and not (step_size > 0 and math.isfinite(step_size)):
        raise ValueError(f"step_size must be a finite number > 0, got {step_size}")
    if random_start not in (True, False, "normal"):
        choice = nearest(random_start, ("True", "False", "normal"))
        raise ValueError(f"unknown random_start {random_start!r}: {choice}")
    if restarts > 1 and not random_start:
        raise ValueError(f"{restarts} restarts from the same point repeat one attack: set random_start=True")
    if l1_step not in projections.L1_STEPS:
        raise ValueError(f"unknown l1_step {l1_step!r}: {nearest(l1_step, projections.L1_STEPS)}")


# --- attacks ------------------------------------------------------------------------------------------------


def fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    loss: str | Objective = "ce",
    eval_mode: bool = True,
) -> Tensor:
    """x + eps sign(grad_x L): Goodfellow et al. (2015), no random start. One step of linf PGD.

    >>> model, x, y = nn.Flatten(), torch.tensor([[[[0.6, 0.5]]]]), torch.tensor([0])  # logits: the two pixels
    >>> fgsm(model, x, y, epsilon=0.1)
    tensor([[[[0.5000, 0.6000]]]])
    """
    return pgd(
        model,
        x,
        y,
        epsilon=epsilon,
        step_size=epsilon,
        steps=1,
        norm="linf",
        random_start=False,
        loss=loss,
        eval_mode=eval_mode,
    )


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    norm: str,
    restarts: int = 1,
    random_start: bool | str = True,
    loss: str | Objective = "ce",
    generator: torch.Generator | None = None,
    eval_mode: bool = True,
    l1_step: str = "top1",
    checked: bool = True,
) -> Tensor:
    """x <- P(x + step d(grad_x L)): Madry et al. (2018), P: ball, then box; d: sign, g / ||g||_2, top-1.

    x [B, C, H, W] in [0, 1], y [B] -> [B, C, H, W]. epsilon and step_size are in units of the pixel range, in
    the norm at hand ('linf', 'l2', 'l1'). random_start: True (uniform in the ball), False, or "normal"
    (0.001 N(0, 1)). loss: 'ce', 'margin', or a function (model, x_adv, y) -> [B] to be maximised. l1_step:
    'top1' (stalls on a pixel that is black or white), 'top1_free' (the largest gradient among pixels that can
    move) or 'dense' (g / ||g||_1). eval_mode=False leaves the model's mode alone (see frozen).
    checked=False trusts x, y, epsilon and norm: with one restart nothing then waits for the device.

    With one restart the last iterate is returned. With more, per sample: the first restart that fools the
    model, else the one with the highest loss; fooled samples are not attacked again. A function as loss
    always sees the whole batch in its order, since it may hold tensors that belong to it.

    Raises ValueError for a bad argument, images outside [0, 1] or in half precision, a budget or step wider than the
    box, or a loss that is not one value per sample. Warns of a step above 2 epsilon: it leaps across the ball.
    Differs from TRADES' code, which clips the "normal" start only after the first step (ledger A24).

    >>> model, x, y = nn.Flatten(), torch.tensor([[[[0.6, 0.5]]]]), torch.tensor([0])  # logits: the two pixels
    >>> budget = {"epsilon": 0.1, "step_size": 0.05, "steps": 4, "random_start": False}
    >>> pgd(model, x, y, norm="linf", **budget)
    tensor([[[[0.5000, 0.6000]]]])
    >>> pgd(model, x, y, norm="l2", **budget)
    tensor([[[[0.5293, 0.5707]]]])
    """
    (x_adv,) = pgd_prefixes(
        model,
        x,
        y,
        reads=((steps, restarts),),
        epsilon=epsilon,
        step_size=step_size,
        norm=norm,
        random_start=random_start,
        loss=loss,
        generator=generator,
        eval_mode=eval_mode,
        l1_step=l1_step,
        checked=checked,
    )
    return x_adv


def pgd_prefixes(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    reads: Sequence[tuple[int, int]],
    epsilon: float,
    step_size: float,
    norm: str,
    random_start: bool | str = True,
    loss: str | Objective = "ce",
    generator: torch.Generator | None = None,
    eval_mode: bool = True,
    l1_step: str = "top1",
    checked: bool = True,
) -> list[Tensor]:
    """`pgd` after each (steps, restarts) of `reads`, at the cost of the longest; bit for bit what each gives alone.

    Fewer steps are the beginning of more, and fewer restarts the first ones of more, from the same state of
    `generator`. Arguments, errors and what is returned (one [B, C, H, W] per read) are as in pgd. Raises ValueError
    also for reads that differ in their steps while one of them has several restarts.

    >>> model, x, y = nn.Flatten(), torch.tensor([[[[0.6, 0.5]]]]), torch.tensor([0])  # logits: the two pixels
    >>> budget = {"epsilon": 0.1, "step_size": 0.05, "norm": "linf", "random_start": False}
    >>> pgd_prefixes(model, x, y, reads=[(1, 1), (4, 1)], **budget)
    [tensor([[[[0.5500, 0.5500]]]]), tensor([[[[0.5000, 0.6000]]]])]
    """
    if checked:
        x, y = checked_inputs(x, y, epsilon, norm, step_size)
        if step_size > 2 * epsilon > 0 and (norm, l1_step) != ("l1", "dense"):
            leap = f"step_size {step_size:g} is more than twice epsilon ({epsilon:g}): every step leaps across the ball"
            warnings.warn(leap, stacklevel=3)
    steps, restarts = max(n for n, _ in reads), max(k for _, k in reads)
    for n, k in reads:
        _check_schedule(epsilon, step_size, n, k, random_start, l1_step)
    if restarts > 1 and any(n != steps for n, _ in reads):
        raise ValueError(f"reads with several restarts must have the same steps, got {list(reads)}")
    objective = _as_objective(loss)
    if epsilon == 0 or x.shape[0] == 0:
        return [x.clone() for _ in reads]

    def attack(x: Tensor, y: Tensor, stops: Collection[int]) -> dict[int, Tensor]:
        project = projections.projection(x, epsilon, norm)
        noise = projections.start_noise(x, epsilon, norm, random_start, generator) if random_start else None
        start = x if noise is None else project(x + noise)
        return _ascend(model, start, y, objective, project, projections.direction(norm, l1_step), step_size, stops)

    with frozen(model, eval_mode), answering(model, x, y, not callable(loss)) if checked else nullcontext():
        first = attack(x, y, {n for n, _ in reads})
        if restarts == 1:
            return [first[n] for n, _ in reads]
        x_adv = first[steps]
        after = {1: x_adv.clone()}
        fooled, best_loss = _wrong_and_loss(model, x_adv, y, objective)
        for done in range(2, restarts + 1):
            if not fooled.all():
                todo = torch.arange(len(x), device=x.device)
                if eval_mode and not callable(loss):
                    todo = todo[~fooled]
                candidate = attack(x[todo], y[todo], (steps,))[steps]
                hit, candidate_loss = _wrong_and_loss(model, candidate, y[todo], objective)
                better = ~fooled[todo] & (hit | (candidate_loss > best_loss[todo]))
                x_adv[todo[better]] = candidate[better]
                best_loss[todo[better]] = candidate_loss[better]
                fooled[todo] |= hit
            if any(k == done for _, k in reads):
                after[done] = x_adv.clone()
        return [after[k] for _, k in reads]


def _ascend(
    model: nn.Module, start: Tensor, y: Tensor, objective: Callable, project: Callable, direction: Callable,
    step_size: float, stops: Collection[int],
) -> dict[int, Tensor]:  # fmt: skip
    """The loop of PGD, free of host syncs: {n: the iterate after n steps} for n of `stops`. None shares memory."""
    x_adv, found = start, {}
    for done in range(1, max(stops) + 1):
        x_adv = x_adv.detach().requires_grad_()
        with torch.enable_grad():
            losses = objective(model, x_adv, y)
            total = losses.sum()
        if losses.shape != y.shape:
            shapes = f"{list(y.shape)}, got {list(losses.shape)}"
            raise ValueError(f"expected one loss value per sample, {shapes}")
        if not total.requires_grad:
            raise ValueError("no gradient reaches the images: the model or the loss detaches something")
        (gradient,) = torch.autograd.grad(total, x_adv)
        x_adv = x_adv.detach()
        x_adv = project(x_adv + step_size * direction(gradient, x_adv))
        if done in stops:
            found[done] = x_adv
    return found


@torch.no_grad()
def _wrong_and_loss(model: nn.Module, x_adv: Tensor, y: Tensor, objective: Callable) -> tuple[Tensor, Tensor]:
    """(label wrong [B] bool, loss [B])"""
    return model(x_adv).argmax(dim=1) != y, objective(model, x_adv, y)


def cw(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    confidence: float,
    restarts: int = 1,
    random_start: bool | str = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """linf PGD on -sum max(z_y - max_{k != y} z_k + confidence, 0): FSR's "C&W", no random start.

    Shapes, units and errors as in pgd. At confidence 50 the clamp is rarely active: PGD on the plain margin.
    Differs from Carlini and Wagner (2017), who minimise the l2 distance.

    >>> model, x, y = nn.Flatten(), torch.tensor([[[[0.6, 0.5]]]]), torch.tensor([0])  # logits: the two pixels
    >>> cw(model, x, y, epsilon=0.1, step_size=0.05, steps=4, confidence=50.0)
    tensor([[[[0.5000, 0.6000]]]])
    """

    def objective(model: nn.Module, x_adv: Tensor, y: Tensor) -> Tensor:
        return cw_loss(model(x_adv), y, confidence)

    with frozen(model), answering(model, x, y):
        return pgd(
            model,
            x,
            y,
            epsilon=epsilon,
            step_size=step_size,
            steps=steps,
            norm="linf",
            restarts=restarts,
            random_start=random_start,
            loss=objective,
            generator=generator,
        )


def adaptive(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    radius: float,
    lambda_dpp: float,
    lambda_dnp: float,
    lambda_dfa: float,
    pull: str = "sum",
    norm: str = "linf",
    restarts: int = 1,
    random_start: bool | str = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """PGD that maximises Eq. (7) over x~ (Table 8, adaptive). Needs model.features and model.centers.

    Shapes, units and errors as in pgd. Two terms of Eq. (7) are constant in x~ and have no gradient: L_DPP of
    the clean images and L_DNP, so lambda_dnp is accepted without effect. The factor 1 / 2N has none either.

    >>> from advdpnp.models import Classifier, PrototypeHead
    >>> head = PrototypeHead(2, 2, radius=1.0)
    >>> head.point_to(torch.eye(2))  # two prototypes, one along each axis
    >>> model = Classifier(nn.Flatten(), head, mean=(0.0,), std=(1.0,))
    >>> x, y = torch.tensor([[[[0.6, 0.5]]]]), torch.tensor([0])
    >>> weights = {"radius": 1.0, "lambda_dpp": 0.1, "lambda_dnp": 0.1, "lambda_dfa": 2}
    >>> adaptive(model, x, y, epsilon=0.1, step_size=0.05, steps=4, **weights)
    tensor([[[[0.5000, 0.6000]]]])
    """
    del lambda_dnp
    x, y = checked_inputs(x, y, epsilon, norm)
    weights = {"lambda_dpp": lambda_dpp, "lambda_dfa": lambda_dfa}
    loss = adaptive_objective(model, x, radius=radius, pull=pull, **weights)
    return pgd(
        model,
        x,
        y,
        epsilon=epsilon,
        step_size=step_size,
        steps=steps,
        norm=norm,
        restarts=restarts,
        random_start=random_start,
        loss=loss,
        generator=generator,
    )


def adaptive_objective(
    model: nn.Module, x: Tensor, *, radius: float, lambda_dpp: float, lambda_dfa: float, pull: str = "sum"
) -> Objective:
    """L_DPP(x~, y) + lambda_DFA L_DFA(x, x~) per sample: the part of Eq. (7) that x~ moves. p(x) is fixed.

    >>> from advdpnp.models import Classifier, PrototypeHead
    >>> head = PrototypeHead(2, 2, radius=1.0)
    >>> head.point_to(torch.eye(2))  # two prototypes, one along each axis
    >>> model = Classifier(nn.Flatten(), head, mean=(0.0,), std=(1.0,))
    >>> x, y = torch.tensor([[[[0.6, 0.5]]]]), torch.tensor([0])
    >>> objective = adaptive_objective(model, x, radius=1.0, lambda_dpp=0.1, lambda_dfa=2)
    >>> objective(model, x, y).detach(), objective(model, x + 0.1, y).detach()
    (tensor([0.6649]), tensor([0.6669]))
    """
    if not (hasattr(model, "features") and hasattr(model, "centers")):
        raise ValueError("the adaptive attack needs a model with features(x) and centers")
    if not radius > 0:
        raise ValueError(f"radius must be > 0, got {radius}")
    prototypes = at_least_float32(model.centers.detach())

    def forward(images: Tensor) -> tuple[Tensor, Tensor]:
        features = at_least_float32(model.features(images))
        return features, prototype_logits(features, prototypes, radius=radius)

    with frozen(model), torch.no_grad():
        _, clean_logits = forward(x)

    def objective(model: nn.Module, x_adv: Tensor, y: Tensor) -> Tensor:
        features, logits = forward(x_adv)
        # (3)  L_DPP = -log p_y(x~) + lambda_DPP / 2 ||f(x~) - c_y||^2
        distance = pull_distance(features, prototypes, y, pull=pull)
        dpp = F.cross_entropy(logits, y, reduction="none") + lambda_dpp * distance
        # (6)  L_DFA = sum_j p_j(x) log(p_j(x) / p_j(x~))
        return dpp + lambda_dfa * kl_divergence(clean_logits, logits)

    return objective
