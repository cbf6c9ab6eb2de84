"""Hidden inputs of exercise 5."""

import torch

from advdpnp.course.questions import Question
from advdpnp.exercises import check_adv_dpnp, check_dfa_loss, check_trades_loss


def logits(draw):
    """Clean and adversarial logits [6, 5]."""
    return tuple(2 * torch.randn(6, 5, generator=draw, dtype=torch.float64) for _ in range(2))


def terms(draw):
    """The terms of Eq. (7)."""
    values = torch.rand(6, generator=draw)
    return (dict(zip(("ce_clean", "pull_clean", "ce_adv", "pull_adv", "dfa", "dnp"), values, strict=True)),)


QUESTIONS = {
    "dfa_loss": Question(check_dfa_loss, logits),
    "adv_dpnp_loss": Question(check_adv_dpnp, terms, {"lambda_dpp": 0.3, "lambda_dnp": 0.7, "lambda_dfa": 1.3}),
    "trades_loss": Question(
        check_trades_loss, lambda draw: (*logits(draw), torch.randint(5, (6,), generator=draw), 4.0)
    ),
}
