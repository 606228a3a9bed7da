"""The scores of a method for points, and the arrays of its figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from toy.evaluation import against_truth
from toy.method import Fitted
from toy.problem import Problem
from toy.report.drawing import View
from toy.without_truth import without_truth

SHOWN = 4_000  # samples for the figures


def score_points(fitted: Fitted, problem: Problem, *, count: int, seed: int) -> dict[str, Any]:
    """Scores by the truth where it is known, else by held-out noisy points; `arrays`: samples, and the field below the noise."""
    scores = (against_truth if problem.world else without_truth)(fitted, problem, count=count, seed=seed)
    field = field_below(fitted.denoiser, problem) if fitted.only_at is None and fitted.stop == 0 else {}
    samples = scores.pop("samples")[:SHOWN].numpy()
    return {**scores, "arrays": {"samples": samples, **field}}


@torch.no_grad()
def field_below(denoiser: Callable[..., torch.Tensor], problem: Problem) -> dict[str, np.ndarray]:
    """h(alpha x, t) - x at half the data's noise, how the denoiser moves each point of a grid over the noisy data.

    It is empty for more than two dimensions.
    """
    if problem.dim > 2:
        return {}
    t = problem.t_at(0.5)
    lines = [torch.linspace(low, high, 200 if problem.dim == 1 else 37) for low, high in View(problem).box]
    grid = torch.cartesian_prod(*lines).reshape(-1, problem.dim)
    h = denoiser(float(problem.path(t).alpha) * grid, t)
    return {"grid": grid.numpy(), "field": (h - grid).numpy()}
