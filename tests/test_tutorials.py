"""The tutorials run, their answers hold, the numbers in their sentences are computed, and the saved notebooks are up to date."""

from __future__ import annotations

import ast
import importlib.util
import re
import time
from pathlib import Path

import jupytext
import nbformat
import pytest
import torch
from matplotlib import pyplot as plt

from tests.test_layout import ROOT, imported

TUTORIALS = sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.py"))
ANSWER = re.compile(r"\A<details><summary>Answer</summary>\n\n(?P<body>.*)\n\n</details>\Z", re.DOTALL)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.,-])\d+\.\d+(?![\d.]*\w)|\d+(?:\.\d+)?(?= ?\\?%)")  # decimals and percentages
PLACES = r"Theorems?|Section|Lemma|Definition|Table|Figs?\.|Eqs?\.|Secs?\."  # of the paper
REFERENCE = re.compile(rf"(?:{PLACES}) \d[.\d]*|\]\([^)]*\)")  # also the addresses of links
each_tutorial = pytest.mark.parametrize("source", TUTORIALS, ids=lambda path: path.stem)


def cells(source: Path) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in jupytext.read(source).cells]


def code_of(source: Path) -> list[str]:
    return [text for kind, text in cells(source) if kind == "code"]


def answers(source: Path) -> list[str]:
    """The code of each answer."""
    found = [ANSWER.match(text) for kind, text in cells(source) if kind == "markdown"]
    return ["\n".join(BLOCK.findall(match["body"])) for match in found if match]


def execute(source: Path) -> dict:
    """The names of a tutorial after its cells."""
    names: dict = {"__name__": "__main__"}
    for number, code in enumerate(code_of(source), 1):
        exec(compile(code, f"{source.name}, code cell {number}", "exec"), names)
    return names


def answer(source: Path, names: dict) -> None:
    """Run each answer on a copy of the names."""
    for number, code in enumerate(answers(source), 1):
        exec(compile(code, f"{source.name}, answer {number}", "exec"), dict(names))


def shows(code: str) -> bool:
    """Whether a cell prints, draws a figure or ends with a value."""
    last = ast.parse(code).body[-1]
    return "print(" in code or "plt.show()" in code or (isinstance(last, ast.Expr) and not isinstance(last.value, ast.Call))


def unstated(source: Path, outputs: str) -> set[str]:
    """The decimals and percentages of sentences that neither code nor output has."""
    everything = cells(source)
    answered = [BLOCK.sub("", text) for kind, text in everything if kind == "markdown"]
    told = {number for text in answered for number in NUMBER.findall(REFERENCE.sub("", text))}
    computed = outputs + "\n".join([text for kind, text in everything if kind == "code"] + answers(source))
    known = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", computed)}
    return {number for number in told if not {float(number), round(float(number) / 100, 6)} & known}


def words(text: str) -> list[str]:
    """The words without numbers, whose last digits may differ from machine to machine."""
    return re.sub(r"[-+\d.,%]+(?:e[-+]?\d+)?", " ", text).split()


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") + "\n" for output in outputs)


@each_tutorial
def test_cells_run_and_answers_hold(source, monkeypatch, capsys):
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    monkeypatch.chdir(source.parent)  # where Jupyter runs it
    start = time.process_time()
    with plt.rc_context(), torch.random.fork_rng():
        names = execute(source)
        told = capsys.readouterr().out
        answer(source, names)
    assert time.process_time() - start < 100
    assert plt.get_fignums() == [], "a figure is drawn but not shown"
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    streams = [output.text for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "stream"]
    assert words(told) == words("".join(streams)), "the saved notebook prints other words"


@each_tutorial
def test_the_notebook_has_the_same_cells_and_their_outputs(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == cells(source)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code if shows(cell.source) and not cell.outputs] == []
    for cell in code:
        assert all(output.output_type != "error" and output.get("name") != "stderr" for output in cell.outputs)
        figures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        assert bool(figures) == ("plt.show()" in cell.source)
    assert source.with_suffix(".ipynb").stat().st_size < 500_000
    assert unstated(source, printed(notebook)) == set()


@each_tutorial
def test_it_has_the_form_of_a_tutorial(source):
    text, everything = source.read_text(), cells(source)
    assert len([line for line in text.splitlines() if line.strip("# ")]) <= 300  # empty ones are not counted
    assert max(len(code.splitlines()) for code in code_of(source)) <= 25
    assert everything[0][0] == everything[-1][0] == "markdown"
    assert everything[0][1].startswith("# ")
    exercises = next(i for i, cell in enumerate(everything) if re.search("^## Exercises$", cell[1], re.MULTILINE))
    assert len([i for i, cell in enumerate(everything) if ANSWER.match(cell[1]) and i > exercises]) == len(answers(source)) == 3
    assert all(any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code))) for code in answers(source))
    assert text.count("<details>") == text.count("</details>") == 3
    files = re.findall(r"`((?:\w+/)+[\w.]*)`", everything[-1][1])
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []


@pytest.mark.parametrize("source", TUTORIALS[:3], ids=lambda path: path.stem)
def test_the_first_three_need_torch_and_a_plot_alone(source):
    assert set().union(*map(imported, code_of(source))) <= {"torch", "matplotlib", "math", "copy", "itertools"}


PLANTED = """# %% [markdown]
# # Title
# A sentence of Section 3.2 with the number 0.25, and 30 % that no cell prints.

# %%
x = 1
print(x / 4)

# %% [markdown]
# <details><summary>Answer</summary>
#
# ```python
# assert x == 1
# ```
#
# </details>
"""


@pytest.fixture
def planted(tmp_path):
    source = tmp_path / "01_planted.py"
    source.write_text(PLANTED)
    return source


def test_what_is_wrong_in_a_tutorial_is_found(planted):
    assert unstated(planted, "0.25\n") == {"30"}
    assert answers(planted) == ["assert x == 1\n"]
    names = execute(planted)
    answer(planted, names)
    planted.write_text(PLANTED.replace("x == 1", "x == 2"))
    with pytest.raises(AssertionError):
        answer(planted, names)
    assert words("a = 1.0e-05, b 30 %") == words("a = 2, b 7.5 %") == ["a", "=", "b"]


def test_a_second_build_changes_nothing_and_an_edit_only_its_cell(planted):
    specification = importlib.util.spec_from_file_location("build", ROOT / "tutorials/build.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    first = module.build(planted).read_bytes()
    assert module.build(planted).read_bytes() == first
    notebook = nbformat.reads(first.decode(), as_version=4)
    assert printed(notebook).strip() == "0.25"
    planted.write_text(PLANTED.replace("# # Title", "# # Another title"))
    after = module.cells_of(planted)
    assert [a.id == b.id for a, b in zip(notebook.cells, after.cells, strict=True)] == [False, True, True]


def test_no_notebook_is_without_its_text():
    assert {path.stem for path in (ROOT / "tutorials").glob("*.ipynb")} == {path.stem for path in TUTORIALS}
