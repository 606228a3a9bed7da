"""One self-contained page that tells the paper's story with the figures and the numbers of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ambient.page import about_run, bullets, code, formula, highlights, paragraphs, picture, write_page
from toy import findings, story
from toy.drawing import Drawing
from toy.evaluation import BELOW
from toy.mixtures import MIXTURES
from toy.page import CONSISTENCY, TWEEDIE_TWICE, results_table
from toy.problem import Problem, remarks
from toy.story import CAPTIONS
from toy.wall import modulation


def write(out: Path, results: dict[str, Any], problem: Problem, command: str) -> None:
    """Write `out`/report.html. The figures must have been drawn."""
    drawing = Drawing(out, results, problem)
    title, parts = ("Your noisy points", unknown) if problem.world is None else ("A clean distribution from noisy points", known)
    top = paragraphs(f"A run of `python -m toy gmm`. The ideas are those of {story.PAPER}.", kind="by")
    write_page(out, title, [top, *parts(drawing), *ending(drawing, command)])


def known(drawing: Drawing) -> list[str]:
    """The story where the truth is known."""
    out, level, relative = drawing.out, drawing.problem.t_n * drawing.problem.scale, drawing.relative_noise
    assert relative is not None
    title = MIXTURES[drawing.results["config"]["world"]].title
    below = ", ".join(f"{multiple:g}" for multiple in BELOW)
    return [
        "<h2>The problem</h2>",
        paragraphs(story.PROBLEM.format(title=title, level=level, relative=relative)),
        *(paragraphs(remark, kind="remark") for remark in remarks(drawing.problem)),
        picture(out, "samples", CAPTIONS["samples"], wide=True),
        highlights(findings.with_truth(drawing)),
        *ideas(drawing.problem),
        picture(out, "fields", CAPTIONS["field curves" if drawing.problem.dim == 1 else "fields"], wide=True),
        "<h2>How well it worked</h2>",
        paragraphs(story.MEASURE.format(below=below)),
        picture(out, "errors", CAPTIONS["errors"]),
        results_table(drawing.summary),
        paragraphs(story.TABLE.format(star=star(drawing.summary)), kind="by"),
        "<h2>The wall</h2>",
        paragraphs(story.WALL.format(here=modulation(relative), twice=modulation(2 * relative))),
        paragraphs(story.DECONVOLUTION) if deconvolved(drawing) else "",
        picture(out, "wall", CAPTIONS["wall"]) or paragraphs(story.NO_WALL, kind="by"),
    ]


def unknown(drawing: Drawing) -> list[str]:
    """The story of the user's own data."""
    out, problem = drawing.out, drawing.problem
    numbers = {
        "count": problem.count,
        "dim": problem.dim,
        "held_out": len(problem.held_out[0]),
        "level": problem.t_n * problem.scale,
    }
    return [
        paragraphs(story.OWN_DATA.format(**numbers, share=problem.t_n / problem.data_std)),
        *(paragraphs(remark, kind="remark") for remark in remarks(problem)),
        highlights(findings.without_truth(drawing)),
        picture(out, "samples", CAPTIONS["own samples"], wide=True),
        *ideas(problem),
        "<h2>What can be known without the truth</h2>",
        paragraphs(story.KNOWABLE),
        picture(out, "without_truth", CAPTIONS["without_truth"], wide=True),
        results_table(drawing.summary),
    ]


def star(summary: list[dict[str, Any]]) -> str:
    """What a star means, where there is one."""
    return (
        "A star: the method uses the truth or clean data, and is no competitor. " if any(r["reference"] for r in summary) else ""
    )


def deconvolved(drawing: Drawing) -> bool:
    """Whether the grid deconvolution was run, as a method or for the wall."""
    return bool(drawing.results["wall"]) or any(row["method"] == "deconvolution" for row in drawing.summary)


def ideas(problem: Problem, path: str = story.UNIT_SIGNAL) -> list[str]:
    """The two ideas of the paper; `path` is a word on a_t."""
    data = story.SOME_CLEAN if problem.clean else story.ALL_NOISY
    return [
        "<h2>First idea: Tweedie, twice</h2>",
        paragraphs(story.TWEEDIE),
        formula(*TWEEDIE_TWICE),
        paragraphs(story.TWEEDIE_SYMBOLS.format(path=path), kind="by"),
        paragraphs(story.AMBIENT.format(**data)),
        "<h2>Second idea: consistency</h2>",
        paragraphs(story.MARTINGALE),
        formula(*CONSISTENCY),
        paragraphs(story.CONSISTENT.format(**data)),
    ]


def ending(drawing: Drawing, command: str) -> list[str]:
    """Limits, and what the run was."""
    out, config = drawing.out, drawing.results["config"]
    training = picture(out, "training", CAPTIONS["training"])
    return [
        "<h2>What this run cannot show</h2>",
        bullets(findings.limits(drawing)),
        "<h2>The command of this run</h2>",
        code(command),
        *about_run(out, config, ("Training", training)),
    ]
