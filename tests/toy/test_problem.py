"""The moments of clean points, from noisy ones."""

from __future__ import annotations

import pytest
import torch

from ambient.paths import Discrete, VarianceExploding
from ambient.randomness import generator
from toy.problem import _nearest_positive, finest_of, finest_recoverable, from_points, moments_of_clean, remarks

SDXL = Discrete.scaled_linear()


def noisy(path, t, count, dim):
    """Points with variances 4 in a tenth of the directions, .02 in the others; their noise; the covariance of the clean ones."""
    variances = torch.full((dim,), 0.02).index_fill(0, torch.arange(dim // 10), 4.0)
    draw = generator(0, "moments")
    x_0 = 1 + variances.sqrt() * torch.randn(count, dim, generator=draw)
    levels = torch.full((count,), t)
    return path(levels).apply(x_0, torch.randn(count, dim, generator=draw)), levels, variances


@pytest.mark.parametrize(("path", "t"), [(VarianceExploding(), 0.6), (SDXL, 500.0), (SDXL, 800.0)])
@pytest.mark.parametrize("count", [150, 300, 5000])
def test_the_spread_is_right_however_few_the_points(path, t, count):
    """The trace of a covariance of N points in directions of variances v_i has standard deviation (2 sum v_i^2 / N)^(1/2); five
    of them, and the least variance in every direction, are allowed. Clipping alone is off by up to 30 of them at t = 800.
    """
    x_n, levels, variances = noisy(path, t, count, 100)
    _, covariance = moments_of_clean(x_n, levels, path)
    noise = float(path.noise_to_signal(t)) ** 2
    chance = 5 * float((2 * (variances + noise).square().sum() / count).sqrt())
    assert float(covariance.trace()) == pytest.approx(float(variances.sum()), abs=chance + 100 * (1e-3 * noise + 1e-6))


def test_few_points_are_shrunk():
    """Where 300 points see little, less is claimed: the error is below that of the plain difference and that of none at all."""
    path = SDXL
    x_n, levels, variances = noisy(path, 500.0, 300, 100)
    _, covariance = moments_of_clean(x_n, levels, path)
    plain = torch.cov((x_n / path(levels).like(x_n).alpha).T) - path.noise_to_signal(levels)[0] ** 2 * torch.eye(100)
    assert float((covariance - variances.diag()).norm()) < min(float((plain - variances.diag()).norm()), float(variances.norm()))


def test_many_points_are_not():
    """Entries of a covariance of N points are right to about (variance of the noisy points) / N^(1/2); five times that."""
    path = VarianceExploding()
    x_n, levels, variances = noisy(path, 0.6, 100_000, 10)
    mean, covariance = moments_of_clean(x_n, levels, path)
    off = (covariance - variances.diag()).abs()
    assert float(off.max()) < 5 * 2**0.5 * 4.36 / 100_000**0.5
    assert float((mean - 1).abs().max()) < 5 * (4.36 / 100_000) ** 0.5


@pytest.mark.parametrize(
    ("values", "nearest"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ([0.0, 4.0, 5.0], [0.5, 3.75, 4.75]),
        ([-3.0, 1.0, 5.0], [0.5, 0.5, 2.0]),
        ([-5.0, 1.0], [0.5, 0.5]),
        ([-1.0], [0.5]),
    ],
)
def test_the_nearest_positive_numbers_of_a_sum(values, nearest):
    """By hand, with .5 the least: what is lifted to it is taken from the others in equal parts."""
    torch.testing.assert_close(_nearest_positive(torch.tensor(values), 0.5), torch.tensor(nearest), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 2])
def test_few_directions_will_do(dim):
    x_n = torch.randn(50, dim, generator=generator(0, "moments"))
    _, covariance = moments_of_clean(x_n, torch.full((50,), 0.1), VarianceExploding())
    assert covariance.shape == (dim, dim)
    assert float(torch.linalg.eigvalsh(covariance).min()) > 0


def test_the_wall_is_that_of_the_least_noisy_points():
    """Of 1,800 kept: with .1 on half of them; all alike; 450 clean."""
    x_n, path = torch.randn(2000, 2, generator=generator(0, "wall")), VarianceExploding()

    def problem(*levels):
        return from_points(x_n, torch.tensor(levels).repeat(2000 // len(levels)), path, scale=1.0, seed=0)

    mixed, alike, clean = problem(0.1, 2.0), problem(2.0), problem(0.0, 0.5, 1.0, 2.0)
    few = int((mixed.points[1] == mixed.points[1].min()).sum())
    assert 800 < few < 1000
    assert finest_of(mixed) == pytest.approx(finest_recoverable(0.1, few), rel=1e-6)
    assert finest_of(alike) == finest_recoverable(2.0, 1800)
    assert finest_of(clean) == 0
    assert remarks(clean) == [f"no wall: {clean.clean:,} of the points are clean"]


def test_few_clean_points_are_no_reason_for_no_wall():
    """Of 25 points or fewer no structure is seen, whatever their noise."""
    levels = torch.full((2000,), 2.0).index_fill(0, torch.arange(20), 0.0)
    found = finest_of(from_points(torch.randn(2000, 2), levels, VarianceExploding(), scale=1.0, seed=0))
    assert found == pytest.approx(finest_recoverable(2.0, 1800), rel=1e-6)
