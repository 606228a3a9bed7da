"""Denoisers that need no training: the exact one, and two that are fitted to the noisy data."""

from __future__ import annotations

from toy.method import Fitted, Method, needs_world
from toy.problem import Problem
from toy.training import Trainer


def fit_exact(problem: Problem, trainer: Trainer) -> Fitted:
    """E[X_0 | X_t] of the world itself: what is left is the error of the sampler and of the metric."""
    assert problem.world is not None
    return Fitted(problem.world.denoiser(problem.path))


def fit_wiener(problem: Problem, trainer: Trainer) -> Fitted:
    """The linear denoiser, which is exact for a Gaussian with the moments that the noisy data give X_0."""
    return Fitted(problem.gaussian().denoiser(problem.path))


def needs_mixture(problem: Problem) -> str | None:
    """Why the mixture of Wiener filters cannot treat the problem; None if it can."""
    return None if problem.mixture is not None else "no mixture is fitted to points"


def fit_mixture(problem: Problem, trainer: Trainer) -> Fitted:
    """A mixture of Wiener filters, fitted to the noisy data by EM: consistent at all levels by construction."""
    assert problem.mixture is not None
    return Fitted(problem.mixture.denoiser(problem.path))


EXACT = Method(name="exact", title="The exact denoiser", fit=fit_exact, reference=True, unfit=needs_world)
WIENER = Method(name="wiener", title="Wiener filter: the best linear denoiser, from the noisy covariance", fit=fit_wiener)
MIXTURE = Method(name="mixture", title="Mixture of Wiener filters: EM on the noisy data", fit=fit_mixture, unfit=needs_mixture)
