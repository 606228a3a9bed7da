"""The noise attack itself, on any denoiser: an image is noised to a level, and restored in one step and by samples.

Paper: Sec. 4.1, 4.4, Figs. 2, 3, 8.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ambient.denoisers import Denoiser
from ambient.paths import Path
from sdxl.model import sampling


class Attacked(NamedTuple):
    """Of images (B, ...): noisy, restored in one step, and `samples` (K, B, ...) of what may be behind the noisy ones."""

    x_t: Tensor
    one_step: Tensor
    samples: Tensor


@torch.no_grad()
def attack(
    denoiser: Denoiser,
    x_0: Tensor,
    keys: list[str],
    t: float,
    *,
    path: Path,
    times: list[float],
    kernel: str = "ancestral",
    samples: int = 1,
    seed: int = 0,
    condition: dict[str, Tensor] | None = None,
) -> Attacked:
    """Noise x_0 (B, ...) to t; E[X_0 | X_t], and samples of X_0 given X_t.

    Two models attacked with one seed see the same noise, so that they can be compared image by image. `times`: of a sampler from
    pure noise to 0, of which those below t are taken. A DDIM step draws nothing: all its samples from one x_t are the same.
    """
    shape = x_0.shape[1:]
    x_t = path(t).apply(x_0, sampling.noise_from([f"attack at {t:g}/{key}" for key in keys], shape, seed=seed)(0).to(x_0))
    grid = sampling.stretch(times, start=t)
    found = []
    for j in range(samples):
        noise = sampling.noise_from([f"sample {j} at {t:g}/{key}" for key in keys], shape, seed=seed)
        found.append(sampling.latents(denoiser, x_t, grid, path=path, kernel=kernel, noise=noise, condition=condition or {}))
    return Attacked(x_t, denoiser(x_t, t, condition), torch.stack(found) if found else x_0.new_empty(0, *x_0.shape))
