"""Tables, figures and the page of `python -m toy mnist memorization`."""

from __future__ import annotations

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from harness.copying import CLOSE, COPY
from harness.files import write_atomically
from harness.tables import markdown
from toy.images.attack import GROUPS, KINDS
from toy.images.copies import Models, shares_of_bins
from toy.paths import PATHS
from toy.registry import METHODS
from toy.report import pages
from toy.report.figures import save_all
from toy.report.pictures import Row, image_grid
from toy.report.style import COLOURS, FAINT, canvas
from toy.report.table import show

LOOK = COLOURS | {"memoriser": "#000000", "smooth": "#7b4fa3"}
TITLES = {
    "oracle": "The same network trained on the clean digits",
    "memoriser": "Knows its training digits by heart, and nothing else",
    "smooth": "A Gaussian mixture fitted to other digits",
}
BINS = np.linspace(0.2, 1.0, 33)
BRIEF = ("model", "t", "similarity", "memory", "itself", "error")  # columns that fit a terminal
WORDS = {"samples": "posterior samples", "one step": "restored in one step"}
LEARNED = 0.01  # share of copies from which the clean-trained network counts as having learned digits by heart
Number = dict[str, Any]


def write(out: Path, results: dict[str, Any], models: Models, training: Tensor, command: str) -> None:
    """Draw the figures and write table.md and the page; `command` is the one that was run."""
    config, by_kind = results["config"], tables(results)
    save_all(out, {"similarity": partial(similarity, results, models), "digits": partial(digits, results, models, training)})
    write_atomically(
        out / "table.md", "\n".join(f"{WORDS[kind]}\n\n{markdown(table)}" for kind, table in by_kind.items()).encode()
    )
    shown = []
    for kind, (head, *rows) in by_kind.items():
        mine = [row for row in results["summary"] if row["kind"] == kind]
        marks = [(LOOK[row["model"]], TITLES.get(row["model"]) or METHODS[row["model"]].title) for row in mine]
        shown.append((WORDS[kind], ["model", *head[2:]], [[f"{name}, t = {t}", *numbers] for name, t, *numbers in rows], marks))
    process = PATHS[config["path"]]
    pages.write(
        out, "memorization.html.j2", results, command, verdict=verdict(results), tables=shown, differences=differences(results),
        level=process.named(config[process.option]), close=CLOSE, copy=COPY,
        middle=results["levels"][len(results["levels"]) // 2], variance=results["baselines"]["variance"],
    )  # fmt: skip


def verdict(results: dict[str, Any]) -> str:
    """Whether the clean-trained network has learned digits by heart; if so, whether each noisy-trained one has less memory."""
    row = max(_rows(results["summary"], model="oracle"), key=lambda row: row["training"]["copies"]["mean"])
    ours, others = (row[group]["copies"]["mean"] for group in GROUPS)
    shares = (
        f"similarity above {COPY:g} for {ours:.1%} of training digits and {others:.1%} of held-out ones, {WORDS[row['kind']]}, "
        f"t = {row['t']:g}"
    )
    if not (ours >= LEARNED and ours > others and row["memory"]["interval"][0] > 0):
        return (
            f"**Nothing can be concluded about memory.** The clean-trained network (oracle) has not learned its digits by heart "
            f"({shares}). A larger budget (`--evaluations`) or fewer digits (`--images`) would change that."
        )
    verdict = f"The clean-trained network (oracle) has learned digits by heart ({shares})."
    for name in dict.fromkeys(row["model"] for row in results["differences"]):
        mine = _rows(results["differences"], model=name)
        less, same, more = (sum(word == relation(row["memory"]) for row in mine) for word in ("less", "not told apart", "more"))
        verdict += (
            f" The memory of {name}, in {len(mine)} comparisons with it: **{less} less, {same} not told apart, {more} more**."
        )
        steps = _rows(results["summary"], kind="one step", model=name)
        lost = [f"{row['t']:g}" for row in steps if row["held out"]["error"]["mean"] >= results["baselines"]["variance"]]
        if lost:
            verdict += f" At t = {', '.join(lost)} {name} restores no better than the average digit: low similarity says nothing."
    return verdict


def relation(more: Number) -> str:
    """Whether a model has less memory than the clean-trained network, which has `more` of it: by the interval over digits."""
    low, high = more["interval"]
    return "less" if low > 0 else "more" if high < 0 else "not told apart"


def differences(results: dict[str, Any]) -> list[list[str]]:
    """The table of what the clean-trained network has more than each noisy-trained one, headings first."""
    head = ["compared with", "t", "similarity", "memory", "its memory"]
    rows = sorted(results["differences"], key=lambda row: list(KINDS)[::-1].index(row["kind"]))
    spans = [[span(row["training"]), span(row["memory"]), relation(row["memory"])] for row in rows]
    names = [[f"{row['model']}, {WORDS[row['kind']]}", f"{row['t']:g}"] for row in rows]
    return [head, *(name + numbers for name, numbers in zip(names, spans, strict=True))]


def span(number: Number) -> str:
    """A mean, its standard error over seeds if there are several, and its interval over digits: 0.093 ± 0.004 [0.080, 0.106]."""
    low, high = number["interval"]
    error = "" if number["error"] is None else f" ± {number['error']:.3f}"
    return f"{number['mean']:.3f}{error} [{low:.3f}, {high:.3f}]"


def _rows(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def tables(results: dict[str, Any]) -> dict[str, list[list[str]]]:
    """A table for each kind of result, as text, headings first."""
    head = ["model", "t", "similarity", "held out", "memory", "across", f"> {CLOSE:g}", "held out", f"> {COPY:g}", "held out"]
    by_kind = {kind: [[*head, "itself", "held out", "error", "held out"]] for kind in reversed(KINDS)}
    for row in results["summary"]:
        pairs = [[show(row[group][key]) for group in GROUPS] for key in ("similarity", "close", "copies", "itself", "error")]
        near, *others = pairs
        by_kind[row["kind"]].append(
            [row["model"], f"{row['t']:g}", *near, span(row["memory"]), show(row["across"]), *chain(*others)]
        )
    return by_kind


def brief(table: list[list[str]]) -> list[list[str]]:
    """The columns of a table for which a terminal has room; of the two groups, the training digits."""
    columns = [table[0].index(heading) for heading in BRIEF]
    return [[row[i] for i in columns] for row in table]


def similarity(results: dict[str, Any], models: Models) -> Figure:
    """Fig. 8: the similarity to training digits, at every level and for both kinds of result."""
    levels = results["levels"]
    figure = canvas(3.1 * max(2, len(levels)), 5.2)
    grid = figure.subplots(len(KINDS), len(levels), sharex=True, squeeze=False)
    for line, kind in zip(grid, reversed(KINDS), strict=True):
        for i, (axes, t) in enumerate(zip(line, levels, strict=True)):
            tops = [histogram(axes, name, arrays["similarity"][:, i, 0, 0, KINDS[kind]]) for name, arrays in models.items()]
            top = max(top for name, top in zip(models, tops, strict=True) if name != "memoriser")
            axes.axvline(results["baselines"]["held out"]["median"], color=FAINT, linestyle=":", linewidth=1.1)
            axes.set(xlim=(BINS[0], 1.005), ylim=(0, 1.15 * top), yticks=[])
            axes.set_title(f"{WORDS[kind]}, t = {t:g}")
    for axes in grid[-1]:
        axes.set_xlabel("similarity to the nearest training digit")
    for axes in grid[:, 0]:
        axes.set_ylabel("share of results")
    grid[0, 0].legend(frameon=False, fontsize=8.5, loc="upper left")
    return figure


def histogram(axes: Axes, name: str, values: np.ndarray) -> float:
    """Draw shares of similarities (seeds, draws, digits) by bin with their intervals; returns the highest end of an interval."""
    share, low, high = shares_of_bins(values, BINS)
    axes.stairs(share, BINS, color=LOOK[name], linewidth=1.5, label=name)
    bottom, top = (np.append(v, v[-1]) for v in (low, high))
    axes.fill_between(BINS, bottom, top, step="post", color=LOOK[name], alpha=0.18, linewidth=0)
    return float(high.max())


def digits(results: dict[str, Any], models: Models, training: Tensor) -> Figure:
    """Figs. 2 and 8 as pictures, at the level in the middle, for the first seed."""
    middle = len(results["levels"]) // 2
    shown = {name: arrays["pictures"][0, middle] for name, arrays in models.items()}
    noisy = next(iter(shown.values()))[0]
    count = len(noisy)
    rows: list[Row] = [("training digit", training[:count].numpy()), ("noisy", noisy)]
    colours: dict[str, Any] = {}
    for name, pictures in shown.items():
        nearest = models[name]["nearest"][0, middle, 0, 0, 1, :count]
        mine = [
            (f"{name}\none step", pictures[1]),
            ("sample", pictures[2]),
            ("nearest to it", training.numpy()[nearest]),
        ]
        colours[mine[0][0]] = LOOK[name]
        rows += mine
    return image_grid(rows, colours=colours)
