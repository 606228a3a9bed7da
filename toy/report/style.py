"""The look of the figures here: a colour for each method, and labels beside the lines."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from harness import style

RC: Any = style.RC | {
    "font.family": "DejaVu Sans",
    "axes.titlesize": 9.5,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#555555",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "figure.dpi": 130,
    "savefig.facecolor": "white",
}

INK, FAINT = "#222222", "#9a9a9a"
DATA = "#6b7280"  # noisy data
TRUTH = "#000000"


class Colours(dict[str, str]):
    """Colours by the name of a method; all methods that are not listed share one."""

    def __missing__(self, name: str) -> str:
        return "#7a4b9d"


COLOURS = Colours(
    {
        "exact": "#000000",
        "oracle": style.DARK,
        "deconvolution": "#6b6b6b",
        "wiener": "#8a8a8a",
        "mixture": "#56641a",
        "ours": style.VERMILLION,
        "paper": style.BLUE,
        "ambient-only": style.GREEN,
        "early-stop": style.PINK,
        "sure-denoise": style.OCHRE,
        "noisier2noise": style.SKY,
        "start": "#8c564b",
        "naive": style.WINE,
    }
)

DASHES = {"oracle": "--", "deconvolution": ":", "wiener": "-."}  # of references, and of a method without training


def canvas(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches. It is not one of pyplot, so global state does not change."""
    return Figure(figsize=(width, height), layout="constrained")


def frame(axes: Axes) -> None:
    """A thin box without ticks, for pictures of the plane."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#d0d0d0")


def label_ends(axes: Axes, ends: dict[str, tuple[float, float]], *, gap: float = 0.062) -> None:
    """Name each line at the right of its last point, in its colour; names that would touch are moved apart.

    Limits and scales must be set before.
    """
    to_fraction = axes.transData + axes.transAxes.inverted()
    heights = {name: float(to_fraction.transform(end)[1]) for name, end in ends.items()}
    names = sorted(heights, key=lambda name: heights[name])
    for name, height in zip(names, spread_out([heights[n] for n in names], gap), strict=True):
        leader = {"arrowstyle": "-", "color": COLOURS[name], "linewidth": 0.6, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 1}
        place: dict[str, Any] = {"xytext": (1.06, height), "textcoords": "axes fraction", "va": "center"}
        axes.annotate(name, ends[name], color=COLOURS[name], annotation_clip=False, arrowprops=leader, **place)


def spread_out(heights: list[float], gap: float) -> np.ndarray:
    """The heights nearest to the sorted ones given that are at least `gap` apart, in [0, 1] if they fit."""
    steps = gap * np.arange(len(heights))
    return isotonic_regression(np.array(heights) - steps).x.clip(0, max(0, 1 - gap * (len(heights) - 1))) + steps
