"""The exact E[X_0 | X_t] of the world itself: what is left is the error of the sampler and of the metric."""

from __future__ import annotations

from toy.method import Fitted, Method, needs_world
from toy.problem import Problem
from toy.training import Trainer


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    assert problem.world is not None
    return Fitted(problem.world.denoiser(problem.path))


METHOD = Method(
    name="exact",
    title="The exact denoiser",
    fit=fit,
    reference=True,
    unfit=needs_world,
)
