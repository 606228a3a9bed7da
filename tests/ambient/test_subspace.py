"""The subspace mixture: shapes and types, levels for each sample, and the parts that do not fit together."""

from __future__ import annotations

import math

import pytest
import torch

from ambient.paths import VarianceExploding
from ambient.randomness import generator
from ambient.subspace import SubspaceMixture
from ambient.worlds import GaussianMixture
from tests.ambient.doubles import DISCRETE, PATHS, normal

VE = VarianceExploding()
MIXTURE = GaussianMixture(
    torch.tensor([0.25, 0.75], dtype=torch.float64),
    torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64),
    torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.4]]], dtype=torch.float64),
)
BASIS = torch.linalg.qr(normal(5, 5)).Q
REST = torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64)
CENTRE = normal(5, step=1)
WORLD = SubspaceMixture(MIXTURE, BASIS, REST, CENTRE)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_answers_have_the_shape_and_type_of_the_question(count, dtype):
    x = normal(count, 5, dtype=dtype)
    for at_t in (VE(0.5), VE(torch.full((count,), 0.5))):
        assert (WORLD.log_prob(x, at_t).shape, WORLD.log_prob(x, at_t).dtype) == ((count,), dtype)
        for answer in (WORLD.denoise(x, at_t), WORLD.score(x, at_t)):
            assert (answer.shape, answer.dtype) == (x.shape, dtype)
            assert bool(answer.isfinite().all())


def test_levels_are_each_samples_own():
    """A batch of three levels answers as three batches: up to 8 roundings of numbers of at most 1e2."""
    x, levels = normal(3, 5), torch.tensor([0.2, 0.5, 3.0])
    for ask in (WORLD.denoise, WORLD.log_prob):
        alone = torch.cat([ask(x[i : i + 1], VE(levels[i])) for i in range(3)])
        assert float((ask(x, VE(levels)) - alone).abs().max()) <= 8 * 2.3e-16 * 1e2
    with pytest.raises(ValueError, match="one for each of the 3 samples"):
        WORLD.denoise(x, VE(levels[:2]))


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_the_denoiser_of_a_world_is_its_answer(path):
    x, t = normal(3, 5), 300.0 if path is DISCRETE else 0.3
    assert torch.equal(WORLD.denoiser(path)(x, t, "any condition"), WORLD.denoise(x, path(t)))


def test_samples_are_a_function_of_the_generator():
    before = torch.random.get_rng_state()
    first, again, other = (WORLD.sample(50, generator(seed, "sample")) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert (first.shape, first.dtype) == ((50, 5), torch.float64)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_float32_world_answers_in_the_type_asked():
    parts = (MIXTURE.weights, MIXTURE.means, MIXTURE.covariances)
    single = SubspaceMixture(GaussianMixture(*(v.float() for v in parts)), BASIS.float(), REST.float(), CENTRE.float())
    x = normal(5, 5)
    assert single.denoise(x, VE(0.5)).dtype == torch.float64
    assert single.sample(2, generator(0, "sample")).dtype == torch.float32
    assert torch.allclose(single.denoise(x, VE(0.5)), WORLD.denoise(x, VE(0.5)), rtol=0, atol=1e-5)


def test_all_directions_may_lead():
    whole = SubspaceMixture(MIXTURE, torch.eye(2, dtype=torch.float64), REST[:0], torch.zeros(2, dtype=torch.float64))
    x = normal(5, 2)
    assert torch.allclose(whole.denoise(x, VE(0.5)), MIXTURE.denoise(x, VE(0.5)), rtol=1e-14)
    assert torch.allclose(whole.log_prob(x, VE(0.5)), MIXTURE.log_prob(x, VE(0.5)), rtol=1e-14)
    assert whole.sample(3, generator(0, "sample")).shape == (3, 2)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 2), (5, 6), (5, 5, 1)], ids=str)
def test_points_of_another_dimension_are_refused(shape):
    for ask in (WORLD.log_prob, WORLD.denoise, WORLD.score):
        with pytest.raises(ValueError, match=r"x_t must have the shape \(B, 5\), as the centre; got"):
            ask(normal(*shape), VE(0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"basis": BASIS[:4]}, r"a basis \(5, 5\) and variances \(5 - 2,\); got \(5,\), \(4, 5\) and \(3,\)"),
        ({"basis": BASIS[:, :2]}, r"a basis \(5, 5\)"),
        ({"rest_variances": REST[:2]}, r"variances \(5 - 2,\); got .* and \(2,\)"),
        ({"rest_variances": REST[:, None]}, r"got .* and \(3, 1\)"),
        ({"centre": CENTRE[:4]}, r"a centre \(4,\), a basis \(4, 4\)"),
        ({"centre": CENTRE[:, None]}, r"a centre \(5,\), .*; got \(5, 1\)"),
        ({"centre": CENTRE[:1], "basis": BASIS[:1, :1], "rest_variances": REST[:0]}, r"variances \(1 - 2,\)"),
        ({"basis": 1.01 * BASIS}, "the basis must be orthonormal"),
        ({"basis": BASIS.index_fill(1, torch.tensor([0]), 0.0)}, "orthonormal"),
        ({"basis": math.nan * BASIS}, "orthonormal"),
        ({"rest_variances": torch.tensor([0.3, 0.0, 0.1])}, "variances outside the leading directions positive and finite"),
        ({"rest_variances": torch.tensor([0.3, -0.1, 0.1])}, "positive and finite"),
        ({"rest_variances": torch.tensor([0.3, math.nan, 0.1])}, "positive and finite"),
        ({"rest_variances": torch.tensor([0.3, math.inf, 0.1])}, "positive and finite"),
        ({"centre": CENTRE / 0}, "the centre must be finite"),
    ],
    ids=str,
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        SubspaceMixture(**{"mixture": MIXTURE, "basis": BASIS, "rest_variances": REST, "centre": CENTRE, **changes})
    assert "\n" not in str(caught.value)


def test_a_basis_rounded_to_float32_is_orthonormal_enough():
    rotation = torch.linalg.qr(normal(500, 500).float()).Q
    SubspaceMixture(MIXTURE, rotation.double(), torch.ones(498, dtype=torch.float64), torch.zeros(500, dtype=torch.float64))
