"""Def. 3.3 and Thm 3.4: consistency is a property of h along the reverse process of h itself.

In the variables y = x / alpha and v = sigma^2 / alpha^2 every path is variance exploding, and h = g(y, v) is consistent with its
own process if and only if it solves

    dg/dlog v = (v / 2) Lap g + (dg/dy) (g - y)

(Ito's formula for a martingale, backwards in v). The right side is the generator applied to g, the drift being g's own.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient.denoisers import Denoiser
from ambient.paths import Path
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import EPS
from theory_checks.scorecard import Statement
from theory_checks.strategies import EXAMPLES, floats, mixtures, paths, points, time_at
from theory_checks.test_main_theorem import bend, bent, noise_to_signal

GENERATOR = Statement(
    "Thm 3.4, own process", "true denoisers of any world and constants are consistent; a bend leaves a known residual"
)


def generator_residual(h: Denoiser, driver: Denoiser, path: Path, t: float, x: Tensor) -> Tensor:
    """dg/dlog v - (v/2) Lap g - (dg/dy)(k - y), (B, D), where the driver k moves the process."""
    time = torch.tensor(t, dtype=torch.float64)

    def g(y: Tensor, time: Tensor) -> Tensor:
        return h(path(time).alpha * y, time)

    y = x / path(t).alpha
    v, v_slope = torch.func.jvp(lambda time: noise_to_signal(path, time), (time,), (torch.ones_like(time),))
    _, in_time = torch.func.jvp(lambda time: g(y, time), (time,), (torch.ones_like(time),))
    _, along_drift = torch.func.jvp(lambda y: g(y, time), (y,), (driver(x, t) - y,))
    laplacian = torch.zeros_like(y)
    for direction in torch.eye(y.shape[1], dtype=torch.float64):
        e = direction.expand_as(y)
        laplacian += torch.func.jvp(lambda y, e=e: torch.func.jvp(lambda z: g(z, time), (y,), (e,))[1], (y,), (e,))[1]
    return in_time * v / v_slope - v / 2 * laplacian - along_drift


def generator_discrepancy(
    h: Denoiser, claimed: Tensor | float, path: Path, t: float, x: Tensor, driver: Denoiser | None = None
) -> tuple[float, float]:
    """Rounding: posterior weights are exponentials of numbers below 1e3, and a derivative brings in up to 1 / .3: 1e4 eps."""
    residual = generator_residual(h, driver or h, path, t, x)
    return float((residual - claimed).abs().max()), 1e4 * EPS * (1 + float(x.abs().max() / path(t).alpha))


@given(st.data(), mixtures(), paths(), floats(0.1, 2.0))
def test_any_true_denoiser_is_consistent_with_its_own_process(data, world, path, ratio):
    t = time_at(path, ratio)
    GENERATOR.holds(*generator_discrepancy(world.denoiser(path), 0.0, path, t, data.draw(points(world, path(t)))))


@given(st.data(), mixtures(), paths(), floats(0.1, 2.0))
def test_a_constant_is_consistent_and_violates_a1(data, world, path, ratio):
    t = time_at(path, ratio)
    x = data.draw(points(world, path(t)))

    def constant(x: Tensor, t: Any, condition: Any = None) -> Tensor:
        return world.means[:1].expand_as(x)

    GENERATOR.holds(*generator_discrepancy(constant, 0.0, path, t, x))
    assert not torch.equal(constant(world.means[:1] + 1, 0.0), world.means[:1] + 1)


@given(st.data(), mixtures(), paths(), floats(0.1, 0.9))
def test_a_bend_below_n_leaves_the_predicted_residual(data, world, path, ratio):
    """dw/dlog v e - w (dg/dy) e, linear in the bend; dg/dy = Cov(X_0 | X_t) / v."""
    t, v = time_at(path, ratio), torch.tensor(ratio**2, dtype=torch.float64)
    x, w = data.draw(points(world, path(t))), bend(path, time_at(path, 1.0), 3.0)
    direction = torch.ones(x.shape[1], dtype=torch.float64)
    slope = torch.func.grad(w)(v) * v
    claimed = slope * direction - w(v) / v * world.posterior_covariance(x, path(t)) @ direction
    GENERATOR.holds(*generator_discrepancy(bent(world.denoiser(path), path, w, direction), claimed, path, t, x))


def generator_mutant(name: str, world: GaussianMixture, path: Path, t_n: float) -> tuple[Denoiser, Denoiser | None]:
    """(h, the driver if it is not h), claimed to be consistent."""
    h = world.denoiser(path)
    other = GaussianMixture(world.weights, 0.7 * world.means, world.covariances)
    wiener = GaussianMixture(torch.ones(1, dtype=torch.float64), *(moment[None] for moment in world.moments()))
    return {
        "another world's denoiser on the true process": (other.denoiser(path), h),
        "the Wiener filter on the true process": (wiener.denoiser(path), h),
        "a bend below n": (bent(h, path, bend(path, t_n), torch.ones(world.means.shape[1], dtype=torch.float64)), None),
        "the true denoiser scaled by 1.05": (lambda x, t, condition=None: 1.05 * h(x, t), None),
        "half the score (probability flow)": (h, lambda x, t, condition=None: (h(x, t) + x / path(t).alpha) / 2),
    }[name]


@pytest.mark.parametrize(
    "mutant",
    [
        "another world's denoiser on the true process",
        "the Wiener filter on the true process",
        "a bend below n",
        "the true denoiser scaled by 1.05",
        "half the score (probability flow)",
    ],
)
def test_generator_mutants(mutant):
    for _, world, path, _, t_n in EXAMPLES:
        t = time_at(path, 0.35)
        x = path(t).apply(world.means, torch.full_like(world.means, 0.4))
        h, driver = generator_mutant(mutant, world, path, t_n)
        GENERATOR.rejects(mutant, *generator_discrepancy(h, 0.0, path, t, x, driver))
