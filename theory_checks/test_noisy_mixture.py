"""The mixture fitted to noisy points: the fit of one component, and eigenvalues by cross-validation.

Faults are planted in the module itself, so that the rest of the fit stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

from ambient import noisy_mixture
from ambient.paths import Level, Path, VarianceExploding, VariancePreserving
from ambient.randomness import generator
from ambient.subspace import SubspaceMixture
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import dense
from theory_checks.scorecard import Statement, worst
from theory_checks.statistics_kit import ASSERTIONS, FALSE_ALARM, student
from theory_checks.strategies import time_at

ONE = Statement("EM, one component", "mean and covariance are unbiased, with the errors of means weighted by 1 / (s^2 + v)^2")
LEFT_OUT = Statement("EM, variances left out", "are those of X_0 along the axes of four fifths of the points, on average")
SILENCE = Statement("EM, noise alone", "the fitted variances have a mean square of at most 2 v^2 / (N / 5 - 1)")

Fit = Callable[..., SubspaceMixture]
LIMIT = float(stats.norm.isf(FALSE_ALARM / ASSERTIONS / 2))  # standard errors, where they are known
VE, VP = VarianceExploding(), VariancePreserving()


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Faults


def planted(plant: Callable[[pytest.MonkeyPatch], None]) -> Fit:
    def faulty(*arguments, **options) -> SubspaceMixture:
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            return noisy_mixture.fit(*arguments, **options)

    return faulty


def with_levels(change: Callable[[Level], Level]) -> Fit:
    return lambda x, at, labels, **options: noisy_mixture.fit(x, change(at), labels, **options)


def sums_with(change) -> Fit:
    """`change` acts on counts, means, scatter matrices and noise variances."""
    statistics, of_folds = noisy_mixture._Statistics, noisy_mixture._Statistics.of_folds
    return planted(lambda patch: patch.setattr(statistics, "of_folds", lambda sums, folds: change(*of_folds(sums, folds))))


def axes_of(choose: Callable[[list[int]], list[int]]) -> Fit:
    axes = noisy_mixture._axes
    return planted(
        lambda patch: patch.setattr(noisy_mixture, "_axes", lambda sums, folds, shrink: axes(sums, choose(folds), shrink))
    )


def unweighted(patch: pytest.MonkeyPatch) -> None:
    statistics = noisy_mixture._statistics
    patch.setattr(noisy_mixture, "_statistics", lambda y, g, o, weight, v: statistics(y, g, o, torch.ones_like(weight), v))


NOISE_KEPT = sums_with(lambda count, mean, scatter, noise: (count, mean, scatter, 0 * noise))
UNCORRECTED = sums_with(lambda count, mean, scatter, noise: (count, mean, scatter * (1 - 1 / count)[:, None, None], noise))
IN_SAMPLE = axes_of(lambda folds: list(range(noisy_mixture.FOLDS)))
OWN_AXES = axes_of(
    lambda folds: folds if len(folds) == noisy_mixture.FOLDS else list(set(range(noisy_mixture.FOLDS)) - set(folds))
)


# One component

TRUE = GaussianMixture(
    tensor(1.0), tensor(1.0, -0.5, 0.3)[None], tensor(1.1, 0.2, 0.1, 0.2, 0.4, -0.1, 0.1, -0.1, 0.3).reshape(1, 3, 3)
)
LEVELS: dict[str, tuple[Path, tuple[float, float]]] = {  # noise-to-signal ratios of one point in five, and of the others
    "VE": (VE, (0.7, 0.7)),
    "VP": (VP, (0.7, 0.7)),
    "VE, one in five clean": (VE, (0.0, 4.0)),
    "VP, two levels": (VP, (0.3, 3.0)),
}


def one_component(fit: Fit, case: str, count: int) -> tuple[float, float]:
    """The largest error of an entry in standard errors, which fall as 1 / sqrt(N); two directions lead, one is outside.

    With weights w_i and V_i = C + v_i I: Var C_jk = sum_i w_i^2 (V_i,jj V_i,kk + V_i,jk^2) / (sum_i w_i)^2, Var mean_j =
    sum_i w_i^2 V_i,jj / (sum_i w_i)^2. A tenth more for the skewness of squares and the turn of the axes, both of order
    1 / sqrt(N) beside that.
    """
    path, (rare, common) = LEVELS[case]
    g = generator(0, case, count)
    few = torch.rand(count, generator=g) < 0.2
    at_n = path(torch.where(few, time_at(path, rare), time_at(path, common)).double())
    x_n = at_n.apply(TRUE.sample(count, g), torch.randn(count, 3, generator=g, dtype=torch.float64))
    found = dense(fit(x_n, at_n, torch.zeros(count), leading_count=2, sweeps=1, warm_up=(1, count)))

    mean, covariance = TRUE.means[0], TRUE.covariances[0]
    v = (at_n.sigma / at_n.alpha).square()
    w = (covariance.trace() / 3 + v) ** -2
    noisy = covariance + v[:, None, None] * torch.eye(3, dtype=torch.float64)
    diagonal = noisy.diagonal(dim1=1, dim2=2)
    squares = diagonal[:, :, None] * diagonal[:, None, :] + noisy**2
    deviations = torch.cat([(found.covariances[0] - covariance).flatten(), found.means[0] - mean])
    errors = torch.einsum("i,ij->j", w**2, torch.cat([squares.flatten(1), diagonal], 1)).sqrt() / w.sum()
    return float((deviations / errors).abs().max()), 1.1 * LIMIT


ONE_MUTANTS: dict[str, Fit] = {
    "noise not subtracted": NOISE_KEPT,
    "alpha forgotten": with_levels(lambda at: Level(torch.ones_like(at.alpha), at.sigma)),
    "sigma for sigma^2": with_levels(lambda at: Level(at.alpha, (at.alpha * at.sigma).sqrt())),
    "all points count alike": planted(unweighted),
    "levels of other points": with_levels(lambda at: Level(at.alpha.roll(1), at.sigma.roll(1))),
}


@pytest.mark.parametrize("count", [4_000, 16_000, 64_000])
@pytest.mark.parametrize("case", LEVELS)
def test_one_component_is_unbiased(case, count):
    ONE.holds(*one_component(noisy_mixture.fit, case, count))


@pytest.mark.parametrize("name", ONE_MUTANTS)
def test_one_component_rejects(name):
    ONE.rejects(name, *worst(one_component(ONE_MUTANTS[name], case, 64_000) for case in LEVELS))


# Cross-validated variances

DRAWS = 60


def fits_of(fit: Fit, x_0: Tensor, step: int) -> Tensor:
    """The fitted variances, ascending, for unit noise."""
    x_n = VE(1.0).apply(x_0, torch.randn(x_0.shape, generator=generator(0, "left out", step), dtype=torch.float64))
    return fit(x_n, VE(1.0), torch.zeros(len(x_0)), warm_up=(0, len(x_0)), sweeps=0).mixture.variances[0].double()


def in_standard_errors(draws: list[Tensor]) -> float:
    """How far their mean is from 0."""
    values = torch.stack(draws)
    return float(values.mean().abs() / values.std() * len(values) ** 0.5)


def left_out(fit: Fit) -> tuple[float, float]:
    """Both sides have the same mean exactly: a scatter matrix and axes that are independent of it; in standard errors.

    One signal of variance 2 in 20 directions, 100 points: the largest fitted variance, against the true variance along the
    first axis of 80 other points. And variances of 9 in all of 20 directions, 50 points: their mean, which making them
    monotone does not change. No floor is near.
    """
    g = generator(0, "signals")
    scale = torch.eye(20, dtype=torch.float64)[0] * 2**0.5
    one, all_of_them = [], []
    for step in range(DRAWS):
        x_0 = scale * torch.randn(100, 20, generator=g, dtype=torch.float64)
        fresh = (1 + scale**2).sqrt() * torch.randn(80, 20, generator=g, dtype=torch.float64)
        axis = torch.linalg.eigh(fresh.T.cov()).eigenvectors[:, -1]
        one.append(fits_of(fit, x_0, step)[-1] - (axis * scale).square().sum())
        all_of_them.append(fits_of(fit, 3 * torch.randn(50, 20, generator=g, dtype=torch.float64), step).mean() - 9)
    return max(in_standard_errors(one), in_standard_errors(all_of_them)), student(DRAWS)


LEFT_OUT_MUTANTS: dict[str, Fit] = {
    "eigenvalues of the points themselves": IN_SAMPLE,
    "axes of the points left out": OWN_AXES,
    "noise not subtracted": NOISE_KEPT,
    "scatter divided by n, not n - 1": UNCORRECTED,
}


def test_variances_left_out_are_unbiased():
    LEFT_OUT.holds(*left_out(noisy_mixture.fit))


@pytest.mark.parametrize("name", LEFT_OUT_MUTANTS)
def test_variances_left_out_reject(name):
    LEFT_OUT.rejects(name, *left_out(LEFT_OUT_MUTANTS[name]))


def silence(fit: Fit) -> tuple[float, float]:
    """The mean square of the variances in 15 fits to noise alone, in truth 0: 40 directions, 400 points, v = 1.

    Along given axes a fold's scatter has the variance 2 v^2 / (n - 1), n = N / 5; means over folds have no larger one, and
    making a sequence monotone never increases its norm. The lower bound adds
    SMALLEST_EIGENVALUE^2. Eigenvalues of the points themselves have v^2 (D + 1) / N. The standard error of 15 fits is added.
    """
    nothing = torch.zeros(400, 40, dtype=torch.float64)
    squares = torch.stack([fits_of(fit, nothing, step).square().mean() for step in range(15)])
    allowed = 2 / (400 / noisy_mixture.FOLDS - 1) + noisy_mixture.SMALLEST_EIGENVALUE**2
    return float(squares.mean()), allowed + student(15) * float(squares.std()) / 15**0.5


SILENCE_MUTANTS: dict[str, Fit] = {
    "eigenvalues of the points themselves": IN_SAMPLE,
    "axes of the points left out": OWN_AXES,
    "noise not subtracted": NOISE_KEPT,
}


def test_noise_alone_is_nearly_silent():
    SILENCE.holds(*silence(noisy_mixture.fit))


@pytest.mark.parametrize("name", SILENCE_MUTANTS)
def test_noise_alone_rejects(name):
    SILENCE.rejects(name, *silence(SILENCE_MUTANTS[name]))
