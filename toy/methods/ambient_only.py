"""Ambient denoising score matching alone: right at and above the data's noise, extrapolated below it; and early stop."""

from __future__ import annotations

from torch import Tensor

from ambient import losses
from ambient.denoisers import gaussian_mmse
from toy.levels import level_above
from toy.method import Fitted, Method
from toy.problem import Problem
from toy.training import Counted, Draw, Trainer

BATCH = 256


def ambient_term(problem: Problem, denoiser: Counted, draw: Draw, *, antithetic: bool = True) -> Tensor:
    """The ambient loss, in its antithetic form or in the paper's x_n space; all levels have the same weight. Shape ()."""
    x_n, t_n = draw.batch(BATCH)
    t = level_above(problem, t_n, draw)
    loss = losses.antithetic_ambient if antithetic else losses.ambient
    value = loss(denoiser, x_n, draw.normal(*x_n.shape), path=problem.path, t_n=t_n, t=t)
    return (value / gaussian_mmse(problem.path(t), problem.data_std)).mean()


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    return Fitted(trainer.train("ambient-only", lambda denoiser, draw: ambient_term(problem, denoiser, draw)))


def fit_early_stop(problem: Problem, trainer: Trainer) -> Fitted:
    """Sampling ends at the data's noise with one denoising step: samples of E[X_0 | X_n], not of X_0."""
    return fit(problem, trainer)._replace(stop=problem.t_n)


METHOD = Method(
    name="ambient-only",
    title="Ambient loss alone (antithetic form), extrapolated below the data's noise",
    fit=fit,
    network="ambient-only",
)
EARLY_STOP = Method(
    name="early-stop",
    title="The same network, sampling stopped at the data's noise and denoised once",
    fit=fit_early_stop,
    network="ambient-only",
)
