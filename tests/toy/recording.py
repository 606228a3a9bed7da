"""Draws that remember what they gave, so that a test can say what is made of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ambient.paths import Path, VarianceExploding
from ambient.randomness import generator
from toy.problem import Noisy, Problem, from_points
from toy.training import Draw


class Recording(Draw):
    """A `Draw` of a step, in float64, that keeps all it has given, in order."""

    def __init__(self, problem: Problem, step: int = 0, progress: float = 0.5):
        super().__init__(problem, generator(0, "test", step), progress)
        self.batches: list[Noisy] = []
        self.normals: list[Tensor] = []
        self.uniforms: list[Tensor] = []

    def batch(self, count: int) -> Noisy:
        self.batches.append(super().batch(count))
        return self.batches[-1]

    def normal(self, *shape: int) -> Tensor:
        self.normals.append(super().normal(*shape).double())
        return self.normals[-1]

    def uniform(self, *shape: int) -> Tensor:
        self.uniforms.append(super().uniform(*shape).double())
        return self.uniforms[-1]


def points(levels: list[float], *, dim: int = 2, path: Path | None = None, **changes: Any) -> Problem:
    """Noisy points in float64 at these levels, in turn; their spread is known: twice that of a standard normal."""
    known = torch.tensor(levels, dtype=torch.float64).repeat(400)
    path, source = path or VarianceExploding(), generator(0, "points")
    x_0 = 2 * torch.randn(len(known), dim, dtype=torch.float64, generator=source)
    x_n = path(known).apply(x_0, torch.randn(x_0.shape, dtype=torch.float64, generator=source))
    problem = from_points(x_n, known, path, scale=1.0, seed=0)
    return Problem(**(vars(problem) | {"data_covariance": 4 * torch.eye(dim), "data_mean": torch.zeros(dim)} | changes))
