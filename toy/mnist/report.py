"""The report of the comparison on images: one self-contained page."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ambient.page import about_run, bullets, code, highlights, paragraphs, picture, write_page
from ambient.randomness import generator
from toy import figures, table
from toy.drawing import Drawing
from toy.mnist import findings, panels, story
from toy.mnist.data import Digits
from toy.mnist.features import features_of, frechet
from toy.mnist.pictures import SHEET
from toy.mnist.scoring import BELOW, LEVELS
from toy.page import results_table
from toy.problem import Problem
from toy.report import ideas, star
from toy.story import PAPER, TABLE, UNIT_SIGNAL

SHOWN = (0.3, 0.5, 0.7, 1.0, 1.5, 3.0)  # levels of the table


def write_comparison(out: Path, results: dict[str, Any], digits: Digits, problem: Problem, command: str) -> None:
    """report.html and figures of `python -m toy mnist`."""
    drawing = Drawing(out, results, problem)
    drawn = {name: getattr(panels, name) for name in ("data", "restored", "samples", "errors")} | {"training": figures.training}
    figures.save_all(out, {name: partial(draw, drawing) for name, draw in drawn.items()})
    write_page(
        out, "Clean images from noisy ones", [*problem_part(drawing), *results_part(drawing, digits), *ending(drawing, command)]
    )


def problem_part(drawing: Drawing) -> list[str]:
    """What is given, what was found, the two ideas."""
    out, problem, config = drawing.out, drawing.problem, drawing.results["config"]
    ratio = float(problem.path.noise_to_signal(problem.t_n))
    words = {
        "count": problem.count,
        "size": digits_across(problem),
        "what": story.IMAGES[config["world"]],
        "ratio": ratio,
        "share": ratio / problem.data_std,
    }
    data = story.SOME_CLEAN if problem.clean else story.ALL_NOISY
    noise = story.NOISE_AFRESH if config["fresh_noise"] else story.NOISE_ONCE
    words |= {"opening": data["opening"].format(clean=problem.clean, count=problem.count), "given": data["given"]}
    words |= {"noise": noise.format(each=data["each"])}
    return [
        paragraphs(f"A run of `python -m toy mnist`. The ideas are those of {PAPER}.", kind="by"),
        "<h2>The problem</h2>",
        paragraphs(story.PROBLEM.format(**words)),
        picture(out, "data", story.CAPTIONS["data"].format(away="" if problem.clean else ", put away")),
        highlights(findings.of_comparison(drawing)),
        paragraphs(story.POINTS.format(dim=problem.dim)),
        *ideas(problem, UNIT_SIGNAL if config["path"] == "ve" else story.SDXL_SIGNAL),
    ]


def results_part(drawing: Drawing, digits: Digits) -> list[str]:
    """What the methods restore, what they draw, and how large their errors are."""
    out, problem, config = drawing.out, drawing.problem, drawing.results["config"]
    visible, share = findings.visible_directions(problem)
    below = (story.BELOW_SOME_CLEAN if problem.clean else story.BELOW_ALL_NOISY).format(clean=problem.clean)
    skip = story.SKIPS[config["skip"]].format(these="these images" if problem.clean else "the noisy images")
    noisy = " from noisy ones" if problem.clean else ""
    there = "are the clean images alone" if problem.clean else "is none"
    return [
        "<h2>What they restore</h2>",
        paragraphs(story.RESTORED),
        picture(out, "restored", story.CAPTIONS["restored"]),
        "<h2>What they draw</h2>",
        paragraphs(story.DRAWN),
        picture(out, "samples", story.CAPTIONS["samples"].format(sheet=SHEET**2) + restored_only(drawing), wide=True),
        "<h2>Why it is hard below the data's noise</h2>",
        paragraphs(story.BELOW.format(data=below, skip=skip)),
        paragraphs(story.HIDDEN.format(visible=visible, share=100 * share, dim=problem.dim, count=problem.count, noisy=noisy)),
        "<h2>How well it worked</h2>",
        paragraphs(measure(drawing)),
        picture(out, "errors", story.CAPTIONS["errors"].format(below=there)),
        results_table(drawing.summary, columns(drawing.summary)),
        paragraphs(TABLE.format(star=star(drawing.summary)), kind="by"),
        paragraphs(ruler(drawing, digits)),
    ]


def restored_only(drawing: Drawing) -> str:
    """A word on what is no diffusion model and draws nothing."""
    return story.RESTORED_ONLY if any(row["method"] == "noisier2noise" for row in drawing.summary) else ""


def digits_across(problem: Problem) -> int:
    """Pixels across an image."""
    return round(problem.dim**0.5)


def measure(drawing: Drawing) -> str:
    """What the error in the table is."""
    if drawing.problem.world is not None:
        return story.MEASURE_KNOWN.format(below=", ".join(f"{multiple:g}" for multiple in BELOW))
    text = story.MEASURE_ORACLE if any("excess" in row for row in drawing.summary) else story.MEASURE_MSE
    assert drawing.problem.clean_test is not None
    return text.format(points=min(drawing.results["config"]["points"], len(drawing.problem.clean_test)))


def ruler(drawing: Drawing, digits: Digits) -> str:
    """What the Frechet distance is, and how small it gets."""
    if not any("frechet" in row for row in drawing.summary):
        return story.NO_LABELS
    features, problem, count = features_of(digits), drawing.problem, drawing.results["config"]["samples"]
    assert problem.clean_test is not None
    others = digits.train[:count] if problem.world is None else problem.world.sample(count, generator(0, "floor"))
    floor = frechet(features(others), features(problem.clean_test[:count]))
    return story.MEASURE_SAMPLES.format(samples=count, others=len(others), floor=floor)


def columns(summary: list[dict[str, Any]]) -> table.Columns:
    """Errors against the truth, or over the oracle's, or as they are; and the Frechet distance."""
    words = {"errors": "nE", "excess": "excess", "mse": "MSE"}
    kind = next(key for key in words if any(key in row for row in summary))
    levels = [(f"{words[kind]} {'' if m == 1 else f'{m:g} '}n", table.entry(kind, LEVELS.index(m))) for m in SHOWN]
    ends = [("sub-n mean", table.entry("sub_n"))] if kind == "errors" else []
    return [*levels, *ends, *([("FD", table.entry("frechet"))] if any("frechet" in row for row in summary) else [])]


def ending(drawing: Drawing, command: str) -> list[str]:
    """Limits, and what the run was."""
    out, config = drawing.out, drawing.results["config"]
    return [
        "<h2>What this run cannot show</h2>",
        bullets(findings.limits(drawing)),
        "<h2>The command of this run</h2>",
        code(command),
        *about_run(out, config, ("Training", picture(out, "training", story.CAPTIONS["training"]))),
    ]
