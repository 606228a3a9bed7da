"""The pages of the site that are made and not written: those of modules, of checks and of tutorials."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from pathlib import Path

from docstrings import inline, restructured
from sphinx.application import Sphinx
from sphinx.config import Config

import ambient
import theory_checks
from ambient import CONTENTS

ROOT = Path(__file__).resolve().parents[2]
MADE = {name: ROOT / "docs" / name for name in ("api", "checks", "tutorials")}  # in .gitignore
CHECKS = sorted(path for path in (ROOT / "theory_checks").glob("*.py") if path.stem != "__init__")


def write(app: Sphinx, config: Config) -> None:
    """Write the pages of modules and checks, and copy the notebooks."""
    pages = {MADE["api"] / f"{module}.rst": _module_page(module) for module in CONTENTS}
    pages |= {MADE["checks"] / f"{path.stem}.rst": _check_page(path) for path in CHECKS}
    notebooks = sorted((ROOT / "tutorials").glob("*.ipynb"))
    pages |= {MADE["tutorials"] / path.name: _notebook(path) for path in notebooks}
    pages[MADE["tutorials"] / "index.md"] = _tutorial_index(notebooks)
    pages[MADE["api"] / "index.rst"] = _api_index()
    pages[MADE["checks"] / "index.rst"] = _check_index()
    for folder in MADE.values():
        folder.mkdir(exist_ok=True)
        for old in set(folder.iterdir()) - set(pages):
            old.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text() != text:  # Sphinx reads again what is newer than its last build
            path.write_text(text)


def _two_columns(rows: str) -> str:
    return f"\n\n.. list-table::\n   :widths: 35 65\n\n{rows}\n"


def _module_page(module: str) -> str:
    """The page of a module of `ambient`: its docstring, then each public name."""
    name, thing = f"ambient.{module}", importlib.import_module(f"ambient.{module}")
    entries = "".join(
        f".. autoclass:: {name}.{entry}\n   :members:\n{_inheritance(getattr(thing, entry))}\n"
        if isinstance(getattr(thing, entry), type)
        else f".. autofunction:: {name}.{entry}\n\n"
        for entry in CONTENTS[module]
    )
    return f"{_title(name)}.. automodule:: {name}\n   :no-members:\n\n.. currentmodule:: {name}\n\n{entries}"


def _inheritance(thing: type) -> str:
    return "   :show-inheritance:\n" if any(base.__module__.startswith("ambient.") for base in thing.__bases__) else ""


def _api_index() -> str:
    """The page of all modules and names, each with the first sentence of its docstring."""
    text = f"{_title('API')}{restructured(ambient.__doc__ or '')}\n\n"
    for module, names in CONTENTS.items():
        thing = importlib.import_module(f"ambient.{module}")
        rows = "".join(
            f"   * - :py:obj:`{name} <ambient.{module}.{name}>`\n     - {_first_sentence(inspect.getdoc(getattr(thing, name)))}\n"
            for name in names
        )
        text += _title(f"ambient.{module}", "-") + _first_sentence(thing.__doc__) + _two_columns(rows)
    return f"{text}.. toctree::\n   :hidden:\n\n" + "".join(f"   {module}\n" for module in CONTENTS)


def _first_sentence(doc: str | None) -> str:
    return inline(re.split(r"\n\s*\n|(?<=[^.\s]\.)\s+(?=[A-Z`])", doc or "")[0])


def _check_page(path: Path) -> str:
    """The page of a file of theory_checks: its docstring and its source."""
    source = path.read_text()
    doc = restructured(ast.get_docstring(ast.parse(source)) or "")
    return f"{_title(path.name)}{doc}\n\n.. literalinclude:: ../../theory_checks/{path.name}\n   :language: python\n"


def _check_index() -> str:
    """The page of all files of theory_checks, each with the first sentence of its docstring."""
    firsts = {path.stem: ast.get_docstring(ast.parse(path.read_text())) or "" for path in CHECKS}
    rows = "".join(f"   * - :doc:`{stem}`\n     - {_first_sentence(doc)}\n" for stem, doc in firsts.items())
    text = _title("Checks") + restructured(theory_checks.__doc__ or "") + _two_columns(rows)
    return f"{text}.. toctree::\n   :hidden:\n\n" + "".join(f"   {stem}\n" for stem in firsts)


def _title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n\n"


def _notebook(path: Path) -> str:
    """A notebook whose links are as they must be in the copy: to pages of the site, and else to files of the repository."""
    notebook = json.loads(path.read_text())
    others = {other.name for other in path.parent.glob("*.ipynb")}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = re.sub(r"\]\(\.\./docs/", "](../", "".join(cell["source"]))
            text = re.sub(r"\]\(\.\./(?!\w+[-\w]*\.md\b)", "](../../", text)
            links = r"\[([^]]+)\]\(([\w-]+\.ipynb)\)"  # one that is not written yet is no link
            cell["source"] = re.sub(links, lambda link: link[0] if link[2] in others else link[1], text)
    return json.dumps(notebook)


def _tutorial_index(notebooks: list[Path]) -> str:
    """The page of all tutorials: the first cell of each says its title and what it teaches."""
    text = "# Tutorials\n\n{{ explainer_beside }}\n\n"
    for path in notebooks:
        first = "".join(json.loads(path.read_text())["cells"][0]["source"])
        title, *rest = first.strip().split("\n\n")
        text += f"- **[{title.lstrip('# ')}]({path.name})**: {' '.join(rest[0].split()) if rest else ''}\n"
    entries = "\n".join(path.stem for path in notebooks)
    return f"{text}\n```{{toctree}}\n:hidden:\n\n{entries}\n```\n"
