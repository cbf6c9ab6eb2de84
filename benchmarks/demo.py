"""The demo's wall time by rule, from what Snakemake wrote while it ran."""

import csv
from pathlib import Path

from advdpnp.results import results_root


def by_rule(folder: Path) -> dict:
    """{rule: jobs and seconds} of folder/<rule>/**/*.tsv, the longest first."""
    rules: dict[str, dict] = {}
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(newline="") as handle:
            seconds = sum(float(row["s"]) for row in csv.DictReader(handle, delimiter="\t"))
        rule = rules.setdefault(path.relative_to(folder).parts[0], {"jobs": 0, "seconds": 0.0})
        rule["jobs"], rule["seconds"] = rule["jobs"] + 1, round(rule["seconds"] + seconds, 2)
    return dict(sorted(rules.items(), key=lambda item: -item[1]["seconds"]))


def measure(args, device) -> dict:
    """{'rules': ...}, or {'missing': a sentence}."""
    rules = by_rule(results_root() / "demo" / "benchmarks")
    if not rules:
        missing = "the demo's times are missing: run `make demo` first"
        print(missing)
        return {"missing": missing}
    for rule, found in rules.items():
        print(f"demo, {rule}: {found['jobs']} jobs, {found['seconds']:.0f} s")
    return {"rules": rules}
