"""Statistics of similarities to the nearest training image: means, shares above the paper's thresholds, and intervals.

The unit is one image that was attacked or generated. Several samples of an image are averaged first, and the 95 % intervals are
over images: the bootstrap for means, exact intervals for shares.

Paper: Sec. 4.1, 4.4, Figs. 3, 8, 9, 10.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness import statistics

CLOSE, COPY = 0.9, 0.95  # the paper calls similarities above these "close matches" and "almost identical"
NAMES = ("similarity", "close", "copies")


def of_images(similarity: Tensor) -> Tensor:
    """The three statistics NAMES of each image, averaged over its samples: similarities (N, samples) -> (N, 3), float64."""
    x = similarity.double()
    return torch.stack([x.mean(1), (similarity > CLOSE).double().mean(1), (similarity > COPY).double().mean(1)], 1)


def described(similarity: Tensor, *, seed: int) -> dict[str, Any]:
    """The counts, the median, and the mean and interval of each of NAMES, of similarities (N, samples)."""
    values, samples = of_images(similarity), similarity.shape[1]
    shares = {
        name: _estimate(share.mean(), statistics.of_share(share, samples=samples))
        for name, share in zip(NAMES[1:], values.T[1:], strict=True)
    }
    counts = {"images": len(values), "samples": samples, "median": float(similarity.median())}
    return {**counts, "similarity": mean(values[:, 0], seed=seed), **shares}


def paired(one: Tensor, other: Tensor, *, seed: int) -> dict[str, Any]:
    """The statistics NAMES of one model minus those of another; both attacked the same images, (N, samples). Paper: Fig. 8."""
    values, samples = of_images(one) - of_images(other), min(one.shape[1], other.shape[1])
    shares = {
        name: _estimate(share.mean(), statistics.of_difference_of_shares(share, samples=samples))
        for name, share in zip(NAMES[1:], values.T[1:], strict=True)
    }
    return {"similarity": mean(values[:, 0], seed=seed), **shares}


def beyond(attacked: Tensor, strangers: Tensor, *, seed: int) -> dict[str, Any]:
    """The excess of attacked images over strangers, which are not copies whatever their similarity; (N, samples), (M, samples).

    `similarity` is the difference of the means. `memorised` is the share m of images that are returned as copies, if all other
    images are above the threshold by chance as often as strangers are. With the shares s of attacked images and c of strangers
    above the threshold, s = m + (1 - m) c, so m = (s - c) / (1 - c), in [0, 1]. It is None if c = 1.
    """
    ours, theirs, copies = of_images(attacked), of_images(strangers), NAMES.index("copies")
    samples, their_samples = attacked.shape[1], strangers.shape[1]
    share = statistics.share_beyond(ours[:, copies], theirs[:, copies], samples=samples, their_samples=their_samples)
    memorised = None if share is None else _estimate(*share)
    return {"similarity": difference(ours[:, 0], theirs[:, 0], seed=seed), "memorised": memorised}


def mean(values: Tensor, *, seed: int) -> dict[str, Any]:
    """The mean and its interval of numbers (N,), one for each image. Raises: UserError for too few images."""
    return _estimate(values.mean(), statistics.bootstrap(_draws(values, seed, "images"), float(values.mean())))


def difference(ours: Tensor, theirs: Tensor, *, seed: int) -> dict[str, Any]:
    """The mean of numbers (N,) minus that of numbers (M,) of other images, and its interval. Raises: UserError for too few."""
    draws = _draws(ours, seed, "images") - _draws(theirs, seed, "strangers")
    gap = ours.mean() - theirs.mean()
    return _estimate(gap, statistics.bootstrap(draws, float(gap)))


def _draws(values: Tensor, seed: int, stream: str) -> Tensor:
    return statistics.resampled(values.double()[:, None], seed=seed, stream=stream)[:, 0]


def _estimate(value: Tensor | float, interval: statistics.Interval) -> dict[str, Any]:
    return {"mean": float(value), "interval": list(interval)}
