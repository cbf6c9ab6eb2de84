"""Exercise 10: six defenses of our own on the 8x8 digits, each harder to break than the one before, and their judge.

Five protect a network that was trained on clean digits: what they add is in the way of the gradient, not of the
attacker. The sixth stands on a small network trained by Adv-DPNP, so there is robustness below the mask. Ideas
after Athalye, Carlini and Wagner (2018), Xiao et al. (k-winners, 2020) and Amini et al. (MeanSparse, 2024); no code of
theirs.
"""

import copy
import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdpnp.attacks import pgd
from advdpnp.data import load, to_float
from advdpnp.errors import UserError
from advdpnp.exercises.masked import Around, Quantised, images, trained, undefended
from advdpnp.exercises.verdict import Verdict, WrongAnswer, call_student, checks
from advdpnp.losses import adv_dpnp_loss, prototype_logits
from advdpnp.store import write_csv

PASSES = 32  # over which the judge averages a defense that draws at random
COLUMNS = ("who", "rung", "left", "goal", "when")


class Noisy(Around):
    """2. Hides some of the pixels, other ones in each pass, and adds noise to the rest."""

    def forward(self, x: Tensor) -> Tensor:
        kept = (torch.rand_like(x) > 0.3).to(x.dtype)
        return self.net(kept * x + 0.2 * torch.randn_like(x))


class KWinners(Around):
    """3. In each hidden layer only the largest tenth of the activations survives; the rest is zero."""

    net: nn.Sequential

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net:
            x = winners(x) if isinstance(layer, nn.ReLU) else layer(x)
        return x


class Saturated(Around):
    """4. Multiplies the logits by a thousand, then hands out log-probabilities: the loss is exactly zero."""

    def forward(self, x: Tensor) -> Tensor:
        return (1000 * self.net(x)).log_softmax(1)


class Coded(nn.Module):
    """5. The signs of the features against a code for each class: minus the Hamming distance to each prototype."""

    def __init__(self, net: nn.Sequential):
        super().__init__()
        self.embed, self.last = net[:-1], net[-1]
        data = load("digits", "train")
        with torch.no_grad():
            features = self.embed(to_float(data.images))
            self.register_buffer("threshold", features.median(0).values)
            signs = (features - self.threshold).sign()
            codes = torch.stack([signs[data.labels == j].mean(0).sign() for j in range(10)])
        self.register_buffer("codes", codes)

    def forward(self, x: Tensor) -> Tensor:
        signs = (self.embed(x) - self.threshold).sign()
        return -(signs[:, None] - self.codes).abs().sum(2) / 8


class Sparse(nn.Module):
    """6. Adv-DPNP; features near their mean are set to it, others to the next whole spread (MeanSparse-like)."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net
        with torch.no_grad():
            features = net.features(to_float(load("digits", "train").images))
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("spread", features.std(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.net.head(self.mean + self.spread * self.steps(self.net.features(x)).round())

    def steps(self, features: Tensor) -> Tensor:
        """How many spreads [B, d] a feature is from its mean."""
        return (features - self.mean) / self.spread.clamp_min(1e-6)


def winners(x: Tensor, share: float = 0.1) -> Tensor:
    """x [B, d] with all but the largest share of each row set to zero."""
    k = max(1, round(share * x.shape[1]))
    return x * (x >= x.topk(k, dim=1).values[:, -1:])


class Small(nn.Module):
    """A network of two hidden layers that ends in prototypes: features [B, 64], centers [10, 64] of norm `radius`."""

    radius = 10.0

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.centers = nn.Parameter(self.radius * F.normalize(torch.randn(10, 64), dim=1))

    def head(self, features: Tensor) -> Tensor:
        """Eq. (1)'s logits [B, 10] of features [B, 64]."""
        return prototype_logits(features, self.centers, radius=self.radius)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


@lru_cache
def winners_network() -> nn.Sequential:
    """Two hidden layers, trained on clean digits with k-winners around them, in a few seconds."""
    return trained(256, 40, KWinners)


@lru_cache
def robust_network(epochs: int = 40) -> Small:
    """A `Small` trained by Adv-DPNP, Eq. (7), under PGD-5 at 32/255: about ten seconds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net, data, draw = Small(), load("digits", "train"), torch.Generator().manual_seed(0)
        x, y = to_float(data.images), data.labels
        weights = {"radius": net.radius, "lambda_dpp": 0.1, "lambda_dnp": 0.1, "lambda_dfa": 2.0, "pull": "mean"}
        optimizer = torch.optim.Adam(net.parameters(), 2e-3)
        budget = {"epsilon": 32 / 255, "step_size": 10 / 255, "steps": 5, "norm": "linf", "generator": draw}
        for _ in range(epochs):
            with torch.no_grad():
                net.centers.copy_(net.radius * F.normalize(net.centers, dim=1))  # Algorithm 1, line 4
            for batch in torch.randperm(len(y), generator=draw).split(64):
                x_adv = pgd(net, x[batch], y[batch], **budget)
                loss = adv_dpnp_loss(net.features(x[batch]), net.features(x_adv), net.centers, y[batch], **weights)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return net.eval().requires_grad_(False)


# ------------------------------------------------------------------------------------------------------ the judge


@dataclass(frozen=True)
class Rung:
    """One defense: how it is built, the budget, and the accuracy (%) that an attack must leave at most."""

    build: Callable[[], nn.Module]
    epsilon: float
    goal: float


RUNGS = {
    "quantised": Rung(lambda: Quantised(undefended()), 40 / 255, 10),
    "noisy": Rung(lambda: Noisy(undefended()), 40 / 255, 8),
    "winners": Rung(lambda: KWinners(winners_network()), 48 / 255, 30),
    "saturated": Rung(lambda: Saturated(undefended()), 40 / 255, 10),
    "coded": Rung(lambda: Coded(undefended()), 40 / 255, 15),
    "sparse": Rung(lambda: Sparse(robust_network()), 64 / 255, 25),
}


def defended(name: str) -> nn.Module:
    """The defense of a rung, around a copy of its network: what an attack does to it stays with it."""
    return copy.deepcopy(RUNGS[name].build()).eval()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share (%) classified right by the mean probability over PASSES passes.

    The draws depend on the images, so that no attack can fit itself to them.
    """
    seed = int.from_bytes(hashlib.sha256(x.contiguous().numpy().tobytes()).digest()[:4], "big")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probabilities = sum(model(x).softmax(1) for _ in range(PASSES))
    return 100 * float((probabilities.argmax(1) == y).float().mean())


def naive(model: nn.Module, x: Tensor, y: Tensor, epsilon: float) -> Tensor:
    """PGD-20 on cross-entropy, as a careless evaluation runs it."""
    return pgd(model, x, y, epsilon=epsilon, step_size=epsilon / 8, steps=20, norm="linf", random_start=False)


def judge(name: str, attack: Callable) -> float:
    """Accuracy (%) that attack(model, x, y, epsilon) leaves on the true network of a rung.

    Raises WrongAnswer for an unknown rung, for anything but images, and for images outside of ball or box.
    """
    if name not in RUNGS:
        raise WrongAnswer(f"there is no rung '{name}'; choose one of {', '.join(RUNGS)}.")
    (x, y), rung, hint = images(), RUNGS[name], hint_of(name)
    answer = call_student(attack, defended(name), x, y, rung.epsilon, hint=hint)
    if not isinstance(answer, Tensor) or answer.shape != x.shape or not answer.is_floating_point():
        raise WrongAnswer(f"expected images [{', '.join(map(str, x.shape))}] back, as floats.", RULES)
    x_adv = answer.detach().to(x)
    far = float((x_adv - x).abs().max())
    if not far <= rung.epsilon + 1e-5:
        raise WrongAnswer(
            f"some pixels moved by {255 * far:.1f}/255; the ball allows {255 * rung.epsilon:.0f}/255.", RULES
        )
    if not (x_adv.min() >= 0 and x_adv.max() <= 1):
        raise WrongAnswer("some pixels left [0, 1].", RULES)
    return accuracy(defended(name), x_adv, y)


RULES = 7  # number of the hint about ball and box


def hint_of(name: str) -> int:
    """Number of a rung's own hint."""
    return 1 + [*RUNGS].index(name)


@checks
def check_rung(name: str, attack: Callable) -> str:
    """Exercise 10: `attack` must bring the rung `name` to its goal."""
    left = judge(name, attack)
    goal = RUNGS[name].goal
    if left > goal:
        raise WrongAnswer(f"{left:.0f} % are still right; get to {goal:.0f} %.", hint_of(name))
    return f"broken: {left:.0f} % of the images are still right; {goal:.0f} % were allowed."


# -------------------------------------------------------------------------------------------------- the leaderboard


def climb(who: str, name: str, attack: Callable, path: str | Path = "leaderboard.csv") -> Verdict:
    """Judge an attack and enter it in the leaderboard file, where each keeps the best of each rung.

    An attack that breaks the rules is not entered. Raises UserError where the file cannot be read or written.
    """

    rows, reached = read_board(path), []

    @checks
    def judged() -> str:
        reached.append(judge(name, attack))
        word = "broken" if reached[0] <= RUNGS[name].goal else "not broken yet"
        return f"{reached[0]:.0f} % left on '{name}', {word}; the best of each is kept in {path}."

    verdict = judged()
    mine = [row for row in rows if (row["who"], row["rung"]) == (who, name)]
    if verdict and all(float(row["left"]) > reached[0] for row in mine):
        when = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"who": who, "rung": name, "left": f"{reached[0]:.0f}", "goal": f"{RUNGS[name].goal:.0f}", "when": when}
        rows = [row for row in rows if row not in mine] + [entry]
        rows.sort(key=lambda row: ([*RUNGS].index(row["rung"]), float(row["left"]), row["when"]))
        write_csv(Path(path), rows, COLUMNS)
    return verdict


def read_board(path: str | Path = "leaderboard.csv") -> list[dict[str, str]]:
    """The leaderboard's rows, best first in each rung; none without a file. Raises UserError for another file."""
    if not Path(path).exists():
        return []
    with Path(path).open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        whole = set(row) == set(COLUMNS) and None not in row.values()  # of a row that is too short
        if not whole or row["rung"] not in RUNGS or not row["left"].isdecimal():
            raise UserError(f"{path}: is no leaderboard of exercise 10; name another file")
    return rows


def standings(path: str | Path = "leaderboard.csv") -> list[dict[str, str | int]]:
    """One row for each person: rungs broken, and the sum of what is left over all rungs (100 where none is entered)."""
    rows = read_board(path)
    found: list[dict[str, str | int]] = []
    for who in dict.fromkeys(row["who"] for row in rows):
        mine = {row["rung"]: int(row["left"]) for row in rows if row["who"] == who}
        broken = sum(left <= RUNGS[name].goal for name, left in mine.items())
        found.append({"who": who, "broken": broken, "left": sum(mine.get(name, 100) for name in RUNGS)})
    return sorted(found, key=lambda row: (-int(row["broken"]), int(row["left"])))
