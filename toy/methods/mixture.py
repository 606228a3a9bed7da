"""A mixture of Wiener filters, fitted to the noisy data by EM: no network, and consistent at all levels by construction."""

from __future__ import annotations

from toy.method import Fitted, Method
from toy.problem import Problem
from toy.training import Trainer


def unfit(problem: Problem) -> str | None:
    return None if problem.mixture is not None else "no mixture is fitted to points"


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    assert problem.mixture is not None
    return Fitted(problem.mixture.denoiser(problem.path))


METHOD = Method(
    name="mixture",
    title="Mixture of Wiener filters: EM on the noisy data",
    fit=fit,
    unfit=unfit,
)
