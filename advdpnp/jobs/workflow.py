"""What the Snakefile asks before anything starts: where results go, and what --config permits."""

import os
from collections.abc import Mapping
from pathlib import Path

from advdpnp.errors import UserError

SAID = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def allowed(config: Mapping, key: str) -> bool:
    """A permission of --config KEY=VALUE, which Snakemake hands over as what YAML or the shell made of it.

    Raises UserError for anything but true or false (yes or no, on or off, 1 or 0), in any case.
    """
    value = config.get(key, False)
    word = str(value).strip().lower()
    if word not in SAID:
        raise UserError(f"--config {key}={value}: expected true or false, got '{value}'.")
    return SAID[word]


def check_places(here: Path, checkout: Path) -> None:
    """Refuse a workflow whose jobs would write elsewhere than its rules look. Raises UserError.

    Rules name files below the working folder, which is the checkout's; trainings and evaluations ask ADVDPNP_RESULTS.
    """
    if here.resolve() != checkout.resolve():
        raise UserError(
            f"--directory {here}: the workflow's files lie in its checkout; leave it out (snakemake -s "
            f"{checkout / 'Snakefile'} works from any folder), or link {checkout / 'results'} to where there is space."
        )
    results = os.environ.get("ADVDPNP_RESULTS")
    if results is not None and Path(results).resolve() != (here / "results").resolve():
        raise UserError(
            f"ADVDPNP_RESULTS={results}: the workflow's results are in {here / 'results'}; unset it, and for another "
            f"place make that folder a link: ln -s {results} {here / 'results'}"
        )
