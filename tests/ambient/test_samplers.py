"""Samplers: the grid that is asked for, one state a step, noise by number, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from ambient.kernels import ancestral, ddim
from ambient.paths import Discrete, RectifiedFlow, VarianceExploding
from ambient.samplers import log_snr_grid, reverse_process, sample, sample_x_0
from tests.ambient.doubles import DISCRETE, PATHS, Recorder, normal

VE = VarianceExploding()
CONTINUOUS = pytest.mark.parametrize("path", [p for p in PATHS.values() if p is not DISCRETE], ids=[*PATHS][:3])


@CONTINUOUS
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_grid_has_its_ends_and_its_number_of_steps(path, steps):
    grid = log_snr_grid(path, start=0.9, stop=0.1, steps=steps)
    assert (grid[0], grid[-1], len(grid)) == (0.9, 0.1, steps + 1)
    assert all(t > s for t, s in pairwise(grid))


@CONTINUOUS
@pytest.mark.parametrize("steps", [2, 7])
def test_a_grid_to_clean_data_takes_its_last_step_from_last(path, steps):
    grid = log_snr_grid(path, start=0.9, stop=0.0, steps=steps, last=0.05)
    assert (grid[0], grid[-2:], len(grid)) == (0.9, [0.05, 0.0], steps + 1)
    assert all(t > s for t, s in pairwise(grid))


def test_a_grid_on_whole_times_repeats_none():
    grid = log_snr_grid(DISCRETE, start=20, stop=0, steps=50, last=1)
    assert grid[0] == 20.0
    assert grid[-2:] == [1.0, 0.0]
    assert all(t > s and t == round(t) for t, s in pairwise(grid))


@pytest.mark.parametrize(
    "asked",
    [
        {"start": 0.1, "stop": 0.5, "steps": 5},
        {"start": 0.5, "stop": 0.5, "steps": 5},
        {"start": 0.9, "stop": 0.1, "steps": 0},
        {"start": 0.9, "stop": 0.0, "steps": 5},
        {"start": 0.9, "stop": 0.0, "steps": 5, "last": 0.0},
        {"start": 0.9, "stop": 0.0, "steps": 5, "last": 0.95},
        {"start": 0.9, "stop": 0.0, "steps": 1, "last": 0.1},
        {"start": 0.9, "stop": -0.1, "steps": 5},
    ],
    ids=str,
)
def test_grids_that_are_none_are_refused(asked):
    with pytest.raises(ValueError, match=r"a grid needs start > .* and steps >= [12]; got start = "):
        log_snr_grid(VE, **asked)


@pytest.mark.parametrize(("path", "last"), [(RectifiedFlow(), 0.01), (Discrete(torch.linspace(1, 0, 1000)), 10.0)])
def test_a_grid_needs_a_signal_where_it_starts(path, last):
    with pytest.raises(ValueError, match="no signal is left"):
        log_snr_grid(path, start=path.t_max, stop=0.0, last=last, steps=25)


def test_one_state_a_step_with_the_noise_of_its_number():
    numbers, times = [], [0.8, 0.5, 0.2, 0.0]

    def noise(i):
        numbers.append(i)
        return normal(5, 3, step=i)

    denoiser, x, condition = Recorder(), normal(5, 3, step=9), {"shift": normal(5)}
    states = list(reverse_process(denoiser, x, times, path=VE, kernel=ancestral, noise=noise, condition=condition))
    assert numbers == [0, 1, 2]
    assert [state.t for state in states] == times[1:]
    assert [(t, c) for _, t, c in denoiser.calls] == [(t, condition) for t in times[:-1]]
    for before, state, t, i in zip([x, *(state.x_t for state in states)], states, times, range(3), strict=False):
        step = ancestral(Recorder(), before, path=VE, t=t, s=state.t, condition=condition)
        assert torch.equal(state.x_t, step.draw(normal(5, 3, step=i)))
        assert torch.equal(state.x_0_hat, step.x_0_hat)


@pytest.mark.parametrize("shape", [(1, 3), (4, 2, 3, 3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_samples_have_the_shape_and_type_of_the_start_and_no_gradient(shape, dtype):
    x = normal(*shape, dtype=dtype)
    found = sample(Recorder(), x, [0.8, 0.4, 0.0], path=VE, kernel=ddim, noise=lambda _: torch.zeros_like(x))
    assert (found.shape, found.dtype, found.requires_grad) == (shape, dtype, False)


def test_the_loop_stops_where_it_is_left():
    denoiser = Recorder()
    process = reverse_process(denoiser, normal(5, 3), [0.8, 0.4, 0.2, 0.0], path=VE, kernel=ddim, noise=lambda _: normal(5, 3))
    assert next(process).t == 0.4
    assert len(denoiser.calls) == 1


@pytest.mark.parametrize("times", [[], [0.5]], ids=str)
def test_fewer_than_two_times_are_refused(times):
    with pytest.raises(ValueError, match="at least two times"):
        sample(Recorder(), normal(5, 3), times, path=VE, kernel=ddim, noise=lambda _: normal(5, 3))


@pytest.mark.parametrize("kernel", [ancestral, ddim])
def test_rising_times_are_refused(kernel):
    with pytest.raises(ValueError, match="less noisy"):
        sample(Recorder(), normal(5, 3), [0.5, 0.6], path=VE, kernel=kernel, noise=lambda _: normal(5, 3))


def test_no_global_random_number_is_drawn():
    before = torch.random.get_rng_state()
    sample(Recorder(), normal(5, 3), [0.5, 0.0], path=VE, kernel=ancestral, noise=lambda _: normal(5, 3))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("last", [0.0, 0.25])
def test_a_grid_that_ends_above_0_is_followed_by_the_denoiser(last):
    """Early stop: E[X_0 | X_s] of the last sample, once; down to 0 the sample itself."""
    denoiser, x, condition = Recorder(), normal(5, 3), {"shift": normal(5)}
    options = {"path": VE, "kernel": ancestral, "noise": lambda i: normal(5, 3, step=i + 1), "condition": condition}
    found = sample_x_0(denoiser, x, [1.0, 0.5, last], **options)
    calls = len(denoiser.calls)
    x_s = sample(denoiser, x, [1.0, 0.5, last], **options)
    assert calls == (2 if last == 0 else 3)
    assert torch.equal(found, x_s if last == 0 else denoiser(x_s, last, condition).detach())
    assert not found.requires_grad
