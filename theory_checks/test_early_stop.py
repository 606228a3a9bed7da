"""Sec. 2.3: two earlier methods, early stop and SURE followed by denoising score matching, do not sample p_0."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import losses
from ambient.paths import Path, VariancePreserving
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import EPS, expectation
from theory_checks.scorecard import Statement
from theory_checks.strategies import EXAMPLES, TILTED, floats, mixtures, paths, times
from theory_checks.waves import hermite_rule

DEFICIT = Statement(
    "Sec. 2.3, early stop", "Cov X_0 - Cov E[X_0 | X_n] = E Cov(X_0 | X_n), the means agree: samples of E[X_0 | X_n], not of p_0"
)
RENOISED = Statement(
    "Sec. 2.3, SURE then denoising", "a_t h*(X_n) + s_t Z has the covariance of X_t less a_t^2 E Cov(X_0 | X_n), whatever t"
)
LEARNED = Statement(
    "Sec. 2.3, what is learned", "on a Gaussian the next network learns the Wiener filter of c^2 / (c + s_n^2 / a_n^2), not of c"
)

Formula = Callable[..., Tensor]
NODES = {1: 128, 2: 36}


def stopped_moments(world: GaussianMixture, path: Path, t_n: float) -> tuple[Tensor, float]:
    """Mean, second moment of E[X_0 | X_n], and E Cov(X_0 | X_n), side by side in (D, 2 D + 1), with the bound on their errors."""
    at_n = path(t_n)

    def f(x: Tensor) -> Tensor:
        h = world.denoise(x, at_n)
        return torch.cat([h[:, :, None], h[:, :, None] * h[:, None, :], world.posterior_covariance(x, at_n)], 2)

    return expectation(world, at_n, f, nodes=NODES[world.means.shape[1]], ceiling=1e-4)


def deficit_discrepancy(predicted: Formula, world: GaussianMixture, path: Path, t_n: float) -> tuple[float, float]:
    """The covariance that early stopping loses, and its mean, against a prediction. Products of means add twice the bound."""
    moments, bound = stopped_moments(world, path, t_n)
    size = len(moments)
    mean, second, within = moments[:, 0], moments[:, 1 : size + 1], moments[:, size + 1 :]
    true_mean, true_covariance = world.moments()
    deficit = true_covariance - (second - mean[:, None] * mean)
    error = torch.cat([(deficit - predicted(within, world, path(t_n))).flatten(), mean - true_mean]).abs().max()
    return float(error), (3 + 2 * float(mean.abs().max())) * bound + 100 * EPS


@given(st.data(), mixtures(dims=(1, 1, 2), components=(1, 2, 3)), paths())
def test_early_stop_lacks_the_posterior_covariance(data, world, path):
    DEFICIT.holds(*deficit_discrepancy(lambda within, *_: within, world, path, data.draw(times(path))))


def of_the_wiener_filter(within: Tensor, world: GaussianMixture, at_n) -> Tensor:
    """C - C a (a^2 C + s^2)^-1 a C, the error of the best linear estimate: larger."""
    covariance = world.moments()[1]
    total = at_n.alpha**2 * covariance + at_n.sigma**2 * torch.eye(len(covariance), dtype=torch.float64)
    return covariance - at_n.alpha**2 * covariance @ torch.linalg.solve(total, covariance)


DEFICIT_MUTANTS: dict[str, Formula] = {
    "nothing is lost": lambda within, world, at_n: 0 * within,
    "the noise's own covariance": lambda within, world, at_n: (
        (at_n.sigma / at_n.alpha) ** 2 * torch.eye(len(within), dtype=torch.float64)
    ),
    "the error of the Wiener filter": of_the_wiener_filter,
    "its trace, spread evenly": lambda within, world, at_n: (
        within.trace() / len(within) * torch.eye(len(within), dtype=torch.float64)
    ),
}


@pytest.mark.parametrize("mutant", DEFICIT_MUTANTS)
def test_deficit_mutants(mutant):
    for _, world, path, t_n, _ in EXAMPLES:
        if world is TILTED:
            DEFICIT.rejects(mutant, *deficit_discrepancy(DEFICIT_MUTANTS[mutant], world, path, t_n))


def renoised_discrepancy(predicted: Formula, world: GaussianMixture, path: Path, t_n: float, t: float) -> tuple[float, float]:
    """E x x^T for x = alpha_t h*(X_n) + sigma_t Z, over X_n and over Z (two nodes are exact), against a prediction."""
    at_n, at_t = path(t_n), path(t)
    mean, covariance = world.moments()
    signs, chance = hermite_rule(len(mean), 2)

    def f(x: Tensor) -> Tensor:
        renoised = torch.stack([at_t.apply(world.denoise(x, at_n), z.expand_as(x)) for z in signs])
        return torch.cat([torch.einsum("z,zbi,zbj->bij", chance, renoised, renoised), world.posterior_covariance(x, at_n)], 2)

    moments, bound = expectation(world, at_n, f, nodes=NODES[len(mean)], ceiling=1e-4)
    second, within = moments.split(len(mean), 1)
    of_x_t = at_t.alpha**2 * (covariance + mean[:, None] * mean) + at_t.sigma**2 * torch.eye(len(mean), dtype=torch.float64)
    error = (second - predicted(of_x_t, within, at_t)).abs().max()
    return float(error), 2 * bound + 100 * EPS * float(1 + of_x_t.abs().max())


@given(st.data(), mixtures(dims=(1, 1, 2), components=(1, 2, 3)), paths())
def test_renoised_estimates_are_not_x_t(data, world, path):
    t_n, t = data.draw(times(path)), data.draw(times(path))
    RENOISED.holds(*renoised_discrepancy(lambda of_x_t, within, at: of_x_t - at.alpha**2 * within, world, path, t_n, t))


RENOISED_MUTANTS: dict[str, Formula] = {
    "it is X_t": lambda of_x_t, within, at: of_x_t,
    "alpha for alpha^2": lambda of_x_t, within, at: of_x_t - at.alpha * within,
    "less noise is there too": lambda of_x_t, within, at: of_x_t - at.sigma**2 * within,
}


@pytest.mark.parametrize("mutant", RENOISED_MUTANTS)
def test_renoised_mutants(mutant):
    for _, world, path, t_n, t in EXAMPLES:
        if isinstance(path, VariancePreserving):
            RENOISED.rejects(mutant, *renoised_discrepancy(RENOISED_MUTANTS[mutant], world, path, t_n, t))


def learned_discrepancy(
    variance: Callable[[float, float], float], c: float, path: Path, t_n: float, t: float
) -> tuple[float, float]:
    """The linear minimiser of `denoising` on estimates h*(X_n) as if they were clean, against the Wiener filter of `variance`.

    X_0 ~ N(0, c). The loss is quadratic in the slope and in the noises, so three slopes and a rule of two nodes are exact;
    its minimum comes from differences of values of size c: 100 eps, over the curvature E X_t^2 >= sigma_t^2.
    """
    world = GaussianMixture(*(torch.tensor(v, dtype=torch.float64) for v in ([1.0], [[0.0]], [[[c]]])))
    z, weights = hermite_rule(2, 2)
    spread = (path(t_n).alpha ** 2 * c + path(t_n).sigma ** 2).sqrt()
    estimate = world.denoise(spread * z[:, :1], path(t_n))
    low, middle, high = (
        weights @ losses.denoising(lambda x, t, condition, a=a: a * x, estimate, z[:, 1:], path=path, t=t)
        for a in (-1.0, 0.0, 1.0)
    )
    slope = (low - high) / (2 * (low + high - 2 * middle))
    at_n, at_t = path(t_n), path(t)
    v = variance(c, float((at_n.sigma / at_n.alpha) ** 2))
    wiener = at_t.alpha * v / (at_t.alpha**2 * v + at_t.sigma**2)
    return abs(float(slope - wiener)), float(100 * EPS * (1 + c) / at_t.sigma**2)


@given(st.data(), floats(0.1, 4.0), paths())
def test_the_next_network_learns_a_narrower_world(data, c, path):
    LEARNED.holds(*learned_discrepancy(lambda c, s2: c**2 / (c + s2), c, path, data.draw(times(path)), data.draw(times(path))))


LEARNED_MUTANTS = {
    "the true variance": lambda c, s2: c,
    "the variance of the noisy data": lambda c, s2: c + s2,
    "the posterior variance": lambda c, s2: c * s2 / (c + s2),
}


@pytest.mark.parametrize("mutant", LEARNED_MUTANTS)
def test_learned_mutants(mutant):
    for _, _, path, t_n, t in EXAMPLES[:3]:
        LEARNED.rejects(mutant, *learned_discrepancy(LEARNED_MUTANTS[mutant], 0.5, path, t_n, t))
