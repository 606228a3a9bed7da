"""What is said of similarities: shares, models in pairs, and what an attack finds beyond chance."""

from __future__ import annotations

import pytest
import torch

from ambient.randomness import generator
from harness import copying, statistics

NONE, ALL = torch.full((24, 1), 0.5), torch.full((24, 1), 0.99)
EDGE = 1 - 0.025 ** (1 / 24)  # of 24 images none is above: so many may be


def test_shares_are_counted_above_the_thresholds_image_by_image():
    similarity = torch.tensor([[0.90, 0.91], [0.95, 0.96], [0.99, 0.97], [0.1, 0.2], [0.3, 0.3]])
    said = copying.described(similarity, seed=0)
    assert (said["images"], said["samples"]) == (5, 2)
    assert said["similarity"]["mean"] == pytest.approx(float(similarity.mean()))
    assert (said["close"]["mean"], said["copies"]["mean"]) == (0.5, 0.3)


def test_none_of_24_beside_none_of_many_may_be_some_and_is_likely_none():
    """The estimate is 0 and in the interval, whose upper end is that of 24 trials."""
    said = copying.beyond(NONE, torch.full((10_000, 1), 0.5), seed=0)["memorised"]
    assert said["mean"] == 0
    assert said["interval"][0] == 0
    assert said["interval"][1] == pytest.approx(EDGE, rel=1e-2)


def test_nothing_is_told_where_all_held_out_images_are_above():
    for ours in (NONE, ALL):
        assert copying.beyond(ours, ALL, seed=0)["memorised"] is None


def test_all_that_is_copied_is_beyond_chance():
    said = copying.beyond(ALL, NONE, seed=0)["memorised"]
    assert said["mean"] == 1
    assert said["interval"] == [pytest.approx(1 - EDGE, abs=0.05), 1]


def test_models_that_never_differ_may_differ_rarely():
    said = copying.paired(NONE, NONE, seed=0)
    assert said["similarity"]["interval"] == [0, 0]  # a mean of numbers: nothing exact is known of it
    assert said["copies"] == {"mean": 0, "interval": pytest.approx([-EDGE, EDGE])}


def test_models_that_always_differ_may_agree_rarely():
    """Both parts may be off: the lower end lies below that of one share alone, by at most half as much again."""
    for one, other, sign in ((ALL, NONE, 1), (NONE, ALL, -1)):
        said = copying.paired(one, other, seed=0)["copies"]
        nearest, furthest = sorted(sign * end for end in said["interval"])
        assert said["mean"] == sign
        assert 1 - 1.5 * EDGE < nearest < 1 - EDGE
        assert furthest == 1


def test_a_pair_has_as_many_samples_as_the_model_with_fewer():
    """Samples that are compared with a single one are no more independent trials than that one."""
    source = generator(0, "similarities")
    one, four = (torch.rand(24, samples, generator=source) * 0.2 + 0.8 for samples in (1, 4))
    for first, second in ((one, four), (four, one)):
        differences = copying.of_images(first)[:, 2] - copying.of_images(second)[:, 2]
        low, high = statistics.of_difference_of_shares(differences, samples=1)
        assert copying.paired(first, second, seed=0)["copies"]["interval"] == [low, high]
        assert (low, high) != statistics.of_difference_of_shares(differences, samples=4)
