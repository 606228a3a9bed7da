"""Noisy data taken for clean: learns the noisy distribution, p_n."""

from __future__ import annotations

from ambient.paths import expand
from toy.method import Fitted, Method
from toy.methods.denoising import BATCH, denoising_loss
from toy.problem import Problem
from toy.training import Draw, Trainer


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    def noisy_as_clean(draw: Draw):
        x_n, t_n = draw.batch(BATCH)
        return x_n / expand(problem.path(t_n).alpha, x_n)

    return Fitted(trainer.train("naive", denoising_loss(problem, noisy_as_clean)))


METHOD = Method(
    name="naive",
    title="Noisy data taken for clean",
    fit=fit,
    network="naive",
)
