"""The table and the page of `python -m toy mnist table1`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from toy.experiments.row import arrays_of
from toy.problem import Problem
from toy.report import pages
from toy.report.figures import save_all
from toy.report.pictures import image_grid
from toy.report.style import COLOURS, INK, canvas
from toy.report.verdict import SLIGHT, WORDS

Images = Mapping[int, tuple[np.ndarray, ...]]  # clean and noisy images, by t
Entry = dict[str, Any]  # of the summary: a model at a level

LEVEL_COLOURS = (COLOURS["oracle"], "#41049d", "#a62098", "#d5546e", "#f48849", "#fcc127")  # clean, and up with the level
SHOWN = (-0.06, 0.3)  # the range of differences in the figure; those beyond are written at its border
CLOSE = 0.03  # about the largest difference between models in the paper's Table 1, .0219 to .0226
ROUGH = 0.05  # from this standard error on, percentages have no decimals
NOTE = "* trained on clean images; mean (standard deviation over images) per pixel; ~ below the level of the model's noisy images"


def write(out: Path, results: dict[str, Any], images: Images, problem: Problem, command: str) -> None:
    """Draw the figures and write the page; `problem` is that of the first level and seed, `command` the one that was run."""
    save_all(out, {"differences": partial(differences, results), "restored": partial(restored, out, results, images)})
    config, colours = results["config"], colours_of(results)
    levels = [0, *config["levels"]]
    pages.write(
        out, "table1.html.j2", results, command, problem=problem, table=cells(results), close=CLOSE, verdict=verdict(results),
        marks=[(colours[level], "") for level in [*levels, *levels[1:]]] + [(INK, "a guess without a look at the noisy image")],
        sigmas=[float(problem.path(float(t)).sigma) for t in config["levels"]], shown=len(next(iter(images.values()))[0]),
    )  # fmt: skip


def cells(results: dict[str, Any]) -> list[list[str]]:
    """The table, headings first: mean (std) of each model, its difference from the clean-trained model, and the mean image."""
    table, times = entries(results), list(dict.fromkeys(row["t"] for row in results["summary"]))
    body = [[name_of(level), *(errors(table[t, level]) for t in times)] for level in (0, *results["config"]["levels"])]
    body += [
        [f"{name_of(level)}, over clean", *(sign(table[t, level]) + percent(table[t, level]) for t in times)]
        for level in results["config"]["levels"]
    ]
    mean_image = ["mean image, over clean", *(f"{results['mean_image'] / table[t, 0]['mse']:.2f} times" for t in times)]
    return [["trained", *(f"t = {t}" for t in times)], *body, mean_image]


def entries(results: dict[str, Any]) -> dict[tuple[int, int], Entry]:
    """The summary by t and t_n."""
    return {(row["t"], row["t_n"]): row for row in results["summary"]}


def sign(row: Entry) -> str:
    """The mark of an entry below the level of the model's own noisy images."""
    return "" if row["own"] else "~"


def name_of(level: int) -> str:
    """The name of a model."""
    return f"at t_n = {level}" if level else "clean *"


def errors(row: Entry) -> str:
    """Mean and standard deviation of the squared error."""
    return f"{sign(row)}{row['mse']:.4f} ({row['std']:.4f})"


def percent(row: Entry) -> str:
    """The difference and its standard error over images and seeds, in percent."""
    error = standard_error(row)
    shown = 1 if error < ROUGH else 0
    return f"{100 * row['difference']:+.{shown}f} ± {100 * error:.{shown}f} %"


def standard_error(row: Entry) -> float:
    """The standard error of the difference over images and, if there are several, seeds: the two are independent."""
    return math.hypot(row["error_images"], row["error_seeds"] or 0.0)


def verdict(results: dict[str, Any]) -> str:
    """The worst noisy-trained model at or above its own level against the clean-trained model, and how much models differ."""
    rows = results["summary"]
    own = [row for row in rows if row["t_n"] and row["own"]]
    if not own:
        return "There is no verdict, because no model was trained at or below a level at which it restores."
    worst = max(own, key=lambda row: row["difference"])
    least, off = max(SLIGHT, 2 * standard_error(worst)), worst["difference"]
    word = WORDS["worse" if off > least else "better" if off < -least else "same"]
    verdict = (
        "At and above its own level, the noisy-trained model with the largest difference from the clean-trained model "
        f"**{word}** it: {percent(worst)} for t_n = {worst['t_n']} at t = {worst['t']}."
    )
    spread = agreement(rows)
    if not spread:
        return verdict
    most = max(spread.values())
    side = "less" if most < CLOSE else "more"
    together = f"These models differ by at most {most:.1%} from each other"
    return f"{verdict} {together}, {side} than the {CLOSE:.0%} of the paper's Table 1."


def agreement(rows: list[Entry]) -> dict[int, float]:
    """The largest error over the smallest, less 1, at each t where two or more models restore at or above their own level."""
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
    """Error over the clean-trained model's, with standard errors; marks below a model's own level are hollow."""
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
                height, text = SHOWN[1] * (0.95 - 0.07 * place), f"{100 * off:+.0f} %"
                axes.text(at + shift, height, text, color=colours[level], ha="center", va="top")
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.axhspan(-CLOSE, CLOSE, color="#f3f4f6", linewidth=0, zorder=0)
    axes.set(xlim=(-0.5, len(times) - 0.5), ylim=SHOWN, ylabel="error over the\nclean-trained model's")
    axes.set_xticks(range(len(times)), [f"t = {t}" for t in times])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, ncols=len(levels), loc="lower left", bbox_to_anchor=(0, 1), title="trained")
    return figure


def restored(out: Path, results: dict[str, Any], images: Images) -> Figure:
    """Held-out images, noised, and restored by each model."""
    config, times = results["config"], list(dict.fromkeys(row["t"] for row in results["summary"]))
    clean, noisy = (np.concatenate([images[t][i] for t in times]) for i in range(2))
    rows = [("real, held out", clean), ("noisy", noisy)]
    colours = {}
    for level, colour in colours_of(results).items():
        name = f"trained {name_of(level)}"
        method = config["method"] if level else "oracle"
        restored = arrays_of(out / f"t_n={level}", method, config["seed"])["restored"]
        rows.append((name, np.concatenate(list(restored))))
        colours[name.removesuffix(" *")] = colour
    return image_grid(rows, headings=[f"t = {t}" for t in times], colours=colours)
