"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def markdown(rows: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown. The first row has the headings; the first column is aligned left and the others right.

    Floats have four significant digits, None is an empty cell, and a vertical bar in a cell is escaped.
    """
    head, *body = [[_cell(value) for value in row] for row in rows]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *body))


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
