"""Exercise 8: three defenses that only mask the gradient, and the check that each was broken.

After Athalye, Carlini and Wagner (ICML 2018): shattered, stochastic and vanishing gradients. All three wrap the same
small network, trained without any defense on the 8x8 digits; `net` is the whole of what they protect.
"""

import copy
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdpnp.attacks import pgd
from advdpnp.data import load, to_float
from advdpnp.exercises.verdict import WrongAnswer, call_student, checks

EPSILON = 40 / 255
IMAGES = 100
BROKEN = 30.0  # accuracy (%) at or below which a defense counts as broken; the bare network keeps under 5 %


class Around(nn.Module):
    """A defense around `net`, the network that it protects."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net


class Quantised(Around):
    """Rounds the pixels to six grey levels before the network sees them."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net((5 * x).round() / 5)


class Stochastic(Around):
    """Adds a ripple to the logits, small but steep, in directions that are drawn anew in every pass."""

    def forward(self, x: Tensor) -> Tensor:
        logits, pixels = self.net(x), x.flatten(1)
        directions = torch.randn(logits.shape[1], pixels.shape[1])
        phases = 2 * torch.pi * torch.rand(logits.shape[1])
        return logits + torch.sin(30 * pixels @ directions.T + phases)


class Saturated(Around):
    """Multiplies the logits by a thousand: no prediction changes."""

    def forward(self, x: Tensor) -> Tensor:
        return 1000 * self.net(x)


DEFENSES = {"quantised": Quantised, "stochastic": Stochastic, "saturated": Saturated}


@lru_cache
def undefended() -> nn.Sequential:
    """The bare network, trained on clean digits in a few seconds; 97 % of the test digits right."""
    return trained(128, 60)


def trained(width: int, epochs: int, around: Callable[[nn.Sequential], nn.Module] | None = None) -> nn.Sequential:
    """Two hidden layers of `width`, trained on clean digits for so many epochs, `around` which a defense may stand."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hidden = [nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)]
        net, data = nn.Sequential(nn.Flatten(), *hidden), load("digits", "train")
        model = around(net) if around else net
        x, y = to_float(data.images), data.labels
        optimizer = torch.optim.Adam(net.parameters(), 1e-3)
        for _ in range(epochs):
            for batch in torch.randperm(len(y)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
    return net.eval().requires_grad_(False)


def defended(name: str) -> nn.Module:
    """One of DEFENSES around a copy of the bare network."""
    return DEFENSES[name](copy.deepcopy(undefended()))


def images() -> tuple[Tensor, Tensor]:
    """The first test digits [IMAGES, 1, 8, 8] in [0, 1] and their labels."""
    data = load("digits", "test").subset(IMAGES)
    return to_float(data.images), data.labels


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor, passes: int = 16) -> float:
    """Share (%) classified right by the mean probability over some passes, so that luck cancels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        probabilities = sum(model(x).softmax(1) for _ in range(passes))
    return 100 * float((probabilities.argmax(1) == y).float().mean())


def naive(model: nn.Module, x: Tensor, y: Tensor, epsilon: float) -> Tensor:
    """PGD-20 on cross-entropy, as a careless evaluation runs it."""
    return pgd(model, x, y, epsilon=epsilon, step_size=epsilon / 8, steps=20, norm="linf", random_start=False)


@checks
def check_break(name: str, attack: Callable) -> str:
    """Exercise 8: attack(model, x, y, epsilon) must bring the defense `name` to BROKEN %, inside ball and box."""
    if name not in DEFENSES:
        raise WrongAnswer(f"there is no defense '{name}'; choose one of {', '.join(DEFENSES)}.")
    hint = 1 + [*DEFENSES].index(name)
    x, y = images()
    x_adv = call_student(attack, defended(name), x, y, EPSILON, hint=hint)
    if not isinstance(x_adv, Tensor) or x_adv.shape != x.shape:
        raise WrongAnswer(f"expected images [{', '.join(map(str, x.shape))}] back.", 4)
    x_adv = x_adv.detach()
    far = float((x_adv - x).abs().max())
    if not far <= EPSILON + 1e-5:
        raise WrongAnswer(f"some pixels moved by {255 * far:.1f}/255; the ball allows {255 * EPSILON:.0f}/255.", 4)
    if not (x_adv.min() >= 0 and x_adv.max() <= 1):
        raise WrongAnswer("some pixels left [0, 1].", 4)
    left = accuracy(defended(name), x_adv, y)
    if left > BROKEN:
        claim = accuracy(defended(name), naive(defended(name), x, y, EPSILON), y)
        how = "no better than plain PGD-20" if left >= claim - 5 else "better than plain PGD-20, not yet enough"
        raise WrongAnswer(
            f"{left:.0f} % are still right ({how}, which leaves {claim:.0f} %); get to {BROKEN:.0f} %.", hint
        )
    return f"broken: {left:.0f} % of the images are still right, where plain PGD-20 had reported far more."
