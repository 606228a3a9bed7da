"""How well a denoiser restores: images are noised to a level and restored in one step, and the errors compared in pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from ambient.denoisers import Denoiser
from ambient.losses import squared_norm
from ambient.paths import Path
from sdxl.model.sampling import noise_from


def noise(keys: list[str], levels: list[float], shape: tuple[int, ...] | torch.Size, *, seed: int) -> Tensor:
    """Of each image at its level, (B, *shape): from (seed, key, t) alone, so that all models restore the same."""
    return noise_from([f"restoration at {t:g}/{key}" for key, t in zip(keys, levels, strict=True)], shape, seed=seed)(0)


@torch.no_grad()
def restored(denoiser: Denoiser, x_0: Tensor, z: Tensor, *, path: Path, t: Tensor, condition: object = None) -> Tensor:
    """h(alpha_t X_0 + sigma_t Z, t), (B, ...). Paper: Sec. 4.2, Table 1."""
    return denoiser(path(t).apply(x_0, z), t, condition)


def square_error(found: Tensor, truth: Tensor) -> Tensor:
    """Mean over coordinates, for each sample: (B,), float64."""
    return squared_norm(found.double() - truth.double()) / truth[0].numel()
