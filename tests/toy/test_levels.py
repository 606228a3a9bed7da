"""The levels that networks are trained at: their ranges, and their laws within the limits of theory_checks/statistics_kit.py."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ambient.paths import VarianceExploding, VariancePreserving
from tests.toy.recording import Recording, points
from theory_checks.statistics_kit import mean_is
from toy.levels import FINEST, any_level, level_above, noise_ratio, pair_below, start_level
from toy.problem import Problem

COUNT = 20_000
PATHS = {"VE": (VarianceExploding(), 0.5), "VP": (VariancePreserving(), 0.2)}


def problem_of(path: str, *, clean: bool = False, **changes) -> Problem:
    curve, t_n = PATHS[path]
    return points([t_n, t_n / 2] + [0.0] * clean, path=curve, **changes)


def is_uniform(share: Tensor) -> None:
    """On 0 .. 1, both ends reached."""
    assert float(share.min()) > -1e-6
    assert float(share.max()) < 1 + 1e-6
    mean_is(share, 0.5, 0.06)
    for quarter in range(4):
        mean_is(((4 * share).floor() == quarter).double(), 0.25, 0.06)


def logarithm(ratio: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Where a ratio lies between two others, on a logarithmic scale."""
    low, high = torch.as_tensor(low, dtype=torch.float64), torch.as_tensor(high, dtype=torch.float64)
    return (ratio.double().log() - low.log()) / (high.log() - low.log())


@pytest.mark.parametrize("path", PATHS)
def test_the_noise_of_clean_points_counts_as_a_tenth_of_their_spread(path):
    problem, t_n = problem_of(path, clean=True), torch.tensor([0.0, 0.2], dtype=torch.float64)
    alpha, sigma = problem.path(0.2)
    assert noise_ratio(problem, t_n).tolist() == pytest.approx([0.2, float(sigma / alpha)], rel=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_any_level_is_log_uniform_from_far_below_the_noise_to_pure_noise(path):
    problem = problem_of(path, sigma_max_over_std=5.0)
    t = any_level(problem, COUNT, Recording(problem))
    assert t.dtype == torch.float64
    low = 0.02 * float(problem.path.noise_to_signal(problem.t_n))
    is_uniform(logarithm(problem.path.noise_to_signal(t), low, 5.0 * 2))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("clean", [False, True])
def test_four_levels_in_five_add_up_to_three_times_the_noise(path, clean):
    """What is added is log-uniform on either side of that; the noise of clean points is a tenth of their spread, here .2."""
    problem = problem_of(path, clean=clean)
    t_n = problem.points[1][torch.arange(COUNT) % len(problem.points[1])]
    t = level_above(problem, t_n, Recording(problem))
    assert bool((t >= t_n).all())
    ratio, own = problem.path.noise_to_signal(t), problem.path.noise_to_signal(t_n)
    counts = torch.where(t_n > 0, own, 0.2)
    added = (ratio**2 - own**2).sqrt()
    near = added <= 3 * counts
    mean_is(near.double(), 0.8, 0.05)
    beyond = logarithm(added[~near], 3 * counts[~near], 8.0 * 2)
    assert 0 < float(beyond.min()) < 0.01
    assert 0.99 < float(beyond.max()) < 1 + 1e-6
    is_uniform(logarithm(added[near], FINEST * counts[near], 3 * counts[near]))


def test_a_level_is_never_below_the_points_own_and_pure_noise_is_no_nearer_than_the_border():
    """Where three times the noise is more than pure noise, all that is added is that much."""
    problem = points([3.0], sigma_max_over_std=2.0)
    t_n = torch.full((COUNT,), 3.0)
    added = (level_above(problem, t_n, Recording(problem)) ** 2 - 9.0).sqrt()
    assert float((added > 9.0 - 1e-6).double().mean()) == pytest.approx(0.2, abs=0.02)
    assert float(added.max()) == pytest.approx(9.0)
    rounded = level_above(problem, torch.full((COUNT,), 0.1), Recording(problem))  # 0.1 in float32 is more than in float64
    assert bool((rounded >= torch.tensor(0.1).double()).all())


def pairs(problem: Problem, **options) -> tuple[Tensor, Tensor, Tensor]:
    """t / t_n, t / s, of COUNT pairs below mixed levels, as ratios; and which of them start at t_n itself."""
    t_n = problem.points[1][torch.arange(COUNT) % len(problem.points[1])]
    t, s = pair_below(problem, t_n, Recording(problem), **options)
    assert t.dtype == s.dtype == torch.float64
    top, upper, lower = (problem.path.noise_to_signal(level) for level in (t_n, t, s))
    return upper / top, upper / lower, t == t_n


@pytest.mark.parametrize("path", PATHS)
def test_pairs_start_at_the_noise_or_below_it_and_their_steps_are_uniform(path):
    start, step, anchored = pairs(problem_of(path), steps=(0.1, 0.7), level_power=1.0, share_at_t_n=0.4)
    mean_is(anchored.double(), 0.4, 0.05)
    assert float((start[anchored] - 1).abs().max()) < 1e-9
    is_uniform(-start[~anchored].log() / math.log(1 / 0.03))  # down to 1.5 FINEST of the noise
    is_uniform((step.log() - 0.1) / 0.6)


def test_pairs_crowd_towards_the_noise():
    start, _, anchored = pairs(problem_of("VE"), steps=(0.1, 0.7), level_power=3.0, share_at_t_n=0.0)
    assert not bool(anchored.any())
    is_uniform((-start.log() / math.log(1 / 0.03)) ** (1 / 3))


def test_samplers_start_where_the_data_are_lost_but_above_their_noise():
    assert start_level(points([0.5])) == pytest.approx(16.0)
    assert start_level(points([0.5], sigma_max_over_std=4.0)) == pytest.approx(8.0)
    assert start_level(points([10.0])) == pytest.approx(30.0)
    flow = problem_of("VP")
    assert float(flow.path.noise_to_signal(start_level(flow))) == pytest.approx(16.0)
