"""What similarities to the nearest training image say: means, shares above the paper's thresholds, and how sure they are.

The unit is the image that was attacked or generated: several samples of one are averaged first, and intervals (95 %) are over
images: of means by the bootstrap, of shares by the exact interval.

Paper: Sec. 4.1, 4.4, Figs. 3, 8, 9, 10.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness import statistics

CLOSE, COPY = 0.9, 0.95  # similarities above them are close matches, and almost identical, for the paper
NAMES = ("similarity", "close", "copies")


def of_images(similarity: Tensor) -> Tensor:
    """(N, samples) -> (N, 3), float64: of each image NAMES, averaged over its samples."""
    x = similarity.double()
    return torch.stack([x.mean(1), (similarity > CLOSE).double().mean(1), (similarity > COPY).double().mean(1)], 1)


def described(similarity: Tensor, *, seed: int) -> dict[str, Any]:
    """Of similarities (N, samples): how many, their median, and the mean and interval of each of NAMES."""
    values, samples = of_images(similarity), similarity.shape[1]
    found: dict[str, Any] = {"images": len(values), "samples": samples, "median": float(similarity.median())}
    found["similarity"] = mean(values[:, 0], seed=seed)
    for i, name in enumerate(NAMES[1:], 1):
        found[name] = _told(values[:, i].mean(), statistics.of_share(values[:, i], samples=samples))
    return found


def paired(one: Tensor, other: Tensor, *, seed: int) -> dict[str, Any]:
    """The statistics of one model less those of another, image by image: both attacked the same ones. Paper: Fig. 8."""
    values, samples = of_images(one) - of_images(other), min(one.shape[1], other.shape[1])
    found = {"similarity": mean(values[:, 0], seed=seed)}
    for i, name in enumerate(NAMES[1:], 1):
        found[name] = _told(values[:, i].mean(), statistics.of_difference_of_shares(values[:, i], samples=samples))
    return found


def beyond(attacked: Tensor, strangers: Tensor, *, seed: int) -> dict[str, Any]:
    """What `attacked` has beyond `strangers`, which are no copies whatever their similarity: both (N, samples), of other images.

    `similarity`: the difference of the means. `memorised`: the share m of images that come out as copies if all others are as
    often above the threshold by chance as strangers are, c: observed s = m + (1 - m) c, so m = (s - c) / (1 - c), in [0, 1];
    None where all strangers are above it, so that nothing can be told.
    """
    ours, theirs, copies = of_images(attacked), of_images(strangers), NAMES.index("copies")
    samples, their_samples = attacked.shape[1], strangers.shape[1]
    known = statistics.share_beyond(ours[:, copies], theirs[:, copies], samples=samples, their_samples=their_samples)
    memorised = None if known is None else _told(*known)
    return {"similarity": difference(ours[:, 0], theirs[:, 0], seed=seed), "memorised": memorised}


def mean(values: Tensor, *, seed: int) -> dict[str, Any]:
    """Mean and interval of numbers (N,), one an image. Raises: UserError for too few images."""
    return _told(values.mean(), statistics.bootstrap(_draws(values, seed, "images"), float(values.mean())))


def difference(ours: Tensor, theirs: Tensor, *, seed: int) -> dict[str, Any]:
    """The mean of numbers (N,) less that of others (M,), of other images. Raises: UserError for too few images."""
    draws = _draws(ours, seed, "images") - _draws(theirs, seed, "strangers")
    gap = ours.mean() - theirs.mean()
    return _told(gap, statistics.bootstrap(draws, float(gap)))


def _draws(values: Tensor, seed: int, stream: str) -> Tensor:
    return statistics.resampled(values.double()[:, None], seed=seed, stream=stream)[:, 0]


def _told(value: Tensor | float, interval: statistics.Interval) -> dict[str, Any]:
    return {"mean": float(value), "interval": list(interval)}
