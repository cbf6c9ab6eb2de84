"""The demo's wall time and memory by rule, from what Snakemake wrote while it ran."""

import csv
from pathlib import Path

from advdpnp.errors import UserError
from advdpnp.store import results_root


def rows(path: Path) -> list[dict[str, str]]:
    """What Snakemake measured of one job."""
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def seconds_of(path: Path) -> float:
    return sum(float(row["s"]) for row in rows(path))


def by_rule(folder: Path) -> dict:
    """{rule: jobs, seconds, and MB of the largest job} of folder/<rule>/**/*.tsv, the longest first."""
    rules: dict[str, dict] = {}
    for path in sorted(folder.rglob("*.tsv")):
        peak = max((float(row["max_rss"]) for row in rows(path) if row["max_rss"] not in ("-", "NA")), default=0.0)
        rule = rules.setdefault(path.relative_to(folder).parts[0], {"jobs": 0, "seconds": 0.0, "megabytes": 0.0})
        rule["jobs"], rule["seconds"] = rule["jobs"] + 1, round(rule["seconds"] + seconds_of(path), 2)
        rule["megabytes"] = max(rule["megabytes"], round(peak, 1))
    return dict(sorted(rules.items(), key=lambda item: -item[1]["seconds"]))


def wall(folder: Path) -> float:
    """Seconds from the start of the first job to the end of the last, as far as the files' times tell."""
    ends = {path: path.stat().st_mtime for path in folder.rglob("*.tsv")}
    return round(max(ends.values()) - min(end - seconds_of(path) for path, end in ends.items()), 1)


def measure(args, device) -> dict:
    """{'wall': seconds, 'rules': ...}. Raises UserError before the demo has run."""
    folder = results_root() / "demo" / "benchmarks"
    rules = by_rule(folder)
    if not rules:
        raise UserError("the demo's times are missing: run `make demo` first")
    for rule, found in rules.items():
        print(f"demo, {rule}: {found['jobs']} jobs, {found['seconds']:.0f} s, at most {found['megabytes']:.0f} MB")
    took = wall(folder)
    at_once = sum(rule["seconds"] for rule in rules.values()) / took
    print(f"demo: {took:.0f} s from the first job to the last, {at_once:.1f} jobs at a time")
    return {"wall": took, "rules": rules}
