"""Histograms of similarities: a panel for each question, a line for each set of images."""

from __future__ import annotations

import math
import re
from itertools import cycle
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness import style
from harness.copying import CLOSE, COPY

MOST_BINS = 40
BASELINES = (":", "-.")  # line styles
THINNEST, THICKER, WIDEST = 1.3, 1.1, 4.6  # widths in points: of the top line, more for each line below it, at most
DASH = 4  # length in line widths


class Line(NamedTuple):
    """Similarities of a set of images. A line and its control have the same `of`, hence one colour; a baseline has none."""

    label: str
    values: list[float]
    of: str = ""
    control: bool = False


def panel(
    similarities: dict[tuple[str, str], list[float]], labels: dict[tuple[str, str], str], baselines: tuple[str, ...]
) -> list[Line]:
    """The lines of a panel: baselines, and the images that `labels` names, each beside its control.

    Args: similarities: by the name of the images and their kind, "" for baselines; labels: by the same.
    """
    lines = [Line(name, similarities[name, ""]) for name in baselines if (name, "") in similarities]
    for (name, kind), label in labels.items():
        control = f"control of {name}"
        lines.append(Line(label, similarities[name, kind], of=label))
        if (control, kind) in similarities:
            lines.append(Line(control, similarities[control, kind], of=label, control=True))
    return lines


def histograms(panels: dict[str, list[Line]]) -> Any:
    """The figure from {title: lines}: shares of images, the same axes in all panels; baselines gray, controls dashed."""
    lines = [line for some in panels.values() for line in some]
    low = max(-1.0, min(min(line.values) for line in lines) - 0.02)
    bins = min(MOST_BINS, 2 * math.ceil(math.sqrt(min(len(line.values) for line in lines))))  # with few images, wide bins
    colours = dict(zip(dict.fromkeys(line.of for line in lines if line.of), cycle(style.PALETTE)))
    with rc_context(style.RC):
        figure = Figure(figsize=(9.6, 0.7 + 1.9 * len(panels)), layout="constrained")
        column = figure.subplots(len(panels), squeeze=False, sharex=True, sharey=True)[:, 0]
        for axes, (title, of_panel) in zip(column, panels.items(), strict=True):
            handles = []
            for line in of_panel:
                look = _look(line, of_panel) | {"color": colours.get(line.of, "#777777")}
                share = [1 / len(line.values)] * len(line.values)
                axes.hist(line.values, bins=bins, range=(low, 1.0), weights=share, histtype="step", **look)
                in_legend: Any = look | ({"linestyle": "--"} if line.control else {})
                handles.append(Line2D([], [], label=mathtext(line.label), **in_legend))
            for threshold in (CLOSE, COPY):
                axes.axvline(threshold, color="black", linewidth=0.7, linestyle=":", zorder=0)
            axes.set_title(mathtext(title), loc="left", fontsize=9.5)
            axes.set(xlim=(low, 1.005))
            axes.legend(handles=handles, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.05), handlelength=3)
        figure.supylabel("share of images", fontsize=9)
        figure.supxlabel("similarity to the nearest image (dotted: .9, .95)", fontsize=9)
    return figure


def _look(line: Line, of_panel: list[Line]) -> dict[str, Any]:
    """The style and width of a line, so that all lines of a panel are seen where they coincide.

    A solid line is wider than those that are drawn over it, and the dashes of controls take turns.
    """
    alike = [other for other in of_panel if (bool(other.of), other.control) == (bool(line.of), line.control)]
    number = next(i for i, other in enumerate(alike) if other is line)
    over_it = len(alike) - 1 - number
    if not line.of:
        return {"linestyle": BASELINES[number % len(BASELINES)], "linewidth": THINNEST}
    if line.control:
        return {"linestyle": (over_it * DASH, (DASH, DASH * max(1, len(alike) - 1))), "linewidth": THINNEST}
    return {"linestyle": "-", "linewidth": min(WIDEST, THINNEST + THICKER * over_it)}


def mathtext(words: str) -> str:
    """A label for matplotlib in which t_n has its n as a subscript."""
    return re.sub(r"\bt_n\b", "$t_n$", words.replace("$", r"\$"))
