"""The figures of a run: errors, the wall and training here; samples and fields in `panels`. None changes global settings."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from harness import records
from harness.files import write_atomically
from harness.runs import read_metrics
from toy.evaluation import LEVELS
from toy.experiments.row import networks_of
from toy.experiments.wall import COUNTS, modulation
from toy.problem import Problem
from toy.report import panels
from toy.report.drawing import Drawing
from toy.report.style import COLOURS, DASHES, DATA, FAINT, INK, RC, canvas, label_ends
from toy.training import Progress

SHOWN = (1e-4, 10.0)  # the range of errors in the figure; those beyond stand at its border
WIDTH = 0.006  # of a line, as a share of the height of the figure


def draw_all(out: Path, results: dict[str, Any], problem: Problem) -> list[Path]:
    """Draw the figures of a run on points into `out`/figures; the files."""
    drawing = Drawing(out, results, problem)
    return save_all(out, {name: partial(draw, drawing) for name, draw in FIGURES.items()})


def save_all(out: Path, figures: Mapping[str, Callable[[], Figure | None]]) -> list[Path]:
    """Draw into `out`/figures each figure for which there are data; the files."""
    folder, drawn = out / "figures", []
    folder.mkdir(exist_ok=True)
    with mpl.rc_context(RC):
        for name, draw in figures.items():
            figure = draw()
            if figure is not None:
                buffer = io.BytesIO()
                figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.05)
                write_atomically(folder / f"{name}.png", buffer.getvalue())
                drawn.append(folder / f"{name}.png")
    return drawn


def errors(drawing: Drawing) -> Figure | None:
    """nE against the noise level."""
    lines = lines_of(drawing.summary, "errors")
    return level_lines(lines, LEVELS, "error $E|h - h^*|^2$ / least possible error", shown=SHOWN) if lines else None


def lines_of(summary: list[dict[str, Any]], key: str) -> dict[str, np.ndarray]:
    """(means, standard errors) over the levels, for methods with a number at more than one level, except the exact one."""
    lines = {row["method"]: curve(row[key]) for row in summary if row["method"] != "exact" and key in row}
    return {name: line for name, line in lines.items() if np.isfinite(line[0]).sum() > 1}


def curve(numbers: list[dict[str, Any] | None]) -> np.ndarray:
    """(means, standard errors) over the levels, NaN where a method has no number."""
    return np.array([(math.nan, math.nan) if n is None else (n["mean"], n["error"] or 0.0) for n in numbers]).T


def level_lines(
    lines: dict[str, np.ndarray], levels: Sequence[float], ylabel: str, *, shown: tuple[float, float], seen: str = "never seen"
) -> Figure:
    """(means, standard errors) of each method against the noise level. A line is drawn wider where others lie on it.

    Args: seen: what the data contain below their noise level.
    """
    figure = canvas(7.2, 4.4)
    axes = figure.add_subplot()
    means = np.concatenate([mean for mean, _ in lines.values()])
    low, high = max(0.9 * np.nanmin(means), shown[0]), min(1.1 * np.nanmax(means), shown[1])
    order = sorted(lines, key=lambda name: (name in DASHES, name == "ours"))  # what lies beneath shows between dashes
    near = WIDTH * np.log(high / low)
    for i, name in enumerate(order):
        mean, error = lines[name]
        above = sum((np.abs(np.log(mean / lines[other][0])) < near for other in order[i + 1 :]), np.zeros(len(mean)))
        for depth in range(int(above.max()) + 1):
            width = RC["lines.linewidth"] + 2 * depth
            axes.plot(levels, np.where(above >= depth, mean, np.nan), DASHES.get(name, "-"), color=COLOURS[name], linewidth=width)
        axes.fill_between(levels, (mean - error).clip(mean / 50), mean + error, color=COLOURS[name], alpha=0.18, linewidth=0)
    axes.set(xscale="log", yscale="log", xlim=(levels[0], levels[-1]), ylim=(low, high))
    axes.axvspan(levels[0], 1, color="#f3f4f6", linewidth=0, zorder=0)
    axes.axvline(1, color=INK, linewidth=0.9, zorder=1)
    axes.text(0.96, 1.01, f"below the data's noise: {seen}", transform=axes.get_xaxis_transform(), ha="right", color=INK)
    axes.text(1.04, 1.01, "at and above it", transform=axes.get_xaxis_transform(), color=INK)
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 3) if levels[0] <= tick <= levels[-1]]
    axes.set_xticks(ticks, [f"{tick:g}" if tick != 1 else "1 = n" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="noise level, in units of the data's noise: $s / s_n$", ylabel=ylabel)
    last = {name: np.flatnonzero(np.isfinite(mean))[-1] for name, (mean, _) in lines.items()}
    label_ends(axes, {name: (levels[at], float(lines[name][0][at].clip(low, high))) for name, at in last.items()})
    return figure


def wall(drawing: Drawing) -> Figure | None:
    """The error against the noise over the distance of the modes, and the modulation that the noise leaves."""
    rows, here = drawing.results["wall"], drawing.relative_noise
    if not rows or here is None:
        return None
    figure = canvas(6.4, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    x, dots = [row.noise for row in rows], {"marker": "o", "markersize": 3.5}
    upper.plot(x, [row.wiener for row in rows], "-.", color=COLOURS["wiener"], label="Wiener filter (linear)", **dots)
    for count, dash in zip(COUNTS, (":", "-"), strict=True):
        grid, strength = [getattr(row, f"deconvolution_{count}") for row in rows], 1 / math.sqrt(count)
        upper.plot(x, grid, dash, color="#444444", label=f"grid deconvolution, $N$ = {count:,}", **dots)
        lower.axhline(strength, color=FAINT, linewidth=0.8, linestyle="--")
        lower.text(x[-1], 1.4 * strength, f"$1/\\sqrt{{N}}$ for $N$ = {count:,}", color=DATA, fontsize=8, ha="right")
    for name, marker in (("ours", "D"), ("paper", "s")):
        if number := drawing.number(name, "sub_n"):
            upper.plot(here, number["mean"], marker, color=COLOURS[name], label=f"{name}, this run", zorder=4)
    upper.set(yscale="log", ylabel="error below the data's noise\n(sub-n mean)")
    upper.legend(frameon=False, loc="best", fontsize=8.5)
    fine = np.linspace(x[0], x[-1], 200)
    lower.plot(fine, [modulation(float(noise)) for noise in fine], color=INK)
    distance = "noise over the distance of the nearest modes: $s_n / d$"
    lower.set(yscale="log", ylabel="modulation left\nin the noisy density", xlabel=distance)
    for axes in (upper, lower):
        axes.axvline(here, color=COLOURS["ours"], linewidth=0.9, alpha=0.7, zorder=1)
    lower.text(here + 0.01, lower.get_ylim()[1], "this run", color=COLOURS["ours"], va="top")
    return figure


def training(drawing: Drawing) -> Figure | None:
    """The loss of each network against evaluations. The losses differ, so each has an axis of its own."""
    curves = {}
    for file in sorted(networks_of(drawing.out, drawing.seed).glob("*/metrics.jsonl")):
        reports = [records.fit(row, Progress, where=str(file)) for row in read_metrics(file)]
        if len(reports) > 1:
            curves[file.parent.name] = reports
    if not curves:
        return None
    columns = min(4, len(curves))
    height = math.ceil(len(curves) / columns)
    figure = canvas(2.1 * columns, 1.55 * height)
    grid = figure.subplots(height, columns, squeeze=False).ravel()
    for axes, (stage, reports) in zip(grid, curves.items(), strict=False):
        loss = np.array([row.loss for row in reports])
        axes.plot([row.evaluations / 1e6 for row in reports], loss, color=COLOURS.get(stage, DATA), linewidth=1.0)
        low, high = np.quantile(loss[len(loss) // 20 :], [0.0, 0.98])
        margin = 0.08 * (high - low) or 0.1 * abs(low) or 1.0
        axes.set(title=stage, ylim=(low - margin, high + margin))
        axes.locator_params(nbins=4)
        axes.tick_params(labelsize=8)
    for axes in grid[len(curves) :]:
        axes.set_axis_off()
    figure.supxlabel("network evaluations, millions", fontsize=9)
    figure.supylabel("loss", fontsize=9)
    return figure


FIGURES: dict[str, Callable[[Drawing], Figure | None]] = {
    "samples": panels.samples,
    "errors": errors,
    "fields": panels.fields,
    "wall": wall,
    "without_truth": panels.without_truth,
    "training": training,
}
