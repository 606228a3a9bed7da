"""Denoising score matching on whatever is taken for clean: the loss shared by the oracle, naive and SURE-then-denoise."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ambient import losses
from ambient.denoisers import gaussian_mmse
from toy.levels import any_level
from toy.problem import Problem
from toy.training import Counted, Draw

BATCH = 1024


def denoising_loss(problem: Problem, targets: Callable[[Draw], Tensor]) -> Callable[[Counted, Draw], Tensor]:
    """Denoising loss on `targets(draw)`, all levels weighing alike."""

    def loss(denoiser: Counted, draw: Draw) -> Tensor:
        x_0 = targets(draw)
        t = any_level(problem, len(x_0), draw)
        value = losses.denoising(denoiser, x_0, draw.normal(*x_0.shape), path=problem.path, t=t)
        return (value / gaussian_mmse(problem.path(t), problem.data_std)).mean()

    return loss
