"""The page of `python -m toy mnist figures`: Figs. 4, 5 and 6 on digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from toy.data.digits import Digits
from toy.experiments.row import arrays_of
from toy.paths import PATHS
from toy.problem import Problem
from toy.report import pages
from toy.report.figures import save_all
from toy.report.pictures import image_grid
from toy.report.style import COLOURS, FAINT, INK, canvas
from toy.report.verdict import compare

Arrays = dict[tuple[float, str], dict[str, np.ndarray]]  # of a model, by level and method
SHOWN = 8
METHODS = ("early-stop", "ambient-only", "ours")
UNLEARNED = 6.0  # above the floor: half of the distance of the Wiener filter on MNIST, which generates no digits


def write(
    out: Path,
    results: dict[str, Any],
    cells: list[list[str]],
    digits: Digits,
    problems: dict[float, Problem],
    command: str,
) -> None:
    """Draw the figures and write the page; `problems` by level, for the first seed; `command` is the one that was run."""
    process = PATHS[results["config"]["path"]]
    models, seed = [(row["level"], row["method"]) for row in results["summary"]], results["config"]["seed"]
    arrays = {(level, name): arrays_of(out / f"t_n={level:g}", name, seed) for level, name in models}
    drawn = {
        "distance": lambda: distance(results),
        "samples": lambda: unconditional(arrays, digits, process.named),
        "posterior": lambda: posterior(arrays, problems, process.named),
    }
    save_all(out, drawn)
    trained = [f"data at {process.named(row['level'])}" if row["level"] else "clean data" for row in results["summary"]]
    marks = [(COLOURS[row["method"]], data) for row, data in zip(results["summary"], trained, strict=True)]
    table = [[name, *numbers] for name, _, *numbers in cells]
    pages.write(
        out, "figures.html.j2", results, command, table=table, marks=marks, verdict=verdict(results), train=len(digits.train),
        floor=results["floor"], count=results["count"],
    )  # fmt: skip


def verdict(results: dict[str, Any]) -> str:
    """Training with consistency against training without it and against early stop, at the largest number of steps."""
    number = {(row["level"], row["method"]): row["frechet"][-1] for row in results["summary"]}
    clean, floor = number[0.0, "oracle"]["mean"], results["floor"]
    if clean - floor > UNLEARNED:
        return (
            f"**Nothing can be concluded.** The network that was trained on clean digits is itself at a Frechet distance of "
            f"{clean:.1f}, where other real digits are at {floor:.1f}: it has not learned to generate digits. The budget was too "
            "small, and differences between the other methods mean nothing."
        )
    named, verdict = PATHS[results["config"]["path"]].named, "By the Frechet distance of what they generate,"
    for level in results["config"]["levels"]:
        ours, alone, early = (number[level, name] for name in ("ours", "ambient-only", "early-stop"))
        verdict += (
            f" at {named(level)} {compare('ours', ours, 'ambient-only', alone)} and {compare('it', ours, 'early-stop', early)};"
        )
    return verdict.removesuffix(";") + "."


def distance(results: dict[str, Any]) -> Figure:
    """Fig. 4: against the level of the data, and against the number of steps at the level in the middle."""
    config, rows = results["config"], results["summary"]
    figure = canvas(8.4, 3.4)
    left, right = figure.subplots(1, 2, sharey=True)
    middle = sorted(config["levels"])[len(config["levels"]) // 2]
    for method in METHODS[::-1]:
        mine = sorted((row for row in rows if row["method"] == method), key=lambda row: row["level"])
        last = [row["frechet"][-1] for row in mine]
        _line(left, [row["level"] for row in mine], last, method)
        _line(right, config["steps"], next(row["frechet"] for row in mine if row["level"] == middle), method)
    clean = next(row["frechet"] for row in rows if row["method"] == "oracle")
    _line(right, config["steps"], clean, "oracle")
    for axes in (left, right):
        axes.axhline(clean[-1]["mean"], color=COLOURS["oracle"], linestyle="--", linewidth=0.9)
        axes.axhline(results["floor"], color=FAINT, linestyle=":", linewidth=1.1)
        axes.set_yscale("log")
        for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            formatter(lambda value, _: f"{value:g}")
    left.set(xlabel="level of the data", ylabel="Frechet distance")
    left.set_title(f"{config['steps'][-1]} steps; dashed: trained on clean digits; dotted: floor", fontsize=8.5, color=INK)
    right.set(xlabel="sampling steps", xscale="log", xticks=config["steps"])
    right.set_xticks(config["steps"], [str(steps) for steps in config["steps"]])
    right.set_xticks([], minor=True)
    right.set_title(PATHS[config["path"]].named(middle), fontsize=8.5, color=INK)
    right.legend(frameon=False, fontsize=8.5)
    return figure


def _line(axes: Any, x: list[float], numbers: list[dict[str, Any]], method: str) -> None:
    means, errors = [n["mean"] for n in numbers], [n["error"] for n in numbers]
    style = {"fmt": "--" if method == "oracle" else "-", "marker": "o", "markersize": 4, "color": COLOURS[method]}
    axes.errorbar(x, means, yerr=None if None in errors else errors, label=method, capsize=2, **style)


def unconditional(arrays: Arrays, digits: Digits, named: Callable[[float], str]) -> Figure:
    """Fig. 6: digits generated from pure noise."""
    rows = [("real, held out", digits.test[:SHOWN].numpy()), ("oracle *", arrays[0.0, "oracle"]["samples"][:SHOWN])]
    for level in sorted({level for level, _ in arrays if level > 0}):
        rows += [(f"{method}\n{named(level)}", arrays[level, method]["samples"][:SHOWN]) for method in METHODS]
    return image_grid(rows)


def posterior(arrays: Arrays, problems: dict[float, Problem], named: Callable[[float], str]) -> Figure:
    """Fig. 5: noisy digits and what the models generate from them."""
    rows = []
    for level, problem in sorted(problems.items()):
        assert problem.clean_test is not None
        noisy = problem.held_out[0][:SHOWN] / problem.path(problem.t_n).alpha.float()
        rows += [(f"noisy\n{named(level)}", noisy.numpy())]
        rows += [(name, arrays[level, name]["posterior"]) for name in METHODS if "posterior" in arrays[level, name]]
    clean = next(iter(problems.values())).clean_test
    assert clean is not None
    return image_grid([*rows, ("real, held out", clean[:SHOWN].numpy())])
