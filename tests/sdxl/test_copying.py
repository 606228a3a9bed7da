"""Intervals of shares: exact where the bootstrap would be certain, and what two of them say of a third."""

from __future__ import annotations

import pytest
import torch

from sdxl.evaluate import copying

NONE, ALL = torch.full((24, 1), 0.5), torch.full((24, 1), 0.99)


def test_none_of_24_beside_none_of_6_leaves_room_for_both():
    """Each side alone has the exact interval of so many trials; .011: 2.5 % less four standard errors of 2,000 draws."""
    said = copying.beyond(NONE, NONE[:6], seed=0)["memorised"]
    low, high = said["interval"]
    assert said["mean"] == 0
    edge, other = 1 - 0.011 ** (1 / 24), 1 - 0.011 ** (1 / 6)
    assert 0.25 * edge < high < edge  # less than if no stranger could be above the threshold
    assert -other / (1 - other) < low < -0.25 * other / (1 - other)


def test_draws_of_a_certain_share_have_the_exact_quantiles():
    """2,000 draws find a quantile of 2.5 % to .0035 of probability, so to 30 % of the lower end at four standard errors."""
    for values, ends in ((NONE, (0, 1 - 0.025 ** (1 / 24))), (ALL, (0.025 ** (1 / 24), 1))):
        draws = copying.drawn(copying.statistics(values), seed=0, stream="images")[:, 2]
        low, high = torch.quantile(draws, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        assert low == pytest.approx(ends[0], abs=0.02)
        assert high == pytest.approx(ends[1], abs=0.02)


def test_models_that_never_differ_may_differ_rarely():
    said = copying.paired(NONE, NONE, seed=0)
    assert said["similarity"]["interval"] == [0, 0]  # a mean of numbers: nothing exact is known of it
    edge = 1 - 0.025 ** (1 / 24)
    assert said["copies"]["interval"] == pytest.approx([-edge, edge])
