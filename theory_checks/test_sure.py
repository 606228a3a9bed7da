"""SURE: the risk of a denoiser from noisy data alone, its two estimators of the divergence, and the misprint in Sec. 2.2."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import losses
from ambient.paths import Path, VarianceExploding
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import EPS, converged, law_at
from theory_checks.scorecard import Statement, mildest
from theory_checks.strategies import WITH_ALPHA, floats, mixtures, paths, times
from theory_checks.waves import WAVES, Wave, hermite_rule, point_and_noise, waves

RISK = Statement("SURE", "||h - x_n/a||^2 + 2 (s^2/a) div h - d s^2/a^2 has the mean E||h - X_0||^2, for any h")
PRINTED = Statement("SURE, as printed", "with (div h)^2 the mean is off by 2 s^2 E[(div h)^2 - div h] + d s^2")
PROBES = Statement("SURE, JVP", "Z . (dh/dx) Z averages to div h over probes of covariance I")
DIFFERENCE = Statement("SURE, finite difference", "with step e: unbiased for div h smoothed by e, so of bias e^2/2 Lap div h")

Formula = Callable[..., Tensor]
NODES = 8


@st.composite
def cases(draw: st.DrawFn) -> tuple[GaussianMixture, Path, float, Wave]:
    world, path = draw(mixtures(dims=(1, 1, 2), components=(1, 2))), draw(paths())
    return world, path, draw(times(path, high=1.0)), draw(waves(world.means.shape[1]))


def means(formula: Formula, world: GaussianMixture, path: Path, t_n: float, h: Wave, nodes: int) -> Tensor:
    """(E formula(X_n), E||h(X_n) - X_0||^2): the first from noisy points, the second from clean points and their noise."""
    x_n, _, weights = point_and_noise(law_at(world, path(t_n)), nodes)
    x_0, noise, clean_weights = point_and_noise(world, nodes)
    return torch.stack(
        [weights @ formula(h, x_n, path=path, t_n=t_n), clean_weights @ losses.denoising(h, x_0, noise, path=path, t=t_n)]
    )


def risk_discrepancy(formula: Formula, world: GaussianMixture, path: Path, t_n: float, h: Wave) -> tuple[float, float]:
    (estimate, risk), bound = converged(lambda nodes: means(formula, world, path, t_n, h, nodes), NODES, 1e-4)
    return abs(float(estimate - risk)), 2 * bound


@given(cases())
def test_sure_is_the_risk(case):
    RISK.holds(*risk_discrepancy(losses.sure, *case))


def sure_with(
    *, divergence: float = 1.0, power: int = 1, constant: float = 1.0, sigma_power: int = 2, alpha_power: int = 1
) -> Formula:
    """SURE in closed form for a `Wave`, with one thing changed."""

    def formula(h: Wave, x_n: Tensor, *, path: Path, t_n: float) -> Tensor:
        alpha, sigma = path(t_n)
        weight = divergence * 2 * sigma**sigma_power / alpha**alpha_power
        residual = losses.squared_norm(h(x_n, t_n) - x_n / alpha)
        return residual + weight * h.divergence(x_n, t_n) ** power - constant * (sigma / alpha) ** 2 * x_n.shape[1]

    return formula


RISK_MUTANTS = {
    "(div h)^2, as printed": sure_with(power=2),
    "without - d s^2": sure_with(constant=0.0),
    "half the divergence": sure_with(divergence=0.5),
    "minus the divergence": sure_with(divergence=-1.0),
    "sigma for sigma^2": sure_with(sigma_power=1),
    "alpha forgotten": sure_with(alpha_power=0),
}


@pytest.mark.parametrize("mutant", RISK_MUTANTS)
def test_sure_mutants(mutant):
    cases = [(e.world, e.path, e.t_n, WAVES[e.world.means.shape[1]]) for e in WITH_ALPHA]
    RISK.rejects(mutant, *mildest(risk_discrepancy(RISK_MUTANTS[mutant], *case) for case in cases))


def printed_discrepancy(excess: Callable[..., Tensor], world: GaussianMixture, t_n: float, h: Wave) -> tuple[float, float]:
    """The printed objective's mean less the risk, against a prediction of it; VE, as in Sec. 2.2."""
    path = VarianceExploding()

    def at(nodes: int) -> Tensor:
        x_n, _, weights = point_and_noise(law_at(world, path(t_n)), nodes)
        printed, risk = means(sure_with(power=2, constant=0.0), world, path, t_n, h, nodes)
        return torch.stack([printed, risk, weights @ excess(h.divergence(x_n, t_n), t_n, x_n.shape[1])])

    (printed, risk, predicted), bound = converged(at, NODES, 1e-4)
    return abs(float(printed - risk - predicted)), 3 * bound


@given(mixtures(dims=(1, 2), components=(1, 2)), floats(0.05, 1.0), st.data())
def test_the_printed_form_fails_by_the_predicted_amount(world, t_n, data):
    h = data.draw(waves(world.means.shape[1]))
    PRINTED.holds(*printed_discrepancy(lambda div, s, d: 2 * s**2 * (div**2 - div) + d * s**2, world, t_n, h))


PRINTED_MUTANTS = {
    "it is right": lambda div, s, d: 0 * div,
    "only the constant is missing": lambda div, s, d: d * s**2 + 0 * div,
    "only the square is wrong": lambda div, s, d: 2 * s**2 * (div**2 - div),
}


@pytest.mark.parametrize("mutant", PRINTED_MUTANTS)
def test_printed_mutants(mutant):
    cases = [(e.world, 0.35, WAVES[e.world.means.shape[1]]) for e in WITH_ALPHA]
    PRINTED.rejects(mutant, *mildest(printed_discrepancy(PRINTED_MUTANTS[mutant], *case) for case in cases))


def signs(size: int) -> Tensor:
    """All probes of +-1, (2^size, size): Z . J Z is quadratic, so their average is that over any law of covariance I."""
    return torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * size).reshape(-1, size)


def probe_discrepancy(probes: Tensor, path: Path, t_n: float, h: Wave, x_n: Tensor) -> tuple[float, float]:
    """SURE averaged over `probes`, and the exact divergence, against the closed form.

    Sums of fewer than 50 terms of size at most |h|^2, (s^2/a)|J| and s^2/a^2, each correctly rounded: 100 eps of their total.
    """
    truth = sure_with()(h, x_n, path=path, t_n=t_n)
    exact = losses.sure(h, x_n, path=path, t_n=t_n)
    count = len(probes)
    batch = losses.sure(h, x_n.repeat(count, 1), probes.repeat_interleave(len(x_n), 0), path=path, t_n=t_n)
    mean = batch.reshape(count, -1).mean(0)
    alpha, sigma = path(t_n)
    slope = h.linear.abs().sum() + (h.out.abs() @ h.frequency.abs()).sum()
    size = losses.squared_norm(h(x_n, t_n).abs() + x_n.abs() / alpha).max() + 2 * sigma**2 / alpha * slope + (sigma / alpha) ** 2
    return float(torch.maximum((mean - truth).abs(), (exact - truth).abs()).max()), float(100 * EPS * size)


@given(st.data())
def test_jvp_probes_average_to_the_exact_divergence(data):
    size, path = data.draw(st.sampled_from((1, 2, 3))), data.draw(paths())
    x_n = torch.tensor(data.draw(st.lists(floats(-3.0, 3.0), min_size=4 * size, max_size=4 * size)), dtype=torch.float64)
    PROBES.holds(
        *probe_discrepancy(signs(size), path, data.draw(times(path, high=1.0)), data.draw(waves(size)), x_n.reshape(4, size))
    )


PROBE_MUTANTS = {
    "one sign for all coordinates": torch.tensor([[-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64),
    "one coordinate only": torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64),
    "uniform on [-1, 1]": signs(2) / 3**0.5,
    "twice the scale": 2 * signs(2),
}


@pytest.mark.parametrize("mutant", PROBE_MUTANTS)
def test_probe_mutants(mutant):
    x_n = torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=torch.float64)
    PROBES.rejects(mutant, *probe_discrepancy(PROBE_MUTANTS[mutant], VarianceExploding(), 0.35, WAVES[2], x_n))


def difference_discrepancy(
    smoothing: float, step: float, h: Wave, x_n: Tensor, *, probe_std: float = 1.0, loss: Formula = losses.sure
) -> tuple[float, float]:
    """The mean over Gaussian probes of SURE with a finite difference, less SURE with the divergence of a smoothed h.

    Stein's lemma: E[Z . h(x + e Z)] / e = E div h(x + e Z). Subtracting h / e costs a rounding error of eps |h| / e a probe.
    """
    path, t_n = VarianceExploding(), 0.5

    def at(nodes: int) -> Tensor:
        z, weights = hermite_rule(x_n.shape[1], nodes)
        x, probes = x_n.repeat(len(z), 1), z.repeat_interleave(len(x_n), 0)
        values = loss(h, x, probe_std * probes, path=path, t_n=t_n, difference_step=step)
        return weights @ values.reshape(len(z), -1)

    mean, bound = converged(at, 16, 1e-6)
    extra = h.divergence(x_n, t_n, smoothing) - h.divergence(x_n, t_n)
    claimed = sure_with()(h, x_n, path=path, t_n=t_n) + 2 * t_n**2 * extra
    return float((mean - claimed).abs().max()), bound + 100 * EPS * (1 + float(h(x_n, t_n).abs().max())) / step


@given(st.data(), st.sampled_from((1, 2)), floats(-4.0, 0.0))
def test_the_finite_difference_smooths(data, size, log_step):
    x_n = torch.tensor(data.draw(st.lists(floats(-3.0, 3.0), min_size=4 * size, max_size=4 * size)), dtype=torch.float64)
    step = 10**log_step
    DIFFERENCE.holds(*difference_discrepancy(step, step, data.draw(waves(size)), x_n.reshape(4, size)))


def test_the_finite_difference_has_a_bias_of_second_order():
    """One wave of |w| = 1: the bias is proportional to 1 - exp(-e^2 / 2), so e and e / 2 show an order of 2 - .27 e^2."""
    x_n, one = torch.tensor([[0.3]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    h = Wave(0 * one, one[0], one, one)
    bias = [difference_discrepancy(0.0, step, h, x_n)[0] for step in (0.1, 0.05)]
    DIFFERENCE.holds(abs(float(torch.log2(torch.tensor(bias[0] / bias[1]))) - 2), 0.3 * 0.1**2)


def undivided(h: Wave, x_n: Tensor, probe: Tensor, *, path: Path, t_n: float, difference_step: float) -> Tensor:
    """The difference is not divided by its step."""
    right = losses.sure(h, x_n, probe, path=path, t_n=t_n, difference_step=difference_step)
    none = losses.sure(h, x_n, 0 * probe, path=path, t_n=t_n)
    return none + difference_step * (right - none)


@pytest.mark.parametrize(
    ("mutant", "changes"),
    [
        ("exactly unbiased", {"smoothing": 0.0}),
        ("smoothed by e / 2 (a bias of e^2 / 8)", {"smoothing": 0.15}),
        ("probe of twice the scale", {"probe_std": 2.0}),
        ("not divided by the step", {"loss": undivided}),
    ],
)
def test_difference_mutants(mutant, changes):
    x_n = torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=torch.float64)
    DIFFERENCE.rejects(mutant, *difference_discrepancy(**({"smoothing": 0.3, "step": 0.3, "h": WAVES[2], "x_n": x_n} | changes)))
