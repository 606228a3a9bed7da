"""The fit of a mixture to noisy points, number by number against the same recipe written out in float64, point by point.

No formula is shared with the fit: sums are loops over points, a posterior is a quotient of densities, a covariance is never
taken apart. Eigenvectors and isotonic regression are numpy's and scikit-learn's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.isotonic import isotonic_regression

from ambient import noisy_mixture
from ambient.paths import Level
from tests.ambient.doubles import normal
from tests.ambient.test_noisy_mixture import numbers

FOLDS = range(5)
Array = np.ndarray


class Sums(NamedTuple):
    """Of some points with their weights: effective count, mean, unbiased scatter matrix, mean variance of the noise."""

    total: float
    count: float
    mean: Array
    scatter: Array
    noise: float


def sums(points: Array, weights: Array, noise: Array) -> Sums:
    total = sum(weights)
    mean = sum(w * x for w, x in zip(weights, points, strict=True)) / total
    scatter = sum(w * np.outer(x - mean, x - mean) for w, x in zip(weights, points, strict=True)) / total
    count = total**2 / sum(w**2 for w in weights)
    return Sums(
        total, count, mean, scatter * count / max(count - 1, 1), sum(w * v for w, v in zip(weights, noise, strict=True)) / total
    )


def pulled(each: list[Sums]) -> list[Array]:
    """Each entry of a scatter matrix pulled to its mean over the components by what chance explains of their differences."""
    counts = sum(one.count for one in each)
    mean = sum(one.count / counts * one.scatter for one in each)
    found = [mean.copy() for _ in each]
    for i, j in np.ndindex(mean.shape):
        e2 = [(one.scatter[i, i] * one.scatter[j, j] + one.scatter[i, j] ** 2) / one.count for one in each]
        tau2 = sum(one.count / counts * ((one.scatter[i, j] - mean[i, j]) ** 2 - e) for one, e in zip(each, e2, strict=True))
        for k, one in enumerate(each):
            if tau2 > 0:
                found[k][i, j] += tau2 / (tau2 + e2[k]) * (one.scatter[i, j] - mean[i, j])
    return found


def axes_of(points: Array, shares: Array, noise: Array, folds: Any, pull: bool) -> list[Array]:
    """Eigenvectors, for each component, of the covariance on these folds."""
    rows = [i for i in range(len(points)) if i % 5 in folds]
    each = [sums(points[rows], share[rows], noise[rows]) for share in shares.T]
    return [np.linalg.eigh(s)[1] for s in (pulled(each) if pull else [one.scatter for one in each])]


def eigen(points: Array, shares: Array, noise: Array, pull: bool) -> list[tuple[Array, Array]]:
    """(axes, variances) of each component: variances of the points left out along the axes of the others, made monotone."""
    whole = axes_of(points, shares, noise, FOLDS, pull)
    left_out = {fold: axes_of(points, shares, noise, [f for f in FOLDS if f != fold], pull) for fold in FOLDS}
    found = []
    for k, share in enumerate(shares.T):
        variances = np.zeros(points.shape[1])
        for fold in FOLDS:
            rows = slice(fold, None, 5)
            mine = sums(points[rows], share[rows], noise[rows])
            along = [axis @ mine.scatter @ axis - mine.noise for axis in left_out[fold][k].T]
            variances += mine.total / share.sum() * np.array(along)
        noisy = sums(points, share, noise).noise
        monotone = isotonic_regression(variances)
        floor = max(3e-3 * (noisy if noisy > 0 else 1e-4), 1e-6 * monotone[-1])
        found.append((whole[k], np.maximum(monotone, floor)))
    return found


def mixture_of(points: Array, given: Array, weights: Array, noise: Array) -> tuple[Array, Array, Array]:
    """Weights, means, covariances."""
    shares = given * weights[:, None]
    means = np.stack([sums(points, share, noise).mean for share in shares.T])
    covariances = np.stack([(axes * v) @ axes.T for axes, v in eigen(points, shares, noise, pull=True)])
    return shares.sum(0) / shares.sum(), means, covariances


def written_out(x: Array, alpha: Array, sigma: Array, labels: Array, leading: int, warm_up: tuple[int, int], sweeps: int):
    """(weights, means, covariances) in the leading directions, those directions, the variances of the others, the centre."""
    x, noise = x / alpha[:, None], (sigma / alpha) ** 2
    spread = max(x.var(0, ddof=1).mean() - noise.mean(), 1e-3 * noise.mean(), 1e-6)
    weights = (spread + noise) ** -2.0
    weights = weights / weights.mean()
    centre = sum(w * row for w, row in zip(weights, x, strict=True)) / weights.sum()
    x = x - centre
    ((axes, variances),) = eigen(x, weights[:, None], noise, pull=False)
    axes, variances = axes[:, ::-1], variances[::-1]
    y, used = x @ axes[:, :leading], slice(warm_up[1])
    found = mixture_of(y[used], np.eye(labels.max() + 1)[labels[used]], weights[used], noise[used])
    for some in [used] * warm_up[0] + [slice(None)] * sweeps:
        densities = np.stack([
            [w * multivariate_normal(m, c + v * np.eye(leading)).pdf(row) for w, m, c in zip(*found, strict=True)]
            for row, v in zip(y[some], noise[some], strict=True)
        ])  # fmt: skip
        found = mixture_of(y[some], densities / densities.sum(1, keepdims=True), weights[some], noise[some])
    return found, axes, variances[leading:], centre


KINDS = torch.arange(120) % 3
SHAPES = torch.tensor([1.0, 0.8, 0.5, 0.3, 0.2])
CLEAN = 1.5 * normal(3, 5, step=5)[KINDS] + normal(120, 5, step=1) * SHAPES * (1 + 0.5 * KINDS[:, None]) + 2
FLAT = CLEAN * torch.tensor([1.0, 0, 1, 0, 1]) + 2  # two coordinates do not vary: their variances are at the floor
ONES, MIXED = torch.ones(120), torch.where(torch.arange(120) % 7 < 3, 0.2, 0.6)
CASES = {  # x_0, alpha, sigma, leading directions
    "one level": (CLEAN, ONES, 0.4 * ONES, 3),
    "two levels of a path with alpha": (CLEAN, 0.8 * ONES, MIXED, 3),
    "some clean": (CLEAN, ONES, torch.where(torch.arange(120) % 4 == 0, 0.0, 0.5), 3),
    "all clean": (CLEAN, ONES, 0 * ONES, 3),
    "flat, noisy": (FLAT, ONES, 0.4 * ONES, 5),
    "flat, clean": (FLAT, ONES, 0 * ONES, 5),
    "flat, large, clean": (200 * FLAT, ONES, 0 * ONES, 5),
    "less than the noise": (-0.2 * MIXED[:, None] * normal(120, 5, step=2), ONES, MIXED, 5),
}


def dense(weights: Array, means: Array, covariances: Array, basis: Array, rest: Array, centre: Array) -> tuple[Array, Array]:
    """Means and covariances of the components in all coordinates."""
    inside = len(means[0])
    whole = np.zeros((len(means), len(centre), len(centre)))
    whole[:, :inside, :inside] = covariances
    whole[:, range(inside, len(centre)), range(inside, len(centre))] = rest
    return centre + means @ basis[:, :inside].T, basis @ whole @ basis.T


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("warm_up", "sweeps"), [((0, 120), 0), ((1, 90), 0), ((1, 90), 2), ((0, 60), 1)])
def test_the_fit_is_the_recipe(case, warm_up, sweeps):
    """Float32 with 120 points: sums are right to some 1e-6, and what eigenvectors and posteriors make of it to 1e-3."""
    x_0, alpha, sigma, leading = CASES[case]
    alpha, sigma = alpha.double(), sigma.double()
    x = alpha[:, None] * x_0 + sigma[:, None] * normal(120, 5, step=2)
    world = noisy_mixture.fit(x, Level(alpha, sigma), KINDS, leading_count=leading, warm_up=warm_up, sweeps=sweeps)
    arrays = (v.numpy() for v in (x, alpha, sigma))
    wanted, axes, rest, centre = written_out(*arrays, KINDS.numpy(), leading, warm_up, sweeps)
    found = [v.double().numpy() for v in numbers(world)]
    size = float(x.std())
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-4)
    np.testing.assert_allclose(found[4], rest, rtol=1e-3)
    np.testing.assert_allclose(found[5], centre, atol=1e-5 * size)
    (means, covariances), (true_means, true_covariances) = dense(*found), dense(*wanted, axes, rest, centre)
    np.testing.assert_allclose(means, true_means, atol=2e-3 * size)
    np.testing.assert_allclose(covariances, true_covariances, atol=2e-3 * size**2)
    smallest, true_smallest = (np.linalg.eigvalsh(v)[:, 0] for v in (covariances, true_covariances))
    np.testing.assert_allclose(smallest, true_smallest, rtol=0.05)
