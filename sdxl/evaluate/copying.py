"""What similarities to the nearest training image say: means, shares above the paper's thresholds, and how sure they are.

The unit is the image that was attacked or generated: several samples of one are averaged first, and intervals (95 %) are over
images, by the bootstrap. All statistics are means over images, so that a resample is a row of counts.

Paper: Sec. 4.1, 4.4, Figs. 3, 8, 9, 10.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ambient.randomness import generator
from ambient.runs import UserError

CLOSE, COPY = 0.9, 0.95  # similarities above them are close matches, and almost identical, for the paper
NAMES = ("similarity", "close", "copies")
RESAMPLES, TOGETHER = 2000, 100  # resamples in all, and at a time
FEWEST = 5  # images for an interval
TAIL = 0.025  # beyond either end of an interval


def statistics(similarity: Tensor) -> Tensor:
    """(N, samples) -> (N, 3), float64: of each image NAMES, averaged over its samples."""
    x = similarity.double()
    return torch.stack([x.mean(1), (similarity > CLOSE).double().mean(1), (similarity > COPY).double().mean(1)], 1)


def resampled(values: Tensor, *, seed: int, stream: str) -> Tensor:
    """Means (RESAMPLES, S) of (N, S), each over N images drawn with replacement. Equal seed, stream and N: the same draws.

    Raises: UserError for too few images.
    """
    count, means = len(values), []
    if count < FEWEST:
        raise UserError(f"an interval needs at least {FEWEST} images; there are {count}")
    for part in range(RESAMPLES // TOGETHER):
        source = generator(seed, f"bootstrap of {stream}", part)
        drawn = torch.randint(count, (TOGETHER, count), generator=source)
        counts = torch.zeros(TOGETHER, count, dtype=torch.float64)
        counts.scatter_add_(1, drawn, torch.ones_like(counts))
        means.append(counts @ values / count)
    return torch.cat(means)


def drawn(values: Tensor, *, seed: int, stream: str) -> Tensor:
    """As `resampled`; a share that is 0 or 1 on all N images, of which the bootstrap is certain, by its exact distribution.

    Of N trials without a success: 1 - U^(1/N), U uniform, whose quantiles are the ends of the exact intervals.
    """
    draws = resampled(values, seed=seed, stream=stream)
    edge = torch.rand(RESAMPLES, dtype=torch.float64, generator=generator(seed, f"exact {stream}")) ** (1 / len(values))
    for i in range(1, len(NAMES)):
        if bool((values[:, i] == 0).all()):
            draws[:, i] = 1 - edge
        elif bool((values[:, i] == 1).all()):
            draws[:, i] = edge
    return draws


def described(similarity: Tensor, *, seed: int) -> dict[str, Any]:
    """Of similarities (N, samples): how many, their median, and the mean and interval of each of NAMES."""
    values = statistics(similarity)
    draws = resampled(values, seed=seed, stream="images")
    found: dict[str, Any] = {"images": len(values), "samples": similarity.shape[1], "median": float(similarity.median())}
    for i, name in enumerate(NAMES):
        share = _surely(values[:, i]) if i else None
        found[name] = {"mean": float(values[:, i].mean()), "interval": share or _interval(draws[:, i])}
    return found


def paired(one: Tensor, other: Tensor, *, seed: int) -> dict[str, Any]:
    """The statistics of one model less those of another, image by image: both attacked the same ones. Paper: Fig. 8."""
    values = statistics(one) - statistics(other)
    draws = resampled(values, seed=seed, stream="images")
    found = {name: {"mean": float(values[:, i].mean()), "interval": _interval(draws[:, i])} for i, name in enumerate(NAMES)}
    rare = 1 - _edge(len(values))
    for i, name in enumerate(NAMES):
        if i and bool((values[:, i] == 0).all()):  # no image of N on which the two differ: of either kind there may be so many
            found[name]["interval"] = [-rare, rare]
    return found


def beyond(attacked: Tensor, strangers: Tensor, *, seed: int) -> dict[str, Any]:
    """What `attacked` has beyond `strangers`, which are no copies whatever their similarity: both (N, samples), of other images.

    `similarity`: the difference of the means. `memorised`: the share m of images that come out as copies if all others are as
    often above the threshold by chance as strangers are, c: observed s = m + (1 - m) c, so m = (s - c) / (1 - c).
    """
    ours, theirs = statistics(attacked), statistics(strangers)
    draws = drawn(ours, seed=seed, stream="images"), drawn(theirs, seed=seed, stream="strangers")
    found = {}
    for name, i, rule in (("similarity", 0, _difference), ("memorised", NAMES.index("copies"), _share_beyond)):
        mean = rule(ours[:, i].mean(), theirs[:, i].mean())
        found[name] = {"mean": float(mean), "interval": _interval(rule(draws[0][:, i], draws[1][:, i]))}
    return found


def _difference(ours: Tensor, theirs: Tensor) -> Tensor:
    return ours - theirs


def _share_beyond(ours: Tensor, theirs: Tensor) -> Tensor:
    """Nothing can be told where all strangers are above the threshold."""
    return torch.where(theirs < 1, (ours - theirs) / (1 - theirs).clamp_min(1e-12), 0.0)


def _interval(draws: Tensor) -> list[float]:
    low, high = torch.quantile(draws, torch.tensor([TAIL, 1 - TAIL], dtype=torch.float64)).tolist()
    return [low, high]


def _surely(shares: Tensor) -> list[float] | None:
    """Where no image or every image is above: the bootstrap would be certain of it. The exact interval of so many trials."""
    edge = _edge(len(shares))
    if bool((shares == 0).all()):
        return [0.0, 1 - edge]
    return [edge, 1.0] if bool((shares == 1).all()) else None


def _edge(count: int) -> float:
    """The least share of which so many trials all succeed with a probability of TAIL."""
    return TAIL ** (1 / count)
