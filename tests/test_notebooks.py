"""The notebooks as files: committed without outputs, parameterised, runnable by papermill and by hand."""

from pathlib import Path

import nbformat
import pytest

from advdpnp import notebook as nb
from advdpnp.config import load_tier, parse_tier
from advdpnp.paper import artefacts
from advdpnp.store import RESULTS, write_json

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(path for path in FOLDER.glob("*.ipynb") if path.stem != "colab")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_stripped_parameterised_and_short(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell for cell in code if cell.outputs or cell.execution_count]
    parameters = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(parameters) == 1
    assert parameters[0].source.startswith('tier = "demo"'), "the defaults must be the small tier"
    assert notebook.metadata.kernelspec.name == "python3"
    assert len(notebook.cells) <= (45 if path.stem == "method" else 30)  # the method's are slides, one idea each
    assert notebook.cells[0].source.startswith("# ")


def test_every_notebook_is_a_table_a_figure_the_ledger_or_the_method():
    assert {path.stem for path in NOTEBOOKS} - {"method"} <= set(artefacts.ARTEFACTS)


def test_each_cell_of_the_method_says_what_it_is_on_the_slides():
    """One heading begins each slide; what it shows of code is short: 115 columns fit, and 30 lines."""
    cells = nbformat.read(FOLDER / "method.ipynb", as_version=4).cells
    kinds = [cell.metadata.slideshow.slide_type for cell in cells]
    assert set(kinds) <= {"slide", "subslide", "fragment", "-", "notes", "skip"}
    for kind, cell in zip(kinds, cells, strict=True):
        headed = cell.cell_type == "markdown" and cell.source.startswith("#")
        assert headed == (kind in ("slide", "subslide")), cell.id
        if cell.cell_type == "code" and kind in ("fragment", "-") and "hide-input" not in cell.metadata.get("tags", ()):
            lines = cell.source.splitlines()
            assert len(lines) <= 30, cell.id
            assert max(map(len, lines)) <= 115, cell.id


def test_the_colab_notebook_is_one_stripped_cell_that_runs_the_method():
    notebook = nbformat.read(FOLDER / "colab.ipynb", as_version=4)
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not cell.outputs
    assert "method.ipynb" in cell.source


def test_stored_results_are_shown_without_their_weights(monkeypatch):
    """As `restore` leaves a run: nothing can be computed, what is there is shown, and what is not is named."""
    tier = parse_tier("mine", {"label": "a test", "methods": ["AT"], "blocks": {artefacts.CIFAR10: None}}, "x")
    run, said = tier.run(artefacts.CIFAR10, "AT"), []
    monkeypatch.setattr(nb, "display", lambda shown: said.append(shown.data))
    monkeypatch.setattr(nb, "evaluate", lambda *_, **__: pytest.fail("computed"))
    write_json(RESULTS.trained(run), {})
    *there, absent = artefacts.artefact("table1").evaluations()
    for name in there:
        write_json(RESULTS.evaluation(run, name), {})
    assert nb.measure(tier, "table1") == [run]
    assert said == [f"*Not evaluated, and the weights are not here: {run.id} ({absent}).*"]
    (RESULTS.run(run) / "model.pt").write_bytes(b"")
    monkeypatch.setattr(nb, "evaluate", lambda run, *names, wait: said.append(names))
    nb.measure(tier, "table1")
    assert said[1:] == [(*there, absent)]


def test_a_table_without_attacks_has_an_empty_list_of_them():
    tier = load_tier("short")
    assert nb.attacks_of(tier, "table5").empty  # corruptions alone
    assert nb.attacks_of(tier, "table4").loc["pgd20", "steps"] == 20
