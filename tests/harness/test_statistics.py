"""Intervals: that they hold their estimate, always, and the truth as often as they say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from ambient.randomness import generator
from harness import statistics
from harness.errors import UserError

SHARES = (0.0, 0.02, 0.2, 0.5, 0.95, 1.0)
ROUNDS = 250


def trials(rate: float, count: int, samples: int = 1, *, source: torch.Generator, agreeing: float = 0.0) -> Tensor:
    """Shares (count,) of `samples` trials a unit, which all agree in the given share of units."""
    each = (torch.rand(count, samples, generator=source) < rate).double()
    same = torch.rand(count, generator=source) < agreeing
    return torch.where(same, each[:, 0], each.mean(1))


def covered(truth: float, intervals: list[tuple[float, float]]) -> float:
    """How often the truth is inside, up to rounding."""
    return sum(low - 1e-12 <= truth <= high + 1e-12 for low, high in intervals) / len(intervals)


def enough(share: float) -> bool:
    """95 % less four standard errors of so many rounds."""
    return share >= 0.95 - 4 * (0.05 * 0.95 / ROUNDS) ** 0.5


# Estimates are inside


SOME = st.lists(st.sampled_from([0.0, 1.0, 0.5, 1 / 3, 0.9]), min_size=1, max_size=30).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


@given(SOME, SOME, st.integers(1, 8))
def test_every_interval_of_shares_holds_its_estimate(ours, theirs, samples):
    low, high = statistics.of_share(ours, samples=samples)
    assert 0 <= low <= float(ours.mean()) <= high <= 1
    size = min(len(ours), len(theirs))
    differences = ours[:size] - theirs[:size]
    low, high = statistics.of_difference_of_shares(differences, samples=samples)
    assert -1 <= low <= float(differences.mean()) + 1e-15
    assert float(differences.mean()) - 1e-15 <= high <= 1
    found = statistics.share_beyond(ours, theirs, samples=samples)
    if found is None:
        assert bool((theirs == 1).all())
    else:
        estimate, (low, high) = found
        assert 0 <= low <= estimate <= high <= 1


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=30))
def test_every_bootstrapped_interval_holds_its_estimate(values):
    numbers = torch.tensor(values, dtype=torch.float64)
    low, high = statistics.bootstrap(statistics.resampled(numbers[:, None], seed=0, stream="x")[:, 0], float(numbers.mean()))
    assert low <= float(numbers.mean()) <= high


# Coverage


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("samples", "agreeing"), [(1, 0.0), (4, 0.0), (4, 0.5), (4, 1.0)])
def test_intervals_of_shares_cover(share, samples, agreeing):
    """Samples of one image that are independent, that are the same, and of both kinds."""
    source = generator(0, "shares")
    drawn = [trials(share, 60, samples, source=source, agreeing=agreeing) for _ in range(ROUNDS)]
    assert enough(covered(share, [statistics.of_share(values, samples=samples) for values in drawn]))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("chance", [0.0, 0.02, 0.3, 0.9])
@pytest.mark.parametrize(("count", "others"), [(24, 10_000), (24, 24), (200, 50)])
def test_intervals_of_what_is_beyond_chance_cover(share, chance, count, others):
    """s = m + (1 - m) c: an image is memorised, or above by chance. Where all others are above, any m fits."""
    source = generator(0, "memorised")
    found = []
    for _ in range(ROUNDS):
        ours = trials(share + (1 - share) * chance, count, source=source)
        found.append(statistics.share_beyond(ours, trials(chance, others, source=source)))
    assert enough(covered(share, [interval for _, interval in filter(None, found)]))
    assert sum(one is None for one in found) <= (ROUNDS / 4 if chance == 0.9 and others < 100 else 0)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("other", [0.0, 0.1, 0.5])
def test_intervals_of_differences_cover(share, other):
    source = generator(0, "pairs")
    drawn = [trials(share, 60, source=source) - trials(other, 60, source=source) for _ in range(ROUNDS)]
    assert enough(covered(share - other, [statistics.of_difference_of_shares(values) for values in drawn]))


# Values


def test_intervals_of_shares_are_exact():
    """Clopper and Pearson's, as scipy has it; of none and of all, too."""
    for hits in (0, 1, 7, 24):
        exact = stats.binomtest(hits, 24).proportion_ci()
        found = statistics.of_share((torch.arange(24) < hits).double())
        assert found == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_samples_of_one_unit_count_as_far_as_they_are_independent():
    """60 units of 4 trials: those that agree are 60 trials, independent ones are about 240."""
    source = generator(0, "widths")
    alike, apart = (trials(0.5, 60, 4, source=source, agreeing=agreeing) for agreeing in (1.0, 0.0))
    wide, narrow = (high - low for low, high in (statistics.of_share(values, samples=4) for values in (alike, apart)))
    assert wide / narrow == pytest.approx(2, rel=0.25)


def test_the_share_beyond_chance():
    """60 % above, 20 % of strangers: m = (.6 - .2) / (1 - .2) = .5. What is below chance is none."""
    values = torch.tensor([1.0] * 6 + [0.0] * 4)
    strangers = torch.tensor([1.0] * 2 + [0.0] * 8)
    found = statistics.share_beyond(values, strangers)
    assert found is not None
    assert found[0] == pytest.approx(0.5)
    below = statistics.share_beyond(strangers, values)
    assert below is not None
    assert below[0] == below[1][0] == 0


def test_means_and_their_errors():
    """Of 1, 2, 3, 6: variance 14 / 3; a single value tells nothing of it."""
    found = statistics.mean([1.0, 2.0, 3.0, 6.0])
    assert found == pytest.approx((3, (14 / 3) ** 0.5, (14 / 12) ** 0.5))
    assert statistics.mean([2.0]) == (2, None, None)
    assert statistics.difference([3.0, 5.0], [1.0, 1.0]) == pytest.approx((3, 2**0.5, 1))


def test_too_few_units_have_no_interval():
    with pytest.raises(UserError, match="at least 5 images; there are 4"):
        statistics.resampled(torch.zeros(4, 1), seed=0, stream="x")


def test_without_a_number_of_samples_each_unit_is_one_trial():
    """Shares that differ less than those of single trials do not count for more."""
    ours, theirs = torch.tensor([0.4, 0.6, 0.5, 0.5], dtype=torch.float64), torch.tensor([0.2, 0.4, 0.3], dtype=torch.float64)
    found = statistics.share_beyond(ours, theirs)
    assert found == statistics.share_beyond(ours, theirs, samples=1, their_samples=1)
    assert found != statistics.share_beyond(ours, theirs, samples=2)
    assert found != statistics.share_beyond(ours, theirs, their_samples=2)
    for share in (statistics.of_share, statistics.of_difference_of_shares):
        assert share(ours) == share(ours, samples=1) != share(ours, samples=2)


def test_bootstrap_means_scatter_as_means_of_independent_units_do():
    """Means of N units drawn with replacement have the mean of the units, and their variance (over N, not N - 1) over N."""
    values = torch.randn(40, 1, generator=generator(0, "units"), dtype=torch.float64).exp()
    means = statistics.resampled(values, seed=0, stream="x")
    assert means.shape == (statistics.RESAMPLES, 1)
    error = float(values.std(correction=0)) / 40**0.5
    assert float(means.mean()) == pytest.approx(float(values.mean()), abs=4 * error / statistics.RESAMPLES**0.5)
    assert float(means.std()) == pytest.approx(error, rel=0.1)
    assert not torch.equal(means[:100], means[100:200])


def test_intervals_of_many_units_are_the_normal_ones():
    """1.96 standard errors to either side: of a share, of a difference in pairs, and of 1 - (1 - s) / (1 - c) by its derivative.

    The pairs are correlated. 40,000 units: what the exact intervals add to either end is of the order 1 / N.
    """
    source, count = generator(0, "many"), 40_000
    ours, theirs = trials(0.4, count, source=source), trials(0.1, count, source=source)
    other = torch.where(torch.rand(count, generator=source) < 0.5, ours, trials(0.3, count, source=source))

    def near(interval: tuple[float, float], centre: float, error: float) -> None:
        assert interval == pytest.approx((centre - 1.96 * error, centre + 1.96 * error), abs=0.02 * error)

    near(statistics.of_share(ours), float(ours.mean()), float(ours.std()) / count**0.5)
    pairs = ours - other
    near(statistics.of_difference_of_shares(pairs), float(pairs.mean()), float(pairs.std()) / count**0.5)
    a, b = 1 - ours, 1 - theirs
    ratio = float(a.mean() / b.mean())
    error = ratio * float((a.var() / a.mean() ** 2 + b.var() / b.mean() ** 2).sqrt()) / count**0.5
    found = statistics.share_beyond(ours, theirs)
    assert found is not None
    near(found[1], 1 - ratio, error)
