"""Means, standard errors and 95 % intervals, for both tracks.

An interval always contains its estimate. The intervals of shares are exact where possible. The bootstrap is not used for them: if
all units have the share 0 (or 1), its interval has no width, as if something that was not observed could never happen.
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

RESAMPLES, TOGETHER = 2000, 100  # the number of resamples, and how many are computed at a time
FEWEST = 5  # the least number of units for an interval
TAIL = 0.025  # the probability beyond each end of an interval
Interval = tuple[float, float]


class Mean(NamedTuple):
    """The mean, the standard deviation, and the standard error of the mean; the last two are None for a single value."""

    mean: float
    std: float | None
    error: float | None


def mean(values: Sequence[float]) -> Mean:
    """The `Mean` of one or more numbers."""
    count, average = len(values), math.fsum(values) / len(values)
    if count < 2:
        return Mean(average, None, None)
    std = math.sqrt(math.fsum((value - average) ** 2 for value in values) / (count - 1))
    return Mean(average, std, std / math.sqrt(count))


def difference(values: Sequence[float], others: Sequence[float]) -> Mean:
    """The `Mean` of values - others in pairs, in which the common image and noise cancel."""
    return mean([a - b for a, b in zip(values, others, strict=True)])


def resampled(values: Tensor, *, seed: int, stream: str) -> Tensor:
    """Bootstrap means (RESAMPLES, S) of values (N, S), each over N units that are drawn with replacement.

    Equal seed, stream and N give the same draws. Raises: UserError for fewer than FEWEST units.
    """
    count, means = len(values), []
    if count < FEWEST:
        raise UserError(f"an interval needs at least {FEWEST} images; there are {count}")
    for part in range(RESAMPLES // TOGETHER):
        source = generator(seed, f"bootstrap of {stream}", part)
        drawn = torch.randint(count, (TOGETHER, count), generator=source)
        counts = torch.zeros(TOGETHER, count, dtype=torch.float64)  # how often each unit is drawn
        counts.scatter_add_(1, drawn, torch.ones_like(counts))
        means.append(counts @ values / count)
    return torch.cat(means)


def between_quantiles(draws: Tensor) -> tuple[Tensor, Tensor]:
    """The ends of the middle 95 % of draws (R, ...), each (...)."""
    low, high = torch.quantile(draws, torch.tensor([TAIL, 1 - TAIL], dtype=torch.float64), dim=0)
    return low, high


def bootstrap(draws: Tensor, estimate: float) -> Interval:
    """The ends of the middle 95 % of draws (R,), widened if necessary to contain the estimate."""
    low, high = (float(end) for end in between_quantiles(draws))
    return min(low, estimate), max(high, estimate)


def of_share(shares: Tensor, *, samples: int = 1) -> Interval:
    """The interval of Clopper and Pearson for the mean of shares (N,), each a share of `samples` trials of one unit.

    It uses the number of independent trials that has the observed variance: N if the trials of a unit agree, and up to
    N `samples` if they are independent. Source: Korn and Graubard 1998.
    """
    share, count = float(shares.mean()), len(shares)
    spread = float(shares.var(correction=0))
    trials = count * min(float(samples), share * (1 - share) / spread) if spread > 0 else float(count)
    hits = share * trials
    low = float(betaincinv(hits, trials - hits + 1, TAIL)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - TAIL)) if hits < trials else 1.0
    return min(low, share), max(high, share)


def of_difference_of_shares(differences: Tensor, *, samples: int = 1) -> Interval:
    """The interval of the mean of differences (N,), each of two shares of the same unit.

    It combines the intervals of the positive and of the negative parts and their correlation. Source: Zou 2008 (MOVER).
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
    """The share m beyond chance with its interval, from the means s of shares (N,) and c of shares (M,): s = m + (1 - m) c.

    1 - m = (1 - s) / (1 - c) is a ratio of two means. The result is None if c = 1, because then every m fits.
    Source: Donner and Zou 2012 (MOVER-R). Checked by: tests/harness/test_statistics.py, which measures the coverage.
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
