"""Hidden inputs of exercise 4."""

import torch

from advdpnp.course.questions import Question
from advdpnp.exercises import check_dnp_loss, check_negative_prototypes


def prototypes(draw):
    """Prototypes [8, 5] of different lengths."""
    return (3 * torch.randn(8, 5, generator=draw, dtype=torch.float64),)


QUESTIONS = {
    "negative_prototypes": Question(check_negative_prototypes, prototypes),
    "dnp_loss": Question(check_dnp_loss, prototypes, points=4),
}
