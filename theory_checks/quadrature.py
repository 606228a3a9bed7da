"""Expectations without sampling: under a mixture at a level, over a Gaussian step, and of X_n given X_t.

The rule, in each direction of each Gaussian component, is the trapezoidal one on [-9, 9] standard deviations. For integrands
that are analytic in a strip it converges geometrically, as exp(-2 pi w / h) for a half-width w and a spacing h. Posterior
means are analytic in a strip, with poles at complex x. The error of a Gauss-Hermite rule would fall only as exp(-2 w sqrt(n)).
The mass outside of [-9, 9] is 2e-19. The error of a value is estimated by doubling the nodes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from ambient.kernels import Step
from ambient.paths import Level
from ambient.subspace import SubspaceMixture
from ambient.worlds import GaussianMixture

REACH = 9.0
NODES = {1: 128, 2: 64}  # per direction; `converged` uses twice as many besides
EPS = torch.finfo(torch.float64).eps
CLEAN = Level(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))


@functools.cache
def normal_rule(size: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes (M, size) and weights (M,) of an expectation over N(0, I); those of weight below 1e-22 are left out."""
    line = torch.linspace(-REACH, REACH, nodes, dtype=torch.float64)
    density = torch.exp(-(line**2) / 2)
    z = torch.cartesian_prod(*[line] * size).reshape(-1, size)
    weights = torch.cartesian_prod(*[density / density.sum()] * size).reshape(-1, size).prod(1)
    keep = weights > 1e-22
    return z[keep], weights[keep]


def law_at(world: GaussianMixture, at_t: Level) -> GaussianMixture:
    """p_t as a mixture of its own: components N(alpha mu_k, alpha^2 C_k + sigma^2 I)."""
    identity = torch.eye(world.means.shape[1], dtype=torch.float64)
    return GaussianMixture(world.weights, at_t.alpha * world.means, at_t.alpha**2 * world.covariances + at_t.sigma**2 * identity)


def dense(world: SubspaceMixture) -> GaussianMixture:
    """The same law as a mixture of D x D covariances: N(centre + V (mu_k, 0), V diag(C_k, c) V^T)."""
    means = torch.nn.functional.pad(world.mixture.means, (0, len(world.rest_variances)))
    blocks = torch.stack([torch.block_diag(covariance, world.rest_variances.diag()) for covariance in world.mixture.covariances])
    covariances = world.basis @ blocks @ world.basis.T
    return GaussianMixture(world.mixture.weights, world.centre + means @ world.basis.T, (covariances + covariances.mT) / 2)


def log_components(law: GaussianMixture, x: Tensor) -> Tensor:
    """log(w_k p_k(x)), (B, K), with the density of torch.distributions."""
    normal = torch.distributions.MultivariateNormal(law.means, law.covariances)
    return law.weights.log() + normal.log_prob(x[:, None])


def rounding(world: GaussianMixture, x_t: Tensor, at_t: Level) -> float:
    """Relative rounding of a posterior quantity at x_t: 8 eps L kappa.

    Exponents of size L are rounded by eps L, which the posterior weights inherit; kappa is the condition number of the
    covariances that are inverted.
    """
    law = law_at(world, at_t)
    kappa = (law.variances.amax(1) / law.variances.amin(1)).max()
    return 8 * EPS * float((1 + log_components(law, x_t).abs().max()) * kappa)


def nodes_at(world: GaussianMixture, at_t: Level, nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes (M, D) and weights (M,) of an expectation over X_t."""
    law = law_at(world, at_t)
    z, weights = normal_rule(law.means.shape[1], nodes)
    x = law.means[:, None] + torch.einsum("kij,mj->kmi", torch.linalg.cholesky(law.covariances), z)
    return x.flatten(0, 1), (law.weights[:, None] * weights).flatten()


def expect(world: GaussianMixture, at_t: Level, f: Callable[[Tensor], Tensor], nodes: int) -> Tensor:
    """E f(X_t) for f: (M, D) -> (M, ...), with `nodes` nodes in each direction of each component."""
    x, weights = nodes_at(world, at_t, nodes)
    return torch.tensordot(weights, f(x), dims=1)


def converged(at: Callable[[int], Tensor], nodes: int, ceiling: float) -> tuple[Tensor, float]:
    """The value at(2 nodes) of a rule and a bound on its error, which is the change from `nodes` to 2 `nodes`.

    The rule converges geometrically, so the change bounds the error of the finer value with a wide margin.
    It fails if the change exceeds `ceiling`, because an expectation with a larger error supports no check.
    """
    coarse, fine = at(nodes), at(2 * nodes)
    change = float((fine - coarse).abs().max())
    assert change <= ceiling, (
        f"quadrature with {nodes} nodes has not converged: doubling them changes {change:.3g} > {ceiling:.3g}"
    )
    return fine, change + 100 * EPS * float(fine.abs().max())


def expectation(
    world: GaussianMixture, at_t: Level, f: Callable[[Tensor], Tensor], *, ceiling: float = 1e-6, nodes: int | None = None
) -> tuple[Tensor, float]:
    """E f(X_t) and a bound on its error; see `converged`."""
    return converged(lambda n: expect(world, at_t, f, n), nodes or NODES[world.means.shape[1]], ceiling)


def expect_step(step: Step, f: Callable[[Tensor], Tensor], nodes: int) -> Tensor:
    """E[f(X_s) | X_t] over a kernel's Gaussian step, for f: (M, B, D) -> (M, B, ...); returns (B, ...)."""
    z, weights = normal_rule(step.mean.shape[1], nodes)
    return torch.tensordot(weights, f(step.draw(z[:, None].expand(-1, *step.mean.shape))), dims=1)


def conditional(world: GaussianMixture, x_t: Tensor, *, at_n: Level, at_t: Level) -> tuple[Tensor, Tensor, Tensor]:
    """The law of X_n given X_t = x_t, a mixture again: weights (B, K), means (B, K, D), covariances (K, D, D).

    By conditioning the joint Gaussian of (X_n, X_t) in each component; level n may be clean.
    """
    identity = torch.eye(world.means.shape[1], dtype=torch.float64)
    ratio = at_t.alpha / at_n.alpha
    law_n, law_t = at_n.alpha**2 * world.covariances + at_n.sigma**2 * identity, law_at(world, at_t)
    gain = ratio * torch.linalg.solve(law_t.covariances, law_n).mT  # Cov(X_n, X_t) Cov(X_t)^-1
    means = at_n.alpha * world.means + torch.einsum("kij,bkj->bki", gain, x_t[:, None] - law_t.means)
    return log_components(law_t, x_t).softmax(1), means, law_n - ratio * gain @ law_n


def conditional_mean(world: GaussianMixture, x_t: Tensor, *, at_n: Level, at_t: Level) -> Tensor:
    """E[X_n | X_t = x_t], (B, D)."""
    weights, means, _ = conditional(world, x_t, at_n=at_n, at_t=at_t)
    return torch.einsum("bk,bkd->bd", weights, means)


def expect_conditional(
    world: GaussianMixture, x_t: Tensor, f: Callable[[Tensor], Tensor], nodes: int, *, at_n: Level, at_t: Level
) -> Tensor:
    """E[f(X_n) | X_t = x_t] under the exact conditional law, for f: (M, D) -> (M, ...); returns (B, ...)."""
    weights, means, covariances = conditional(world, x_t, at_n=at_n, at_t=at_t)
    z, rule = normal_rule(x_t.shape[1], nodes)
    roots = torch.linalg.cholesky((covariances + covariances.mT) / 2)
    x_n = means[:, :, None] + torch.einsum("kij,mj->kmi", roots, z)  # (B, K, M, D)
    values = f(x_n.flatten(0, 2)).unflatten(0, x_n.shape[:3])
    return torch.einsum("bk,m,bkm...->b...", weights, rule, values)


def bayes(world: GaussianMixture, x_t: Tensor, f: Callable[[Tensor], Tensor], nodes: int, *, at_t: Level) -> Tensor:
    """E[f(X_0) | X_t = x_t] by Bayes' rule alone: E[f(X_0) p(x_t | X_0)] / E[p(x_t | X_0)], over X_0."""
    x_0, weights = nodes_at(world, CLEAN, nodes)
    log_likelihood = -torch.cdist(x_t, at_t.alpha * x_0).square() / (2 * at_t.sigma**2)
    posterior = (weights.log() + log_likelihood).softmax(1)  # (B, M)
    return torch.tensordot(posterior, f(x_0), dims=1)
