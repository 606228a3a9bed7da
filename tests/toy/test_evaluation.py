"""Where a denoiser is asked: at exact multiples of the data's noise, wherever the method has one."""

from __future__ import annotations

import pytest

from ambient.paths import VarianceExploding
from toy.evaluation import BELOW, LEVELS, probes, sub_n_mean
from toy.method import Fitted
from toy.mixtures import MIXTURES
from toy.problem import from_world

WORLD = MIXTURES["line3"].build()


@pytest.mark.parametrize("t_n", [0.01 * k for k in range(1, 40)])
def test_a_denoiser_that_ends_at_the_datas_noise_is_asked_there(t_n):
    """There and back through the noise-to-signal ratio, .35 ends a hair below itself."""
    problem = from_world(WORLD, VarianceExploding(), t_n, count=10, seed=0)
    denoiser = WORLD.denoiser(problem.path)
    for fitted in (Fitted(denoiser, stop=t_n), Fitted(denoiser, only_at=t_n)):
        found = list(probes(fitted, problem, lambda source: WORLD.sample(3, source), LEVELS))
        asked = [probe is not None for probe in found]
        assert asked == [m >= 1 if fitted.stop else m == 1 for m in LEVELS]
        at_n = found[LEVELS.index(1)]
        assert at_n is not None
        assert at_n[2] == t_n


def test_the_mean_below_needs_all_of_its_levels():
    assert sub_n_mean([1.0, 2.0, 6.0, 100.0], below=(0.1, 0.2, 0.3)) == 3.0
    assert sub_n_mean([1.0, None, 6.0, 100.0], below=(0.1, 0.2, 0.3)) is None
    assert sub_n_mean([1.0] * len(BELOW) + [100.0]) == 1.0
