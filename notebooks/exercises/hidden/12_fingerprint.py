"""Hidden inputs of exercise 12."""

import torch

from advdpnp.course.questions import Question
from advdpnp.exercises import check_decide, check_implied_distance, check_log_distance


def numbers(draw, count):
    """That many numbers in [0.2, 1.2)."""
    return [0.2 + float(value) for value in torch.rand(count, generator=draw)]


def both(draw):
    """Two sets of four quantities."""
    return tuple(dict(zip("abcd", numbers(draw, 4), strict=True)) for _ in range(2))


QUESTIONS = {
    "implied_distance": Question(check_implied_distance, lambda draw: (100 * numbers(draw, 1)[0], numbers(draw, 1)[0])),
    "log_distance": Question(check_log_distance, both),
    "decide": Question(check_decide, points=4),
}
