"""(2.3) run from one level to another: the law of the last state, and the grids."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import kernels, samplers
from ambient.kernels import Kernel
from ambient.paths import Path
from ambient.randomness import generator
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import EPS, law_at
from theory_checks.scorecard import Statement
from theory_checks.statistics_kit import deviation
from theory_checks.strategies import EXAMPLES_1D, SKEWED, TILTED, floats, mixtures, paths, time_at, times
from theory_checks.test_reverse_sde import half_the_noise, slope_discrepancy

LAW = Statement(
    "(2.3), law of X_s", "Gaussian p_0: matched steps give the law p_s exactly on any grid; others err by O(1 / steps)"
)
SAMPLED = Statement("(2.3), sampled", "a mixture: samples of X_t carried down by the sampler have the moments of X_s")
GRID = Statement("(2.3), grid", "times fall evenly in log-SNR from start to stop, or to the last one before 0")


def chain_law(kernel: Kernel, world: GaussianMixture, path: Path, grid: list[float]) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the last state, started from p_t, of a chain that is affine in its start and its noises.

    The batch holds the mean path and one path more for each coordinate of the start and of each step's noise.
    """
    size, steps = world.means.shape[1], len(grid) - 1
    start_law = law_at(world, path(grid[0]))
    units = torch.eye(size * (steps + 1), dtype=torch.float64).reshape(-1, steps + 1, size)
    units = torch.cat([torch.zeros(1, steps + 1, size, dtype=torch.float64), units])
    start = start_law.means + units[:, 0] @ torch.linalg.cholesky(start_law.covariances[0]).mT
    last = samplers.sample(world.denoiser(path), start, grid, path=path, kernel=kernel, noise=lambda i: units[:, i + 1])
    spread = last[1:] - last[0]
    return last[0], spread.mT @ spread


def law_error(kernel: Kernel, world: GaussianMixture, path: Path, grid: list[float]) -> float:
    mean, spread = chain_law(kernel, world, path, grid)
    true = law_at(world, path(grid[-1]))
    return float(torch.maximum((mean - true.means[0]).abs().max(), (spread - true.covariances[0]).abs().max()))


def law_discrepancy(kernel: Kernel, world: GaussianMixture, path: Path, grid: list[float]) -> tuple[float, float]:
    """Every step contracts towards the data, so rounding adds up over the steps: 1e3 eps a step of the squared size."""
    size = float(world.means.abs().max() + 1 + path(grid[0]).sigma)
    return law_error(kernel, world, path, grid), 1e3 * len(grid) * EPS * size**2


@given(st.data(), mixtures(components=(1,)), paths(), st.integers(2, 8), st.booleans())
def test_matched_steps_give_the_exact_law(data, world, path, steps, to_clean):
    start, stop = time_at(path, data.draw(floats(1.0, 5.0))), time_at(path, data.draw(floats(0.05, 0.9)))
    grid = samplers.log_snr_grid(path, start=start, stop=0.0 if to_clean else stop, last=stop, steps=steps)
    LAW.holds(*law_discrepancy(kernels.matched, world, path, grid))


@pytest.mark.parametrize("path", [example.path for example in EXAMPLES_1D], ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("kernel", [kernels.ancestral, kernels.euler_maruyama, kernels.ddim])
def test_other_chains_converge_at_first_order(path, kernel):
    def error(e: float) -> float:
        grid = samplers.log_snr_grid(path, start=time_at(path, 1.0), stop=time_at(path, 0.3), steps=round(2 / e))
        return law_error(kernel, one_gaussian(), path, grid)

    LAW.holds(*slope_discrepancy(error, 1))


def one_gaussian() -> GaussianMixture:
    return GaussianMixture(torch.ones(1, dtype=torch.float64), TILTED.means[:1], TILTED.covariances[:1])


LAW_MUTANTS: dict[str, Kernel] = {
    "ancestral": kernels.ancestral,
    "Euler-Maruyama": kernels.euler_maruyama,
    "the trace alone": kernels.matched_trace,
    "DDIM": kernels.ddim,
    "half the noise": half_the_noise,
}


@pytest.mark.parametrize("mutant", LAW_MUTANTS)
def test_law_mutants(mutant):
    for path in (example.path for example in EXAMPLES_1D):
        grid = samplers.log_snr_grid(path, start=time_at(path, 1.0), stop=time_at(path, 0.3), steps=20)
        LAW.rejects(mutant, *law_discrepancy(LAW_MUTANTS[mutant], one_gaussian(), path, grid))


# Samples of a mixture, where a chain is not affine


def sampled_discrepancy(kernel: Kernel, path: Path, denoiser_of: GaussianMixture, start_ratio: float) -> tuple[float, float]:
    """E x, E x^2 and P(x > 0) at the end of a chain from X_t; a wrong factor moves one of them by .06 at least.

    The bias of 25 matched steps is of order (1 / 25)^2 times a third cumulant, far below the standard error of .005.
    """
    t, start, s = (time_at(path, ratio) for ratio in (1.5, start_ratio, 0.2))
    count = 51_200
    x_t = path(start).apply(SKEWED.sample(count, generator(0, "clean")), normal(count, 0))
    grid = samplers.log_snr_grid(path, start=t, stop=s, steps=25)
    x_s = samplers.sample(denoiser_of.denoiser(path), x_t, grid, path=path, kernel=kernel, noise=lambda i: normal(count, i + 1))
    found = torch.cat([x_s, x_s**2, (x_s > 0).double()], 1)
    mean, variance = (float(moment) for moment in law_moments(path, s))
    law = law_at(SKEWED, path(s))
    above = law.weights @ torch.special.ndtr(law.means[:, 0] / law.covariances[:, 0, 0].sqrt())
    return deviation(found, torch.tensor([mean, variance + mean**2, float(above)], dtype=torch.float64), 0.06)


def normal(count: int, step: int) -> Tensor:
    return torch.randn(count, 1, dtype=torch.float64, generator=generator(0, "noise", step))


def law_moments(path: Path, s: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of X_s in one dimension."""
    mean, covariance = SKEWED.moments()
    return path(s).alpha * mean, path(s).alpha ** 2 * covariance + path(s).sigma ** 2


@pytest.mark.parametrize("path", [example.path for example in EXAMPLES_1D], ids=lambda path: type(path).__name__)
def test_samples_have_the_right_moments(path):
    SAMPLED.holds(*sampled_discrepancy(kernels.matched, path, SKEWED, 1.5))


SAMPLED_MUTANTS: dict[str, tuple[Kernel, GaussianMixture, float]] = {
    "half the noise": (half_the_noise, SKEWED, 1.5),
    "no noise, score in full": (
        lambda *args, **options: kernels.ancestral(*args, **options)._replace(std=torch.zeros(())),
        SKEWED,
        1.5,
    ),
    "started from another level": (kernels.matched, SKEWED, 1.0),
    "another world's denoiser": (kernels.matched, GaussianMixture(SKEWED.weights, 0.7 * SKEWED.means, SKEWED.covariances), 1.5),
}


@pytest.mark.parametrize("mutant", SAMPLED_MUTANTS)
def test_sampled_mutants(mutant):
    kernel, world, start_ratio = SAMPLED_MUTANTS[mutant]
    SAMPLED.rejects(mutant, *sampled_discrepancy(kernel, EXAMPLES_1D[0].path, world, start_ratio))


# Grids


def grid_discrepancy(grid: list[float], path: Path, start: float, stop: float, steps: int) -> tuple[float, float]:
    """How uneven the log-SNR steps are. A rounded time moves log-SNR by less than eps / (sigma alpha)^2: 1e3 eps."""
    assert len(grid) == steps + 1
    log_snr = path.log_snr(torch.tensor(grid, dtype=torch.float64))
    even = torch.linspace(float(path.log_snr(start)), float(path.log_snr(stop)), steps + 1, dtype=torch.float64)
    return float((log_snr - even).abs().max()), 1e3 * EPS


@given(st.data(), paths(), st.integers(1, 50))
def test_grids_are_even_in_log_snr(data, path, steps):
    start, stop = data.draw(times(path, low=1.0)), data.draw(times(path, high=0.9))
    grid = samplers.log_snr_grid(path, start=start, stop=stop, steps=steps)
    to_clean = samplers.log_snr_grid(path, start=start, stop=0.0, last=stop, steps=steps + 1)
    assert to_clean == [*grid, 0.0]
    GRID.holds(*grid_discrepancy(grid, path, start, stop, steps))


GRID_MUTANTS = {"even in sigma / alpha": 1.0, "even in its square": 2.0, "even in its square root": 0.5}


@pytest.mark.parametrize("mutant", GRID_MUTANTS)
def test_grid_mutants(mutant):
    power = GRID_MUTANTS[mutant]
    for path in (example.path for example in EXAMPLES_1D):
        ratios = torch.linspace(2.0**power, 0.1**power, 11, dtype=torch.float64) ** (1 / power)
        grid = [time_at(path, ratio) for ratio in ratios.tolist()]
        GRID.rejects(mutant, *grid_discrepancy(grid, path, grid[0], grid[-1], 10))
