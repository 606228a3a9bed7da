"""A component's covariance pulled to the mean of all: chance is removed, differences beyond it are kept."""

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

PULL = Statement("EM, pull to the mean", "an entry's mean square error is e^2 tau^2 / (tau^2 + e^2), up to 1 / K of e^2")

DEGREES = tensor(*[8000, 32000] * 200)  # of freedom of each component's scatter matrix
SPREADS = (0.0, 0.5, 1.0, 2.0, 5.0)  # tau / e at 8000 degrees
BASE = tensor(1.0, 0.3, 0.1, 0.3, 1.5, -0.2, 0.1, -0.2, 0.8).reshape(3, 3)


def gaussian_chance(scatter: Tensor, count: Tensor) -> Tensor:
    """e^2: the variance of an entry of a Gaussian's scatter matrix."""
    diagonal = scatter.diagonal(dim1=-2, dim2=-1)
    return (diagonal[..., :, None] * diagonal[..., None, :] + scatter**2) / count[:, None, None]


@functools.cache
def estimates(spread: float) -> tuple[Tensor, Tensor]:
    """True covariances (40, K, 3, 3) whose entries differ by tau, and their estimates."""
    tau = spread * gaussian_chance(BASE, DEGREES[:1]).sqrt()
    skew = torch.randn(40, len(DEGREES), 3, 3, generator=generator(0, f"pull {spread}"), dtype=torch.float64).tril()
    true = BASE + tau * (skew + skew.tril(-1).mT)
    draws = [stats.wishart(int(n), np.eye(3)).rvs(40, random_state=k) / int(n) for k, n in enumerate(DEGREES)]
    roots = torch.linalg.cholesky(true)
    return true, roots @ torch.from_numpy(np.stack(draws, 1)) @ roots.mT


def pull(claim: Callable[[Tensor, Tensor], Tensor], spread: float) -> tuple[float, float]:
    """Mean square error over e^2, of 400 components and 6 entries in 40 draws, against tau^2 / (tau^2 + e^2).

    Estimating tau^2 and the mean from K components costs at most 2 / K of e^2 each, as in Efron and Morris 1973; besides, the
    limit of so many draws. The prior and the chance both are Gaussian up to 1 / sqrt(N), below 2 % here, of themselves.
    """
    true, scatter = estimates(spread)
    e2 = gaussian_chance(BASE, DEGREES)
    risk = torch.stack([((claim(s, DEGREES) - c) ** 2 / e2).mean() for s, c in zip(scatter, true, strict=True)])
    tau2 = spread**2 * e2[0]
    expected = float((tau2 / (tau2 + e2)).mean())
    allowed = 4 / len(DEGREES) + 0.02 * expected + student(len(risk)) * float(risk.std()) / len(risk) ** 0.5
    return abs(float(risk.mean()) - expected), allowed


def pulled_with(chance: Callable[[Tensor, Tensor], Tensor], taken_off: float = 1.0, pulled_by: float = 1.0):
    """The formula with another idea of what chance does."""

    def claim(scatter: Tensor, count: Tensor) -> Tensor:
        mean, e2 = scatter.mean(0), chance(scatter, count)
        beyond = ((scatter - mean) ** 2 - taken_off * e2).mean(0).clamp_min(0)
        return mean + beyond / (beyond + pulled_by * e2) * (scatter - mean)

    return claim


PULL_MUTANTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "no pull": lambda scatter, count: scatter,
    "all pulled": lambda scatter, count: scatter.mean(0).expand_as(scatter),
    "half-way, always": lambda scatter, count: (scatter + scatter.mean(0)) / 2,
    "chance left in tau^2": pulled_with(gaussian_chance, taken_off=0.0),
    "chance of S_ij^2 alone": pulled_with(lambda scatter, count: scatter**2 / count[:, None, None]),
    "chance of the mean count": pulled_with(lambda scatter, count: gaussian_chance(scatter, count.mean().expand_as(count))),
    "pulled by twice the chance": pulled_with(gaussian_chance, pulled_by=2.0),
    "chance twice as large": pulled_with(lambda scatter, count: 2 * gaussian_chance(scatter, count)),
}


@pytest.mark.parametrize("spread", SPREADS)
def test_the_pull_has_the_risk_of_empirical_bayes(spread):
    PULL.holds(*pull(noisy_mixture._shrunk, spread))


@pytest.mark.parametrize("name", PULL_MUTANTS)
def test_the_pull_rejects(name):
    PULL.rejects(name, *worst(pull(PULL_MUTANTS[name], spread) for spread in SPREADS))
