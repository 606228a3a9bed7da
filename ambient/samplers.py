"""Sampling: grids of times, and the loop of reverse steps over a grid.

The same loop has three uses. A grid that ends at 0 samples p_0. A grid that ends at t_n, followed by the denoiser, is the early
stop of the paper. With a random kernel (any but `ddim`), a loop that starts at a given noisy sample x_t
samples the posterior of X_0 given x_t.
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
    """The state of the reverse process after one step."""

    t: float  # the time that the step has reached
    x_t: Tensor  # the sample at this time, (B, ...)
    x_0_hat: Tensor  # h at the start of the step, (B, ...)


def log_snr_grid(path: Path, *, start: float, stop: float, steps: int, last: float | None = None) -> list[float]:
    """`steps` + 1 falling times from `start` to `stop`, evenly spaced in log-SNR.

    On a discrete path there may be fewer, because repeated times are removed. The log-SNR is infinite at time 0. If `stop` is 0,
    the grid is therefore evenly spaced from `start` to `last`, the last time above 0, and one more step leads to 0.

    Args: start, stop: times, of which `start` is the greater; last: a time between 0 and `start`, needed only if `stop` is 0;
    steps: at least 1, or 2 if `stop` is 0.
    Raises: ValueError for other arguments, and if no signal is left at `start` (alpha = 0).
    """
    end, end_name = (last, "last") if stop == 0 else (stop, "stop")
    even_steps = steps - 1 if stop == 0 else steps
    if end is None or not 0 < end < start or even_steps < 1:
        found = f"start = {start}, {end_name} = {end}, steps = {steps}"
        raise ValueError(f"a grid needs start > {end_name} > 0 and steps >= {2 if stop == 0 else 1}; got {found}")
    ends = path.log_snr(torch.tensor([start, end], dtype=torch.float64))
    if not bool(ends.isfinite().all()):
        raise ValueError(f"no signal is left at {start}, so its log-SNR is not finite; start the grid at a smaller time")
    log_snrs = torch.linspace(float(ends[0]), float(ends[1]), even_steps + 1, dtype=torch.float64)
    inner = path.t_from_log_snr(log_snrs).tolist()
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
    """The state after each step of the grid, one by one: the first is at times[1], the last at times[-1].

    Args: x_t: (B, ...), at level times[0]; times: falling; noise: a function of i that returns standard normal noise for step i,
    shaped as x_t.
    Raises: ValueError for fewer than two times.
    Paper: Eq. (2.3). Checked by: theory_checks/test_reverse_chain.py
    """
    if len(times) < 2:
        raise ValueError(f"a reverse process needs at least two times; got {len(times)}")
    for i, (t, s) in enumerate(pairwise(times)):
        step = kernel(denoiser, x_t, path=path, t=t, s=s, condition=condition)
        x_t = step.draw(noise(i))
        yield State(s, x_t, step.x_0_hat)


@torch.no_grad()
def sample(denoiser: Denoiser, x_t: Tensor, times: list[float], **options: Any) -> Tensor:
    """The last sample of `reverse_process`, (B, ...), without gradients. Args: as for `reverse_process`."""
    *_, last_state = reverse_process(denoiser, x_t, times, **options)
    return last_state.x_t


@torch.no_grad()
def sample_x_0(denoiser: Denoiser, x_t: Tensor, times: list[float], *, condition: Any = None, **options: Any) -> Tensor:
    """Samples of X_0 given X_t, (B, ...), without gradients.

    If the grid ends at a time s > 0, the result is E[X_0 | X_s] for samples of X_s. For a grid from pure noise down to t_n this
    is the early stop of the paper. Args: as for `reverse_process`.
    """
    x_s = sample(denoiser, x_t, times, condition=condition, **options)
    return x_s if times[-1] == 0 else denoiser(x_s, times[-1], condition)
