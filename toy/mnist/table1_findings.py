"""What the models of `python -m toy mnist table1` have in common and what sets them apart: the table, and sentences on it."""

from __future__ import annotations

import math
from typing import Any

from toy.findings import limits_of_seeds

Entry = dict[str, Any]  # of the summary: a model at a level

CLOSE = 0.03  # what is called close: about the largest difference between models in the paper's Table 1, .0219 to .0226
ROUGH = 0.05  # a standard error from which percentages need no decimals
NOTE = "* trained on clean images; mean (standard deviation over images) per pixel; ~ below the level of the model's noisy images"


def cells(results: dict[str, Any]) -> list[list[str]]:
    """The table, headings first: mean (std) of each model, then the differences to the clean-trained one."""
    table, times = entries(results), list(dict.fromkeys(row["t"] for row in results["summary"]))
    body = [[name_of(level), *(_mean(table[t, level]) for t in times)] for level in (0, *results["config"]["levels"])]
    body += [[f"{name_of(level)}, over clean", *(_off(table[t, level]) for t in times)] for level in results["config"]["levels"]]
    return [["trained", *(f"t = {t}" for t in times)], *body]


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


def findings(results: dict[str, Any]) -> list[str]:
    """What the numbers say."""
    rows = results["summary"]
    together = agreement(rows)
    sentences = []
    if together:
        worst = max(together.values())
        each = listed([f"{spread:.1%} at t = {t}" for t, spread in together.items()])
        verdict = "less than" if worst < CLOSE else "more than"
        sentences.append(
            "**At and above their own level, models trained on noisy images are within "
            f"{worst:.1%} of each other** ({each}): {verdict} {CLOSE:.0%}."
        )
    own = [row for row in rows if row["t_n"] and row["own"]]
    if own:
        most = max(own, key=lambda row: row["difference"])
        sentences.append(
            f"The most that one of them loses there against the model trained on clean images: {percent(most)}, by the one at "
            f"t_n = {most['t_n']}, restoring at t = {most['t']}."
        )
    below = [row for row in rows if not row["own"]]
    if below:
        words = [f"{percent(row)} for t_n = {row['t_n']} at t = {row['t']}" for row in below]
        alone = "the level of its noisy images a model has the clean ones alone"
        has = alone if results["config"]["clean_share"] else "its own level a model has to extrapolate"
        sentences.append(f"Below {has}, and that costs: {listed(words)}.")
    clean = {row["t"]: row["mse"] for row in rows if row["t_n"] == 0}
    top, low = max(clean), min(clean)
    sentences.append(
        f"A small difference at much noise says little: at t = {top} a guess without a look at the noisy image, the mean of all "
        f"images, has {results['mean_image'] / clean[top]:.2f} times the error of the clean-trained model; at t = {low} it is "
        f"{results['mean_image'] / clean[low]:.0f} times."
    )
    return sentences


def agreement(rows: list[Entry]) -> dict[int, float]:
    """At each t where two or more models restore at or above their own level: largest over smallest error, less 1."""
    by_level: dict[int, list[float]] = {}
    for row in rows:
        if row["t_n"] and row["own"]:
            by_level.setdefault(row["t"], []).append(row["mse"])
    return {t: max(errors) / min(errors) - 1 for t, errors in by_level.items() if len(errors) > 1}


def limits(config: dict[str, Any]) -> list[str]:
    """What the table cannot say."""
    start = (
        f"What a network starts from (`--skip {config['skip']}`) is estimated from its own noisy images. With few under much "
        "noise that is poor, and a small budget does not mend it; more images or evaluations do."
    )
    return [
        *limits_of_seeds(config["seeds"], over="held-out images"),
        "The clean-trained model is the same small network with the same budget, not the best possible.",
        *([] if config["skip"] == "scalar" else [start]),
        "A best guess is an average: a good score here says nothing about how sharp or varied drawn images are. "
        "`python -m toy mnist figures` looks at those.",
        "Small grey images and no text: SDXL's latent space is larger by far, and so are the sets of images.",
    ]


def listed(words: list[Any]) -> str:
    """a, b and c."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last
