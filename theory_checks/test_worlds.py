"""Mixtures whose truth is known: density, score, posterior moments and samples, against scikit-learn, autograd and quadrature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch import Tensor

from ambient.paths import Level
from ambient.randomness import generator
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import CLEAN, EPS, conditional, expectation, law_at, rounding
from theory_checks.scorecard import Statement, worst
from theory_checks.statistics_kit import deviation
from theory_checks.strategies import EXAMPLES, SKEWED, TILTED, likely_points, mixtures, paths, points, times

DENSITY = Statement("p_t of a mixture", "log_prob is scikit-learn's log-density of the noisy mixture, its gradient the score")
POSTERIOR = Statement("X_0 | X_t of a mixture", "mean and covariance are those of Gaussians conditioned one by one")
MOMENTS = Statement("moments of a mixture", "mean and covariance of X_0 against quadrature")
SAMPLES = Statement("samples of a mixture", "have its first and second moments")


def sklearn_log_prob(world: GaussianMixture, x: Tensor, at_t: Level) -> Tensor:
    law = law_at(world, at_t)
    model = SklearnMixture(len(law.weights), covariance_type="full")
    model.weights_, model.means_, model.covariances_ = (v.numpy() for v in (law.weights, law.means, law.covariances))
    model.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(model.covariances_))
    return torch.from_numpy(model.score_samples(x.numpy()))


def density(log_prob, world: GaussianMixture, at_t: Level, x: Tensor) -> tuple[float, float]:
    """log p_t, and its gradient by autograd against `World.score`, times sigma^2 as in Tweedie's formula."""
    value_error = float((log_prob(world, x, at_t) - sklearn_log_prob(world, x, at_t)).abs().max())
    gradient = torch.func.grad(lambda y: log_prob(world, y, at_t).sum())(x)
    score_error = float((gradient - world.score(x, at_t)).abs().max() * at_t.sigma**2)
    return max(value_error, score_error), rounding(world, x, at_t) * float(1 + x.abs().max())


def true_log_prob(world: GaussianMixture, x: Tensor, at_t: Level) -> Tensor:
    return world.log_prob(x, at_t)


DENSITY_MUTANTS = {
    "sigma^2 for sigma": lambda world, x, at: world.log_prob(x, Level(at.alpha, at.sigma**2)),
    "alpha^2 missing from the covariance": lambda world, x, at: GaussianMixture(
        world.weights, at.alpha * world.means, world.covariances
    ).log_prob(x, Level(CLEAN.alpha, at.sigma)),
    "equal weights": lambda world, x, at: GaussianMixture(
        torch.full_like(world.weights, 1 / len(world.weights)), world.means, world.covariances
    ).log_prob(x, at),
    "axes of another component": lambda world, x, at: GaussianMixture(
        world.weights, world.means, world.covariances.roll(1, 0)
    ).log_prob(x, at),
    "normaliser missing": lambda world, x, at: world.log_prob(x, at) + 0.9189385,
}


@given(st.data())
def test_density_is_scikit_learns(data):
    world, path = data.draw(mixtures()), data.draw(paths())
    at_t = path(data.draw(times(path)))
    DENSITY.holds(*density(true_log_prob, world, at_t, data.draw(points(world, at_t))))


@pytest.mark.parametrize("name", DENSITY_MUTANTS)
def test_density_rejects(name):
    levels = [(e.world, e.path(e.t)) for e in EXAMPLES]
    DENSITY.rejects(name, *worst(density(DENSITY_MUTANTS[name], w, at, likely_points(w, at)) for w, at in levels))


def posterior(change, world: GaussianMixture, at_t: Level, x: Tensor) -> tuple[float, float]:
    """Mean and covariance of X_0 given X_t, against conditioning by `torch.linalg.solve`; `change` acts on the world asked."""
    weights, means, covariances = conditional(world, x, at_n=CLEAN, at_t=at_t)
    mean = torch.einsum("bk,bkd->bd", weights, means)
    second = torch.einsum("bk,bkij->bij", weights, covariances + means[..., :, None] * means[..., None, :])
    asked, level = change(world, at_t)
    mean_error = float((asked.denoise(x, level) - mean).abs().max())
    covariance_error = float((asked.posterior_covariance(x, level) - (second - mean[:, :, None] * mean[:, None])).abs().max())
    size = float(means.abs().max() + world.covariances.max())
    return max(mean_error, covariance_error), rounding(world, x, at_t) * (size + size**2)


def with_covariances(change):
    return lambda world, at: (GaussianMixture(world.weights, world.means, change(world.covariances)), at)


POSTERIOR_MUTANTS = {
    "sigma^2 for sigma": lambda world, at: (world, Level(at.alpha, at.sigma**2)),
    "alpha = 1": lambda world, at: (world, Level(CLEAN.alpha, at.sigma)),
    "components exchanged": with_covariances(lambda covariances: covariances.roll(1, 0)),
    "variance a tenth too large": with_covariances(lambda covariances: 1.1 * covariances),
}


@given(st.data())
def test_posterior_moments(data):
    world, path = data.draw(mixtures()), data.draw(paths())
    at_t = path(data.draw(times(path)))
    POSTERIOR.holds(*posterior(lambda world, at: (world, at), world, at_t, data.draw(points(world, at_t))))


@pytest.mark.parametrize("name", POSTERIOR_MUTANTS)
def test_posterior_moments_reject(name):
    levels = [(e.world, e.path(e.t)) for e in EXAMPLES]
    POSTERIOR.rejects(name, *worst(posterior(POSTERIOR_MUTANTS[name], w, at, likely_points(w, at)) for w, at in levels))


def moments(claim, world: GaussianMixture) -> tuple[float, float]:
    """E X and Cov X by the nodes of every component."""
    mean, mean_bound = expectation(world, CLEAN, lambda x: x)
    second, second_bound = expectation(world, CLEAN, lambda x: x[:, :, None] * x[:, None, :])
    claimed_mean, claimed_covariance = claim(world)
    error = max(float((claimed_mean - mean).abs().max()), float((claimed_covariance + mean[:, None] * mean - second).abs().max()))
    size = 1 + float(second.abs().max())  # a mean near 0 is still a sum of numbers of this size
    return error, mean_bound * (1 + 2 * float(mean.abs().max())) + second_bound + 100 * EPS * size


def scatter(world: GaussianMixture) -> Tensor:
    spread = world.means - world.moments()[0]
    return torch.einsum("k,ki,kj->ij", world.weights, spread, spread)


MOMENT_MUTANTS = {
    "within components only": lambda world: (world.moments()[0], world.moments()[1] - scatter(world)),
    "between components only": lambda world: (world.moments()[0], scatter(world)),
    "equal weights": lambda world: (world.means.mean(0), world.moments()[1]),
    "second moment for covariance": lambda world: (
        world.moments()[0],
        world.moments()[1] + world.moments()[0][:, None] * world.moments()[0],
    ),
}


@given(st.data())
def test_moments_by_quadrature(data):
    MOMENTS.holds(*moments(GaussianMixture.moments, data.draw(mixtures(dims=(1, 2)))))


@pytest.mark.parametrize("name", MOMENT_MUTANTS)
def test_moments_reject(name):
    MOMENTS.rejects(name, *worst(moments(MOMENT_MUTANTS[name], world) for world in (SKEWED, TILTED)))


def sampling(sampler) -> tuple[float, float]:
    """X and X X^T, whose means are known; an error of 5 % of a standard deviation would be seen."""
    x = sampler(TILTED, 2**17, generator(0, "samples of a mixture"))
    mean, covariance = TILTED.moments()
    features = torch.cat([x, (x[:, :, None] * x[:, None, :]).flatten(1)], 1)
    claimed = torch.cat([mean, (covariance + mean[:, None] * mean).flatten()])
    return deviation(features, claimed, 0.05 * features.std(0))


def scaled_by(power):
    """A sampler that scales its noise by sd^power along the axes of a component."""

    def sampler(world, count, g):
        component = torch.multinomial(world.weights, count, replacement=True, generator=g)
        z = torch.randn(count, 2, generator=g, dtype=torch.float64) * world.variances[component] ** (power / 2)
        return world.means[component] + torch.einsum("bij,bj->bi", world.axes[component], z)

    return sampler


SAMPLING_MUTANTS = {
    "variance for standard deviation": scaled_by(2),
    "unit noise": scaled_by(0),
    "equal weights": lambda world, count, g: GaussianMixture(
        torch.full_like(world.weights, 1 / 3), world.means, world.covariances
    ).sample(count, g),
    "axes exchanged": lambda world, count, g: GaussianMixture(
        world.weights, world.means, world.axes @ (world.variances.flip(1)[:, :, None] * world.axes.mT)
    ).sample(count, g),
}


def test_samples_have_the_moments():
    SAMPLES.holds(*sampling(GaussianMixture.sample))


@pytest.mark.parametrize("name", SAMPLING_MUTANTS)
def test_samples_reject(name):
    SAMPLES.rejects(name, *sampling(SAMPLING_MUTANTS[name]))
