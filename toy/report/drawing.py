"""What the figures and pages read of a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ambient.paths import Level
from ambient.randomness import generator
from ambient.worlds import GaussianMixture
from toy.data.mixtures import MIXTURES
from toy.experiments.row import arrays_of
from toy.problem import Problem


@dataclass(frozen=True)
class Drawing:
    """A run directory, its results, and the problem of its first seed."""

    out: Path
    results: dict[str, Any]
    problem: Problem

    @property
    def summary(self) -> list[dict[str, Any]]:
        return self.results["summary"]

    @property
    def seed(self) -> int:
        """The first seed, to which pictures of samples and fields belong."""
        return self.results["config"]["seed"]

    def number(self, method: str, key: str) -> dict[str, Any] | None:
        """{mean, error, count} of a method, or None if it has no such number."""
        return next((row.get(key) for row in self.summary if row["method"] == method), None)

    @property
    def relative_noise(self) -> float | None:
        """s_n / d: the data's noise over the distance of the nearest modes."""
        return None if self.problem.world is None else self.problem.noise / MIXTURES[self.results["config"]["world"]].separation

    @cached_property
    def view(self) -> View:
        return View(self.problem)

    @cached_property
    def arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """Samples and fields by method."""
        return {row["method"]: arrays_of(self.out, row["method"], self.seed) for row in self.summary}


@dataclass(frozen=True)
class View:
    """The one or two coordinates of a problem in its figures: all, the first two, or two principal components."""

    problem: Problem

    @property
    def dim(self) -> int:
        return min(2, self.problem.dim)

    @property
    def words(self) -> str | None:
        """The coordinates in the figures, if they are not all."""
        if self.problem.dim <= 2:
            return None
        kind = "coordinates" if self.problem.world else "principal components"
        return f"the first two {kind} of {self.problem.dim}"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The coordinates of points (N, D) in the figures, (N, 1) or (N, 2)."""
        if self.problem.dim <= 2 or self.problem.world is not None:
            return x[:, : self.dim]
        _, axes = torch.linalg.eigh(self.problem.data_covariance)
        return (x - self.problem.data_mean.numpy()) @ axes.flip(1)[:, :2].numpy()

    @cached_property
    def clean(self) -> GaussianMixture | None:
        """The truth in these coordinates: the marginal of the mixture."""
        world = self.problem.world
        if not isinstance(world, GaussianMixture):
            return None
        k = self.dim
        return GaussianMixture(world.weights, world.means[:, :k], world.covariances[:, :k, :k])

    def level(self, multiple: float) -> Level:
        """The level of points that were divided by alpha, at a multiple of the data's noise."""
        alpha, sigma = self.problem.path(self.problem.t_at(multiple))
        return Level(alpha / alpha, sigma / alpha)

    def noisy(self, count: int) -> np.ndarray:
        """Some of the noisy data, divided by alpha."""
        x_n, t_n = (v[:count] for v in self.problem.points)
        return self((x_n / self.problem.path(t_n).like(x_n)[0]).numpy())

    def true(self, count: int) -> np.ndarray:
        """Draws of the truth."""
        assert self.problem.world is not None
        return self(self.problem.world.sample(count, generator(0, "true samples")).float().numpy())

    @cached_property
    def box(self) -> list[tuple[float, float]]:
        """Limits for each coordinate, of equal width, between which nearly all noisy points lie."""
        low, high = np.quantile(self.noisy(20_000), [0.002, 0.998], axis=0)
        half = float((high - low).max()) * 0.57
        return [(float(centre) - half, float(centre) + half) for centre in (low + high) / 2]
