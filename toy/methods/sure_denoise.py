"""SURE, then denoising (Aali et al. 2023): a denoiser at the data's level, then its outputs taken for clean data."""

from __future__ import annotations

import torch
from torch import Tensor

from ambient import losses
from ambient.denoisers import gaussian_mmse
from toy.method import Fitted, Method
from toy.methods.denoising import BATCH, denoising_loss
from toy.problem import Problem
from toy.training import Counted, Draw, Trainer


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    def sure_loss(denoiser: Counted, draw: Draw) -> Tensor:
        x_n, t_n = draw.batch(BATCH // 2)
        value = losses.sure(denoiser, x_n, draw.normal(*x_n.shape), path=problem.path, t_n=t_n, difference_step=0.01)
        return (value / gaussian_mmse(problem.path(t_n), problem.data_std).clamp_min(1e-12)).mean()

    at_nature = trainer.train("sure", sure_loss, share=0.3)

    @torch.no_grad()
    def denoised(draw: Draw) -> Tensor:
        return at_nature(*draw.batch(BATCH))

    return Fitted(trainer.train("sure-denoise", denoising_loss(problem, denoised), share=0.7))


METHOD = Method(
    name="sure-denoise",
    title="SURE at the data's noise, then denoising on its outputs (Aali et al.)",
    fit=fit,
    network="sure-denoise",
)
