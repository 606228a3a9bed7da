"""Thm 3.4 / A.6: right above n, and consistent everywhere, is right everywhere; neither is enough alone.

Here everything is Gaussian, so that the objective is exact. Consistency in general: test_own_process.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch import Tensor

from ambient import kernels, losses
from ambient.denoisers import Denoiser
from ambient.kernels import Kernel
from ambient.paths import Path, transition
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import EPS, law_at
from theory_checks.scorecard import Statement, worst
from theory_checks.strategies import EXAMPLES, floats, mixtures, paths, time_at
from theory_checks.waves import hermite_rule, point_and_noise

OBJECTIVE = Statement(
    "Thm 3.4 / A.6", "the objective is 0 at h*, |bend|^2 for a bend below n, h's ambient excess for another world's h"
)
UNIQUE = Statement("Thm 3.4, uniqueness", "Gaussians: the consistent extension of h*(., n) to lower levels is h*")


def noise_to_signal(path: Path, t: Any) -> Tensor:
    """v = sigma^2 / alpha^2, (B,) or ()."""
    return (path(t).sigma / path(t).alpha) ** 2


def bend(path: Path, t_n: float, size: float = 1.0) -> Callable[[Tensor], Tensor]:
    """w(v) = size v (v_n - v)^2 / v_n^3 below n: nothing from n upwards, and nothing at v = 0, as (A1) asks."""
    v_n = noise_to_signal(path, t_n)
    return lambda v: size * v * (v_n - v).clamp_min(0) ** 2 / v_n**3


def bent(h: Denoiser, path: Path, w: Callable[[Tensor], Tensor], direction: Tensor) -> Denoiser:
    """h* + w(v) e."""
    return lambda x, t, condition=None: h(x, t) + w(noise_to_signal(path, t)).reshape(-1, 1) * direction


KERNELS: tuple[Kernel, ...] = (kernels.ancestral, kernels.euler_maruyama, kernels.matched, kernels.matched_trace)


def objective(h: Denoiser, world: GaussianMixture, path: Path, levels: tuple[float, ...], kernel: Kernel) -> Tensor:
    """(ambient excess over h*, consistency) for levels s < t < t_n < t_above. Quadratic in every noise: two nodes are exact."""
    s, t, t_n, t_above = levels
    x_n, noise, weights = point_and_noise(law_at(world, path(t_n)), 2)
    excess = sum(
        sign * weights @ losses.ambient(k, x_n, noise, path=path, t_n=t_n, t=t_above)
        for sign, k in ((1, h), (-1, world.denoiser(path)))
    )
    size = world.means.shape[1]
    x_t, _, chance = point_and_noise(law_at(world, path(t)), 2)
    z, z_chance = hermite_rule(2 * size, 2)
    pairs = z.reshape(-1, 2, size).transpose(0, 1).repeat_interleave(len(x_t), 1)
    values = losses.consistency(h, x_t.repeat(len(z), 1), pairs, path=path, t=t, s=s, kernel=kernel).reshape(len(z), -1)
    return torch.stack([excess, z_chance @ values @ chance])


def predicted_for_a_bend(world: GaussianMixture, path: Path, levels: tuple[float, ...], w: Callable, direction: Tensor) -> Tensor:
    """(0, |A_s kappa w_t e + (w_s - w_t) e|^2), kappa = alpha_s q^2 / sigma_t^2 the weight of h in the step, A_s = dh*/dx."""
    s, t, _, _ = levels
    at_s, at_t = path(s), path(t)
    w_s, w_t = w(noise_to_signal(path, s)), w(noise_to_signal(path, t))
    covariance = world.covariances[0]
    slope = at_s.alpha * covariance @ torch.linalg.inv(law_at(world, at_s).covariances[0])
    kappa = at_s.alpha * (transition(at_n=at_s, at_t=at_t).q / at_t.sigma) ** 2
    return torch.stack([torch.zeros_like(w_t), (kappa * w_t * slope @ direction + (w_s - w_t) * direction).square().sum()])


def predicted_for_another(h: Denoiser, world: GaussianMixture, path: Path, levels: tuple[float, ...]) -> Tensor:
    """((alpha_n q^2 / sigma_t^2)^2 E|h - h*|^2, 0): consistent with itself, wrong above n."""
    _, _, t_n, t = levels
    x_t, _, weights = point_and_noise(law_at(world, path(t)), 2)
    weight = path(t_n).alpha * (transition(at_n=path(t_n), at_t=path(t)).q / path(t).sigma) ** 2
    excess = weight**2 * weights @ losses.squared_norm(h(x_t, t) - world.denoise(x_t, path(t)))
    return torch.stack([excess, torch.zeros_like(excess)])


def objective_discrepancy(
    h: Denoiser, claimed: Tensor, world: GaussianMixture, path: Path, levels: tuple[float, ...], kernel: Kernel
) -> tuple[float, float]:
    """At most 256 terms of size |h|^2 + |x|^2; the slope of h* takes an inverse of condition number below 100: 1e3 eps."""
    scale = 1 + float(world.means.square().sum() + world.covariances.abs().sum()) + float(claimed.abs().max())
    return float((objective(h, world, path, levels, kernel) - claimed).abs().max()), 1e3 * EPS * scale


@st.composite
def gaussian_cases(draw: st.DrawFn) -> tuple[GaussianMixture, Path, tuple[float, ...], Kernel]:
    path = draw(paths())
    ratios = (draw(floats(0.05, 0.2)), draw(floats(0.25, 0.4)), draw(floats(0.5, 0.7)), draw(floats(0.75, 1.0)))
    levels = tuple(time_at(path, ratio) for ratio in ratios)
    return draw(mixtures(dims=(1, 2), components=(1,))), path, levels, draw(st.sampled_from(KERNELS))


@given(gaussian_cases(), floats(-2.0, 2.0), st.data())
def test_the_objective(case, size, data):
    world, path, levels, _ = case
    h, w = world.denoiser(path), bend(path, levels[2], size)
    direction = torch.ones(world.means.shape[1], dtype=torch.float64)
    other = data.draw(mixtures(dims=(world.means.shape[1],), components=(1,))).denoiser(path)

    def constant(x: Tensor, t: Any, condition: Any = None) -> Tensor:
        return 0.3 * torch.ones_like(x)

    cases = [
        (h, torch.zeros(2, dtype=torch.float64)),
        (bent(h, path, w, direction), predicted_for_a_bend(world, path, levels, w, direction)),
        (other, predicted_for_another(other, world, path, levels)),
        (constant, predicted_for_another(constant, world, path, levels)),
    ]
    OBJECTIVE.holds(*worst(objective_discrepancy(k, claimed, *case) for k, claimed in cases))


def objective_mutant(name: str, world: GaussianMixture, path: Path, levels: tuple[float, ...]) -> tuple[Denoiser, Tensor]:
    h, w = world.denoiser(path), bend(path, levels[2], 2.0)
    direction = torch.ones(world.means.shape[1], dtype=torch.float64)
    other = GaussianMixture(world.weights, world.means, 0.5 * world.covariances).denoiser(path)
    zero = torch.zeros(2, dtype=torch.float64)
    return {
        "consistency alone decides": (other, zero),
        "right above n alone decides": (bent(h, path, w, direction), zero),
        "the loss is linear in the bend": (
            bent(h, path, w, direction), predicted_for_a_bend(world, path, levels, bend(path, levels[2], 1.0), direction) * 2
        ),
        "the true denoiser scaled by 1.05": (lambda x, t, condition=None: 1.05 * h(x, t), zero),
    }[name]  # fmt: skip


@pytest.mark.parametrize(
    "mutant",
    [
        "consistency alone decides",
        "right above n alone decides",
        "the loss is linear in the bend",
        "the true denoiser scaled by 1.05",
    ],
)
def test_objective_mutants(mutant):
    for example in EXAMPLES:
        world = GaussianMixture(torch.ones(1, dtype=torch.float64), example.world.means[:1], example.world.covariances[:1])
        levels = tuple(time_at(example.path, ratio) for ratio in (0.1, 0.3, 0.6, 0.9))
        h, claimed = objective_mutant(mutant, world, example.path, levels)
        OBJECTIVE.rejects(mutant, *objective_discrepancy(h, claimed, world, example.path, levels, kernels.ancestral))


# Uniqueness


def unique_discrepancy(
    flow: Callable[[float, float], tuple[float, float]], mean: float, c: float, path: Path, high: float, low: float
):
    """The linear consistent g = a y + b, followed from v_n down: da/dlog v = a (a - 1), db/dlog v = a b; against h*.

    An 8th-order Runge-Kutta at a relative tolerance of 1e-10; errors grow by at most v_n / v_low on the way down.
    """
    world = GaussianMixture(*(torch.tensor(v, dtype=torch.float64) for v in ([1.0], [[mean]], [[[c]]])))

    def line(ratio: float) -> tuple[float, float]:
        at_t = path(time_at(path, ratio))
        b, a_plus_b = world.denoise(torch.stack([0 * at_t.alpha, at_t.alpha])[:, None], at_t)[:, 0].tolist()
        return a_plus_b - b, b

    log_v = (2 * torch.tensor([high, low], dtype=torch.float64).log()).tolist()
    found = solve_ivp(lambda _, ab: flow(*ab), log_v, line(high), method="DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    error = max(abs(float(f) - true) for f, true in zip(found, line(low), strict=True))
    return error, 1e-9 * (high / low) ** 2 * (1 + abs(mean))


def own_process(a: float, b: float) -> tuple[float, float]:
    return a * (a - 1), a * b


@given(floats(-2.0, 2.0), floats(0.1, 2.0), paths(), floats(0.5, 1.0), floats(0.02, 0.4))
def test_the_consistent_extension_is_unique(mean, c, path, high, low):
    UNIQUE.holds(*unique_discrepancy(own_process, mean, c, path, high, low))


UNIQUE_MUTANTS: dict[str, Callable[[float, float], tuple[float, float]]] = {
    "the same h at every level": lambda a, b: (0.0, 0.0),
    "half the score (probability flow)": lambda a, b: (a * (a - 1) / 2, a * b / 2),
    "the process runs forwards": lambda a, b: (-a * (a - 1), -a * b),
}


@pytest.mark.parametrize("mutant", UNIQUE_MUTANTS)
def test_unique_mutants(mutant):
    for _, _, path, _, _ in EXAMPLES[:3]:
        UNIQUE.rejects(mutant, *unique_discrepancy(UNIQUE_MUTANTS[mutant], 0.7, 0.5, path, 0.8, 0.1))
