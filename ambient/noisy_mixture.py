"""A Gaussian mixture for p_0 fitted to noisy points alone: a mixture of Wiener filters, known at every level at once.

Expectation maximisation on X_n / alpha_n = X_0 + noise of known variance v. The scatter of a component is C_k + v I, so v is
taken off. What is left is noise wherever C_k is small beside v sqrt(D / N_k), and two estimates mend that:

    entries of C_k       are pulled to those of the mean covariance by what they differ more than chance explains, over all k
                         (empirical Bayes)
    eigenvalues of C_k   are the variances that points left out have along the eigenvectors of the others (cross-validation),
                         made monotone

Neither has anything to tune. Being the exact denoiser of some p_0, the result satisfies the consistency property exactly.
Points of different levels, clean ones too, count by 1 / (s^2 + v)^2, s^2 the variance of a coordinate of X_0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from ambient.paths import Level, expand, in_own_precision
from ambient.subspace import SubspaceMixture
from ambient.worlds import GaussianMixture

FOLDS = 5
CHUNK = 4000
FLOOR = 3e-3  # of the noise's variance: no eigenvalue is smaller
CLEAN = 1e-4  # what counts as the noise's variance where there is none
ROUNDED = 1e-6  # of the largest eigenvalue: smaller ones are lost when a matrix is put together in float32


@in_own_precision
def fit(
    x_n: Tensor, at_n: Level, labels: Tensor, *, leading: int = 128, first: tuple[int, int] = (10, 40_000), sweeps: int = 8
) -> SubspaceMixture:
    """The mixture after `first` = (sweeps, points) on the first of the points and `sweeps` on all of them.

    Paper: not in it; Sec. 5 regrets what training for consistency costs, which here holds by construction. Source: EM for known
    noise, Bovy et al. 2011; left-out variances, Bartz 2016. Checked by: theory_checks/test_noisy_mixture.py,
    theory_checks/test_noisy_mixture_limit.py, theory_checks/test_noisy_mixture_pull.py

    Args: x_n (N, D), alpha_n > 0, in random order; labels (N,) a first guess of the components, 0 .. K - 1; leading: directions
    of largest variance in which components differ. Returns: a SubspaceMixture, float32.
    Raises: ValueError for other shapes, fewer than 2 FOLDS points, negative labels, leading < 1, and points that are not finite
    or out of float32's reach.
    """
    _check(x_n, labels, leading, first[1])
    scaled = (x_n / expand(at_n.alpha, x_n)).float()
    unit = _unit(scaled)
    scaled, variance = scaled / unit, (at_n.sigma / at_n.alpha / unit).square().float().expand(len(x_n))
    spread = float((scaled.var(0).mean() - variance.mean()).clamp_min(1e-3 * variance.mean()).clamp_min(1e-6))
    weight = 1 / (spread + variance) ** 2
    weight = weight / weight.mean()
    centre = (weight @ scaled) / weight.sum()
    scaled = scaled - centre
    pooled = _statistics(scaled, torch.ones(len(scaled), 1), torch.zeros(1, scaled.shape[1]), weight, variance)
    basis, spectrum = _eigen(pooled, pull=False)
    order = spectrum[0].argsort(descending=True)
    basis, leading = basis[0][:, order], min(leading, scaled.shape[1])
    y = scaled @ basis[:, :leading]

    count = min(first[1], len(y))
    given = torch.nn.functional.one_hot(labels[:count].long(), int(labels.max()) + 1).float()
    mixture = _update(_statistics(y[:count], given, torch.zeros(given.shape[1], leading), weight[:count], variance[:count]))
    for used in [count] * first[0] + [len(y)] * sweeps:
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
    """1, or a power of 2 near a spread that is very small or large: so that fourth powers fit float32, and nothing is rounded."""
    spread = float(torch.linalg.vector_norm(scaled - scaled.mean(0), dtype=torch.float64)) / scaled.numel() ** 0.5
    if not (spread == 0 or 1e-15 < spread < 1e15):
        raise ValueError(f"x_n / alpha_n must be finite, with a spread between 1e-15 and 1e15; it is {spread:.3g}")
    exponent = round(math.log2(spread or 1.0))
    return 2.0**exponent if abs(exponent) > 8 else 1.0


class _Statistics(NamedTuple):
    """Weighted sums per fold and component; points counted from `origin`."""

    origin: Tensor  # (K, D)
    total: Tensor  # (F, K)
    squares: Tensor  # (F, K) sum of squared weights
    noise: Tensor  # (F, K) sum of the noise's variance
    first: Tensor  # (F, K, D)
    second: Tensor  # (F, K, D, D)

    def of(self, folds: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Effective counts (K,), means (K, D), scatter matrices (K, D, D), noise variances (K,) of these folds together."""
        total, squares, noise, first, second = (sums[folds].sum(0) for sums in self[1:])
        total = total.clamp_min(1e-6)
        mean = first / total[:, None]
        scatter = second / total[:, None, None] - mean[:, :, None] * mean[:, None, :]
        count = total**2 / squares.clamp_min(1e-6)
        unbias = count / (count - 1).clamp_min(1)
        return count, self.origin + mean, scatter * unbias[:, None, None], noise / total


def _sweep(mixture: GaussianMixture, y: Tensor, weight: Tensor, variance: Tensor) -> GaussianMixture:
    ones = torch.ones(CHUNK, dtype=torch.float64)
    chunks = zip(y.split(CHUNK), variance.split(CHUNK), strict=True)
    given = [mixture.log_components(part, Level(ones[: len(v)], v.double().sqrt())).softmax(1) for part, v in chunks]
    return _update(_statistics(y, torch.cat(given), mixture.means, weight, variance))


def _statistics(y: Tensor, given: Tensor, origin: Tensor, weight: Tensor, variance: Tensor) -> _Statistics:
    """Sums over the points, split into folds; `given` (N, K) is the posterior of the component."""
    (components, dim), of_fold = origin.shape, (FOLDS, given.shape[1])
    total, squares, noise = (torch.zeros(of_fold) for _ in range(3))
    first, second = torch.zeros(*of_fold, dim), torch.zeros(*of_fold, dim, dim)
    for fold in range(FOLDS):
        part, posterior, v = y[fold::FOLDS], given[fold::FOLDS], variance[fold::FOLDS]
        share = posterior * weight[fold::FOLDS, None]
        total[fold], squares[fold], noise[fold] = share.sum(0), share.square().sum(0), v @ share
        for k in range(components):
            chosen = posterior[:, k] > 1e-4  # whatever its weight: the noise of all is taken off
            r, d = share[chosen, k, None], part[chosen] - origin[k]
            first[fold, k], second[fold, k] = (r * d).sum(0), (r * d).T @ d
    return _Statistics(origin, total, squares, noise, first, second)


def _update(sums: _Statistics) -> GaussianMixture:
    _, means, _, _ = sums.of(list(range(FOLDS)))
    axes, variances = _eigen(sums, pull=True)
    total = sums.total.sum(0)
    return GaussianMixture.from_axes(total / total.sum(), means, axes, variances)


def _eigen(sums: _Statistics, *, pull: bool) -> tuple[Tensor, Tensor]:
    """Axes (K, D, D) of each covariance and the variances (K, D) of X_0 along them, ascending."""
    everything = list(range(FOLDS))
    axes = _axes(sums, everything, pull)
    variances, total = torch.zeros(axes.shape[:2]), sums.total.sum(0).clamp_min(1e-6)
    for fold in everything:
        others = _axes(sums, [f for f in everything if f != fold], pull)
        _, _, scatter, noise = sums.of([fold])
        along = torch.einsum("kia,kij,kja->ka", others, scatter, others) - noise[:, None]
        variances += along * (sums.total[fold] / total)[:, None]
    _, _, _, noise = sums.of(everything)
    monotone = torch.stack([torch.from_numpy(isotonic_regression(row.double().numpy()).x) for row in variances])
    floor = FLOOR * torch.where(noise > 0, noise, CLEAN)[:, None]
    return axes, monotone.float().maximum(floor).maximum(ROUNDED * monotone[:, -1:].float())


def _axes(sums: _Statistics, folds: list[int], pull: bool) -> Tensor:
    count, _, scatter, _ = sums.of(folds)
    return torch.linalg.eigh(_pulled(scatter, count) if pull else scatter).eigenvectors


def _pulled(scatter: Tensor, count: Tensor) -> Tensor:
    """Each entry S_k,ij pulled to its mean over k: S_ij + tau^2 / (tau^2 + e^2) (S_k,ij - S_ij).

    e^2 = (S_k,ii S_k,jj + S_k,ij^2) / N_k is what chance makes of a Gaussian's entry, tau^2 the mean square of what remains.
    """
    share = (count / count.sum())[:, None, None]
    mean = (share * scatter).sum(0)
    diagonal = scatter.diagonal(dim1=1, dim2=2)
    chance = (diagonal[:, :, None] * diagonal[:, None, :] + scatter**2) / count.clamp_min(1)[:, None, None]
    beyond = (share * ((scatter - mean) ** 2 - chance)).sum(0).clamp_min(0)
    return mean + beyond / (beyond + chance).clamp_min(1e-30) * (scatter - mean)
