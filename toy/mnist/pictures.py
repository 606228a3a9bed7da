"""Images in figures: rows of them with labels, and sheets of samples. Clean pixels lie in [-1, 1]; all is clipped to that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toy.style import COLOURS, INK, canvas

GAP = 1  # pixels between images
INCHES = 0.62  # an image across
BETWEEN = 0.12  # and from group to group
SHEET = 6  # images across and down a sheet

Row = tuple[str, np.ndarray]  # label, flat images (k, D)


def image_grid(rows: Sequence[Row], *, headings: Sequence[str] = (), colours: dict[str, Any] = COLOURS) -> Figure:
    """Rows of as many images each, labelled at the left; under `headings` the columns stand in as many groups.

    Images that are not finite stay blank.
    """
    across, groups = len(rows[0][1]), max(1, len(headings))
    longest = max(len(line) for label, _ in rows for line in label.split("\n"))
    figure = canvas(0.11 * longest + INCHES * across + BETWEEN * (groups - 1), INCHES * 1.06 * len(rows) + 0.3 * bool(headings))
    figure.set_layout_engine("constrained", w_pad=BETWEEN / 2 if groups > 1 else 0.01, h_pad=0.01, hspace=0, wspace=0)
    grid = figure.subplots(len(rows), groups, squeeze=False)
    for line, (label, images) in zip(grid, rows, strict=True):
        for axes, part in zip(line, np.split(images, groups), strict=True):
            _show(axes, mosaic(part, len(part)))
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", color=colour_of(label, colours), fontsize=11)
    for axes, heading in zip(grid[0], headings, strict=False):
        axes.set_title(heading, fontsize=11)
    return figure


def sheets(panels: Sequence[Row], *, across: int = 4, colours: dict[str, Any] = COLOURS) -> Figure:
    """A square of images for each label."""
    down = math.ceil(len(panels) / across)
    figure = canvas(2.1 * across, 2.5 * down)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes, (label, images) in zip(grid, panels, strict=False):
        _show(axes, mosaic(images[: SHEET**2], SHEET))
        axes.set_title(label, color=colour_of(label, colours), fontsize=11)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def colour_of(label: str, colours: dict[str, Any]) -> Any:
    """That of what the first line names; the star of a reference is not part of its name."""
    return colours.get(label.split("\n")[0].removesuffix(" *"), INK)


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
