"""The table of results: mean and standard error over seeds."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from harness.statistics import mean
from toy.evaluation import LEVELS
from toy.registry import METHODS
from toy.without_truth import MULTIPLES

SHOWN_LEVELS = (0.3, 0.5, 0.7, 1.0)
ROUNDING = 1e-11  # errors up to this size are those of arithmetic in float32, and are shown as 0
PER_LEVEL = ("errors", "mse", "excess")  # lists with an entry for each level
FOOTNOTE = "* uses the truth or clean data: a reference, not a competitor"
Columns = list[tuple[str, Any]]  # heading, and the function that takes the number from a row of the summary


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each method, in the order of the registry, every number as {mean, error, count} over seeds, or None."""
    summary = []
    for name in METHODS:
        mine = [row for row in rows if row["method"] == name]
        if not mine:
            continue
        keys = [key for key in mine[0] if key not in ("format", "method", "seed", *PER_LEVEL)]
        values = {key: [row.get(key) for row in mine] for key in keys}
        numbers: dict[str, Any] = {key: over_seeds(column) for key, column in values.items()}
        for key in PER_LEVEL:
            if key in mine[0]:
                numbers[key] = [over_seeds(list(values)) for values in zip(*(row[key] for row in mine), strict=True)]
        summary.append({"method": name, "title": METHODS[name].title, "reference": METHODS[name].reference, **numbers})
    return summary


def over_seeds(values: Sequence[Any]) -> dict[str, float | int | None] | None:
    """Mean, standard error of the mean and count of the values that are not None; None if all are.

    A value is a number, or a mean over held-out points with its standard error. For one seed the error is the latter, or None.
    """
    known = [value if isinstance(value, list) else [value, None] for value in values if value is not None]
    if not known:
        return None
    average, (_, within) = mean([value for value, _ in known]), known[0]
    error = within if len(known) == 1 and within is not None and math.isfinite(within) else average.error
    return {"mean": average.mean, "error": error, "count": len(known)}


def columns(known_truth: bool) -> Columns:
    """The columns of a run on points."""
    if known_truth:
        at = [(f"nE({level:g} n)" if level != 1 else "nE(n)", entry("errors", LEVELS.index(level))) for level in SHOWN_LEVELS]
        return [*at, ("sub-n mean", entry("sub_n")), ("SW2", entry("sw2"))]
    risks = [(f"risk {m:g} n" if m != 1 else "risk n", entry(f"risk_{m:g}")) for m in MULTIPLES]
    return [*risks, ("inconsistency", entry("inconsistency")), ("SW2 noisy", entry("sw2_noisy"))]


def entry(key: str, index: int | None = None) -> Any:
    """A function that takes a number, or the number of a level, from a row of the summary."""
    if index is None:
        return lambda row: row.get(key)
    return lambda row: row[key][index] if key in row else None


def show(number: dict[str, Any] | None) -> str:
    """0.0638, 0.0638 +- 0.0021, or 6.4e-08 for a number that four decimals would hide; '-' where a method has no such number."""
    if number is None:
        return "-"
    size = abs(number["mean"])
    style = ".1e" if ROUNDING < size < 5e-5 else ".4f" if size < 0.1 else ".3f"
    text = f"{number['mean']:{style}}"
    return text if number["error"] is None else f"{text} ± {number['error']:{style}}"


def cells(summary: list[dict[str, Any]], wanted: Columns | None = None) -> list[list[str]]:
    """The table as text, headings first; by default with the columns of a run on points."""
    wanted = wanted or columns(any("errors" in row for row in summary))
    head = ["method", *(heading for heading, _ in wanted), "evaluations", "CPU s"]
    body = []
    for row in summary:
        spent, seconds = row["network_evaluations"]["mean"], row["cpu_seconds"]["mean"]
        ends = [f"{spent / 1e6:.3g} M" if spent else "-", f"{seconds:.0f}"]
        body.append([starred(row["method"]), *(show(find(row)) for _, find in wanted), *ends])
    return [head, *body]


def as_text(summary: list[dict[str, Any]], wanted: Columns | None = None) -> str:
    """The table for a terminal."""
    note = f"\n{FOOTNOTE}" if any(row["reference"] for row in summary) else ""
    return aligned(cells(summary, wanted)) + note


def starred(method: str) -> str:
    """The name of a method, with a star if it uses the truth."""
    return method + " *" * METHODS[method].reference


def wrapped(text: str) -> str:
    """A paragraph for a terminal: in short lines, without the marks of bold letters."""
    return textwrap.fill(text.replace("**", ""), 110)


def aligned(table: list[list[str]]) -> str:
    """Rows of text with aligned columns and underlined headings."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for first, *others in table:
        cells = [first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells))
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
