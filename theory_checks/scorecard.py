"""The statements that the checks test, and the results: draws, errors and rejected mutants.

A statement is tested twice with the same measure of error. With the true formula the error stays within a derived tolerance
(`holds`). With a deliberately wrong formula, a mutant, it exceeds the same tolerance (`rejects`). If the mutants passed too, the
check would prove nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

STATEMENTS: dict[str, Statement] = {}


class Statement:
    """One statement of the paper. It registers itself in STATEMENTS.

    Args: id: a short name, used once; title: what the statement says, in one line.
    Raises: ValueError for an id that is already used.
    """

    def __init__(self, id: str, title: str):
        if id in STATEMENTS:
            raise ValueError(f"statement {id!r} is declared twice")
        self.id, self.title = id, title
        self.draws, self.worst_ratio = 0, 0.0
        self.mutants: dict[str, bool] = {}
        STATEMENTS[id] = self

    def holds(self, error: float, tolerance: float) -> None:
        """Record one draw and require error <= tolerance; an error that is not a number fails."""
        error, tolerance = float(error), float(tolerance)
        self.seen(1, 0.0 if error == 0 else error / tolerance if tolerance > 0 else math.inf)
        assert error <= tolerance, f"{self.id} does not hold ({self.title}): error {error:.3g}, tolerance {tolerance:.3g}"

    def seen(self, draws: int, ratio: float) -> None:
        """Count draws, the worst of which has this ratio of error to tolerance."""
        self.draws += draws
        self.worst_ratio = math.nan if math.isnan(ratio + self.worst_ratio) else max(self.worst_ratio, ratio)

    def rejects(self, mutant: str, error: float, tolerance: float) -> None:
        """Require that the named mutant's error exceeds the tolerance; an error that is not a number fails."""
        error, tolerance = float(error), float(tolerance)
        self.mutants[mutant] = error > tolerance
        assert error > tolerance, f"{self.id} does not reject {mutant!r}: error {error:.3g}, tolerance {tolerance:.3g}"


def worst(measured: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The (error, tolerance) with the largest ratio; an error that is not a number counts as the largest."""
    pairs = [(float(error), float(tolerance)) for error, tolerance in measured]
    return max(pairs, key=lambda pair: math.inf if math.isnan(pair[0]) else pair[0] / max(pair[1], 1e-300))


def mildest(measured: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The (error, tolerance) with the smallest ratio, for a mutant that every pair must reject; fails if there is none."""
    pairs = [(float(error), float(tolerance)) for error, tolerance in measured]
    return min(pairs, key=lambda pair: -math.inf if math.isnan(pair[0]) else pair[0] / max(pair[1], 1e-300))


def rows() -> list[dict[str, Any]]:
    """One row for each statement that was tested, in order of declaration."""
    return [
        {
            "statement": s.id,
            "title": s.title,
            "draws": s.draws,
            "worst_ratio": s.worst_ratio,
            "mutants_rejected": sorted(name for name, rejected in s.mutants.items() if rejected),
            "mutants_tried": sorted(s.mutants),
        }
        for s in STATEMENTS.values()
        if s.draws or s.mutants
    ]


def found() -> list[tuple[Any, ...]]:
    """The results of this process for each statement, for `add` in another process."""
    return [(s.id, s.title, s.draws, s.worst_ratio, s.mutants) for s in STATEMENTS.values()]


def add(shared: Iterable[tuple[Any, ...]]) -> None:
    """Add the results of another process: its draws, its mutants and, if it is larger, its worst ratio."""
    for id, title, draws, ratio, mutants in shared:
        known = STATEMENTS.get(id) or Statement(id, title)
        known.seen(draws, ratio)
        known.mutants |= mutants


def write_json(path: Path) -> None:
    """Write all rows as JSON."""
    path.write_text(json.dumps(rows(), indent=1) + "\n")


def write_markdown(path: Path) -> None:
    """Write all rows as a table in Markdown."""
    lines = [
        "# Scorecard",
        "",
        "Written by `pytest theory_checks --write-scorecard`. A draw is one set of parameters (a mixture, a path,",
        "levels) for which the statement was tested; the worst ratio is the largest error found over its tolerance and must stay",
        "below 1; a mutant is a deliberately wrong formula that the same tolerance rejected.",
        "",
        "| statement | what it says | draws | worst error / tolerance | mutants rejected |",
        "|---|---|---|---|---|",
    ]
    for row in rows():
        rejected = f"{len(row['mutants_rejected'])} of {len(row['mutants_tried'])}: {', '.join(row['mutants_rejected'])}"
        cells = [row["statement"], row["title"], str(row["draws"]), f"{row['worst_ratio']:.2g}", rejected]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    path.write_text("\n".join(lines) + "\n")
