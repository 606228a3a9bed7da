"""Denoisers: any network in one calling convention, exact on clean data, with levels in float64 down to the network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ambient.denoisers import X_0_FROM, GradientField, NetworkDenoiser, Preconditioned, gaussian_mmse, scalar_skip
from ambient.paths import VarianceExploding
from tests.ambient.doubles import DISCRETE, PATHS, Recorder, normal

VE = VarianceExploding()
TIMES = [0.5, 1, torch.tensor(0.5), torch.full((4,), 0.5), torch.tensor([0.0, 0.1, 0.5, 0.9], dtype=torch.float64)]


def both(network, path=VE):
    yield NetworkDenoiser(network, path, "x_0")
    yield Preconditioned(network, path, data_std=0.5)


@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 3, 3)], ids=str)
@pytest.mark.parametrize("t", TIMES, ids=str)
def test_networks_are_given_one_time_a_sample(shape, t):
    network = Recorder()
    for denoiser in both(network):
        assert denoiser(normal(*shape), t).shape == shape
        _, seen, _ = network.calls[-1]
        assert seen.shape == (4,)
    assert network.calls[0][1].dtype == torch.float64
    assert torch.equal(network.calls[0][1], torch.as_tensor(t, dtype=torch.float64).expand(4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("prediction", X_0_FROM)
def test_the_type_of_the_data_is_kept(dtype, prediction):
    network, x = Recorder(), normal(4, 3, dtype=dtype)
    assert NetworkDenoiser(network, VE, prediction)(x, 0.5).dtype == dtype
    preconditioned = Preconditioned(network, VE, data_std=0.5)
    assert preconditioned(x, 0.5).dtype == dtype
    seen_x, c_noise, _ = network.calls[-1]
    assert seen_x.dtype == c_noise.dtype == dtype


@pytest.mark.parametrize("prediction", X_0_FROM)
def test_layout_of_the_data_does_not_matter(prediction):
    x = normal(4, 2, 3, 5)
    strange = x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    assert torch.equal(*(NetworkDenoiser(Recorder(), VE, prediction)(each, 0.5) for each in (x, strange)))


def test_conditions_reach_the_network():
    network, condition = Recorder(), {"shift": torch.ones(4)}
    for denoiser in both(network):
        denoiser(normal(4, 3), 0.5, condition)
        assert network.calls[-1][2] is condition


@pytest.mark.parametrize("t", [-0.1, math.nan, math.inf, 2e4], ids=str)
def test_times_that_are_none_are_refused(t):
    for denoiser in both(Recorder()):
        with pytest.raises(ValueError, match="times must be finite"):
            denoiser(normal(4, 3), t)


def test_times_off_the_grid_are_refused():
    for denoiser in both(Recorder(), DISCRETE):
        with pytest.raises(ValueError, match="integer times"):
            denoiser(normal(4, 3), 0.5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "x0", ""])
def test_unknown_predictions_are_refused(prediction):
    with pytest.raises(ValueError, match="prediction must be one of eps, v, flow, x_0; got"):
        NetworkDenoiser(Recorder(), VE, prediction)


@pytest.mark.parametrize("data_std", [0.0, -1.0, math.inf, math.nan], ids=str)
def test_spreads_that_are_none_are_refused(data_std):
    with pytest.raises(ValueError, match="data_std must be positive and finite; got"):
        Preconditioned(Recorder(), VE, data_std=data_std)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_clean_data_is_left_alone_to_the_bit_whatever_the_network_says(path):
    x = normal(4, 3, dtype=torch.float32)
    assert torch.equal(Preconditioned(lambda *_: 1e6 * x, path, data_std=0.5)(x, 0), x)


def test_a_network_that_says_nothing_leaves_the_skip():
    x, levels = normal(4, 3), torch.tensor([0.0, 0.1, 0.5, 3.0], dtype=torch.float64)
    silent = Preconditioned(lambda x, *_: torch.zeros_like(x), VE, data_std=0.5)
    assert torch.equal(silent(x, levels), scalar_skip(0.5)(x, VE(levels)))
    own = Preconditioned(lambda x, *_: torch.zeros_like(x), VE, data_std=0.5, skip=lambda x, at: 7 * x)
    assert torch.equal(own(x, levels), 7 * x)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_mean_shifts_the_data(path):
    """h(x) = m + h_0(x - alpha m), h_0 without a mean; on clean data x. Some 8 roundings of numbers below 10."""
    mean, t = normal(2, 3), 300.0 if path is DISCRETE else 0.4
    x = normal(4, 2, 3, step=1)
    network = Recorder()
    shifted = Preconditioned(network, path, data_std=0.5, mean=mean)
    centred = Preconditioned(network, path, data_std=0.5)
    expected = mean + centred(x - path(t).alpha * mean, t)
    assert torch.allclose(shifted(x, t), expected, rtol=0, atol=8 * 10 * 2.3e-16)
    assert not torch.allclose(centred(x, t), expected, rtol=0, atol=1e-2)
    assert torch.allclose(shifted(x, 0), x, rtol=0, atol=8 * 10 * 2.3e-16)


def test_a_mean_leaves_a_skip_of_ones_own_alone():
    network, mean, x = Recorder(), torch.full((3,), 2.0, dtype=torch.float64), normal(4, 3)
    own = Preconditioned(lambda x, *_: torch.zeros_like(x), VE, data_std=0.5, mean=mean, skip=lambda x, at: 7 * x)
    assert torch.equal(own(x, 0.5), 7 * x)
    Preconditioned(network, VE, data_std=0.5, mean=mean)(x, 0.5)
    assert torch.allclose(network.calls[-1][0], (x - 2) * (0.5**2 + 0.5**2) ** -0.5, rtol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_mean_takes_the_type_of_the_data_and_is_no_weight(dtype):
    network = Recorder()
    denoiser = Preconditioned(network, VE, data_std=0.5, mean=torch.ones(3))
    assert denoiser(normal(4, 3, dtype=dtype), 0.5).dtype == dtype
    assert network.calls[-1][0].dtype == dtype
    assert set(denoiser.state_dict()) == {"network.w"}


def test_what_the_network_sees_is_of_unit_variance_and_bounded():
    """Inputs scaled by c_in for data of variance .25; the level's feature stays within [-8, 8] from no noise to no signal."""
    network = Recorder()
    denoiser = Preconditioned(network, PATHS["flow"], data_std=0.5)
    denoiser(torch.ones(3, 1, dtype=torch.float64), torch.tensor([0.0, 0.6, 1.0]))
    x, c_noise, _ = network.calls[-1]
    assert x[:, 0].tolist() == pytest.approx([1 / 0.5, (0.4**2 * 0.25 + 0.6**2) ** -0.5, 1.0], rel=1e-7)
    assert c_noise.tolist() == pytest.approx([-8.0, math.log(0.6 / (0.4 * 0.5)), 8.0], rel=1e-6)


def test_the_prior_variance_has_the_shape_of_the_level():
    assert gaussian_mmse(VE(0.5), 0.5).shape == ()
    found = gaussian_mmse(VE(torch.tensor([0.0, 0.5, 1e4])), 0.5)
    assert found.tolist() == pytest.approx([0.0, 0.125, 0.25], rel=1e-8)


def test_gradients_reach_the_weights_of_the_network():
    for denoiser in both(Recorder()):
        denoiser(normal(4, 3), 0.5).square().sum().backward()
        assert float(denoiser.network.w.grad.abs()) > 0
        assert set(denoiser.state_dict()) == {"network.w"}


def test_a_gradient_field_is_a_gradient_and_trains():
    """Of phi = w sum x^4 / 4 + x . shift: w x^3 + shift."""

    class Potential(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

        def forward(self, x, c_noise, condition):
            return self.w * x.pow(4).sum(1) / 4 + (x * condition).sum(1) + c_noise

    field, x, shift = GradientField(Potential()), normal(4, 3), normal(4, 3, step=1)
    assert torch.allclose(field(x, torch.zeros(4), shift), 2 * x**3 + shift, rtol=1e-14)
    field(x, torch.zeros(4), shift).sum().backward()
    assert float(field.potential.w.grad) == pytest.approx(float(x.pow(3).sum()), rel=1e-12)
