"""What a figure of the paper has become: shown, or missing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sdxl.figures.found import Found


class Shown(NamedTuple):
    """`here`: what is seen, in a sentence or two; pictures by name, and what stands below them; the directories it is made from;
    headings and rows of a table.
    """

    here: str
    pictures: dict[str, Any]
    used: list[Found]
    table: tuple[list[str], list[list[str]]] | None = None
    captions: Mapping[str, str] = MappingProxyType({})


class Missing(NamedTuple):
    """What the directories lack, and the commands that would make it. Words in capitals are the reader's to fill in."""

    lacks: str
    commands: list[str]
