"""What the Snakefile asks before anything starts: where the results of its jobs go."""

import os
from pathlib import Path

from advdpnp.errors import UserError


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
