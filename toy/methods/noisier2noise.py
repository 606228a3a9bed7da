"""Noisier2Noise (Moran et al. 2020): a denoiser at one level above the data's, from predicting the noisy data itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ambient import losses, tweedie
from ambient.paths import Times
from toy.method import Fitted, Method
from toy.problem import Problem
from toy.training import Counted, Draw, Trainer

BATCH = 1024
MULTIPLE = 1.5  # of the data's noise: the one level


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    path = problem.path
    level = problem.t_at(MULTIPLE)

    def loss(predictor: Counted, draw: Draw) -> Tensor:
        x_n, t_n = draw.batch(BATCH)
        return losses.noisier2noise(
            predictor, x_n, draw.normal(*x_n.shape), path=path, t_n=t_n, t=torch.full(t_n.shape, level, dtype=torch.float64)
        ).mean()

    predictor = trainer.train("noisier2noise", loss)

    def denoiser(x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        return tweedie.x_0_from_x_n(x_t, predictor(x_t, t), at_t=path(t), at_n=path(problem.t_n))

    return Fitted(denoiser, only_at=level)


METHOD = Method(
    name="noisier2noise",
    title="Noisier2Noise: a denoiser at one level, 1.5 times the data's noise",
    fit=fit,
    network="noisier2noise",
)
