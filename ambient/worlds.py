"""Worlds: distributions p_0 whose noisy densities, scores and posterior means are known in closed form.

`world.denoiser(path)` is the exact E[X_0 | X_t] as a denoiser, so every loss and sampler can run with the truth in place of a
network.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ambient import tweedie
from ambient.denoisers import Denoiser
from ambient.paths import Level, Path, Times, flat, without_autocast


class World(ABC):
    """A known p_0. Shapes: x_t (B, ...); levels () or (B,)."""

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` draws of X_0, (count, ...)."""

    @abstractmethod
    def log_prob(self, x_t: Tensor, at_t: Level) -> Tensor:
        """log p_t(x_t), (B,)."""

    @abstractmethod
    def denoise(self, x_t: Tensor, at_t: Level) -> Tensor:
        """E[X_0 | X_t = x_t], shaped as x_t."""

    def score(self, x_t: Tensor, at_t: Level) -> Tensor:
        """grad log p_t(x_t), shaped as x_t. Paper: Eq. (2.1). Checked by: theory_checks/test_tweedie.py"""
        return tweedie.score_from_x_0(x_t, self.denoise(x_t, at_t), at_t=at_t)

    def denoiser(self, path: Path) -> Denoiser:
        """The exact denoiser h(x_t, t) = E[X_0 | X_t = x_t] on `path`; it ignores the condition."""

        def exact(x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
            return self.denoise(x_t, path(t))

        return exact


class GaussianMixture(World):
    """p_0 = sum_k w_k N(mu_k, C_k). At level (alpha, sigma) component k is N(alpha mu_k, alpha^2 C_k + sigma^2 I).

    E[X_0 | X_t = x] = sum_k P(k | x) (mu_k + alpha C_k (alpha^2 C_k + sigma^2 I)^-1 (x - alpha mu_k)),
    with P(k | x) the posterior of the component. It is computed in the eigenbasis of each C_k, in the type of `means`.

    Args: weights: w, (K,); means: mu, (K, D); covariances: C, (K, D, D).
    Raises: ValueError for wrong shapes, weights that are negative or do not sum to 1, covariances that are not symmetric
    positive definite, and values that are not finite.
    Checked by: theory_checks/test_worlds.py
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor):
        self.weights, self.means, self.covariances = (torch.as_tensor(v) for v in (weights, means, covariances))
        if self.means.ndim != 2 or self.weights.shape != self.means.shape[:1]:
            raise ValueError(f"need weights (K,) and means (K, D); got {tuple(self.weights.shape)} and {tuple(self.means.shape)}")
        if self.covariances.shape != (*self.means.shape, self.means.shape[1]):
            raise ValueError(
                f"covariances must be (K, D, D) for means {tuple(self.means.shape)}; got {tuple(self.covariances.shape)}"
            )
        if not all(bool(v.isfinite().all()) for v in (self.weights, self.means, self.covariances)):
            raise ValueError("weights, means and covariances must be finite")
        if bool((self.weights < 0).any()) or abs(float(self.weights.sum()) - 1) > 1e-5:
            raise ValueError(f"weights must be non-negative and sum to 1; they sum to {float(self.weights.sum()):.6g}")
        if not torch.allclose(self.covariances, self.covariances.mT, rtol=1e-5, atol=1e-6 * float(self.covariances.abs().max())):
            largest = float((self.covariances - self.covariances.mT).abs().max())
            raise ValueError(f"covariances must be symmetric; entries ij and ji differ by up to {largest:.3g}")
        self.variances, self.axes = torch.linalg.eigh(self.covariances)  # (K, D), (K, D, D) with axes as columns
        if bool((self.variances <= 0).any()):
            raise ValueError(
                f"covariances must be positive definite; the smallest eigenvalue is {float(self.variances.min()):.3g}"
            )

    @classmethod
    @without_autocast
    def from_axes(cls, weights: Tensor, means: Tensor, axes: Tensor, variances: Tensor) -> GaussianMixture:
        """A mixture from the eigenvectors (K, D, D), as columns, and the eigenvalues (K, D) of its covariances."""
        return cls(weights, means, axes * variances[:, None, :] @ axes.mT)

    @without_autocast
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        if count == 0:  # torch.multinomial refuses to draw 0 samples
            return self.means.new_empty(0, self.means.shape[1])
        component = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], dtype=self.means.dtype, generator=generator)
        for k in range(len(self.weights)):  # one component at a time, so that no tensor has the shape (count, D, D)
            chosen = component == k
            noise[chosen] = self.means[k] + (self.variances[k].sqrt() * noise[chosen]) @ self.axes[k].T
        return noise

    @without_autocast
    def _components(self, x_t: Tensor, at_t: Level) -> tuple[Tensor, Tensor, Tensor]:
        """For each component k, its joint log-density and two posterior moments of X_0, in the coordinates of the axes of k.

        Returns: log(w_k p_t(x | k)), (B, K); E[X_0 | x, k] - mu_k, (B, K, D); the variances of X_0 given x and k, (B, K, D).
        """
        if x_t.ndim != 2 or x_t.shape[1] != self.means.shape[1]:
            raise ValueError(f"x_t must have the shape (B, {self.means.shape[1]}), as the means; got {tuple(x_t.shape)}")
        x = x_t.to(self.means)[:, None, :]  # (B, 1, D)
        alpha, sigma = at_t.like(x)
        centred = torch.einsum("kij,bki->bkj", self.axes, x - alpha * self.means)  # (B, K, D)
        total = alpha**2 * self.variances + sigma**2
        log_density = -0.5 * (centred**2 / total + total.log() + math.log(2 * math.pi)).sum(-1)
        return self.weights.log() + log_density, alpha * self.variances / total * centred, self.variances * sigma**2 / total

    def log_prob(self, x_t: Tensor, at_t: Level) -> Tensor:
        return self.log_components(x_t, at_t).logsumexp(1).to(x_t.dtype)

    def log_components(self, x_t: Tensor, at_t: Level) -> Tensor:
        """log(w_k p_t(x_t | k)), (B, K), in the type of `means`. The softmax over k is the posterior of the component."""
        return self._components(x_t, at_t)[0]

    @without_autocast
    def denoise(self, x_t: Tensor, at_t: Level) -> Tensor:
        log_weights, shrunk, _ = self._components(x_t, at_t)
        weights = log_weights.softmax(1)
        moved = torch.einsum("bkj,kij->bi", weights[..., None] * shrunk, self.axes)
        return (weights @ self.means + moved).to(x_t.dtype)

    @without_autocast
    def posterior_covariance(self, x_t: Tensor, at_t: Level) -> Tensor:
        """Cov(X_0 | X_t = x_t), (B, D, D): the mean of the components' covariances plus the covariance of their means."""
        log_weights, shrunk, variances = self._components(x_t, at_t)
        weights = log_weights.softmax(1)
        means = self.means + torch.einsum("kij,bkj->bki", self.axes, shrunk)
        within = torch.einsum("bk,kij,bkj,klj->bil", weights, self.axes, variances, self.axes)
        deviation = means - torch.einsum("bk,bkd->bd", weights, means)[:, None]
        return (within + torch.einsum("bk,bki,bkj->bij", weights, deviation, deviation)).to(x_t.dtype)

    @without_autocast
    def moments(self) -> tuple[Tensor, Tensor]:
        """The mean (D,) and the covariance (D, D) of X_0."""
        mean = self.weights @ self.means
        deviation = self.means - mean
        return mean, torch.einsum("k,kij->ij", self.weights, self.covariances + deviation[:, :, None] * deviation[:, None, :])


class Empirical(World):
    """p_0 is a finite data set. Its exact denoiser, a weighted mean of the data, is called the perfect memoriser.

    E[X_0 | X_t = x] = sum_i softmax_i(log w_i - ||x - alpha x_i||^2 / (2 sigma^2)) x_i; at sigma = 0, the nearest point.
    This is attention with the data as keys and values. Each key has D + 2 coordinates: the point, its squared norm, and its
    log-weight. The sum runs over chunks of the data with a running maximum, so its memory does not grow with N.

    The sum is computed in float32 only if the points are float32 and the rounding of the exponents is harmless: a bound on the
    exponents, times the epsilon of float32, is below 0.01 (then no exponent changed by more than 0.02 in our tests). Otherwise
    it is computed in float64.

    Args: points: x_i, (N, ...), finite, of a floating type, N >= 1; weights: w_i, (N,), positive, of any sum; by default equal.
    Raises: ValueError for other points or weights.
    Checked by: theory_checks/test_empirical.py
    """

    CHUNK = 2048

    def __init__(self, points: Tensor, weights: Tensor | None = None):
        self.points = torch.as_tensor(points)
        count = len(self.points)
        self.weights = torch.ones(count, dtype=torch.float64) if weights is None else weights.double()
        self.weights = self.weights / self.weights.sum()
        if self.weights.shape != (count,) or not bool((self.weights > 0).all()):
            raise ValueError(f"weights must be positive, one for each of the {count} points")
        chunks = self.points.split(self.CHUNK)
        floating = self.points.is_floating_point()
        if self.points.ndim < 2 or count == 0 or not floating or not all(bool(chunk.isfinite().all()) for chunk in chunks):
            got = f"{tuple(self.points.shape)}, {self.points.dtype}"
            raise ValueError(f"need one or more finite points of a floating type, (N, ...); got {got}")
        self.centre = self.points.flatten(1).mean(0)
        self.largest_square = max(float((chunk.flatten(1) - self.centre).square().sum(1).max()) for chunk in chunks)
        self.smallest_sigma = 1e-6 * max(self.largest_square, 1e-300) ** 0.5  # a smaller sigma, also 0, counts as this one

    def _keys(self, dtype: torch.dtype) -> Iterator[Tensor]:
        """The centred points, squared norms and log-weights, (chunk, D + 2), in type `dtype`, one chunk at a time."""
        for points, weights in zip(self.points.split(self.CHUNK), self.weights.split(self.CHUNK), strict=True):
            keys = points.flatten(1).to(dtype) - self.centre.to(dtype)
            yield torch.cat([keys, keys.square().sum(1, keepdim=True), weights.log()[:, None].to(dtype)], 1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        cumulative = self.weights.cumsum(0)
        uniform = torch.rand(count, dtype=torch.float64, generator=generator)
        return self.points[torch.searchsorted(cumulative, uniform * cumulative[-1])]

    @without_autocast
    def _attend(self, x_t: Tensor, at_t: Level) -> tuple[Tensor, Tensor]:
        """E[X_0 | x], flat, (B, D), and log sum_i w_i exp(-||x - alpha x_i||^2 / (2 sigma^2)), (B,)."""
        if x_t.shape[1:] != self.points.shape[1:]:
            raise ValueError(f"x_t must have the shape (B, {', '.join(map(str, self.points.shape[1:]))}); got {tuple(x_t.shape)}")
        alpha, sigma = at_t.like(flat(x_t).double())
        sigma = sigma.clamp_min(self.smallest_sigma)
        x = flat(x_t).double() - alpha * self.centre
        per_norm = (-(alpha**2) / (2 * sigma**2)).expand(len(x), 1)
        query = torch.cat([alpha / sigma**2 * x, per_norm, torch.ones_like(per_norm)], 1)  # (B, D + 2), as for the keys
        largest = (alpha / sigma**2 * x).norm(dim=1) * self.largest_square**0.5 - per_norm[:, 0] * self.largest_square
        use_float32 = self.points.dtype == torch.float32 and bool((largest * torch.finfo(torch.float32).eps < 0.01).all())
        query = query.to(torch.float32 if use_float32 else torch.float64)

        running_max = query.new_full((len(query), 1), -torch.inf)
        total, weighted = torch.zeros_like(running_max), torch.zeros_like(query)
        for keys in self._keys(query.dtype):
            logits = query @ keys.T  # (B, D + 2), (chunk, D + 2) -> (B, chunk)
            new_max = torch.maximum(running_max, logits.amax(1, keepdim=True))
            weights = logits.sub_(new_max).exp_()
            rescale = (running_max - new_max).exp()
            total = total * rescale + weights.sum(1, keepdim=True)
            weighted = weighted * rescale + weights @ keys
            running_max = new_max
        mean = weighted[:, :-2].double() / total + self.centre
        log_sum = (running_max.double() + total.double().log()).squeeze(1) - (x.square() / (2 * sigma**2)).sum(1)
        return mean, log_sum

    def log_prob(self, x_t: Tensor, at_t: Level) -> Tensor:
        _, log_sum = self._attend(x_t, at_t)
        normaliser = self.centre.numel() / 2 * (2 * at_t.sigma.clamp_min(self.smallest_sigma).log() + math.log(2 * math.pi))
        return (log_sum - normaliser).to(x_t.dtype)

    def denoise(self, x_t: Tensor, at_t: Level) -> Tensor:
        return self._attend(x_t, at_t)[0].reshape(x_t.shape).to(x_t.dtype)
