"""Noisier2Noise, Sec. 2.2 and 3.1: the ambient loss at a single t, with the network's output read as E[X_n | X_t]."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import losses, tweedie
from ambient.paths import Level, Path, transition
from ambient.worlds import GaussianMixture
from theory_checks.population import excess
from theory_checks.quadrature import EPS, conditional_mean
from theory_checks.scorecard import Statement, worst
from theory_checks.strategies import EXAMPLES, EXAMPLES_1D, level_pairs, likely_points, mixtures, paths, points

EQUAL = Statement("Noisier2Noise", "with g = E[X_n | X_t] written through h, its loss is the ambient loss, sample by sample")
MINIMISER = Statement("Noisier2Noise minimiser", "g = E[X_n | X_t]; any other g has the excess E||g - E[X_n | X_t]||^2")


def read_as_x_n(h, path: Path, t_n: float):
    """g(x_t) = E[X_n | X_t] from h(x_t) by Tweedie's formula twice: the score by the pair (X_t, X_0), the mean by (X_t, X_n)."""

    def g(x, t, condition=None):
        ratio, q = transition(at_n=path(t_n), at_t=path(t))
        return tweedie.x_0_from_score(x, tweedie.score_from_x_0(x, h(x, t), at_t=path(t)), at_t=Level(ratio, q))

    return g


def equality(reading, path: Path, t_n: float, t: float, x_n: Tensor, noise: Tensor) -> tuple[float, float]:
    """For h(x, t) = sin x + t. Residuals are below |x_n| + |x_t| + 2 and rounded by some eps of it, divided by r; C = 64."""

    def h(x, t, condition=None):
        return x.sin() + t

    ambient = losses.ambient(h, x_n, noise, path=path, t_n=t_n, t=t, space="x_n")
    other = losses.noisier2noise(reading(h, path, t_n), x_n, noise, path=path, t_n=t_n, t=t)
    size = float((x_n.abs() + noise.abs() * path(t).sigma).max() + 2 + t)
    return float((ambient - other).abs().max()), 64 * EPS * x_n.shape[1] * size**2 * float(path(t_n).alpha / path(t).alpha) ** 2


READINGS = {
    "output read as E[X_0 | X_t]": lambda h, path, t_n: h,
    "alpha_n E[X_0 | X_t] for E[X_n | X_t]": lambda h, path, t_n: lambda x, t, c=None: path(t_n).alpha * h(x, t),
    "t_n taken for clean": lambda h, path, t_n: read_as_x_n(h, path, 0.0),
    "read at another t": lambda h, path, t_n: (
        lambda x, t, c=None: tweedie.x_n_from_x_0(x, h(x, t), at_t=path(1.1 * t), at_n=path(t_n))
    ),
    "sigma_n for sigma_n^2": lambda h, path, t_n: (
        lambda x, t, c=None: (
            read_as_x_n(h, path, t_n)(x, t)
            + transition(at_n=path(t_n), at_t=path(t)).ratio * (path(t_n).sigma - path(t_n).sigma ** 2) / path(t).sigma ** 2 * x
        )
    ),
}


@given(st.data())
def test_noisier2noise_is_the_ambient_loss(data):
    world, path = data.draw(mixtures()), data.draw(paths())
    t_n, t = data.draw(level_pairs(path))
    x_n = data.draw(points(world, path(t_n)))
    noise = torch.tensor(data.draw(st.lists(st.floats(-4, 4), min_size=x_n.numel(), max_size=x_n.numel())), dtype=torch.float64)
    EQUAL.holds(*equality(read_as_x_n, path, t_n, t, x_n, noise.reshape(x_n.shape)))


@pytest.mark.parametrize("name", READINGS)
def test_noisier2noise_rejects(name):
    cases = []
    for e in EXAMPLES:
        x_n = likely_points(e.world, e.path(e.t_n))
        cases.append(equality(READINGS[name], e.path, e.t_n, e.t, x_n, x_n.flip(0).cos()))
    EQUAL.rejects(name, *worst(cases))


def mean_is_minimiser(mean, world: GaussianMixture, path: Path, t_n: float, t: float) -> tuple[float, float]:
    """See `population.excess`, with g in the place of h and weight 1."""
    return excess(
        lambda g, x_n, z: losses.noisier2noise(g, x_n, z, path=path, t_n=t_n, t=t), world, path, t_n=t_n, t=t, weight=1.0,
        minimiser=lambda x, time, condition=None: mean(world, path, t_n, t, x),
    )  # fmt: skip


def exact_mean(world: GaussianMixture, path: Path, t_n: float, t: float, x: Tensor) -> Tensor:
    return conditional_mean(world, x, at_n=path(t_n), at_t=path(t))


MEANS = {
    "E[X_0 | X_t]": lambda world, path, t_n, t, x: exact_mean(world, path, 0.0, t, x),
    "x_t": lambda world, path, t_n, t, x: x,
    "a hundredth too large": lambda world, path, t_n, t, x: 1.01 * exact_mean(world, path, t_n, t, x),
    "trailing + x_t": lambda world, path, t_n, t, x: exact_mean(world, path, t_n, t, x) + x,
}


@given(st.data())
def test_noisier2noise_learns_the_mean_of_x_n(data):
    world, path = data.draw(mixtures(dims=(1,))), data.draw(paths())
    t_n, t = data.draw(level_pairs(path, low=0.1))
    MINIMISER.holds(*mean_is_minimiser(exact_mean, world, path, t_n, t))


@pytest.mark.parametrize("name", MEANS)
def test_noisier2noise_minimiser_rejects(name):
    MINIMISER.rejects(name, *worst(mean_is_minimiser(MEANS[name], e.world, e.path, e.t_n, e.t) for e in EXAMPLES_1D))
