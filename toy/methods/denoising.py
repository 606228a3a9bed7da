"""Denoisers that predict points taken for clean: clean ones (oracle), noisy ones (naive, Noisier2Noise), denoised ones (SURE)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ambient import losses, tweedie
from ambient.denoisers import gaussian_mmse
from ambient.paths import Times, expand
from toy.levels import any_level
from toy.method import Fitted, Method, needs_clean
from toy.problem import Problem
from toy.training import Counted, Draw, Trainer

BATCH = 1024
MULTIPLE = 1.5  # of the data's noise: the one level of Noisier2Noise


def denoising_loss(problem: Problem, targets: Callable[[Draw], Tensor]) -> Callable[[Counted, Draw], Tensor]:
    """The denoising loss on `targets(draw)`; all levels have the same weight."""

    def loss(denoiser: Counted, draw: Draw) -> Tensor:
        x_0 = targets(draw)
        t = any_level(problem, len(x_0), draw)
        value = losses.denoising(denoiser, x_0, draw.normal(*x_0.shape), path=problem.path, t=t)
        return (value / gaussian_mmse(problem.path(t), problem.data_std)).mean()

    return loss


def fit_oracle(problem: Problem, trainer: Trainer) -> Fitted:
    """Trained on clean data: what the network could do if nothing were missing."""
    return Fitted(trainer.train("oracle", denoising_loss(problem, lambda draw: draw.clean_batch(BATCH))))


def fit_naive(problem: Problem, trainer: Trainer) -> Fitted:
    """Trained on noisy data as if they were clean: learns the noisy distribution, p_n."""

    def noisy_as_clean(draw: Draw) -> Tensor:
        x_n, t_n = draw.batch(BATCH)
        return x_n / expand(problem.path(t_n).alpha, x_n)

    return Fitted(trainer.train("naive", denoising_loss(problem, noisy_as_clean)))


def fit_sure_denoise(problem: Problem, trainer: Trainer) -> Fitted:
    """Aali et al. 2023: a denoiser at the data's level, trained by SURE; a second network takes its outputs for clean data."""

    def sure_loss(denoiser: Counted, draw: Draw) -> Tensor:
        x_n, t_n = draw.batch(BATCH // 2)
        value = losses.sure(denoiser, x_n, draw.normal(*x_n.shape), path=problem.path, t_n=t_n, difference_step=0.01)
        return (value / gaussian_mmse(problem.path(t_n), problem.data_std).clamp_min(1e-12)).mean()

    at_data_level = trainer.train("sure", sure_loss, share=0.3)

    @torch.no_grad()
    def denoised(draw: Draw) -> Tensor:
        return at_data_level(*draw.batch(BATCH))

    return Fitted(trainer.train("sure-denoise", denoising_loss(problem, denoised), share=0.7))


def fit_noisier2noise(problem: Problem, trainer: Trainer) -> Fitted:
    """Moran et al. 2020: a denoiser at one level above the data's, from a network that predicts the noisy data themselves."""
    path, level = problem.path, problem.t_at(MULTIPLE)

    def loss(predictor: Counted, draw: Draw) -> Tensor:
        x_n, t_n = draw.batch(BATCH)
        t = torch.full(t_n.shape, level, dtype=torch.float64)
        return losses.noisier2noise(predictor, x_n, draw.normal(*x_n.shape), path=path, t_n=t_n, t=t).mean()

    predictor = trainer.train("noisier2noise", loss)

    def denoiser(x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        return tweedie.x_0_from_x_n(x_t, predictor(x_t, t), at_t=path(t), at_n=path(problem.t_n))

    return Fitted(denoiser, only_at=level)


ORACLE = Method(
    name="oracle",
    title="The same network trained on clean data",
    fit=fit_oracle,
    network="oracle",
    reference=True,
    unfit=needs_clean,
)
NAIVE = Method(name="naive", title="Noisy data taken for clean", fit=fit_naive, network="naive")
SURE_DENOISE = Method(
    name="sure-denoise",
    title="SURE at the data's noise, then denoising on its outputs (Aali et al.)",
    fit=fit_sure_denoise,
    network="sure-denoise",
)
NOISIER2NOISE = Method(
    name="noisier2noise",
    title="Noisier2Noise: a denoiser at one level, 1.5 times the data's noise",
    fit=fit_noisier2noise,
    network="noisier2noise",
)
