"""Tables in Markdown, and the numbers in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.statistics import Mean


def markdown(rows: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown. The first row has the headings; the first column is aligned left and the others right.

    Floats have four significant digits, None is an empty cell, and a vertical bar in a cell is escaped.
    """
    head, *body = [[_cell(value) for value in row] for row in rows]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *body))


def with_error(value: Mean, form: str) -> str:
    """A mean with its standard error, if there is one, each in this format; the error has no sign."""
    return f"{value.mean:{form}}" + (f" +- {value.error:{form.replace('+', '')}}" if value.error is not None else "")


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
