"""The ambient-only network, sampled down to the data's noise and denoised once: samples of E[X_0 | X_n], not of X_0."""

from __future__ import annotations

from toy.method import Fitted, Method
from toy.methods import ambient_only
from toy.problem import Problem
from toy.training import Trainer


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    return ambient_only.fit(problem, trainer)._replace(stop=problem.t_n)


METHOD = Method(
    name="early-stop",
    title="The same network, sampling stopped at the data's noise and denoised once",
    fit=fit,
    network=ambient_only.METHOD.network,
)
