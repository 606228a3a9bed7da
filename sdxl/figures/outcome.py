"""What a figure of the paper has become: shown, or missing."""

from __future__ import annotations

from typing import Any, NamedTuple

from sdxl.figures.found import Found


class Shown(NamedTuple):
    """`here`: what is seen, in a sentence or two; pictures by name; the directories it is made from; headings and rows."""

    here: str
    pictures: dict[str, Any]
    used: list[Found]
    table: tuple[list[str], list[list[str]]] | None = None


class Missing(NamedTuple):
    """What is not among the directories, and the commands that would make it. Words in capitals are the reader's to fill in."""

    lacks: str
    commands: list[str]
