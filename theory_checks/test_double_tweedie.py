"""Double Tweedie, E[X_n | X_t] and E[X_0 | X_t] from one another: the identity of Sec. 3.1, Lemmas A.2 and A.4, a misprint."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import tweedie
from ambient.paths import Level, VarianceExploding, VariancePreserving, transition
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import CLEAN, conditional_mean, rounding
from theory_checks.scorecard import Statement, worst
from theory_checks.strategies import EXAMPLES, level_pairs, likely_points, mixtures, paths, points

FORWARD = Statement("Sec. 3.1 identity", "E[X_n | X_t] = (alpha_n q^2 E[X_0 | X_t] + r sigma_n^2 x) / sigma_t^2, any path")
INVERSE = Statement("A.2, A.4", "E[X_0 | X_t] from E[X_n | X_t], with condition number sigma_t^2 / q^2")
PRINTED_VE = Statement("A.2, (A.9) and (A.12)", "right without the trailing + x_t; as printed it is off by exactly x_t")
PRINTED_VP = Statement("A.4, (A.19) and (A.28)", "right as printed, on VP")


def means(world: GaussianMixture, x: Tensor, at_n: Level, at_t: Level) -> tuple[Tensor, Tensor, float]:
    """E[X_0 | X_t = x], E[X_n | X_t = x] from conditioning Gaussians, and the rounding both carry."""
    x_0, x_n = (conditional_mean(world, x, at_n=level, at_t=at_t) for level in (CLEAN, at_n))
    return x_0, x_n, float(x.abs().max() + x_0.abs().max() + x_n.abs().max()) * rounding(world, x, at_t)


def forward(formula, world: GaussianMixture, at_n: Level, at_t: Level, x: Tensor) -> tuple[float, float]:
    """It is a weighted mean of x_0 and x, well conditioned for every t, also close to n."""
    x_0, x_n, tolerance = means(world, x, at_n, at_t)
    return float((formula(x, x_0, at_t=at_t, at_n=at_n) - x_n).abs().max()), tolerance


def inverse(formula, world: GaussianMixture, at_n: Level, at_t: Level, x: Tensor) -> tuple[float, float]:
    """Divides by alpha_n q^2 / sigma_t^2, and so does the tolerance: kappa = sigma_t^2 / q^2."""
    x_0, x_n, tolerance = means(world, x, at_n, at_t)
    kappa = float(at_t.sigma**2 / transition(at_n=at_n, at_t=at_t).q ** 2 / at_n.alpha)
    return float((formula(x, x_n, at_t=at_t, at_n=at_n) - x_0).abs().max()), tolerance * kappa


def weights(at_t: Level, at_n: Level) -> tuple[Tensor, Tensor, Tensor]:
    """r, q^2 and sigma_t^2, for the mutants."""
    r, q = transition(at_n=at_n, at_t=at_t)
    return r, q**2, at_t.sigma**2


def mutant_forward(a, b):
    """(a(...) x_0 + b(...) x) / sigma_t^2, with a and b functions of r, q^2, sigma_t^2, at_n, at_t."""

    def formula(x, x_0, *, at_t, at_n):
        r, q2, s2 = weights(at_t, at_n)
        return (a(r, q2, s2, at_n, at_t) * x_0 + b(r, q2, s2, at_n, at_t) * x) / s2

    return formula


FORWARD_MUTANTS = {
    "wrong sign": mutant_forward(lambda r, q2, s2, n, t: -n.alpha * q2, lambda r, q2, s2, n, t: r * n.sigma**2),
    "sigma for sigma^2": mutant_forward(lambda r, q2, s2, n, t: n.alpha * q2, lambda r, q2, s2, n, t: r * n.sigma),
    "q for q^2": mutant_forward(lambda r, q2, s2, n, t: n.alpha * q2.sqrt(), lambda r, q2, s2, n, t: r * n.sigma**2),
    "r forgotten": mutant_forward(lambda r, q2, s2, n, t: n.alpha * q2, lambda r, q2, s2, n, t: n.sigma**2),
    "alpha_n forgotten": mutant_forward(lambda r, q2, s2, n, t: q2, lambda r, q2, s2, n, t: r * n.sigma**2),
    "alpha_t for alpha_n": mutant_forward(lambda r, q2, s2, n, t: t.alpha * q2, lambda r, q2, s2, n, t: r * n.sigma**2),
    "weights exchanged": mutant_forward(lambda r, q2, s2, n, t: r * n.sigma**2, lambda r, q2, s2, n, t: n.alpha * q2),
}


def mutant_inverse(change):
    """x_0_from_x_n with one ingredient changed by change(at_t, at_n, x, x_n) -> arguments of the true formula."""

    def formula(x, x_n, *, at_t, at_n):
        x, x_n, at_t, at_n = change(x, x_n, at_t, at_n)
        return tweedie.x_0_from_x_n(x, x_n, at_t=at_t, at_n=at_n)

    return formula


INVERSE_MUTANTS = {
    "wrong sign of x_t": mutant_inverse(lambda x, x_n, t, n: (-x, x_n, t, n)),
    "sigma_n of half the size": mutant_inverse(lambda x, x_n, t, n: (x, x_n, t, Level(n.alpha, n.sigma / 2))),
    "x_n left in place of its mean": lambda x, x_n, *, at_t, at_n: x_n / at_n.alpha,
    "VE formula on every path": lambda x, x_n, *, at_t, at_n: (
        (at_t.sigma**2 * x_n - at_n.sigma**2 * x) / (at_t.sigma**2 - at_n.sigma**2)
    ),
    "trailing + x_t": lambda x, x_n, *, at_t, at_n: tweedie.x_0_from_x_n(x, x_n, at_t=at_t, at_n=at_n) + x,
}


@given(st.data())
def test_x_n_from_x_0(data):
    world, path = data.draw(mixtures()), data.draw(paths())
    at_n, at_t = (path(time) for time in data.draw(level_pairs(path)))
    FORWARD.holds(*forward(tweedie.x_n_from_x_0, world, at_n, at_t, data.draw(points(world, at_t))))


@given(st.data())
def test_x_0_from_x_n(data):
    world, path = data.draw(mixtures()), data.draw(paths())
    at_n, at_t = (path(time) for time in data.draw(level_pairs(path)))
    INVERSE.holds(*inverse(tweedie.x_0_from_x_n, world, at_n, at_t, data.draw(points(world, at_t))))


def on_examples(measure, formula, path_type=object) -> tuple[float, float]:
    """The largest error of a formula on the examples of a kind of path."""
    cases = [(e.world, e.path(e.t_n), e.path(e.t)) for e in EXAMPLES if isinstance(e.path, path_type)]
    return worst(measure(formula, world, at_n, at_t, likely_points(world, at_t)) for world, at_n, at_t in cases)


@pytest.mark.parametrize("name", FORWARD_MUTANTS)
def test_x_n_from_x_0_rejects(name):
    FORWARD.rejects(name, *on_examples(forward, FORWARD_MUTANTS[name]))


@pytest.mark.parametrize("name", INVERSE_MUTANTS)
def test_x_0_from_x_n_rejects(name):
    INVERSE.rejects(name, *on_examples(inverse, INVERSE_MUTANTS[name]))


def a_9(x: Tensor, x_n: Tensor, *, at_t: Level, at_n: Level, trailing: float = 0.0, power: int = 2) -> Tensor:
    """(A.9) term by term; `trailing` = 1 as printed."""
    s_t, s_n = at_t.sigma**power, at_n.sigma**power
    return s_t / (s_t - s_n) * x_n - s_n / (s_t - s_n) * x + trailing * x


def a_28(x: Tensor, x_n: Tensor, *, at_t: Level, at_n: Level, inner: int = 2) -> Tensor:
    """(A.28) as printed, term by term; it knows sigma alone."""
    s_t, s_n = at_t.sigma**2, at_n.sigma**2
    keep_n, keep_t = (1 - at_n.sigma**inner).sqrt(), (1 - at_t.sigma**inner).sqrt()
    return s_t / (s_t - s_n) * keep_n * x_n - s_n * keep_t / (s_t - s_n) * x


def inverse_vp(formula, world: GaussianMixture, at_n: Level, at_t: Level, x: Tensor) -> tuple[float, float]:
    """As `inverse`; (A.28) knows sigma alone, and 1 - sigma^2 is rounded by eps relative to 1.

    So the tolerance grows by 1 / sigma_t^2 for q^2 and by 1 / alpha_t^2 for the square roots.
    """
    error, tolerance = inverse(formula, world, at_n, at_t, x)
    return error, tolerance * float(1 / at_t.sigma**2 + 1 / at_t.alpha**2)


@given(st.data())
def test_a_9_without_its_last_term_on_ve(data):
    world, path = data.draw(mixtures()), VarianceExploding()
    at_n, at_t = (path(time) for time in data.draw(level_pairs(path)))
    x = data.draw(points(world, at_t))
    PRINTED_VE.holds(*inverse(a_9, world, at_n, at_t, x))

    def printed_less_x_t(*args, **levels):
        return a_9(*args, **levels, trailing=1.0) - x

    PRINTED_VE.holds(*inverse(printed_less_x_t, world, at_n, at_t, x))  # the printed form is off by exactly x_t


@given(st.data())
def test_a_28_as_printed_on_vp(data):
    world, path = data.draw(mixtures()), data.draw(paths().filter(lambda p: isinstance(p, VariancePreserving)))
    at_n, at_t = (path(time) for time in data.draw(level_pairs(path)))
    PRINTED_VP.holds(*inverse_vp(a_28, world, at_n, at_t, data.draw(points(world, at_t))))


VE_MUTANTS = {
    "as printed, trailing + x_t": lambda *args, **levels: a_9(*args, **levels, trailing=1.0),
    "trailing - x_t": lambda *args, **levels: a_9(*args, **levels, trailing=-1.0),
    "sigma for sigma^2": lambda *args, **levels: a_9(*args, **levels, power=1),
    "t and n exchanged": lambda x, x_n, *, at_t, at_n: a_9(x, x_n, at_t=at_n, at_n=at_t),
}
VP_MUTANTS = {
    "sqrt(1 - sigma)": lambda *args, **levels: a_28(*args, **levels, inner=1),
    "t and n exchanged": lambda x, x_n, *, at_t, at_n: a_28(x, x_n, at_t=at_n, at_n=at_t),
    "the VE form": a_9,
    "trailing + x_t": lambda x, x_n, **levels: a_28(x, x_n, **levels) + x,
}


@pytest.mark.parametrize("name", VE_MUTANTS)
def test_a_9_rejects(name):
    PRINTED_VE.rejects(name, *on_examples(inverse, VE_MUTANTS[name], VarianceExploding))


@pytest.mark.parametrize("name", VP_MUTANTS)
def test_a_28_rejects(name):
    PRINTED_VP.rejects(name, *on_examples(inverse_vp, VP_MUTANTS[name], VariancePreserving))


def test_limits():
    """At t = n the result is x, without an inverse; where no signal is left, alpha_n E[X_0]; if n is clean, x_0."""
    x, x_0 = torch.tensor([[1.5, -0.5]], dtype=torch.float64), torch.tensor([[0.3, 0.2]], dtype=torch.float64)
    for example in EXAMPLES:
        at_n, at_t = example.path(example.t_n), example.path(example.t)
        assert torch.equal(tweedie.x_n_from_x_0(x, x_0, at_t=at_n, at_n=at_n), x)
        assert torch.equal(tweedie.x_n_from_x_0(x, x_0, at_t=CLEAN, at_n=CLEAN), x)
        assert torch.equal(tweedie.x_n_from_x_0(x, x_0, at_t=at_t, at_n=CLEAN), x_0)
        pure_noise = Level(torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
        assert torch.equal(tweedie.x_n_from_x_0(x, x_0, at_t=pure_noise, at_n=at_n), at_n.alpha * x_0)
        with pytest.raises(ValueError, match="strictly noisier"):
            tweedie.x_0_from_x_n(x, x_0, at_t=at_n, at_n=at_n)
        with pytest.raises(ValueError, match="less noisy"):
            tweedie.x_n_from_x_0(x, x_0, at_t=at_n, at_n=at_t)
