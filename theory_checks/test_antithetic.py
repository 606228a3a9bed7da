"""The antithetic ambient loss: unbiased for the clean risk, with a target of independent noise, finite at t = t_n.

Its limits for t -> t_n: test_antithetic_limit.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import losses
from ambient.denoisers import Preconditioned
from ambient.paths import Path, Times, expand, transition
from ambient.randomness import generator
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import EPS, converged, law_at
from theory_checks.scorecard import Statement, mildest
from theory_checks.strategies import EXAMPLES, WITH_ALPHA, floats, level_pairs, mixtures, paths, time_at
from theory_checks.waves import WAVES, Wave, point_and_noise, waves

UNBIASED = Statement("Antithetic ambient", "the mean is E||h - X_0||^2, as for `denoising`, for any h")
TARGET = Statement("Antithetic ambient, target", "in x_0 space the target is X_0 plus noise that is independent of X_t")
FINITE = Statement("Antithetic ambient, t = t_n", "value and gradient are finite at t = t_n, clean samples in the batch included")

Formula = Callable[..., Tensor]


def written_out(
    *,
    factor: float = 1.0,
    ratio: bool = True,
    constant: float = 1.0,
    alpha: bool = True,
    second: float = -1.0,
    smallest: float = 0.01,
    clean: bool = True,
) -> Formula:
    """||h - Y||^2 + 2 (c/q) Z . (h - Y) - d (s_n/a_n)^2 averaged over +Z and `second` Z, with one thing changed.

    q is at least `smallest` sigma_n. Where sigma_n = 0, c / q is 0 if `clean`, and otherwise it is 0 / 0 at t = 0.
    """

    def formula(h: Callable[..., Tensor], x_n: Tensor, noise: Tensor, *, path: Path, t_n: Times, t: Times) -> Tensor:
        at_n, (r, q) = path(t_n), transition(at_n=path(t_n), at_t=path(t))
        q = q.maximum(smallest * at_n.sigma)
        c = factor * (r if ratio else 1.0) * at_n.sigma**2 / (at_n.alpha if alpha else 1.0)
        by_q = torch.where(at_n.sigma == 0, 0.0, c / q) if clean else c / q
        total = torch.zeros(len(x_n), dtype=torch.float64)
        for z in (noise, second * noise):
            error = h(expand(r, x_n) * x_n + expand(q, x_n) * z, t) - x_n / expand(at_n.alpha, x_n)
            total = total + losses.squared_norm(error) + 2 * by_q * (z * error).sum(1)
        return total / 2 - constant * (at_n.sigma / at_n.alpha) ** 2 * x_n.shape[1]

    return formula


CHANGES: dict[str, dict[str, Any]] = {
    "c = 0 (noisy as clean)": {"factor": 0.0},
    "half of c": {"factor": 0.5},
    "c of the wrong sign": {"factor": -1.0},
    "c without r": {"ratio": False},
    "c without 1 / alpha_n": {"alpha": False},
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[GaussianMixture, Path, float, float, Wave]:
    """Gaps start at q = .02 alpha_t; below q = .01 sigma_n the loss is a finite difference, see test_antithetic_limit.py."""
    world, path = draw(mixtures(dims=(1, 1, 1, 2), components=(1, 2))), draw(paths())
    ratio = draw(st.one_of(st.just(0.0), floats(0.05, 0.6)))
    gap = 10 ** draw(floats(math.log10(0.02), 0.0))
    return world, path, time_at(path, ratio), time_at(path, math.hypot(ratio, gap)), draw(waves(world.means.shape[1]))


def mean_discrepancy(formula: Formula, world: GaussianMixture, path: Path, t_n: float, t: float, h: Wave) -> tuple[float, float]:
    """Rounding: the difference of h over +-q Z is multiplied by c / q, a condition number of sigma_n / q at most 100."""

    def at(nodes: int) -> Tensor:
        x_n, z, weights = point_and_noise(law_at(world, path(t_n)), nodes)
        x_0, noise, clean_weights = point_and_noise(world, nodes)
        estimate = weights @ formula(h, x_n, z, path=path, t_n=t_n, t=t)
        return torch.stack([estimate, clean_weights @ losses.denoising(h, x_0, noise, path=path, t=t)])

    (estimate, risk), bound = converged(at, 8, 1e-4)
    return abs(float(estimate - risk)), 2 * bound + 100 * 100 * EPS


@given(cases())
def test_the_mean_is_the_clean_risk(case):
    UNBIASED.holds(*mean_discrepancy(losses.antithetic_ambient, *case))


@pytest.mark.parametrize("mutant", [*CHANGES, "without - d s_n^2 / a_n^2"])
def test_mean_mutants(mutant):
    formula = written_out(**CHANGES.get(mutant, {"constant": 0.0}))
    cases = [(e.world, e.path, e.t_n, e.t, WAVES[e.world.means.shape[1]]) for e in WITH_ALPHA]
    UNBIASED.rejects(mutant, *mildest(mean_discrepancy(formula, *case) for case in cases))


def target_discrepancy(formula: Formula, path: Path, t_n: float, t: float) -> tuple[float, float]:
    """The covariance of X_t's noise with that of the target T, which the loss ||h - T||^2 shows as h - (its gradient in h) / 2.

    In one dimension, with h = 0 and unit noises Z_n and Z in turn. Terms: r sigma_n^2 / alpha_n and q c / q, so the scale
    is sigma_n^2 / alpha_n; the target itself is larger by sigma_n / q, which is the condition number.
    """
    at_n, (r, q) = path(t_n), transition(at_n=path(t_n), at_t=path(t))
    units = torch.eye(2, dtype=torch.float64)
    x_n, noise = at_n.sigma * units[:, :1], units[:, 1:]  # X_0 = 0
    h = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    loss = formula(lambda x, t, condition=None: h, x_n, noise, path=path, t_n=t_n, t=t)
    target = -torch.autograd.grad(loss.sum(), h)[0][:, 0] / 2
    x_t = (r * x_n + q * noise)[:, 0]
    scale = at_n.sigma**2 / at_n.alpha
    return abs(float(target @ x_t)), float(20 * EPS * scale * (1 + at_n.sigma / q))


def one_sided(h: Callable[..., Tensor], x_n: Tensor, noise: Tensor, *, path: Path, t_n: float, t: float) -> Tensor:
    """The ambient loss in x_0 space, of which the antithetic one is an average."""
    return losses.ambient(h, x_n, noise, path=path, t_n=t_n, t=t, space="x_0")


@given(st.data(), paths())
def test_the_noise_of_the_target_is_independent(data, path):
    TARGET.holds(*target_discrepancy(one_sided, path, *data.draw(level_pairs(path, smallest_gap=1e-4, clean=False))))


@pytest.mark.parametrize("mutant", CHANGES)
def test_target_mutants(mutant):
    formula = written_out(**CHANGES[mutant], second=1.0)
    TARGET.rejects(mutant, *mildest(target_discrepancy(formula, e.path, e.t_n, e.t) for e in WITH_ALPHA))


def finite_discrepancy(formula: Formula, path: Path, t_n: Tensor, t: Tensor) -> tuple[float, float]:
    """How many entries of the value and of the gradient are not finite, for a small network that is exact on clean data."""
    gen = generator(0, "finite")
    weight = torch.randn(3, 3, dtype=torch.float64, generator=gen).requires_grad_()
    h = Preconditioned(lambda x, c, condition: torch.tanh(x @ weight + c[:, None]), path, data_std=0.7)
    x_n, noise = torch.randn(2, len(t), 3, dtype=torch.float64, generator=gen)
    value = formula(h, x_n, noise, path=path, t_n=t_n, t=t)
    (gradient,) = torch.autograd.grad(value.sum(), weight)
    return float((~value.isfinite()).sum() + (~gradient.isfinite()).sum()), 0.0


@given(st.data(), paths())
def test_finite_at_t_n(data, path):
    pairs = [data.draw(level_pairs(path, smallest_gap=1e-9, low=0.01)) for _ in range(4)]
    t_n = torch.tensor([pair[0] for pair in pairs] + [0.0, pairs[0][0], 0.0], dtype=torch.float64)
    t = torch.tensor([pair[1] for pair in pairs] + [0.0, pairs[0][0], pairs[0][1]], dtype=torch.float64)
    FINITE.holds(*finite_discrepancy(losses.antithetic_ambient, path, t_n, t))


FINITE_CHANGES: dict[str, dict[str, Any]] = {
    "divided by q": {"smallest": 0.0, "clean": False},
    "0 / 0 kept at clean samples": {"clean": False},
    "0 / 0 kept at noisy samples": {"smallest": 0.0},
}


def clean_and_noisy(path: Path) -> Tensor:
    return torch.tensor([0.0, time_at(path, 0.35)], dtype=torch.float64)


def test_written_out_it_is_the_loss():
    """Without a change the mutants' formula is the loss, at t = t_n, for clean and noisy data."""
    h, (x_n, noise) = WAVES[2], torch.randn(2, 2, 2, dtype=torch.float64, generator=generator(0, "written out"))
    for path in (example.path for example in EXAMPLES[:3]):
        options = {"path": path, "t_n": clean_and_noisy(path), "t": clean_and_noisy(path)}
        loss = losses.antithetic_ambient(h, x_n, noise, **options)
        assert torch.allclose(written_out()(h, x_n, noise, **options), loss, rtol=1e-11)


@pytest.mark.parametrize("name", FINITE_CHANGES)
def test_finite_mutants(name):
    cases = [(example.path, clean_and_noisy(example.path)) for example in EXAMPLES[:3]]
    FINITE.rejects(name, *mildest(finite_discrepancy(written_out(**FINITE_CHANGES[name]), path, t_n, t_n) for path, t_n in cases))
