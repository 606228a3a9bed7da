"""Noisy data: noised once each, at levels of their own; the moments of clean points that follow from them."""

from __future__ import annotations

import pytest
import torch
from sklearn.covariance import LedoitWolf

from ambient.paths import Discrete, VarianceExploding
from ambient.randomness import generator
from toy.data.mixtures import ring5
from toy.problem import (
    _nearest_positive,
    add_noise,
    finest_of,
    finest_recoverable,
    from_images,
    from_points,
    from_world,
    moments_of_clean,
    remarks,
)

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


@pytest.mark.parametrize("fresh", [False, True])
def test_images_are_noised_once_unless_asked(fresh):
    """A batch repeats the stored noisy images with their levels; with fresh noise it repeats none but the clean ones."""
    count, path = 30, VarianceExploding()
    x_0 = torch.arange(float(count))[:, None] * torch.ones(4)
    levels = torch.tensor([0.0, 0.01, 0.02]).repeat(10)
    problem = from_images(
        x_0, levels, torch.randn(count, 4, generator=generator(0, "noise")), path, test=x_0, seed=0, fresh=fresh, world=None
    )
    x_n, t_n = problem.batch(500, generator(0, "batch"))
    image = x_n.mean(1).round().long()  # the noise is far smaller than the step from one image to the next
    assert torch.equal(t_n, levels[image])
    stored = (x_n == problem.points[0][image]).all(1)
    assert torch.equal(stored, (t_n == 0) | (not fresh))
    assert problem.clean_batch is not None
    assert torch.equal(problem.clean_batch(500, generator(0, "batch")), x_0[image])
    assert problem.clean_test is not None
    held_out = (problem.held_out[0] - problem.clean_test) / 0.02
    assert 0.5 < float(held_out.square().mean()) < 1.5  # of 120 numbers: five standard errors are 0.65


@pytest.mark.parametrize("count", [50, None])
def test_points_are_noised_once_unless_they_are_a_stream(count):
    problem = from_world(ring5(), VarianceExploding(), 0.3, count=count, seed=0)
    x_n, t_n = problem.batch(200, generator(0, "batch"))
    assert (t_n == 0.3).all()
    known = {tuple(row) for row in problem.points[0].tolist()}
    assert all((tuple(row) in known) == (count is not None) for row in x_n.tolist())


def test_held_out_points_are_not_trained_on():
    x_n, t_n = torch.randn(100, 2, generator=generator(0, "points")), torch.linspace(0.1, 1.0, 100)
    problem = from_points(x_n, t_n, VarianceExploding(), scale=1.0, seed=0)
    level_of = {tuple(row): level for row, level in zip(x_n.tolist(), t_n.tolist(), strict=True)}
    kept, held = ({tuple(row) for row in points.tolist()} for points in (problem.points[0], problem.held_out[0]))
    assert kept | held == set(level_of)
    assert not kept & held
    for points, levels in (problem.points, problem.held_out, problem.batch(300, generator(0, "batch"))):
        assert [level_of[tuple(row)] for row in points.tolist()] == levels.tolist()


def test_noise_that_is_added_takes_each_point_from_its_own_level():
    """x_n + (t^2 - t_n^2)^(1/2) Z on the variance-exploding path."""
    x_n, t_n = torch.zeros(3, 5), torch.tensor([0.0, 0.6, 0.8])
    found = add_noise(x_n, t_n, 1.0, VarianceExploding(), generator(0, "added"))
    z = torch.randn(3, 5, generator=generator(0, "added"))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.8, 0.6])[:, None] * z)


def test_moments_of_points_at_several_levels():
    """The scatter of X_n / alpha_n less the mean of the noise variances, shrunk as scikit-learn's Ledoit-Wolf estimate is."""
    path, t_n = VarianceExploding(), torch.tensor([0.1, 0.7]).repeat(20)
    x_n = 3 * torch.randn(40, 5, generator=generator(0, "points")) * torch.arange(1.0, 6.0)
    mean, covariance = moments_of_clean(x_n, t_n, path)
    expected = torch.from_numpy(LedoitWolf().fit(x_n.double().numpy()).covariance_) * 40 / 39 - 0.25 * torch.eye(5)
    torch.testing.assert_close(mean, x_n.mean(0))
    torch.testing.assert_close(covariance.double(), expected, rtol=1e-4, atol=1e-3)
