"""Pieces of a report page that are of the toys alone: the two formulas, tables whose rows begin with a colour."""

from __future__ import annotations

from html import escape
from typing import Any

from ambient.page import table
from toy.style import COLOURS
from toy.table import Columns, cells

TWEEDIE_TWICE = ("E[X_n | X_t = x] = ", "a_n q^2 E[X_0 | X_t = x] + r s_n^2 x", "s_t^2")
CONSISTENCY = ("E[ h(X_s, s) | X_t = x ] = h(x, t)   for every s < t", "", "")


def results_table(summary: list[dict[str, Any]], wanted: Columns | None = None) -> str:
    """The table of the terminal, with a line on what each method is."""
    head, *body = cells(summary, wanted)
    firsts = [(COLOURS[row["method"]], name, row["title"]) for row, (name, *_) in zip(summary, body, strict=True)]
    return html_table(head, firsts, [numbers for _, *numbers in body])


def html_table(head: list[str], firsts: list[tuple[str, str, str]], numbers: list[list[str]]) -> str:
    """A table whose rows begin with (colour, name, a line on what it is)."""
    rows = []
    for (colour, name, title), cells_of_row in zip(firsts, numbers, strict=True):
        dot = f'<span class="dot" style="background:{colour}"></span>'
        rows.append([f"{dot}<b>{escape(name)}</b><small>{escape(title)}</small>", *map(escape, cells_of_row)])
    return table(head, rows)
