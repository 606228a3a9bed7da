"""Ambient denoising score matching alone: right above the data's noise, extrapolated below it."""

from __future__ import annotations

from torch import Tensor

from ambient import losses
from ambient.denoisers import gaussian_mmse
from toy.levels import level_above
from toy.method import Fitted, Method
from toy.problem import Problem
from toy.training import Counted, Draw, Trainer

BATCH = 256


def ambient_term(problem: Problem, denoiser: Counted, draw: Draw) -> Tensor:
    """The antithetic ambient loss, all levels weighing alike."""
    x_n, t_n = draw.batch(BATCH)
    t = level_above(problem, t_n, draw)
    loss = losses.antithetic_ambient(denoiser, x_n, draw.normal(*x_n.shape), path=problem.path, t_n=t_n, t=t)
    return (loss / gaussian_mmse(problem.path(t), problem.data_std)).mean()


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    return Fitted(trainer.train("ambient-only", lambda denoiser, draw: ambient_term(problem, denoiser, draw)))


METHOD = Method(
    name="ambient-only",
    title="Ambient loss alone (antithetic form), extrapolated below the data's noise",
    fit=fit,
    network="ambient-only",
)
