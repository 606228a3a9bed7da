"""The losses as functions: (B,) out, any time and data shape in, samples apart, noise from outside, conditions passed on."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from ambient import losses
from ambient.kernels import KERNELS, ancestral
from ambient.paths import Level, VarianceExploding
from tests.ambient.doubles import DISCRETE, LOSSES, PATHS, Recorder, normal

EVERY_LOSS = pytest.mark.parametrize("name", LOSSES)
SHAPES = [(1, 3), (5, 3), (1, 2, 4, 4), (5, 2, 2, 2)]
VE = VarianceExploding()


def evaluate(name, x, *, path=VE, t_n=0.25, t=0.5, denoiser=None, condition=None):
    noise = normal(*x.shape, step=9, dtype=x.dtype)
    value = LOSSES[name](denoiser or Recorder(), x, noise, path=path, t_n=t_n, t=t, condition=condition)
    return value if denoiser else value.detach()


@EVERY_LOSS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_number_a_sample_for_every_form_of_time(name, shape):
    """The forms of a time are the same time: equal to the last bit."""
    x = normal(*shape)
    by_float = evaluate(name, x)
    assert by_float.shape == shape[:1]
    assert bool(by_float.isfinite().all())
    for form in (lambda t: torch.tensor(t, dtype=torch.float64), lambda t: torch.full(shape[:1], t, dtype=torch.float64)):
        assert torch.equal(evaluate(name, x, t_n=form(0.25), t=form(0.5)), by_float)
    assert torch.equal(evaluate(name, x, t_n=torch.full(shape[:1], 0.25), t=0.5), by_float)


@EVERY_LOSS
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_samples_are_apart(name, path):
    """Sample i of a batch of different levels and conditions is what it is alone: 16 roundings of sums of at most 1e2."""
    x, shift = normal(4, 3), normal(4, step=2)
    t_n = torch.tensor([0.0, 0.2, 0.3, 0.3], dtype=torch.float64)
    t = torch.tensor([0.4, 0.4, 0.8, 0.3000001], dtype=torch.float64)
    if path is DISCRETE:
        t_n, t = (100 * t_n).round(), (100 * t).ceil()
    noise = normal(4, 3, step=9)
    whole = LOSSES[name](Recorder(), x, noise, path=path, t_n=t_n, t=t, condition={"shift": shift}).detach()
    for i in range(4):
        one, at = slice(i, i + 1), {"path": path, "t_n": float(t_n[i]), "t": float(t[i])}
        alone = LOSSES[name](Recorder(), x[one], noise[one], **at, condition={"shift": shift[one]}).detach()
        assert float((alone - whole[one]).abs().max()) <= 16 * 2.3e-16 * 1e2 * max(1.0, float(whole[i].abs()))


@EVERY_LOSS
def test_layout_of_the_data_does_not_matter(name):
    """Equal up to the order of sums over 32 numbers, of at most 1e2."""
    x = normal(5, 2, 4, 4)
    strange = x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    assert not strange.is_contiguous()
    assert float((evaluate(name, strange) - evaluate(name, x)).abs().max()) <= 32 * 2.3e-16 * 1e2


@EVERY_LOSS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_type_of_the_data_is_kept(name, dtype):
    """Within 32 roundings of the largest term: squares of at most 4, 3 of them, times at most 2 c / q < 2."""
    x = normal(5, 3).clamp(-1, 1)
    exact, found = evaluate(name, x), evaluate(name, x.to(dtype))
    assert found.dtype == dtype
    assert float((found.double() - exact).abs().max()) <= 32 * torch.finfo(dtype).eps * 24


@pytest.mark.parametrize("name", ["ambient, x_n", "ambient, eps", "Noisier2Noise"])
def test_close_levels_are_told_apart_in_bfloat16(name):
    """sigma_n = .5 and sigma_t = .5004 are one number in bfloat16; the noise added between them is not lost."""
    denoiser, x = Recorder(), torch.zeros(4, 3, dtype=torch.bfloat16)
    evaluate(name, x, t_n=0.5, t=0.5004, denoiser=denoiser)
    added = (0.5004**2 - 0.5**2) ** 0.5 * normal(4, 3, step=9)
    assert torch.allclose(denoiser.calls[0][0].double(), added, rtol=3 * 2**-8, atol=0)  # three roundings


@EVERY_LOSS
def test_no_random_number_is_drawn_inside(name):
    before = torch.random.get_rng_state()
    first = evaluate(name, normal(5, 3))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first, evaluate(name, normal(5, 3)))


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_random_number_is_drawn_by_the_step(kernel):
    before = torch.random.get_rng_state()
    losses.consistency(Recorder(), normal(5, 3), normal(2, 5, 3), path=VE, t=0.5, s=0.25, kernel=KERNELS[kernel])
    assert torch.equal(before, torch.random.get_rng_state())


@EVERY_LOSS
@pytest.mark.parametrize("t", [0.25, 0.2500001, 0.5])
def test_gradients_are_finite_and_reach_the_network(name, t):
    denoiser = Recorder()
    value = evaluate(name, normal(5, 3), t=t, denoiser=denoiser).sum()
    (gradient,) = torch.autograd.grad(value, denoiser.w)
    assert bool(value.isfinite())
    assert bool(gradient.isfinite())
    still = t == 0.25 and name in ("ambient, x_n", "ambient, eps", "consistency", "antithetic consistency")
    assert (float(gradient) == 0) == still  # at t = t_n these say nothing of h, by their weight


@EVERY_LOSS
def test_gradients_reach_a_step_too(name):
    """The gradient in w of the whole loss is its difference quotient: nothing is detached on the way."""
    x, e = normal(3, 2), 1e-5

    def at(w):
        denoiser = Recorder()
        denoiser.w.data.fill_(w)
        value = evaluate(name, x, denoiser=denoiser).sum()
        return float(value), float(torch.autograd.grad(value, denoiser.w)[0])

    slope = (at(0.7 + e)[0] - at(0.7 - e)[0]) / (2 * e)
    assert at(0.7)[1] == pytest.approx(slope, rel=1e-6, abs=1e-6)  # e^2 times a third derivative of at most 1e3


class Named(NamedTuple):
    """A condition of two parts."""

    first: torch.Tensor
    second: torch.Tensor


@EVERY_LOSS
def test_conditions_go_with_their_samples(name):
    """What the denoiser is given has one entry for every sample it is given, also inside lists, and scalars stay scalars."""
    denoiser = Recorder()
    condition = {"shift": normal(5), "size": [torch.arange(5), "wide", torch.tensor(3.0)], "pair": (torch.arange(5), None)}
    condition["named"] = Named(torch.arange(5), torch.arange(5))
    evaluate(name, normal(5, 3), denoiser=denoiser, condition=condition)
    assert denoiser.calls
    for x_t, t, given in denoiser.calls:
        copies = len(x_t) // 5
        assert torch.as_tensor(t).shape in ((), x_t.shape[:1])
        assert torch.equal(given["shift"], condition["shift"].repeat(copies))
        assert torch.equal(given["size"][0], torch.arange(5).repeat(copies))
        assert given["size"][1:] == ["wide", torch.tensor(3.0)]
        assert isinstance(given["named"], Named)
        assert torch.equal(given["named"].second, torch.arange(5).repeat(copies))
        assert isinstance(given["pair"], tuple)
        assert torch.equal(given["pair"][0], torch.arange(5).repeat(copies))
        assert given["pair"][1] is None


def test_conditions_are_not_needed():
    denoiser = Recorder()
    evaluate("antithetic ambient", normal(5, 3), denoiser=denoiser)
    assert all(condition is None for _, _, condition in denoiser.calls)


@pytest.mark.parametrize("name", ["ambient, x_n", "ambient, eps", "ambient, x_0", "antithetic ambient", "Noisier2Noise"])
@pytest.mark.parametrize("t", [0.1, 0.2499, torch.tensor([0.5, 0.5, 0.2, 0.5, 0.5])], ids=str)
def test_a_level_below_the_data_level_is_refused(name, t):
    with pytest.raises(ValueError, match="t is less noisy than t_n"):
        evaluate(name, normal(5, 3), t=t)


@pytest.mark.parametrize("name", ["consistency", "antithetic consistency"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_step_towards_more_noise_is_refused(name, kernel):
    with pytest.raises(ValueError, match="less noisy"):
        losses.consistency(Recorder(), normal(5, 3), normal(2, 5, 3), path=VE, t=0.2, s=0.25, kernel=KERNELS[kernel])


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "denoising"])  # it has no t_n
@pytest.mark.parametrize(
    ("t_n", "message"), [(-0.1, "finite"), (float("nan"), "finite"), (torch.full((4,), 0.25), "(5|10) samples")], ids=str
)
def test_levels_that_are_none_are_refused(name, t_n, message):
    with pytest.raises(ValueError, match=message):
        evaluate(name, normal(5, 3), t_n=t_n)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("SURE", "consistency", "antithetic consistency")])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 3)])
def test_noise_of_another_shape_is_refused(name, shape):
    with pytest.raises(ValueError, match=r"noise must be shaped as the data, \(.*, 3\); got"):
        LOSSES[name](Recorder(), normal(5, 3), normal(*shape), path=VE, t_n=0.25, t=0.5)


@pytest.mark.parametrize("shape", [(1, 5, 3), (2, 4, 3), (2, 5), (5, 3)])
def test_consistency_needs_two_draws_for_each_sample(shape):
    with pytest.raises(ValueError, match=r"noise must be \(k, 5, 3\) with k >= 2; got"):
        losses.consistency(Recorder(), normal(5, 3), normal(*shape), path=VE, t=0.5, s=0.25, kernel=ancestral)


@pytest.mark.parametrize("space", ["x0", "", "e", "f", "x_m", "x_z"])
def test_unknown_spaces_are_refused(space):
    with pytest.raises(ValueError, match="space must be 'x_n', 'eps' or 'x_0'; got"):
        losses.ambient(Recorder(), normal(5, 3), normal(5, 3), path=VE, t_n=0.1, t=0.2, space=space)


def test_unsaid_the_paper_is_meant():
    """The x_n space, and a plain pair."""
    x, noise = normal(5, 3), normal(2, 5, 3, step=1)
    options = {"path": VE, "t_n": 0.25, "t": 0.5}
    unsaid, said = (losses.ambient(Recorder(), x, noise[0], **options, **how) for how in ({}, {"space": "x_n"}))
    assert torch.equal(unsaid, said)
    options = {"path": VE, "t": 0.5, "s": 0.25, "kernel": ancestral}
    unsaid, said, other = (
        losses.consistency(Recorder(), x, noise, **options, **how) for how in ({}, {"antithetic": False}, {"antithetic": True})
    )
    assert torch.equal(unsaid, said)
    assert not torch.equal(unsaid, other)


def test_a_difference_tends_to_the_jacobian_product_probe_by_probe():
    """Not on average over probes alone: the error for this probe is of first order in the step, below e |h''| |Z|^3 < 30 e."""
    x, probe, e = normal(5, 3), normal(5, 3, step=1), 1e-6
    exact, found = (losses.sure(Recorder(), x, probe, path=VE, t_n=0.25, difference_step=step) for step in (None, e))
    assert float((exact - found).detach().abs().max()) < 2 * 0.25**2 * 30 * e


@pytest.mark.parametrize("step", [0, 0.0, float("nan"), float("inf"), -float("inf")])
def test_a_difference_over_no_step_is_refused(step):
    with pytest.raises(ValueError, match=f"difference_step must be finite and not 0; got {step}"):
        losses.sure(Recorder(), normal(5, 3), normal(5, 3), path=VE, t_n=0.25, difference_step=step)


@pytest.mark.parametrize("prediction", ["score", "", "f", "z", "x"])
def test_unknown_predictions_are_refused(prediction):
    with pytest.raises(ValueError, match="prediction must be 'eps', 'v', 'flow' or 'x_0'; got"):
        losses.min_snr_weight(VE(0.5), prediction=prediction)


@pytest.mark.parametrize("prediction", ["eps", "v", "flow", "x_0"])
def test_min_snr_weights_are_finite_at_both_ends(prediction):
    """No noise and no signal."""
    ends = Level(torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64))
    weights = losses.min_snr_weight(ends, prediction=prediction)
    assert weights.shape == (2,)
    assert bool(weights.isfinite().all())
