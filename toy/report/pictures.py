"""Images in figures: rows of them with labels, and sheets of samples. Clean pixels lie in [-1, 1]; all is clipped to that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from toy.report.style import COLOURS, INK, RC, canvas

GAP = 1  # pixels between images
INCHES = 0.62  # an image across
BETWEEN = 0.12  # and from group to group
MARGIN = 0.25  # left of the longest label, and what the label keeps from the images
SIZE = 11  # of labels, in points
SHEET = 6  # images across and down a sheet

Row = tuple[str, np.ndarray]  # label, flat images (k, D)


def image_grid(rows: Sequence[Row], *, headings: Sequence[str] = (), colours: dict[str, Any] = COLOURS) -> Figure:
    """Rows of as many images each, labelled at the left; under `headings` the columns stand in as many groups.

    Images that are not finite stay blank.
    """
    groups = max(1, len(headings))
    each = len(rows[0][1]) // groups
    left, top = max(_width(label) for label, _ in rows) + MARGIN, 0.3 if headings else 0.04
    width, height = left + groups * (INCHES * each + BETWEEN), top + 1.06 * INCHES * len(rows)
    figure = Figure(figsize=(width, height))  # laid out here: the usual engines cut labels off
    for down, (label, images) in enumerate(rows, 1):
        for right, part in enumerate(np.split(images, groups)):
            corner = (left + right * (INCHES * each + BETWEEN), height - top - 1.06 * INCHES * down)
            axes = figure.add_axes((corner[0] / width, corner[1] / height, INCHES * each / width, INCHES / height))
            _show(axes, mosaic(part, each))
            if right == 0:
                axes.set_ylabel(label, rotation=0, ha="right", va="center", color=colour_of(label, colours), fontsize=SIZE)
            if headings and down == 1:
                axes.set_title(headings[right], fontsize=SIZE)
    return figure


def sheets(panels: Sequence[Row], *, across: int = 4, colours: dict[str, Any] = COLOURS) -> Figure:
    """A square of images for each label."""
    down = math.ceil(len(panels) / across)
    figure = canvas(2.1 * across, 2.65 * down + 0.1)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes, (label, images) in zip(grid, panels, strict=False):
        _show(axes, mosaic(images[: SHEET**2], SHEET))
        axes.set_title(label, color=colour_of(label, colours), fontsize=SIZE)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def colour_of(label: str, colours: dict[str, Any]) -> Any:
    """That of what the first line names; the star of a reference is not part of its name."""
    return colours.get(label.split("\n")[0].removesuffix(" *"), INK)


def _width(label: str) -> float:
    """Of a label in inches."""
    font = FontProperties(family=RC["font.family"], size=SIZE)
    return max(float(TextPath((0, 0), line, prop=font).get_extents().width) for line in label.split("\n")) / 72


def mosaic(images: np.ndarray, across: int) -> np.ndarray:
    """Flat images (k, D) side by side, `across` in a row, with NaN between and for what is missing: one picture."""
    size, down = math.isqrt(images.shape[1]), math.ceil(len(images) / across)
    step = size + GAP
    picture = np.full((down * step - GAP, across * step - GAP), np.nan)
    for i, image in enumerate(images):
        top, left = step * (i // across), step * (i % across)
        picture[top : top + size, left : left + size] = image.reshape(size, size)
    return picture


def _show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, cmap="gray_r", vmin=-1, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.set_frame_on(False)
