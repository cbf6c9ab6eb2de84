"""Hidden tests of exercise 8: an attack counts by what it breaks."""

from functools import partial

from advdpnp.course.questions import Question
from advdpnp.exercises import check_break

QUESTIONS = {
    f"attack_{name}": Question(partial(check_break, name)) for name in ("quantised", "stochastic", "saturated")
}
