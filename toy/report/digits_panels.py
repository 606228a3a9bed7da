"""The figures of a comparison on images: the data, restored images, samples, and errors."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from toy.data.digits import data_noise
from toy.evaluation import probes
from toy.images.scoring import AT_N, LEVELS, RESTORED
from toy.method import Fitted
from toy.problem import Problem
from toy.registry import METHODS
from toy.report.drawing import Drawing
from toy.report.figures import level_lines, lines_of
from toy.report.pictures import Row, image_grid, sheets
from toy.report.table import starred

EXAMPLES = 10  # training images
TO_TRUTH = "error $E|h - h^*|^2$ / least possible error"
TICKS = {0.8: "-20 %", 0.9: "-10 %", 1.0: "the oracle", 1.1: "+10 %", 1.2: "+20 %", 1.3: "+30 %", 1.5: "+50 %", 2.0: "twice"}
OVER = np.array([[1.0], [0.0]])  # added to (mean, standard error) of an excess, it makes the ratio
SHOWN = (0.8, 2.5)  # the range of ratios to the oracle's error in the figure; those beyond stand at its border


def data(drawing: Drawing) -> Figure:
    """Training images without and with the noise of the data."""
    before = "clean" if drawing.problem.clean else "clean:\nput away"
    return image_grid(
        [(before, clean_images(drawing, EXAMPLES)), (data_label(drawing.problem), noisy_images(drawing.problem, EXAMPLES))]
    )


def data_label(problem: Problem) -> str:
    """The label of the images that methods see."""
    assert problem.count is not None
    return f"data:\n{100 * problem.clean / problem.count:.2g} % clean" if problem.clean else "noisy:\nall there is"


def clean_images(drawing: Drawing, count: int) -> np.ndarray:
    """The first training images without their noise."""
    problem = drawing.problem
    x_n, t_n = (part[:count] for part in problem.points)
    alpha, sigma = problem.path(t_n).like(x_n)
    return ((x_n - sigma * data_noise(count, problem.dim, drawing.seed)) / alpha).numpy()


def noisy_images(problem: Problem, count: int) -> np.ndarray:
    """The first training images as methods see them, divided by alpha."""
    x_n, t_n = (part[:count] for part in problem.points)
    return (x_n / problem.path(t_n).like(x_n)[0]).numpy()


def restored(drawing: Drawing) -> Figure:
    """Held-out images, noised to the data's level, and restored by each method; methods that share a network have one row."""
    x_0, x_t = probe(drawing)
    rows: list[Row] = [("real, held out", x_0), ("noisy", x_t)]
    networks = set()
    for row in drawing.summary:
        network, images = METHODS[row["method"]].network or row["method"], drawing.arrays[row["method"]]["restored"][AT_N]
        if network not in networks and np.isfinite(images).all():
            rows.append((starred(row["method"]), images))
        networks.add(network)
    return image_grid(rows)


def probe(drawing: Drawing) -> tuple[np.ndarray, np.ndarray]:
    """The held-out images of `restored`, clean and with the noise of the evaluation, divided by alpha."""
    problem, count = drawing.problem, drawing.results["config"]["points"]
    assert problem.clean_test is not None
    test, anything = problem.clean_test[:count], Fitted(lambda x_t, t, condition=None: x_t)
    at_n = list(probes(anything, problem, lambda _: test, LEVELS))[AT_N]
    assert at_n is not None
    x_0, x_t, t = at_n
    return x_0[:RESTORED].numpy(), (x_t[:RESTORED] / float(problem.path(t).alpha)).numpy()


def samples(drawing: Drawing) -> Figure:
    """Real images, noisy ones, and the samples of each method."""
    problem = drawing.problem
    assert problem.clean_test is not None
    panels = [("real, held out", problem.clean_test.numpy()), (data_label(problem), noisy_images(problem, 64))]
    for row in drawing.summary:
        distance = row.get("frechet")
        name = starred(row["method"])
        label = name if distance is None else f"{name}\nFD {distance['mean']:.2f}"
        panels.append((label, drawing.arrays[row["method"]]["samples"]))
    return sheets(panels)


def errors(drawing: Drawing) -> Figure | None:
    """Errors against the truth if it is known, else over those of the oracle, else the errors themselves."""
    seen = "clean images alone" if drawing.problem.clean else "never seen"
    if lines := lines_of(drawing.summary, "errors"):
        return level_lines(lines, LEVELS, TO_TRUTH, shown=(1e-3, 10.0), seen=seen)
    if lines := lines_of(drawing.summary, "excess"):
        ratios = {name: line + OVER for name, line in lines.items()}
        figure = level_lines(ratios, LEVELS, "held-out error, against the oracle's", shown=SHOWN, seen=seen)
        axes = figure.axes[0]
        ticks = {at: word for at, word in TICKS.items() if axes.get_ylim()[0] <= at <= axes.get_ylim()[1]}
        axes.set_yticks(list(ticks), list(ticks.values()))
        axes.set_yticks([], minor=True)
        return figure
    lines = lines_of(drawing.summary, "mse")
    return level_lines(lines, LEVELS, "held-out error per pixel", shown=(1e-4, 10.0), seen=seen) if lines else None
