"""Faults, planted on purpose: a check that never refuses one proves nothing."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType


def planted(module: ModuleType, *changes: tuple[str, str]) -> ModuleType:
    """The module once more, with pieces of its text replaced; the module itself stays as it is.

    Raises: LookupError for a piece that the text does not hold exactly once, so that no fault is lost when the code is edited.
    """
    source = Path(str(module.__file__)).read_text()
    for old, new in changes:
        if source.count(old) != 1:
            raise LookupError(f"{module.__name__} holds this {source.count(old)} times: {old}")
        source = source.replace(old, new)
    changed = ModuleType(module.__name__)
    changed.__file__ = module.__file__
    exec(compile(source, str(module.__file__), "exec"), changed.__dict__)
    return changed
