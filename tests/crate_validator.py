"""rocrate-validator without the network: `python tests/crate_validator.py validate ...`, run by test_release.py.

It reads RO-Crate's JSON-LD context from its address; here that comes from the package rocrate, which carries the one of
a newer version. Of the terms that tools/archive.py uses, the one below has another address there.
"""

import json
import sys
from importlib import resources

from rocrate_validator.cli import cli
from rocrate_validator.utils import document_loader

KNOWN = {"https://w3id.org/ro/crate/1.1/context": "ro-crate.jsonld"}
THEN = {"ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow"}
fetch = document_loader._fetch_json_ld


def bundled(url):
    """The context of a package where there is one."""
    if name := KNOWN.get(url):
        newer = json.loads((resources.files("rocrate") / "data" / name).read_text())
        return {"@context": newer["@context"] | THEN}
    return fetch(url)


if __name__ == "__main__":
    document_loader._fetch_json_ld = bundled
    sys.exit(cli())
