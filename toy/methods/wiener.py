"""The linear denoiser: right if X_0 were Gaussian, with the covariance of the noisy data less the noise's. No training."""

from __future__ import annotations

import torch

from ambient.worlds import GaussianMixture
from toy.method import Fitted, Method
from toy.problem import Problem
from toy.training import Trainer


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    return filter_of(problem)


def filter_of(problem: Problem) -> Fitted:
    """The exact denoiser of a Gaussian with the moments that the noisy data gives X_0."""
    gaussian = GaussianMixture(torch.ones(1), problem.data_mean[None], problem.data_covariance[None])
    return Fitted(gaussian.denoiser(problem.path))


METHOD = Method(
    name="wiener",
    title="Wiener filter: the best linear denoiser, from the noisy covariance",
    fit=fit,
)
