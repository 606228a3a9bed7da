"""The fitted mixture converges to the truth as fast as its equations allow, and its denoiser is always consistent.

The fit solves sum_i psi(X_i; theta) = 0 for theta = (weights, means, covariances), so that of N points sqrt(N) (fit - theta)
tends to N(0, A^-1 B A^-T), A = E dpsi / dtheta, B = E psi psi^T. In units of the signal: a level is its ratio sigma / alpha.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ambient import noisy_mixture
from ambient.paths import Level, Path
from ambient.randomness import generator
from ambient.subspace import SubspaceMixture
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import CLEAN, EPS, converged, dense, expect, expect_conditional, rounding
from theory_checks.scorecard import Statement, worst
from theory_checks.statistics_kit import ASSERTIONS, FALSE_ALARM
from theory_checks.strategies import likely_points, time_at
from theory_checks.test_noisy_mixture import NOISE_KEPT, VE, VP, Fit, planted, sums_with, tensor, with_levels

COST = Statement("EM, three components", "KL(p_n, fit) and nE below the noise are what estimating the parameters costs, O(1 / N)")
CONSISTENT = Statement("EM, Def. 3.3", "the fitted denoiser is consistent: E[h(X_s, s) | X_t = x] = h(x, t) under its own law")

TRUE = GaussianMixture(
    tensor(0.3, 0.3, 0.4),
    tensor(1.6, 0.4, -1.3, 1.0, 0.1, -1.6).reshape(3, 2),
    tensor(0.20, 0.08, 0.08, 0.15, 0.10, -0.05, -0.05, 0.30, 0.35, 0.0, 0.0, 0.10).reshape(3, 2, 2),
)
COUNT = 12_000
CASES: dict[str, tuple[Path, dict[float, float]]] = {  # the share of the points at each ratio
    "VE": (VE, {0.6: 1.0}),
    "VP": (VP, {0.6: 1.0}),
    "VE, a third clean": (VE, {0.0: 1 / 3, 0.8: 2 / 3}),
}
Denoise = Callable[[SubspaceMixture, Tensor, Level], Tensor]
BELOW = (0.1, 0.3, 0.5)  # ratios at which the denoiser is judged


def at(ratio: float) -> Level:
    return Level(CLEAN.alpha, tensor(ratio)[0])


# What estimating the parameters costs


def parameters(world: GaussianMixture) -> Tensor:
    """Two weights, three means, three covariances by their entries xx, xy, yy."""
    return torch.cat([world.weights[:2], world.means.flatten(), world.covariances[:, [0, 0, 1], [0, 1, 1]].flatten()])


def parts(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weights, entries = torch.cat([theta[:2], 1 - theta[:2].sum()[None]]), theta[8:].reshape(3, 3)
    return weights, theta[2:8].reshape(3, 2), entries[:, [0, 1, 1, 2]].reshape(3, 2, 2)


def components(theta: Tensor, x: Tensor, ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """log(w_k p(x | k)) up to a constant (M, K); x - mu_k and E[X_0 | x, k], (M, K, D)."""
    weights, means, covariances = parts(theta)
    law = covariances + ratio**2 * torch.eye(2, dtype=torch.float64)
    difference = x[:, None] - means
    solved = torch.einsum("kij,mkj->mki", torch.linalg.inv(law), difference)
    log = weights.log() - ((difference * solved).sum(2) + torch.logdet(law)) / 2
    return log, difference, means + torch.einsum("kij,mkj->mki", covariances, solved)


def log_density(theta: Tensor, x: Tensor, ratio: float) -> Tensor:
    return components(theta, x, ratio)[0].logsumexp(1)


def denoised(theta: Tensor, x: Tensor, ratio: float) -> Tensor:
    log, _, means = components(theta, x, ratio)
    return torch.einsum("mk,mki->mi", log.softmax(1), means)


def psi(theta: Tensor, x: Tensor, ratio: float) -> Tensor:
    """(M, 17), with the weight 1 / (s^2 + v)^2 of their level."""
    weights, _, covariances = parts(theta)
    log, difference, _ = components(theta, x, ratio)
    share = log.softmax(1)
    scatter = difference[..., :, None] * difference[..., None, :] - ratio**2 * torch.eye(2, dtype=torch.float64) - covariances
    entries = share[..., None] * scatter[:, :, [0, 0, 1], [0, 1, 1]]
    rows = torch.cat([(share - weights)[:, :2], (share[..., None] * difference).flatten(1), entries.flatten(1)], 1)
    return rows / (TRUE.moments()[1].trace() / 2 + ratio**2) ** 2


def gram(f: Callable[..., Tensor], ratio: float) -> Tensor:
    """E J^T J over X at a level, J = df / dtheta."""

    def squared(x: Tensor) -> Tensor:
        jacobian = torch.func.jacfwd(lambda theta: f(theta, x, ratio))(parameters(TRUE)).reshape(len(x), -1, 17)
        return jacobian.mT @ jacobian

    return expect(TRUE, at(ratio), squared, 32)


@functools.cache
def covariance_of_fit(case: str) -> Tensor:
    """A^-1 B A^-T / N, (17, 17)."""
    theta, shares = parameters(TRUE), CASES[case][1]

    def mean(f: Callable[[Tensor, float], Tensor]) -> Tensor:
        return torch.stack([share * expect(TRUE, at(r), lambda x, r=r: f(x, r), 32) for r, share in shares.items()]).sum(0)

    a = torch.func.jacfwd(lambda p: mean(lambda x, r: psi(p, x, r)))(theta)
    b = mean(lambda x, r: psi(theta, x, r)[:, :, None] * psi(theta, x, r)[:, None])
    return torch.linalg.solve(a, torch.linalg.solve(a, b).mT) / COUNT


def largest(form: Tensor, covariance: Tensor) -> float:
    """d^T form d, d ~ N(0, covariance), is larger with the probability of one false alarm (Laurent and Massart 2000)."""
    eigenvalues = torch.linalg.eigvals(form @ covariance).real.clamp_min(0)
    x = math.log(ASSERTIONS / FALSE_ALARM)
    return float(eigenvalues.sum() + 2 * (x * eigenvalues.square().sum()).sqrt() + 2 * x * eigenvalues.max())


@functools.cache
def allowed(case: str) -> list[float]:
    """For KL at the noisiest level, to second order d^T I d / 2, and for nE at the levels `BELOW`."""
    covariance, noisiest = covariance_of_fit(case), max(CASES[case][1])
    kl = largest(gram(log_density, noisiest) / 2, covariance)
    return [kl, *(largest(gram(denoised, ratio) / mmse(ratio), covariance) for ratio in BELOW)]


@functools.cache
def mmse(ratio: float) -> float:
    traces = lambda x: TRUE.posterior_covariance(x, at(ratio)).diagonal(dim1=1, dim2=2).sum(1)  # noqa: E731
    return float(expect(TRUE, at(ratio), traces, 32))


# What the fit costs


def fitted(fit: Fit, case: str, count: int, **options: int) -> SubspaceMixture:
    """From a first guess by the nearest true mean; 30 sweeps, after which nothing changes any more."""
    path, shares = CASES[case]
    g = generator(0, "three components", count)
    kinds = torch.multinomial(tensor(*shares.values()), count, replacement=True, generator=g)
    at_n = path(tensor(*(time_at(path, ratio) for ratio in shares))[kinds])
    x_n = at_n.apply(TRUE.sample(count, g), torch.randn(count, 2, generator=g, dtype=torch.float64))
    labels = torch.cdist(x_n / at_n.like(x_n).alpha, TRUE.means).argmin(1)
    return fit(x_n, at_n, labels, warm_up=(0, count), sweeps=30)


def in_float64(world: SubspaceMixture) -> GaussianMixture:
    whole = dense(world)
    return GaussianMixture(*(v.double() for v in (whole.weights, whole.means, whole.covariances)))


def cost(fit: Fit, case: str) -> tuple[float, float]:
    """The worst of KL and nE against what they may be, by quadrature within a hundredth of that."""
    found = in_float64(fitted(fit, case, COUNT))
    n = at(max(CASES[case][1]))
    integrands = [(n, lambda x: TRUE.log_prob(x, n) - found.log_prob(x, n), 1.0)]
    for ratio in BELOW:
        s = at(ratio)
        integrands.append((s, lambda x, s=s: (found.denoise(x, s) - TRUE.denoise(x, s)).square().sum(1), mmse(ratio)))
    return worst(
        (float(converged(lambda nodes, s=s, f=f: expect(TRUE, s, f, nodes), 48, limit * size / 100)[0]) / size, limit)
        for (s, f, size), limit in zip(integrands, allowed(case), strict=True)
    )


MUTANTS: dict[str, Fit] = {
    "noise not subtracted": NOISE_KEPT,
    "scatter about the origin": sums_with(
        lambda count, mean, scatter, noise: (count, mean, scatter + mean[:, :, None] * mean[:, None], noise)
    ),
    "the first guess kept": lambda *a, **o: noisy_mixture.fit(*a, **o | {"sweeps": 0}),
    "one covariance for all": planted(
        lambda patch: patch.setattr(noisy_mixture, "_shrunk", lambda scatter, count: scatter.mean(0).expand_as(scatter))
    ),
    "alpha forgotten": with_levels(lambda at: Level(torch.ones_like(at.alpha), at.sigma)),
    "half the noise": with_levels(lambda at: Level(at.alpha, at.sigma / 2**0.5)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_fit_costs_what_estimation_costs(case):
    COST.holds(*cost(noisy_mixture.fit, case))


@pytest.mark.parametrize("name", MUTANTS)
def test_the_fit_rejects(name):
    COST.rejects(name, *worst(cost(MUTANTS[name], case) for case in ("VP", "VE, a third clean")))


# Consistency: at any number of points, near the truth or not


def martingale(h: Denoise, world: SubspaceMixture, path: Path, s: float, t: float) -> tuple[float, float]:
    """E[h(X_s, s) | X_t = x] with X_s from the law of the fit; the fit answers in float32, so its rounding is float32's."""
    law, at_s, at_t = in_float64(world), path(time_at(path, s)), path(time_at(path, t))
    x = likely_points(law, at_t)
    mean, bound = converged(
        lambda nodes: expect_conditional(law, x, lambda x_s: h(world, x_s, at_s), nodes, at_n=at_s, at_t=at_t), 36, 1e-3
    )
    size = float(x.abs().max() + law.means.abs().max())
    single = rounding(law, x, at_t) * torch.finfo(torch.float32).eps / EPS
    return float((mean - world.denoise(x, at_t)).abs().max()), bound + size * single


def weighted(weights: Callable[[Tensor], Tensor]) -> Denoise:
    """The filters of the components, averaged with a function of log(w_k p(x | k))."""

    def h(world: SubspaceMixture, x: Tensor, at_t: Level) -> Tensor:
        log, _, means = components(parameters(in_float64(world)), x / at_t.alpha, float(at_t.sigma / at_t.alpha))
        return torch.einsum("mk,mki->mi", weights(log), means)

    return h


def wiener(world: SubspaceMixture, x: Tensor, at_t: Level) -> Tensor:
    mean, covariance = in_float64(world).moments()
    return GaussianMixture(tensor(1.0), mean[None], covariance[None]).denoise(x, at_t)


PAIRS = ((0.1, 0.6), (0.3, 0.9), (0.5, 0.7))
CONSISTENT_MUTANTS: dict[str, Denoise] = {
    "all components alike": weighted(lambda log: torch.full_like(log, 1 / 3)),
    "weights of half the evidence": weighted(lambda log: (log / 2).softmax(1)),
    "one Wiener filter": wiener,
    "twice the noise": lambda world, x, at_t: world.denoise(x, Level(at_t.alpha, 2**0.5 * at_t.sigma)),
}


@pytest.mark.parametrize("count", [60, 600])
@pytest.mark.parametrize("case", CASES)
def test_the_fitted_denoiser_is_consistent(case, count):
    world = fitted(noisy_mixture.fit, case, count)
    CONSISTENT.holds(*worst(martingale(SubspaceMixture.denoise, world, CASES[case][0], s, t) for s, t in PAIRS))


@pytest.mark.parametrize("name", CONSISTENT_MUTANTS)
def test_the_fitted_denoiser_rejects(name):
    world = fitted(noisy_mixture.fit, "VP", 600)
    CONSISTENT.rejects(name, *worst(martingale(CONSISTENT_MUTANTS[name], world, VP, s, t) for s, t in PAIRS))
