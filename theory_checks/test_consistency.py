"""Def. 3.3: the true denoiser is a martingale along the reverse process, for every pair of levels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import kernels
from ambient.paths import Path
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import EPS, conditional, converged, expect_conditional, expect_step, normal_rule
from theory_checks.scorecard import Statement, mildest
from theory_checks.strategies import WITH_ALPHA, level_pairs, mixtures, paths, points

CONSISTENT = Statement("Def. 3.3", "E[h*(X_s, s) | X_t = x] = h*(x, t) for every s < t, s = 0 included")

Formula = Callable[..., Tensor]


def exact_law(world: GaussianMixture, path: Path, s: float, t: float, x: Tensor, nodes: int) -> Tensor:
    """E[h*(X_s, s) | X_t = x] under the law of X_s given X_t, by conditioning the joint Gaussian of each component."""
    at_s = path(s)
    return expect_conditional(world, x, lambda x_s: world.denoise(x_s, at_s), nodes, at_n=at_s, at_t=path(t))


def discrepancy(formula: Formula, world: GaussianMixture, path: Path, s: float, t: float, x: Tensor) -> tuple[float, float]:
    """The reverse process of h* is the time reversal of the noising (Anderson 1982), so its law of X_s is the conditional one.

    Rounding: the conditional covariance is a difference, with a relative error of eps over the gap, at most 1e3 eps.
    """
    mean, bound = converged(lambda nodes: formula(world, path, s, t, x, nodes), {1: 96, 2: 36}[x.shape[1]], 1e-4)
    size = float(x.abs().max() + world.means.abs().max()) + 1
    return float((mean - world.denoise(x, path(t))).abs().max()), bound + 1e3 * EPS * size


@st.composite
def cases(draw: st.DrawFn) -> tuple[GaussianMixture, Path, float, float, Tensor]:
    world, path = draw(mixtures(dims=(1, 1, 2), components=(1, 2, 3))), draw(paths())
    s, t = draw(level_pairs(path, smallest_gap=1e-3))
    count = 6 if world.means.shape[1] == 1 else 2
    return world, path, s, t, draw(points(world, path(t), count))


@given(cases())
def test_the_true_denoiser_is_consistent(case):
    CONSISTENT.holds(*discrepancy(exact_law, *case))


def prior_weights(world: GaussianMixture, path: Path, s: float, t: float, x: Tensor, nodes: int) -> Tensor:
    """Each component is conditioned on x, but the weights of the components stay as they were."""
    at_s = path(s)
    _, means, covariances = conditional(world, x, at_n=at_s, at_t=path(t))
    z, rule = normal_rule(x.shape[1], nodes)
    x_s = means[:, :, None] + torch.einsum("kij,mj->kmi", torch.linalg.cholesky(covariances), z)
    values = world.denoise(x_s.flatten(0, 2), at_s).unflatten(0, x_s.shape[:3])
    return torch.einsum("k,m,bkmi->bi", world.weights, rule, values)


def one_gaussian_step(kernel: kernels.Kernel) -> Formula:
    def formula(world: GaussianMixture, path: Path, s: float, t: float, x: Tensor, nodes: int) -> Tensor:
        step = kernel(world.denoiser(path), x, path=path, t=t, s=s)
        return expect_step(step, lambda x_s: world.denoise(x_s.flatten(0, 1), path(s)).reshape(x_s.shape), nodes)

    return formula


def level_of_t(world: GaussianMixture, path: Path, s: float, t: float, x: Tensor, nodes: int) -> Tensor:
    """The denoiser gets the level at the start of the step: h*(X_s, t)."""
    return expect_conditional(world, x, lambda x_s: world.denoise(x_s, path(t)), nodes, at_n=path(s), at_t=path(t))


def forward_process(world: GaussianMixture, path: Path, s: float, t: float, x: Tensor, nodes: int) -> Tensor:
    """X_s is made by rescaling x and adding noise, as in the forward process."""
    at_s, at_t = path(s), path(t)
    z, rule = normal_rule(x.shape[1], nodes)
    spread = (at_t.sigma**2 - at_s.sigma**2).abs().sqrt()
    x_s = at_s.alpha / at_t.alpha * x + spread * z[:, None]
    return torch.tensordot(rule, world.denoise(x_s.flatten(0, 1), at_s).reshape(x_s.shape), dims=1)


MUTANTS = {
    "prior weights of the components": prior_weights,
    "one ancestral step": one_gaussian_step(kernels.ancestral),
    "one Euler-Maruyama step": one_gaussian_step(kernels.euler_maruyama),
    "one deterministic step (DDIM)": one_gaussian_step(kernels.ddim),
    "h at level t instead of s": level_of_t,
    "noise added instead of removed": forward_process,
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_consistency_mutants(mutant):
    cases = []
    for _, world, path, s, t in WITH_ALPHA:
        x = path(t).apply(world.means[:2], torch.full_like(world.means[:2], 0.4))
        cases.append(discrepancy(MUTANTS[mutant], world, path, s, t, x))
    CONSISTENT.rejects(mutant, *mildest(cases))
