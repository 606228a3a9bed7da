"""X_t from X_0 and from X_n: (3.2), (3.4), (A.24), (A.25), and the log-SNR that orders the levels of a path."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ambient.paths import Discrete, Level, Path, RectifiedFlow, Transition, VarianceExploding, VariancePreserving, transition
from theory_checks.quadrature import EPS
from theory_checks.scorecard import Statement, worst
from theory_checks.strategies import EXAMPLES, floats, level_pairs, paths, time_at, times

JOINT = Statement("(3.4), (A.25)", "X_t = r X_n + q Z has, with X_0 and X_n, the joint law of (3.2), also close to t = n")
PRINTED = Statement("(A.24)", "on VP, r and q are the two square roots of the paper")
CHAIN = Statement("(3.4) chained", "n -> t -> u is n -> u")
INVERSE = Statement("log-SNR", "t_from_log_snr inverts log(alpha^2 / sigma^2), whose value follows from the level")


def joint(formula, path: Path, t_n: float, t: float) -> tuple[float, float]:
    """Coefficients of (X_0, Z, Z') in X_t, against the levels as exact rational numbers.

    q^2 is a difference of nearly equal numbers: its relative error is a few eps times kappa = sigma_t^2 / q^2. One rounding of
    r and two of the factors of q^2 = (sigma_t - r sigma_n)(sigma_t + r sigma_n) give 3 kappa; C = 8.
    """
    at_n, at_t = path(t_n), path(t)
    x_0, z_1, z_2 = torch.eye(3, dtype=torch.float64).split(1, dim=1)
    x_t = formula(at_n=at_n, at_t=at_t).apply(at_n.apply(x_0, z_1), z_2).flatten().tolist()
    (alpha_n, sigma_n), (alpha_t, sigma_t) = ([Fraction(float(v)) for v in level] for level in (at_n, at_t))
    r = alpha_t / alpha_n
    q_squared = sigma_t**2 - (r * sigma_n) ** 2
    error = max(
        abs(Fraction(x_t[0]) / alpha_t - 1),
        abs(Fraction(x_t[1]) - r * sigma_n) / sigma_t,
        abs(Fraction(x_t[2]) ** 2 / q_squared - 1) if not math.isnan(x_t[2]) else Fraction(1),
    )
    return float(error), 8 * EPS * float(sigma_t**2 / q_squared)


JOINT_MUTANTS = {
    "r forgotten in q": lambda *, at_n, at_t: Transition(at_t.alpha / at_n.alpha, (at_t.sigma**2 - at_n.sigma**2).sqrt()),
    "r for r^2 in q": lambda *, at_n, at_t: Transition(
        at_t.alpha / at_n.alpha, (at_t.sigma**2 - at_t.alpha / at_n.alpha * at_n.sigma**2).sqrt()
    ),
    "sigma for sigma^2": lambda *, at_n, at_t: Transition(
        at_t.alpha / at_n.alpha, (at_t.sigma - at_t.alpha / at_n.alpha * at_n.sigma).sqrt()
    ),
    "t and n exchanged in r": lambda *, at_n, at_t: Transition(at_n.alpha / at_t.alpha, transition(at_n=at_n, at_t=at_t).q),
    "q^2 for q": lambda *, at_n, at_t: Transition(at_t.alpha / at_n.alpha, transition(at_n=at_n, at_t=at_t).q ** 2),
}


@given(st.data())
def test_joint_law_of_x_0_x_n_and_x_t(data):
    path = data.draw(paths())
    JOINT.holds(*joint(transition, path, *data.draw(level_pairs(path))))


@pytest.mark.parametrize("name", JOINT_MUTANTS)
def test_joint_law_rejects(name):
    JOINT.rejects(name, *worst(joint(JOINT_MUTANTS[name], e.path, e.t_n, e.t) for e in EXAMPLES))


def printed(formula, path: Path, t_n: float, t: float) -> tuple[float, float]:
    """Against (A.24), relative. alpha^2 + sigma^2 = 1 to one rounding, so q^2 carries eps / q^2; C = 8."""
    at_n, at_t = path(t_n), path(t)
    r, q = formula(at_n=at_n, at_t=at_t)
    s_n, s_t = float(at_n.sigma) ** 2, float(at_t.sigma) ** 2
    alpha, beta = math.sqrt((1 - s_t) / (1 - s_n)), math.sqrt((s_t - s_n) / (1 - s_n))
    error = max(abs(float(r) / alpha - 1), abs(float(q) / beta - 1))
    return error, 8 * EPS * (1 / (s_t - s_n) + 1 / (1 - s_t))


@given(st.data())
def test_vp_transition_is_the_papers(data):
    path = data.draw(paths().filter(lambda p: isinstance(p, VariancePreserving)))
    PRINTED.holds(*printed(transition, path, *data.draw(level_pairs(path))))


@pytest.mark.parametrize("name", [*JOINT_MUTANTS])
def test_vp_transition_rejects(name):
    vp = [e for e in EXAMPLES if isinstance(e.path, VariancePreserving)]
    measured = [printed(JOINT_MUTANTS[name], e.path, e.t_n, e.t) for e in vp]
    PRINTED.rejects(name, *worst(measured))


def compose(first: Transition, second: Transition) -> Transition:
    """X_u = r' (r X_n + q Z) + q' Z'."""
    return Transition(second.ratio * first.ratio, ((second.ratio * first.q) ** 2 + second.q**2).sqrt())


CHAIN_MUTANTS = {
    "first noise not scaled": lambda a, b: Transition(b.ratio * a.ratio, (a.q**2 + b.q**2).sqrt()),
    "deviations added": lambda a, b: Transition(b.ratio * a.ratio, b.ratio * a.q + b.q),
    "order exchanged": lambda a, b: compose(b, a),
    "one noise used twice": lambda a, b: Transition(b.ratio * a.ratio, (b.ratio * a.q + b.q).abs()),
    "variance scaled by r'": lambda a, b: Transition(b.ratio * a.ratio, (b.ratio * a.q**2 + b.q**2).sqrt()),
}


def chain(formula, path: Path, t_n: float, t: float, u: float) -> tuple[float, float]:
    """r relative, q^2 relative to sigma_u^2: each q^2 is right to a few eps of its level's sigma^2, and r' sigma_t <= sigma_u."""
    at_n, at_t, at_u = path(t_n), path(t), path(u)
    direct = transition(at_n=at_n, at_t=at_u)
    steps = formula(transition(at_n=at_n, at_t=at_t), transition(at_n=at_t, at_t=at_u))
    error = max(float((steps.ratio / direct.ratio - 1).abs()), float((steps.q**2 - direct.q**2).abs() / at_u.sigma**2))
    return error, 16 * EPS


@given(st.data())
def test_two_transitions_are_one(data):
    path = data.draw(paths())
    t_n, t = data.draw(level_pairs(path, high=0.6))
    u = t + (min(path.t_max, 4 * t) - t) * 10 ** data.draw(floats(-6, -0.05))
    CHAIN.holds(*chain(compose, path, t_n, t, u))


@pytest.mark.parametrize("name", CHAIN_MUTANTS)
def test_two_transitions_reject(name):
    CHAIN.rejects(name, *worst(chain(CHAIN_MUTANTS[name], e.path, e.t_n, e.t, time_at(e.path, 1.7)) for e in EXAMPLES))


def inverse(change, path: Path, t: float) -> tuple[float, float]:
    """t_from_log_snr(l) against t, and l against the level. l = 2 (log alpha - log sigma) carries a few eps (1 + |l|), and t the
    derivative times that; the derivative is autograd's.
    """
    alpha, sigma = (float(v) for v in path(t))
    log_snr = path.log_snr(t)
    back = torch.func.grad(path.t_from_log_snr)(log_snr).abs()
    value_error = abs(float(change(log_snr)) - math.log(alpha**2 / sigma**2))
    time_error = float((path.t_from_log_snr(change(log_snr)) - t).abs())
    allowed = 8 * EPS * (1 + float(log_snr.abs()))
    return max(value_error / allowed, time_error / (allowed * float(back) + 8 * EPS * t)), 1.0


INVERSE_MUTANTS = {
    "sigma for sigma^2": lambda log_snr: log_snr / 2,
    "wrong sign": lambda log_snr: -log_snr,
    "decibels for logarithms": lambda log_snr: log_snr * 10 / math.log(10),
}


@given(st.data())
def test_log_snr_has_an_inverse(data):
    path = data.draw(paths())
    INVERSE.holds(*inverse(lambda log_snr: log_snr, path, data.draw(times(path, low=1e-3))))


@pytest.mark.parametrize("name", INVERSE_MUTANTS)
def test_log_snr_rejects(name):
    INVERSE.rejects(name, *worst(inverse(INVERSE_MUTANTS[name], e.path, e.t) for e in EXAMPLES))


@pytest.mark.parametrize("path", [VarianceExploding(), VariancePreserving(), RectifiedFlow()], ids=lambda p: type(p).__name__)
def test_limits(path):
    """Clean data is alpha = 1, sigma = 0 exactly; at t = n exactly no noise is added; a level with less noise than n is refused.

    One third in float32 is 1e-8 larger, so as a level of the data it lies above t = 1/3; that counts as t = n.
    """
    assert [float(v) for v in path(0.0)] == [1.0, 0.0]
    for t in torch.linspace(0.0, 0.9, 50, dtype=torch.float64):
        assert transition(at_n=path(t), at_t=path(t)) == Transition(torch.tensor(1.0), torch.tensor(0.0))
    with pytest.raises(ValueError, match="less noisy than t_n"):
        transition(at_n=path(0.5), at_t=path(0.5 - 1e-4))
    ratio, q = transition(at_n=path(torch.tensor(1 / 3)), at_t=path(1 / 3))
    assert float(q) == 0
    assert float(ratio) == pytest.approx(1, rel=1e-6)
    with pytest.raises(ValueError, match="less noisy than t_n"):  # one sample of several is enough
        transition(at_n=path(torch.tensor([0.5, 0.5])), at_t=path(torch.tensor([0.6, 0.4])))


def test_close_levels_lose_nothing_on_ve():
    """With r = 1 the difference sigma_t - sigma_n of close levels is exact, so q^2 is right to 4 roundings at any gap."""
    path = VarianceExploding()
    for gap in torch.logspace(-12, 0, 50, dtype=torch.float64):
        sigma_n, sigma_t = 0.3, float(0.3 * (1 + gap))
        exact = Fraction(sigma_t) ** 2 - Fraction(sigma_n) ** 2
        q = Fraction(float(transition(at_n=path(sigma_n), at_t=path(sigma_t)).q))
        assert abs(float(q**2 / exact - 1)) <= 4 * EPS


def test_no_signal_at_the_end_of_rectified_flow():
    """At t = 1 X_t is pure noise, whatever n; and nothing can be re-noised from there."""
    path = RectifiedFlow()
    assert transition(at_n=path(0.3), at_t=path(1.0)) == Transition(torch.tensor(0.0), torch.tensor(1.0))
    with pytest.raises(ValueError, match="holds no signal"):
        transition(at_n=path(1.0), at_t=path(1.0))


def test_discrete_path_inverts_its_log_snr_on_the_grid():
    path = Discrete(torch.linspace(0.999, 0.01, 50))
    grid = torch.arange(1, 50, dtype=torch.float64)
    assert torch.equal(path.t_from_log_snr(path.log_snr(grid)), grid)


def test_per_sample_levels_are_the_single_ones():
    path = VariancePreserving()
    t_n, t = torch.tensor([0.0, 0.1, 0.3, 0.3]), torch.tensor([0.2, 0.1, 0.31, 0.9])
    together = transition(at_n=path(t_n), at_t=path(t))
    for i in range(4):
        one = transition(at_n=path(t_n[i]), at_t=path(t[i]))
        assert torch.equal(torch.stack(one), torch.stack(together)[:, i])
    assert Level(*together).like(torch.zeros(4, 2, 3)).alpha.shape == (4, 1, 1)
