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

from ambient.page import about_run, bullets, code, highlights, paragraphs, picture, write_page
from ambient.runs import write_atomically
from toy.figures import save_all
from toy.findings import limits_of_seeds
from toy.methods import METHODS
from toy.mnist.attack import GROUPS, KINDS
from toy.mnist.copies import CLOSE, COPY, Models, shares_of_bins
from toy.mnist.memorization_findings import findings, span
from toy.mnist.pictures import Row, image_grid
from toy.mnist.story import noised
from toy.page import html_table
from toy.story import PAPER
from toy.style import COLOURS, FAINT, canvas
from toy.table import markdown, show

LOOK = COLOURS | {"memoriser": "#000000", "smooth": "#7b4fa3"}
TITLES = {
    "oracle": "The same network trained on the clean digits",
    "memoriser": "Knows its training digits by heart, and nothing else",
    "smooth": "A Gaussian mixture fitted to other digits",
}
BINS = np.linspace(0.2, 1.0, 33)
BRIEF = ("model", "t", "similarity", "memory", "itself", "error")  # columns that fit a terminal
WORDS = {"samples": "posterior samples", "one step": "restored in one step"}
STORY = """
{count} digits are all that the networks see: one network sees them clean (the *oracle*), the same network sees them with noise
at level t_n = {level:g} ({noised}). Both are trained for equally long; whether that was long enough to learn clean digits by
heart is said below. Then training digits are noised anew, at levels of the attacker's choice, and restored: in one step,
E[X_0 | X_t], and by samples from the law of X_0 given X_t that the model has learned. Who knows a digit by heart restores it
from noise that hides it.

How near a result is to the nearest training digit is a cosine in the features of a small digit classifier. (The paper takes
another network's features; above {close:g} it sees close matches, above {copy:g} almost identical ones.) A good result is
near to the digit that was attacked, hence to a training digit, also where nothing was learned by heart. So the same is done
to as many held-out digits, and their results are compared with the held-out digits: to a model that has seen neither, the two
groups are alike, and the **memory** of a model is what is left of the similarity of training digits when that of held-out
digits is taken off.

Two models that need no training show what such numbers mean: the *perfect memoriser*, exact for a world that consists of the
training digits and nothing else, and a *smooth model*, a Gaussian mixture fitted to digits of neither group.
"""
CAPTIONS = {
    "similarity": """Similarity of what is restored to the nearest training digit, when training digits are attacked: share of
results in each bin, with 95 % intervals over digits. Dotted: the median of held-out digits as they are. The memoriser may leave
the panel at the top.""",
    "digits": """Training digits, noised at t = {t:g}, and what each model makes of them: its guess in one step, a sample, and the
training digit that is nearest to the sample. Is it the digit in the first row, another one, or none that fits?""",
}
TABLE = """
*similarity*: mean, to the nearest digit of its own group, and *memory*, its difference with the 95 % interval over digits.
*across*: held-out digits to the nearest training digit. Shares: similarity above {close:g}, above {copy:g}, and where the
nearest digit is the one attacked *itself*. *error*: mean square per pixel from the digit attacked. ± is the standard error
over seeds.
"""
BUDGET = """
{evaluations:g} million images were passed through each network, each of its digits about {uses:,.0f} times. How much is learned
by heart grows with that, and so may the differences between models; `--evaluations` sets it."""
LIMITS = [
    "Similarity is measured in features of a small classifier. A grainy or blurred result is less similar to everything: low "
    "similarity alone is no sign of privacy, hence the held-out digits and the error.",
    "The networks are small and trained from nothing; the paper fine-tunes a large one. A few hundred digits are few: the "
    "noisier they are, the less any method can learn from them.",
    "The attacker is given a noisy training digit. That a model does not return it says nothing about other attacks.",
]


def write(out: Path, results: dict[str, Any], models: Models, training: Tensor, command: str) -> None:
    """Figures, table.md and report.html in `out`."""
    config, levels = results["config"], results["levels"]
    save_all(out, {"similarity": partial(similarity, results, models), "digits": partial(digits, results, models, training)})
    found = tables(results)
    write_atomically(
        out / "table.md", "\n".join(f"{WORDS[kind]}\n\n{markdown(table)}\n" for kind, table in found.items()).encode()
    )
    level = config["sigma_n"] if config["path"] == "ve" else config["t_n"]
    uses = 1e6 * config["evaluations"] / config["images"]
    words = {"count": config["images"], "level": level, "close": CLOSE, "copy": COPY, "noised": noised(config)}
    parts = [
        paragraphs(f"A run of `python -m toy mnist memorization`, after Figs. 2, 3 and 8 of {PAPER}.", kind="by"),
        paragraphs(STORY.format(**words)),
        picture(out, "digits", CAPTIONS["digits"].format(t=levels[len(levels) // 2]), wide=True),
        highlights(findings(results)),
        "<h2>How near to training digits</h2>",
        picture(out, "similarity", CAPTIONS["similarity"], wide=True),
    ]
    for kind, table in found.items():
        rows = [row for row in results["summary"] if row["kind"] == kind]
        firsts = [(LOOK[row["model"]], f"{row['model']}, t = {row['t']:g}", title(row["model"])) for row in rows]
        parts += [
            f"<h2>{WORDS[kind].capitalize()}</h2>",
            html_table(["model", *table[0][2:]], firsts, [row[2:] for row in table[1:]]),
        ]
    parts += [
        paragraphs(TABLE.format(close=CLOSE, copy=COPY), kind="by"),
        "<h2>What this run cannot show</h2>",
        bullets(
            [
                *limits_of_seeds(config["seeds"], over="digits"),
                BUDGET.format(evaluations=config["evaluations"], uses=uses),
                *LIMITS,
            ]
        ),
        "<h2>The command of this run</h2>",
        code(command),
    ]
    write_page(out, "What a model keeps of its training digits", [*parts, *about_run(out, config)])


def title(model: str) -> str:
    """A line on what a model is."""
    return TITLES.get(model) or METHODS[model].title


def tables(results: dict[str, Any]) -> dict[str, list[list[str]]]:
    """For each kind of result a table as text, headings first."""
    head = ["model", "t", "similarity", "held out", "memory", "across", f"> {CLOSE:g}", "held out", f"> {COPY:g}", "held out"]
    found = {kind: [[*head, "itself", "held out", "error", "held out"]] for kind in reversed(KINDS)}
    for row in results["summary"]:
        pairs = [[show(row[group][key]) for group in GROUPS] for key in ("similarity", "close", "copies", "itself", "error")]
        near, *others = pairs
        found[row["kind"]].append(
            [row["model"], f"{row['t']:g}", *near, span(row["memory"]), show(row["across"]), *chain(*others)]
        )
    return found


def brief(table: list[list[str]]) -> list[list[str]]:
    """The columns of a table that a terminal has room for; of either group the training digits."""
    kept = [table[0].index(heading) for heading in BRIEF]
    return [[row[i] for i in kept] for row in table]


def similarity(results: dict[str, Any], models: Models) -> Figure:
    """Fig. 8, at every level and for both kinds of result."""
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
    """Shares by bin with their intervals, of similarities (seeds, draws, digits); the highest of the intervals."""
    share, low, high = shares_of_bins(values, BINS)
    axes.stairs(share, BINS, color=LOOK[name], linewidth=1.5, label=name)
    bottom, top = (np.append(v, v[-1]) for v in (low, high))
    axes.fill_between(BINS, bottom, top, step="post", color=LOOK[name], alpha=0.18, linewidth=0)
    return float(high.max())


def digits(results: dict[str, Any], models: Models, training: Tensor) -> Figure:
    """Figs. 2 and 8 in pictures, at the level in the middle, for the first seed."""
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
    figure = image_grid(rows, colours=colours)
    for axes in figure.axes:
        axes.set_anchor("W")  # centred in what is too wide for them, rows leave no room for their labels
    return figure
