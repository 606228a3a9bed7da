"""Paths: times of any shape in, levels of that shape out; what is not a time is refused."""

from __future__ import annotations

import math

import pytest
import torch

from ambient.paths import Discrete, Level, RectifiedFlow, VarianceExploding, VariancePreserving, expand, transition
from tests.ambient.doubles import DISCRETE, PATHS, normal

EVERY_PATH = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def sample_times(path, *shape):
    return (torch.linspace(0.1, 0.9, math.prod(shape), dtype=torch.float64) * min(path.t_max, 900.0)).round(
        decimals=0 if path is DISCRETE else 6
    ).reshape(shape)  # fmt: skip


@EVERY_PATH
@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3)])
def test_levels_have_the_shape_of_the_times_in_float64(path, shape):
    for times in (sample_times(path, *shape), sample_times(path, *shape).float().round(decimals=0)):
        if times.max() > path.t_max:
            times = times.clamp_max(path.t_max)
        level = path(times)
        assert level.alpha.shape == level.sigma.shape == path.log_snr(times).shape == shape
        assert level.alpha.dtype == level.sigma.dtype == torch.float64


def test_python_floats_are_not_rounded_to_float32():
    assert float(VarianceExploding()(0.1).sigma) == 0.1
    assert float(RectifiedFlow()(0.3).sigma) == 0.3


@EVERY_PATH
def test_whole_numbers_are_times(path):
    assert path(1) == path(1.0) == path(torch.tensor(1))


@EVERY_PATH
@pytest.mark.parametrize("t", [-1.0, -1e-9, math.nan, math.inf, -math.inf], ids=str)
def test_times_that_are_negative_or_not_finite_are_refused(path, t):
    for times in (t, torch.tensor(t), torch.tensor([0.0, t])):
        with pytest.raises(ValueError, match=r"times must be finite and lie in \[0, ") as caught:
            path(times)
        assert "got" in str(caught.value)


@EVERY_PATH
def test_times_beyond_the_end_are_refused(path):
    assert path(path.t_max).sigma <= path.t_max
    with pytest.raises(ValueError, match="must be finite and lie in"):
        path(path.t_max * (1 + 1e-12) + 1e-12)


@EVERY_PATH
def test_a_negative_ratio_has_no_time(path):
    with pytest.raises(ValueError, match="must be finite"):
        path(VarianceExploding().t_from_noise_to_signal(-1.0))


@pytest.mark.parametrize("t", [0.5, 1e-3, 998.9999, torch.tensor([1.0, 2.5])], ids=str)
def test_times_off_the_grid_are_refused(t):
    with pytest.raises(ValueError, match=r"integer times 0 \.\. 999"):
        DISCRETE(t)


@pytest.mark.parametrize(
    "table",
    [[0.9, 0.9, 0.1], [0.5, 0.9], [1.1, 0.5], [0.9, -0.1], [0.9], [[0.9, 0.5]], [0.9, math.nan, 0.1]],
    ids=["flat", "rising", "above 1", "negative", "one entry", "two axes", "nan"],
)
def test_tables_that_are_no_schedule_are_refused(table):
    with pytest.raises(ValueError, match="one strictly decreasing sequence"):
        Discrete(torch.tensor(table))


def test_the_ends_of_the_allowed_tables():
    path = Discrete(torch.tensor([1.0, 0.5, 0.0]))
    assert path.t_max == 2.0
    assert (float(path(2).alpha), float(path(2).sigma)) == (0.0, 1.0)
    assert path(0) == Level(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))


def test_index_0_of_a_scheduler_is_replaced_by_clean_data():
    assert float(DISCRETE(0).sigma) == 0.0
    assert float(DISCRETE(1).alpha) ** 2 == pytest.approx((1 - 1e-4) * (1 - 1e-4 - 0.0199 / 999), rel=1e-15)


@pytest.mark.parametrize("t_max", [0.0, -1.0, math.inf, math.nan], ids=str)
def test_the_end_of_ve_is_positive_and_finite(t_max):
    with pytest.raises(ValueError, match="t_max must be positive and finite"):
        VarianceExploding(t_max)


def test_the_end_of_ve_can_be_small():
    assert VarianceExploding(0.5).t_max == 0.5
    assert VarianceExploding().t_max >= 1e4


@pytest.mark.parametrize("rates", [(0.0, 20.0), (-1.0, 1.0), (2.0, 1.0), (0.1, math.inf), (math.nan, 1.0)], ids=str)
def test_rates_of_vp_that_are_not_rates_are_refused(rates):
    with pytest.raises(ValueError, match="0 < beta_min <= beta_max < inf"):
        VariancePreserving(*rates)


def test_a_constant_rate_is_allowed():
    path = VariancePreserving(2.0, 2.0)
    assert float(path(0.5).alpha) == pytest.approx(math.exp(-0.5), rel=1e-15)
    assert float(path.t_from_log_snr(path.log_snr(0.5))) == pytest.approx(0.5, rel=1e-14)


@EVERY_PATH
@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3)])
def test_inverses_have_the_shape_of_what_they_are_given(path, shape):
    times = sample_times(path, *shape)
    back = path.t_from_log_snr(path.log_snr(times))
    assert back.shape == shape
    assert torch.allclose(back, times, rtol=1e-9, atol=0)
    assert torch.allclose(path.t_from_noise_to_signal(path.noise_to_signal(times)), times, rtol=1e-9, atol=0)


@EVERY_PATH
def test_infinite_log_snr_is_clean_data(path):
    assert float(path.t_from_log_snr(math.inf)) == 0.0
    assert float(path.t_from_noise_to_signal(0.0)) == 0.0
    assert float(path.log_snr(0.0)) == math.inf


def test_expand_gives_levels_trailing_axes_and_the_type_of_the_data():
    images = normal(5, 3, 2, 2, dtype=torch.bfloat16)
    assert expand(torch.tensor(2.0), images).shape == (1, 1, 1, 1)
    assert expand(torch.ones(5), images).shape == (5, 1, 1, 1)
    assert expand(torch.ones(1), images).shape == (1, 1, 1, 1)
    assert expand(torch.ones(5, dtype=torch.float64), images).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(3,), (5, 1), (2, 2)])
def test_levels_for_another_batch_are_refused(shape):
    with pytest.raises(ValueError, match="one for each of the 5 samples"):
        expand(torch.ones(shape), normal(5, 3))


@pytest.mark.parametrize("shape", [(3,), (1, 3), (5, 1), (4, 3), (5, 3, 1)])
def test_noise_of_another_shape_is_refused(shape):
    path = VarianceExploding()
    step = transition(at_n=path(0.1), at_t=path(0.2))
    for apply in (path(0.1).apply, step.apply):
        with pytest.raises(ValueError, match=r"noise must be shaped as the data, \(5, 3\); got"):
            apply(normal(5, 3), normal(*shape))


@pytest.mark.parametrize("shape", [(1, 3), (5, 3), (5, 3, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@EVERY_PATH
def test_noising_keeps_shape_and_type(path, shape, dtype):
    x, noise = normal(*shape, dtype=dtype), normal(*shape, step=1, dtype=dtype)
    single, each = path(1), path(torch.ones(shape[0]))
    assert single.apply(x, noise).dtype == dtype
    assert torch.equal(single.apply(x, noise), each.apply(x, noise))
    step = transition(at_n=path(0), at_t=single)
    assert torch.equal(step.apply(x, noise), single.apply(x, noise))  # from clean data, a transition is the level itself


@EVERY_PATH
def test_a_level_below_the_data_level_is_refused_for_any_sample(path):
    t_n = sample_times(path, 4)
    less = t_n.clone()
    less[2] = t_n[1]
    assert torch.equal(transition(at_n=path(t_n), at_t=path(t_n)).q, torch.zeros(4, dtype=torch.float64))
    with pytest.raises(ValueError, match="t is less noisy than t_n"):
        transition(at_n=path(t_n), at_t=path(less))


def test_no_signal_is_the_last_of_whole_times():
    for table, last in ((torch.linspace(1, 0, 5), 4), (torch.linspace(1, 0.1, 5), 4)):
        path = Discrete(table)
        assert path.t_from_log_snr(torch.tensor([-math.inf, -1e9, math.inf])).tolist() == [last, 3 if table[-1] == 0 else 4, 0]
        assert path.t_from_noise_to_signal(math.inf) == last
        with pytest.raises(ValueError, match="NaN stands in 1 of 2 places"):
            path.t_from_log_snr(torch.tensor([0.0, math.nan]))


def test_pure_noise_teaches_nothing():
    path = RectifiedFlow()
    with pytest.raises(ValueError, match="holds no signal"):
        transition(at_n=path(torch.tensor([0.5, 1.0])), at_t=path(1.0))
    assert float(transition(at_n=path(0.5), at_t=path(1.0)).ratio) == 0.0
