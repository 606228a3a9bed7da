"""A mixture in the leading directions and one Gaussian in all others equals the dense mixture with the same parameters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient.paths import Level
from ambient.randomness import generator
from ambient.subspace import SubspaceMixture
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import CLEAN, EPS, dense, rounding
from theory_checks.scorecard import Statement, worst
from theory_checks.statistics_kit import deviation
from theory_checks.strategies import EXAMPLES, TILTED, floats, likely_points, mixtures, paths, points, time_at, times

SAME = Statement("a mixture in a subspace", "denoiser and log p_t are those of the dense mixture, at each sample's own level")
SAMPLES = Statement("samples in a subspace", "have the first and second moments of the dense mixture")


Answers = Callable[[SubspaceMixture, Tensor, Level], tuple[Tensor, Tensor]]


def answers(world: SubspaceMixture, x: Tensor, at_t: Level) -> tuple[Tensor, Tensor]:
    return world.denoise(x, at_t), world.log_prob(x, at_t)


def same(claim: Answers, world: SubspaceMixture, x: Tensor, at_t: Level) -> tuple[float, float]:
    """Samples with different levels, against the dense mixture evaluated one sample at a time."""
    whole = dense(world)
    alone = [Level(at_t.alpha[i], at_t.sigma[i]) for i in range(len(x))]
    mean = torch.cat([whole.denoise(x[i : i + 1], level) for i, level in enumerate(alone)])
    log_prob = torch.cat([whole.log_prob(x[i : i + 1], level) for i, level in enumerate(alone)])
    found_mean, found_log_prob = claim(world, x, at_t)
    error = max(float((found_mean - mean).abs().max()), float((found_log_prob - log_prob).abs().max()))
    relative = max(rounding(whole, x[i : i + 1], level) for i, level in enumerate(alone))
    return error, relative * float(1 + x.abs().max() + whole.means.abs().max() + whole.covariances.abs().max())


def asked_of(change: Callable[[SubspaceMixture], SubspaceMixture]) -> Answers:
    return lambda world, x, at: answers(change(world), x, at)


def with_weights_of(directions: Callable[[Tensor], Tensor]) -> Answers:
    """The posterior of the component from other coordinates than the leading ones."""

    def claim(world: SubspaceMixture, x: Tensor, at_t: Level) -> tuple[Tensor, Tensor]:
        coordinates = (x - at_t.like(x).alpha * world.centre) @ world.basis
        weights = world.mixture.log_components(directions(coordinates), at_t).softmax(1)
        single = [SubspaceMixture(one, world.basis, world.rest_variances, world.centre) for one in components(world.mixture)]
        each = torch.stack([part.denoise(x, at_t) for part in single], 1)
        return torch.einsum("bk,bkd->bd", weights, each), world.log_prob(x, at_t)

    return claim


def components(mixture: GaussianMixture) -> list[GaussianMixture]:
    one = torch.ones(1, dtype=torch.float64)
    return [GaussianMixture(one, mean[None], c[None]) for mean, c in zip(mixture.means, mixture.covariances, strict=True)]


def without_alpha_squared(world: SubspaceMixture, x: Tensor, at_t: Level) -> tuple[Tensor, Tensor]:
    """Outside the leading directions v + sigma^2 for alpha^2 v + sigma^2, sample by sample."""
    found = [
        answers(SubspaceMixture(world.mixture, world.basis, world.rest_variances / a**2, world.centre), x[i : i + 1], Level(a, s))
        for i, (a, s) in enumerate(zip(*at_t, strict=True))
    ]
    return torch.cat([mean for mean, _ in found]), torch.cat([log_prob for _, log_prob in found])


def not_centred(world: SubspaceMixture, x: Tensor, at_t: Level) -> tuple[Tensor, Tensor]:
    return answers(world, x - (1 - at_t.like(x).alpha) * world.centre, at_t)


MUTANTS: dict[str, Answers] = {
    "basis transposed": asked_of(lambda w: SubspaceMixture(w.mixture, w.basis.T, w.rest_variances, w.centre)),
    "leading directions last": asked_of(lambda w: SubspaceMixture(w.mixture, w.basis.roll(1, 1), w.rest_variances, w.centre)),
    "centre not scaled by alpha": not_centred,
    "centre forgotten": asked_of(lambda w: SubspaceMixture(w.mixture, w.basis, w.rest_variances, 0 * w.centre)),
    "variances outside without alpha^2": without_alpha_squared,
    "standard deviations for variances": asked_of(
        lambda w: SubspaceMixture(w.mixture, w.basis, w.rest_variances.sqrt(), w.centre)
    ),
    "the component from other coordinates": with_weights_of(lambda y: y[:, -2:]),
    "prior weights of the components": with_weights_of(lambda y: torch.zeros_like(y[:, :2])),
    "sigma^2 for sigma": lambda w, x, at: answers(w, x, Level(at.alpha, at.sigma**2)),
    "the mean level for all samples": lambda w, x, at: answers(w, x, Level(at.alpha.mean(), at.sigma.mean())),
    "outside left out of the density": lambda w, x, at: (
        w.denoise(x, at),
        w.mixture.log_prob(((x - at.like(x).alpha * w.centre) @ w.basis)[:, : w.leading_count], at),
    ),
}


def turned(skew: Tensor) -> Tensor:
    """Orthonormal to rounding, which matrix_exp alone is not: near the identity it is off by up to 1e-12."""
    return torch.linalg.qr(torch.linalg.matrix_exp(skew - skew.mT)).Q


@st.composite
def subspaces(draw: st.DrawFn) -> SubspaceMixture:
    """Mixtures of one or two leading directions of up to five, of standard deviations in [.3, 1] as theirs."""
    mixture, outside = draw(mixtures(dims=(1, 2))), draw(st.integers(0, 3))
    dim = mixture.means.shape[1] + outside
    flat = draw(st.lists(floats(-1.0, 1.0), min_size=dim * dim + dim + outside, max_size=dim * dim + dim + outside))
    values = torch.tensor(flat, dtype=torch.float64)
    rest = (0.65 + 0.35 * values[dim * dim + dim :]) ** 2
    return SubspaceMixture(mixture, turned(values[: dim * dim].reshape(dim, dim)), rest, 2 * values[dim * dim : dim * dim + dim])


@given(st.data())
def test_it_is_the_dense_mixture(data):
    world, path = data.draw(subspaces()), data.draw(paths())
    t = torch.tensor([data.draw(times(path)) for _ in range(3)], dtype=torch.float64)
    at_t, whole = path(t), dense(world)
    x = torch.cat([data.draw(points(whole, Level(at_t.alpha[i], at_t.sigma[i]), count=1)) for i in range(3)])
    SAME.holds(*same(answers, world, x, at_t))


FIXED = SubspaceMixture(
    TILTED,
    turned(torch.randn(4, 4, generator=generator(0, "basis"), dtype=torch.float64)),
    torch.tensor([0.5, 0.2], dtype=torch.float64),
    torch.tensor([0.5, -1.0, 0.3, 0.8], dtype=torch.float64),
)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_dense_mixture_rejects(name):
    cases = []
    for path in {type(e.path): e.path for e in EXAMPLES}.values():
        x = likely_points(dense(FIXED), path(time_at(path, 0.6)))
        t = torch.tensor([time_at(path, ratio) for ratio in torch.linspace(0.3, 0.9, len(x)).tolist()], dtype=torch.float64)
        cases.append(same(MUTANTS[name], FIXED, x, path(t)))
    SAME.rejects(name, *worst(cases))


def sampling(world: SubspaceMixture) -> tuple[float, float]:
    """X and X X^T of `world`, whose means are claimed to be FIXED's; an error of 5 % of a standard deviation would be seen."""
    x = world.sample(2**17, generator(0, "samples in a subspace"))
    mean, covariance = dense(FIXED).moments()
    features = torch.cat([x, (x[:, :, None] * x[:, None, :]).flatten(1)], 1)
    claimed = torch.cat([mean, (covariance + mean[:, None] * mean).flatten()])
    return deviation(features, claimed, 0.05 * features.std(0))


SAMPLING_MUTANTS = {
    "basis transposed": SubspaceMixture(TILTED, FIXED.basis.T, FIXED.rest_variances, FIXED.centre),
    "variances for standard deviations": SubspaceMixture(TILTED, FIXED.basis, FIXED.rest_variances**2, FIXED.centre),
    "centre forgotten": SubspaceMixture(TILTED, FIXED.basis, FIXED.rest_variances, 0 * FIXED.centre),
    "leading directions last": SubspaceMixture(TILTED, FIXED.basis.roll(1, 1), FIXED.rest_variances, FIXED.centre),
}


def test_samples_have_the_moments():
    SAMPLES.holds(*sampling(FIXED))


@pytest.mark.parametrize("name", SAMPLING_MUTANTS)
def test_samples_reject(name):
    SAMPLES.rejects(name, *sampling(SAMPLING_MUTANTS[name]))


def test_without_noise_a_point_is_its_own_mean():
    """Two rotations there, by V and by a component's axes, and two back: four sums of four terms below 8, each rounded."""
    x = FIXED.sample(20, generator(0, "clean"))
    assert float(x.abs().max()) < 8
    assert float((FIXED.denoise(x, CLEAN) - x).abs().max()) <= 4 * 4 * 8 * EPS
