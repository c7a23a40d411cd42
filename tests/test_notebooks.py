"""The notebook in examples/ runs from an empty folder, and what it shows is committed with it.

`python tests/test_notebooks.py` runs it and writes its outputs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SECONDS = 300
"""After which a cell counts as stuck: runs take a few seconds on an idle machine."""


def executed(path: Path, folder: Path) -> NotebookNode:
    """The notebook with the outputs of a run in `folder`. Raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of this run
    return notebook


def shown(cell: NotebookNode) -> str:
    """The text of all outputs of a cell."""
    parts = [o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in cell.get("outputs", [])]
    return "\n".join(parts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    notebook = executed(path, tmp_path)
    texts = [shown(cell) for cell in notebook.cells if cell.cell_type == "code"]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 200
    accuracy = next(text for text in texts if text.startswith("test: loss"))
    assert float(accuracy.partition("accuracy ")[2].partition("%")[0]) > 80  # runs reach 93; chance is 10
    assert any("must be images as in training" in text for text in texts)
    assert any(text.startswith("/* conv1_fprop") for text in texts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_it_shows_is_committed(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum(bool(cell.outputs) for cell in code) >= len(code) - 2
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error"]
    text = path.read_text(encoding="utf-8")
    assert len(text) < 250_000
    assert str(ROOT) not in text


if __name__ == "__main__":
    for found in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            made = executed(found, Path(folder))
        nbformat.write(made, found)
        print(f"wrote {found}", file=sys.stderr)
