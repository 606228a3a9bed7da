"""The errors and samples of a denoiser against the truth, where it is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ambient import kernels, losses, samplers
from ambient.kernels import Kernel
from ambient.randomness import generator
from ambient.worlds import GaussianMixture
from toy.levels import FINEST, start_level
from toy.method import Fitted
from toy.problem import Problem, add_noise

BELOW = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85)  # of the data's noise; their mean is the sub-n mean
LEVELS = (*BELOW, 1.0, 1.5, 3.0)
STEPS = 100


def probes(
    fitted: Fitted, problem: Problem, clean: Callable[[torch.Generator], Tensor], levels: tuple[float, ...]
) -> Iterator[tuple[Tensor, Tensor, float] | None]:
    """(x_0, x_t, t) at each multiple of the data's noise, or None where the method has no denoiser.

    The points are the same for every method and seed.
    """
    for number, multiple in enumerate(levels):
        t = problem.t_at(multiple)
        elsewhere = fitted.only_at is not None and abs(t - fitted.only_at) > 1e-6 * t
        if elsewhere or t < fitted.stop:
            yield None
            continue
        source = generator(0, "evaluation", number)
        x_0 = clean(source)
        yield x_0, problem.path(t).apply(x_0, torch.randn(x_0.shape, dtype=x_0.dtype, generator=source)), t


@torch.no_grad()
def normalised_errors(fitted: Fitted, problem: Problem, *, count: int, levels: tuple[float, ...] = LEVELS) -> list[float | None]:
    """nE(s) = E||h - h*||^2 / MMSE(s) with X_s from the true p_s, at each multiple of the data's noise, see `probes`."""
    world = problem.world
    assert isinstance(world, GaussianMixture)
    errors: list[float | None] = []
    for probe in probes(fitted, problem, lambda source: world.sample(count, source), levels):
        if probe is None:
            errors.append(None)
            continue
        _, x_t, t = probe
        mmse = world.posterior_covariance(x_t, problem.path(t)).diagonal(dim1=1, dim2=2).sum(1).mean()
        h = fitted.denoiser(x_t.float(), t)
        errors.append(float(losses.squared_norm(h.double() - world.denoise(x_t, problem.path(t))).mean() / mmse))
    return errors


def sub_n_mean(errors: list[float | None], below: tuple[float, ...] = BELOW) -> float | None:
    """The mean over the first levels, those `below` the data's noise; None if one is missing."""
    known = [error for error in errors[: len(below)] if error is not None]
    return sum(known) / len(below) if len(known) == len(below) else None


def generate(
    fitted: Fitted, problem: Problem, count: int, *, seed: int, steps: int = STEPS, kernel: Kernel = kernels.euler_maruyama
) -> Tensor:
    """Samples of X_0 by the method's own way of sampling, in `steps` steps."""
    source = generator(seed, "sampling")
    if fitted.draw is not None:
        return fitted.draw(count, source)
    if fitted.only_at is not None:
        x_n, t_n = problem.batch(count, source)
        x_t = add_noise(x_n, t_n, fitted.only_at, problem.path, source)
        with torch.no_grad():
            return fitted.denoiser(x_t, fitted.only_at)
    path, start = problem.path, start_level(problem)
    alpha, sigma = path(start)
    spread = math.sqrt(float(alpha) ** 2 * problem.data_std**2 + float(sigma) ** 2)
    x_t = float(alpha) * problem.data_mean + spread * torch.randn(count, problem.dim, generator=source)
    times = samplers.log_snr_grid(path, start=start, stop=fitted.stop, steps=steps, last=problem.t_at(FINEST))
    return samplers.sample_x_0(
        fitted.denoiser, x_t, times, path=path, kernel=kernel, noise=lambda _: torch.randn(x_t.shape, generator=source)
    )


def sliced_wasserstein(x: Tensor, y: Tensor, *, projections: int = 200) -> float:
    """Sliced Wasserstein-2 distance of samples (N, D) and (k N, D), k whole; the same projections every time."""
    directions = torch.randn(x.shape[1], projections, generator=generator(0, "projections"))
    directions = directions / directions.norm(dim=0)
    # numpy sorts contiguous floats four times as fast as torch
    along_x, along_y = (torch.from_numpy(np.sort((directions.T @ v.float().T).numpy(), axis=1)) for v in (x, y))
    return float((along_x - along_y.unflatten(1, (len(x), -1)).mean(2)).square().mean().sqrt())


def against_truth(fitted: Fitted, problem: Problem, *, count: int, seed: int) -> dict[str, Any]:
    """Errors, sliced Wasserstein distance, and the samples."""
    assert problem.world is not None
    errors = normalised_errors(fitted, problem, count=count)
    samples = generate(fitted, problem, count, seed=seed)
    truth = problem.world.sample(10 * count, generator(0, "true samples")).float()
    return {
        "errors": errors,
        "sub_n": sub_n_mean(errors),
        "at_n": errors[len(BELOW)],
        "sw2": sliced_wasserstein(samples, truth),
        "samples": samples,
    }
