"""Grid deconvolution: the histogram of the noisy data, deblurred by expectation maximisation (Richardson and Lucy).

It needs no network and shows how much the data say about p_0 in one or two dimensions. The truth decides when it stops, so it is
a reference and not a method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.fft import irfftn, rfftn
from scipy.ndimage import map_coordinates
from torch import Tensor

from ambient.paths import Path, Times
from toy.evaluation import BELOW, normalised_errors, sub_n_mean
from toy.method import Fitted, Method, needs_world
from toy.problem import Problem
from toy.training import Trainer

STOPS = (20, 40, 80, 160, 320, 640, 1280)  # numbers of EM steps
CELLS = 16  # in one standard deviation of the noise
POINTS = 2_000  # for the error that chooses the stop


def unfit(problem: Problem) -> str | None:
    return needs_world(problem) or (f"a grid in {problem.dim} dimensions is too large" if problem.dim > 2 else None)


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    return best_grid(problem)


def best_grid(problem: Problem, *, cells: int = CELLS, stops: tuple[int, ...] = STOPS) -> Fitted:
    """The deconvolved density whose denoiser has the smallest sub-n mean among the stops."""
    origin, cell, histogram = noisy_histogram(problem, cells)
    density, fits = np.full_like(histogram, 1 / histogram.size), []
    for step in range(1, max(stops) + 1):
        density = density * blur(histogram / blur(density, cells).clip(1e-12), cells)
        if step in stops:
            grid = GridDensity(density / density.sum(), origin, cell, problem.path)
            fits.append(Fitted(grid.denoise, draw=grid.sample))
    return min(fits, key=lambda fitted: sub_n_mean(normalised_errors(fitted, problem, count=POINTS, levels=BELOW)) or math.inf)


def noisy_histogram(problem: Problem, cells: int) -> tuple[np.ndarray, float, np.ndarray]:
    """Centre of the first cell, width of a cell, and the share of points in each cell; points are divided by alpha."""
    x_n, t_n = problem.points
    alpha, sigma = problem.path(t_n).like(x_n)
    scaled, cell = (x_n / alpha).double().numpy(), float((sigma / alpha).max()) / cells
    margin = 2 * cells * cell
    edges = [np.arange(low - margin, high + margin, cell) for low, high in zip(scaled.min(0), scaled.max(0), strict=True)]
    counts, _ = np.histogramdd(scaled, bins=edges)
    return np.array([edge[0] + cell / 2 for edge in edges]), cell, counts / len(scaled)


def blur(values: np.ndarray, cells: float) -> np.ndarray:
    """Convolution with the discrete Gaussian of standard deviation `cells`; the borders wrap around.

    Its transform exp(cells^2 (cos w - 1)) on each axis has a positive kernel of exactly that variance, however narrow, where
    a sampled Gaussian has the wrong variance and a band-limited one rings below zero. Source: Lindeberg 1990.
    """
    spectrum = np.asarray(rfftn(values))
    for axis, length in enumerate(values.shape):
        frequencies = np.arange(spectrum.shape[axis]) * (2 * np.pi / length)
        response = np.exp(cells**2 * (np.cos(frequencies) - 1))
        spectrum = spectrum * response.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    return np.asarray(irfftn(spectrum, s=values.shape)).clip(0)


@dataclass
class GridDensity:
    """A density on a grid, and its posterior means."""

    density: np.ndarray  # sums to 1
    origin: np.ndarray
    cell: float
    path: Path

    def denoise(self, x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        """E[X_0 | X_t = x_t] = blur(x p) / blur(p), between cells by cubic interpolation; one level for all points."""
        alpha, sigma = (float(c) for c in self.path(t))
        width = sigma / alpha / self.cell
        pad = math.ceil(6 * width)
        density = np.pad(self.density, pad) + 1e-9 * self.density.max()  # far from all mass the posterior mean is x_t itself
        mass, axes = blur(density, width), np.indices(density.shape, dtype=float)
        at = (x_t.double().numpy() / alpha - self.origin).T / self.cell + pad
        means = [blur(axis * density, width) / mass for axis in axes]
        values = [map_coordinates(mean, at, order=3, mode="nearest") for mean in means]
        return torch.from_numpy((np.stack(values, 1) - pad) * self.cell + self.origin).to(x_t.dtype)

    def sample(self, count: int, source: torch.Generator) -> Tensor:
        """Draws from the density, uniform within a cell."""
        index = torch.multinomial(torch.from_numpy(self.density.ravel()), count, replacement=True, generator=source)
        cells = np.stack(np.unravel_index(index.numpy(), self.density.shape), 1)
        jitter = torch.rand(cells.shape, generator=source).numpy() - 0.5
        return torch.from_numpy((cells + jitter) * self.cell + self.origin).float()


METHOD = Method(
    name="deconvolution",
    title="Grid deconvolution by EM, stopped with the truth in hand",
    fit=fit,
    reference=True,
    unfit=unfit,
)
