"""One reverse step: shapes, one evaluation of the denoiser, any number of draws, and what is refused."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from ambient.kernels import KERNELS, Step, matched, matched_trace
from ambient.losses import consistency
from ambient.paths import RectifiedFlow, VarianceExploding
from tests.ambient.doubles import DISCRETE, PATHS, Recorder, normal

VE = VarianceExploding()
STEPS = {**KERNELS, "matched-trace, probe": lambda h, x, **options: matched_trace(h, x, probe=normal(*x.shape).to(x), **options)}
EVERY_STEP = pytest.mark.parametrize("kernel", STEPS.values(), ids=STEPS)


@EVERY_STEP
@pytest.mark.parametrize("shape", [(1, 3), (5, 3), (5, 2, 2, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_shapes_and_types_for_every_form_of_time(kernel, shape, dtype):
    x = normal(*shape, dtype=dtype)
    steps = [
        kernel(Recorder(), x, path=VE, t=form(0.5), s=form(0.25))
        for form in (float, lambda t: torch.tensor(t, dtype=torch.float64), lambda t: torch.full(shape[:1], t))
    ]
    for step in steps:
        assert step.mean.shape == step.x_0_hat.shape == shape
        assert step.mean.dtype == step.std.dtype == dtype
        drawn = step.draw(normal(*shape, step=1, dtype=dtype))
        assert drawn.shape == shape
        assert drawn.dtype == dtype
        assert torch.equal(drawn, steps[0].draw(normal(*shape, step=1, dtype=dtype)))


@pytest.mark.parametrize("kernel", [step for name, step in STEPS.items() if name != "matched-trace, probe"])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_samples_are_apart(kernel, path):
    """Every sample has its own level; alone it takes the same step, up to 8 roundings of numbers of at most 10.

    Through a probe the batch does not change what belongs to a sample either, so it is compared without one.
    """
    x = normal(4, 3)
    t, s = torch.tensor([0.9, 0.5, 0.5, 0.2]), torch.tensor([0.0, 0.4, 0.5, 0.1])
    if path is DISCRETE:
        t, s = (100 * t).round(), (100 * s).round()
    noise = normal(4, 3, step=1)
    whole = kernel(Recorder(), x, path=path, t=t, s=s).draw(noise)
    for i in range(4):
        one = slice(i, i + 1)
        alone = kernel(Recorder(), x[one], path=path, t=t[i], s=s[i]).draw(noise[one])
        assert float((alone - whole[one]).abs().max()) <= 8 * 2.3e-16 * 10


@EVERY_STEP
def test_many_draws_at_once_are_the_single_ones(kernel):
    step, noise = kernel(Recorder(), normal(5, 2, 2), path=VE, t=0.5, s=0.25), normal(3, 7, 5, 2, 2, step=1)
    drawn = step.draw(noise)
    assert drawn.shape == noise.shape
    assert torch.allclose(drawn[2, 6], step.draw(noise[2, 6]), rtol=1e-14)


@EVERY_STEP
def test_the_denoiser_is_evaluated_once_with_the_condition(kernel):
    denoiser, condition = Recorder(), {"shift": normal(5)}
    kernel(denoiser, normal(5, 3), path=VE, t=0.5, s=0.25, condition=condition)
    assert len(denoiser.calls) == 1
    assert denoiser.calls[0][1:] == (0.5, condition)


@EVERY_STEP
@pytest.mark.parametrize("s", [0.51, 2.0, torch.tensor([0.1, 0.1, 0.1, 0.1, 0.6])], ids=str)
def test_steps_towards_more_noise_are_refused(kernel, s):
    with pytest.raises(ValueError, match="less noisy"):
        kernel(Recorder(), normal(5, 3), path=VE, t=0.5, s=s)


@EVERY_STEP
@pytest.mark.parametrize("times", [{"t": -0.5, "s": 0.1}, {"t": 0.5, "s": -0.1}, {"t": float("nan"), "s": 0.1}], ids=str)
def test_times_that_are_none_are_refused(kernel, times):
    with pytest.raises(ValueError, match="times must be finite"):
        kernel(Recorder(), normal(5, 3), path=VE, **times)


@EVERY_STEP
def test_no_step_is_no_step(kernel):
    x = normal(5, 3)
    assert torch.allclose(kernel(Recorder(), x, path=VE, t=0.5, s=0.5).draw(normal(5, 3, step=1)), x, rtol=1e-14)


@EVERY_STEP
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_clean_data_stay_as_they_are(kernel, path):
    """To the bit, whatever the denoiser says; also in a batch with noisy samples, which step as they do alone."""
    x, noise, last = normal(3, 2), normal(3, 2, step=1), 40.0 if path is DISCRETE else 0.4
    whole = kernel(Recorder(), x, path=path, t=0.0, s=0.0)
    assert torch.equal(whole.draw(noise), x)
    levels = {"t": torch.tensor([0.0, 2 * last, 0.0]), "s": torch.tensor([0.0, last, 0.0])}
    mixed = kernel(Recorder(), x, path=path, **levels).draw(noise)
    assert torch.equal(mixed[::2], x[::2])
    assert bool((mixed[1] != x[1]).all())
    assert bool(mixed.isfinite().all())


@EVERY_STEP
def test_clean_data_are_consistent_whatever_the_denoiser(kernel):
    """The step stays where it is, so h is compared with itself; the gradient is finite too."""
    denoiser = Recorder()
    value = consistency(denoiser, normal(5, 3), normal(2, 5, 3, step=1), path=VE, t=0.0, s=0.0, kernel=kernel)
    value.sum().backward()
    assert float(value.detach().abs().max()) == 0
    assert float(denoiser.w.grad) == 0


@EVERY_STEP
def test_the_last_step_ends_at_clean_data(kernel):
    """Deterministic ones at h itself."""
    step = kernel(Recorder(), normal(5, 3), path=VE, t=0.5, s=0.0)
    assert torch.allclose(step.mean, step.x_0_hat, rtol=1e-14)
    if kernel in (KERNELS["ancestral"], KERNELS["ddim"]):
        assert float(step.std.abs().max()) == 0


@EVERY_STEP
def test_gradients_flow_through_the_mean(kernel):
    denoiser = Recorder()
    kernel(denoiser, normal(5, 3), path=VE, t=0.5, s=0.25).mean.sum().backward()
    assert float(denoiser.w.grad.abs()) > 0


@EVERY_STEP
def test_without_gradients_nothing_is_recorded(kernel):
    with torch.no_grad():
        step = kernel(Recorder(), normal(5, 3), path=VE, t=0.5, s=0.25)
    assert not any(value.requires_grad for value in (step.x_0_hat, step.mean, step.std))


@pytest.mark.parametrize("kernel", [matched, matched_trace, partial(matched_trace, probe=normal(5, 3, step=3))])
def test_no_gradient_flows_through_a_matched_covariance(kernel):
    assert not kernel(Recorder(), normal(5, 3), path=VE, t=0.5, s=0.25).std.requires_grad


def test_a_probe_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="noise must be shaped as the data"):
        matched_trace(Recorder(), normal(5, 3), path=VE, t=0.5, s=0.25, probe=normal(5, 1))


def test_negative_variances_are_taken_as_none():
    """A denoiser that says so (h = -x has a negative Jacobian) gives the ancestral step's variance."""
    x, options = normal(5, 3), {"path": VE, "t": 0.5, "s": 0.25}
    bare = KERNELS["ancestral"](lambda x, t, c: -x, x, **options).std
    assert torch.allclose(matched_trace(lambda x, t, c: -x, x, **options).std, bare, rtol=1e-14)
    covariance = matched(lambda x, t, c: -x, x, **options).std
    assert torch.allclose(covariance @ covariance.mT, bare**2 * torch.eye(3, dtype=torch.float64), rtol=1e-13, atol=1e-16)


def test_covariances_need_a_signal():
    for name in ("euler-maruyama", "matched", "matched-trace"):
        with pytest.raises(ValueError, match="no signal is left"):
            KERNELS[name](Recorder(), normal(5, 3), path=RectifiedFlow(), t=1.0, s=0.5)
    for name in ("ancestral", "ddim"):
        step = KERNELS[name](Recorder(), normal(5, 3), path=RectifiedFlow(), t=1.0, s=0.5)
        assert bool(step.mean.isfinite().all())


def test_a_matrix_turns_the_noise_of_each_sample_by_itself():
    turn = torch.tensor([[[0.0, -1.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 3.0]]], dtype=torch.float64)
    step = Step(torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.float64), turn, is_matrix=True)
    drawn = step.draw(torch.tensor([[1.0, 2.0], [1.0, 2.0]], dtype=torch.float64))
    assert drawn.tolist() == [[-2.0, 1.0], [2.0, 6.0]]
