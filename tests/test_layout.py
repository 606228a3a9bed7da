"""What gives the house its meaning: who imports whom, and no dead options. The paper map: test_paper_map.py.

Every rule is shown to bite: the same function finds the fault in a text that has it.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest

from sdxl.__main__ import COMMANDS as SDXL
from toy.__main__ import COMMANDS as TOY

ROOT = Path(__file__).resolve().parents[1]
TRACKS = {"toy", "sdxl"}
HEAVY = {"diffusers", "transformers", "peft", "accelerate", "datasets", "matplotlib", "pandas", "sklearn"}
MODULES = [f"ambient.{path.stem}" for path in sorted((ROOT / "ambient").glob("*.py")) if path.stem != "__init__"]
COMMANDS = {f"{track} {name}": it for track, table in (("toy", TOY), ("sdxl", SDXL)) for name, it in table.items()}


def imported(source: str) -> set[str]:
    """The top-level packages that a module imports, anywhere in it; `importlib.import_module` of a literal counts."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")) and node.args:
            found |= {str(node.args[0].value).split(".")[0]} if isinstance(node.args[0], ast.Constant) else set()
    return found


@pytest.mark.parametrize("module", MODULES)
def test_the_mathematics_knows_neither_tracks_nor_heavy_packages(module):
    path = ROOT / (module.replace(".", "/") + ".py")
    assert imported(path.read_text()) & (TRACKS | HEAVY) == set()


@pytest.mark.parametrize("path", sorted((ROOT / "toy").rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_toy_track_does_not_know_the_other(path):
    assert imported(path.read_text()) & {"sdxl", "transformers", "peft", "accelerate", "tests", "theory_checks"} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "sdxl").rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_large_track_does_not_know_the_toy(path):
    assert imported(path.read_text()) & {"toy", "tests", "theory_checks", "pickle"} == set()


def test_imports_are_found_wherever_they_hide():
    source = (
        "def f():\n    from diffusers.models import x\n    import toy.problem, torch\n    importlib.import_module('peft.lora')"
    )
    assert imported(source) == {"diffusers", "toy", "torch", "peft"}


OPTIONS = re.compile(r"(Config|Options|Common)$")  # how classes of options are called
FOREIGN = {"vae", "unet", "model", "scheduler", "pipeline", "tokenizer", "text_encoder"}  # what these call config is their own


def bearers(tree: ast.AST) -> set[str]:
    """The names under which a module has options: `config`, those annotated with a class of options, and other names of them."""
    found = {"config"}
    for node in ast.walk(tree):
        if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation is not None:
            written = ast.unparse(node.annotation).strip("'\"").split("|")[0].strip()
            name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
            found |= {name.split(".")[-1]} if OPTIONS.search(written) else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Name, ast.Attribute)):
            value = ast.unparse(node.value).split(".")[-1]
            found |= {ast.unparse(target).split(".")[-1] for target in node.targets} if value in found else set()
    return found


def options_read(sources: dict[str, str]) -> set[str]:
    """The attributes read from options but where they are checked: `NAME.x` for each of `bearers`, `self.x` in their class."""
    found = set()

    def visit(node: ast.AST, names: set[str], in_options: bool) -> None:
        if isinstance(node, ast.FunctionDef) and node.name == "__post_init__":
            return
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            *before, last = ast.unparse(node.value).split(".")
            if (last in names and before[-1:] not in [[name] for name in FOREIGN]) or (
                in_options and not before and last == "self"
            ):
                found.add(node.attr)
        for child in ast.iter_child_nodes(node):
            visit(child, names, in_options or (isinstance(node, ast.ClassDef) and bool(OPTIONS.search(node.name))))

    for source in sources.values():
        tree = ast.parse(source)
        visit(tree, bearers(tree), in_options=False)
    return found


def reached(module: str, root: Path = ROOT) -> dict[str, str]:
    """The sources of a module and of all that it imports, anywhere in them, of its own package: {name: text}."""
    found: dict[str, str] = {}
    waiting, package = [module], module.split(".")[0]
    while waiting:
        name = waiting.pop()
        stem = root / name.replace(".", "/")
        path = next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.exists()), None)
        if path is None or name in found or not name.startswith(package + "."):
            continue
        found[name] = path.read_text()
        for node in ast.walk(ast.parse(found[name])):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_option_is_read_by_its_command(command):
    declared = {field.name for field in dataclasses.fields(command.options())}
    assert declared - options_read(reached(command.module)) == set()


def test_only_what_a_command_imports_is_searched_for_its_options(tmp_path):
    (tmp_path / "house").mkdir()
    (tmp_path / "house/one.py").write_text("def f():\n    from house import two\n")
    (tmp_path / "house/two.py").write_text("import math\nfrom house.one import f\n")
    (tmp_path / "house/three.py").write_text("from house.one import f\n")
    assert reached("house.one", tmp_path).keys() == {"house.one", "house.two"}
    assert "sdxl.evaluate.memorization.measure" not in reached("sdxl.train.command")
    assert "sdxl.train.loop" in reached("sdxl.train.command")


def test_options_that_are_only_declared_or_checked_are_found():
    source = """
class TrainOptions:
    dead: int = 1
    checked: int = 1
    used: int = 1
    def __post_init__(self): assert self.checked
    def double(self): return 2 * self.used
def main(config, other, asked: TrainOptions, more: Path):
    config.written = 1
    given = asked
    found = config.read + asked.wanted + given.had + plan.config.far
    return found + other.dead + more.dead + vae.config.dead + run.vae.config.dead
class Loop:
    def __init__(self, chosen: 'TrainOptions'): self.chosen = chosen
    def step(self): return self.chosen.kept + self.dead
"""
    assert options_read({"x": source}) == {"used", "read", "wanted", "had", "far", "kept"}


def test_mutants_are_planted_in_modules_that_exist_and_run_tests_that_do():
    found = importlib.util.spec_from_file_location("mutants", ROOT / "benchmarks/mutants.py")
    assert found is not None
    mutants = importlib.util.module_from_spec(found)
    found.loader.exec_module(mutants)  # type: ignore[union-attr]
    files = {f"{module}.py" for module in mutants.TESTS} | {
        test.split("::")[0] for tests in mutants.TESTS.values() for test in tests
    }
    assert {file for file in files if not (ROOT / file).is_file()} == set()


@pytest.mark.parametrize("package", ["ambient", "harness", "toy", "sdxl"])
def test_no_file_is_longer_than_a_reader_holds_in_mind(package):
    long = {path.name: lines for path in (ROOT / package).rglob("*.py") if (lines := path.read_text().count("\n")) > 250}
    assert long == {}


def test_what_both_tracks_share_knows_neither_of_them():
    sources = [path.read_text() for path in sorted((ROOT / "harness").glob("*.py"))]
    assert len(sources) > 10
    assert set().union(*map(imported, sources)) & (TRACKS | {"tests", "theory_checks"}) == set()
