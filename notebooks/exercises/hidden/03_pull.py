"""Hidden inputs of exercise 3."""

import torch
import torch.nn.functional as F

from advdpnp.course.questions import Question
from advdpnp.exercises import check_dpp_loss, check_probabilities


def batch(draw):
    """Features [9, 6], prototypes [5, 6] of norm 7."""
    features = 3 * torch.randn(9, 6, generator=draw, dtype=torch.float64)
    return features, 7 * F.normalize(torch.randn(5, 6, generator=draw, dtype=torch.float64), dim=1)


QUESTIONS = {
    "probabilities": Question(check_probabilities, lambda draw: (*batch(draw), 7.0)),
    "dpp_loss": Question(
        check_dpp_loss, lambda draw: (*batch(draw), torch.randint(5, (9,), generator=draw), 7.0, 0.17), points=4
    ),
}
