"""The book in a real browser, opened from the file system, at the widths of a phone and of a laptop, light and dark:
`make book-test`. Needs Chromium and its driver. Each kind of fault is first shown to be found on a page that has it.
"""

import csv
import json
import re
import sys
from dataclasses import replace
from itertools import product

import browser as chromium
import numpy as np
import pytest
import torch
from browser import KINDS

from advdpnp import prototype_dynamics as theory
from advdpnp.config import ROOT, load_tier
from advdpnp.intervals import paired_difference, t_quantile
from advdpnp.report import differences, summary
from advdpnp.report.tables import seed_spread
from advdpnp.store import PUBLISHED, results_root

sys.path.insert(0, str(ROOT / "book"))  # its files are scripts, not a package
pytestmark = pytest.mark.book
SITE = results_root() / "book" / "html"
STATIC = ROOT / "book" / "static"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = chromium.start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def opened(browser, page: str, width: int = 1400, **wishes):
    """The browser at a page of the book. Fails where there is no book."""
    if not (SITE / page).exists():
        pytest.fail(f"{SITE / page}: is not there; run make book first")
    chromium.screen(browser, width, **wishes)
    browser.get((SITE / page).as_uri())
    return browser


@pytest.fixture(scope="module")
def of_the_book(browser):
    opened(browser, "index.html")
    return chromium.faults(browser, SITE)


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_of_the_book_has(of_the_book, kind):
    assert of_the_book[kind] == []


@pytest.fixture(scope="module")
def of_a_broken_page(browser, tmp_path_factory):
    site = tmp_path_factory.mktemp("broken")
    (site / "index.html").write_text(
        """<!doctype html><meta name="viewport" content="width=device-width"><body><article><img src="gone.png">
        <a href="gone.html">page</a> <a href="#gone">anchor</a> <div style="width: 1500px">wide</div>
        <table><tr><td style="min-width: 1450px">no head</td><td>...</td></tr></table>
        <small style="font-size: 13px">small</small>
        <p style="color: #888; background: #fff">faint</p> <pre>flowchart LR\n a --> b</pre>
        <span class="math">\\(x\\)</span> <script>undefined_function()</script>
        <script src="http://192.0.2.1/x.js"></script>"""
    )
    return chromium.faults(browser, site)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_that_has_it_is_caught(of_a_broken_page, kind):
    assert of_a_broken_page[kind]


def test_both_broken_links_are_caught_and_faint_text_in_each_scheme(of_a_broken_page):
    assert [re.search(r"(gone.*)", link)[1] for link in of_a_broken_page["link"]] == ["gone.html", "gone"]
    assert len([fault for fault in of_a_broken_page["contrast"] if "faint" in fault]) == 4


# --- What pages hold


def test_links_to_a_committed_report_lead_to_its_page():
    """Also where the page was made from results/, as after a run of that tier."""
    import build

    found = {"short/report.md": ROOT / "results" / "short" / "report.md"}
    text = build.relink("[r](../published/short/report.md)", "docs/ledger.md", ROOT / "docs" / "ledger.md", found)
    assert text == "[r](../short/report.md)"


def test_every_page_shows_its_tier():
    outside = ("_static", "_modules", "genindex.html", "search.html", "py-modindex.html")
    for page in SITE.rglob("*.html"):
        if page.relative_to(SITE).parts[0] not in outside:
            assert 'class="tier-label' in page.read_text(), page


def test_the_landing_page_shows_a_picture_and_the_verdicts_of_the_readme(browser):
    opened(browser, "index.html")
    shown = [item.text for item in browser.find_elements("css selector", ".verdicts strong")]
    report = browser.execute_script(
        "return [...document.querySelectorAll('article a')].find(a => /report/.test(a.href)).href"
    )
    tier = report.rsplit("/", 2)[1]
    lines = summary.headlines(load_tier(tier), PUBLISHED).splitlines()[2:]
    assert shown == [line.rstrip(" |").rsplit("**", 2)[1] for line in lines]
    assert len(shown) == 5
    top = "return document.querySelector('article figure img').getBoundingClientRect().top"
    assert browser.execute_script(top) < 844


def test_the_landing_page_answers_shows_where_each_stands_and_has_a_film(browser):
    opened(browser, "index.html", motion="reduce")
    text = browser.find_element("css selector", "article").text
    assert "Does the method hold up?" in text
    standing = browser.execute_script(
        "const i = document.querySelector('article img[src$=\"standing.svg\"]'); return [i.naturalWidth, i.alt]"
    )
    assert standing[0] == 900
    assert "AutoAttack" in standing[1]
    film = browser.find_element("css selector", "figure.film")
    slider = film.find_element("css selector", "input")
    assert slider.get_attribute("value") == slider.get_attribute("max")  # its still is the last frame
    sheet = browser.execute_async_script(
        """const [film, done] = arguments, image = new Image();
        image.onload = () => done(image.naturalHeight);
        image.onerror = () => done(0);
        image.src = getComputedStyle(film.querySelector('.picture')).backgroundImage.slice(5, -2);""",
        film,
    )
    assert sheet > 1000
    play = film.find_element("css selector", "button")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", play)
    play.click()
    assert play.text == "Pause"


def test_a_picture_opens_in_full_size_and_a_notebook_can_be_taken(browser):
    opened(browser, "short/table1.html")
    links = browser.execute_script(
        "return [...document.querySelectorAll('article div.cell_output img')].map(i => [i.src, i.closest('a').href])"
    )
    assert links
    assert all(source == target for source, target in links)
    taken = browser.find_element("css selector", "article a.download").get_attribute("href")
    assert taken.endswith("/table1.ipynb")


def test_the_sidebar_has_each_table_once_and_each_tier_is_a_tab(browser):
    opened(browser, "short/table1.html")
    links = browser.execute_script("return [...document.querySelectorAll('.sidebar-tree a')].map(a => a.href)")
    names = [link.rsplit("/", 1)[1].split("#")[0] for link in links]
    for name in [*(f"table{n}" for n in range(1, 9)), *(f"figure{n}" for n in (2, 3, 4)), "report", "ledger"]:
        assert names.count(f"{name}.html") == (2 if name == "ledger" else 1), name  # docs/ledger.md is another page
    tabs = browser.find_elements("css selector", ".tier-tabs a")
    assert [tab.text for tab in tabs][-2:] == ["short", "demo"]
    assert [tab.get_attribute("aria-current") for tab in tabs][-2:] == ["page", None]
    tabs[-1].click()
    assert browser.current_url == (SITE / "demo" / "table1.html").as_uri()


def test_code_is_folded_opens_at_once_and_can_be_copied(browser):
    opened(browser, "notebooks/method.html")
    folded = "return [...document.querySelectorAll('article details.hide')].map(d => d.open)"
    assert len(browser.execute_script(folded)) > 5
    assert not any(browser.execute_script(folded))
    browser.find_element("css selector", "button.all-code").click()
    assert all(browser.execute_script(folded))
    cells = "return [...document.querySelectorAll('div.cell_input')].every(c => c.querySelector('button.copybtn'))"
    assert browser.execute_script(cells)


@pytest.mark.parametrize("name", ["table1", "table2", "table4", "table8"])
def test_side_by_side_has_every_cell(browser, name):
    opened(browser, f"short/{name}.html")
    rows = browser.execute_script("return [...document.querySelectorAll('table.cells tbody tr')].map(r => r.innerText)")
    with PUBLISHED.table("short", name).open() as file:
        cells = list(csv.DictReader(file))
    assert len(rows) == len(cells)
    for row, cell in zip(rows, cells, strict=True):
        assert f"{cell['method']}, {cell['column']}" in row
        assert cell["ours"] in row
        assert cell["verdict"] in row


def test_a_table_sorts_down_up_and_back(browser):
    opened(browser, "short/table1.html")
    table = "[...document.querySelectorAll('article table')].find(t => t.tBodies[0].innerText.includes('TRADES'))"
    own = f"[...{table}.tBodies[0].rows].filter(r => r.cells[0].innerText.trim() !== 'the paper')"
    column = f"return {own}.map(r => r.cells[2].innerText)"
    click = f"{table}.tHead.rows[0].cells[2].querySelector('button').click()"
    original = browser.execute_script(column)
    values = [float(text.split()[0]) for text in original]
    for wanted in (sorted(values, reverse=True), sorted(values), values):
        browser.execute_script(click)
        assert [float(text.split()[0]) for text in browser.execute_script(column)] == wanted
    assert browser.execute_script(column) == original


def test_the_papers_row_stays_below_its_own(browser):
    opened(browser, "short/report.html")
    table = "[...document.querySelectorAll('article table')].find(t => /^the paper$/m.test(t.tBodies[0].innerText))"
    cells = "return [...arguments[0].tBodies[0].rows].map(r => [r.cells[0].innerText, r.cells[1].innerText])"
    found = browser.execute_script(f"return {table}")
    before = browser.execute_script(cells, found)
    browser.execute_script("arguments[0].tHead.rows[0].cells[1].querySelector('button').click()", found)
    after = browser.execute_script(cells, found)
    assert before != after
    pairs = [
        [(*first, *second) for first, second in zip(rows[::2], rows[1::2], strict=True)] for rows in (before, after)
    ]
    assert sorted(pairs[0]) == sorted(pairs[1])


# --- Films


def test_a_film_rests_on_its_last_frame_where_motion_is_unwanted(browser):
    opened(browser, "notebooks/method.html", motion="reduce")
    film = browser.find_element("css selector", "figure.film")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", film)
    slider, button = (film.find_element("css selector", f".controls {what}") for what in ("input", "button"))
    last = slider.get_attribute("max")
    browser.execute_async_script("setTimeout(arguments[0], 700)")
    assert (slider.get_attribute("value"), button.text) == (last, "Play")
    button.click()
    assert button.text == "Pause"
    browser.execute_async_script("setTimeout(arguments[0], 700)")
    button.click()
    frame = int(slider.get_attribute("value"))
    assert (0 < frame < int(last), button.text) == (True, "Play")
    place = browser.execute_script("return arguments[0].querySelector('.picture').style.backgroundPosition", film)
    assert float(re.search(r"([\d.]+)%", place)[1]) == pytest.approx(100 * frame / int(last), abs=0.01)


def test_a_film_plays_once_when_it_comes_into_sight(browser):
    opened(browser, "notebooks/method.html", motion="no-preference")
    film = browser.find_element("css selector", "figure.film")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", film)
    browser.execute_async_script("setTimeout(arguments[0], 900)")
    assert film.find_element("css selector", "button").text == "Pause"
    wait = 200 * (int(film.find_element("css selector", "input").get_attribute("max")) + 10)
    browser.execute_async_script(f"setTimeout(arguments[0], {wait})")
    assert film.find_element("css selector", "button").text == "Play"


# --- The simulator is advdpnp.prototype_dynamics

SWITCHES = ("pull_prototypes", "rival_gradient", "renormalise")  # that the page does not have


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def in_javascript(setting) -> dict:
    return {key: value for key, value in vars(setting).items() if key not in SWITCHES}


@pytest.mark.parametrize(("pull", "lock", "relu"), list(product(("sum", "mean", "norm"), (True, False), (True, False))))
@pytest.mark.parametrize("stride", [1, 4])
def test_the_simulator_computes_what_python_does(browser, float64, pull, lock, relu, stride):
    setting = theory.Setting(
        classes=5, features=24, radius=8.0, lambda_dnp=0.05, pull=pull, lock_prototypes=lock, last_relu=relu,
        steps_per_epoch=16, milestones=(2, 3),
    )  # fmt: skip
    start = 8 * torch.nn.functional.normalize(torch.randn(5, 24, generator=torch.Generator().manual_seed(3)), dim=1)
    ours = theory.predict(setting, [0.8] * 4, [0.5] * 4, start=start, seed=7, inputs=20, stride=stride)
    unseen = theory.fresh_inputs(ours.prototypes, setting, 0.6, inputs=30, steps=50)

    draw = torch.Generator().manual_seed(7)
    noise = [theory.draw_inputs(20, 5, draw).noise.flatten().tolist() for _ in range(2)]
    fresh = theory.draw_inputs(30, 5, torch.Generator().manual_seed(1)).noise.flatten().tolist()
    how = {"clean": 0.8, "adversarial": 0.5, "start": start.flatten().tolist(), "noise": noise, "epochs": 4}
    opened(browser, "instruments/prototypes.html")
    rows, shown = browser.execute_script(
        """const [S, how, fresh] = arguments, rows = [...prototypeDynamics.predict(S, how)].filter(Boolean);
        const last = [...prototypeDynamics.freshInputs(rows.at(-1).prototypes, S, fresh)].at(-1);
        return [rows.map(({prototypes, ...row}) => row), last];""",
        in_javascript(setting), how | {"stride": stride}, {"accuracy": 0.6, "noise": fresh, "steps": 50},
    )  # fmt: skip
    for theirs, mine in zip(rows, ours.epochs, strict=True):
        assert theirs == pytest.approx({key: mine[key] for key in theirs}, rel=1e-8)
    assert shown == pytest.approx({key: unseen[key] for key in shown}, rel=1e-8)


def finished(browser) -> dict[str, list[str]]:
    """The simulator's table, once it is done: {quantity: [here, paper]}."""
    from selenium.webdriver.support.ui import WebDriverWait

    form = browser.find_element("id", "simulator")
    WebDriverWait(browser, 120).until(lambda _: form.get_attribute("data-done"))
    assert form.get_attribute("data-done") == "yes"
    rows = browser.execute_script(
        "return [...document.querySelectorAll('#simulator tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
    )
    return {name: values for name, *values in rows}


def test_the_page_shows_what_python_gets_from_its_settings_and_moves_with_its_sliders(browser, float64):
    from instruments import paper_lines

    opened(browser, "instruments/prototypes.html")
    first = finished(browser)
    effort, start, noise = browser.execute_script(
        """const effort = JSON.parse(document.getElementById('paper-lines').textContent).effort, D = prototypeDynamics;
        return [effort, [...D.scaled(D.normals(5120, 1), 10, 512, 40)], [...D.normals(effort.inputs * 10, 1001)]];"""
    )
    setting, lines = replace(theory.Setting(), pull="mean"), paper_lines()
    accuracy = round(100 * lines["clean"]) / 100
    x = theory.Inputs(torch.arange(effort["inputs"]) % 10, torch.tensor(noise).reshape(-1, 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theory, "draw_inputs", lambda *_: x)
        mine = theory.predict(
            setting, [accuracy] * effort["epochs"], start=torch.tensor(start).reshape(10, 512),
            inputs=effort["inputs"], stride=effort["stride"],
        )  # fmt: skip
    last = mine.epochs[-1]
    assert first["MeanSep (°)"] == [f"{last['mean_sep']:.1f}", f"{lines['mean_sep']:.1f}"]
    assert first["MinSep (°)"] == [f"{last['min_sep']:.1f}", f"{lines['min_sep']:.1f}"]
    distances = [f"{lines[key]:.3f}" for key in ("distance_clean", "distance_adv")]
    assert [values[1] for values in first.values()][2:] == distances

    browser.execute_script(
        """const pull = document.querySelector('#simulator [name=pull]');
        pull.value = 'sum';
        document.getElementById('simulator').dataset.done = '';
        pull.dispatchEvent(new Event('input', {bubbles: true}));"""
    )
    as_printed = finished(browser)
    assert float(as_printed["MeanSep (°)"][0]) < float(first["MeanSep (°)"][0]) - 10
    nearer = "distance over norm, clean"
    assert float(as_printed[nearer][0]) < 0.7 * float(first[nearer][0])


# --- The image browser is advdpnp.intervals.paired_difference


def test_quantiles_of_students_t(browser):
    opened(browser, "instruments/images.html")
    df = [1, 1.5, 2, 3.3, 7, 9.8, 30, 499, 1234.5]
    assert browser.execute_script("return arguments[0].map(d => paired.tQuantile(d))", df) == pytest.approx(
        [t_quantile(each) for each in df], rel=1e-10
    )


def choose(browser, **fields) -> dict:
    """What the page says of the short tier's CIFAR-10 after these choices, in the order given."""
    labels = browser.execute_script(
        "return [...document.querySelector('#images [name=block]').options].map(o => o.text)"
    )
    fields = {"block": str(labels.index("CIFAR-10, ResNet-18 (short tier)"))} | fields
    for name, value in fields.items():
        browser.execute_script(
            """const field = document.querySelector(`#images [name=${arguments[0]}]`);
            field.value = arguments[1];
            field.dispatchEvent(new Event('input', {bubbles: true}));""",
            name,
            value,
        )
    return json.loads(browser.find_element("id", "images").get_attribute("data-result"))


@pytest.mark.parametrize(
    ("ours", "theirs", "attack"),
    [("Adv-DPNP", "AT", "aa"), ("Adv-DPNP", "TRADES", "clean"), ("HAT", "OC", "pgd20"), ("Adv-DPNP", "ST", "pgd20")],
)
def test_the_interval_and_the_counts_are_those_of_the_flags(browser, ours, theirs, attack):
    tier = load_tier("short")
    block = next(iter(tier.blocks))
    sides = []
    for method in (ours, theirs):
        runs = [tier.run(block, method, seed) for seed in tier.seeds_of(method)]
        sides.append({run.seed: PUBLISHED.read_flags(run, attack) for run in runs})
    expected = paired_difference(*sides, seed_spread(tier, block, PUBLISHED))
    opened(browser, "instruments/images.html")
    shown = choose(browser, ours=ours, theirs=theirs, attack=attack)
    assert shown == pytest.approx({key: getattr(expected, key) for key in shown}, rel=1e-9)

    one, other = (side[0][: expected.images] for side in sides)
    counts = [np.sum(one & other), np.sum(one & ~other), np.sum(~one & other), np.sum(~one & ~other)]
    cells = browser.find_elements("css selector", "#images tbody td")
    assert [int(cell.text) for cell in cells] == counts
    squares = "return arguments[0].map(k => document.querySelectorAll(`#images .squares rect.${k}`).length)"
    assert browser.execute_script(squares, ["both", "won", "lost", "neither"]) == counts
    listed = browser.execute_script("return document.querySelector('#images .numbers dd').textContent")
    assert [int(k) for k in listed.split(", ")] == np.flatnonzero(one & ~other).tolist()


def test_the_interval_is_the_tables_own(browser):
    rows = differences.rivals(load_tier("short"), "table1", PUBLISHED)
    row = next(row for row in rows if (row.rival, row.column) == ("AT", "aa"))
    opened(browser, "instruments/images.html")
    shown = choose(browser, ours="Adv-DPNP", theirs="AT", attack="aa")
    keys = ("difference", "low", "high")
    assert [round(shown[key], 2) for key in keys] == [getattr(row, key) for key in keys]


def test_numbers_are_rounded_as_python_does(browser):
    opened(browser, "instruments/images.html")
    values = [0.25, -0.25, 0.75, -2.25, 26.25, 0.15, 2.349, -0.003, 0.0, 2.675, 0.125, 7.05, 12.345]
    for digits in (1, 2):
        found = browser.execute_script("return arguments[0].map(v => paired.fixed(v, arguments[1]))", values, digits)
        assert found == [f"{value:.{digits}f}" for value in values]


def test_each_difference_reads_as_in_the_report(browser):
    attacks = {"clean": "clean", "aa": "aa", "pgd_linf": "pgd20", "pgd": "pgd20", "cw": "cw30", "fgsm": "fgsm"}
    opened(browser, "instruments/images.html")
    for table in ("table1", "table2"):
        for row in differences.rivals(load_tier("short"), table, PUBLISHED):
            if row.column in attacks:
                choose(browser, ours="Adv-DPNP", theirs=row.rival, attack=attacks[row.column])
                said = browser.find_element("css selector", "#images .state").text.replace("−", "-")
                cell = f"{row.difference:+.1f} [{row.low:+.1f}, {row.high:+.1f}]"
                assert f"{row.ours:.2f} %, {row.rival} {row.theirs:.2f} %: difference {cell} points" in said
                assert ("apart" not in said) == differences.decided(row)


def test_two_sides_swap(browser):
    opened(browser, "instruments/images.html")
    before = choose(browser, ours="Adv-DPNP", theirs="AT", attack="pgd20")
    browser.find_element("css selector", "#images [name=swap]").click()
    after = json.loads(browser.find_element("id", "images").get_attribute("data-result"))
    assert (after["difference"], after["low"]) == (-before["difference"], -before["high"])
