"""Check the pins of constraints.txt: `make audit`.

Yanked releases: pip resolves every pin without installing it, and its report says which are yanked. Known
vulnerabilities: pip-audit, where it reaches its database; by itself it says "no known vulnerabilities" when it had to
skip every package. What could not be asked is said to be not checked. Status 1 on a yanked or vulnerable pin, else 0.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

PINS = Path(__file__).resolve().parent.parent / "constraints.txt"


def yanked(report: dict) -> list[str]:
    """'name==version' of each yanked release in a report of `pip install --report`."""
    found = (item for item in report["install"] if item.get("is_yanked"))
    return [f"{item['metadata']['name']}=={item['metadata']['version']}" for item in found]


def check_yanked(pins: Path = PINS, timeout: float = 600) -> tuple[bool, str]:
    """(ok, sentence). An index that does not answer is no failure of the pins."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
        try:
            done = subprocess.run(
                [*pip, "--report", str(path), "-r", str(pins)], capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return True, f"yanked pins: not checked (the index did not answer within {timeout:g} seconds)"
        if done.returncode:
            reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), "pip failed")
            return True, f"yanked pins: not checked ({reason})"
        report = json.loads(path.read_text())
    found = yanked(report)
    return not found, f"yanked pins: {', '.join(found) or 'none'} of {len(report['install'])}"


def check_vulnerable(pins: Path = PINS) -> tuple[bool, str]:
    """(ok, sentence), by pip-audit: its status 1 with vulnerabilities in its JSON is an answer, all else is none.

    A package that it skipped (as when the index has no JSON of a version) was not asked about.
    """
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "-f", "json", "-r", str(pins)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return True, "known vulnerabilities: not checked (pip-audit did not reach its database)"
    asked = [package for package in packages if "skip_reason" not in package]
    skipped = [package["skip_reason"] for package in packages if "skip_reason" in package]
    if not asked:
        reason = skipped[0] if skipped else "it named none"
        return True, f"known vulnerabilities: not checked (pip-audit skipped all {len(packages)} packages: {reason})"
    found = [f"{p['name']} {v['id']}" for p in asked for v in p.get("vulns", [])]
    rest = f"; {len(skipped)} skipped ({skipped[0]})" if skipped else ""
    return not found, f"known vulnerabilities: {', '.join(found) or 'none'} in {len(asked)} packages{rest}"


if __name__ == "__main__":
    answers = [check_yanked(), check_vulnerable()]
    print("\n".join(sentence for _, sentence in answers))
    sys.exit(0 if all(ok for ok, _ in answers) else 1)
