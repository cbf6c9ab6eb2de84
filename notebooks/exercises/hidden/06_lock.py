"""Hidden inputs of exercise 6."""

import torch
import torch.nn.functional as F

from advdpnp.course.questions import Question
from advdpnp.exercises import check_adversarial_branch, check_dfa_branches


def batch(draw):
    """Two sets of features [9, 6] and prototypes [5, 6] of norm 7, which want gradients."""
    features, adversarial = (3 * torch.randn(9, 6, generator=draw, dtype=torch.float64) for _ in range(2))
    prototypes = 7 * F.normalize(torch.randn(5, 6, generator=draw, dtype=torch.float64), dim=1)
    return features.requires_grad_(), adversarial.requires_grad_(), prototypes.requires_grad_()


QUESTIONS = {
    "adversarial_branch": Question(
        check_adversarial_branch, lambda draw: (*batch(draw)[1:], torch.randint(5, (9,), generator=draw), 7.0, 0.17)
    ),
    "dfa": Question(check_dfa_branches, lambda draw: (*batch(draw), 7.0), points=4),
}
