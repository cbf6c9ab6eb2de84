"""Write what README.md, docs/ledger.md and the pages of docs/ in FILES say of the published short tier, and OVERVIEW.

    python tools/refresh_docs.py            # a test fails while it is to be run

A block stands between `<!-- short:NAME -->` and `<!-- /short:NAME -->`; NAME is a function of
advdpnp/report/summary.py, or of advdpnp/jobs/estimate.py.
"""

import re
from pathlib import Path

from advdpnp.config import load_tier
from advdpnp.jobs import estimate
from advdpnp.report import page, summary
from advdpnp.store import PUBLISHED, Snapshot

ROOT = Path(__file__).resolve().parent.parent
FILES = ("README.md", "docs/findings.md", "docs/speed.md", "docs/running.md")
LEDGER = "docs/ledger.md"  # of which only the numbers in the column "effect"
OVERVIEW = "figures/short/overview.svg"
BLOCK = re.compile(r"(<!-- (\w+):(\w+) -->\n).*?(<!-- /\2:\3 -->)", re.DOTALL)


def updated(text: str) -> str:
    """The text with every block made anew."""

    def made(match: re.Match) -> str:
        tier = load_tier(match[2])
        module = estimate if hasattr(estimate, match[3]) else summary
        return match[1] + getattr(module, match[3])(tier, PUBLISHED) + "\n" + match[4]

    return BLOCK.sub(made, text)


if __name__ == "__main__":
    for name in FILES:
        path = ROOT / name
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
    drawn = page.overview_svg(load_tier("short"), Snapshot(PUBLISHED.root))
    (ROOT / OVERVIEW).write_text(drawn, encoding="utf-8")
    path = ROOT / LEDGER
    numbers = summary.ledger_numbers(load_tier("short"), PUBLISHED)
    path.write_text(summary.with_ledger_numbers(path.read_text(encoding="utf-8"), numbers), encoding="utf-8")
