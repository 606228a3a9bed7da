"""What gives the house its meaning: who imports whom, no dead options, and a paper map that agrees with the code.

Every rule is shown to bite: the same function finds the fault in a text that has it.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
TRACKS = {"toy", "sdxl"}
HEAVY = {"diffusers", "transformers", "peft", "accelerate", "datasets", "matplotlib", "pandas", "sklearn"}
MODULES = [f"ambient.{path.stem}" for path in sorted((ROOT / "ambient").glob("*.py")) if path.stem != "__init__"]
COMMANDS = ["toy.gmm", "toy.mnist.compare", "toy.mnist.table1", "toy.mnist.figures", "toy.mnist.memorization"]
COMMANDS += ["sdxl.corrupt", "sdxl.train", "sdxl.generate", "sdxl.rehearse", "sdxl.tiny"]
COMMANDS += ["sdxl.evaluate.restoration", "sdxl.evaluate.fid", "sdxl.evaluate.memorization", "sdxl.figures"]
COMMANDS += ["sdxl.attack.noise", "sdxl.attack.mask"]
CHECKS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "theory_checks").glob("test_*.py"))
MAP = (ROOT / "docs" / "paper-map.md").read_text()


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
    source = "def f():\n    from diffusers.models import x\n    import toy.gmm, torch\n    importlib.import_module('peft.lora')"
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


@pytest.mark.parametrize("module", COMMANDS)
def test_every_option_is_read_by_its_command(module):
    config = importlib.import_module(module).Config
    assert {field.name for field in dataclasses.fields(config)} - options_read(reached(module)) == set()


def test_only_what_a_command_imports_is_searched_for_its_options(tmp_path):
    (tmp_path / "house").mkdir()
    (tmp_path / "house/one.py").write_text("def f():\n    from house import two\n")
    (tmp_path / "house/two.py").write_text("import math\nfrom house.one import f\n")
    (tmp_path / "house/three.py").write_text("from house.one import f\n")
    assert reached("house.one", tmp_path).keys() == {"house.one", "house.two"}
    assert "sdxl.evaluate.matches" not in reached("sdxl.train")
    assert "sdxl.loop" in reached("sdxl.train")


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


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """(ambient.module.Name, object) for what a module defines, methods as ambient.module.Class.method."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(thing) or inspect.isfunction(thing):
            yield f"{module.__name__}.{name}", thing
        if inspect.isclass(thing):
            methods = ((f"{module.__name__}.{name}.{key}", value) for key, value in vars(thing).items())
            yield from (
                (key, value) for key, value in methods if inspect.isfunction(value) and not key.split(".")[-1].startswith("_")
            )


PUBLIC = {name: thing.__doc__ or "" for module in MODULES for name, thing in public(importlib.import_module(module))}
SPEAKS_OF_THE_PAPER = [name for name, doc in PUBLIC.items() if "Paper:" in doc]


def checks_named(doc: str) -> list[str]:
    """The files after `Checked by:`."""
    return [file for files in re.findall(r"Checked by:\s*([\w/.]+(?:,\s*[\w/.]+)*)", doc) for file in re.split(r",\s*", files)]


CHECKED_BY = [(name, check) for name, doc in PUBLIC.items() for check in checks_named(doc)]


def in_map(name: str, text: str) -> bool:
    """A function or class itself, or the class of a method."""
    owner = name.rsplit(".", 1)[0] if name.count(".") > 2 else name
    return f"`{name}`" in text or f"`{owner}`" in text


def test_names_are_found_in_the_map_whole():
    assert in_map("ambient.paths.Level.apply", "`ambient.paths.Level`")
    assert not in_map("ambient.paths.Lev", "`ambient.paths.Level`")
    assert len(SPEAKS_OF_THE_PAPER) > 15
    assert len(CHECKED_BY) > 25


def test_all_files_of_a_tag_are_found():
    assert checks_named("A law. Checked by: a/b.py, a/c.py\n\nRaises: no") == ["a/b.py", "a/c.py"]


@pytest.mark.parametrize("name", SPEAKS_OF_THE_PAPER)
def test_what_speaks_of_the_paper_is_in_the_map(name):
    assert in_map(name, MAP)


@pytest.mark.parametrize(("name", "check"), CHECKED_BY)
def test_what_is_said_to_be_checked_is_checked(name, check):
    """The check exists and imports the module, or a name from it."""
    path = ROOT / check
    assert path.is_file(), f"{name} is said to be checked by {check!r}, which does not exist"
    module = name.split(".")[1]
    source = path.read_text()
    assert re.search(rf"from ambient import [\w, ()\n]*\b{module}\b|from ambient\.{module} import", source), (
        f"{check} lacks {module}"
    )


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_is_in_the_map(check):
    assert f"`{check}`" in MAP


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:theory_checks|ambient|toy|tests|docs|benchmarks)/[^`]+)`", MAP))))
def test_files_of_the_map_exist(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(ambient\.[\w.]+)`", MAP))))
def test_names_of_the_map_exist(name):
    assert name in PUBLIC


def test_rows_of_the_map_agree_with_the_tags():
    """A function stands in a row with the file that its own docstring names, for every function that names one."""
    rows = [line for line in MAP.splitlines() if line.startswith("| ") and "`ambient." in line]
    together = {
        (name, check) for row in rows for name in re.findall(r"`(ambient\.[\w.]+)`", row) for check in CHECKS if check in row
    }
    mapped = {name for name, _ in together}
    assert {(name, check) for name, check in CHECKED_BY if name in mapped} - together == set()
