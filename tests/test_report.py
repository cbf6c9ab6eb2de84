"""The report and the published copy: from result files alone, labelled, without weights."""

import base64
import json
import re
import webbrowser
from pathlib import Path

import numpy as np
import pytest

from advdpnp.__main__ import main
from advdpnp.config import GEOMETRY_DEFINITION, METHODS, load_tier
from advdpnp.errors import UserError
from advdpnp.report import costs, page
from advdpnp.report.html import html_page
from advdpnp.share import publish
from advdpnp.store import PUBLISHED, RESULTS, Store

ROOT = Path(__file__).parent.parent


@pytest.fixture
def some_results():
    """One evaluation and one training of the short tier, as the workflow leaves them."""
    root = RESULTS.tier("short")
    run = "cifar10-resnet18-at-s0"
    for folder in (root / "evals" / run, root / "runs" / run, root / "figures", root / "tables"):
        folder.mkdir(parents=True)
    (root / "evals" / run / "clean.json").write_text(
        json.dumps({"attack": "clean", "accuracy": 43.2, "images": 1000, "seconds": 2.0, "model_sha256": "0" * 64})
    )
    np.savez(root / "evals" / run / "clean.npz", correct=np.arange(1000) < 432)
    (root / "evals" / run / "aa.part.npz").write_bytes(b"unfinished")
    train = {
        "run": run, "tier": "short", "model_sha256": "0" * 64, "parameters": 701466,
        "train_images": 10_000, "final": {"epoch": 7}, "seconds": 90.0, "images_per_second": 50.0, "precision": "bf16",
        "data_sha256": "1" * 64, "settings_digest": "2" * 16,
        "provenance": {"device": "a CPU", "code_revision": "abc", "torch": "2.13.0", "python": "3.11.7"},
    }  # fmt: skip
    (root / "runs" / run / "train.json").write_text(json.dumps(train))
    settings = load_tier("short").run("cifar10/resnet18", "AT").training_settings()
    (root / "runs" / run / "config.json").write_text(json.dumps(settings))
    (root / "runs" / run / "model.pt").write_bytes(b"weights")
    (root / "runs" / run / "last.pt").write_bytes(b"weights")
    (root / "figures" / "table1.png").write_bytes(b"a picture")
    return root


def test_a_smaller_protocol_says_so_and_takes_no_difference(some_results):
    text = page.report_markdown(load_tier("short"))
    assert "This is not the paper's protocol" in text
    assert "| AT | 43.20 [40.2, 46.3] |" in text
    assert "| cifar10-resnet18-at-s0 | 10,000 | 8 | 1m30s |" in text
    assert "cells: match" not in text


def test_a_table_costs_its_trainings_and_evaluations(some_results):
    assert costs.costs_of(load_tier("short"), "table1", RESULTS) == ([90.0], [2.0])
    assert costs.costs_of(load_tier("short"), "table8", RESULTS) == ([], [])
    assert "| Table 1 | 1 | 1m30s | 1 | 2s |" in page.report_markdown(load_tier("short"))


def test_every_method_is_told_with_its_paper():
    listed = page.methods_markdown()
    assert [line.split(" | ")[0].strip("| ").replace("\\", "") for line in listed.splitlines()[2:]] == list(METHODS)
    assert "| HAT | Reducing Excessive Margin" in listed
    assert "(https://arxiv.org/abs/1706.06083), ICLR 2018 |" in listed


def test_the_first_screen_says_what_the_method_is_and_how_the_numbers_are_made(some_results):
    text = page.report_markdown(load_tier("short"), RESULTS).partition("## ")[0]
    assert "prototypes of the classes" in text
    assert "Made by `snakemake --cores 2 short`: 1 of 42 trainings took 1m30s and their evaluation 2s, summed" in text
    assert "; about 46s by the clock, two at a time." in text
    assert costs.in_short(load_tier("paper"), RESULTS) == "`snakemake --cores 2 all` makes them."


@pytest.mark.parametrize("tier", sorted(path.stem for path in (ROOT / "config").glob("*.toml")))
def test_the_command_of_a_tier_is_a_target_of_the_workflow(tier):
    target = costs.command_of(load_tier(tier)).split()[-1]
    assert f"rule {target}:" in (ROOT / "Snakefile").read_text()


def test_the_papers_inconsistencies_are_listed(some_results):
    assert "53.33" in page.report_markdown(load_tier("short"))


def test_the_figures_stand_in_numbers_and_their_claims_are_decided():
    """On what is published of the short tier: CIFAR-100 is not in it, and claims are judged without it."""
    text = page.report_markdown(load_tier("short"), PUBLISHED)
    _, figures = text.split("\n## The figures in numbers\n")
    for number in (2, 3, 4):
        assert f"\n### Figure {number}: " in figures
    assert "| epsilon (1/255) | FGSM ↑ | PGD-20 ↑ |" in figures
    ours = [line.split("| drawn, not printed | ")[1] for line in figures.splitlines() if "drawn, not printed" in line]
    variation, margins, distance, severity, kinds, falls, ends, order = ours
    folded = "<details><summary>"
    for outcome, numbers in (
        (variation, rf"{folded}<b>holds</b></summary>.*MNIST, median angle, clean: [\d.]+ against AT [\d.]+ "),
        (margins, rf"{folded}<b>holds</b></summary>.*MNIST, smallest gap, clean: [\d.]+ against AT [\d.]+"),
        (distance, r"\*\*holds\*\*: MNIST: distance 0\.\d+ of the norm"),
        (severity, rf"{folded}<b>does not hold</b></summary>.*CIFAR-10, severity 1: [\d.]+ against HAT [\d.]+"),
        (kinds, rf"{folded}<b>does not hold</b></summary>.*CIFAR-10, noise: [\d.]+ against HAT [\d.]+"),
        (falls, rf"{folded}<b>does not hold on CIFAR-10.*CIFAR-10, FGSM .*, not at 96/255 [\d.]+ -> 128/255 [\d.]+"),
    ):
        assert re.match(numbers, outcome), outcome
    assert ends.startswith("**holds on CIFAR-10; CIFAR-100 not run**: CIFAR-10, PGD-20 at 128/255: 0")
    assert order.startswith("**holds on CIFAR-10; CIFAR-100 not run**: CIFAR-10: all 9 budgets")
    assert re.search(r"^Of \d+ claims on ours: \d+ hold, \d+ do not hold, \d+ are not decided", text, re.MULTILINE)


def test_geometry_by_an_earlier_definition_is_shown_and_named(some_results):
    path = some_results / "evals" / "cifar10-resnet18-at-s0" / "geometry.json"
    stored = dict.fromkeys(("fdr_clean", "fdr_adv", "afs_clean", "afs_adv", "scr_clean", "scr_adv"), 0.4321)
    stored |= {"images": 1000, "seconds": 1.0, "mean_sep": 61.0, "min_sep": 52.0}
    path.write_text(json.dumps(stored))
    text = page.report_markdown(load_tier("short"))
    assert "0.432" in text
    assert "SCR to class means, ours" in text
    assert re.search(r"^Measured by an earlier definition .*: cifar10-resnet18-at-s0\.$", text, re.MULTILINE)
    path.write_text(json.dumps(stored | {"definition": GEOMETRY_DEFINITION}))
    assert "earlier definition" not in page.report_markdown(load_tier("short"))


def test_the_demo_is_not_asked_about_claims(tmp_path):
    (tmp_path / "demo" / "evals").mkdir(parents=True)
    text = page.report_markdown(load_tier("demo"), Store(tmp_path))
    assert "the paper's numbers are left out" in text
    _, claims = text.split("\n## The paper's claims\n")
    claims, _ = claims.split("\n## Does the paper agree")
    rows = [line for line in claims.splitlines() if line.startswith("| ")][1:]
    assert rows
    assert all(line.endswith("| not asked |") for line in rows)


def test_nothing_to_report_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    with pytest.raises(UserError, match="holds no evaluations; run snakemake"):
        page.write_report("demo")
    assert not list(tmp_path.iterdir())


def test_a_tier_of_which_nothing_is_published_reports_so(tmp_path, monkeypatch):
    """Every table with the paper's numbers, each verdict "not run", no claim decided on ours, nothing vouched for."""
    monkeypatch.setattr(page, "PUBLISHED", Store(tmp_path / "published"))
    text = page.write_report("paper", published=True, output="-")
    assert "**Nothing has been run under this protocol yet.**" in text
    assert re.search(r"^\d+ cells: not run$", text, re.M)
    for name in page.table_names():
        assert f"## Table {name.removeprefix('table')}: " in text
    assert re.search(
        r"^\| Adv-DPNP \| – \| – \|.*\n\| \*the paper\* \| \*84\.63\* \| \*49\.18\* \|", text, re.MULTILINE
    )
    assert "nothing to check: no run was evaluated" in text
    assert "No warning" not in text
    assert "Nothing was trained." in text


def test_the_report_of_a_tier_is_not_lost_to_an_empty_published_one(some_results, tmp_path, monkeypatch):
    """`report --published` without --tier, say, after make demo."""
    monkeypatch.setattr(page, "PUBLISHED", Store(tmp_path / "published"))
    (some_results / "report.md").write_text("ours")
    with pytest.raises(UserError, match=r"nothing is published of tier short; .*short is reported"):
        page.write_report("short", published=True)
    assert (some_results / "report.md").read_text() == "ours"


def test_published_copies_hold_no_weights_and_nothing_unfinished(some_results, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "PUBLISHED", Store(tmp_path / "published"))
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    (some_results / "report.md").write_text("![what](figures/table1.png)")
    publish.publish("short")
    report = next(tmp_path.glob("published/short/report.md"))
    assert report.read_text() == "![what](../../figures/short/table1.png)"
    assert (report.parent / "../../figures/short/table1.png").exists()
    names = {path.name for path in tmp_path.rglob("*") if path.is_file() and "results" not in path.parts}
    assert names == {"clean.json", "clean.npz", "config.json", "train.json", "README.md", "report.md", "table1.png"}


def test_restored_results_fill_what_is_missing_and_overwrite_nothing(some_results, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "PUBLISHED", Store(tmp_path / "published"))
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    publish.publish("short")
    stored = some_results / "evals" / "cifar10-resnet18-at-s0" / "clean.json"
    newer, log = json.dumps({"accuracy": 50.0}), some_results / "runs" / "cifar10-resnet18-at-s0" / "train.json"
    stored.write_text(newer)
    log.unlink(), log.with_name("last.pt").unlink()
    publish.restore("short")
    assert stored.read_text() == newer
    assert json.loads(log.read_text())["train_images"] == 10_000
    with pytest.raises(UserError, match="nothing was published for tier demo"):
        publish.restore("demo")


@pytest.mark.parametrize("begun", [False, True])
def test_a_training_of_ones_own_gets_no_published_evaluations(some_results, tmp_path, monkeypatch, begun):
    monkeypatch.setattr(publish, "PUBLISHED", Store(tmp_path / "published"))
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    publish.publish("short")
    own, stored = (some_results / kind / "cifar10-resnet18-at-s0" for kind in ("runs", "evals"))
    (stored / "clean.json").unlink()
    trained = own / "train.json"
    if begun:
        trained.unlink()
        (own / "last.pt").touch()
    else:
        trained.write_text(json.dumps(json.loads(trained.read_text()) | {"model_sha256": "another"}))
    assert "left as they are, because they were trained here: cifar10-resnet18-at-s0" in publish.restore("short")
    assert not (stored / "clean.json").exists()
    assert trained.exists() != begun


PAGE = """# Results

![curves](figures/a.png) ![gone](figures/b.png)

## Table 1

| a | b |
|---|---|
| x < y | **2** |

## Table 1

<details><summary>more</summary>

| c |
|---|
| 3 |

</details>
"""


def test_the_page_holds_its_pictures_its_sections_and_nothing_from_elsewhere(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(b"picture")
    page = html_page(PAGE, tmp_path)
    assert f'src="data:image/png;base64,{base64.b64encode(b"picture").decode()}"' in page
    assert 'src="figures/b.png"' in page
    assert '<a href="#table-1">Table 1</a><a href="#table-1-1">Table 1</a>' in page
    assert page.count('<h2 id="table-1') == 2
    assert page.count('<div class="wide"><table>') == page.count("</table></div>") == 2
    assert "<title>Results</title>" in page
    assert "<td>x &lt; y</td>" in page
    assert "<details><summary>more</summary>" in page
    assert not re.findall(r"https?://|<script", page)


def test_what_the_report_links_in_itself_is_there(tmp_path):
    text = page.report_markdown(load_tier("short"), PUBLISHED)
    shown = html_page(text, tmp_path)
    inside = set(re.findall(r'href="#([^"]+)"', shown))
    assert {"the-papers-claims", "can-these-numbers-be-trusted"} <= inside
    assert inside <= set(re.findall(r' id="([^"]+)"', shown))
    assert re.search(r"^Of the paper's \d+ claims, \d+ hold, ", text, re.MULTILINE)


def test_the_report_is_a_page_too_and_opens(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    assert main(["report", "--tier", "paper", "--published", "--open"]) == 0
    page = tmp_path / "paper" / "report.html"
    assert opened == [page.as_uri()]
    assert capsys.readouterr().out.strip() == str(page)
    assert "Nothing has been run under this protocol yet" in page.read_text()
    assert page.with_suffix(".md").read_text().startswith("# Results of tier paper")
    assert main(["report", "--tier", "paper", "--published", "--open", "--output", "x.md"]) == 2
    assert "name an .html file" in capsys.readouterr().err
