"""Histograms of similarities over one another: a panel for each question, a line for each set of images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import cycle
from typing import Any, NamedTuple

from matplotlib.lines import Line2D

from harness import style
from harness.copying import CLOSE, COPY
from sdxl.evaluate import tables

BINS = 40
BASELINES = (":", "-.")  # in grey
THINNEST, THICKER, WIDEST = 1.3, 1.1, 4.6  # a line that lies under others is wider, so that it is seen where they are the same
DASH = 4


class Line(NamedTuple):
    """Similarities. `of`: what they are of, a colour each, also for its control; empty: a baseline."""

    label: str
    values: list[float]
    of: str = ""
    control: bool = False


def histograms(panels: dict[str, list[Line]]) -> Any:
    """{title: lines}: shares of images, all panels on one scale; baselines grey, controls dashed in their attack's colour."""
    lines = [line for panel in panels.values() for line in panel]
    low = max(-1.0, min(min(line.values) for line in lines) - 0.02)
    colours = dict(zip(dict.fromkeys(line.of for line in lines if line.of), cycle(style.PALETTE)))
    with tables.rc_context(style.RC):
        figure = tables.Figure(figsize=(9.6, 0.7 + 1.9 * len(panels)), layout="constrained")
        grid = figure.subplots(len(panels), squeeze=False, sharex=True, sharey=True)[:, 0]
        for axes, (title, panel) in zip(grid, panels.items(), strict=True):
            looks = _looks(panel, colours)
            for line, look in zip(panel, looks, strict=True):
                share = [1 / len(line.values)] * len(line.values)
                axes.hist(line.values, bins=BINS, range=(low, 1.0), weights=share, histtype="step", **look)
            for bound in (CLOSE, COPY):
                axes.axvline(bound, color="black", linewidth=0.7, linestyle=":", zorder=0)
            axes.set_title(mathtext(title), loc="left", fontsize=9.5)
            axes.set(xlim=(low, 1.005))
            shown: list[Any] = [
                {**look, **({"linestyle": "--"} if line.control else {})} for line, look in zip(panel, looks, strict=True)
            ]
            named = [Line2D([], [], label=mathtext(line.label), **look) for line, look in zip(panel, shown, strict=True)]
            axes.legend(handles=named, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.05), handlelength=3)
        figure.supylabel("share of images", fontsize=9)
        figure.supxlabel("similarity to the nearest image (dotted: .9, .95)", fontsize=9)
    return figure


def _looks(panel: list[Line], colours: dict[str, str]) -> list[dict[str, Any]]:
    """Of each line: those that fall together are all seen, solid ones as borders of one another, dashes in turn."""
    plain, solid, controls = iter(BASELINES * len(panel)), _count(panel, False), _count(panel, True)
    found: list[dict[str, Any]] = []
    for line in panel:
        if not line.of:
            found.append({"color": "#777777", "linestyle": next(plain), "linewidth": THINNEST})
        elif line.control:
            turn = next(controls)
            gap = DASH * max(1, sum(one.control for one in panel) - 1)
            found.append({"color": colours[line.of], "linestyle": (turn * DASH, (DASH, gap)), "linewidth": THINNEST})
        else:
            wide = min(WIDEST, THINNEST + THICKER * next(solid))
            found.append({"color": colours[line.of], "linestyle": "-", "linewidth": wide})
    return found


def _count(panel: list[Line], control: bool) -> Iterator[int]:
    """Down to 0, over the lines with a colour that are controls, or that are not."""
    return iter(range(sum(bool(line.of) and line.control == control for line in panel) - 1, -1, -1))


def mathtext(words: str) -> str:
    """t_n with its n below, in a label of matplotlib."""
    return re.sub(r"\bt_n\b", "$t_n$", words.replace("$", r"\$"))
