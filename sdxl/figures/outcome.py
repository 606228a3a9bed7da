"""What a figure of the paper has become: shown, or missing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sdxl.figures.found import Found

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Shown(NamedTuple):
    """Pictures and their captions by name; the directories that it is made from; tables by what they are of; remarks."""

    pictures: dict[str, Any]
    used: list[Found]
    captions: Mapping[str, str] = NOTHING
    tables: Mapping[str, list[list[str]]] = NOTHING  # headings first
    remarks: tuple[str, ...] = ()


class Missing(NamedTuple):
    """What the directories lack."""

    lacks: str
