"""Hidden tests of exercise 10: an attack counts by what it breaks."""

from functools import partial

from advdpnp.course.questions import Question
from advdpnp.exercises import check_rung
from advdpnp.exercises.ladder import RUNGS

QUESTIONS = {f"attack_{name}": Question(partial(check_rung, name)) for name in RUNGS}
