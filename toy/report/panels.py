"""The figures in the plane of the data: samples, denoiser fields below the data's noise, and what noisy data alone can show."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.path import Path

from toy.evaluation import sliced_wasserstein
from toy.report.drawing import Drawing, View
from toy.report.style import COLOURS, DATA, FAINT, INK, TRUTH, canvas, frame
from toy.without_truth import MULTIPLES

SHOWN = 4_000  # points in a panel
FIELDS = ("exact", "ours", "paper", "ambient-only")
MEASURES = {
    **{f"risk_{m:g}": f"held-out risk\nat {m:g} n" if m != 1 else "held-out risk\nat n" for m in MULTIPLES},
    "inconsistency": "inconsistency\nbelow n",
    "sw2_noisy": "re-noised samples\nto held-out data",
}


def samples(drawing: Drawing) -> Figure | None:
    """A panel each for the noisy data, the samples of every method, by distance to the truth, and the truth itself."""
    view, problem = drawing.view, drawing.problem
    panels = [("noisy data" if problem.world is None else "noisy data:\nall there is", view.noisy(SHOWN), DATA)]
    for row in sorted(drawing.summary, key=lambda row: -row["sw2"]["mean"] if row.get("sw2") else 0.0):  # the worst first
        name, distance = row["method"], row.get("sw2")
        title = name if distance is None else f"{name}\nSW2 {distance['mean']:.3f}"
        panels.append((title, view(drawing.arrays[name]["samples"]), COLOURS[name]))
    if problem.world is not None:
        panels.append(("clean data:\nnever seen", view.true(SHOWN), TRUTH))
    across = min(4, len(panels))
    down = math.ceil(len(panels) / across)
    figure = canvas(2.1 * across, (2.55 if view.dim == 2 else 1.8) * down + 0.25 * bool(view.words))
    grid = figure.subplots(down, across, squeeze=False, sharey=view.dim == 1).ravel()
    for axes, (title, points, colour) in zip(grid, panels, strict=False):
        (_cloud if view.dim == 2 else _histogram)(axes, points, colour, view)
        axes.set_title(title, color=colour, fontsize=11)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    if view.words:
        figure.suptitle(view.words, fontsize=11, color=INK)
    return figure


def _histogram(axes: Axes, points: np.ndarray, colour: str, view: View) -> None:
    axes.hist(points[:, 0], bins=np.linspace(*view.box[0], 70).tolist(), density=True, color=colour, alpha=0.45)
    axes.set(xlim=view.box[0], yticks=[])
    if view.clean is not None:
        x = torch.linspace(*view.box[0], 400, dtype=torch.float64)
        axes.plot(x, view.clean.log_prob(x[:, None], view.level(0.0)).exp(), color=INK, linewidth=1.0)


def _cloud(axes: Axes, points: np.ndarray, colour: str, view: View) -> None:
    size, opacity = (2.0, 0.25) if len(points) > 1_000 else (6.0, 0.6)
    axes.scatter(points[:, 0], points[:, 1], s=size, color=colour, alpha=opacity, linewidths=0)
    axes.set(xlim=view.box[0], ylim=view.box[1], aspect="equal")
    frame(axes)
    if view.clean is not None:
        _outline(axes, view, 0.9, 0.0)


def _outline(axes: Axes, view: View, share: float, multiple: float) -> tuple[float, Path]:
    """The contour that holds a share of the true density at a multiple of the data's noise: its height and the region."""
    assert view.clean is not None
    x, y = (torch.linspace(*limits, 150, dtype=torch.float64) for limits in (axes.get_xlim(), axes.get_ylim()))
    density = view.clean.log_prob(torch.cartesian_prod(x, y), view.level(multiple)).exp().reshape(150, 150)
    falling = density.flatten().sort(descending=True).values
    height = float(falling[int((falling.cumsum(0) < share * falling.sum()).sum())])
    axes.contour(x, y, density.T, levels=[height], colors=INK, linewidths=0.7, alpha=0.7)
    inside = axes.contourf(x, y, density.T, levels=[height, 2 * float(falling[0])], colors="none")
    return height, inside.get_paths()[0]


def fields(drawing: Drawing) -> Figure | None:
    """h(x) - x at half the data's noise; in two dimensions arrows, over their distance from the exact ones."""
    shown = [name for name in FIELDS if "field" in drawing.arrays.get(name, {})]
    if not shown or shown == ["exact"]:
        return None
    if drawing.problem.dim == 1:
        return _curves(drawing, shown)
    figure = canvas(2.5 * len(shown) + 0.5, 2.75)
    grid = figure.subplots(1, len(shown), squeeze=False).ravel()
    images = [image for axes, name in zip(grid, shown, strict=True) if (image := _quiver(axes, drawing, name)) is not None]
    if images:
        bar = figure.colorbar(images[0], ax=list(grid), shrink=0.85, pad=0.01, extend="max")
        bar.set_label("distance to the exact $h$,\nin s.d. of the clean data", fontsize=8.5)
    return figure


def _quiver(axes: Axes, drawing: Drawing, name: str) -> AxesImage | None:
    """Arrows where the noisy points are; the image of the background, if the exact field is known."""
    view, points, field = drawing.view, drawing.arrays[name]["grid"], drawing.arrays[name]["field"]
    side, image, exact = math.isqrt(len(points)), None, drawing.arrays.get("exact", {}).get("field")
    axes.set(title=name, xlim=(points[0, 0], points[-1, 0]), ylim=(points[0, 1], points[-1, 1]), aspect="equal")
    axes.title.set_color(COLOURS[name])
    frame(axes)
    shown = np.arange(len(points)).reshape(side, side)[::2, ::2].ravel()
    if view.clean is None:
        axes.scatter(*view.noisy(1_000).T, s=3, color=DATA, alpha=0.4, linewidths=0)
    else:
        height, outline = _outline(axes, view, 0.99, 0.5)
        density = view.clean.log_prob(torch.from_numpy(points), view.level(0.5)).exp().numpy()
        shown = shown[density[shown] > height]
        if exact is not None:
            off = np.linalg.norm(field - exact, axis=1).reshape(side, side) / drawing.problem.data_std
            extent = (*axes.get_xlim(), *axes.get_ylim())
            image = axes.imshow(off.T, origin="lower", extent=extent, cmap="YlOrRd", vmin=0, vmax=0.5, interpolation="bilinear")
            image.set_clip_path(outline, axes.transData)
        (left, below), (right, above) = outline.get_extents().padded(0.1 * drawing.problem.data_std).get_points()
        axes.set(xlim=(left, right), ylim=(below, above))
    axes.quiver(*points[shown].T, *field[shown].T, angles="xy", scale_units="xy", scale=1.5, width=0.007, color=INK)
    return image


def _curves(drawing: Drawing, shown: list[str]) -> Figure:
    figure = canvas(6.4, 3.2)
    axes = figure.add_subplot()
    for name in shown:
        exact, arrays = name == "exact", drawing.arrays[name]
        style = {"linestyle": "--" if exact else "-", "color": COLOURS[name], "label": name, "zorder": 3 if exact else 2}
        axes.plot(arrays["grid"][:, 0], arrays["field"][:, 0], **style)
    axes.axhline(0, color=FAINT, linewidth=0.6)
    axes.set(xlabel="$x$", ylabel="$h(x) - x$ at half the data's noise")
    axes.legend(frameon=False, ncols=len(shown), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def without_truth(drawing: Drawing) -> Figure | None:
    """A panel for each measure and a point for each method, with the standard error over held-out points or seeds."""
    if drawing.problem.world is not None:
        return None
    measures = {key: title for key, title in MEASURES.items() if any(row.get(key) for row in drawing.summary)}
    names = [row["method"] for row in reversed(drawing.summary)]
    figure = canvas(1.75 * len(measures) + 1.0, 0.28 * len(names) + 1.1)
    grid = figure.subplots(1, len(measures), sharey=True, squeeze=False).ravel()
    for axes, (key, title) in zip(grid, measures.items(), strict=True):
        for place, name in enumerate(names):
            number = drawing.number(name, key)
            if number is not None:
                look = {"fmt": "o", "markersize": 5, "color": COLOURS[name], "elinewidth": 1.2}
                axes.errorbar(number["mean"], place, xerr=number["error"], **look)
        axes.set(title=title, ylim=(-0.6, len(names) - 0.4), axisbelow=True)
        axes.grid(axis="y", color="#eeeeee")
        axes.locator_params(axis="x", nbins=3)
        axes.tick_params(axis="x", labelsize=8)
        axes.tick_params(axis="y", length=0)
    path, points = drawing.problem.path, (drawing.problem.points, drawing.problem.held_out)
    seen, held_out = (x_n / path(t_n).like(x_n).alpha for x_n, t_n in points)
    floor = sliced_wasserstein(seen[: len(held_out)], held_out)  # below the distance of noisy data, methods cannot be told apart
    grid[-1].axvline(floor, color=FAINT, linewidth=0.9, linestyle="--")
    grid[0].set_yticks(range(len(names)), names)
    return figure
