"""A Gaussian mixture for p_0, fitted to noisy points alone. Its denoiser is a mixture of Wiener filters.

The fit is expectation maximisation (EM) on X_n / alpha_n = X_0 + noise of known variance v. A sweep is one iteration of EM. The
scatter matrix of the points of component k estimates C_k + v I, so v is subtracted. If C_k is smaller than v sqrt(D / N_k), the
difference is mostly sampling noise. Two estimates without tuning parameters reduce this noise:

    entries of C_k       Each entry is shrunk towards its mean over the components. It is shrunk less if the components differ
                         by more than sampling noise explains (empirical Bayes).
    eigenvalues of C_k   Eigenvectors are computed without one fold of the points. The eigenvalues are the variances of the
                         points of that fold along them (cross-validation), made monotone.

The result is the exact denoiser of some p_0, so it is consistent at every level. Points may have different levels and may be
clean. A point has the weight 1 / (s^2 + v)^2, where s^2 is the variance of a coordinate of X_0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from ambient.paths import Level, expand, without_autocast
from ambient.subspace import SubspaceMixture
from ambient.worlds import GaussianMixture

FOLDS = 5  # of the points, for cross-validation
CHUNK = 4000  # points whose posteriors are computed together
SMALLEST_EIGENVALUE = 3e-3  # as a multiple of the variance of the noise
VARIANCE_IF_CLEAN = 1e-4  # used in place of the variance of the noise where it is 0
SMALLEST_RATIO = 1e-6  # of an eigenvalue to the largest one: float32 loses smaller ones when it composes the matrix


@without_autocast
def fit(
    x_n: Tensor, at_n: Level, labels: Tensor, *, leading: int = 128, warm_up: tuple[int, int] = (10, 40_000), sweeps: int = 8
) -> SubspaceMixture:
    """The mixture fitted to noisy points, in float32.

    Args: x_n: (N, D), in random order, with alpha_n > 0; at_n: levels, () or (N,); labels: (N,), a first guess of the component
    of each point, 0 .. K - 1; leading: the number of directions of largest variance, in which the components may differ;
    warm_up: (sweeps, points), the number of sweeps over the first points only; sweeps: their number over all points afterwards.
    Raises: ValueError for other shapes, fewer than 2 FOLDS points, negative labels, leading < 1, and points that are not finite
    or too small or too large for float32.
    Paper: not in the paper. Its Sec. 5 regrets the cost of training for consistency; this mixture is consistent without it.
    Source: EM for known noise, Bovy et al. 2011; cross-validated variances, Bartz 2016. Checked by:
    theory_checks/test_noisy_mixture.py, theory_checks/test_noisy_mixture_limit.py, theory_checks/test_noisy_mixture_shrinkage.py
    """
    _check(x_n, labels, leading, warm_up[1])
    scaled = (x_n / expand(at_n.alpha, x_n)).float()
    unit = _unit(scaled)  # all lengths below are in this unit
    scaled, variance = scaled / unit, (at_n.sigma / at_n.alpha / unit).square().float().expand(len(x_n))
    spread = float((scaled.var(0).mean() - variance.mean()).clamp_min(1e-3 * variance.mean()).clamp_min(1e-6))
    weight = 1 / (spread + variance) ** 2
    weight = weight / weight.mean()
    centre = (weight @ scaled) / weight.sum()
    scaled = scaled - centre
    pooled = _statistics(scaled, torch.ones(len(scaled), 1), torch.zeros(1, scaled.shape[1]), weight, variance)
    basis, spectrum = _axes_and_variances(pooled, shrink=False)
    order = spectrum[0].argsort(descending=True)
    basis, leading = basis[0][:, order], min(leading, scaled.shape[1])
    y = scaled @ basis[:, :leading]  # (N, D) -> (N, L)

    count = min(warm_up[1], len(y))
    posterior = torch.nn.functional.one_hot(labels[:count].long(), int(labels.max()) + 1).float()  # (count, K)
    origin = torch.zeros(posterior.shape[1], leading)
    mixture = _maximise(_statistics(y[:count], posterior, origin, weight[:count], variance[:count]))
    for used in [count] * warm_up[0] + [len(y)] * sweeps:
        mixture = _sweep(mixture, y[:used], weight[:used], variance[:used])
    mixture = GaussianMixture(mixture.weights, unit * mixture.means, unit**2 * mixture.covariances)
    return SubspaceMixture(mixture, basis, unit**2 * spectrum[0][order][leading:], unit * centre)


def _check(x_n: Tensor, labels: Tensor, leading: int, points: int) -> None:
    if x_n.ndim != 2 or x_n.shape[1] == 0 or labels.shape != x_n.shape[:1]:
        raise ValueError(f"need points (N, D), a label for each; got shapes {tuple(x_n.shape)} and {tuple(labels.shape)}")
    if min(len(x_n), points) < 2 * FOLDS:
        raise ValueError(f"a mixture needs at least {2 * FOLDS} points; got {min(len(x_n), points)}")
    if int(labels.min()) < 0 or leading < 1:
        raise ValueError(f"labels count from 0, leading from 1; got {int(labels.min())} and {leading}")


def _unit(scaled: Tensor) -> float:
    """1, or a power of 2 near the points' spread if that is below 2^-8 or above 2^8: fourth powers then fit in float32.

    Division by a power of 2 does not round. Raises: ValueError for points that are not finite, and for extreme spreads.
    """
    spread = float(torch.linalg.vector_norm(scaled - scaled.mean(0), dtype=torch.float64)) / scaled.numel() ** 0.5
    if not (spread == 0 or 1e-15 < spread < 1e15):
        raise ValueError(f"x_n / alpha_n must be finite, with a spread between 1e-15 and 1e15; it is {spread:.3g}")
    exponent = round(math.log2(spread or 1.0))
    return 2.0**exponent if abs(exponent) > 8 else 1.0


class _Statistics(NamedTuple):
    """Weighted sums over the points of each fold and component; `first` and `second` are of points minus `origin`."""

    origin: Tensor  # (K, D)
    total: Tensor  # (F, K), sum of the weights
    squares: Tensor  # (F, K), sum of the squared weights
    noise: Tensor  # (F, K), sum of the variances of the noise
    first: Tensor  # (F, K, D), sum of the points
    second: Tensor  # (F, K, D, D), sum of their outer products

    def of(self, folds: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Effective counts (K,), means (K, D), scatter matrices (K, D, D) and noise variances (K,) of these folds together."""
        total, squares, noise, first, second = (sums[folds].sum(0) for sums in self[1:])
        total = total.clamp_min(1e-6)
        mean = first / total[:, None]
        scatter = second / total[:, None, None] - mean[:, :, None] * mean[:, None, :]
        count = total**2 / squares.clamp_min(1e-6)
        unbias = count / (count - 1).clamp_min(1)
        return count, self.origin + mean, scatter * unbias[:, None, None], noise / total


def _sweep(mixture: GaussianMixture, y: Tensor, weight: Tensor, variance: Tensor) -> GaussianMixture:
    """The mixture after one iteration of EM on the points y (N, D) with noise of these variances (N,)."""
    ones = torch.ones(CHUNK, dtype=torch.float64)
    chunks = zip(y.split(CHUNK), variance.split(CHUNK), strict=True)
    posterior = [mixture.log_components(part, Level(ones[: len(v)], v.double().sqrt())).softmax(1) for part, v in chunks]
    return _maximise(_statistics(y, torch.cat(posterior), mixture.means, weight, variance))


def _statistics(y: Tensor, posterior: Tensor, origin: Tensor, weight: Tensor, variance: Tensor) -> _Statistics:
    """The sums for points y (N, D), where `posterior` (N, K) is the posterior of their components."""
    (components, dim), of_fold = origin.shape, (FOLDS, posterior.shape[1])
    total, squares, noise = (torch.zeros(of_fold) for _ in range(3))
    first, second = torch.zeros(*of_fold, dim), torch.zeros(*of_fold, dim, dim)
    for fold in range(FOLDS):
        part, probability, v = y[fold::FOLDS], posterior[fold::FOLDS], variance[fold::FOLDS]
        share = probability * weight[fold::FOLDS, None]
        total[fold], squares[fold], noise[fold] = share.sum(0), share.square().sum(0), v @ share
        for k in range(components):
            chosen = probability[:, k] > 1e-4  # independent of the weight, because the noise of all points is subtracted
            r, d = share[chosen, k, None], part[chosen] - origin[k]
            first[fold, k], second[fold, k] = (r * d).sum(0), (r * d).T @ d
    return _Statistics(origin, total, squares, noise, first, second)


def _maximise(sums: _Statistics) -> GaussianMixture:
    """The maximisation step of EM: the mixture that these sums determine."""
    _, means, _, _ = sums.of(list(range(FOLDS)))
    axes, variances = _axes_and_variances(sums, shrink=True)
    total = sums.total.sum(0)
    return GaussianMixture.from_axes(total / total.sum(), means, axes, variances)


def _axes_and_variances(sums: _Statistics, *, shrink: bool) -> tuple[Tensor, Tensor]:
    """The eigenvectors (K, D, D) of each covariance, as columns, and the variances (K, D) of X_0 along them, ascending."""
    everything = list(range(FOLDS))
    axes = _axes(sums, everything, shrink)
    variances, total = torch.zeros(axes.shape[:2]), sums.total.sum(0).clamp_min(1e-6)
    for fold in everything:
        others = _axes(sums, [f for f in everything if f != fold], shrink)
        _, _, scatter, noise = sums.of([fold])
        along = torch.einsum("kia,kij,kja->ka", others, scatter, others) - noise[:, None]
        variances += along * (sums.total[fold] / total)[:, None]
    _, _, _, noise = sums.of(everything)
    monotone = torch.stack([torch.from_numpy(isotonic_regression(row.double().numpy()).x) for row in variances])
    floor = SMALLEST_EIGENVALUE * torch.where(noise > 0, noise, VARIANCE_IF_CLEAN)[:, None]
    return axes, monotone.float().maximum(floor).maximum(SMALLEST_RATIO * monotone[:, -1:].float())


def _axes(sums: _Statistics, folds: list[int], shrink: bool) -> Tensor:
    """The eigenvectors (K, D, D) of the scatter matrices of these folds."""
    count, _, scatter, _ = sums.of(folds)
    return torch.linalg.eigh(_shrunk(scatter, count) if shrink else scatter).eigenvectors


def _shrunk(scatter: Tensor, count: Tensor) -> Tensor:
    """Each entry S_k,ij shrunk towards its mean S_ij over k: S_ij + tau^2 / (tau^2 + e^2) (S_k,ij - S_ij), (K, D, D).

    e^2 = (S_k,ii S_k,jj + S_k,ij^2) / N_k is the sampling variance of the entry for Gaussian points. tau^2 is the mean over k of
    (S_k,ij - S_ij)^2 - e^2, or 0 if that is negative: the variance between the components.
    """
    share = (count / count.sum())[:, None, None]
    mean = (share * scatter).sum(0)
    diagonal = scatter.diagonal(dim1=1, dim2=2)
    chance = (diagonal[:, :, None] * diagonal[:, None, :] + scatter**2) / count.clamp_min(1)[:, None, None]
    beyond = (share * ((scatter - mean) ** 2 - chance)).sum(0).clamp_min(0)
    return mean + beyond / (beyond + chance).clamp_min(1e-30) * (scatter - mean)
