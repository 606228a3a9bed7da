"""Run tutorials and keep their outputs: each `NN_name.py` gives a notebook `NN_name.ipynb` beside it.

    python tutorials/build.py [NN ...]

The `.py` file is the text that is edited and reviewed; its cells are in the percent format of jupytext. The notebook holds the
same cells with what they print and draw. A second run changes nothing in a notebook whose cells and outputs are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def sources(numbers: list[str] | None = None) -> list[Path]:
    """The tutorials in their order; those whose names start with one of the numbers, if there are any."""
    found = sorted(HERE.glob("[0-9][0-9]_*.py"))
    return [path for path in found if path.name[:2] in numbers] if numbers else found


def cells_of(source: Path) -> nbformat.NotebookNode:
    """The cells of a tutorial as a notebook without outputs. The id of a cell is a hash of its text."""
    notebook, seen = jupytext.read(source), []
    for cell in notebook.cells:
        cell.metadata.clear()
        seen.append((cell.cell_type, cell.source))
        cell.id = hashlib.sha256(f"{seen.count(seen[-1])} {seen[-1]}".encode()).hexdigest()[:8]
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def build(source: Path) -> Path:
    """Run a tutorial in a fresh kernel and write its notebook. Returns: the path of the notebook."""
    notebook, target = cells_of(source), source.with_suffix(".ipynb")
    where = {"metadata": {"path": str(source.parent)}}  # Jupyter starts a notebook in its own folder
    options = {"record_timing": False, "coalesce_streams": True, "extra_arguments": ["--log-level=ERROR"]}
    NotebookClient(notebook, timeout=600, resources=where, **options).execute()
    notebook.metadata = nbformat.from_dict(METADATA)  # the kernel has added its versions
    nbformat.write(notebook, target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description="Run tutorials and write their notebooks with outputs.")
    parser.add_argument("numbers", nargs="*", metavar="NN", help="numbers of tutorials, such as 01 03; all by default")
    for source in sources(parser.parse_args().numbers):
        start = time.perf_counter()
        print(f"{build(source).name}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the kernels inherit it: sums in one order give the same digits in each run
    main()
