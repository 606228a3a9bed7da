"""The pages of the toy track: what they have in common, and the page of a run on points."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from harness import page
from toy.data.mixtures import MIXTURES
from toy.evaluation import BELOW
from toy.experiments.wall import modulation
from toy.paths import PATHS
from toy.problem import Problem, remarks
from toy.registry import METHODS
from toy.report.drawing import Drawing
from toy.report.style import COLOURS
from toy.report.table import cells
from toy.report.verdict import against, with_truth, without_truth


def write(out: Path, template: str, results: dict[str, Any], command: str, **values: Any) -> None:
    """Write `out`/report.html from a template of toy/templates. The figures must exist; `command` is the one that was run."""
    config = results["config"]
    process = PATHS[config.get("path", "ve")]
    path = f" --path {config['path']}" if "--path" in shlex.split(command) else ""  # for the commands that the page suggests
    page.write(out, "toy", template, **page.about_run(out, command, config), process=process, path=path, **values)


def comparison(drawing: Drawing, table: list[list[str]], summary: list[dict[str, Any]], key: str, name: str) -> dict[str, Any]:
    """The table of methods with a column that compares the number `key`, called `name`; and the methods that were not run."""
    run, column = {row["method"] for row in summary}, against(summary, key, name)
    return {
        "table": [[*row, cell] for row, cell in zip(table, column, strict=True)] if column else table,
        "marks": [(COLOURS[row["method"]], row["title"]) for row in summary],
        "left_out": [other for other, it in METHODS.items() if other not in run and it.unfit(drawing.problem) is None],
    }


def write_points(out: Path, results: dict[str, Any], problem: Problem, command: str) -> None:
    """The page of a run on points."""
    drawing = Drawing(out, results, problem)
    template, of_world = ("own_points.html.j2", unknown) if problem.world is None else ("points.html.j2", known)
    values = {"problem": problem, "level": problem.noise * problem.scale, "remarks": remarks(problem), **of_world(drawing)}
    write(out, template, results, command, **values)


def known(drawing: Drawing) -> dict[str, Any]:
    """The values of the page where the truth is known."""
    summary, relative = drawing.summary, drawing.relative_noise
    assert relative is not None
    return comparison(drawing, cells(summary), summary, "sub_n", "sub-n mean") | {
        "world": MIXTURES[drawing.results["config"]["world"]].title,
        "relative": relative,
        "verdict": with_truth(drawing),
        "below": BELOW,
        "modulation": modulation(relative),
        "modulation_at_twice": modulation(2 * relative),
        "deconvolved": bool(drawing.results["wall"]) or any(row["method"] == "deconvolution" for row in summary),
    }


def unknown(drawing: Drawing) -> dict[str, Any]:
    """The values of the page of the user's own data."""
    shared = comparison(drawing, cells(drawing.summary), drawing.summary, "risk_1", "risk n")
    return shared | {"verdict": without_truth(drawing)}
