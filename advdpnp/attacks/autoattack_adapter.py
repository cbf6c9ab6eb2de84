"""AutoAttack (Croce and Hein, 2020), through the package pyautoattack."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advdpnp.attacks.autoattack_fast import Kept, attack_by_surrogate
from advdpnp.attacks.gradient import answering, at_least_float32, checked_inputs, frozen
from advdpnp.attacks.tally import Tallies, Tally, tally_package
from advdpnp.errors import UserError, nearest

_VERSIONS = ("standard", "plus", "rand")
COMPONENTS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")
# The DLR losses divide by a difference that holds the third, the targeted one the fourth, largest logit.
_FEWEST_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}
_NORM_NAMES = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def autoattack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    norm: str = "linf",
    version: str = "standard",
    attacks: Iterable[str] | None = None,
    seed: int = 0,
    square_queries: int | None = None,
    batch_size: int = 250,
    log: Callable[[str], None] | None = None,
    surrogate: nn.Module | None = None,
    record: Callable[[dict[str, Tally]], None] | None = None,
    keep: Callable[[str], Kept] | None = None,
) -> Tensor:
    """AutoAttack: APGD-CE, targeted APGD, targeted FAB, Square, each on what the ones before left standing.

    x [B, C, H, W] in [0, 1], y [B] -> [B, C, H, W]; images that were wrong, or withstood everything, come
    back as they are. version: 'standard', 'plus' or 'rand'. log: called with each line of progress;
    AutoAttack's warnings (a masked or random model) reach the logger 'auto-attack' without it too. The
    global random state is left as found. surrogate: a faster copy of the model (see autoattack_fast.py):
    candidates found on it count only if they fool the model, and images on which the two disagree are attacked
    again on the model itself. Without it the package runs as it is. record: called with what each component
    did so far (see tally.py), in the order they are run, after each piece of a search and at the end, when there was
    anything to attack. keep: where a search on a surrogate keeps its state ('search', and 'again' for the images that
    are attacked again); the same call goes on from there to the same result. The package as it is keeps nothing.

    Raises ValueError for a bad argument, UserError where pyautoattack is not installed.
    Differs from the standard ensemble, and must not be reported as it, when `attacks` names some of the
    components (each at the version's strength), or `square_queries` replaces Square's 5,000 queries (smoke
    runs), or the model has fewer than 4 classes (APGD-T is then APGD-DLR at 3 classes and left out at 2, with
    a warning). Below 10 classes the targeted attacks try at most the M - 1 wrong classes, in place of 9.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False))
    >>> _ = nn.init.eye_(model[1].weight)  # logits: the four pixels
    >>> x, y = torch.tensor([[[[0.6, 0.5], [0.1, 0.2]]]]), torch.tensor([0])
    >>> x_adv = autoattack(model, x, y, epsilon=0.1, attacks=["apgd-ce"])
    >>> model(x_adv).argmax(1).item(), bool((x_adv - x).abs().max() <= 0.1 + 1e-6)
    (1, True)
    """
    x, y = checked_inputs(x, y, epsilon, norm)
    if version not in _VERSIONS:
        raise ValueError(f"unknown version {version!r}: {nearest(version, _VERSIONS)}")
    attacks = None if attacks is None else list(attacks)
    for name in attacks or []:
        if name not in COMPONENTS:
            raise ValueError(f"unknown attack {name!r}: {nearest(name, COMPONENTS)}")
    if batch_size < 1 or (square_queries is not None and square_queries < 1):
        raise ValueError(f"batch_size, square_queries must be >= 1, got {batch_size}, {square_queries}")
    if epsilon == 0 or x.shape[0] == 0:
        return x.clone()
    try:
        from pyautoattack import AutoAttack
    except ImportError:
        raise UserError("AutoAttack is not installed: pip install pyautoattack==0.2.0") from None

    # The package seeds every GPU, wherever the images are.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    # APGD takes views of the images: channels_last would raise.
    images = x.float().contiguous(memory_format=torch.contiguous_format)
    with (
        frozen(model), answering(model, x, y), torch.random.fork_rng(devices), _restored_trace(), _forwarded_log(log)
    ):  # fmt: skip
        logits = _FloatLogits(model, x.dtype)
        fast_logits = logits if surrogate is None else _FloatLogits(surrogate, x.dtype)
        tallies = Tallies(lambda: sum(network.images for network in {logits, fast_logits}), record)
        with torch.no_grad():
            classes = logits(images[:1]).shape[1]

        def ensemble() -> AutoAttack:
            made = AutoAttack(logits, eps=epsilon, norm=_NORM_NAMES[norm], version=version, seed=seed, device=x.device)
            made.attacks_to_run = _possible(attacks or made.attacks_to_run, classes)
            for targeted in (made.apgd_targeted, made.fab):
                targeted.n_target_classes = min(targeted.n_target_classes, classes - 1)
            if square_queries is not None:
                made.square.n_queries = square_queries
            return made

        if surrogate is None:
            package = ensemble()
            tallies.begin(package.attacks_to_run)
            tally_package(package, tallies)
            x_adv, _ = package.run_standard_evaluation(images, y, batch_size=batch_size)
        else:
            _check_model(logits, images[:batch_size], y[:batch_size])
            limits = {"epsilon": epsilon, "norm": norm, "batch_size": batch_size, "tallies": tallies}
            first, again = (keep("search"), keep("again")) if keep else (None, None)
            x_adv, unconfirmed = attack_by_surrogate(ensemble(), fast_logits, logits, images, y, **limits, kept=first)
            if unconfirmed.any():
                rows = unconfirmed
                x_adv[rows], _ = attack_by_surrogate(
                    ensemble(), logits, logits, images[rows], y[rows], **limits, kept=again
                )
    if record:
        record(tallies.found)
    return torch.empty_like(x).copy_(x_adv.clamp(0, 1))


def _check_model(logits: nn.Module, x: Tensor, y: Tensor) -> None:
    """The package's own warnings of a random model, of probabilities in place of logits, of a model that optimises."""
    from pyautoattack import checks

    logger = logging.getLogger("auto-attack")
    with torch.no_grad():
        checks.check_randomized(logits, x, y, bs=len(x), logger=logger)
        checks.check_range_output(logits, x, logger=logger)
        checks.check_dynamic(logits, x, logger=logger)


class _FloatLogits(nn.Module):
    """AutoAttack works in float32: images come as the model wants them, logits leave as float32. Counts images."""

    def __init__(self, model: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.model, self.dtype, self.images = model, dtype, 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        return at_least_float32(self.model(x.to(self.dtype))).float()


def _possible(attacks: list[str], classes: int) -> list[str]:
    """The attacks that are defined for so few classes; APGD-DLR stands in for APGD-T at three."""
    possible = [name for name in attacks if classes >= _FEWEST_CLASSES.get(name, 2)]
    if classes == 3 and "apgd-t" in attacks and "apgd-dlr" not in attacks:
        possible.insert(attacks.index("apgd-t"), "apgd-dlr")
    if possible != attacks:
        warnings.warn(f"{classes} classes: AutoAttack runs {possible} in place of {attacks}", stacklevel=3)
    return possible


@contextmanager
def _restored_trace() -> Iterator[None]:
    """AutoAttack's check for dynamic models unsets sys.settrace, which debuggers and coverage need."""
    trace = sys.gettrace()
    try:
        yield
    finally:
        sys.settrace(trace)


@contextmanager
def _forwarded_log(log: Callable[[str], None] | None) -> Iterator[None]:
    """Send the logger 'auto-attack', progress lines included, to `log`; restored on exit."""
    if log is None:
        yield
        return
    logger, handler = logging.getLogger("auto-attack"), logging.Handler()
    handler.emit = lambda record: log(record.getMessage())
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
