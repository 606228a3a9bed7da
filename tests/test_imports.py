"""No module imports itself through others."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def imports_of(module: str, sources: dict[str, str]) -> set[str]:
    """The modules among `sources` that one of them imports, anywhere in it, under TYPE_CHECKING too.

    A package of which only modules are imported is not counted: its __init__ may well import them.
    """
    found = set()
    for node in ast.walk(ast.parse(sources[module])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            owner = node.module or ""
            if node.level:
                parent = module.split(".")[: -node.level]
                owner = ".".join([*parent, *filter(None, [node.module])])
            parts = {f"{owner}.{alias.name}" for alias in node.names}
            found |= parts if parts <= sources.keys() else parts | {owner}
    return (found & sources.keys()) - {module}


def circles(sources: dict[str, str]) -> list[set[str]]:
    """The groups of modules of which each imports, directly or through others, each of the rest."""
    edges = {module: imports_of(module, sources) for module in sources}

    def beyond(module: str) -> set[str]:
        seen, waiting = set[str](), [module]
        while waiting:
            new = edges[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen

    ahead = {module: beyond(module) for module in sources}
    groups = {frozenset(m for m in sources if m in ahead[module] and module in ahead[m]) for module in sources}
    return [set(group) for group in sorted(groups - {frozenset()}, key=sorted)]


def modules_of(*packages: str) -> dict[str, str]:
    """The sources of packages, by the names of their modules; __init__ under the name of its package."""
    found = {}
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path.read_text()
    return found


@pytest.mark.parametrize("package", ["ambient", "harness", "toy", "sdxl"])
def test_no_module_imports_itself_through_others(package):
    assert len(modules_of(package)) > 10
    assert circles(modules_of("ambient", package)) == []


def test_circles_are_found_wherever_they_hide():
    """Through three modules, under TYPE_CHECKING, inside a function, relative, by the name of a package."""
    sources = {
        "house": "",
        "house.one": "from house import two",
        "house.two": "if TYPE_CHECKING:\n    from house.three import Thing",
        "house.three": "def f():\n    import house.one",
        "house.four": "from . import five\nimport house.one",
        "house.five": "from .four import x",
        "house.six": "from house.one import y\nimport math",
    }
    assert circles(sources) == [{"house.five", "house.four"}, {"house.one", "house.three", "house.two"}]
    assert circles({"a": "import b", "b": "import c", "c": ""}) == []
