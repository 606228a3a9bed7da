"""Sec. 4.2: the levels of SDXL's schedule at the times the paper names, from its betas and from diffusers' scheduler."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ambient.paths import Discrete
from theory_checks.scorecard import Statement

SDXL = Statement("Sec. 4.2", "SDXL at t = 100, 500, 800, 900 has sigma = .3252, .8507, .9814, .9929")
LEVELS = {100: 0.3252, 500: 0.8507, 800: 0.9814, 900: 0.9929}
FIRST, LAST, COUNT = 0.00085, 0.012, 1000  # the betas in SDXL's scheduler configuration


def scaled_linear(count: int = COUNT) -> Tensor:
    """alphas_cumprod of betas whose square roots are evenly spaced."""
    return Discrete.scaled_linear(count=count).alphas_cumprod


def levels(alphas_cumprod: Tensor, shift: int = 0, power: int = 1) -> tuple[float, float]:
    """Against the four decimals given: half a unit of the last."""
    path = Discrete(alphas_cumprod)
    return max(abs(float(path(t + shift).sigma ** power) - sigma) for t, sigma in LEVELS.items()), 0.5e-4


def test_levels_from_the_betas():
    SDXL.holds(*levels(scaled_linear()))


def test_levels_from_diffusers():
    """diffusers multiplies a thousand float32 numbers: 1000 eps, and alpha and sigma are as accurate as that over sigma^2."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(beta_start=FIRST, beta_end=LAST, beta_schedule="scaled_linear", num_train_timesteps=COUNT)
    SDXL.holds(*levels(scheduler.alphas_cumprod))
    times = torch.arange(1, COUNT)
    ours, theirs = Discrete(scaled_linear())(times), Discrete(scheduler.alphas_cumprod)(times)
    tolerance = COUNT * torch.finfo(torch.float32).eps / ours.sigma**2
    assert bool(((ours.sigma / theirs.sigma - 1).abs() <= tolerance).all())
    assert bool(((ours.alpha / theirs.alpha - 1).abs() <= tolerance).all())


def test_noise_added_by_diffusers_is_our_path():
    """`add_noise` in float64 against `Level.apply`, at every time of `Discrete`, which does not use the scheduler's index 0."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(beta_start=FIRST, beta_end=LAST, beta_schedule="scaled_linear", num_train_timesteps=COUNT)
    scheduler.alphas_cumprod = scaled_linear()
    times = torch.arange(1, COUNT)
    x_0, noise = (
        torch.linspace(-1, 1, COUNT - 1, dtype=torch.float64)[:, None],
        torch.linspace(2, -2, COUNT - 1)[:, None].double(),
    )
    ours = Discrete(scheduler.alphas_cumprod)(times).apply(x_0, noise)
    torch.testing.assert_close(scheduler.add_noise(x_0, noise, times), ours, rtol=1e-14, atol=1e-14)


MUTANTS = {
    "betas evenly spaced": lambda: levels((1 - torch.linspace(FIRST, LAST, COUNT, dtype=torch.float64)).cumprod(0)),
    "t counted from one": lambda: levels(scaled_linear(), shift=-1),
    "variance for deviation": lambda: levels(scaled_linear(), power=2),
    "1100 steps": lambda: levels(scaled_linear(1100)),
    "square root of alphas_cumprod": lambda: levels(scaled_linear().sqrt()),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_levels_reject(name):
    SDXL.rejects(name, *MUTANTS[name]())
