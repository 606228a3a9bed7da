"""The page of `python -m toy mnist table1`: the table, what it says, and what the models restore."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ambient.page import about_run, bullets, code, highlights, paragraphs, picture, write_page
from toy.figures import save_all
from toy.mnist.pictures import image_grid
from toy.mnist.story import noised
from toy.mnist.table1_findings import CLOSE, NOTE, cells, entries, findings, limits, listed, name_of, standard_error
from toy.page import html_table
from toy.problem import Problem
from toy.story import PAPER
from toy.style import COLOURS, INK, canvas

Look = Callable[[int], tuple[np.ndarray, np.ndarray]]  # t -> clean and noisy images

LEVEL_COLOURS = (COLOURS["oracle"], "#41049d", "#a62098", "#d5546e", "#f48849", "#fcc127")  # clean, and up with the level
SHOWN = (-0.06, 0.3)  # differences; those beyond are written at the border

STORY = """
Noise can be added but not taken off. A model whose training images were noisy from the start, at level t_n, never saw one with
less noise than that; for more noise it can be trained, since its images can be noised further. The theory says that there it
loses *nothing*: the ambient loss has the same optimum as training on clean images. So models trained at different t_n should
restore equally well wherever t is at least the t_n of each. Table 1 of the paper shows this for SDXL and photographs of faces.

Here are digits, on the same noise schedule: X_t = a_t X_0 + s_t Z with s_t = {sigmas}. {count:,} training images for each
model, under noise of its t_n ({noised}). All restore the same {points:,} held-out images under the same noise.
"""
FIGURE = """
Squared error over that of the model trained on clean images; bars are standard errors of the paired difference, over images and,
where there are several, seeds. Hollow: below the level of the model's own noisy images.
Grey: {close:.0%} either way, about the largest difference between models in the paper's Table 1 (.0219 to .0226 per pixel of
photographs at t = 500)."""
PICTURE = """
The same {shown} held-out images under more and less noise, and what each model makes of them. At t = 900 hardly anything can be
known, and the best guess is an average of what images look like; at t = 100 almost everything."""


def write(out: Path, results: dict[str, Any], look: Look, problem: Problem, command: str) -> None:
    """Figures and report.html in `out`; `problem` is that of the first level and seed."""
    config = results["config"]
    save_all(out, {"differences": partial(differences, results), "restored": partial(restored, out, results, look)})
    table, colours = cells(results), colours_of(results)
    levels = [0, *config["levels"]]
    firsts = [(colours[level], name, "") for level, (name, *_) in zip(levels + levels[1:], table[1:], strict=False)]
    sigmas = ", ".join(f"{float(problem.path(float(t)).sigma):.3f}" for t in config["levels"])
    words = {
        "count": problem.count,
        "points": min(config["points"], len(problem.held_out[0])),
        "sigmas": f"{sigmas} at t_n = {listed(config['levels'])}",
        "noised": noised(config),
    }
    parts = [
        paragraphs(f"A run of `python -m toy mnist table1`, after Table 1 of {PAPER}.", kind="by"),
        "<h2>The question</h2>",
        paragraphs(STORY.format(**words)),
        highlights(findings(results)),
        "<h2>The table</h2>",
        html_table(table[0], firsts, [row[1:] for row in table[1:]]),
        paragraphs(f"Squared error of a restored image, {NOTE}.", kind="by"),
        picture(out, "differences", FIGURE.format(close=CLOSE)),
        "<h2>What they restore</h2>",
        picture(out, "restored", PICTURE.format(shown=len(look(900)[0])), wide=True),
        "<h2>What this run cannot show</h2>",
        bullets(limits(config)),
        "<h2>The command of this run</h2>",
        code(command),
        *about_run(out, config),
    ]
    write_page(out, "Restored by models trained on noisy images", parts)


def colours_of(results: dict[str, Any]) -> dict[int, str]:
    """A colour for each model."""
    levels = [0, *results["config"]["levels"]]
    return {level: LEVEL_COLOURS[i % len(LEVEL_COLOURS)] for i, level in enumerate(levels)}


def differences(results: dict[str, Any]) -> Figure:
    """Error over the clean-trained model's, with standard errors; hollow below a model's own level."""
    rows, colours = results["summary"], colours_of(results)
    times, levels = list(dict.fromkeys(row["t"] for row in rows)), results["config"]["levels"]
    figure = canvas(6.8, 3.4)
    axes = figure.add_subplot()
    for place, level in enumerate(levels):
        shift = 0.5 * ((place + 0.5) / len(levels) - 0.5)
        axes.plot([], [], "o", color=colours[level], label=name_of(level))
        for at, t in enumerate(times):
            row = entries(results)[t, level]
            off, face = row["difference"], colours[level] if row["own"] else "white"
            style = {"color": colours[level], "markerfacecolor": face, "markersize": 6.5}
            if SHOWN[0] <= off <= SHOWN[1]:
                axes.errorbar(at + shift, off, yerr=standard_error(row), fmt="o", elinewidth=1.3, **style)
            else:
                axes.plot(at + shift, min(max(off, SHOWN[0]), SHOWN[1]), "o", clip_on=False, **style)
                axes.text(
                    at + shift,
                    SHOWN[1] * (0.95 - 0.07 * place),
                    f"{100 * off:+.0f} %",
                    color=colours[level],
                    ha="center",
                    va="top",
                )
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.axhspan(-CLOSE, CLOSE, color="#f3f4f6", linewidth=0, zorder=0)
    axes.set(xlim=(-0.5, len(times) - 0.5), ylim=SHOWN, ylabel="error over the\nclean-trained model's")
    axes.set_xticks(range(len(times)), [f"t = {t}" for t in times])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, ncols=len(levels), loc="lower left", bbox_to_anchor=(0, 1), title="trained")
    return figure


def restored(out: Path, results: dict[str, Any], look: Look) -> Figure:
    """Held-out images, noised, and restored by each model."""
    config, times = results["config"], list(dict.fromkeys(row["t"] for row in results["summary"]))
    images = [look(t) for t in times]
    rows = [("real, held out", np.concatenate([x_0 for x_0, _ in images])), ("noisy", np.concatenate([x_t for _, x_t in images]))]
    colours = {}
    for level, colour in colours_of(results).items():
        name = f"trained {name_of(level)}"
        method = config["method"] if level else "oracle"
        with np.load(
            out / f"t_n={level}" / "methods" / method / f"seed_{config['seed']}" / "arrays.npz", allow_pickle=False
        ) as file:
            rows.append((name, np.concatenate(list(file["restored"]))))
        colours[name.removesuffix(" *")] = colour
    return image_grid(rows, headings=[f"t = {t}" for t in times], colours=colours)
