"""The first screen's picture: what it draws is what the rows say, and the committed one is up to date."""

import base64
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from advdpnp.config import ROOT, load_tier
from advdpnp.paper.numbers import Cell
from advdpnp.report import differences, page
from advdpnp.report.differences import Comparison
from advdpnp.report.html import html_page
from advdpnp.report.overview import described, overview
from advdpnp.store import PUBLISHED, Snapshot

SVG = "{http://www.w3.org/2000/svg}"
ACCURACIES = {"AT": (36.0, 24.0), "HAT": (47.0, 19.0), "a & <b>": (30.0, 30.0), "Adv-DPNP": (43.0, 22.0)}


def cells(accuracies=ACCURACIES) -> list[Cell]:
    place = {"table": 1, "dataset": "cifar10", "backbone": "resnet18"}
    return [
        Cell(**place, method=method, column=column, ours=value, low=value - 3, high=value + 3)
        for method, pair in accuracies.items()
        for column, value in zip(("clean", "aa"), pair, strict=True)
    ]


def against(**differences_) -> list[Comparison]:
    return [
        Comparison(1, "cifar10", "resnet18", name, "clean", 0, 0, value, value - 2, value + 2, 0.5, 1000, 2)
        for name, value in differences_.items()
    ]


def drawn(svg: str, kind: str) -> list[dict[str, str]]:
    return [element.attrib for element in ElementTree.fromstring(svg).iter(SVG + kind)]


def words(svg: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(svg).iter(SVG + "text")]


def test_each_defense_stands_where_its_accuracies_are():
    points = drawn(overview(cells(), ()), "circle")
    assert len(points) == len(ACCURACIES)
    for key, k, sign in (("cx", 0, 1), ("cy", 1, -1)):  # to the right and upwards is better
        first, *others = zip(points, ACCURACIES.values(), strict=True)  # Adv-DPNP is drawn last, on top
        per_point = [(float(p[key]) - float(first[0][key])) / (value[k] - first[1][k]) for p, value in others]
        assert per_point == pytest.approx([per_point[0]] * 3, abs=0.05)
        assert sign * per_point[0] > 5


def test_names_are_text_and_each_is_there_once():
    said = words(overview(cells(), against(AT=5.0), ["holds"]))
    for method in ACCURACIES:
        assert said.count(method) == (2 if method == "AT" else 1)  # in both panels


def test_colours_follow_the_interval():
    svg = overview(cells(), against(AT=5.0, HAT=-5.0, **{"a & <b>": 1.0}))
    fills = [point["fill"] for point in drawn(svg, "circle")[len(ACCURACIES) :]]
    assert fills == ["#0b6b3a", "#80868b", "#a3203a"]  # ahead, not told, behind: sorted by the difference


def test_the_bar_is_the_counts():
    verdicts = ["holds"] * 6 + ["does not hold"] * 3 + ["not run"]
    svg = overview(cells(), (), verdicts)
    bar = [float(part["width"]) for part in drawn(svg, "rect")[1:]]
    assert [width / sum(bar) for width in bar] == pytest.approx([0.6, 0.3, 0.1], abs=1e-3)
    assert {"6 hold", "3 do not hold", "1 not run", "The paper's 10 claims, on these numbers"} <= set(words(svg))
    assert "6 hold, 3 do not hold, 1 not run" in described(verdicts)
    assert "claims" not in described([])


def test_what_is_missing_is_not_drawn():
    assert overview([], ()) == ""
    assert overview(cells({"AT": (36.0, 24.0)}), ()) == ""
    without = [replace(c, ours=None) if (c.method, c.column) == ("HAT", "aa") else c for c in cells()]
    assert "HAT" not in words(overview(without, against(HAT=1.0)))
    undefended = cells({**ACCURACIES, "ST": (94.0, 0.0)})
    assert "ST" not in words(overview(undefended, ()))


def test_no_name_covers_another_in_the_published_picture():
    short, store = load_tier("short"), Snapshot(PUBLISHED.root)
    svg = page.overview_svg(short, store)
    boxes = []
    for text in re.findall(r'<text stroke="white".*?</text>', svg):
        x, y, anchor = (re.search(f' {key}="([^"]+)"', text)[1] for key in ("x", "y", "text-anchor"))
        size = 6.5 * len(re.search(r">([^<]+)<", text)[1])
        left = float(x) - {"start": 0, "middle": size / 2, "end": size}[anchor]
        boxes.append((left, float(y) - 9, left + size, float(y)))
    assert len(boxes) == 12
    for k, a in enumerate(boxes):
        for b in boxes[:k]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


def test_the_committed_picture_is_that_of_the_published_files():
    committed = (ROOT / "figures" / "short" / "overview.svg").read_text(encoding="utf-8")
    assert committed == page.overview_svg(load_tier("short"), Snapshot(PUBLISHED.root)), "run tools/refresh_docs.py"
    rows = differences.rivals(load_tier("short"), "table2", PUBLISHED)
    behind = {(row.rival, row.column) for row in rows if row.column in ("clean", "aa") and row.high < 0}
    assert behind == {("HAT", "clean"), ("OC", "aa")}
    assert len([point for point in drawn(committed, "circle") if point["fill"] == "#a3203a"]) == 2


def test_the_report_draws_it_and_its_page_holds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    (tmp_path / "short").mkdir()
    for kind in ("runs", "evals"):
        (tmp_path / "short" / kind).symlink_to(PUBLISHED.tier("short") / kind)
    shown = Path(page.write_report("short")).read_text()
    svg = (tmp_path / "short" / "figures" / "overview.svg").read_bytes()
    assert f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}" in shown
    assert "Does the method hold up?" in shown
    assert 'src="x.svg"' in html_page("![what](x.svg)", tmp_path)
