"""Ambient denoising score matching: Theorem 3.1 / A.3 and Theorem A.5, in three spaces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambient import losses
from ambient.paths import Path, transition
from ambient.worlds import GaussianMixture
from theory_checks.population import PERTURBATIONS, excess, mean_loss, perturbed
from theory_checks.quadrature import CLEAN, conditional, expectation
from theory_checks.scorecard import Statement, worst
from theory_checks.strategies import EXAMPLES_1D, level_pairs, mixtures, paths

SPACES = ["x_n", "eps", "x_0"]
MINIMISER = Statement(
    "3.1, A.3, A.5", "ambient is minimised by E[X_0 | X_t]; any other h has the excess weight E||h - E[X_0 | X_t]||^2"
)
RISK = Statement("ambient in x_0 space", "its mean is the denoising risk E||h - X_0||^2 itself, without a constant")


def weight(space: str, path: Path, t_n: float, t: float) -> float:
    """The weight on ||h - E[X_0 | X_t]||^2 that the docstring of `losses.ambient` states."""
    at_n, at_t = path(t_n), path(t)
    q = transition(at_n=at_n, at_t=at_t).q
    return {
        "x_n": float((at_n.alpha * q**2 / at_t.sigma**2) ** 2),
        "eps": float((at_t.alpha * q / at_t.sigma**2) ** 2),
        "x_0": 1.0,
    }[space]


def minimiser(loss, space: str, world: GaussianMixture, path: Path, t_n: float, t: float) -> tuple[float, float]:
    """The error is relative to the weight, so that the tolerance is as strict for levels close to n."""
    scale = weight(space, path, t_n, t)
    error, tolerance = excess(
        lambda h, x_n, z: loss(h, x_n, z, path=path, t_n=t_n, t=t, space=space) / scale, world, path, t_n=t_n, t=t, weight=1.0
    )
    return error, tolerance


@pytest.mark.parametrize("space", SPACES)
@given(data=st.data())
def test_ambient_is_minimised_by_the_posterior_mean(space, data):
    """In x_0 space the loss uses q of at least .01 sigma_n; relative gaps from 1e-4 give q > .01 sigma_n."""
    world, path = data.draw(mixtures(dims=(1,))), data.draw(paths())
    t_n, t = data.draw(level_pairs(path, smallest_gap=1e-4 if space == "x_0" else 1e-6, low=0.1))
    MINIMISER.holds(*minimiser(losses.ambient, space, world, path, t_n, t))


def general_loss(a, b, target=lambda x_n, x_t: x_n, q_of=lambda q: q):
    """||a h + b x_t - target||^2, a and b functions of (r, q, at_n, at_t): the family of the theorem and its mutants."""

    def loss(h, x_n, z, *, path, t_n, t, space="x_n"):
        at_n, at_t = path(t_n), path(t)
        r, q = transition(at_n=at_n, at_t=at_t)
        x_t = r * x_n + q_of(q) * z
        return losses.squared_norm(a(r, q, at_n, at_t) * h(x_t, t) + b(r, q, at_n, at_t) * x_t - target(x_n, x_t))

    return loss


def theorem_a(r, q, n, t):
    return n.alpha * q**2 / t.sigma**2


def theorem_b(r, q, n, t):
    return r * n.sigma**2 / t.sigma**2


MUTANTS = {
    "as printed: h - x_t": general_loss(theorem_a, lambda r, q, n, t: theorem_b(r, q, n, t) - theorem_a(r, q, n, t)),
    "sigma for sigma^2": general_loss(lambda r, q, n, t: n.alpha * q / t.sigma, lambda r, q, n, t: r * n.sigma / t.sigma),
    "x_t term missing": general_loss(theorem_a, lambda r, q, n, t: 0.0),
    "wrong sign of x_t": general_loss(theorem_a, lambda r, q, n, t: -theorem_b(r, q, n, t)),
    "target x_t": general_loss(theorem_a, theorem_b, target=lambda x_n, x_t: x_t),
    "noise sigma_t instead of q": general_loss(theorem_a, theorem_b, q_of=lambda q: (q**2 + 0.1).sqrt()),
    "naive: noisy data as clean": lambda h, x_n, z, *, path, t_n, t, space: losses.denoising(h, x_n, z, path=path, t=t),
    "VE weights on every path": general_loss(
        lambda r, q, n, t: (t.sigma**2 - n.sigma**2) / t.sigma**2, lambda r, q, n, t: n.sigma**2 / t.sigma**2
    ),
    "another space's weight": lambda h, x_n, z, **k: losses.ambient(h, x_n, z, **{**k, "space": "eps"}),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_ambient_rejects(name):
    cases = [minimiser(MUTANTS[name], "x_n", e.world, e.path, e.t_n, e.t) for e in EXAMPLES_1D]
    MINIMISER.rejects(name, *worst(cases))


def test_the_family_of_mutants_contains_the_theorem():
    """The unchanged family passes, so a mutant is rejected because of its change."""
    for e in EXAMPLES_1D:
        error, tolerance = minimiser(general_loss(theorem_a, theorem_b), "x_n", e.world, e.path, e.t_n, e.t)
        assert error <= tolerance


def risk(loss, world: GaussianMixture, path: Path, t_n: float, t: float) -> tuple[float, float]:
    """E loss(h* + g) against E Cov(X_0 | X_t) + E g^2, from the conditional law."""
    at_t, g = path(t), PERTURBATIONS[0]

    def posterior_risk(x):
        weights, means, covariances = conditional(world, x, at_n=CLEAN, at_t=at_t)
        second = (weights * (means[..., 0] ** 2 + covariances[:, 0, 0])).sum(1)
        return second - (weights * means[..., 0]).sum(1) ** 2 + g(x)[:, 0] ** 2

    expected, bound = expectation(world, at_t, posterior_risk)
    found, other = mean_loss(
        lambda h, x_n, z: loss(h, x_n, z, path=path, t_n=t_n, t=t, space="x_0"),
        perturbed(world.denoiser(path), g), world, path, t_n=t_n,
    )  # fmt: skip
    return float((found - expected).abs()), bound + other


def constant_missing(h, x_n, z, *, path, t_n, **k):
    return losses.ambient(h, x_n, z, path=path, t_n=t_n, **k) + (path(t_n).sigma / path(t_n).alpha) ** 2


def cross_changed(factor):
    """The x_0 loss with its cross term scaled; the difference between +z and -z shows the scale."""

    def loss(h, x_n, z, *, path, t_n, t, space):
        at_n, at_t = path(t_n), path(t)
        r, q = transition(at_n=at_n, at_t=at_t)
        error = h(r * x_n + q * z, t) - x_n / at_n.alpha
        cross = 2 * r * at_n.sigma**2 / at_n.alpha / q * (z * error).sum(1)
        return losses.squared_norm(error) + factor * cross - (at_n.sigma / at_n.alpha) ** 2

    return loss


RISK_MUTANTS = {
    "constant missing": constant_missing,
    "cross term with the wrong sign": cross_changed(-1.0),
    "cross term without the 2": cross_changed(0.5),
    "naive: noisy data as clean": lambda h, x_n, z, *, path, t_n, t, space: losses.denoising(h, x_n, z, path=path, t=t),
}


@given(st.data())
def test_ambient_in_x_0_space_is_the_risk(data):
    world, path = data.draw(mixtures(dims=(1,))), data.draw(paths())
    t_n, t = data.draw(level_pairs(path, smallest_gap=1e-4, low=0.1))
    RISK.holds(*risk(losses.ambient, world, path, t_n, t))


@pytest.mark.parametrize("name", RISK_MUTANTS)
def test_risk_rejects(name):
    RISK.rejects(name, *worst(risk(RISK_MUTANTS[name], e.world, e.path, e.t_n, e.t) for e in EXAMPLES_1D))
