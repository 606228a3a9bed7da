"""The page of `python -m toy mnist figures`: Figs. 4, 5 and 6 on digits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ambient.page import about_run, bullets, code, highlights, paragraphs, picture, write_page
from toy.figures import save_all
from toy.mnist.data import Digits
from toy.mnist.pictures import image_grid
from toy.page import html_table
from toy.problem import Problem
from toy.story import PAPER
from toy.style import COLOURS, FAINT, INK, canvas
from toy.table import show

SHOWN = 8
PAIR = (("ambient-only", "ambient only"), ("ours", "with consistency"))
LIMITS = [
    "The Frechet distance compares means and covariances of 64 features of a small classifier. It is biased upwards by about "
    "the floor shown, and its order can change with the number of sampling steps: hence the second panel.",
    "Posterior samples are draws from the model's law of the clean image given the noisy one: where the noise hides the digit "
    "they disagree with it and with each other, and rightly so.",
]


def write(out: Path, results: dict[str, Any], cells: list[list[str]], digits: Digits, problems: dict[float, Problem]) -> None:
    """Figures and report.html in `out`; `problems` by level, of the first seed."""
    arrays = {key: _arrays(out, results, *key) for key in ((row["level"], row["method"]) for row in results["summary"])}
    drawn = {
        "distance": lambda: distance(results),
        "samples": lambda: unconditional(arrays, digits),
        "posterior": lambda: posterior(arrays, problems),
    }
    save_all(out, drawn)
    config = results["config"]
    names = [(COLOURS[row["method"]], row["method"], f"data at t_n = {row['level']:g}") for row in results["summary"]]
    parts = [
        paragraphs(f"A run of `python -m toy mnist figures`, after Figs. 4, 5 and 6 of {PAPER}.", kind="by"),
        paragraphs(
            f"{len(digits.train):,} digits, each seen once, with noise up to level t_n; for each level one network trained with "
            "the ambient loss alone and one with consistency as well. 0 stands for a network trained on clean digits."
        ),
        highlights(findings(results)),
        "<h2>Distance to real digits</h2>",
        picture(
            out,
            "distance",
            "Frechet distance of generated digits to held-out ones (lower is better), against the level of "
            "the training data, and against the number of sampling steps. Bars: standard error over seeds, if several.",
        ),
        html_table(cells[0], names, [row[2:] for row in cells[1:]]) if cells else "",
        "<h2>Unconditional samples</h2>",
        picture(out, "samples", "Digits made from pure noise. *early stop*: sampling stopped at t_n, then one denoising step."),
        "<h2>Posterior samples</h2>",
        picture(
            out,
            "posterior",
            "The noisy digit, draws given it with and without consistency, and the digit it was made from, which no method saw.",
        ),
        "<h2>What this run cannot show</h2>",
        bullets(LIMITS),
        "<h2>How to go on</h2>",
        code(
            "# three seeds, a larger budget\npython -m toy mnist figures --preset full\n"
            "# pixel noise of standard deviation .6\npython -m toy mnist figures --path ve --levels 0.6"
        ),
        *about_run(out, config),
    ]
    write_page(out, "Digits from noisy digits", parts)


def findings(results: dict[str, Any]) -> list[str]:
    """What the numbers say, at the largest number of steps."""
    number = {(row["level"], row["method"]): row["frechet"][-1] for row in results["summary"]}
    sentences = [
        f"The floor is {results['floor']:.2f}, between two halves of the held-out digits; the network trained on clean digits "
        f"reaches {show(number[0.0, 'oracle'])}."
    ]
    for level in results["config"]["levels"]:
        ours, alone, early = (number[level, name] for name in ("ours", "ambient-only", "early-stop"))
        sentences.append(
            f"Data at t_n = {level:g}: {show(ours)} with consistency, {show(alone)} without, {show(early)} with early stop; "
            f"with consistency {_relation(ours, alone)} without, and {_relation(ours, early)} early stop."
        )
    return sentences


def _relation(a: dict[str, Any], b: dict[str, Any]) -> str:
    if a["error"] is None:
        return "lower than (one seed)" if a["mean"] < b["mean"] else "not lower than (one seed)"
    gap = b["mean"] - a["mean"]
    if abs(gap) < 2 * math.hypot(a["error"], b["error"]):
        return "not told apart from"
    return "lower than" if gap > 0 else "higher than"


def distance(results: dict[str, Any]) -> Figure:
    """Fig. 4: against the level; and against the steps, at the level in the middle."""
    config, rows = results["config"], results["summary"]
    figure = canvas(8.4, 3.4)
    left, right = figure.subplots(1, 2, sharey=True)
    middle = sorted(config["levels"])[len(config["levels"]) // 2]
    for method in ("ours", "ambient-only", "early-stop"):
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
    left.set(xlabel="level of the data, $t_n$", ylabel="Frechet distance")
    left.set_title(f"{config['steps'][-1]} steps; dashed: trained on clean digits; dotted: floor", fontsize=8.5, color=INK)
    right.set(xlabel="sampling steps", xscale="log", xticks=config["steps"])
    right.set_xticks(config["steps"], [str(steps) for steps in config["steps"]])
    right.set_xticks([], minor=True)
    right.set_title(f"$t_n$ = {middle:g}", fontsize=8.5, color=INK)
    right.legend(frameon=False, fontsize=8.5)
    return figure


def _line(axes: Any, x: list[float], numbers: list[dict[str, Any]], method: str) -> None:
    means, errors = [n["mean"] for n in numbers], [n["error"] or 0.0 for n in numbers]
    style = "--" if method == "oracle" else "-"
    axes.errorbar(x, means, yerr=errors, fmt=style, marker="o", markersize=4, color=COLOURS[method], label=method, capsize=2)


def unconditional(arrays: dict[tuple[float, str], dict[str, np.ndarray]], digits: Digits) -> Figure:
    """Fig. 6."""
    rows = [("real, held out", digits.test[:SHOWN].numpy()), ("trained on clean", arrays[0.0, "oracle"]["samples"][:SHOWN])]
    for level in sorted({level for level, _ in arrays if level > 0}):
        for method, word in (("early-stop", "early stop"), ("ambient-only", "ambient only"), ("ours", "with consistency")):
            rows.append((f"{level:g}: {word}", arrays[level, method]["samples"][:SHOWN]))
    return image_grid(rows)


def posterior(arrays: dict[tuple[float, str], dict[str, np.ndarray]], problems: dict[float, Problem]) -> Figure:
    """Fig. 5."""
    rows = []
    for level, problem in sorted(problems.items()):
        assert problem.clean_test is not None
        noisy = problem.held_out[0][:SHOWN] / problem.path(level).alpha.float()
        rows += [(f"{level:g}: noisy", noisy.numpy())]
        rows += [(f"{level:g}: {word}", arrays[level, name]["posterior"]) for name, word in PAIR]
    clean = next(iter(problems.values())).clean_test
    assert clean is not None
    return image_grid([*rows, ("clean", clean[:SHOWN].numpy())])


def _arrays(out: Path, results: dict[str, Any], level: float, method: str) -> dict[str, np.ndarray]:
    seed = results["config"]["seed"]
    with np.load(out / f"t_n={level:g}" / "methods" / method / f"seed_{seed}" / "arrays.npz", allow_pickle=False) as file:
        return dict(file)
