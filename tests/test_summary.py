"""What README.md and docs/findings.md say of the published tier is what its files say, and README's example runs."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from advdpnp.config import ROOT, load_tier
from advdpnp.paper.claims import CLAIMS, Outcome
from advdpnp.report import ablations, summary
from advdpnp.report.page import report_markdown
from advdpnp.report.tables import table_rows
from advdpnp.store import PUBLISHED

spec = importlib.util.spec_from_file_location("refresh_docs", Path(ROOT) / "tools" / "refresh_docs.py")
refresh_docs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(refresh_docs)


@pytest.fixture(scope="module")
def short():
    return load_tier("short"), PUBLISHED


@pytest.mark.parametrize("name", refresh_docs.FILES)
def test_the_blocks_are_up_to_date(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(refresh_docs.BLOCK.findall(text)) == text.count("<!-- short:") > 0
    assert refresh_docs.updated(text) == text, f"{name}: run python tools/refresh_docs.py"


def test_a_block_that_was_edited_by_hand_is_made_again():
    text = "a\n<!-- short:headlines -->\n| forged |\n<!-- /short:headlines -->\nb"
    made = refresh_docs.updated(text)
    assert "forged" not in made
    assert made.startswith("a\n<!-- short:headlines -->\n| what the paper claims")
    assert made.endswith("<!-- /short:headlines -->\nb")


def test_the_first_screen_shows_claims_of_the_list(short):
    assert set(summary.HEADLINES) <= {claim.id for claim in CLAIMS}
    lines = summary.headlines(*short).splitlines()
    assert len(lines) == 2 + len(summary.HEADLINES)
    assert all(re.search(r"\| \*\*(holds|does not hold|not decided|not run)\*\* \|$", line) for line in lines[2:])


def test_a_headline_names_the_best_rival_on_both_sides(short):
    rows = [line.split(" | ") for line in summary.headlines(*short).splitlines()[2:]]
    assert [row[1] for row in rows] == [  # of data/paper/
        "84.6 %, HAT 84.3", "49.2 %, IKL 48.9", "0.059, AT 0.082", "94.5°, ST 75.5", "76.7 %, AT 76.2",
    ]  # fmt: skip
    means = {row.method: row.ours for row in table_rows(short[0], "table5", short[1])}
    best = max((method for method in means if method != "Adv-DPNP" and means[method]), key=means.get)
    assert rows[-1][3] == f"{means['Adv-DPNP']:.1f} %, {best} {means[best]:.1f}"


def test_prose_and_report_count_the_same_claims(short):
    (counted,) = re.findall(r"^Of the paper's \d+ claims, (.*), judged", summary.verdicts(*short))
    assert f"claims on ours: {counted}, judged" in report_markdown(*short)


def test_the_example_of_the_readme_prints_what_it_says():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (said,) = re.findall(r"print\(.*\)  # (.+)", code)
    assert float(done.stdout) == pytest.approx(float(said), abs=0.2)


def test_the_answer_counts_the_verdicts_of_the_table_below_it(short, monkeypatch):
    verdicts = re.findall(r"\*\*(.*?)\*\* \|$", summary.headlines(*short), re.MULTILINE)
    said = summary.answer(*short)
    assert said.startswith("**Does the method hold up? In part, under a smaller protocol.** Of 5 headline claims")
    counted = [int(n) for n in re.findall(r"(\d+) (?:holds?|does not|do not|is not decided|are not decided) \(", said)]
    assert counted == [verdicts.count(word) for word in ("holds", "does not hold", "not decided")]
    assert "tightest classes, widest angles between class centers)" in said
    for outcome, answer in ((True, "Yes"), (False, "No"), (None, "Not decided")):
        every = {name: Outcome(outcome, "", ("CIFAR-10",)) for name in summary.HEADLINES}
        monkeypatch.setattr(summary, "outcomes", lambda *_, found=every: found)
        assert summary.answer(*short, lambda *_: None).startswith(f"**Does the method hold up? {answer}, under")
    one, *others = summary.HEADLINES
    every = {one: Outcome(True, "", ("CIFAR-10",))} | {name: Outcome(None, "", ()) for name in others}
    assert every[others[0]].word == "not run"
    monkeypatch.setattr(summary, "outcomes", lambda *_: every)
    assert summary.answer(*short, lambda *_: None).startswith("**Does the method hold up? In part, under")


def test_the_ledger_has_the_number_of_each_measured_entry(short):
    text = (ROOT / refresh_docs.LEDGER).read_text(encoding="utf-8")
    numbers = summary.ledger_numbers(*short)
    assert summary.with_ledger_numbers(text, numbers) == text, "docs/ledger.md: run python tools/refresh_docs.py"
    cells = dict(re.findall(r"^\| (\d+) \|.*\| ([^|\n]*)\|$", text, re.MULTILINE))
    for row in ablations.effects(*short):
        bounds = f" [{row['low']:+.2f}, {row['high']:+.2f}]" if row["low"] is not None else "°"
        assert f" {row['effect']:+.2f}{bounds}" in " " + cells[row["id"]]
    assert "MeanSep `sum` 54.3°, `balanced` 78.9°, [measured]" in cells["20"]
    bare = summary.with_ledger_numbers(text, {})
    assert "| [measured](#what-was-measured) (lock, decay) |" in bare
    assert summary.with_ledger_numbers(bare, numbers) == text
    forged = text.replace("clean -3.10", "clean +9.99")
    assert forged != text == summary.with_ledger_numbers(forged, numbers)
