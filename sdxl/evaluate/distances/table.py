"""Distances as a table, and as curves against t_n: with consistency, without it, and by early stop. Paper: Fig. 4."""

from __future__ import annotations

from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from harness import style
from sdxl.evaluate.distances.measure import needed
from sdxl.evaluate.results import Distance, Distances

LAST = 1000  # time of the schedule
LOOKS: dict[str, Any] = {  # open squares around dots, so that both are seen where they coincide
    "without": {"color": style.VERMILLION, "marker": "s", "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 1.6},
    "with": {"color": style.BLUE, "marker": "o", "markersize": 5},
    "early stop, without": {"color": style.GREEN, "marker": "^", "markersize": 5},
    "early stop, with": {"color": style.OCHRE, "marker": "v", "markersize": 5},
}
NOTE = "Distances decrease with the number of images: compare sets of equal counts only, and with the floor of that count."
SPREAD = "KID: mean (standard deviation over random subsets)."
TOO_FEW = "A star marks sets with too few images for a Frechet distance: it means little, look at KID."


def consistency(row: Distance) -> str:
    """Whether the LoRA behind a set was trained with consistency: with, without, or empty if that is unknown; and early stops."""
    trained = "" if row.weight is None else "with" if row.weight > 0 else "without"
    return f"early stop, {trained}" if trained and row.stop else trained


def rows(results: Distances) -> list[list[str]]:
    """The table, headings first: both distances of each set, and the floors."""
    table = [["set", "t_n", "consistency", "images", "Frechet distance", "KID x 1000"]]
    for row in results.rows:
        kid = f"{1000 * row.kid:.4g}" + (f" ({1000 * row.kid_std:.2g})" if row.kid_subsets > 1 else "")
        frechet = f"{row.frechet:.4g}" + (" *" if row.too_few_for_frechet else "")
        level = "" if row.t_n is None else f"{row.t_n:g}"
        table.append([row.name, level, consistency(row), f"{row.images:,}", frechet, kid])
    for of in results.floors:
        name = f"floor: {of.images:,} of the reference to the other {of.others:,}"
        frechet = f"{of.frechet:.4g} ({of.frechet_std:.2g})" + (" *" if of.images < needed(results.features) else "")
        table.append([name, "", "", f"{of.images:,}", frechet, f"{1000 * of.kid:.4g}"])
    return table


def curves(extractor: str, results: Distances) -> Any:
    """The figure: both distances against t_n. Sets without a t_n, and floors, are horizontal lines."""
    levels = sorted({row.t_n for row in results.rows if row.t_n is not None})
    others = [row for row in results.rows if row.t_n is None]
    with rc_context(style.RC):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        pair = figure.subplots(1, 2)
        for axes, (key, title) in zip(pair, {"frechet": "Frechet distance", "kid": "KID"}.items(), strict=True):
            for kind, look in LOOKS.items():
                of_kind = [row for row in results.rows if row.t_n is not None and consistency(row) == kind]
                points = sorted((row.t_n, getattr(row, key)) for row in of_kind)
                if points:
                    axes.plot(*zip(*points, strict=True), label=f"{kind} consistency", **look)
            for colour, row in zip(style.PALETTE[5:], others, strict=False):
                axes.axhline(getattr(row, key), color=colour, linestyle="--", label=row.name, zorder=1)
            for of in results.floors:
                axes.axhline(getattr(of, key), color="#999999", linestyle=":", label=f"floor of {of.images:,}", zorder=1)
            axes.set(title=f"{title} ({extractor})", xlim=(-30, LAST + 30), xticks=sorted({0, *levels, LAST}))
            axes.set(xlabel="$t_n$ of the training images" if levels else "no $t_n$ is known of these sets")
            values = [getattr(row, key) for row in [*results.rows, *results.floors]]
            axes.set_ylim(1.1 * min(0, *values), 1.1 * max(0, *values) or None)
        figure.legend(*pair[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure
