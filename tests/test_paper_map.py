"""docs/paper-map.md, the `Paper:` and `Checked by:` tags of the docstrings, and what the checks really use, held together.

Every rule is shown to bite: the same function finds the fault in a text that has it.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = [f"ambient.{path.stem}" for path in sorted((ROOT / "ambient").glob("*.py")) if path.stem != "__init__"]
CHECKS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "theory_checks").glob("test_*.py"))
MAP = (ROOT / "docs" / "paper-map.md").read_text()


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


ROWS = [line for line in MAP.splitlines() if line.startswith("| ") and "`ambient." in line]
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


def used(tree: ast.AST, module: str = "") -> set[str]:
    """The names of `ambient` that code uses, as ambient.module.name; in a type they do not count. Attributes as .name.

    `module`: where the code stands, for names of its own.
    """
    names, modules = {}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ambient":
            kept = modules if node.module == "ambient" else names
            kept |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    for node in values(tree):
        if isinstance(node, ast.Name):
            found.add(names.get(node.id) or f"{module}.{node.id}")
        elif isinstance(node, ast.Attribute):
            found |= {f".{node.attr}", f"{modules.get(ast.unparse(node.value))}.{node.attr}"}
    return found


def values(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those of types."""
    for name, field in ast.iter_fields(node):
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST) and name not in ("annotation", "returns"):
                yield child
                yield from values(child)


@functools.cache
def used_by(check: str) -> frozenset[str]:
    """By a check, and by the helpers beside it that it imports."""
    source = (ROOT / check).read_text()
    helpers = [ROOT / "theory_checks" / f"{name}.py" for name in re.findall(r"from theory_checks\.(\w+) import", source)]
    trees = [ast.parse(source), *(ast.parse(path.read_text()) for path in helpers if not path.stem.startswith("test_"))]
    return frozenset().union(*(used(tree) for tree in trees))


@functools.cache
def parts() -> dict[str, set[str]]:
    """What each function and class of `ambient` uses itself."""
    found = {}
    for module in MODULES:
        tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())
        own = {f"{module}.{node.name}": node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        for name, node in own.items():
            found[name] = used(ast.Module([*imports, node], []), module)
    return found


@functools.cache
def reached(names: frozenset[str]) -> frozenset[str]:
    """These names, and all that they use in turn."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += parts().get(name, ())
    return frozenset(found)


def exercised(name: str, check: str) -> bool:
    """Whether a check uses a function, a class or a method of it: by name, by way of another, or a private part of it."""
    theirs = used_by(check)
    methods = {f".{key.rsplit('.', 1)[1]}" for key in PUBLIC if key.startswith(f"{name}.")}
    methods |= {f".{name.rsplit('.', 1)[1]}"} if name.count(".") > 2 else set()
    private = {part for part in reached(frozenset({name})) if "._" in part and part.startswith("ambient.")}
    return name in reached(theirs) or bool(methods & theirs) or bool(private & theirs)


def test_use_is_told_from_mention():
    imports = "from ambient import losses\nfrom ambient.paths import Path, expand\n"
    found = used(ast.parse(imports + "def f(x: Path) -> Path: return losses.sure(expand(x))"))
    assert {name for name in found if name.startswith("ambient.")} == {"ambient.losses.sure", "ambient.paths.expand"}
    assert not exercised("ambient.losses.consistency", "theory_checks/test_consistency.py")
    assert exercised("ambient.losses.martingale", "theory_checks/test_estimators.py")
    assert not exercised("ambient.losses.sure", "theory_checks/test_schedule.py")


@pytest.mark.parametrize(("name", "check"), CHECKED_BY)
def test_what_is_said_to_be_checked_is_checked(name, check):
    assert (ROOT / check).is_file(), f"{name} is said to be checked by {check!r}, which does not exist"
    assert exercised(name, check), f"{check} never uses {name}"


def test_each_row_names_what_its_checks_use_and_checks_that_use_it():
    for row in ROWS:
        names, checks = named_in(row)
        assert [name for name in names if not any(exercised(name, check) for check in checks)] == [], (
            "no check of the row uses it"
        )
        assert [check for check in checks if not any(exercised(name, check) for name in names)] == [], "it uses none of the row"


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_is_in_the_map(check):
    assert f"`{check}`" in MAP


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:theory_checks|ambient|toy|tests|docs|benchmarks)/[^`]+)`", MAP))))
def test_files_of_the_map_exist(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(ambient\.[\w.]+)`", MAP))))
def test_names_of_the_map_exist(name):
    assert name in PUBLIC


def named_in(row: str) -> tuple[list[str], list[str]]:
    """The names and the checks of a row."""
    return re.findall(r"`(ambient\.[\w.]+)`", row), [check for check in CHECKS if f"`{check}`" in row]


def test_rows_of_the_map_agree_with_the_tags():
    """A function stands in a row with the file that its own docstring names, for every function that names one."""
    together = {(name, check) for names, checks in map(named_in, ROWS) for name in names for check in checks}
    mapped = {name for name, _ in together}
    assert {(name, check) for name, check in CHECKED_BY if name in mapped} - together == set()
