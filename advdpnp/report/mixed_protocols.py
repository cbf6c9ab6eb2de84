"""Whether networks may stand in one table: trained on the same images, in the same precision, judged on the same test
set. Two copies of a data set may be ordered differently, so that "the first 10,000 images" are others. Loads no torch.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from advdpnp.config import RunConfig
from advdpnp.errors import UserError
from advdpnp.store import RESULTS, Store


class Mismatch(NamedTuple):
    """A file that tells another `key` than `known`, which the first of the runs has that should have the same."""

    run: str
    path: Path
    key: str
    value: str
    known: str
    first: str

    def __str__(self) -> str:
        """'digits-resnet18-at-s0/train.json (data_sha256: a1b2... -> c3d4..., as digits-resnet18-st-s0)'."""
        known, value = (v if len(v) < 16 else f"{v[:8]}..." for v in (self.known, self.value))
        return f"{self.run}/{self.path.name} ({self.key}: {value} -> {known}, as {self.first} has it)"


def mismatches(runs: Iterable[RunConfig], store: Store = RESULTS) -> list[Mismatch]:
    """Files of the runs that disagree with the first of their kind.

    The same training images are expected of runs on as many of a data set; the same precision of those of a block that
    ask for the same (`auto` is what the machine has); the same test set of all. What a file does not tell is no
    difference.
    """
    known: dict[tuple, tuple[str, str]] = {}
    found = []
    for run in runs:
        images = run.data.train_images or run.facts.train_images - run.data.validation_images
        kinds = {"data_sha256": (run.dataset, images), "precision": (run.dataset, run.backbone, run.optim.precision)}
        files = [(path, kinds)] if (path := store.trained(run)).exists() else []
        files += [(path, {"data_sha256": (run.dataset,)}) for path in store.evaluations(run)]
        for path, expected in files:
            told = store.read_json(path)
            for key, kind in expected.items():
                value = told.get(key) if isinstance(told, dict) else None
                if isinstance(value, str):
                    before, first = known.setdefault((key, *kind), (value, run.id))
                    if before != value:
                        found.append(Mismatch(run.id, path, key, value, before, first))
    return found


def refuse(runs: Iterable[RunConfig], store: Store = RESULTS) -> None:
    """One table shows networks that were trained and judged alike. Raises UserError naming the files that differ."""
    if found := mismatches(runs, store):
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise UserError(
            f"{'; '.join(map(str, found[:3]))}{more}: not one table's; point ADVDPNP_DATA to one copy of the data, and "
            "train (--restart) or evaluate these again on one kind of machine."
        )
