"""(2.2), (2.3): one reverse step against the exact law of X_s given X_t, and the order of its bias.

Whole chains are tested in test_reverse_chain.py, and the samplers of diffusers in test_schedulers.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import kernels
from ambient.kernels import Kernel, Step
from ambient.paths import Path, transition
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import EPS, conditional, expect, expect_step
from theory_checks.scorecard import Statement, mildest, worst
from theory_checks.strategies import EXAMPLES, EXAMPLES_1D, TILTED, level_pairs, mixtures, paths, points, time_at

EULER = Statement(
    "(2.2), (2.3)", "Euler-Maruyama moves by (v_t - v_s) x score and noise of variance v_t - v_s, v = s^2 / a^2, y = x / a"
)
MOMENTS = Statement(
    "(2.3), one step", "matched: both moments of X_s | X_t; ancestral, Euler: the mean, and Cov(X_0 | X_t) taken as 0, (s/a)^2 I"
)
ORDER = Statement(
    "(2.3), order of a step", "the bias of E h(X_s) is of order 2 (ancestral, Euler-Maruyama) and 3 (matched) in the step"
)


def covariance(step: Step) -> Tensor:
    if step.is_matrix:
        return step.std @ step.std.mT
    return step.std.reshape(-1, 1, 1) ** 2 * torch.eye(step.mean.shape[1], dtype=torch.float64).expand(len(step.mean), -1, -1)


# Euler's step of the reverse SDE


def euler_discrepancy(
    drift: float, power: int, world: GaussianMixture, path: Path, s: float, t: float, x: Tensor, noise: float = 1.0
):
    """In y and v the path is VE and (2.2) reads dy = - (score of y) dv + dW, backwards; the score is that of log p_t by autograd.

    The step's mean weighs h and x by numbers below 1; h is found from the score at a condition number of sigma_t^2 / alpha_t.
    """
    at_s, at_t = path(s), path(t)
    v_s, v_t = (at.sigma**2 / at.alpha**2 for at in (at_s, at_t))
    score = at_t.alpha * torch.func.grad(lambda x: world.log_prob(x, at_t).sum())(x)
    step = kernels.euler_maruyama(world.denoiser(path), x, path=path, t=t, s=s)
    change = (v_t - v_s) if power == 2 else (v_t.sqrt() - v_s.sqrt())
    mean_error = (step.mean - at_s.alpha * (x / at_t.alpha + drift * change * score)).abs().max()
    covariance_error = (
        (covariance(step)[0] - at_s.alpha**2 * noise * change * torch.eye(x.shape[1], dtype=torch.float64)).abs().max()
    )
    size = float((x.abs().max() + world.means.abs().max() + 1) * (1 + v_t))
    return float(torch.maximum(mean_error, covariance_error)), 100 * EPS * size


@given(st.data(), mixtures(), paths())
def test_euler_maruyama_is_a_step_of_the_reverse_sde(data, world, path):
    s, t = data.draw(level_pairs(path))
    EULER.holds(*euler_discrepancy(1.0, 2, world, path, s, t, data.draw(points(world, path(t)))))


EULER_MUTANTS = {
    "half the score (probability flow)": {"drift": 0.5},
    "the score's sign": {"drift": -1.0},
    "sigma for sigma^2": {"power": 1},
    "twice the noise": {"noise": 2.0},
}


@pytest.mark.parametrize("mutant", EULER_MUTANTS)
def test_euler_mutants(mutant):
    for _, world, path, s, t in EXAMPLES:
        options = {"drift": 1.0, "power": 2} | EULER_MUTANTS[mutant]
        EULER.rejects(
            mutant, *euler_discrepancy(world=world, path=path, s=s, t=t, x=path(t).apply(world.means, world.means), **options)
        )


# Moments


Guess = Callable[[Tensor, GaussianMixture, Path, float], Tensor]  # (exact Cov(X_0 | X_t), ...) -> the one the kernel assumes

GUESSES: dict[Kernel, Guess] = {
    kernels.matched: lambda exact, world, path, t: exact,
    kernels.matched_trace: lambda exact, world, path, t: (
        exact.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(exact.shape[1], dtype=torch.float64)
    ),
    kernels.ancestral: lambda exact, world, path, t: 0 * exact,
    kernels.euler_maruyama: lambda exact, world, path, t: (
        (path(t).sigma / path(t).alpha) ** 2 * torch.eye(exact.shape[1], dtype=torch.float64).expand_as(exact)
    ),
}


def moments_discrepancy(kernel: Kernel, guess: Guess, world: GaussianMixture, path: Path, s: float, t: float, x: Tensor):
    """A step's moments against those of X_s | X_t, corrected for the kernel's estimate of Cov(X_0 | X_t).

    X_s = (alpha_s q^2 X_0 + r sigma_s^2 X_t) / sigma_t^2 + noise. Conditioning solves with Cov X_t, of condition number below
    (1 + 1 / .3^2), and subtracts: 1e3 eps of the squared size.
    """
    at_s, at_t = path(s), path(t)
    weights, means, covariances = conditional(world, x, at_n=at_s, at_t=at_t)
    mean = torch.einsum("bk,bkd->bd", weights, means)
    spread = means - mean[:, None]
    exact = torch.einsum("bk,kij->bij", weights, covariances) + torch.einsum("bk,bki,bkj->bij", weights, spread, spread)
    of_x_0 = world.posterior_covariance(x, at_t)
    weight = (at_s.alpha * (transition(at_n=at_s, at_t=at_t).q / at_t.sigma) ** 2) ** 2
    claimed = exact + weight * (guess(of_x_0, world, path, t) - of_x_0)
    step = kernel(world.denoiser(path), x, path=path, t=t, s=s)
    error = torch.maximum((step.mean - mean).abs().max(), (covariance(step) - claimed).abs().max())
    size = float(x.abs().max() / at_t.alpha + world.means.abs().max() + 1 + at_t.sigma / at_t.alpha)
    return float(error), 1e3 * EPS * size**2


@given(st.data(), mixtures(), paths())
def test_moments_of_one_step(data, world, path):
    s, t = data.draw(level_pairs(path))
    x = data.draw(points(world, path(t)))
    MOMENTS.holds(*worst(moments_discrepancy(kernel, guess, world, path, s, t, x) for kernel, guess in GUESSES.items()))


MOMENTS_MUTANTS: dict[str, tuple[Kernel, Guess]] = {
    "ancestral as matched": (kernels.ancestral, GUESSES[kernels.matched]),
    "Euler-Maruyama as matched": (kernels.euler_maruyama, GUESSES[kernels.matched]),
    "the trace alone as matched": (kernels.matched_trace, GUESSES[kernels.matched]),
    "DDIM as ancestral": (kernels.ddim, GUESSES[kernels.ancestral]),
    "Euler-Maruyama without 1 / alpha^2": (
        kernels.euler_maruyama,
        lambda exact, world, path, t: path(t).sigma ** 2 * torch.eye(2, dtype=torch.float64).expand_as(exact),
    ),
}


@pytest.mark.parametrize("mutant", MOMENTS_MUTANTS)
def test_moments_mutants(mutant):
    examples = [e for e in EXAMPLES if e.world is TILTED and float(e.path(e.t).alpha) != 1]
    x = TILTED.means
    cases = [(TILTED, e.path, e.t_n, e.t, e.path(e.t).apply(x, x)) for e in examples]
    MOMENTS.rejects(mutant, *mildest(moments_discrepancy(*MOMENTS_MUTANTS[mutant], *case) for case in cases))


# The order of one step's bias


def slope_discrepancy(f: Callable[[float], float], order: float) -> tuple[float, float]:
    """log2 f(e) / f(e/2) against the claimed order, for f = c e^order (1 + O(e)).

    The slope's own error halves with e, so it is what refining once more changes; twice that is allowed, and at most .4, so
    that no other whole order passes.
    """
    values = [f(e) for e in (0.08, 0.04, 0.02)]
    coarse, fine = (math.log2(a / b) for a, b in pairwise(values))
    return abs(fine - order), min(2 * abs(coarse - fine) + 1e-6, 0.4)


def one_step_bias(kernel: Kernel, world: GaussianMixture, path: Path, t: float) -> Callable[[float], float]:
    """The root mean square over p_t of E h*(X_s, s) - h*(x, t), by the share e of sigma / alpha that the step removes."""

    def bias(e: float) -> float:
        s = time_at(path, float(path(t).sigma / path(t).alpha) * (1 - e))

        def squared(x: Tensor) -> Tensor:
            step = kernel(world.denoiser(path), x, path=path, t=t, s=s)
            mean = expect_step(step, lambda x_s: world.denoise(x_s.flatten(0, 1), path(s)).reshape(x_s.shape), 48)
            return (mean - step.x_0_hat).square().sum(1)

        return float(expect(world, path(t), squared, 96).sqrt())

    return bias


ORDERS: dict[Kernel, int] = {kernels.ancestral: 2, kernels.euler_maruyama: 2, kernels.matched: 3}


@pytest.mark.parametrize("example", EXAMPLES_1D, ids=lambda example: example.name)
@pytest.mark.parametrize("kernel", ORDERS)
def test_order_of_one_step(example, kernel):
    ORDER.holds(*slope_discrepancy(one_step_bias(kernel, example.world, example.path, example.t), ORDERS[kernel]))


def half_the_noise(*args: object, **options: object) -> Step:
    step = kernels.ancestral(*args, **options)
    return step._replace(std=step.std / 2)


ORDER_MUTANTS: dict[str, tuple[Kernel, int]] = {
    "no noise (DDIM)": (kernels.ddim, 2),
    "half the noise": (half_the_noise, 2),
    "ancestral is of order 3": (kernels.ancestral, 3),
    "Euler-Maruyama is of order 3": (kernels.euler_maruyama, 3),
    "matched is of order 2": (kernels.matched, 2),
}


@pytest.mark.parametrize("mutant", ORDER_MUTANTS)
def test_order_mutants(mutant):
    kernel, order = ORDER_MUTANTS[mutant]
    _, world, path, _, t = EXAMPLES_1D[0]
    ORDER.rejects(mutant, *slope_discrepancy(one_step_bias(kernel, world, path, t), order))
