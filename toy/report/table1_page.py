"""The table and the page of `python -m toy mnist table1`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from toy.problem import Problem
from toy.report import pages
from toy.report.figures import save_all
from toy.report.pictures import image_grid
from toy.report.style import COLOURS, INK, canvas
from toy.report.verdict import SLIGHT, WORDS

Look = Callable[[int], tuple[np.ndarray, np.ndarray]]  # t -> clean and noisy images
Entry = dict[str, Any]  # of the summary: a model at a level

LEVEL_COLOURS = (COLOURS["oracle"], "#41049d", "#a62098", "#d5546e", "#f48849", "#fcc127")  # clean, and up with the level
SHOWN = (-0.06, 0.3)  # differences; those beyond are written at the border
CLOSE = 0.03  # what is called close: about the largest difference between models in the paper's Table 1, .0219 to .0226
ROUGH = 0.05  # a standard error from which percentages need no decimals
NOTE = "* trained on clean images; mean (standard deviation over images) per pixel; ~ below the level of the model's noisy images"


def write(out: Path, results: dict[str, Any], look: Look, problem: Problem, command: str) -> None:
    """Figures and report.html in `out`; `problem`: of the first level and seed; `command`: of the run."""
    save_all(out, {"differences": partial(differences, results), "restored": partial(restored, out, results, look)})
    config, colours = results["config"], colours_of(results)
    levels = [0, *config["levels"]]
    pages.write(
        out, "table1.html.j2", results, command, problem=problem, table=cells(results), close=CLOSE, verdict=verdict(results),
        marks=[(colours[level], "") for level in [*levels, *levels[1:]]] + [(INK, "a guess without a look at the noisy image")],
        sigmas=[float(problem.path(float(t)).sigma) for t in config["levels"]], shown=len(look(900)[0]),
    )  # fmt: skip


def cells(results: dict[str, Any]) -> list[list[str]]:
    """The table, headings first: mean (std) of each model, then the differences to the clean-trained one, then the mean image."""
    table, times = entries(results), list(dict.fromkeys(row["t"] for row in results["summary"]))
    body = [[name_of(level), *(_mean(table[t, level]) for t in times)] for level in (0, *results["config"]["levels"])]
    body += [[f"{name_of(level)}, over clean", *(_off(table[t, level]) for t in times)] for level in results["config"]["levels"]]
    mean_image = ["mean image, over clean", *(f"{results['mean_image'] / table[t, 0]['mse']:.2f} times" for t in times)]
    return [["trained", *(f"t = {t}" for t in times)], *body, mean_image]


def entries(results: dict[str, Any]) -> dict[tuple[int, int], Entry]:
    """The summary by t and t_n."""
    return {(row["t"], row["t_n"]): row for row in results["summary"]}


def name_of(level: int) -> str:
    """What a model is called."""
    return f"at t_n = {level}" if level else "clean *"


def _mean(row: Entry) -> str:
    return f"{'' if row['own'] else '~'}{row['mse']:.4f} ({row['std']:.4f})"


def _off(row: Entry) -> str:
    return f"{'' if row['own'] else '~'}{percent(row)}"


def percent(row: Entry) -> str:
    """The difference with its standard error, over images and seeds together."""
    error = standard_error(row)
    shown = 1 if error < ROUGH else 0
    return f"{100 * row['difference']:+.{shown}f} ± {100 * error:.{shown}f} %"


def standard_error(row: Entry) -> float:
    """Over images and, if there are several, seeds: the two are independent."""
    return math.hypot(row["error_images"], row["error_seeds"] or 0.0)


def verdict(results: dict[str, Any]) -> str:
    """At and above their own level: the worst noisy-trained model against the clean-trained one, and how far they lie apart."""
    rows = results["summary"]
    own = [row for row in rows if row["t_n"] and row["own"]]
    if not own:
        return "There is no verdict, because no model was trained at or below a level at which it restores."
    worst = max(own, key=lambda row: row["difference"])
    least, off = max(SLIGHT, 2 * standard_error(worst)), worst["difference"]
    word = WORDS["worse" if off > least else "better" if off < -least else "same"]
    told = (
        "At and above its own level, the noisy-trained model with the largest difference from the clean-trained model "
        f"**{word}** it: {percent(worst)} for t_n = {worst['t_n']} at t = {worst['t']}."
    )
    together = agreement(rows)
    if not together:
        return told
    most = max(together.values())
    side = "less" if most < CLOSE else "more"
    return (
        f"{told} These models differ by at most {most:.1%} from each other, {side} than the {CLOSE:.0%} of the paper's Table 1."
    )


def agreement(rows: list[Entry]) -> dict[int, float]:
    """At each t where two or more models restore at or above their own level: largest over smallest error, less 1."""
    by_level: dict[int, list[float]] = {}
    for row in rows:
        if row["t_n"] and row["own"]:
            by_level.setdefault(row["t"], []).append(row["mse"])
    return {t: max(errors) / min(errors) - 1 for t, errors in by_level.items() if len(errors) > 1}


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
