"""Hidden inputs of exercise 9. The class is judged on a run of its own configuration."""

from dataclasses import dataclass

import torch

from advdpnp.config import METHODS, parse_tier, setting
from advdpnp.course.questions import Question
from advdpnp.exercises import check_alp_loss, check_defense

FRESH = False  # a class of the student's inherits from the library's: both must be of one import


@dataclass(frozen=True)
class Alp:
    """The notebook's settings."""

    weight: float = setting(0.1, "weight of the logit pairing", low=0)


def check_class(method):
    """`check_defense` on digits."""
    METHODS["ALP"] = Alp
    blocks = {"cifar10/resnet18": {"dataset": "digits"}}
    settings = {"model": {"width": 4}, "optim": {"epochs": 1, "milestones": [], "precision": "fp32"}}
    tier = parse_tier("hidden", {"label": "digits", "defaults": settings, "blocks": blocks}, "hidden")
    return check_defense(method, tier.run("cifar10/resnet18", "ALP"))


def logits(draw):
    """Clean and adversarial logits [6, 5], labels, weight."""
    both = (torch.randn(6, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    return (*both, torch.randint(5, (6,), generator=draw), 0.3)


QUESTIONS = {"alp_loss": Question(check_alp_loss, logits), "ALP": Question(check_class, points=4)}
