"""The notebooks as files: committed without outputs, parameterised, runnable by papermill and by hand."""

from pathlib import Path

import nbformat
import pytest

from advdpnp import protocol

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


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
    assert len(notebook.cells) <= 30
    assert notebook.cells[0].source.startswith("# ")


def test_every_notebook_is_a_table_a_figure_the_ledger_or_the_method():
    assert {path.stem for path in NOTEBOOKS} - {"method"} <= set(protocol.ARTEFACTS)
