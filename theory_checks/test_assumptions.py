"""(A1) h(x, 0) = x and (A2) (h - x) / s^2 is a gradient field: by construction, for any network; EDM's coefficients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ambient import tweedie
from ambient.denoisers import Denoiser, GradientField, Preconditioned, scalar_skip
from ambient.paths import Level, Path, VarianceExploding
from ambient.randomness import generator
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import EPS
from theory_checks.scorecard import Statement
from theory_checks.strategies import EXAMPLES, floats, mixtures, paths, points, times

CLEAN = Statement("(A1)", "h(x, 0) = x for any network, by construction")
GRADIENT = Statement("(A2)", "the Jacobian of h is symmetric, by construction for a gradient network, and for the true denoiser")
EDM = Statement("EDM preconditioning", "on the VE path h = c_skip x + c_out F(c_in x), Karras et al. 2022, Table 1")


def weights(size: int, seed: int) -> tuple[Tensor, Tensor]:
    return tuple(torch.randn(2, size, size, dtype=torch.float64, generator=generator(seed, "weights")))


def mlp(size: int, seed: int) -> Callable[..., Tensor]:
    """An ordinary network, whose Jacobian is not symmetric."""
    inner, outer = weights(size, seed)
    return lambda x, c, condition=None: torch.tanh(x @ inner + torch.as_tensor(c, dtype=x.dtype).reshape(-1, 1)) @ outer


def potential(size: int, seed: int) -> Callable[..., Tensor]:
    inner, outer = weights(size, seed)
    return lambda x, c, condition=None: (torch.tanh(x @ inner + c[:, None]) @ outer).square().sum(1)


# (A1)


def clean_discrepancy(h: Denoiser, x: Tensor) -> tuple[float, float]:
    """alpha = 1 and sigma = 0 are exact at t = 0 on every path, and s^2 x / s^2 is one multiplication and one division."""
    return float((h(x, 0.0) - x).abs().max()), float(4 * EPS * x.abs().max())


@given(paths(), floats(0.05, 20.0), st.integers(0, 10**6), st.integers(1, 4), floats(0.01, 100.0), st.booleans())
def test_exact_on_clean_data(path, data_std, seed, size, scale, gradient):
    network = GradientField(potential(size, seed)) if gradient else mlp(size, seed)
    x = scale * torch.randn(5, size, dtype=torch.float64, generator=generator(seed, "points"))
    CLEAN.holds(*clean_discrepancy(Preconditioned(network, path, data_std=data_std), x))


@given(st.data(), mixtures(), paths(), st.integers(0, 10**6))
def test_exact_on_clean_data_with_a_world_as_skip(data, world, path, seed):
    x = data.draw(points(world, path(0.0)))
    clean_world = Preconditioned(mlp(x.shape[1], seed), path, data_std=1.0, skip=world.denoise)
    error, _ = clean_discrepancy(clean_world, x)
    CLEAN.holds(error, 100 * EPS * (1 + float(x.abs().max() + world.means.abs().max())))  # rotated into its axes and back


class Blend(nn.Module):
    """c_skip x + c_out F(x) with coefficients of one's choice."""

    def __init__(self, network: Callable[..., Tensor], path: Path, skip: Callable[[Level], Any], out: Callable[[Level], Any]):
        super().__init__()
        self.network, self.path, self.skip, self.out = network, path, skip, out

    def forward(self, x: Tensor, t: float, condition: Any = None) -> Tensor:
        at_t = self.path(t)
        return self.skip(at_t) * x + self.out(at_t) * self.network(x, t, condition)


CLEAN_MUTANTS: dict[str, Callable[[Path], Denoiser]] = {
    "no preconditioning": lambda path: Blend(mlp(2, 1), path, lambda at: 0.0, lambda at: 1.0),
    "a residual network": lambda path: Blend(mlp(2, 1), path, lambda at: 1.0, lambda at: 1.0),
    "c_out without sigma": lambda path: Blend(mlp(2, 1), path, lambda at: 1.0, lambda at: 0.5 * (0.25 + at.sigma**2).rsqrt()),
    "no skip": lambda path: Blend(mlp(2, 1), path, lambda at: 0.0, lambda at: at.sigma),
}


@pytest.mark.parametrize("mutant", CLEAN_MUTANTS)
def test_clean_mutants(mutant):
    x = torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=torch.float64)
    for path in (example.path for example in EXAMPLES[:3]):
        CLEAN.rejects(mutant, *clean_discrepancy(CLEAN_MUTANTS[mutant](path), x))


# (A2)


def gradient_discrepancy(h: Denoiser, path: Path, t: float, x: Tensor) -> tuple[float, float]:
    """The antisymmetric part of d((h - x) / sigma^2)/dx against its size; a few products of matrices of size <= 4: 200 eps."""
    _, jacobian = tweedie.jacobian(lambda y: (h(y, t) - y) / path(t).sigma ** 2, x, create_graph=False)
    return float((jacobian - jacobian.mT).abs().max()), float(200 * EPS * jacobian.abs().max())


def through_preconditioning(network: Callable[..., Tensor], path: Path, **options: Any) -> Denoiser:
    return Preconditioned(network, path, data_std=0.7, **options)


@given(st.data(), paths(), st.integers(0, 10**6), st.integers(2, 4))
def test_gradient_networks_have_a_symmetric_jacobian(data, path, seed, size):
    x = torch.randn(5, size, dtype=torch.float64, generator=generator(seed, "points"))
    h = through_preconditioning(GradientField(potential(size, seed)), path)
    GRADIENT.holds(*gradient_discrepancy(h, path, data.draw(times(path)), x))


@given(st.data(), mixtures(dims=(2, 3)), paths())
def test_the_true_denoiser_has_a_symmetric_jacobian(data, world: GaussianMixture, path):
    t = data.draw(times(path, low=0.2))
    GRADIENT.holds(*gradient_discrepancy(world.denoiser(path), path, t, data.draw(points(world, path(t)))))


def tilted_skip(x: Tensor, at_t: Level) -> Tensor:
    """A linear skip whose matrix is not symmetric, and the identity at sigma = 0."""
    turn = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    return scalar_skip(0.7)(x, at_t) + at_t.sigma * x @ turn


def two_potentials(x: Tensor, c: Tensor, condition: Any = None) -> Tensor:
    """Each coordinate is the derivative of a potential, but not of the same one."""
    first, second = (GradientField(potential(2, seed))(x, c) for seed in (1, 2))
    return torch.stack([first[:, 0], second[:, 1]], 1)


GRADIENT_MUTANTS: dict[str, Callable[[Path], Denoiser]] = {
    "an ordinary network": lambda path: through_preconditioning(mlp(2, 1), path),
    "a gradient network on a skip that is no gradient": lambda path: through_preconditioning(
        GradientField(potential(2, 1)), path, skip=tilted_skip
    ),
    "a potential for each coordinate": lambda path: through_preconditioning(two_potentials, path),
    "a gradient, its coordinates exchanged": lambda path: through_preconditioning(
        lambda x, c, condition=None: GradientField(potential(2, 1))(x, c).flip(1), path
    ),
}


@pytest.mark.parametrize("mutant", GRADIENT_MUTANTS)
def test_gradient_mutants(mutant):
    x = torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=torch.float64)
    for _, _, path, _, t in EXAMPLES[:3]:
        GRADIENT.rejects(mutant, *gradient_discrepancy(GRADIENT_MUTANTS[mutant](path), path, t, x))


# EDM


def edm_discrepancy(coefficients: Callable[[float, float], tuple[float, float, float]], sigma: float, data_std: float, x: Tensor):
    """h for F = sin against the table's coefficients; each is a handful of operations, sin' <= 1: 20 eps of the terms' size."""
    c_skip, c_out, c_in = coefficients(sigma, data_std)
    h = Preconditioned(lambda y, c, condition: torch.sin(y), VarianceExploding(), data_std=data_std)(x, sigma)
    claimed = c_skip * x + c_out * torch.sin(c_in * x)
    return float((h - claimed).abs().max()), float(20 * EPS * (1 + x.abs().max()) * (1 + data_std))


def table(sigma: float, s: float) -> tuple[float, float, float]:
    return s**2 / (sigma**2 + s**2), sigma * s / (sigma**2 + s**2) ** 0.5, 1 / (sigma**2 + s**2) ** 0.5


@given(floats(0.002, 80.0), floats(0.05, 5.0), st.lists(floats(-5.0, 5.0), min_size=4, max_size=4))
def test_edm_preconditioning(sigma, data_std, x):
    EDM.holds(*edm_discrepancy(table, sigma, data_std, torch.tensor(x, dtype=torch.float64).reshape(2, 2)))


EDM_MUTANTS = {
    "c_skip of variance preserving": lambda sigma, s: (s / (sigma**2 + s**2) ** 0.5, *table(sigma, s)[1:]),
    "c_out without the data's deviation": lambda sigma, s: (table(sigma, s)[0], table(sigma, s)[1] / s, table(sigma, s)[2]),
    "c_in of eps prediction with unit data": lambda sigma, s: (*table(sigma, s)[:2], 1 / (sigma**2 + 1) ** 0.5),
    "sigma and the data's deviation exchanged": lambda sigma, s: table(s, sigma),
}


@pytest.mark.parametrize("mutant", EDM_MUTANTS)
def test_edm_mutants(mutant):
    x = torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=torch.float64)
    EDM.rejects(mutant, *edm_discrepancy(EDM_MUTANTS[mutant], 0.35, 0.7, x))
