"""The matched step of any h, whose Jacobian need not be symmetric.

The true h, whose Jacobian is symmetric, is tested in test_reverse_sde.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import kernels
from ambient.paths import Path, transition
from theory_checks.quadrature import EPS
from theory_checks.scorecard import Statement, worst
from theory_checks.strategies import EXAMPLES, floats, level_pairs, paths
from theory_checks.waves import WAVES, Wave, waves

ANY_H = Statement(
    "matched, any h", "Cov(X_0 | X_t) is taken as (s^2/a) (J + J^T) / 2 without its negative directions; the trace alike, spread"
)

PROBED = Statement("matched-trace, probe", "the trace of dh/dx is taken as Z . (dh/dx) Z, spread over the D coordinates")

X = torch.tensor([[0.3, -0.8], [1.1, 0.4], [-2.0, 0.2]], dtype=torch.float64)
Claim = Callable[[Tensor], Tensor]  # of the Jacobian J (B, D, D)


def slope(h: Wave, x: Tensor, t: float) -> Tensor:
    """dh_i / dx_j, (B, D, D)."""
    return h.linear + torch.einsum("if,bf,fj->bij", h.out, torch.cos(h.phase(x, t)), h.frequency)


def positive_part(symmetric: Tensor) -> Tensor:
    """(S + |S|) / 2, with |S| = V diag(singular values) V^T."""
    _, values, vectors = torch.linalg.svd(symmetric)
    return (symmetric + vectors.mT @ (values.unsqueeze(2) * vectors)) / 2


def symmetrised(jacobian: Tensor) -> Tensor:
    return positive_part((jacobian + jacobian.mT) / 2)


def of_triangle(triangle: Tensor) -> Tensor:
    """The matrix that an eigenvalue routine for symmetric matrices sees: it reads one triangle only."""
    return positive_part(triangle + triangle.mT - torch.diag_embed(triangle.diagonal(dim1=1, dim2=2)))


def spread(jacobian: Tensor) -> Tensor:
    size = jacobian.shape[1]
    return jacobian.diagonal(dim1=1, dim2=2).mean(1).clamp_min(0)[:, None, None] * torch.eye(size, dtype=torch.float64)


def covariance(step: kernels.Step) -> Tensor:
    """The covariance of X_s given X_t: std std^T, or std^2 I."""
    if step.is_matrix:
        return step.std @ step.std.mT
    return torch.diag_embed(step.std.expand_as(step.mean) ** 2)


def discrepancy(claim: Claim, h: Wave, path: Path, s: float, t: float, x: Tensor, kernel: kernels.Kernel = kernels.matched):
    """The step's covariance against sigma_s^2 q^2 / sigma_t^2 I + (alpha_s q^2 / sigma_t^2)^2 Cov.

    Sums of a few terms of size at most 1 and the size of Cov, an eigenvalue decomposition of as much: 100 eps of it.
    """
    at_s, at_t = path(s), path(t)
    share = transition(at_n=at_s, at_t=at_t).q ** 2 / at_t.sigma**2
    of_x_0 = at_t.sigma**2 / at_t.alpha * claim(slope(h, x, t))
    claimed = at_s.sigma**2 * share * torch.eye(x.shape[1], dtype=torch.float64) + (at_s.alpha * share) ** 2 * of_x_0
    step = kernel(h, x, path=path, t=t, s=s)
    return float((covariance(step) - claimed).abs().max()), float(100 * EPS * (1 + of_x_0.abs().max()))


@given(st.data(), paths(), st.sampled_from((1, 2, 3)))
def test_the_covariance_of_a_matched_step(data, path, size):
    s, t = data.draw(level_pairs(path))
    x = torch.tensor(data.draw(st.lists(floats(-3.0, 3.0), min_size=4 * size, max_size=4 * size)), dtype=torch.float64)
    h = data.draw(waves(size))
    pairs = ((symmetrised, kernels.matched), (spread, kernels.matched_trace))
    ANY_H.holds(*worst(discrepancy(claim, h, path, s, t, x.reshape(4, size), kernel) for claim, kernel in pairs))


def along(probe: Tensor) -> Claim:
    """Z . J Z / D, in every direction: what the trace is estimated by."""

    def claim(jacobian: Tensor) -> Tensor:
        size = jacobian.shape[1]
        estimate = torch.einsum("bi,bij,bj->b", probe, jacobian, probe) / size
        return estimate.clamp_min(0)[:, None, None] * torch.eye(size, dtype=torch.float64)

    return claim


def with_probe(probe: Tensor) -> kernels.Kernel:
    return functools.partial(kernels.matched_trace, probe=probe)  # type: ignore[return-value]


@given(st.data(), paths(), st.sampled_from((1, 2, 3)))
def test_a_probe_estimates_the_trace(data, path, size):
    s, t = data.draw(level_pairs(path))
    drawn = st.lists(floats(-3.0, 3.0), min_size=4 * size, max_size=4 * size)
    x, probe = (torch.tensor(data.draw(drawn), dtype=torch.float64).reshape(4, size) for _ in range(2))
    PROBED.holds(*discrepancy(along(probe), data.draw(waves(size)), path, s, t, x, with_probe(probe)))


PROBE = torch.tensor([[1.0, -1.0], [0.5, 1.5], [-1.2, 0.3]], dtype=torch.float64)
PROBE_MUTANTS: dict[str, Claim] = {
    "the sum of J Z": lambda jacobian: along(torch.ones_like(PROBE))(jacobian * PROBE[:, None]),
    "the sum of Z J": lambda jacobian: along(torch.ones_like(PROBE))(jacobian * PROBE[:, :, None]),
    "a probe without signs": lambda jacobian: along(PROBE.abs())(jacobian),
    "the trace itself": spread,
    "not divided by D": lambda jacobian: 2 * along(PROBE)(jacobian),
}


@pytest.mark.parametrize("mutant", PROBE_MUTANTS)
def test_a_probe_rejects(mutant):
    cases = ((PROBE_MUTANTS[mutant], WAVES[2], e.path, e.t_n, e.t, X, with_probe(PROBE)) for e in EXAMPLES)
    PROBED.rejects(mutant, *worst(discrepancy(*case) for case in cases))


MUTANTS: dict[str, Claim] = {
    "not symmetrised": lambda jacobian: of_triangle(jacobian.tril()),
    "transposed and not symmetrised": lambda jacobian: of_triangle(jacobian.mT.tril()),
    "J J^T": lambda jacobian: jacobian @ jacobian.mT,
    "negative directions kept": lambda jacobian: (jacobian + jacobian.mT) / 2,
    "negative directions turned round": lambda jacobian: 2 * symmetrised(jacobian) - (jacobian + jacobian.mT) / 2,
    "the trace alone": spread,
}
TURNED = WAVES[2]._replace(linear=torch.tensor([[0.4, 0.9], [-0.1, -0.8]], dtype=torch.float64))  # one direction is negative


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_covariance_rejects(mutant):
    ANY_H.rejects(mutant, *worst(discrepancy(MUTANTS[mutant], TURNED, e.path, e.t_n, e.t, X) for e in EXAMPLES))
