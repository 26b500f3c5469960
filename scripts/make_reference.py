"""Make ``tests/reference/*.ipynb`` from the executed notebooks of the run ``reference``.

``make reference`` runs the report under the ``ci`` profile and calls this. A reference keeps the
cells, the injected parameters and every text output, which nbval compares on replay; pictures
(which nbval skips), progress and times are left out, so that the file is small and two machines
agree.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
RUN = "reference"


def strip(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave what a replay must reproduce: text, execution counts, parameters."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    # how long it took is not what a second run has to reproduce
    notebook.metadata.get("face_decisions", {}).pop("cost", None)
    for cell in notebook.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in {"tags", "mystnb"}}
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                continue
            if "data" in output:
                pictures = [k for k in output.data if k.startswith("image/")]
                for kind in pictures:
                    del output.data[kind]
                output.metadata = {}
            kept.append(output)
        cell.outputs = kept
    return notebook


def main() -> int:
    """Write the references; returns the exit status."""
    source = ROOT / "data" / "runs" / RUN / "notebooks"
    target = ROOT / "tests" / "reference"
    target.mkdir(exist_ok=True)
    found = sorted(source.glob("*.ipynb"))
    if not found:
        print(f"{source} holds no notebook: use `make reference`.", file=sys.stderr)
        return 1
    for path in target.glob("*.ipynb"):
        path.unlink()
    for path in found:
        notebook = strip(nbformat.read(path, as_version=4))
        nbformat.write(notebook, target / path.name)
        print(f"wrote tests/reference/{path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
