"""The loss of a micro-batch: the functions of `ambient`, no evaluation made twice, and draws that no batch size changes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from ambient import kernels, losses
from ambient.denoisers import NetworkDenoiser
from ambient.paths import transition
from ambient.randomness import generator
from sdxl.train.objective import Objective, has_pair, order

SHAPE = torch.Size((2, 3, 3))
B = 5


class Counting:
    """A smooth denoiser that counts the samples it is asked for."""

    def __init__(self, path):
        self.asked = 0
        self.inner = NetworkDenoiser(lambda x, t, c: torch.tanh(x + 0.001 * t.reshape(-1, 1, 1, 1).to(x)) + c["add"], path, "eps")

    def __call__(self, x_t, t, condition=None):
        self.asked += len(x_t)
        return self.inner(x_t, t, condition)


@pytest.fixture
def path(tiny_base):
    return tiny_base.path()


def batch(path, t_n=500.0):
    source = generator(0, "objective")
    x_n = torch.randn(B, *SHAPE, generator=source)
    return x_n, torch.full((B,), t_n, dtype=torch.float64), {"add": 0.1 * torch.randn(B, 1, 1, 1, generator=source)}


def drawn(objective, t_n, with_pair=(True,) * B, first=0):
    return objective.draw(t_n, list(with_pair), SHAPE, seed=0, numbers=list(range(first, first + len(with_pair))))


@pytest.mark.parametrize("ambient", [1, 2])
@pytest.mark.parametrize(("antithetic", "below", "each"), [(False, 0.0, 2), (True, 0.0, 4), (False, 1.0, 3), (True, 1.0, 5)])
def test_no_evaluation_is_made_twice(path, antithetic, below, each, ambient):
    objective = Objective(path, antithetic=antithetic, below=below, antithetic_ambient=ambient == 2)
    x_n, t_n, condition = batch(path)
    h = Counting(path)
    objective(h, x_n, t_n, condition, drawn(objective, t_n))
    assert h.asked == (ambient + each) * B


def test_only_images_that_pay_cost_more(path):
    objective, (x_n, t_n, condition) = Objective(path, below=0.0), batch(path)
    h = Counting(path)
    parts = objective(h, x_n, t_n, condition, drawn(objective, t_n, (True, False, False, True, False)))
    assert h.asked == B + 2 * 2
    assert (parts.ambient.shape, parts.consistency.shape) == ((B,), (2,))


@pytest.mark.parametrize("space", ["eps", "x_n"])
@pytest.mark.parametrize("antithetic", [False, True])
def test_it_is_the_losses_of_ambient_to_the_bit(path, space, antithetic):
    """The same numbers as from functions that evaluate h themselves."""
    objective = Objective(path, space=space, antithetic=antithetic, below=0.0, kernel="euler-maruyama")
    x_n, t_n, condition = batch(path)
    draws, h = drawn(objective, t_n), Counting(path)
    parts = objective(h, x_n, t_n, condition, draws)
    size = x_n[0].numel()
    ambient = losses.ambient(h, x_n, draws.noise, path=path, t_n=t_n, t=draws.t, space=space, condition=condition) / size
    assert torch.equal(parts.ambient, ambient)
    x_t = transition(at_n=path(t_n), at_t=path(draws.t)).apply(x_n, draws.noise)
    options = {"path": path, "t": draws.t, "s": draws.end, "kernel": kernels.euler_maruyama, "antithetic": antithetic}
    plain = losses.consistency(h, x_t, draws.pair, condition=condition, **options) / size
    at_t = path(draws.t)
    unit = (at_t.alpha / at_t.sigma) ** 2 if space == "eps" else torch.ones(B)
    assert torch.allclose(parts.consistency, plain * unit.float(), rtol=1e-5)


@pytest.mark.parametrize("space", ["eps", "x_n"])
def test_the_antithetic_ambient_loss_has_the_units_of_a_pair(path, space):
    objective, (x_n, t_n, condition) = Objective(path, space=space, antithetic_ambient=True, below=0.0), batch(path)
    draws, h = drawn(objective, t_n), Counting(path)
    parts = objective(h, x_n, t_n, condition, draws)
    plain = losses.antithetic_ambient(h, x_n, draws.noise, path=path, t_n=t_n, t=draws.t, condition=condition)
    at_t = path(draws.t)
    unit = (at_t.alpha / at_t.sigma) ** 2 if space == "eps" else torch.ones(B)
    assert torch.allclose(parts.ambient, plain * unit.float() / x_n[0].numel(), rtol=1e-5)
    same = Objective(path, space=space, below=0.0)(h, x_n, t_n, condition, draws)
    assert torch.allclose(parts.consistency, same.consistency, rtol=1e-4, atol=1e-6)


def test_pairs_below_start_at_their_level(path):
    objective, (x_n, t_n, condition) = Objective(path, below=1.0, space="x_n"), batch(path)
    draws, h = drawn(objective, t_n), Counting(path)
    assert bool((draws.start <= 500).all())
    x_t = transition(at_n=path(t_n), at_t=path(draws.t)).apply(x_n, draws.noise)
    start = kernels.ddim(h, x_t, path=path, t=draws.t, s=draws.start, condition=condition).mean.detach()
    options = {"path": path, "t": draws.start, "s": draws.end, "kernel": kernels.ancestral, "condition": condition}
    expected = losses.consistency(h, start, draws.pair, **options) / x_n[0].numel()
    assert torch.allclose(objective(h, x_n, t_n, condition, draws).consistency, expected, rtol=1e-4, atol=1e-6)


def test_on_clean_data_it_is_the_usual_noise_prediction_loss(path):
    objective, (x_0, t_n, condition) = Objective(path), batch(path, t_n=0.0)
    draws = drawn(objective, t_n, (False,) * B)
    h = Counting(path)
    eps = h.inner.network(path(draws.t).apply(x_0, draws.noise), draws.t, condition)
    usual = (eps - draws.noise).square().flatten(1).mean(1)
    assert torch.allclose(objective(h, x_0, t_n, condition, draws).ambient, usual, rtol=1e-3)  # over sigma_t >= .03


def test_min_snr_on_clean_data_is_min_snr(path):
    plain, capped = Objective(path), Objective(path, min_snr=5.0)
    x_0, t_n, condition = batch(path, t_n=0.0)
    draws = drawn(plain, t_n, (False,) * B)
    snr = (path(draws.t).alpha / path(draws.t).sigma) ** 2
    found = capped(Counting(path), x_0, t_n, condition, draws).ambient / plain(Counting(path), x_0, t_n, condition, draws).ambient
    assert torch.allclose(found.double(), snr.clamp(max=5) / snr, rtol=1e-5)
    assert float(found.min()) < 1


def test_levels_cover_what_they_should(path):
    """Clean data draws every level; noisy data none below its own; a pair's end lies below its start, by no more than asked."""
    objective, count = Objective(path, largest_step=7, below=0.4), 6000
    small = torch.Size((1,))
    for t_n in (0.0, 500.0):
        draws = objective.draw(torch.full((count,), t_n), [True] * count, small, seed=1, numbers=list(range(count)))
        assert (float(draws.t.min()), float(draws.t.max())) == (max(1.0, t_n), 999.0)
        if t_n == 0:
            assert len(draws.t.unique()) > 990  # each of 999 is missed with probability e^-6: 2.5 expected, 10 five sigma off
        step = draws.start - draws.end
        assert (int(step.min()), int(step.max())) == (1, 7)
        assert float(draws.end.min()) >= 0
        share = float(draws.descends.double().mean())
        assert share == 0 if t_n == 0 else abs(share - 0.4) < 5 * (0.24 / count) ** 0.5
        assert bool((draws.start[~draws.descends] == draws.t[~draws.descends]).all())


def test_draws_depend_on_the_running_number_alone(path):
    objective, t_n = Objective(path), torch.tensor([500.0, 100.0, 0.0, 500.0, 100.0])
    whole = drawn(objective, t_n, (True, False, True, True, False))
    part = objective.draw(t_n[2:], [True, True, False], SHAPE, seed=0, numbers=[2, 3, 4])
    assert torch.equal(whole.noise[2:], part.noise)
    assert torch.equal(whole.t[2:], part.t)
    assert torch.equal(whole.pair[:, 1:], part.pair)
    assert not torch.equal(whole.noise, objective.draw(t_n, [True] * B, SHAPE, seed=1, numbers=list(range(B))).noise)


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.3, 1.0])
def test_those_who_pay_are_spread_evenly(fraction):
    pairs = [has_pair(n, fraction) for n in range(1000)]
    assert sum(pairs) == pytest.approx(1000 * fraction, abs=1)
    gaps = [b - a for a, b in pairwise(n for n, p in enumerate(pairs) if p)]
    assert all(1 / fraction - 1 < gap < 1 / fraction + 1 for gap in gaps)


def test_every_epoch_has_every_image_in_another_order():
    found = order(7, seed=0, numbers=list(range(21)))
    epochs = [found[i : i + 7] for i in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert order(7, seed=0, numbers=[5, 6, 7]) == found[5:8]
    assert order(7, seed=1, numbers=list(range(7))) != epochs[0]
