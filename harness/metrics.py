"""Distances between two sets of images, from their features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Moments = tuple[Tensor, Tensor]


def moments(features: Tensor) -> Moments:
    """The mean (F,) and the covariance (F, F) of features (N, F), N >= 2, in float64."""
    features = features.double()
    return features.mean(0), torch.cov(features.T).reshape(features.shape[1], features.shape[1])


def frechet(x: Tensor, y: Tensor) -> float:
    """The Frechet distance of two sets of features, (N, F) and (M, F), as Gaussians; NaN if a feature is not finite.

    An estimate from N rows is too large by a term of order F / N. Therefore compare distances at equal counts only, and with the
    distance of training images to held-out images at the same count.
    """
    return frechet_of_moments(moments(x), moments(y))


def frechet_of_moments(p: Moments, q: Moments) -> float:
    """The Frechet distance of two Gaussians: |m_p - m_q|^2 + tr(C_p + C_q - 2 (C_p C_q)^(1/2)).

    With C = A A^T the trace of the root is the sum of the singular values of A_p^T A_q. This needs no root of a product that is
    not symmetric, and the covariances may be singular.
    """
    (mean_p, cov_p), (mean_q, cov_q) = p, q
    if not all(bool(part.isfinite().all()) for part in (*p, *q)):
        return math.nan
    overlap = torch.linalg.svdvals(_factor(cov_p).T @ _factor(cov_q)).sum()
    return max(0.0, float((mean_p - mean_q).square().sum() + cov_p.trace() + cov_q.trace() - 2 * overlap))


def _factor(covariance: Tensor) -> Tensor:
    """A with A A^T = C. Eigenvalues that are negative by rounding count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt()
