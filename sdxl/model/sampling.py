"""Sampling latents with a denoiser: from pure noise or from noisy latents, down to clean ones or stopped at t_n.

The noise of an image follows from (seed, its number) alone, so an image is the same on any process and in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ambient import samplers
from ambient.denoisers import Denoiser
from ambient.kernels import KERNELS
from ambient.paths import Path
from ambient.randomness import generator
from harness.errors import UserError

STEPS = ("ddim", "ancestral", "euler-maruyama")  # the kernels that need one evaluation a step


def grid(schedule: dict[str, Any], steps: int) -> list[float]:
    """The falling times of diffusers' DDIM with this number of steps, and then 0.

    A stock pipeline also goes to 0 if its DDIM has set_alpha_to_one, which is diffusers' default. SDXL's own settings turn it
    off: the pipeline then ends at index 0 of the schedule, where noise of sigma = 0.029 is left.
    Raises: UserError for fewer than one step, or more steps than the schedule has times.
    """
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    scheduler: Any = DDIMScheduler.from_config(schedule)
    last = len(scheduler.alphas_cumprod) - 1
    if not 1 <= steps <= last:
        raise UserError(f"--steps must lie between 1 and {last}; got {steps}")
    scheduler.set_timesteps(steps)
    return list(dict.fromkeys([*map(float, scheduler.timesteps), 0.0]))


def require_times(option: str, times: Sequence[float], last: float) -> None:
    """Raises: UserError, which names the option, if one of the times is not between 1 and the schedule's last."""
    outside = [t for t in times if not 1 <= t <= last]
    if outside:
        raise UserError(f"{option} must be one of the schedule's times 1 .. {last:g}; got {outside[0]:g}")


def stretch(times: list[float], *, start: float | None = None, stop: float = 0.0) -> list[float]:
    """`start` (by default the first of the times), the times between, and `stop`."""
    first = times[0] if start is None else start
    return [first, *(t for t in times if stop < t < first), stop]


def noise_of(images: list[int], shape: tuple[int, ...] | torch.Size, *, seed: int) -> Callable[[int], Tensor]:
    """As `noise_from`, for images by number: draw 0 is the noise to start from, draw i + 1 that of step i."""
    return noise_from([f"image {i}" for i in images], shape, seed=seed)


def noise_from(streams: list[str], shape: tuple[int, ...] | torch.Size, *, seed: int) -> Callable[[int], Tensor]:
    """A function of the draw: standard normal noise (B, *shape), which follows from (seed, stream of the sample, draw) alone."""
    return lambda draw: torch.stack([torch.randn(shape, generator=generator(seed, stream, draw)) for stream in streams])


@torch.no_grad()
def latents(
    denoiser: Denoiser,
    x_t: Tensor,
    times: list[float],
    *,
    path: Path,
    kernel: str,
    noise: Callable[[int], Tensor],
    condition: dict[str, Tensor],
) -> Tensor:
    """Samples of X_0 if the times end at 0; if they end at t_n, E[X_0 | X_tn] of samples there: the paper's early stop.

    Args: x_t: (B, 4, h, w), latents at times[0]; noise: as `noise_of`. Paper: Sec. 2.3.
    """
    drawn: dict[str, Any] = {"noise": lambda step: noise(step + 1).to(x_t.device), "condition": condition}
    return samplers.sample_x_0(denoiser, x_t, times, path=path, kernel=KERNELS[kernel], **drawn)
