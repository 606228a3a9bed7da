"""The masking attack on any denoiser: the hidden part of an image is filled in by a model that is given the rest.

Paper: Sec. 4.1, Figs. 1, 9.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, pairwise
from typing import Any

import torch
from torch import Tensor

from ambient.denoisers import Denoiser
from ambient.kernels import KERNELS
from ambient.paths import Path, Times, transition


@torch.no_grad()
def fill(
    denoiser: Denoiser,
    x_0: Tensor,
    hidden: Tensor,
    *,
    path: Path,
    times: list[float],
    noise: Callable[[int], Tensor],
    kernel: str = "ancestral",
    resample: int = 0,
    condition: Any = None,
) -> Tensor:
    """x_0 (B, ...) with its hidden part replaced by a sample: each denoised image has x_0 wherever it is known.

    The known part of X_t is then distributed as X_t given X_0, and the hidden part of `x_0` is never read.

    The distribution of the hidden part is approximate. Each step sees only the noisy known part, which says little at high
    levels, and later steps do not revise what was chosen there. The result is right if the two parts are independent, or if the
    known part determines the hidden one at high noise already; else the hidden part depends too little on the known one.
    Example: of two numbers with correlation .8, 25 ancestral steps move the second by .59 of what the first implies. With
    `resample` = 4 they move it by .89: each step is then undone by fresh noise and repeated so many times, at 1 + `resample`
    times the cost. Repetition adds the bias of each step again: ancestral samples have .82 of the right spread, which a finer
    grid of `times` mends.
    Source: Lugmayr et al. 2022 (RePaint), Algorithm 1; its bias: Trippe et al. 2023, Sec. 3.2. Paper: Figs. 1, 9.

    Args: hidden: bool, broadcast to x_0; times: decreasing to 0; noise(i): the i-th draw, standard normal with the shape of x_0.
    """

    def denoised(x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        return torch.where(hidden, denoiser(x_t, t, condition), x_0)

    draws, step = (noise(i).to(x_0) for i in count()), KERNELS[kernel]
    first = next(draws)
    x_t = torch.where(hidden, first, path(times[0]).apply(x_0, first))
    for t, s in pairwise(times):
        noise_again = transition(at_n=path(s), at_t=path(t))
        for _ in range(resample):
            x_s = step(denoised, x_t, path=path, t=t, s=s, condition=condition).draw(next(draws))
            x_t = noise_again.apply(x_s, next(draws))
        x_t = step(denoised, x_t, path=path, t=t, s=s, condition=condition).draw(next(draws))
    return x_t
