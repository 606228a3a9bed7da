"""The noise attack on any denoiser: images are noised to a level, and restored in one step and by samples.

Paper: Sec. 4.1, 4.4, Figs. 2, 3, 8.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ambient.denoisers import Denoiser
from ambient.paths import Path
from sdxl.model import sampling


class Restorations(NamedTuple):
    """Noisy images (B, ...), their restoration in one step (B, ...), and posterior samples given them (K, B, ...)."""

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
) -> Restorations:
    """X_t from images x_0 (B, ...), E[X_0 | X_t], and `samples` draws of X_0 given X_t.

    All noise follows from the seed, t and the keys, so that two models attacked with one seed can be compared image by image.
    A DDIM step draws no noise: all its samples from one x_t are the same.

    Args: times: of a sampler from pure noise to 0; the attack uses those below t.
    """
    shape = x_0.shape[1:]
    x_t = path(t).apply(x_0, sampling.noise_from([f"attack at {t:g}/{key}" for key in keys], shape, seed=seed)(0).to(x_0))
    grid = sampling.stretch(times, start=t)
    drawn = []
    for j in range(samples):
        noise = sampling.noise_from([f"sample {j} at {t:g}/{key}" for key in keys], shape, seed=seed)
        drawn.append(sampling.latents(denoiser, x_t, grid, path=path, kernel=kernel, noise=noise, condition=condition or {}))
    return Restorations(x_t, denoiser(x_t, t, condition), torch.stack(drawn) if drawn else x_0.new_empty(0, *x_0.shape))
