"""Means, standard errors and intervals of 95 %: what both tracks say of their numbers.

An interval always contains its estimate. Of a share it is exact where it can be: the bootstrap is certain of a share that is 0
or 1 on all units, and so it would say that what was not seen once never happens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.special import betaincinv
from torch import Tensor

from ambient.randomness import generator
from harness.errors import UserError

RESAMPLES, TOGETHER = 2000, 100  # resamples in all, and at a time
FEWEST = 5  # units for an interval
TAIL = 0.025  # beyond either end of an interval
Interval = tuple[float, float]


class Mean(NamedTuple):
    """Mean, standard deviation, standard error of the mean; None where a single value tells nothing of it."""

    mean: float
    std: float | None
    error: float | None


def mean(values: Sequence[float]) -> Mean:
    """Of one or more numbers."""
    count, average = len(values), math.fsum(values) / len(values)
    if count < 2:
        return Mean(average, None, None)
    std = math.sqrt(math.fsum((value - average) ** 2 for value in values) / (count - 1))
    return Mean(average, std, std / math.sqrt(count))


def difference(values: Sequence[float], others: Sequence[float]) -> Mean:
    """Of values - others in pairs: what both share, image and noise, cancels."""
    return mean([a - b for a, b in zip(values, others, strict=True)])


def resampled(values: Tensor, *, seed: int, stream: str) -> Tensor:
    """Means (RESAMPLES, S) of (N, S), each over N units drawn with replacement. Equal seed, stream and N: the same draws.

    Raises: UserError for too few units.
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


def between_quantiles(draws: Tensor) -> tuple[Tensor, Tensor]:
    """The middle 95 % of draws (R, ...)."""
    low, high = torch.quantile(draws, torch.tensor([TAIL, 1 - TAIL], dtype=torch.float64), dim=0)
    return low, high


def bootstrap(draws: Tensor, estimate: float) -> Interval:
    """The middle 95 % of draws (R,), widened to the estimate where rounding or a skew puts it outside."""
    low, high = (float(end) for end in between_quantiles(draws))
    return min(low, estimate), max(high, estimate)


def of_share(shares: Tensor, *, samples: int = 1) -> Interval:
    """Of the mean of shares (N,), each of `samples` trials of one unit: Clopper and Pearson's interval.

    For the number of independent trials with the variance that is found: N where the trials of a unit agree, and up to
    N `samples` where they are independent. Source: Korn and Graubard 1998.
    """
    share, count = float(shares.mean()), len(shares)
    spread = float(shares.var(correction=0))
    trials = count * min(float(samples), share * (1 - share) / spread) if spread > 0 else float(count)
    hits = share * trials
    low = float(betaincinv(hits, trials - hits + 1, TAIL)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - TAIL)) if hits < trials else 1.0
    return min(low, share), max(high, share)


def of_difference_of_shares(differences: Tensor, *, samples: int = 1) -> Interval:
    """Of the mean of differences (N,) of two shares of the same unit: what one has beyond the other, less the reverse.

    From the intervals of the two parts and their correlation. Source: Zou 2008 (MOVER).
    """
    parts = torch.stack([differences.clamp_min(0), (-differences).clamp_min(0)])
    (more, less), spread = parts.mean(1).tolist(), parts.std(1, correction=0)
    together = float(torch.corrcoef(parts)[0, 1]) if bool((spread > 0).all()) else 0.0
    (more_low, more_high), (less_low, less_high) = (of_share(part, samples=samples) for part in parts)

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 + other**2 - 2 * together * one * other))

    gap = more - less
    return max(-1.0, gap - reach(more - more_low, less_high - less)), min(1.0, gap + reach(more_high - more, less - less_low))


def share_beyond(ours: Tensor, theirs: Tensor, *, samples: int = 1, their_samples: int = 1) -> tuple[float, Interval] | None:
    """The share m of units beyond chance, s = m + (1 - m) c: (estimate, interval) from shares (N,) and (M,); both in [0, 1].

    1 - m = (1 - s) / (1 - c) is a ratio of two means. Source: Donner and Zou 2012 (MOVER-R). None where every one of `theirs` is
    a hit: then any m fits. Checked by: tests/harness/test_statistics.py, which measures how often the interval holds m.
    """
    a, b = 1 - float(ours.mean()), 1 - float(theirs.mean())
    if b <= 0:
        return None
    (s_low, s_high), (c_low, c_high) = of_share(ours, samples=samples), of_share(theirs, samples=their_samples)
    (a_low, a_high), (b_low, b_high) = (1 - s_high, 1 - s_low), (1 - c_high, 1 - c_low)
    least, most = a_low * (2 * a - a_low), a_high * (2 * a - a_high)
    wide, narrow = b_high * (2 * b - b_high), b_low * (2 * b - b_low)
    rest = least / (a * b + math.sqrt(max(0.0, (a * b) ** 2 - least * wide))) if least > 0 else 0.0
    whole = (a * b + math.sqrt(max(0.0, (a * b) ** 2 - most * narrow))) / narrow if narrow > 0 else math.inf
    estimate, low, high = (min(1.0, max(0.0, 1 - ratio)) for ratio in (a / b, max(whole, a / b), min(rest, a / b)))
    return estimate, (low, high)
