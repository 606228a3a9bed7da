"""The page of a run on points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toy.data.mixtures import MIXTURES
from toy.evaluation import BELOW
from toy.experiments.wall import modulation
from toy.problem import Problem, remarks
from toy.registry import METHODS
from toy.report import pages
from toy.report.drawing import Drawing
from toy.report.table import cells, marks, with_column
from toy.report.verdict import against, with_truth, without_truth


def write(out: Path, results: dict[str, Any], problem: Problem, command: str) -> None:
    """Write `out`/report.html; the figures must have been drawn. `command`: of the run."""
    drawing = Drawing(out, results, problem)
    template, found = ("own_points.html.j2", unknown) if problem.world is None else ("points.html.j2", known)
    shared = {"problem": problem, "level": problem.noise * problem.scale, "remarks": remarks(problem)}
    shared |= {"marks": marks(drawing.summary), "left_out": left_out(drawing)}
    pages.write(out, template, results, command, **shared, **found(drawing))


def known(drawing: Drawing) -> dict[str, Any]:
    """What the page says where the truth is known."""
    summary, relative = drawing.summary, drawing.relative_noise
    assert relative is not None
    return {
        "world": MIXTURES[drawing.results["config"]["world"]].title,
        "relative": relative,
        "verdict": with_truth(drawing),
        "below": BELOW,
        "table": with_column(cells(summary), against(summary, "sub_n", "sub-n mean")),
        "modulation": modulation(relative),
        "modulation_at_twice": modulation(2 * relative),
        "deconvolved": bool(drawing.results["wall"]) or any(row["method"] == "deconvolution" for row in summary),
    }


def unknown(drawing: Drawing) -> dict[str, Any]:
    """What the page says of the user's own data."""
    summary = drawing.summary
    table = with_column(cells(summary), against(summary, "risk_1", "risk n"))
    return {"verdict": without_truth(drawing), "table": table}


def left_out(drawing: Drawing) -> list[str]:
    """The methods that could have been run on these data, and were not."""
    run = {row["method"] for row in drawing.summary}
    return [name for name, method in METHODS.items() if name not in run and method.unfit(drawing.problem) is None]
