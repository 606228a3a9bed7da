"""Tweedie's formula: (2.1), Lemma 3.2 / A.1, its second order, and denoising score matching (J_DSM of Sec. 2.1)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import losses, tweedie
from ambient.paths import Level, Path
from ambient.worlds import GaussianMixture
from theory_checks.population import excess
from theory_checks.quadrature import (
    CLEAN,
    bayes,
    conditional,
    conditional_mean,
    converged,
    law_at,
    log_components,
    nodes_at,
    rounding,
)
from theory_checks.scorecard import Statement, worst
from theory_checks.strategies import EXAMPLES, EXAMPLES_1D, likely_points, mixtures, paths, points, times

TWEEDIE = Statement("(2.1), A.1", "score = (alpha_t E[X_0 | X_t] - x) / sigma_t^2, both ways")
SECOND = Statement("second-order Tweedie", "Cov(X_0 | X_t = x) = (sigma_t^2 / alpha_t) d E[X_0 | X_t = x] / dx")
DSM = Statement("J_DSM", "denoising is minimised by E[X_0 | X_t]: any other h has the excess E||h - E[X_0 | X_t]||^2")
BAYES = Statement("E[X_0 | X_t]", "the posterior mean that the checks compare with is Bayes' rule, by quadrature")


def autograd_score(world: GaussianMixture, x: Tensor, at_t: Level) -> Tensor:
    """The gradient of log p_t, from torch.distributions."""
    return torch.func.grad(lambda y: log_components(law_at(world, at_t), y).logsumexp(1).sum())(x)


def posterior_mean(world: GaussianMixture, x: Tensor, at_t: Level) -> Tensor:
    return conditional_mean(world, x, at_n=CLEAN, at_t=at_t)


def tweedie_error(formula, world: GaussianMixture, at_t: Level, x: Tensor) -> tuple[float, float]:
    """Both directions, each from the other's oracle: the score is autograd's, the mean comes from conditioning Gaussians.

    Cancellation in alpha h - x is amplified by 1 / sigma^2, and the two oracles carry the rounding of the weights.
    """
    to_score, to_mean = formula
    score, mean = autograd_score(world, x, at_t), posterior_mean(world, x, at_t)
    scale = float((at_t.alpha * mean).abs().max() + x.abs().max()) * rounding(world, x, at_t)
    score_error = float((to_score(x, mean, at_t=at_t) - score).abs().max() * at_t.sigma**2)
    mean_error = float((to_mean(x, score, at_t=at_t) - mean).abs().max() * at_t.alpha)
    return max(score_error, mean_error), scale


TRUE = (tweedie.score_from_x_0, tweedie.x_0_from_score)
TWEEDIE_MUTANTS = {
    "wrong sign": (lambda x, h, *, at_t: -TRUE[0](x, h, at_t=at_t), lambda x, s, *, at_t: TRUE[1](x, -s, at_t=at_t)),
    "sigma for sigma^2": (
        lambda x, h, *, at_t: (at_t.alpha * h - x) / at_t.sigma,
        lambda x, s, *, at_t: (x + at_t.sigma * s) / at_t.alpha,
    ),
    "alpha missing, as in (2.1) off VE": (
        lambda x, h, *, at_t: (h - x) / at_t.sigma**2,
        lambda x, s, *, at_t: x + at_t.sigma**2 * s,
    ),
    "alpha wrong in the inverse only": (TRUE[0], lambda x, s, *, at_t: x / at_t.alpha + at_t.sigma**2 * s),
}


@given(st.data())
def test_tweedie_ties_score_and_posterior_mean(data):
    world, path = data.draw(mixtures()), data.draw(paths())
    at_t = path(data.draw(times(path)))
    TWEEDIE.holds(*tweedie_error(TRUE, world, at_t, data.draw(points(world, at_t))))


@pytest.mark.parametrize("name", TWEEDIE_MUTANTS)
def test_tweedie_rejects(name):
    levels = [(e.world, e.path(e.t)) for e in EXAMPLES]
    TWEEDIE.rejects(name, *worst(tweedie_error(TWEEDIE_MUTANTS[name], w, at, likely_points(w, at)) for w, at in levels))


def second_order(formula, world: GaussianMixture, at_t: Level, x: Tensor) -> tuple[float, float]:
    """Against the covariance of the conditional law. The Jacobian of the weights is of size (spread / sigma)^2, which the factor
    sigma^2 / alpha takes back; what is left is the rounding of the weights.
    """
    weights, means, covariances = conditional(world, x, at_n=CLEAN, at_t=at_t)
    spread = means - torch.einsum("bk,bkd->bd", weights, means)[:, None]
    expected = torch.einsum("bk,bkij->bij", weights, covariances + spread[..., :, None] * spread[..., None, :])
    _, jacobian = tweedie.jacobian(lambda y: world.denoise(y, at_t), x, create_graph=False)
    size = float(means.square().max() + world.covariances.abs().max() + x.square().max())
    return float((formula(jacobian, at_t=at_t) - expected).abs().max()), size * rounding(world, x, at_t)


SECOND_MUTANTS = {
    "sigma for sigma^2": lambda jacobian, *, at_t: at_t.sigma / at_t.alpha * jacobian,
    "alpha missing": lambda jacobian, *, at_t: at_t.sigma**2 * jacobian,
    "alpha upside down": lambda jacobian, *, at_t: at_t.sigma**2 * at_t.alpha * jacobian,
    "wrong sign": lambda jacobian, *, at_t: -(at_t.sigma**2) / at_t.alpha * jacobian,
    "diagonal only": lambda jacobian, *, at_t: at_t.sigma**2 / at_t.alpha * torch.diag_embed(jacobian.diagonal(dim1=1, dim2=2)),
}


@given(st.data())
def test_posterior_covariance_is_the_jacobian(data):
    world, path = data.draw(mixtures()), data.draw(paths())
    at_t = path(data.draw(times(path)))
    x = data.draw(points(world, at_t))
    SECOND.holds(*second_order(tweedie.posterior_covariance_from_jacobian, world, at_t, x))


@pytest.mark.parametrize("name", SECOND_MUTANTS)
def test_posterior_covariance_rejects(name):
    levels = [(e.world, e.path(e.t)) for e in EXAMPLES]
    SECOND.rejects(name, *worst(second_order(SECOND_MUTANTS[name], w, at, likely_points(w, at)) for w, at in levels))


def denoising_excess(loss, world: GaussianMixture, path: Path, t: float) -> tuple[float, float]:
    """Excess of h* + g over h* for a g and its negative, so that the gradient along g is zero too; see `excess`."""
    return excess(lambda h, x_0, noise: loss(h, x_0, noise, path=path, t=t), world, path, t_n=0.0, t=t, weight=1.0)


DSM_MUTANTS = {
    "predicts X_t": lambda h, x_0, z, *, path, t: losses.squared_norm(h(path(t).apply(x_0, z), t) - path(t).apply(x_0, z)),
    "predicts -X_0": lambda h, x_0, z, *, path, t: losses.squared_norm(h(path(t).apply(x_0, z), t) + x_0),
    "noise of another variance": lambda h, x_0, z, *, path, t: losses.denoising(h, x_0, 1.1 * z, path=path, t=t),
    "half the square": lambda h, x_0, z, *, path, t: losses.denoising(h, x_0, z, path=path, t=t) / 2,
    "noise left in the target": lambda h, x_0, z, *, path, t: losses.squared_norm(
        h(path(t).apply(x_0, z), t) - path(0.1).apply(x_0, z)
    ),
}


@given(st.data())
def test_denoising_is_minimised_by_the_posterior_mean(data):
    world, path = data.draw(mixtures(dims=(1,))), data.draw(paths())
    DSM.holds(*denoising_excess(losses.denoising, world, path, data.draw(times(path, low=0.1))))


@pytest.mark.parametrize("name", DSM_MUTANTS)
def test_denoising_rejects(name):
    DSM.rejects(name, *worst(denoising_excess(DSM_MUTANTS[name], e.world, e.path, e.t) for e in EXAMPLES_1D))


def bayes_error(mean, world: GaussianMixture, at_t: Level, x: Tensor) -> tuple[float, float]:
    """Bayes' rule needs the likelihood resolved by the nodes, so sigma / alpha is at least .3 here."""
    value, bound = converged(lambda n: bayes(world, x, lambda y: y, n, at_t=at_t), 128, ceiling=1e-6)
    return float((mean(world, x, at_t) - value).abs().max()), bound + rounding(world, x, at_t)


BAYES_MUTANTS = {
    "the nearest component only": lambda world, x, at_t: conditional(world, x, at_n=CLEAN, at_t=at_t)[1][
        torch.arange(len(x)), conditional(world, x, at_n=CLEAN, at_t=at_t)[0].argmax(1)
    ],
    "prior weights": lambda world, x, at_t: torch.einsum(
        "k,bkd->bd", world.weights, conditional(world, x, at_n=CLEAN, at_t=at_t)[1]
    ),
    "alpha forgotten": lambda world, x, at_t: posterior_mean(world, x / at_t.alpha, at_t),
    "no shrinkage": lambda world, x, at_t: x / at_t.alpha,
}


@given(st.data())
def test_posterior_mean_is_bayes_rule(data):
    world, path = data.draw(mixtures(dims=(1,))), data.draw(paths())
    at_t = path(data.draw(times(path, low=0.3)))
    BAYES.holds(*bayes_error(posterior_mean, world, at_t, data.draw(points(world, at_t))))


@pytest.mark.parametrize("name", BAYES_MUTANTS)
def test_posterior_mean_rejects(name):
    levels = [(e.world, e.path(e.t)) for e in EXAMPLES_1D]
    BAYES.rejects(name, *worst(bayes_error(BAYES_MUTANTS[name], w, at, likely_points(w, at)) for w, at in levels))


def test_score_has_mean_zero():
    """E grad log p_t(X_t) = 0 for every density: a check of the nodes themselves."""
    for example in EXAMPLES:
        at_t = example.path(example.t)
        x, weights = nodes_at(example.world, at_t, 64)
        assert float((weights[:, None] * example.world.score(x, at_t)).sum(0).abs().max()) < 1e-9
