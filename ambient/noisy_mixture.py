"""A Gaussian mixture for p_0, fitted to noisy points alone. Its denoiser is a mixture of Wiener filters.

The mixture has K components in D dimensions: p_0 = sum_k w_k N(mu_k, C_k). The fit is expectation maximisation (EM) on the
points X_n / alpha_n = X_0 + noise of known variance v per coordinate. A sweep is one iteration of EM. Let N_k be the number of
points of component k. Their sample covariance estimates C_k + v I, so v is subtracted. Eigenvalues of C_k below about
v sqrt(D / N_k) are then smaller than the sampling noise of the estimate. Two steps without tuning parameters reduce this noise:

    shrinkage          Each entry of a sample covariance is shrunk towards its mean over the components. It is shrunk less if the
                       components differ by more than sampling noise explains (empirical Bayes).
    cross-validation   The points are divided into folds. Eigenvectors are computed from all folds but one, and the variances of
                       the points of the left-out fold along them are measured. The eigenvalues of C_k are these variances
                       minus v, averaged over the folds and made monotone.

`fit` returns a distribution p_0. Its denoiser is exact for this p_0, so it is consistent at every level. Points may have
different levels and may be clean. A point has the weight 1 / (data_variance + v)^2, where data_variance is the mean variance of
a coordinate of X_0.
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

FOLDS = 5  # parts into which the points are divided for cross-validation
CHUNK = 4000  # points whose posteriors are computed together
SMALLEST_EIGENVALUE = 3e-3  # the least eigenvalue of a covariance, as a multiple of the variance of the noise
VARIANCE_IF_CLEAN = 1e-4  # used in place of the variance of the noise where it is 0
SMALLEST_RATIO = 1e-6  # the least ratio of an eigenvalue to the largest one: in float32, the matrix loses smaller eigenvalues


@without_autocast
def fit(
    x_n: Tensor,
    at_n: Level,
    labels: Tensor,
    *,
    leading_count: int = 128,
    warm_up: tuple[int, int] = (10, 40_000),
    sweeps: int = 8,
) -> SubspaceMixture:
    """The mixture fitted to noisy points, in float32.

    Args: x_n: (N, D), in random order, with alpha_n > 0; at_n: levels, () or (N,); labels: (N,), a first guess of the component
    of each point, 0 .. K - 1; leading_count: L, the number of directions of largest variance, in which the components may
    differ; warm_up: (number of sweeps, number of points), sweeps that come first and use only this many of the first points;
    sweeps: the number of sweeps over all points afterwards.
    Raises: ValueError for other shapes, fewer than 2 FOLDS points, negative labels, leading_count < 1, and points that are not
    finite or too small or too large for float32.
    Paper: not in the paper. Its Sec. 5 names the cost of training for consistency; this mixture is consistent without training.
    Source: EM for known noise, Bovy et al. 2011; cross-validated variances, Bartz 2016. Checked by:
    theory_checks/test_noisy_mixture.py, theory_checks/test_noisy_mixture_limit.py, theory_checks/test_noisy_mixture_shrinkage.py
    """
    _check(x_n, labels, leading_count, warm_up[1])
    scaled = (x_n / expand(at_n.alpha, x_n)).float()
    unit = _unit(scaled)  # all lengths below are in this unit
    scaled, variance = scaled / unit, (at_n.sigma / at_n.alpha / unit).square().float().expand(len(x_n))
    data_variance = float((scaled.var(0).mean() - variance.mean()).clamp_min(1e-3 * variance.mean()).clamp_min(1e-6))
    weight = 1 / (data_variance + variance) ** 2
    weight = weight / weight.mean()
    centre = (weight @ scaled) / weight.sum()
    scaled = scaled - centre
    pooled = _statistics(scaled, torch.ones(len(scaled), 1), torch.zeros(1, scaled.shape[1]), weight, variance)
    basis, spectrum = _axes_and_variances(pooled, shrink=False)
    order = spectrum[0].argsort(descending=True)
    basis, leading_count = basis[0][:, order], min(leading_count, scaled.shape[1])
    y = scaled @ basis[:, :leading_count]  # (N, D) -> (N, L)

    count = min(warm_up[1], len(y))
    posterior = torch.nn.functional.one_hot(labels[:count].long(), int(labels.max()) + 1).float()  # (count, K)
    origin = torch.zeros(posterior.shape[1], leading_count)
    mixture = _maximise(_statistics(y[:count], posterior, origin, weight[:count], variance[:count]))
    for used in [count] * warm_up[0] + [len(y)] * sweeps:
        mixture = _sweep(mixture, y[:used], weight[:used], variance[:used])
    mixture = GaussianMixture(mixture.weights, unit * mixture.means, unit**2 * mixture.covariances)
    return SubspaceMixture(mixture, basis, unit**2 * spectrum[0][order][leading_count:], unit * centre)


def _check(x_n: Tensor, labels: Tensor, leading_count: int, warm_up_points: int) -> None:
    if x_n.ndim != 2 or x_n.shape[1] == 0 or labels.shape != x_n.shape[:1]:
        raise ValueError(f"x_n must have the shape (N, D), labels (N,); got {tuple(x_n.shape)} and {tuple(labels.shape)}")
    if min(len(x_n), warm_up_points) < 2 * FOLDS:
        found = f"{len(x_n)} points, and {warm_up_points} for the warm-up"
        raise ValueError(f"a mixture needs at least {2 * FOLDS} points, also for the warm-up; got {found}")
    if int(labels.min()) < 0 or leading_count < 1:
        found = f"the label {int(labels.min())} and leading_count = {leading_count}"
        raise ValueError(f"labels must be at least 0, leading_count at least 1; got {found}")


def _unit(scaled: Tensor) -> float:
    """A length to divide the points by: 1, or a power of 2 near their standard deviation if this is below 2^-8 or above 2^8.

    Fourth powers of the divided points fit in float32, and division by a power of 2 does not round.
    Raises: ValueError for points that are not finite, and for extreme standard deviations.
    """
    std = float(torch.linalg.vector_norm(scaled - scaled.mean(0), dtype=torch.float64)) / scaled.numel() ** 0.5
    if not (std == 0 or 1e-15 < std < 1e15):
        raise ValueError(f"x_n / alpha_n must be finite, with a standard deviation between 1e-15 and 1e15; it is {std:.3g}")
    exponent = round(math.log2(std or 1.0))
    return 2.0**exponent if abs(exponent) > 8 else 1.0


class _Statistics(NamedTuple):
    """Weighted sums over the points of each of F folds and K components; the weight is that of the point times its posterior."""

    origin: Tensor  # (K, D), subtracted from the points before they are summed
    weight: Tensor  # (F, K), sum of the weights
    squared_weight: Tensor  # (F, K), sum of the squared weights
    noise_variance: Tensor  # (F, K), sum of the variances of the noise
    point: Tensor  # (F, K, D), sum of the points
    outer_product: Tensor  # (F, K, D, D), sum of the outer products of the points

    def of_folds(self, folds: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Effective counts (K,), means (K, D), sample covariances (K, D, D) and noise variances (K,) of these folds together."""
        weight, squared_weight, noise_variance, point, outer_product = (sums[folds].sum(0) for sums in self[1:])
        weight = weight.clamp_min(1e-6)
        mean = point / weight[:, None]
        covariance = outer_product / weight[:, None, None] - mean[:, :, None] * mean[:, None, :]
        count = weight**2 / squared_weight.clamp_min(1e-6)
        unbias = count / (count - 1).clamp_min(1)
        return count, self.origin + mean, covariance * unbias[:, None, None], noise_variance / weight


def _sweep(mixture: GaussianMixture, y: Tensor, weight: Tensor, variance: Tensor) -> GaussianMixture:
    """The mixture after one iteration of EM on the points y (N, D) with noise of these variances (N,)."""
    ones = torch.ones(CHUNK, dtype=torch.float64)
    chunks = zip(y.split(CHUNK), variance.split(CHUNK), strict=True)
    posterior = [mixture.log_components(part, Level(ones[: len(v)], v.double().sqrt())).softmax(1) for part, v in chunks]
    return _maximise(_statistics(y, torch.cat(posterior), mixture.means, weight, variance))


def _statistics(y: Tensor, posterior: Tensor, origin: Tensor, weight: Tensor, variance: Tensor) -> _Statistics:
    """The sums for points y (N, D), where `posterior` (N, K) is the posterior of their components."""
    components, dim = origin.shape
    sums = [torch.zeros(FOLDS, components, *shape) for shape in ((), (), (), (dim,), (dim, dim))]
    weight_sum, squared_weight_sum, noise_sum, point_sum, outer_sum = sums
    for fold in range(FOLDS):
        points, probability, v = y[fold::FOLDS], posterior[fold::FOLDS], variance[fold::FOLDS]
        share = probability * weight[fold::FOLDS, None]
        weight_sum[fold], squared_weight_sum[fold], noise_sum[fold] = share.sum(0), share.square().sum(0), v @ share
        for k in range(components):
            # `probability` decides and not `share`: a likely point of small weight stays, because noise_sum has its noise.
            chosen = probability[:, k] > 1e-4
            shares, centred = share[chosen, k, None], points[chosen] - origin[k]
            point_sum[fold, k], outer_sum[fold, k] = (shares * centred).sum(0), (shares * centred).T @ centred
    return _Statistics(origin, *sums)


def _maximise(sums: _Statistics) -> GaussianMixture:
    """The maximisation step of EM: the mixture that these sums determine."""
    _, means, _, _ = sums.of_folds(list(range(FOLDS)))
    axes, variances = _axes_and_variances(sums, shrink=True)
    weight = sums.weight.sum(0)
    return GaussianMixture.from_axes(weight / weight.sum(), means, axes, variances)


def _axes_and_variances(sums: _Statistics, *, shrink: bool) -> tuple[Tensor, Tensor]:
    """The eigenvectors (K, D, D) of each covariance, as columns, and the variances (K, D) of X_0 along them, ascending."""
    all_folds = list(range(FOLDS))
    axes = _axes(sums, all_folds, shrink)
    variances, weight = torch.zeros(axes.shape[:2]), sums.weight.sum(0).clamp_min(1e-6)
    for fold in all_folds:
        axes_of_others = _axes(sums, [f for f in all_folds if f != fold], shrink)
        _, _, covariance, noise_variance = sums.of_folds([fold])
        along_axes = torch.einsum("kia,kij,kja->ka", axes_of_others, covariance, axes_of_others) - noise_variance[:, None]
        variances += along_axes * (sums.weight[fold] / weight)[:, None]
    _, _, _, noise_variance = sums.of_folds(all_folds)
    monotone = torch.stack([torch.from_numpy(isotonic_regression(row.double().numpy()).x) for row in variances])
    floor = SMALLEST_EIGENVALUE * torch.where(noise_variance > 0, noise_variance, VARIANCE_IF_CLEAN)[:, None]
    return axes, monotone.float().maximum(floor).maximum(SMALLEST_RATIO * monotone[:, -1:].float())


def _axes(sums: _Statistics, folds: list[int], shrink: bool) -> Tensor:
    """The eigenvectors (K, D, D) of the sample covariances of these folds."""
    count, _, covariance, _ = sums.of_folds(folds)
    return torch.linalg.eigh(_shrunk(covariance, count) if shrink else covariance).eigenvectors


def _shrunk(covariance: Tensor, count: Tensor) -> Tensor:
    """Each entry S_k,ij shrunk towards its mean S_ij over k: S_ij + tau^2 / (tau^2 + e^2) (S_k,ij - S_ij), (K, D, D).

    e^2 = (S_k,ii S_k,jj + S_k,ij^2) / N_k is the sampling variance of the entry for Gaussian points. tau^2, the variance between
    the components, is the mean over k of (S_k,ij - S_ij)^2 - e^2, or 0 if that is negative.
    """
    share = (count / count.sum())[:, None, None]
    mean = (share * covariance).sum(0)
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    sampling_variance = (diagonal[:, :, None] * diagonal[:, None, :] + covariance**2) / count.clamp_min(1)[:, None, None]
    between_variance = (share * ((covariance - mean) ** 2 - sampling_variance)).sum(0).clamp_min(0)
    kept_share = between_variance / (between_variance + sampling_variance).clamp_min(1e-30)
    return mean + kept_share * (covariance - mean)
