"""The page of `python -m toy mnist figures`: Figs. 4, 5 and 6 on digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ambient.page import about_run, bullets, code, highlights, paragraphs, picture, write_page
from toy.figures import save_all
from toy.findings import limits_of_seeds, relation
from toy.mnist.data import Digits
from toy.mnist.pictures import image_grid
from toy.mnist.story import noised
from toy.page import html_table
from toy.problem import Problem
from toy.story import PAPER
from toy.style import COLOURS, FAINT, INK, canvas
from toy.table import FOOTNOTE, show

SHOWN = 8
METHODS = ("early-stop", "ambient-only", "ours")
UNLEARNED = 6.0  # above the floor: half of what the Wiener filter has on MNIST, and it draws no digits
WORDS = {"better": "nearer than", "same": "not told apart from", "worse": "further away than"}
LIMITS = [
    "The Frechet distance compares means and covariances of 64 features of a small classifier. It is biased upwards by about "
    "the floor shown, and its order can change with the number of sampling steps: hence the second panel.",
    "Posterior samples are draws from the model's law of the clean image given the noisy one: where the noise hides the digit "
    "they disagree with it and with each other, and rightly so.",
]


def write(
    out: Path, results: dict[str, Any], cells: list[list[str]], digits: Digits, problems: dict[float, Problem], command: str
) -> None:
    """Figures and report.html in `out`; `problems` by level, of the first seed."""
    arrays = {key: _arrays(out, results, *key) for key in ((row["level"], row["method"]) for row in results["summary"])}
    drawn = {
        "distance": lambda: distance(results),
        "samples": lambda: unconditional(arrays, digits),
        "posterior": lambda: posterior(arrays, problems),
    }
    save_all(out, drawn)
    config = results["config"]
    trained = [f"data at t_n = {row['level']:g}" if row["level"] else "clean data" for row in results["summary"]]
    names = [
        (COLOURS[row["method"]], name, data) for row, (name, *_), data in zip(results["summary"], cells[1:], trained, strict=True)
    ]
    parts = [
        paragraphs(f"A run of `python -m toy mnist figures`, after Figs. 4, 5 and 6 of {PAPER}.", kind="by"),
        paragraphs(
            f"{len(digits.train):,} digits under noise of level t_n ({noised(config)}); for each level one network trained with "
            "the ambient loss alone (ambient-only) and one with consistency as well (ours). The oracle saw clean digits."
        ),
        highlights(findings(results)),
        "<h2>Distance to real digits</h2>",
        picture(
            out,
            "distance",
            "Frechet distance of generated digits to held-out ones (lower is better), against the level of "
            "the training data, and against the number of sampling steps."
            + (" Bars: standard errors over seeds." if config["seeds"] > 1 else ""),
        ),
        html_table([cells[0][0], *cells[0][2:]], names, [row[2:] for row in cells[1:]]),
        paragraphs(f"FD: Frechet distance. {FOOTNOTE}.", kind="by"),
        "<h2>Unconditional samples</h2>",
        picture(out, "samples", "Digits made from pure noise. Early-stop: sampling stopped at t_n, then one denoising step."),
        "<h2>Posterior samples</h2>",
        picture(
            out,
            "posterior",
            "The noisy digit, draws given it without consistency and with it, and the digit it was made from, never seen.",
        ),
        "<h2>What this run cannot show</h2>",
        bullets([*limits_of_seeds(config["seeds"]), *LIMITS]),
        "<h2>The command of this run</h2>",
        code(command),
        *about_run(out, config),
    ]
    write_page(out, "Digits from noisy digits", parts)


def findings(results: dict[str, Any]) -> list[str]:
    """What the numbers say, at the largest number of steps."""
    number = {(row["level"], row["method"]): row["frechet"][-1] for row in results["summary"]}
    clean, floor = number[0.0, "oracle"], results["floor"]
    sentences = []
    if clean["mean"] - floor > UNLEARNED:
        sentences.append(
            f"**The network trained on clean digits is itself at {clean['mean']:.1f}, where real digits are at {floor:.1f} from "
            "each other: it has not learned to draw them.** The budget was too small, and differences between the others mean "
            "nothing."
        )
    sentences.append(
        f"The floor is a Frechet distance of {floor:.2f}, between {results['count']:,} training digits and as many held-out "
        f"ones; the oracle, trained on clean digits, is at {show(clean)}."
    )
    seed = " (one seed)" if clean["count"] == 1 else ""
    for level in results["config"]["levels"]:
        ours, alone, early = (number[level, name] for name in ("ours", "ambient-only", "early-stop"))
        sentences.append(
            f"Data at t_n = {level:g}: ours is at {show(ours)}, {WORDS[relation(ours, alone)]} ambient-only at {show(alone)} and "
            f"{WORDS[relation(ours, early)]} early-stop at {show(early)}{seed}."
        )
    return sentences


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
    means, errors = [n["mean"] for n in numbers], [n["error"] for n in numbers]
    style = {"fmt": "--" if method == "oracle" else "-", "marker": "o", "markersize": 4, "color": COLOURS[method]}
    axes.errorbar(x, means, yerr=None if None in errors else errors, label=method, capsize=2, **style)


def unconditional(arrays: dict[tuple[float, str], dict[str, np.ndarray]], digits: Digits) -> Figure:
    """Fig. 6."""
    rows = [("real, held out", digits.test[:SHOWN].numpy()), ("oracle *", arrays[0.0, "oracle"]["samples"][:SHOWN])]
    for level in sorted({level for level, _ in arrays if level > 0}):
        rows += [(f"{method}\nt_n = {level:g}", arrays[level, method]["samples"][:SHOWN]) for method in METHODS]
    return image_grid(rows)


def posterior(arrays: dict[tuple[float, str], dict[str, np.ndarray]], problems: dict[float, Problem]) -> Figure:
    """Fig. 5."""
    rows = []
    for level, problem in sorted(problems.items()):
        assert problem.clean_test is not None
        noisy = problem.held_out[0][:SHOWN] / problem.path(level).alpha.float()
        rows += [(f"noisy\nt_n = {level:g}", noisy.numpy())]
        rows += [(name, arrays[level, name]["posterior"]) for name in METHODS if "posterior" in arrays[level, name]]
    clean = next(iter(problems.values())).clean_test
    assert clean is not None
    return image_grid([*rows, ("real, held out", clean[:SHOWN].numpy())])


def _arrays(out: Path, results: dict[str, Any], level: float, method: str) -> dict[str, np.ndarray]:
    seed = results["config"]["seed"]
    with np.load(out / f"t_n={level:g}" / "methods" / method / f"seed_{seed}" / "arrays.npz", allow_pickle=False) as file:
        return dict(file)
