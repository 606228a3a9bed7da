"""Distances against t_n, with and without consistency. Paper: Fig. 4."""

from __future__ import annotations

from typing import Any

from harness import style
from sdxl.evaluate import tables
from sdxl.evaluate.results import Distance, Distances

LAST = 1000  # of the schedule
LOOKS: dict[str, Any] = {  # the one is seen where it lies under the other
    "without": {"color": style.VERMILLION, "marker": "s", "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 1.6},
    "with": {"color": style.BLUE, "marker": "o", "markersize": 5},
}


def consistency(row: Distance) -> str:
    """Whether the LoRA was trained with it, where it is known."""
    return "" if row.weight is None else "with" if row.weight > 0 else "without"


def curves(extractor: str, results: Distances) -> Any:
    """Both distances; sets of which no t_n is known, and floors, as level lines."""
    rows = results.rows
    levels = sorted({row.t_n for row in rows if row.t_n is not None})
    with tables.rc_context(style.RC):
        whole = tables.Figure(figsize=(10, 3.6), layout="constrained")
        pair = whole.subplots(1, 2)
        for axes, (key, title) in zip(pair, {"frechet": "Frechet distance", "kid": "KID"}.items(), strict=True):
            for kind, look in LOOKS.items():
                line = sorted((row.t_n, getattr(row, key)) for row in rows if row.t_n is not None and consistency(row) == kind)
                if line:
                    axes.plot(*zip(*line, strict=True), label=f"{kind} consistency", **look)
            for colour, row in zip(style.PALETTE[2:], (row for row in rows if row.t_n is None), strict=False):
                axes.axhline(getattr(row, key), color=colour, linestyle="--", label=row.name, zorder=1)
            for of in results.floors:
                axes.axhline(getattr(of, key), color="#999999", linestyle=":", label=f"floor of {of.images:,}", zorder=1)
            axes.set(title=f"{title} ({extractor})", xlabel="$t_n$ of the training images")
            axes.set(xlim=(-30, LAST + 30), xticks=sorted({0, *levels, LAST}))
            if not levels:
                axes.set(xlabel="no $t_n$ is known of these sets")
            values = [getattr(row, key) for row in [*rows, *results.floors]]
            axes.set_ylim(1.1 * min(0, *values), 1.1 * max(0, *values) or None)
        whole.legend(*pair[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return whole
