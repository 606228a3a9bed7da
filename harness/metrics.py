"""Distances of two sets of images by their features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Moments = tuple[Tensor, Tensor]


def moments(features: Tensor) -> Moments:
    """Mean (F,) and covariance (F, F) of the rows (N, F), N >= 2, in float64."""
    features = features.double()
    return features.mean(0), torch.cov(features.T).reshape(features.shape[1], features.shape[1])


def frechet(x: Tensor, y: Tensor) -> float:
    """Frechet distance of two sets of features (N, F), (M, F), as Gaussians; not finite where the features are not.

    Estimated from N rows it is too large, by a term of order F / N that is the same for all models only at equal counts.
    Hence compare at equal counts, and next to the floor: training against held-out images at that count.
    """
    return frechet_of_moments(moments(x), moments(y))


def frechet_of_moments(p: Moments, q: Moments) -> float:
    """|m_p - m_q|^2 + tr(C_p + C_q - 2 (C_p C_q)^(1/2)).

    With C = A A^T the trace of the root is the sum of the singular values of A_p^T A_q: no root of a product that is not
    symmetric, so singular covariances do no harm.
    """
    (mean_p, cov_p), (mean_q, cov_q) = p, q
    if not all(bool(part.isfinite().all()) for part in (*p, *q)):
        return math.nan
    overlap = torch.linalg.svdvals(_factor(cov_p).T @ _factor(cov_q)).sum()
    return max(0.0, float((mean_p - mean_q).square().sum() + cov_p.trace() + cov_q.trace() - 2 * overlap))


def _factor(covariance: Tensor) -> Tensor:
    """A with A A^T = C; what rounding made negative is 0."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt()
