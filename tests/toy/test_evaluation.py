"""Where a denoiser is asked: at exact multiples of the data's noise, wherever the method has one."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from ambient.kernels import Step
from ambient.paths import VarianceExploding, VariancePreserving
from ambient.randomness import generator
from ambient.worlds import GaussianMixture
from theory_checks.statistics_kit import mean_is
from toy.data.mixtures import MIXTURES
from toy.evaluation import BELOW, LEVELS, against_truth, generate, normalised_errors, probes, sliced_wasserstein, sub_n_mean
from toy.method import Fitted
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


GAUSS = GaussianMixture(
    torch.ones(1, dtype=torch.float64),
    torch.tensor([[1.0, -2.0]], dtype=torch.float64),
    torch.eye(2, dtype=torch.float64)[None] * 4,
)
KNOWN = replace(
    from_world(GAUSS, VarianceExploding(), 0.5, count=10, seed=0),
    data_mean=torch.tensor([1.0, -2.0]),
    data_covariance=4 * torch.eye(2),
)


def best(x_t: Tensor, t: Any, condition: Any = None) -> Tensor:
    """E[X_0 | X_t] of that world: mean (1, -2), variance 4."""
    t = torch.as_tensor(t, dtype=torch.float64)
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64)
    return (mean + 4 / (4 + t**2) * (x_t.double() - mean)).to(x_t.dtype)


def test_errors_are_in_units_of_the_least_possible():
    """h* + c: |c|^2 over the posterior's total variance, 2 (4 s^2) / (4 + s^2), at multiples of the data's noise .5."""
    off = torch.tensor([0.3, -0.1])
    found = normalised_errors(Fitted(lambda x, t, c=None: best(x, t) + off), KNOWN, count=50)
    levels = [0.5 * m for m in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.5, 3.0)]
    assert found == pytest.approx([0.1 / (8 * s**2 / (4 + s**2)) for s in levels], rel=1e-3)
    assert BELOW == LEVELS[: len(BELOW)] == (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85)


def test_points_asked_at_are_noisy_draws_of_the_world_the_same_every_time():
    first, again = (next(probes(Fitted(best), KNOWN, lambda source: GAUSS.sample(30_000, source), (3.0,))) for _ in range(2))
    assert first is not None
    assert again is not None
    assert torch.equal(first[1], again[1])
    x_0, x_t, t = first
    assert t == pytest.approx(1.5)
    noise = (x_t - x_0) / 1.5
    mean_is(noise.flatten(), 0.0, 0.1)
    mean_is(noise.flatten().square(), 1.0, 0.1)
    mean_is((noise * (x_0 - GAUSS.means)).flatten(), 0.0, 0.2)
    two = [probe for probe in probes(Fitted(best), KNOWN, lambda source: GAUSS.sample(100, source), (3.0, 3.0)) if probe]
    assert not torch.equal(two[0][0], two[1][0])  # each level draws its own


@pytest.mark.parametrize(("stop", "variance"), [(0.0, 4.0), (0.5, 16 / 4.25)])
def test_samples_are_those_of_the_world_or_of_its_early_stop(stop, variance):
    """Means (1, -2); an early stop's samples are E[X_0 | X_s], of variance 4^2 / (4 + s^2)."""
    samples = generate(Fitted(best, stop=stop), KNOWN, 20_000, seed=0, steps=200).double()
    mean_is(samples, torch.tensor([1.0, -2.0]), 0.25)
    mean_is((samples - torch.tensor([1.0, -2.0])).square(), variance, 0.5)
    mean_is((samples - torch.tensor([1.0, -2.0])).prod(1), 0.0, 0.5)
    assert not torch.equal(samples[:5], generate(Fitted(best, stop=stop), KNOWN, 5, seed=1, steps=5).double())


def test_the_start_of_sampling_has_the_spread_of_noisy_data():
    """At 8 times the spread: mean alpha m, variance alpha^2 s^2 + sigma^2; on a path where alpha is not 1."""
    seen: list[tuple[Tensor, float]] = []

    def h(x_t: Tensor, t: Any, condition: Any = None) -> Tensor:
        seen.append((x_t, float(t)))
        return x_t

    moments = {"data_mean": torch.tensor([10.0, -20.0]), "data_covariance": 9 * torch.eye(2)}
    problem = replace(KNOWN, path=VariancePreserving(), t_n=0.2, **moments)
    generate(Fitted(h), problem, 20_000, seed=0, steps=2)
    x_t, t = seen[0]
    alpha, sigma = map(float, problem.path(t))
    assert sigma / alpha == pytest.approx(24.0)
    assert [time for _, time in seen] == pytest.approx([t, problem.t_at(0.02)])
    mean_is(x_t, alpha * torch.tensor([10.0, -20.0]), 0.12)
    spread = (alpha**2 * 9 + sigma**2) ** 0.5 * torch.randn(20_000, 2, generator=generator(0, "sampling"))
    torch.testing.assert_close(x_t - alpha * torch.tensor([10.0, -20.0]), spread, rtol=1e-4, atol=1e-5)


def test_each_step_of_sampling_draws_noise_of_its_own():
    drawn: list[Tensor] = []

    def kernel(denoiser: Any, x_t: Tensor, *, path: Any, t: float, s: float, condition: Any = None) -> Step:
        drawn.append(x_t)
        return Step(x_t, torch.zeros_like(x_t), torch.ones(1, 1))

    last = generate(Fitted(best), KNOWN, 30_000, seed=0, steps=3, kernel=kernel)  # type: ignore[arg-type]
    assert len(drawn) == 3
    for one, other in combinations([(drawn[0] - drawn[0].mean(0)) / drawn[0].std(0), *drawn[1:], last], 2):
        mean_is((one * other).flatten(), 0.0, 0.1)


def test_methods_that_sample_otherwise_are_asked_as_they_wish():
    """A draw of one's own; one level alone: fresh noisy points, taken up to it, denoised."""
    own = Fitted(best, draw=lambda count, source: torch.full((count, 2), 7.0))
    assert generate(own, KNOWN, 3, seed=0).tolist() == [[7.0, 7.0]] * 3
    stream = from_world(GAUSS, VarianceExploding(), 0.5, count=None, seed=0)
    raised = generate(Fitted(lambda x, t, c=None: x * (t == 2.0), only_at=2.0), stream, 20_000, seed=0).double()
    mean_is((raised - torch.tensor([1.0, -2.0])).square(), 4 + 2.0**2, 1.0)


def test_the_sliced_distance_of_clouds_moved_apart():
    """In one dimension the distance moved; in two the root mean square of it along random directions, |c| / 2^(1/2)."""
    source = generator(0, "clouds")
    line, plane = torch.randn(500, 1, generator=source), torch.randn(500, 2, generator=source)
    assert sliced_wasserstein(line, line[torch.randperm(500, generator=source)] + 3) == pytest.approx(3, rel=1e-5)
    far = sliced_wasserstein(plane, plane + torch.tensor([6.0, 8.0]), projections=20_000)
    assert far == pytest.approx(10 / 2**0.5, rel=0.02)
    assert sliced_wasserstein(line, torch.cat([line, line, line])) == pytest.approx(0, abs=1e-6)
    assert sliced_wasserstein(line, 2 * line) == pytest.approx(float(line.square().mean().sqrt()), rel=1e-5)
    assert sliced_wasserstein(plane, plane) == 0


def test_a_method_that_knows_the_truth_is_told_so():
    found = against_truth(Fitted(best), KNOWN, count=2000, seed=0)
    assert max(found["errors"]) < 1e-6
    assert found["sub_n"] == pytest.approx(sum(found["errors"][:9]) / 9)
    assert found["at_n"] == found["errors"][9]
    assert found["samples"].shape == (2000, 2)
    assert 0 < found["sw2"] < 0.4  # 2,000 samples against 20,000
    wrong = against_truth(Fitted(lambda x, t, c=None: best(x, t) + 0.5), KNOWN, count=2000, seed=0)
    assert wrong["sw2"] > 0.4 > found["sw2"]
