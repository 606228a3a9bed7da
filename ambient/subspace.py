"""A world for images: a Gaussian mixture in a few leading directions and one Gaussian in all other directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ambient.paths import Level, without_autocast
from ambient.worlds import GaussianMixture, World


class SubspaceMixture(World):
    """X_0 = centre + V (Y, R), where Y (L,) is from a Gaussian mixture and R_j ~ N(0, c_j) is independent of Y.

    V is orthonormal, so white noise stays white in the coordinates V^T x. Therefore Y and R are denoised separately, and the
    posterior of the component depends on Y alone. The distribution is a Gaussian mixture in D dimensions whose covariances are
    the same outside the L leading directions. Its cost is (L / D)^2 of that of a dense mixture.

    Args: mixture: of Y, in L dimensions; basis: V, (D, D), the leading directions first; rest: c, (D - L,); centre: (D,).
    Raises: ValueError for shapes that do not fit, a basis that is not orthonormal, variances that are not positive, and values
    that are not finite.
    Checked by: theory_checks/test_subspace.py
    """

    @without_autocast
    def __init__(self, mixture: GaussianMixture, basis: Tensor, rest: Tensor, centre: Tensor):
        self.mixture, self.basis, self.rest, self.centre = mixture, basis, rest, centre
        self.leading, dim = mixture.means.shape[1], len(centre)
        if centre.ndim != 1 or basis.shape != (dim, dim) or rest.shape != (dim - self.leading,):
            shapes = f"{tuple(centre.shape)}, {tuple(basis.shape)} and {tuple(rest.shape)}"
            raise ValueError(
                f"need a centre ({dim},), a basis ({dim}, {dim}) and variances ({dim} - {self.leading},); got {shapes}"
            )
        if not torch.allclose(basis.T @ basis, torch.eye(dim, dtype=basis.dtype), atol=1e-3):
            raise ValueError("the basis must be orthonormal")
        if not bool(((rest > 0) & rest.isfinite()).all() and centre.isfinite().all()):
            raise ValueError("the centre must be finite, the variances outside the leading directions positive and finite")

    @without_autocast
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        y = self.mixture.sample(count, generator)
        r = self.rest.sqrt() * torch.randn(count, len(self.rest), dtype=self.rest.dtype, generator=generator)
        return self.centre + torch.cat([y, r], 1) @ self.basis.T

    @without_autocast
    def _coordinates(self, x_t: Tensor, at_t: Level) -> tuple[Tensor, Tensor]:
        """The centred coordinates of x_t (B, D) along the leading directions, (B, L), and along all others, (B, D - L)."""
        if x_t.ndim != 2 or x_t.shape[1] != len(self.centre):
            raise ValueError(f"this mixture lives in {len(self.centre)} dimensions; got points of shape {tuple(x_t.shape)}")
        x = x_t.to(self.centre)
        coordinates = (x - at_t.like(x).alpha * self.centre) @ self.basis  # (B, D)
        return coordinates[:, : self.leading], coordinates[:, self.leading :]

    def log_prob(self, x_t: Tensor, at_t: Level) -> Tensor:
        y, r = self._coordinates(x_t, at_t)
        alpha, sigma = at_t.like(r)
        total = alpha**2 * self.rest + sigma**2
        outside = -0.5 * (r**2 / total + total.log() + math.log(2 * math.pi)).sum(1)
        return (self.mixture.log_prob(y, at_t) + outside).to(x_t.dtype)

    @without_autocast
    def denoise(self, x_t: Tensor, at_t: Level) -> Tensor:
        y, r = self._coordinates(x_t, at_t)
        alpha, sigma = at_t.like(r)
        shrunk = alpha * self.rest / (alpha**2 * self.rest + sigma**2) * r
        return (self.centre + torch.cat([self.mixture.denoise(y, at_t), shrunk], 1) @ self.basis.T).to(x_t.dtype)
