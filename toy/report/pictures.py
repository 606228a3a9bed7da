"""Images in figures: rows of images with labels, and sheets of samples. Clean pixels lie in [-1, 1]; others are clipped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toy.report.style import COLOURS, INK, canvas

GAP = 1  # pixels between images
INCHES = 0.62  # width and height of an image
BETWEEN = 0.12  # inches between two groups of columns
SIZE = 11  # of labels, in points
SHEET = 6  # images in a row and in a column of a sheet

Row = tuple[str, np.ndarray]  # label, flat images (k, D)


def image_grid(rows: Sequence[Row], *, headings: Sequence[str] = (), colours: dict[str, Any] = COLOURS) -> Figure:
    """Rows of equally many images, with labels at the left. There is a group of columns for each of `headings`.

    Images that are not finite stay blank.
    """
    groups = max(1, len(headings))
    each = len(rows[0][1]) // groups
    figure = Figure(figsize=(groups * INCHES * each + (groups - 1) * BETWEEN, 1.06 * INCHES * len(rows)))
    space = {"left": 0, "right": 1, "bottom": 0, "top": 1, "hspace": 0.06, "wspace": BETWEEN / (INCHES * each)}
    grid = figure.subplots(len(rows), groups, squeeze=False, gridspec_kw=space)
    for line, (label, images) in zip(grid, rows, strict=True):
        for axes, part in zip(line, np.split(images, groups), strict=True):
            _show(axes, mosaic(part, each))
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", color=colour_of(label, colours), fontsize=SIZE)
    for axes, heading in zip(grid[0], headings, strict=False):
        axes.set_title(heading, fontsize=SIZE)
    return figure


def sheets(panels: Sequence[Row]) -> Figure:
    """A square of images for each label."""
    down = math.ceil(len(panels) / 4)
    figure = canvas(8.4, 2.65 * down + 0.1)
    grid = figure.subplots(down, 4, squeeze=False).ravel()
    for axes, (label, images) in zip(grid, panels, strict=False):
        _show(axes, mosaic(images[: SHEET**2], SHEET))
        axes.set_title(label, color=colour_of(label, COLOURS), fontsize=SIZE)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def colour_of(label: str, colours: dict[str, Any]) -> Any:
    """The colour of the method that the first line of a label names, with or without the star of a reference."""
    return colours.get(label.split("\n")[0].removesuffix(" *"), INK)


def mosaic(images: np.ndarray, across: int) -> np.ndarray:
    """One picture of flat images (k, D), `across` of them in each row, with NaN between them and in empty places."""
    size, down = math.isqrt(images.shape[1]), math.ceil(len(images) / across)
    step = size + GAP
    picture = np.full((down * step - GAP, across * step - GAP), np.nan)
    for i, image in enumerate(images):
        top, left = step * (i // across), step * (i % across)
        picture[top : top + size, left : left + size] = image.reshape(size, size)
    return picture


def _show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, cmap="gray_r", vmin=-1, vmax=1)
    axes.set(xticks=[], yticks=[], anchor="W")
    axes.set_frame_on(False)
