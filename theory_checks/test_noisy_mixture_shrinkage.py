"""Shrinkage of the components' covariances towards their mean: sampling noise is reduced, and true differences are kept."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from ambient import noisy_mixture
from ambient.randomness import generator
from theory_checks.scorecard import Statement, worst
from theory_checks.statistics_kit import student
from theory_checks.test_noisy_mixture import tensor

SHRINKAGE = Statement("EM, shrinkage", "an entry's mean square error is e^2 tau^2 / (tau^2 + e^2), up to 1 / K of e^2")

DEGREES = tensor(*[8000, 32000] * 200)  # of freedom of each component's scatter matrix
SPREADS = (0.0, 0.5, 1.0, 2.0, 5.0)  # tau / e at 8000 degrees
BASE = tensor(1.0, 0.3, 0.1, 0.3, 1.5, -0.2, 0.1, -0.2, 0.8).reshape(3, 3)


def gaussian_variance(scatter: Tensor, count: Tensor) -> Tensor:
    """e^2: the variance of an entry of a Gaussian's scatter matrix."""
    diagonal = scatter.diagonal(dim1=-2, dim2=-1)
    return (diagonal[..., :, None] * diagonal[..., None, :] + scatter**2) / count[:, None, None]


@functools.cache
def estimates(spread: float) -> tuple[Tensor, Tensor]:
    """True covariances (40, K, 3, 3) whose entries differ by tau, and their estimates."""
    tau = spread * gaussian_variance(BASE, DEGREES[:1]).sqrt()
    skew = torch.randn(40, len(DEGREES), 3, 3, generator=generator(0, f"pull {spread}"), dtype=torch.float64).tril()
    true = BASE + tau * (skew + skew.tril(-1).mT)
    draws = [stats.wishart(int(n), np.eye(3)).rvs(40, random_state=k) / int(n) for k, n in enumerate(DEGREES)]
    roots = torch.linalg.cholesky(true)
    return true, roots @ torch.from_numpy(np.stack(draws, 1)) @ roots.mT


def risk_of(claim: Callable[[Tensor, Tensor], Tensor], spread: float) -> tuple[float, float]:
    """Mean square error over e^2, of 400 components and 6 entries in 40 draws, against tau^2 / (tau^2 + e^2).

    Estimating tau^2 and the mean from K components adds at most 2 / K of e^2 each, as in Efron and Morris 1973. The standard
    error of the mean of 40 draws is added. Prior and sampling noise are Gaussian up to a relative 1 / sqrt(N), below 2 %.
    """
    true, scatter = estimates(spread)
    e2 = gaussian_variance(BASE, DEGREES)
    risk = torch.stack([((claim(s, DEGREES) - c) ** 2 / e2).mean() for s, c in zip(scatter, true, strict=True)])
    tau2 = spread**2 * e2[0]
    expected = float((tau2 / (tau2 + e2)).mean())
    allowed = 4 / len(DEGREES) + 0.02 * expected + student(len(risk)) * float(risk.std()) / len(risk) ** 0.5
    return abs(float(risk.mean()) - expected), allowed


def shrunk_with(variance: Callable[[Tensor, Tensor], Tensor], subtracted: float = 1.0, noise_in_weight: float = 1.0):
    """The formula with another sampling variance."""

    def claim(scatter: Tensor, count: Tensor) -> Tensor:
        mean, e2 = scatter.mean(0), variance(scatter, count)
        excess = ((scatter - mean) ** 2 - subtracted * e2).mean(0).clamp_min(0)
        return mean + excess / (excess + noise_in_weight * e2) * (scatter - mean)

    return claim


SHRINKAGE_MUTANTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "no shrinkage": lambda scatter, count: scatter,
    "the mean alone": lambda scatter, count: scatter.mean(0).expand_as(scatter),
    "half-way, always": lambda scatter, count: (scatter + scatter.mean(0)) / 2,
    "sampling variance left in tau^2": shrunk_with(gaussian_variance, subtracted=0.0),
    "sampling variance S_ij^2 alone": shrunk_with(lambda scatter, count: scatter**2 / count[:, None, None]),
    "sampling variance of the mean count": shrunk_with(
        lambda scatter, count: gaussian_variance(scatter, count.mean().expand_as(count))
    ),
    "twice the sampling variance in the weight": shrunk_with(gaussian_variance, noise_in_weight=2.0),
    "sampling variance twice as large": shrunk_with(lambda scatter, count: 2 * gaussian_variance(scatter, count)),
}


@pytest.mark.parametrize("spread", SPREADS)
def test_the_shrinkage_has_the_risk_of_empirical_bayes(spread):
    SHRINKAGE.holds(*risk_of(noisy_mixture._shrunk, spread))


@pytest.mark.parametrize("name", SHRINKAGE_MUTANTS)
def test_the_shrinkage_rejects(name):
    SHRINKAGE.rejects(name, *worst(risk_of(SHRINKAGE_MUTANTS[name], spread) for spread in SPREADS))
