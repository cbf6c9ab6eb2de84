"""The demo's wall time and memory by rule, from what Snakemake wrote while it ran."""

import csv
from pathlib import Path

from advdpnp.results import results_root


def by_rule(folder: Path) -> dict:
    """{rule: jobs, seconds, and MB of the largest job} of folder/<rule>/**/*.tsv, the longest first."""
    rules: dict[str, dict] = {}
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t"))
        seconds = sum(float(row["s"]) for row in rows)
        peak = max((float(row["max_rss"]) for row in rows if row["max_rss"] not in ("-", "NA")), default=0.0)
        rule = rules.setdefault(path.relative_to(folder).parts[0], {"jobs": 0, "seconds": 0.0, "megabytes": 0.0})
        rule["jobs"], rule["seconds"] = rule["jobs"] + 1, round(rule["seconds"] + seconds, 2)
        rule["megabytes"] = max(rule["megabytes"], round(peak, 1))
    return dict(sorted(rules.items(), key=lambda item: -item[1]["seconds"]))


def measure(args, device) -> dict:
    """{'rules': ...}, or {'missing': a sentence}."""
    rules = by_rule(results_root() / "demo" / "benchmarks")
    if not rules:
        missing = "the demo's times are missing: run `make demo` first"
        print(missing)
        return {"missing": missing}
    for rule, found in rules.items():
        print(f"demo, {rule}: {found['jobs']} jobs, {found['seconds']:.0f} s, at most {found['megabytes']:.0f} MB")
    return {"rules": rules}
