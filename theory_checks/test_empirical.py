"""A finite data set as p_0: attention against brute force in float64, in the precision that it chooses, down to sigma = 0."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient.paths import Level, VarianceExploding
from ambient.randomness import generator
from ambient.worlds import Empirical
from theory_checks.quadrature import CLEAN, EPS
from theory_checks.scorecard import Statement, worst
from theory_checks.statistics_kit import mean_is
from theory_checks.strategies import floats, paths, times

ATTENTION = Statement(
    "E[X_0 | X_t] of a data set", "softmax attention is the posterior mean, log p_t the log-density of the kernels"
)
SINGLE = Statement("a data set in float32", "float64 takes over where float32 would move an exponent by more than .02")

ROUNDED = 0.02  # what the docstring allows float32 to move an exponent by


def brute_force(points: Tensor, weights: Tensor, x_t: Tensor, at_t: Level) -> tuple[Tensor, Tensor]:
    """Posterior mean and log-density by direct differences, one point at a time, in float64."""
    flat, x = points.double().flatten(1), x_t.double().flatten(1)
    squares = torch.stack([(x - at_t.alpha * point).square().sum(1) for point in flat], 1)
    exponents = weights.log() - squares / (2 * at_t.sigma**2)
    normaliser = weights.sum().log() + flat.shape[1] * (math.log(2 * math.pi) / 2 + at_t.sigma.log())
    return exponents.softmax(1) @ flat, exponents.logsumexp(1) - normaliser


def attention(answers, points: Tensor, weights: Tensor, at_t: Level, x_t: Tensor) -> tuple[float, float]:
    """Mean (over the spread of the data) and log-density. Exponents of size L = D reach^2 / sigma^2 are rounded by some eps L."""
    mean, log_prob = brute_force(points, weights, x_t, at_t)
    found_mean, found_log_prob = answers(points, weights, x_t, at_t)
    spread = float(points.abs().max()) + 1e-300
    reach = float(x_t.abs().max()) + spread
    size = points[0].numel() * reach**2 / float(at_t.sigma) ** 2
    mean_error = float((found_mean.flatten(1) - mean).abs().max()) / spread
    return max(mean_error, float((found_log_prob - log_prob).abs().max())), 16 * EPS * (size + 10)


def true_answers(points: Tensor, weights: Tensor, x_t: Tensor, at_t: Level) -> tuple[Tensor, Tensor]:
    world = Empirical(points, weights)
    return world.denoise(x_t, at_t), world.log_prob(x_t, at_t)


def at_level(change):
    return lambda points, weights, x, at: true_answers(points, weights, x, change(at))


ATTENTION_MUTANTS = {
    "sigma^2 for sigma": at_level(lambda at: Level(at.alpha, at.sigma**2)),
    "alpha = 1": at_level(lambda at: Level(CLEAN.alpha, at.sigma)),
    "factor 2 missing": at_level(lambda at: Level(at.alpha, at.sigma / math.sqrt(2))),
    "one point left out": lambda points, weights, x, at: true_answers(points[1:], weights[1:], x, at),
    "weights forgotten": lambda points, weights, x, at: true_answers(points, torch.ones_like(weights), x, at),
    "norms of the keys left out": lambda points, weights, x, at: (
        (weights.log() + x @ points.T * at.alpha / at.sigma**2).softmax(1) @ points,
        true_answers(points, weights, x, at)[1],
    ),
}


@given(st.data())
def test_attention_is_the_posterior_mean(data):
    """More points than fit in one chunk, too: the chunk is cut to 3."""
    path, count, size = data.draw(paths()), data.draw(st.integers(1, 10)), data.draw(st.integers(1, 3))
    weights = torch.tensor(data.draw(st.lists(floats(0.1, 2), min_size=count, max_size=count)), dtype=torch.float64)
    values = data.draw(st.lists(floats(-2, 2), min_size=(count + 2) * size, max_size=(count + 2) * size))
    both = torch.tensor(values, dtype=torch.float64).reshape(count + 2, size)
    at_t = path(data.draw(times(path, low=0.02)))
    Empirical.CHUNK, whole = 3, Empirical.CHUNK
    try:
        ATTENTION.holds(*attention(true_answers, both[2:], weights, at_t, both[:2]))
    finally:
        Empirical.CHUNK = whole


def clouds(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """300 points in 3 dimensions that are not centred, and noise for 20 queries."""
    g = generator(0, "clouds")
    return torch.randn(300, 3, generator=g, dtype=dtype) + 2, torch.randn(20, 3, generator=g, dtype=dtype)


@pytest.mark.parametrize("name", ATTENTION_MUTANTS)
def test_attention_rejects(name):
    points, noise = clouds()
    levels = [Level(torch.tensor(a, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)) for a in (1.0, 0.8)]
    weights = torch.linspace(0.1, 1.0, 300, dtype=torch.float64)
    cases = [attention(ATTENTION_MUTANTS[name], points, weights, at, at.alpha * points[:20] + at.sigma * noise) for at in levels]
    ATTENTION.rejects(name, *worst(cases))


def with_twins(sigma: float) -> Tensor:
    g = generator(0, "twins")
    sign = 2.0 * (torch.rand(200, 784, generator=g) < 0.2) - 1
    return torch.cat([sign, sign + sigma * torch.randn(200, 784, generator=g) / 10]).float()


def density_of_single(answer, sigma: float) -> tuple[float, float]:
    """log p_t moves by no more than the exponents do: at noisy points, where float32 is only just enough and where it is not."""
    points, at_t = with_twins(sigma), VarianceExploding()(sigma)
    x_t = at_t.apply(points.double(), torch.randn(points.shape, generator=generator(0, "noise"), dtype=torch.float64))
    _, log_prob = brute_force(points, torch.ones(len(points)), x_t, at_t)
    return float((answer(points, x_t, at_t) - log_prob).abs().max()), ROUNDED


def log_density_in_float32(points: Tensor, x_t: Tensor, at_t: Level) -> Tensor:
    exponents = x_t.float() @ points.T / float(at_t.sigma) ** 2 - points.square().sum(1) / (2 * float(at_t.sigma) ** 2)
    log_sum = exponents.logsumexp(1).double() - math.log(len(points)) - x_t.square().sum(1) / (2 * at_t.sigma**2)
    return log_sum - points.shape[1] * (math.log(2 * math.pi) / 2 + at_t.sigma.log())


def single(answer, sigma: float) -> tuple[float, float]:
    """Pixels of +-1 in 784 dimensions, each point with a twin sigma / 10 away in every pixel, queried half-way between twins.

    Small differences of large numbers. Two exponents off by e each shift the weights, which are a half, by at most e / 2, and
    the mean by that share of the distance between the twins.
    """
    points = with_twins(sigma)
    x_t = ((points[:8] + points[200:208]) / 2).double()
    at_t = VarianceExploding()(sigma)
    mean, _ = brute_force(points, torch.ones(len(points)), x_t, at_t)
    twins = (points[:8] - points[200:208]).double().norm(dim=1)
    return float(((answer(points, x_t, at_t) - mean).norm(dim=1) / twins).max()), ROUNDED / 2


def exponents_in_float32(points: Tensor, x_t: Tensor, at_t: Level) -> Tensor:
    x, sigma = x_t.float(), float(at_t.sigma)
    logits = x @ points.T / sigma**2 - points.square().sum(1) / (2 * sigma**2)
    return (logits.softmax(1) @ points).double()


SINGLE_MUTANTS = {
    "float32 throughout": exponents_in_float32,
    "norms of the keys in float32": lambda points, x, at: (
        (x @ points.double().T / at.sigma**2 - points.square().sum(1).double() / (2 * at.sigma**2)).softmax(1) @ points.double()
    ),
    "nearest point only": lambda points, x, at: points[torch.cdist(x, points.double()).argmin(1)].double(),
}


@pytest.mark.parametrize("sigma", [1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3])
def test_float32_data(sigma):
    SINGLE.holds(*single(lambda points, x, at: Empirical(points).denoise(x, at), sigma))


@pytest.mark.parametrize("sigma", [0.15, 0.12, 0.1, 0.01])
def test_float32_data_have_their_density(sigma):
    SINGLE.holds(*density_of_single(lambda points, x, at: Empirical(points).log_prob(x, at), sigma))


def test_float32_data_reject_a_density_in_float32():
    SINGLE.rejects("log p_t in float32", *worst(density_of_single(log_density_in_float32, sigma) for sigma in (0.1, 0.01)))


@pytest.mark.parametrize("name", SINGLE_MUTANTS)
def test_float32_data_rejects(name):
    SINGLE.rejects(name, *worst(single(SINGLE_MUTANTS[name], sigma) for sigma in (0.03, 0.01)))


def test_clean_points_and_levels_per_sample():
    """At sigma = 0 the nearest point; with a level for each sample, each is answered as if alone."""
    points, noise = clouds()
    world, path = Empirical(points), VarianceExploding()
    x = points[:20] + 0.01 * noise
    nearest = points[torch.cdist(x, points).argmin(1)]
    torch.testing.assert_close(world.denoise(x, path(0.0)), nearest, rtol=1e-12, atol=1e-12)
    t = torch.linspace(0.0, 2.0, 20, dtype=torch.float64)
    alone = torch.cat([world.denoise(x[i : i + 1], path(t[i])) for i in range(20)])
    torch.testing.assert_close(world.denoise(x, path(t)), alone, rtol=1e-9, atol=1e-9)


def test_images_keep_their_shape_and_type():
    points, noise = clouds(torch.float32)
    world, at_t = Empirical(points.reshape(100, 1, 3, 3)), VarianceExploding()(0.5)
    x = noise.reshape(-1)[:54].reshape(6, 1, 3, 3)
    assert world.denoise(x, at_t).shape == x.shape
    assert world.denoise(x, at_t).dtype == world.log_prob(x, at_t).dtype == torch.float32


def test_samples_are_points_as_often_as_their_weights_say():
    """The indicator of each point; a difference of .02 would be seen."""
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    drawn = Empirical(torch.arange(4.0)[:, None], 7 * weights).sample(2**17, generator(0, "drawn"))
    mean_is((drawn == torch.arange(4.0)).double(), weights, 0.02)
