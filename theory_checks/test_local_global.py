"""Consistency for nearby levels implies it for all: along a chain the residuals telescope."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import kernels, samplers
from ambient.kernels import Kernel
from ambient.paths import Path
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import EPS, converged, expect_conditional
from theory_checks.scorecard import Statement
from theory_checks.strategies import EXAMPLES_1D, floats, mixtures, paths, points, time_at
from theory_checks.waves import WAVES, Wave, hermite_rule, waves

TELESCOPE = Statement(
    "Local implies global, chain", "E h(X_s, s) - h(x, t) is the sum of the mean residuals of the steps, for any h and kernel"
)
COMPOSED = Statement("Local implies global, exact", "consistent over t -> u and over u -> s implies consistent over t -> s")

KERNELS: tuple[Kernel, ...] = (kernels.ancestral, kernels.euler_maruyama, kernels.matched_trace)


def times_down(path: Path, high: float, low: float, steps: int) -> list[float]:
    return samplers.log_snr_grid(path, start=time_at(path, high), stop=time_at(path, low), steps=steps)


def residual(h: Wave, x: Tensor, t: float, s: float, path: Path, kernel: Kernel, nodes: int) -> Tensor:
    """E[h(X_s, s) | X_t = x] - h(x, t), one step of the kernel, in one dimension."""
    step = kernel(h, x, path=path, t=t, s=s)
    z, weights = hermite_rule(1, nodes)
    return weights @ torch.stack([h(step.draw(node.expand_as(x)), s)[:, 0] for node in z]) - h(x, t)[:, 0]


def chain(h: Wave, x: float, times: list[float], path: Path, kernel: Kernel, nodes: int) -> tuple[list[Tensor], Tensor]:
    """The states X_t at every time of the grid, the start included, for every node of all its noises; and their weights."""
    z, weights = hermite_rule(len(times) - 1, nodes)
    start = torch.full((len(z), 1), x, dtype=torch.float64)
    states = samplers.reverse_process(h, start, times, path=path, kernel=kernel, noise=lambda i: z[:, i : i + 1])
    return [start, *(state.x_t for state in states)], weights


Sum = Callable[..., Tensor]


def mean_residuals(h: Wave, states: list[Tensor], weights: Tensor, times: list[float], *rest: object) -> Tensor:
    """sum_i E r_i(X_i)."""
    steps = zip(states, pairwise(times), strict=False)
    return torch.stack([weights @ residual(h, x, t, s, *rest) for x, (t, s) in steps]).sum()


def telescope_discrepancy(
    local: Sum, h: Wave, x: float, times: list[float], path: Path, kernel: Kernel, nodes: int | None
) -> tuple[float, float]:
    """The whole chain's residual against its steps'. A linear h needs the means only: one node (`nodes` = None) is exact then."""

    def at(nodes: int) -> Tensor:
        states, weights = chain(h, x, times, path, kernel, nodes)
        whole = weights @ h(states[-1], times[-1])[:, 0] - h(states[0], times[0])[0, 0]
        return torch.stack([whole, local(h, states, weights, times, path, kernel, nodes)])

    (whole, parts), bound = converged(at, nodes, 1e-3) if nodes else (at(1), 0.0)
    return abs(float(whole - parts)), 2 * bound + 100 * len(times) * EPS * (1 + abs(x))


@given(paths(), st.sampled_from(KERNELS), waves(1), floats(-3.0, 3.0), floats(0.1, 0.4), floats(0.5, 1.0))
def test_three_steps_telescope(path, kernel, h, x, low, high):
    TELESCOPE.holds(*telescope_discrepancy(mean_residuals, h, x, times_down(path, high, low, 3), path, kernel, 5))


@given(paths(), st.sampled_from(KERNELS), waves(1), floats(-3.0, 3.0), st.integers(4, 40))
def test_many_steps_of_a_linear_denoiser_telescope(path, kernel, h, x, steps):
    linear = h._replace(out=torch.zeros_like(h.out))
    TELESCOPE.holds(*telescope_discrepancy(mean_residuals, linear, x, times_down(path, 1.0, 0.1, steps), path, kernel, None))


def at_the_start(h: Wave, states: list[Tensor], weights: Tensor, times: list[float], *rest: object) -> Tensor:
    return mean_residuals(h, [states[0]] * len(states), weights, times, *rest)


TELESCOPE_MUTANTS: dict[str, Sum] = {
    "residuals at x, not along the chain": at_the_start,
    "the last step left out": lambda h, states, weights, times, *rest: mean_residuals(h, states, weights, times[:-1], *rest),
    "consistent in any case": lambda *_: torch.zeros((), dtype=torch.float64),
    "a residual of .01 more in each step": lambda h, states, weights, times, *rest: (
        mean_residuals(h, states, weights, times, *rest) + 0.01 * (len(times) - 1)
    ),
}


@pytest.mark.parametrize("mutant", TELESCOPE_MUTANTS)
def test_telescope_mutants(mutant):
    for _, _, path, _, _ in EXAMPLES_1D:
        times = times_down(path, 0.8, 0.2, 3)
        TELESCOPE.rejects(
            mutant, *telescope_discrepancy(TELESCOPE_MUTANTS[mutant], WAVES[1], 0.7, times, path, kernels.ancestral, 6)
        )


# Zero residuals, exact steps


Denoiser = Callable[[Tensor, float], Tensor]


def composed_discrepancy(
    world: GaussianMixture, h: Denoiser, path: Path, times: tuple[float, float, float], x: Tensor, *, skipped: float | None = None
) -> tuple[float, float]:
    """E[E[h(X_s, s) | X_u] | X_t = x] against h(x, t), each step by the exact law. `skipped`: a level wrongly used for u inside.

    Rounding as in test_consistency.py, twice.
    """
    t, u, s = times
    inner = u if skipped is None else skipped

    def at(nodes: int) -> Tensor:
        def from_u(x_u: Tensor) -> Tensor:
            return expect_conditional(world, x_u, lambda x_s: h(x_s, s), nodes, at_n=path(s), at_t=path(inner))

        return expect_conditional(world, x, from_u, nodes, at_n=path(u), at_t=path(t))

    mean, bound = converged(at, 36, 1e-4)
    size = float(x.abs().max() + world.means.abs().max()) + 1
    return float((mean - h(x, t)).abs().max()), bound + 2e3 * EPS * size


@given(st.data(), mixtures(dims=(1,), components=(1, 2)), paths(), floats(0.1, 0.3), floats(0.35, 0.6), floats(0.65, 1.0))
def test_two_consistent_steps_make_one(data, world, path, low, middle, high):
    times = time_at(path, high), time_at(path, middle), time_at(path, low)
    x = data.draw(points(world, path(times[0]), 1))
    COMPOSED.holds(*composed_discrepancy(world, world.denoiser(path), path, times, x))


Levels = tuple[float, float, float]

COMPOSED_MUTANTS: dict[str, Callable[[GaussianMixture, Path, Levels], tuple[Denoiser, float | None]]] = {
    "a residual of .01 in each step": lambda world, path, times: (
        lambda x, t: world.denoise(x, path(t)) + 0.01 * times.index(t),
        None,
    ),
    "h at the middle level instead of the last": lambda world, path, times: (
        lambda x, t: world.denoise(x, path(max(t, times[1]))),
        None,
    ),
    "the second step from the first's level": lambda world, path, times: (world.denoiser(path), times[0]),
}


@pytest.mark.parametrize("mutant", COMPOSED_MUTANTS)
def test_composed_mutants(mutant):
    for _, world, path, _, _ in EXAMPLES_1D:
        times = time_at(path, 0.8), time_at(path, 0.5), time_at(path, 0.2)
        x = path(times[0]).apply(world.means, torch.full_like(world.means, 0.4))
        h, skipped = COMPOSED_MUTANTS[mutant](world, path, times)
        COMPOSED.rejects(mutant, *composed_discrepancy(world, h, path, times, x, skipped=skipped))
