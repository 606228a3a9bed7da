"""Sampling: the loop over a time grid, as a generator, and the grids.

One loop serves everything: a grid that ends at 0 samples p_0; one that ends at t_n, followed by the denoiser, is the paper's
early stop; starting at a noisy image x_t, of the data or of an attacker, samples the posterior given x_t.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ambient.denoisers import Denoiser
from ambient.kernels import Kernel
from ambient.paths import Path


class State(NamedTuple):
    """A sampler after one step: the time reached, the sample there, and the estimate of X_0 the step was made with."""

    t: float
    x_t: Tensor
    x_0_hat: Tensor


def log_snr_grid(path: Path, *, start: float, stop: float, steps: int, last: float | None = None) -> list[float]:
    """`steps` + 1 falling times from `start` to `stop`, evenly spaced in log-SNR; on a discrete path without repeats.

    With stop = 0, which has no log-SNR, the grid is even down to `last` (needed then) and its final step goes to 0.
    Raises: ValueError unless start is noisier than what follows, with some signal left (alpha > 0), and steps >= 1 (>= 2 with
    stop = 0).
    """
    end = last if stop == 0 else stop
    even = steps - 1 if stop == 0 else steps
    if end is None or not 0 < end < start or even < 1:
        raise ValueError(
            f"a grid needs start > {'last > 0' if stop == 0 else 'stop'} and enough steps; got {start}, {end}, {steps}"
        )
    ends = path.log_snr(torch.tensor([start, end], dtype=torch.float64))
    if not bool(ends.isfinite().all()):
        raise ValueError(f"no signal is left at {start}, which has no log-SNR; start a grid below it")
    inner = path.t_from_log_snr(torch.linspace(float(ends[0]), float(ends[1]), even + 1, dtype=torch.float64)).tolist()
    times = [float(start), *inner[1:-1], float(end)] + ([0.0] if stop == 0 else [])
    return list(dict.fromkeys(times))


def reverse_process(
    denoiser: Denoiser,
    x_t: Tensor,
    times: list[float],
    *,
    path: Path,
    kernel: Kernel,
    noise: Callable[[int], Tensor],
    condition: Any = None,
) -> Iterator[State]:
    """Yield the state after each step of the grid; the first is at times[1], the last at times[-1].

    Paper: Eq. (2.3). Checked by: theory_checks/test_reverse_chain.py

    Args: x_t: (B, ...), at level times[0]; times: falling; noise(i): standard normal like x_t, for step i.
    Raises: ValueError for fewer than two times.
    """
    if len(times) < 2:
        raise ValueError("a reverse process needs at least two times")
    for i, (t, s) in enumerate(pairwise(times)):
        step = kernel(denoiser, x_t, path=path, t=t, s=s, condition=condition)
        x_t = step.draw(noise(i))
        yield State(s, x_t, step.x_0_hat)


@torch.no_grad()
def sample(denoiser: Denoiser, x_t: Tensor, times: list[float], **options: Any) -> Tensor:
    """The last sample of `reverse_process`, without gradients. Arguments as there."""
    *_, last = reverse_process(denoiser, x_t, times, **options)
    return last.x_t


@torch.no_grad()
def sample_x_0(
    denoiser: Denoiser,
    x_t: Tensor,
    times: list[float],
    *,
    path: Path,
    kernel: Kernel,
    noise: Callable[[int], Tensor],
    condition: Any = None,
) -> Tensor:
    """Samples of X_0 given X_t, without gradients; if the times end above 0, at s, E[X_0 | X_s] of samples of X_s.

    From pure noise down to t_n that is the paper's early stop; from the noisy image of an attack, its posterior samples.
    Arguments as `reverse_process`.
    """
    x_s = sample(denoiser, x_t, times, path=path, kernel=kernel, noise=noise, condition=condition)
    return x_s if times[-1] == 0 else denoiser(x_s, times[-1], condition)
