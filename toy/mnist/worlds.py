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
from toy.mnist.cache import Arrays, cached
from toy.mnist.data import Digits
from toy.problem import Noisy

VERSION = 1  # of what is cached; another one where the fits change
SMOOTH_DIRECTIONS = 128  # in which its components differ
SMOOTH_IMAGES = 20_000  # at most, of those it is fitted to
SMALLEST_VARIANCE = 1e-3  # of the smooth world in any direction
WIENER_DIRECTIONS, WIENER_SWEEPS = 100, 5


def components(count: int) -> int:
    """One for each 500 images, between 8 and 40."""
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
    """A mixture of Wiener filters estimated from the noisy images alone; `key` says which they are, for the cache."""

    def fit() -> Arrays:
        x_n, t_n = points
        found = noisy_mixture.fit(
            x_n, path(t_n), first_guess(x_n / path(t_n).like(x_n)[0]), leading=WIENER_DIRECTIONS, sweeps=WIENER_SWEEPS
        )
        mixture = found.mixture
        arrays = {"weights": mixture.weights, "means": mixture.means, "covariances": mixture.covariances}
        arrays |= {"basis": found.basis, "rest": found.rest, "centre": found.centre}
        return {name: value.numpy() for name, value in arrays.items()}

    return _world(cached("wiener-mixture", key | {"version": VERSION}, fit))


def first_guess(scaled: Tensor) -> Tensor:
    """k-means of the noisy images in their 30 leading directions: a component for each, (N,)."""
    from sklearn.cluster import MiniBatchKMeans

    some = torch.randperm(len(scaled), generator=generator(0, "first guess"))[:50_000]
    _, vectors = torch.linalg.eigh(torch.cov(scaled[some].T))
    leading = (scaled @ vectors[:, -30:]).numpy()
    found = MiniBatchKMeans(components(len(scaled)), random_state=0).fit(leading[some])
    return torch.from_numpy(found.predict(leading))


def _world(arrays: Arrays) -> SubspaceMixture:
    weights, means, covariances, basis, rest, centre = (
        torch.from_numpy(arrays[name]) for name in ("weights", "means", "covariances", "basis", "rest", "centre")
    )
    return SubspaceMixture(GaussianMixture(weights / weights.sum(), means, covariances), basis, rest, centre)
