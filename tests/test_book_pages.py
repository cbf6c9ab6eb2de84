"""How the book and the slides shape what they are given: notebooks' outputs, drawings, flags. No browser."""

import base64
import io
import re
import sys

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from advdpnp.config import ATTACKS, ROOT, load_tier
from advdpnp.errors import UserError
from advdpnp.intervals import SeedVariance, paired_difference
from advdpnp.report import differences
from advdpnp.report.animations import animated_png
from advdpnp.store import PUBLISHED

sys.path.insert(0, str(ROOT / "book"))  # its files are scripts, not a package
import build
import drawing
import instruments
import outputs
import pictures
import slides

SHORT = PUBLISHED.tier("short")


# --- Pictures


@pytest.mark.parametrize("path", sorted(ROOT.glob("figures/[!b]*/*.png")), ids=lambda path: path.stem)
def test_each_published_picture_is_described(path):
    text = pictures.alt_of_file(path.stem)
    assert len(text) > 40
    assert "{" not in text
    assert path.stem not in text


@pytest.mark.parametrize("path", sorted(SHORT.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_each_picture_of_an_executed_notebook_is_described(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    outputs.shape(notebook, path.stem, SHORT, tmp_path)
    for cell in notebook.cells:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", ())):
            assert len(cell.metadata["mystnb"]["image"]["alt"]) > 40


def test_a_picture_that_nobody_described_stops_the_build():
    with pytest.raises(KeyError, match="say in book/pictures"):
        pictures.alt_of_file("unheard-of")
    with pytest.raises(KeyError, match="say in book/pictures"):
        pictures.alt_of_cell("method", "something_new()")


def test_a_reading_names_the_best_of_a_column_and_ours():
    text = pictures.reading(SHORT / "tables" / "table4.csv")
    assert re.match(r"FDR, clean: Adv-DPNP best with 0\.\d+; ", text)
    assert "; AutoAttack: AT best with 24.5, Adv-DPNP 22.2. " in pictures.reading(SHORT / "tables" / "table1.csv")
    assert pictures.reading(SHORT / "tables" / "table8.csv") == ""  # no rival is in it


# --- Executed notebooks


def test_tables_get_a_head_and_a_box_and_lose_their_own_colours():
    caption, cell = "<caption>cifar10, resnet18 (short)</caption>", "<td style='color:#666'>1</td>"
    assert outputs.tidy_tables(f"<table>{caption}<tr><th>a</th></tr><tr>{cell}</tr></table>") == (
        '<div class="table-wrapper"><table><caption>CIFAR-10, ResNet-18</caption><thead><tr><th>a</th></tr></thead>'
        "<tbody><tr><td>1</td></tr></tbody></table></div>"
    )
    named = "<table><caption>CIFAR-10, WRN-34-10 (short protocol: 8 epochs)</caption><tr><th>a</th></tr></table>"
    assert "<caption>CIFAR-10, WRN-34-10</caption>" in outputs.tidy_tables(named)  # the page says its protocol once
    with pytest.raises(ValueError, match="first row is its head"):
        outputs.tidy_tables("<table><p>1</p></table>")


def test_the_name_of_pandas_index_heads_its_column():
    import pandas as pd

    frame = pd.DataFrame({"steps": [1, 2]}, index=pd.Index(["fgsm", "pgd"], name="attack"))
    head = re.search(r"<thead>(.*?)</thead>", outputs.tidy_tables(frame.to_html()), re.DOTALL)[1]
    assert re.findall(r"<th>(.*?)</th>", head) == ["attack", "steps"]
    assert head.count("<tr") == 1


def test_parameters_of_the_tier_begin_the_next_cell():
    sources = ('tier = "demo"', '# Parameters\ntier = "short"\n', "run(tier)")
    cells = [new_code_cell(source) for source in sources]
    for cell, tag in zip(cells, ("parameters", "injected-parameters"), strict=False):
        cell.metadata["tags"] = [tag]
    notebook = new_notebook(cells=cells)
    outputs.shape(notebook, "table1", SHORT, ROOT)
    assert [cell.source for cell in notebook.cells] == ['tier = "short"\nrun(tier)']
    assert notebook.cells[0].metadata["tags"] == ["hide-input"]


def test_a_cell_that_hides_its_code_already_is_tagged_once():
    cell = new_code_cell("1", metadata={"tags": ["hide-input"]})
    outputs.shape(new_notebook(cells=[cell]), "table1", SHORT, ROOT)
    assert cell.metadata["tags"] == ["hide-input"]


def test_an_interval_stays_on_one_line():
    assert outputs.unbroken("+6.8 [+4.4, +9.1], [a](b) and [B, d]") == "+6.8 [+4.4,&nbsp;+9.1], [a](b) and [B, d]"
    cell = new_code_cell("1", outputs=[new_output("display_data", {"text/markdown": "1 [0, 2]"})])
    outputs.shape(new_notebook(cells=[cell]), "table1", SHORT, ROOT)
    assert cell.outputs[0].data["text/markdown"] == "1 [0,&nbsp;2]"


def test_a_word_of_the_ledger_leads_to_its_entry():
    text = build.to_the_ledger("no random start (ledger 3)", "short/table1.ipynb")
    assert text == 'no random start (<a href="../docs/ledger.html#ledger-3">ledger 3</a>)'
    ids = set(build.LEDGER_ROW.findall((ROOT / "docs" / "ledger.md").read_text()))
    for path in [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("notebooks/exercises/*.ipynb")]:
        assert set(build.LEDGER.findall(path.read_text())) <= ids, path


def test_side_by_side_comes_from_the_csv_with_all_its_rows():
    html = outputs.side_by_side(SHORT / "tables" / "table1.csv")
    lines = (SHORT / "tables" / "table1.csv").read_text().splitlines()
    assert html.count("<tr>") == len(lines)


def test_a_film_becomes_a_sheet_of_its_frames_without_the_still(tmp_path):
    frames = [Image.new("RGB", (40, 30), "white") for _ in range(4)]
    for frame, colours in zip(
        frames, (("blue", "blue"), ("red", "blue"), ("red", "blue"), ("blue", "red")), strict=True
    ):
        frame.paste(colours[0], (0, 0, 20, 30))  # two of them are alike
        frame.paste(colours[1], (20, 0, 40, 30))
    data = base64.b64encode(animated_png(frames, 150)).decode()
    cell = new_code_cell("stills = [", outputs=[new_output("display_data", {"image/png": data, "text/plain": "film"})])
    outputs.shape(new_notebook(cells=[cell]), "method", SHORT, tmp_path)
    html = cell.outputs[0].data["text/html"]
    assert 'data-wait="150"' in html
    assert 'max="3"' in html
    assert "Test features and prototypes" in html
    sheet = Image.open(tmp_path / "method-0.png").convert("RGB")
    assert sheet.size == (40, 120)
    assert [sheet.getpixel((5, y)) for y in (15, 45, 75, 105)] == [frame.getpixel((5, 5)) for frame in frames]
    assert Image.open(io.BytesIO(base64.b64decode(data))).n_frames == 4  # the still, two alike as one, the last


# --- Drawings


def test_a_flowchart_is_drawn_from_top_to_bottom():
    svg = drawing.flowchart("flowchart LR\n  a[one & more] --> b\n  b -- again --> b\n  b --> c[(kept)]\n  d --> c\n")
    assert svg.count("<rect") == 4
    assert svg.count("marker-end") == 4
    assert "one &amp; more leads to b; b leads to b (again); b leads to kept; d leads to kept" in svg
    a, b, d, c = (float(y) for y in re.findall(r'<rect x="[\d.]+" y="([\d.]+)"', svg))
    assert a < b == d < c


@pytest.mark.parametrize("source", ["flowchart TD\n a --> b", "flowchart LR\n a ==> b"])
def test_what_it_cannot_draw_it_refuses(source):
    with pytest.raises(ValueError, match="expected"):
        drawing.flowchart(source)


def test_the_layers_of_the_architecture_page_are_bands():
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawn = drawing.with_layers(page)
    named = re.findall(r"`(\w+)`", page.split("|---|---|")[1].split("\n\n")[0])
    assert re.findall(r"<code>(\w+)</code>", drawn) == named
    with pytest.raises(ValueError, match="expected a table"):
        drawing.with_layers("# Nothing")


# --- What the instruments read


@pytest.fixture(scope="module")
def flags():
    return instruments.flags_of(load_tier("short"), PUBLISHED)


def test_each_attack_of_a_block_has_a_name_of_its_own(flags):
    for block in flags:
        labels = list(block["attacks"].values())
        assert len(set(labels)) == len(labels)
    assert instruments.attack_label(ATTACKS["pgd20"]) == "PGD-20, l∞, 8/255, step 1/255"
    assert instruments.attack_label(ATTACKS["pgd40_mnist"]) == "PGD-40, l∞, 0.3, step 0.01"
    assert instruments.attack_label(ATTACKS["pgd40_restarts5"]) == "PGD-40, l∞, 8/255, step 0.5/255, 5 random starts"
    assert instruments.attack_label(ATTACKS["clean"]) == "no attack"


def test_the_bits_are_the_published_flags_and_give_the_published_interval(flags):
    tier = load_tier("short")
    block = flags[0]
    sides = []
    for method in ("Adv-DPNP", "AT"):
        of_seed = {}
        for seed, attacks in block["rows"][method].items():
            n, text = attacks["aa"]
            bits = np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))[:n].astype(bool)
            run = tier.run(next(iter(tier.blocks)), method, int(seed))
            assert (bits == PUBLISHED.read_flags(run, "aa")).all()
            of_seed[int(seed)] = bits
        sides.append(of_seed)
    found = paired_difference(*sides, SeedVariance(**block["spread"]))
    rows = differences.rivals(tier, "table1", PUBLISHED)
    row = next(row for row in rows if (row.rival, row.column) == ("AT", "aa"))
    assert [round(value, 2) for value in (found.difference, found.low, found.high)] == [
        getattr(row, key) for key in ("difference", "low", "high")
    ]


def test_json_cannot_end_its_script():
    assert "</script>" not in instruments.json_script("x", {"a": "</script>"})[:-9]


# --- Slides


def told(text: str, **metadata):
    """A notebook of one cell that printed something."""
    printed = new_output("stream", name="stdout", text="1")
    return new_notebook(cells=[new_code_cell(text, metadata=metadata, outputs=[printed])])


def test_slides_leave_out_links_to_files_hidden_code_and_skipped_cells():
    show = {"slideshow": {"slide_type": "slide"}}
    notebook = told("secret()", tags=["hide-input"], slideshow={"slide_type": "-"})
    text = "[ledger](../docs/ledger.md), [paper](https://arxiv.org/abs/2504.03782)"
    notebook.cells = [new_markdown_cell(text, metadata=show), *notebook.cells, *told("papermill = 3").cells]
    html, _ = slides.sections(slides.shaped(notebook, "method"))
    assert "ledger, <a" in html
    assert "https://arxiv.org/abs/2504.03782" in html
    assert ">1" in html
    assert "secret" not in html
    assert "papermill" not in html


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory; `make slides` executes the notebook first"),
        ("no notebook", "expected an executed notebook, got another file"),
        (told("1"), "no cell says what it is among the slides"),
        (new_notebook(cells=[new_markdown_cell("a", metadata={"slideshow": {}})]), "got one without outputs"),
    ],
)
def test_what_is_no_executed_lecture_gets_one_sentence(tmp_path, capsys, content, said):
    path = tmp_path / "method.ipynb"
    if content is not None:
        path.write_text(content if isinstance(content, str) else nbformat.writes(content))
    assert slides.main([str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_without_reveal_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(slides, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="sphinx-revealjs is not installed; `make slides` installs it"):
        slides.shipped()


def test_the_film_of_the_landing_page_is_the_one_of_a_training_network(tmp_path):
    films = [f'<div aria-label="{what}" style="url(../_static/films/{n}.png)">' for n, what in enumerate("ab")]
    films[1] = films[1].replace('"b"', '"Test features and prototypes over training: ten clusters."')
    cells = [new_code_cell("1", outputs=[new_output("display_data", {"text/html": film})]) for film in films]
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Title"), *cells]), tmp_path / "method.ipynb")
    assert build.film_of(tmp_path / "method.ipynb") == films[1].replace("../", "")
    nbformat.write(new_notebook(cells=cells[:1]), tmp_path / "method.ipynb")
    assert build.film_of(tmp_path / "method.ipynb") == ""
    assert build.FILM.partition('"')[2] in (ROOT / "notebooks" / "method.ipynb").read_text()


def test_each_notebook_can_be_taken_from_its_page(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "PAGES", tmp_path)
    said = build.how_to_open("short/table1.ipynb", ROOT / "notebooks" / "table1.ipynb")
    assert "jupyter lab notebooks/table1.ipynb" in said
    assert "{download}`take the notebook <../files/table1.ipynb>`" in said
    assert (tmp_path / "files" / "table1.ipynb").read_bytes() == (ROOT / "notebooks" / "table1.ipynb").read_bytes()
