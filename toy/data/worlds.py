"""Worlds made from images: Smooth MNIST, fitted to clean ones, and the mixture of Wiener filters, fitted to noisy ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ambient import noisy_mixture
from ambient.paths import Path
from ambient.randomness import generator
from ambient.subspace import SubspaceMixture
from ambient.worlds import GaussianMixture
from harness.cache import Arrays, cached
from toy.data.digits import Digits
from toy.problem import Noisy

VERSION = 2  # of the cached arrays; it must change whenever the fits do
SMOOTH_DIRECTIONS = 128  # in which its components differ
SMOOTH_IMAGES = 20_000  # to which it is fitted, at most
SMALLEST_VARIANCE = 1e-3  # of the smooth world in any direction
WIENER_SWEEPS = 5
HELD_OUT = 10  # one image in so many is left out of the fits and chooses between mixtures of Wiener filters


def components(count: int) -> int:
    """The number of components: one for each 500 images, between 8 and 40."""
    return max(8, min(40, count // 500))


def smooth(digits: Digits) -> SubspaceMixture:
    """Smooth MNIST: a Gaussian mixture fitted to the clean training images by scikit-learn, in their leading directions."""

    def fit() -> Arrays:
        from sklearn.mixture import GaussianMixture as Fit

        x = digits.train[:SMOOTH_IMAGES]
        centre = x.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(x.T))
        basis, spectrum = vectors.flip(1), values.flip(0).clamp_min(SMALLEST_VARIANCE)
        leading = min(SMOOTH_DIRECTIONS, x.shape[1])
        found = Fit(components(len(x)), reg_covar=SMALLEST_VARIANCE, max_iter=100, random_state=0)
        found.fit(((x - centre) @ basis[:, :leading]).numpy())
        means, covariances = (np.asarray(v, np.float32) for v in (found.means_, found.covariances_))
        arrays = {"weights": np.asarray(found.weights_, np.float32), "means": means, "covariances": covariances}
        return arrays | {"basis": basis.numpy(), "rest": spectrum[leading:].numpy(), "centre": centre.numpy()}

    key = {"digest": digits.digest, "images": len(digits.train), "size": digits.size, "version": VERSION}
    return _world(cached("smooth", key, fit))


def wiener_mixture(points: Noisy, path: Path, key: dict[str, object]) -> SubspaceMixture:
    """A mixture of Wiener filters estimated from the noisy images alone; `key` identifies them in the cache.

    The likelihood of noisy images that are left out decides how many filters there are.
    """

    def fit() -> Arrays:
        x_n, t_n = points
        training, held_out = (x_n[len(x_n) // HELD_OUT :], t_n[len(x_n) // HELD_OUT :]), x_n[: len(x_n) // HELD_OUT]
        at_n = path(t_n[: len(held_out)])
        tried = {shape: _fitted(training, path, *shape).log_prob(held_out, at_n).mean() for shape in shapes(*x_n.shape)}
        found = _fitted(points, path, *max(tried, key=lambda shape: float(tried[shape])))
        mixture = found.mixture
        arrays = {"weights": mixture.weights, "means": mixture.means, "covariances": mixture.covariances}
        arrays |= {"basis": found.basis, "rest": found.rest_variances, "centre": found.centre}
        return {name: value.numpy() for name, value in arrays.items()}

    return _world(cached("wiener-mixture", key | {"version": VERSION}, fit))


def shapes(count: int, dim: int) -> list[tuple[int, int]]:
    """(components, directions in which they differ) to try: with more noise, fewer components can be told apart.

    Directions are the leading ones of all the data: if many are left out, the others seem more varied than they are.
    """
    many = components(count)
    return list(dict.fromkeys([(many, min(100, dim)), (many // 5, min(200, dim)), (1, dim)]))


def _fitted(points: Noisy, path: Path, count: int, leading: int) -> SubspaceMixture:
    x_n, t_n = points
    labels = first_guess(x_n / path(t_n).like(x_n)[0], count)
    return noisy_mixture.fit(x_n, path(t_n), labels, leading_count=leading, sweeps=WIENER_SWEEPS if count > 1 else 1)


def first_guess(scaled: Tensor, count: int) -> Tensor:
    """A component for each noisy image (N,), by k-means in the 30 leading directions."""
    from sklearn.cluster import MiniBatchKMeans

    some = torch.randperm(len(scaled), generator=generator(0, "first guess"))[:50_000]
    _, vectors = torch.linalg.eigh(torch.cov(scaled[some].T))
    leading = (scaled @ vectors[:, -30:]).numpy()
    found = MiniBatchKMeans(count, random_state=0).fit(leading[some])
    return torch.from_numpy(found.predict(leading))


def _world(arrays: Arrays) -> SubspaceMixture:
    weights, means, covariances, basis, rest, centre = (
        torch.from_numpy(arrays[name]) for name in ("weights", "means", "covariances", "basis", "rest", "centre")
    )
    return SubspaceMixture(GaussianMixture(weights / weights.sum(), means, covariances), basis, rest, centre)
