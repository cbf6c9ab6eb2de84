"""Norm balls inside the image box: projections, ascent directions, random starts.

Pure functions of tensors [B, ...]; every norm is taken per sample; nothing waits for the device.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.linalg import vector_norm

NORMS = ("linf", "l2", "l1")


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    """[B] -> [B, 1, ..., 1], to broadcast against `like`."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


# --- projections --------------------------------------------------------------------------------------------


def full_precision(x: Tensor) -> None:
    """Raises ValueError for half-precision images: rounding to 8 or 11 bits would carry them out of the ball."""
    if x.dtype in (torch.float16, torch.bfloat16):
        kind = str(x.dtype).removeprefix("torch.")
        raise ValueError(
            f"images are {kind}, too coarse for a budget: give float32 images; wrap the model with .to(dtype)"
        )


def linf_bounds(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """max(x - eps, 0) and min(x + eps, 1): the linf ball and the box as one pair of bounds. No half precision.

    >>> linf_bounds(torch.tensor([[0.05, 0.5]]), 0.1)
    (tensor([[0.0000, 0.4000]]), tensor([[0.1500, 0.6000]]))
    """
    full_precision(x)
    return (x - epsilon).clamp_min(0), (x + epsilon).clamp_max(1)


def project_l2(delta: Tensor, epsilon: float) -> Tensor:
    """delta min(1, eps / ||delta||_2): the nearest point of the l2 ball, per sample.

    >>> project_l2(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    norm = vector_norm(delta.flatten(1), dim=1).clamp_min(torch.finfo(delta.dtype).tiny)
    return delta * _per_sample((epsilon / norm).clamp_max(1), delta)


def project_l1(delta: Tensor, epsilon: float) -> Tensor:
    """Duchi et al. (2008), Fig. 1: the nearest point of the l1 ball, per sample (not a rescaling).

    >>> project_l1(torch.tensor([[3.0, 1.0], [0.3, 0.4]]), 1.0)  # the nearest point: (1, 0), not (0.75, 0.25)
    tensor([[1.0000, 0.0000],
            [0.3000, 0.4000]])
    """
    magnitude = delta.flatten(1).abs()
    partial_sums = magnitude.sort(dim=1, descending=True).values.cumsum(dim=1)
    counts = torch.arange(1, magnitude.shape[1] + 1, device=delta.device, dtype=delta.dtype)
    # theta = max_k (|v|_(1) + ... + |v|_(k) - eps) / k, and 0 inside the ball
    theta = ((partial_sums - epsilon) / counts).amax(dim=1).clamp_min(0)
    return delta.sign() * (delta.abs() - _per_sample(theta, delta)).clamp_min(0)


def projection(x: Tensor, epsilon: float, norm: str) -> Callable[[Tensor], Tensor]:
    """The map z -> (z into the ball around x, then into the box).

    The clip comes second and is not aware of the ball. It only shrinks |z - x|, since x lies in the box, so
    both constraints hold at the end.

    >>> projection(torch.tensor([[0.05, 0.5]]), 0.1, "linf")(torch.tensor([[-1.0, 0.55]]))
    tensor([[0.0000, 0.5500]])
    """
    if norm == "linf":
        lower, upper = linf_bounds(x, epsilon)
        return lambda z: z.clamp(lower, upper)
    into_ball = {"l2": project_l2, "l1": project_l1}[norm]
    return lambda z: (x + into_ball(z - x, epsilon)).clamp(0, 1)


# --- ascent directions --------------------------------------------------------------------------------------


def unit(gradient: Tensor, order: int) -> Tensor:
    """g / ||g||_p per sample; zero stays zero.

    Differs from the Bag of Tricks (||g|| + 1e-10) and advertorch (max(||g||, 1e-6)): g is scaled by its
    largest entry first, so a vanishing gradient (a saturated softmax) still gives a full step.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), 2)
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    tiny = torch.finfo(gradient.dtype).tiny
    flat = gradient.flatten(1)
    flat = flat / flat.abs().amax(dim=1, keepdim=True).clamp_min(tiny)
    flat = flat / vector_norm(flat, ord=order, dim=1, keepdim=True).clamp_min(tiny)
    return flat.reshape(gradient.shape)


def top1_sign(gradient: Tensor) -> Tensor:
    """sign(g_i) e_i with i = argmax |g_i|: the steepest l1 direction, as in advertorch's L1PGDAttack.

    >>> top1_sign(torch.tensor([[3.0, -4.0, 1.0]]))
    tensor([[ 0., -1.,  0.]])
    """
    flat = gradient.flatten(1)
    largest = flat.abs().argmax(dim=1, keepdim=True)
    sign = flat.gather(1, largest).sign()
    return torch.zeros_like(flat).scatter_(1, largest, sign).reshape(gradient.shape)


def unblocked(gradient: Tensor, z: Tensor) -> Tensor:
    """The gradient without the coordinates that the box blocks: z_i at 0 where g_i < 0, at 1 where g_i > 0.

    >>> unblocked(torch.tensor([[3.0, -4.0, 1.0]]), torch.tensor([[0.5, 0.0, 1.0]]))
    tensor([[3., 0., 0.]])
    """
    return torch.where(((z <= 0) & (gradient < 0)) | ((z >= 1) & (gradient > 0)), 0, gradient)


L1_STEPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # (gradient, where it was taken) -> step of l1 length one
    # The largest of all, as advertorch and ART take it: once that pixel is black or white, the box undoes every step.
    "top1": lambda gradient, z: top1_sign(gradient),
    # The largest of those that can move: the budget gets spent.
    "top1_free": lambda gradient, z: top1_sign(unblocked(gradient, z)),
    "dense": lambda gradient, z: unit(gradient, 1),
}


def direction(norm: str, l1_step: str = "top1") -> Callable[[Tensor, Tensor], Tensor]:
    """The map (gradient, the images [B, ...] it was taken at) -> step of length one in the norm at hand.

    >>> direction("l1", "dense")(torch.tensor([[3.0, -1.0]]), torch.tensor([[0.5, 0.5]]))
    tensor([[ 0.7500, -0.2500]])
    """
    steps = {"linf": lambda gradient, z: gradient.sign(), "l2": lambda gradient, z: unit(gradient, 2)}
    return steps[norm] if norm in steps else L1_STEPS[l1_step]


# --- random starts ------------------------------------------------------------------------------------------

NORMAL_START_STD = 0.001  # TRADES, MART, HAT, IKL, AT_HE: 0.001 N(0, 1)


def start_noise(x: Tensor, epsilon: float, norm: str, kind: bool | str, generator: torch.Generator | None) -> Tensor:
    """kind True: uniform in the ball; "normal": 0.001 N(0, 1) per pixel, whatever the ball.

    linf: U(-eps, eps) per pixel. l2, l1: a random direction (Gaussian, Laplace) on the sphere times
    eps U(0, 1)^(1/d), which is uniform in volume. Differs from the Bag of Tricks (l2: radius eps U(0, 1)) and
    from advertorch (l1: one radius U(0, eps) for the whole batch), whose starts lie nearer to x.

    >>> generator = torch.Generator().manual_seed(0)
    >>> noise = start_noise(torch.rand(2, 1, 4, 4), 0.1, "l2", True, generator)
    >>> noise.flatten(1).norm(dim=1) <= 0.1
    tensor([True, True])
    """
    full_precision(x)
    # Drawn where the generator lives, so that one seed gives the same start on every device.
    options = {"device": generator.device if generator is not None else x.device, "dtype": x.dtype}
    if kind == "normal":
        return (NORMAL_START_STD * torch.randn(x.shape, generator=generator, **options)).to(x.device)
    if norm == "linf":
        return (epsilon * (2 * torch.rand(x.shape, generator=generator, **options) - 1)).to(x.device)
    noise = torch.randn(x.shape, generator=generator, **options)
    if norm == "l1":  # Laplace: an exponential with the Gaussian's sign
        noise = noise.sign() * torch.empty(x.shape, **options).exponential_(generator=generator)
    size = x[0].numel()
    radius = epsilon * torch.rand(x.shape[0], generator=generator, **options) ** (1 / size)
    return (_per_sample(radius, noise) * unit(noise, {"l2": 2, "l1": 1}[norm])).to(x.device)
