"""The walkthrough runs from an empty folder, and is committed with its outputs."""
import json
import re

import pytest
from conftest import ONE_THREAD, ROOT

NOTEBOOK = ROOT / "walkthrough.ipynb"


@pytest.mark.long
def test_every_cell_runs_from_an_empty_folder(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="jupyter: see requirements-dev.txt")
    nbclient = pytest.importorskip("nbclient", reason="jupyter: see requirements-dev.txt")
    pytest.importorskip("ipykernel", reason="jupyter: see requirements-dev.txt")
    notebook = nbformat.read(NOTEBOOK, 4)
    client = nbclient.NotebookClient(notebook, timeout=1200, kernel_name="python3",
                                     resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env={**ONE_THREAD, "PYTHONPATH": str(ROOT)})
    printed = "".join(output.get("text", "") for cell in notebook.cells
                      for output in cell.get("outputs", ()))
    assert "of 200 questions" in printed
    follows, without = re.search(r"with the mask ([\d.]+)%, without ([\d.]+)%", printed).groups()
    assert float(follows) > float(without)


def test_it_is_small_executed_and_names_no_machine():
    text = NOTEBOOK.read_text("utf-8")
    cells = json.loads(text)["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == [*range(1, len(counts) + 1)] and len(text) < 600_000
    assert not re.search(r"/(home|root|tmp|Users|work)/", text)
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            assert source.count("\n") < 25 and max(map(len, source.split("\n"))) <= 100
