"""Worlds: distributions p_0 whose noisy densities, scores and posterior means are known in closed form.

A world answers at any level (alpha, sigma), one per sample if wished, and `world.denoiser(path)` is the exact E[X_0 | X_t] in
the form every loss and sampler takes: the formulas can be run with the truth in the network's place.
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
from ambient.paths import Level, Path, Times, flat, in_own_precision


class World(ABC):
    """A known p_0. Shapes: x (B, ...), levels () or (B,)."""

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` draws of X_0."""

    @abstractmethod
    def log_prob(self, x_t: Tensor, at_t: Level) -> Tensor:
        """log p_t(x_t), (B,)."""

    @abstractmethod
    def denoise(self, x_t: Tensor, at_t: Level) -> Tensor:
        """E[X_0 | X_t = x_t], shaped as x_t."""

    def score(self, x_t: Tensor, at_t: Level) -> Tensor:
        """grad log p_t(x_t). Paper: Eq. (2.1). Checked by: theory_checks/test_tweedie.py"""
        return tweedie.score_from_x_0(x_t, self.denoise(x_t, at_t), at_t=at_t)

    def denoiser(self, path: Path) -> Denoiser:
        """The exact h(x_t, t) of this world on `path`."""

        def exact(x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
            return self.denoise(x_t, path(t))

        return exact


class GaussianMixture(World):
    """p_0 = sum_k w_k N(mu_k, C_k). At a level, component k is N(alpha mu_k, alpha^2 C_k + sigma^2 I).

    E[X_0 | X_t, k] = mu_k + alpha C_k (alpha^2 C_k + sigma^2 I)^-1 (x - alpha mu_k), averaged with the posterior weights of k.
    Worked out in the eigenbasis of each C_k and in log space. Answers have the type and device of `means`.
    Checked by: theory_checks/test_worlds.py

    Args: weights (K,), means (K, D), covariances (K, D, D).
    Raises: ValueError for wrong shapes, weights that are negative or do not sum to 1, covariances that are not symmetric
    positive definite, and values that are not finite.
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
            raise ValueError("covariances must be symmetric")
        self.variances, self.axes = torch.linalg.eigh(self.covariances)  # (K, D), (K, D, D), as columns
        if bool((self.variances <= 0).any()):
            raise ValueError(
                f"covariances must be positive definite; the smallest eigenvalue is {float(self.variances.min()):.3g}"
            )

    @classmethod
    @in_own_precision
    def from_axes(cls, weights: Tensor, means: Tensor, axes: Tensor, variances: Tensor) -> GaussianMixture:
        """From the eigenvectors (K, D, D), as columns, and eigenvalues (K, D) of the covariances."""
        return cls(weights, means, axes * variances[:, None, :] @ axes.mT)

    @in_own_precision
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        if count == 0:  # torch.multinomial refuses
            return self.means.new_empty(0, self.means.shape[1])
        component = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], dtype=self.means.dtype, generator=generator)
        for k in range(len(self.weights)):  # in place: nothing of size (count, D, D)
            mine = component == k
            noise[mine] = self.means[k] + (self.variances[k].sqrt() * noise[mine]) @ self.axes[k].T
        return noise

    @in_own_precision
    def _components(self, x_t: Tensor, at_t: Level) -> tuple[Tensor, Tensor, Tensor]:
        """log(w_k p_t(x | k)) (B, K), and along the axes of k: E[X_0 | x, k] - mu_k and the posterior variances, (B, K, D)."""
        if x_t.ndim != 2 or x_t.shape[1] != self.means.shape[1]:
            raise ValueError(f"this mixture lives in {self.means.shape[1]} dimensions; got points of shape {tuple(x_t.shape)}")
        x = x_t.to(self.means)[:, None, :]
        alpha, sigma = at_t.like(x)
        centred = torch.einsum("kij,bki->bkj", self.axes, x - alpha * self.means)
        total = alpha**2 * self.variances + sigma**2
        log_density = -0.5 * (centred**2 / total + total.log() + math.log(2 * math.pi)).sum(-1)
        return self.weights.log() + log_density, alpha * self.variances / total * centred, self.variances * sigma**2 / total

    def log_prob(self, x_t: Tensor, at_t: Level) -> Tensor:
        return self.log_components(x_t, at_t).logsumexp(1).to(x_t.dtype)

    def log_components(self, x_t: Tensor, at_t: Level) -> Tensor:
        """log(w_k p_t(x_t | k)), (B, K), in the type of `means`: their softmax is the posterior of the component."""
        return self._components(x_t, at_t)[0]

    @in_own_precision
    def denoise(self, x_t: Tensor, at_t: Level) -> Tensor:
        log_weights, shrunk, _ = self._components(x_t, at_t)
        weights = log_weights.softmax(1)
        moved = torch.einsum("bkj,kij->bi", weights[..., None] * shrunk, self.axes)
        return (weights @ self.means + moved).to(x_t.dtype)

    @in_own_precision
    def posterior_covariance(self, x_t: Tensor, at_t: Level) -> Tensor:
        """Cov(X_0 | X_t = x_t), (B, D, D): within the components plus between them."""
        log_weights, shrunk, variances = self._components(x_t, at_t)
        weights = log_weights.softmax(1)
        means = self.means + torch.einsum("kij,bkj->bki", self.axes, shrunk)
        within = torch.einsum("bk,kij,bkj,klj->bil", weights, self.axes, variances, self.axes)
        spread = means - torch.einsum("bk,bkd->bd", weights, means)[:, None]
        return (within + torch.einsum("bk,bki,bkj->bij", weights, spread, spread)).to(x_t.dtype)

    @in_own_precision
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D) of X_0."""
        mean = self.weights @ self.means
        spread = self.means - mean
        return mean, torch.einsum("k,kij->ij", self.weights, self.covariances + spread[:, :, None] * spread[:, None, :])


class Empirical(World):
    """p_0 is a finite data set: the perfect memoriser.

    E[X_0 | X_t = x] = sum_i softmax_i(log w_i - ||x - alpha x_i||^2 / (2 sigma^2)) x_i: attention with the data as keys and
    values. A key's squared norm and log-weight are two more coordinates of it. Streams over the data with a running maximum,
    so memory does not grow with it. Points in float32 are answered in float32 where the largest exponent times its epsilon is
    below 0.01, which was found to move no exponent by more than 0.02; else in float64. At sigma = 0: the nearest point.
    Checked by: theory_checks/test_empirical.py

    Args: points (N, ...), finite, of a floating type, N >= 1; weights (N,), positive, of any sum; all alike by default.
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
        self.smallest_sigma = 1e-6 * max(self.largest_square, 1e-300) ** 0.5  # smaller ones, 0 too, count as this one

    def _keys(self, dtype: torch.dtype) -> Iterator[Tensor]:
        """Centred points, their squared norms and log-weights, in chunks; from the points anew, so that no rounding is kept."""
        for points, weights in zip(self.points.split(self.CHUNK), self.weights.split(self.CHUNK), strict=True):
            keys = points.flatten(1).to(dtype) - self.centre.to(dtype)
            yield torch.cat([keys, keys.square().sum(1, keepdim=True), weights.log()[:, None].to(dtype)], 1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        cumulative = self.weights.cumsum(0)
        uniform = torch.rand(count, dtype=torch.float64, generator=generator)
        return self.points[torch.searchsorted(cumulative, uniform * cumulative[-1])]

    @in_own_precision
    def _attend(self, x_t: Tensor, at_t: Level) -> tuple[Tensor, Tensor]:
        """E[X_0 | x] with flat samples (B, D), and log sum_i w_i exp(-||x - alpha x_i||^2 / (2 sigma^2)), (B,)."""
        if x_t.shape[1:] != self.points.shape[1:]:
            raise ValueError(f"this data set holds points {tuple(self.points.shape[1:])}; got {tuple(x_t.shape[1:])}")
        alpha, sigma = at_t.like(flat(x_t).double())
        sigma = sigma.clamp_min(self.smallest_sigma)
        x = flat(x_t).double() - alpha * self.centre
        per_norm = (-(alpha**2) / (2 * sigma**2)).expand(len(x), 1)
        query = torch.cat([alpha / sigma**2 * x, per_norm, torch.ones_like(per_norm)], 1)  # one entry per coordinate of a key
        largest = (alpha / sigma**2 * x).norm(dim=1) * self.largest_square**0.5 - per_norm[:, 0] * self.largest_square
        single = self.points.dtype == torch.float32 and bool((largest * torch.finfo(torch.float32).eps < 0.01).all())
        query = query.to(torch.float32 if single else torch.float64)

        peak = query.new_full((len(query), 1), -torch.inf)
        total, weighted = torch.zeros_like(peak), torch.zeros_like(query)
        for keys in self._keys(query.dtype):
            logits = query @ keys.T
            higher = torch.maximum(peak, logits.amax(1, keepdim=True))
            weights = logits.sub_(higher).exp_()
            rescale = (peak - higher).exp()
            total = total * rescale + weights.sum(1, keepdim=True)
            weighted = weighted * rescale + weights @ keys
            peak = higher
        mean = weighted[:, :-2].double() / total + self.centre
        log_sum = (peak.double() + total.double().log()).squeeze(1) - (x.square() / (2 * sigma**2)).sum(1)
        return mean, log_sum

    def log_prob(self, x_t: Tensor, at_t: Level) -> Tensor:
        _, log_sum = self._attend(x_t, at_t)
        normaliser = self.centre.numel() / 2 * (2 * at_t.sigma.clamp_min(self.smallest_sigma).log() + math.log(2 * math.pi))
        return (log_sum - normaliser).to(x_t.dtype)

    def denoise(self, x_t: Tensor, at_t: Level) -> Tensor:
        return self._attend(x_t, at_t)[0].reshape(x_t.shape).to(x_t.dtype)
