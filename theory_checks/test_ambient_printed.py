"""Theorems 3.1 and A.5 as printed in the version we read: the VE objective is misprinted, the VP one is right."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ambient import losses
from ambient.paths import Path, VarianceExploding, VariancePreserving, transition
from ambient.randomness import generator
from ambient.worlds import GaussianMixture
from theory_checks.population import excess, perturbed
from theory_checks.quadrature import EPS
from theory_checks.scorecard import Statement, worst
from theory_checks.strategies import EXAMPLES_1D, level_pairs, mixtures, paths

PRINTED_VE = Statement(
    "3.1, VE objective as printed", "is minimised by E[X_0 | X_t] + x_t; without the subtracted x_t it is the ambient loss"
)
PRINTED_VP = Statement("A.5, (A.29)", "as printed it is the ambient loss on VP, sample by sample")


def printed_ve(h, x_n, z, *, path, t_n, t, subtracted=1.0, power=2):
    """The objective of Theorem 3.1 term by term; `subtracted` = 1 as printed."""
    s_t, s_n = path(t).sigma ** power, path(t_n).sigma ** power
    x_t = x_n + (path(t).sigma ** 2 - path(t_n).sigma ** 2).sqrt() * z
    return losses.squared_norm((s_t - s_n) / s_t * (h(x_t, t) - subtracted * x_t) + s_n / s_t * x_t - x_n)


def weight(path: Path, t_n: float, t: float) -> float:
    """((sigma_t^2 - sigma_n^2) / sigma_t^2)^2, the square of the printed factor of h."""
    s_t, s_n = float(path(t).sigma) ** 2, float(path(t_n).sigma) ** 2
    return ((s_t - s_n) / s_t) ** 2


def printed_minimiser(shift: float, power: int, world: GaussianMixture, path: Path, t_n: float, t: float) -> tuple[float, float]:
    """Is E[X_0 | X_t] + shift x_t the minimiser of the printed objective, with the excess of the theorem?"""
    exact, scale = world.denoiser(path), weight(path, t_n, t)
    return excess(
        lambda h, x_n, z: printed_ve(h, x_n, z, path=path, t_n=t_n, t=t, power=power) / scale,
        world, path, t_n=t_n, t=t, weight=1.0, minimiser=perturbed(exact, lambda x: shift * x),
    )  # fmt: skip


@given(st.data())
def test_the_printed_ve_objective_is_minimised_by_the_mean_plus_x_t(data):
    world, path = data.draw(mixtures(dims=(1,))), VarianceExploding()
    t_n, t = data.draw(level_pairs(path, low=0.1, smallest_gap=1e-3))
    PRINTED_VE.holds(*printed_minimiser(1.0, 2, world, path, t_n, t))
    scale = weight(path, t_n, t)
    corrected = excess(
        lambda h, x_n, z: printed_ve(h, x_n, z, path=path, t_n=t_n, t=t, subtracted=0.0) / scale,
        world, path, t_n=t_n, t=t, weight=1.0,
    )  # fmt: skip
    PRINTED_VE.holds(*corrected)


@pytest.mark.parametrize(
    ("name", "shift", "power"),
    [
        ("the theorem as printed: minimised by E[X_0 | X_t]", 0.0, 2),
        ("by E[X_0 | X_t] - x_t", -1.0, 2),
        ("by E[X_0 | X_t] + x_t / 2", 0.5, 2),
        ("sigma for sigma^2", 1.0, 1),
    ],
)
def test_the_printed_ve_objective_rejects(name, shift, power):
    cases = [e for e in EXAMPLES_1D if isinstance(e.path, VarianceExploding)]
    PRINTED_VE.rejects(name, *worst(printed_minimiser(shift, power, e.world, e.path, e.t_n, e.t) for e in cases))


def printed_vp(h, x_n, z, *, path, t_n, t, power=2, swap=False, keep=lambda s: (1 - s).sqrt()):
    """(A.29) term by term; it knows sigma alone."""
    s_t, s_n = path(t).sigma ** 2, path(t_n).sigma ** 2
    x_t = ((1 - s_t) / (1 - s_n)).sqrt() * x_n + ((s_t - s_n) / (1 - s_n)).sqrt() * z
    if swap:
        s_t, s_n = s_n, s_t
    from_h = (s_t - s_n) / (s_t * keep(s_n))
    return losses.squared_norm(from_h * h(x_t, t) + (s_n / s_t) ** (power / 2) * keep(s_t) / keep(s_n) * x_t - x_n)


def same_loss(formula, path: Path, t_n: float, t: float) -> tuple[float, float]:
    """Sample by sample on 64 draws, for h(x) = sin x.

    1 - sigma^2 is rounded by eps relative to 1: eps / alpha_t^2 in the roots, eps / sigma_t^2 in the weights, eps / q in q.
    """
    g = generator(0, "printed-vp")
    x_n, z = torch.randn(2, 64, 1, generator=g, dtype=torch.float64)
    pair = [f(lambda x, t, c=None: x.sin(), x_n, z, path=path, t_n=t_n, t=t) for f in (losses.ambient, formula)]
    at_n, at_t = path(t_n), path(t)
    q, scale = transition(at_n=at_n, at_t=at_t).q, float((x_n.abs() + z.abs() + 1).square().max())
    kappa = float(1 / q + 1 / at_t.alpha**2 + 1 / at_t.sigma**2)
    return float((pair[0] - pair[1]).abs().max()), 64 * EPS * scale * kappa


VP_MUTANTS = {
    "sigma_n / sigma_t for its square": lambda *a, **k: printed_vp(*a, **k, power=1),
    "t and n exchanged": lambda *a, **k: printed_vp(*a, **k, swap=True),
    "square roots missing": lambda *a, **k: printed_vp(*a, **k, keep=lambda s: 1 - s),
    "the VE form": lambda *a, **k: printed_vp(*a, **k, keep=lambda s: torch.ones_like(s)),
}


@given(st.data())
def test_a_29_as_printed_is_the_ambient_loss(data):
    path = data.draw(paths().filter(lambda p: isinstance(p, VariancePreserving)))
    PRINTED_VP.holds(*same_loss(printed_vp, path, *data.draw(level_pairs(path))))


@pytest.mark.parametrize("name", VP_MUTANTS)
def test_a_29_rejects(name):
    cases = [e for e in EXAMPLES_1D if isinstance(e.path, VariancePreserving)]
    PRINTED_VP.rejects(name, *worst(same_loss(VP_MUTANTS[name], e.path, e.t_n, e.t) for e in cases))
