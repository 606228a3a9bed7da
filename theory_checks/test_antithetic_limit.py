"""The antithetic ambient loss as t -> t_n: it becomes SURE, in value and in variance, where the one-sided loss blows up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import losses
from ambient.paths import Path, VarianceExploding, transition
from ambient.randomness import generator
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import EPS, law_at
from theory_checks.scorecard import Statement, worst
from theory_checks.strategies import EXAMPLES, TILTED, floats, mixtures, paths, points, time_at
from theory_checks.test_antithetic import CHANGES, Formula, one_sided, written_out
from theory_checks.waves import WAVES, Wave, point_and_noise, waves

LIMIT = Statement("Antithetic ambient, limit", "tends to SURE with a Hutchinson probe as t -> t_n, at rate q^2")
VARIANCE = Statement(
    "Antithetic ambient, variance", "tends to SURE's as q -> 0; the one-sided one grows as 4 c^2 E|h - Y|^2 / q^2"
)

STEPS = (0.16, 0.08, 0.04)  # q^2 = e^2 r^2 sigma_n^2; all above the smallest q, .01 sigma_n


def extrapolated(at: Callable[[float], Tensor], claimed: Tensor, slack: float) -> tuple[float, float]:
    """The limit of an even function of the step e as e -> 0, against the claimed one.

    R(e) = (4 f(e/2) - f(e)) / 3 removes e^2 and leaves O(e^4), so R at the finer pair is off by a fifteenth of what refining
    changed; a fifth is allowed. If there were a term of first order, the finer R would be off by all of that change and rejected.
    """
    coarse, middle, fine = (at(e) for e in STEPS)
    first, second = (4 * middle - coarse) / 3, (4 * fine - middle) / 3
    return float((second - claimed).abs().max()), float((second - first).abs().max()) / 5 + slack


def noisier(path: Path, t_n: float, e: float) -> float:
    """The t with q = e r sigma_n, where sigma_t / alpha_t = sqrt(1 + e^2) sigma_n / alpha_n."""
    at_n = path(t_n)
    return time_at(path, float(at_n.sigma / at_n.alpha) * (1 + e**2) ** 0.5)


def limit_discrepancy(formula: Formula, path: Path, t_n: float, h: Wave, x_n: Tensor, probe: Tensor) -> tuple[float, float]:
    """Rounding: eps / e at the finest step, times the size of the loss."""
    claimed = losses.sure(h, x_n, probe, path=path, t_n=t_n).detach()
    slack = 100 * EPS / STEPS[-1] * (1 + float(claimed.abs().max()))
    return extrapolated(lambda e: formula(h, x_n, probe, path=path, t_n=t_n, t=noisier(path, t_n, e)), claimed, slack)


def probes_like(x: Tensor) -> Tensor:
    return torch.randn(x.shape, dtype=torch.float64, generator=generator(0, "probes"))


@given(st.data(), mixtures(dims=(1, 2, 3)), paths())
def test_tends_to_sure(data, world, path):
    t_n = time_at(path, data.draw(floats(0.1, 0.9)))
    x_n = data.draw(points(world, path(t_n)))
    LIMIT.holds(*limit_discrepancy(losses.antithetic_ambient, path, t_n, data.draw(waves(x_n.shape[1])), x_n, probes_like(x_n)))


@given(st.data(), mixtures(dims=(1, 2, 3)), floats(0.1, 0.9))
def test_is_sure_at_t_n(data, world, t_n):
    """At t = t_n itself q stands at .01 sigma_n: on VE, h without t, the distance from SURE is 1 / 16 of that at e = .04.

    A tenth is allowed, and 1e-6, below e^4, for points where the terms in e^2 and e^4 cancel.
    """
    path = VarianceExploding()
    x_n, h = data.draw(points(world, path(t_n))), data.draw(waves(world.means.shape[1]))
    probe = probes_like(x_n)
    claimed = losses.sure(h, x_n, probe, path=path, t_n=t_n).detach()
    at_n, near = (
        (losses.antithetic_ambient(lambda x, t, _: h(x, t_n), x_n, probe, path=path, t_n=t_n, t=t) - claimed).abs().max()
        for t in (t_n, noisier(path, t_n, STEPS[-1]))
    )
    LIMIT.holds(at_n, float(near) / 10 + 1e-6 * (1 + float(claimed.abs().max())))


def forward(h: Callable[..., Tensor], x_n: Tensor, noise: Tensor, *, path: Path, t_n: float, t: float) -> Tensor:
    """+Z paired with 0 rather than -Z: a forward difference, of first order."""
    at_n, (r, q) = path(t_n), transition(at_n=path(t_n), at_t=path(t))
    centre = h(r * x_n, t)
    slope = (noise * (h(r * x_n + q * noise, t) - centre)).sum(1) / q
    risk = losses.squared_norm(centre - x_n / at_n.alpha) - (at_n.sigma / at_n.alpha) ** 2 * x_n.shape[1]
    return risk + 2 * r * at_n.sigma**2 / at_n.alpha * slope


LIMIT_MUTANTS = {
    "one-sided": one_sided,
    "a forward difference (first order)": forward,
    "c = 0 (noisy as clean)": written_out(**CHANGES["c = 0 (noisy as clean)"]),
    "half of c": written_out(**CHANGES["half of c"]),
    "without - d s_n^2 / a_n^2": written_out(constant=0.0),
}


@pytest.mark.parametrize("mutant", LIMIT_MUTANTS)
def test_limit_mutants(mutant):
    for _, world, path, t_n, _ in EXAMPLES:
        x_n = path(t_n).apply(world.means, torch.ones_like(world.means) / 3)
        LIMIT.rejects(mutant, *limit_discrepancy(LIMIT_MUTANTS[mutant], path, t_n, WAVES[x_n.shape[1]], x_n, probes_like(x_n)))


def variance_discrepancy(formula: Formula, world: GaussianMixture, path: Path, t_n: float, h: Wave) -> tuple[float, float]:
    """A Gaussian world and a linear h make a loss a quadratic of (X_n, Z): three nodes give its first two moments exactly.

    Two claims: the antithetic variance tends to that of SURE with a Hutchinson probe, and e^2 times the one-sided one to
    4 (sigma_n / alpha_n)^2 E||h - Y||^2 (c / q -> sigma_n / (e alpha_n)). Rounding: squares of terms divided by e.
    """
    at_n = path(t_n)
    x_n, z, weights = point_and_noise(law_at(world, at_n), 3)

    def variance(values: Tensor) -> Tensor:
        return weights @ (values - weights @ values).square()

    def near(loss: Formula, e: float) -> Tensor:
        return variance(loss(h, x_n, z, path=path, t_n=t_n, t=noisier(path, t_n, e)))

    sure = variance(losses.sure(h, x_n, z, path=path, t_n=t_n).detach())
    growth = 4 * (at_n.sigma / at_n.alpha) ** 2 * weights @ losses.squared_norm(h(x_n, t_n) - x_n / at_n.alpha)
    slack = 100 * EPS / STEPS[-1] ** 2 * float(1 + sure + growth)
    bounded = extrapolated(lambda e: near(formula, e), sure, slack)
    return worst([bounded, extrapolated(lambda e: e**2 * near(one_sided, e), growth, slack)])


@given(st.data(), mixtures(dims=(1, 2), components=(1,)), paths())
def test_the_variance_stays_bounded(data, world, path):
    h = data.draw(waves(world.means.shape[1]))
    linear = h._replace(out=torch.zeros_like(h.out))
    VARIANCE.holds(
        *variance_discrepancy(losses.antithetic_ambient, world, path, time_at(path, data.draw(floats(0.1, 0.9))), linear)
    )


def two_draws(h: Callable[..., Tensor], x_n: Tensor, noise: Tensor, **levels: object) -> Tensor:
    """Two orthogonal mixtures of the noise in place of +-Z: averaging alone does not help."""
    turned = torch.stack([noise[:, 1], -noise[:, 0]], 1)
    return (one_sided(h, x_n, noise, **levels) + one_sided(h, x_n, turned, **levels)) / 2


VARIANCE_MUTANTS = {
    "one-sided": one_sided,
    "two other draws": two_draws,
    "half of c": written_out(**CHANGES["half of c"]),
    "c = 0 (noisy as clean)": written_out(**CHANGES["c = 0 (noisy as clean)"]),
}


@pytest.mark.parametrize("mutant", VARIANCE_MUTANTS)
def test_variance_mutants(mutant):
    world = GaussianMixture(torch.ones(1, dtype=torch.float64), TILTED.means[:1], TILTED.covariances[:1])
    linear = WAVES[2]._replace(out=torch.zeros_like(WAVES[2].out))
    for _, _, path, t_n, _ in EXAMPLES[-3:]:
        VARIANCE.rejects(mutant, *variance_discrepancy(VARIANCE_MUTANTS[mutant], world, path, t_n, linear))
