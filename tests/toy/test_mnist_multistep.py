"""DDIM of second order: against the flow of a Gaussian, which is known, and where it must be DDIM itself."""

from __future__ import annotations

import math

import pytest
import torch

from ambient import samplers
from ambient.kernels import ddim
from ambient.paths import Discrete, VarianceExploding
from ambient.randomness import generator
from ambient.worlds import GaussianMixture
from toy.images.multistep import SecondOrder

VARIANCE = 0.2
GAUSSIAN = GaussianMixture(torch.ones(1), torch.zeros(1, 2), VARIANCE * torch.eye(2)[None])


def error(kernel, path, start, stop, steps):
    """Of ln |x| at the end. Exactly x_s / x_t is the ratio of the standard deviations of X_s and X_t."""
    x = torch.randn(4, 2, dtype=torch.float64, generator=generator(0, "multistep"))
    times = samplers.log_snr_grid(path, start=start, stop=stop, steps=steps)
    end = samplers.sample(GAUSSIAN.denoiser(path), x, times, path=path, kernel=kernel, noise=lambda _: torch.zeros_like(x))
    at_t, at_s = path(times[0]), path(times[-1])
    exact = math.sqrt((at_s.alpha**2 * VARIANCE + at_s.sigma**2) / (at_t.alpha**2 * VARIANCE + at_t.sigma**2))
    return float((end / x / exact).log().abs().max())


def test_twice_the_steps_leave_a_quarter_of_the_error():
    """Of second order but for the first step, which is of first order and one of them: a quarter, where DDIM leaves a half."""
    path = VarianceExploding()
    few, many = (error(SecondOrder(), path, 3.0, 0.01, steps) for steps in (40, 80))
    assert 3.3 < few / many < 4.7
    few_ddim, many_ddim = (error(ddim, path, 3.0, 0.01, steps) for steps in (40, 80))
    assert 1.8 < few_ddim / many_ddim < 2.2
    assert few < 0.2 * few_ddim


def test_on_a_schedule_of_whole_steps():
    """Times are rounded, so steps are uneven: the weights must know how long they are."""
    path = Discrete.scaled_linear()
    assert error(SecondOrder(), path, 900.0, 100.0, 30) < 0.2 * error(ddim, path, 900.0, 100.0, 30)


def test_another_sampling_starts_anew():
    kernel, path = SecondOrder(), VarianceExploding()
    first = error(kernel, path, 3.0, 0.01, 10)
    assert error(kernel, path, 3.0, 0.01, 10) == first


def test_a_sampling_from_where_another_ended_starts_anew():
    """From the level that the first reached, but from other points."""
    kernel, path, denoiser = SecondOrder(), VarianceExploding(), GAUSSIAN.denoiser(VarianceExploding())
    x, other = torch.randn(2, 4, 2, generator=generator(0, "multistep"))
    samplers.sample(denoiser, x, [3.0, 1.0], path=path, kernel=kernel, noise=lambda _: torch.zeros_like(x))
    ends = [
        samplers.sample(denoiser, other, [1.0, 0.5, 0.2], path=path, kernel=one, noise=lambda _: torch.zeros_like(x))
        for one in (kernel, SecondOrder())
    ]
    assert torch.equal(*ends)


@pytest.mark.parametrize("times", [(1.0, 0.5), (0.5, 0.0)])
def test_a_first_step_and_one_to_0_are_ddims(times):
    """The second after a step that ends where it begins, so that there is something to extrapolate from."""
    kernel, path = SecondOrder(), VarianceExploding()
    x, denoiser = torch.randn(4, 2, generator=generator(0, "multistep")), GAUSSIAN.denoiser(path)
    if times[1] == 0:
        x = kernel(denoiser, x, path=path, t=1.0, s=0.5).mean
    options = {"path": path, "t": times[0], "s": times[1]}
    step, wanted = kernel(denoiser, x, **options), ddim(denoiser, x, **options)
    assert torch.equal(step.mean, wanted.mean)
    assert torch.equal(step.x_0_hat, wanted.x_0_hat)
    assert not step.std.any()
