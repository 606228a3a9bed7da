"""Worlds: shapes and types, levels for each sample, and the mixtures and data sets that are refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ambient.paths import Level, VarianceExploding
from ambient.randomness import generator
from ambient.worlds import Empirical, GaussianMixture
from tests.ambient.doubles import DISCRETE, PATHS, normal

VE = VarianceExploding()
WEIGHTS = torch.tensor([0.25, 0.75], dtype=torch.float64)
MEANS = torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
COVARIANCES = torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.4]]], dtype=torch.float64)
MIXTURE = GaussianMixture(WEIGHTS, MEANS, COVARIANCES)
WORLDS = {"mixture": MIXTURE, "data set": Empirical(normal(7, 2)), "pictures": Empirical(normal(7, 2, 3, 3))}
EVERY_WORLD = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)


def points_for(world, count, dtype=torch.float64):
    return normal(count, *world.sample(1, generator(0, "shape")).shape[1:], dtype=dtype)


@EVERY_WORLD
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_answers_have_the_shape_and_type_of_the_question(world, count, dtype):
    x = points_for(world, count, dtype)
    for at_t in (VE(0.5), VE(torch.full((count,), 0.5))):
        assert (world.log_prob(x, at_t).shape, world.log_prob(x, at_t).dtype) == ((count,), dtype)
        for answer in (world.denoise(x, at_t), world.score(x, at_t)):
            assert (answer.shape, answer.dtype) == (x.shape, dtype)
            assert bool(answer.isfinite().all())


@EVERY_WORLD
def test_levels_are_each_samples_own(world):
    """A batch of three levels answers as three batches: up to 8 roundings of numbers of at most 1e2."""
    x, levels = points_for(world, 3), torch.tensor([0.2, 0.5, 3.0])
    for ask in (world.denoise, world.log_prob):
        alone = torch.cat([ask(x[i : i + 1], VE(levels[i])) for i in range(3)])
        assert float((ask(x, VE(levels)) - alone).abs().max()) <= 8 * 2.3e-16 * 1e2


@EVERY_WORLD
def test_layout_of_the_points_does_not_matter(world):
    x = points_for(world, 6)
    strange = x.movedim(0, -1).contiguous().movedim(-1, 0)
    assert not strange.is_contiguous()
    assert torch.allclose(world.denoise(strange, VE(0.5)), world.denoise(x, VE(0.5)), rtol=1e-13, atol=1e-14)


@EVERY_WORLD
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_the_denoiser_of_a_world_is_its_answer(world, path):
    x, t = points_for(world, 3), 300.0 if path is DISCRETE else 0.3
    assert torch.equal(world.denoiser(path)(x, t, "any condition"), world.denoise(x, path(t)))
    with pytest.raises(ValueError, match="times must be finite"):
        world.denoiser(path)(x, -1.0)


@EVERY_WORLD
def test_samples_are_a_function_of_the_generator(world):
    before = torch.random.get_rng_state()
    first, again, other = (world.sample(50, generator(seed, "sample")) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert len(first) == 50
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(world.sample(1, generator(0, "sample"))) == 1


def test_a_float32_mixture_answers_in_the_type_asked():
    single = GaussianMixture(WEIGHTS.float(), MEANS.float(), COVARIANCES.float())
    x = normal(5, 2)
    assert single.denoise(x, VE(0.5)).dtype == torch.float64
    assert torch.allclose(single.denoise(x, VE(0.5)), MIXTURE.denoise(x, VE(0.5)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 1), (5, 2, 1)], ids=str)
def test_points_of_another_dimension_are_refused(shape):
    for ask in (MIXTURE.log_prob, MIXTURE.denoise, MIXTURE.posterior_covariance):
        with pytest.raises(ValueError, match=r"x_t must have the shape \(B, 2\), as the means; got"):
            ask(normal(*shape), VE(0.5))
    if shape[1:] != (2,):
        for ask in (WORLDS["data set"].log_prob, WORLDS["data set"].denoise):
            with pytest.raises(ValueError, match=r"x_t must have the shape \(B, 2\); got"):
                ask(normal(*shape), VE(0.5))


@EVERY_WORLD
def test_levels_for_another_batch_are_refused(world):
    with pytest.raises(ValueError, match="one for each of the 5 samples"):
        world.denoise(points_for(world, 5), VE(torch.full((4,), 0.5)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": WEIGHTS * 1.001}, "sum to 1; they sum to 1.001"),
        ({"weights": WEIGHTS * 0.999}, "sum to 1; they sum to 0.999"),
        ({"weights": torch.tensor([-0.25, 1.25])}, "non-negative"),
        ({"weights": torch.tensor([math.nan, 1.0])}, "must be finite"),
        ({"weights": torch.ones(1)}, r"weights \(K,\) and means \(K, D\); got \(1,\) and \(2, 2\)"),
        ({"weights": torch.ones(2, 1) / 2}, r"weights \(K,\)"),
        ({"means": MEANS[0]}, r"means \(K, D\); got \(2,\) and \(2,\)"),
        ({"means": MEANS * math.inf}, "must be finite"),
        ({"means": torch.zeros(2, 3)}, r"covariances must be \(K, D, D\) for means \(2, 3\); got \(2, 2, 2\)"),
        ({"covariances": COVARIANCES[0]}, r"\(K, D, D\) for means \(2, 2\); got \(2, 2\)"),
        ({"covariances": COVARIANCES * math.nan}, "must be finite"),
        ({"covariances": COVARIANCES + torch.tensor([[0.0, 0.01], [0.0, 0.0]])}, "must be symmetric"),
        ({"covariances": -COVARIANCES}, "positive definite; the smallest eigenvalue is -"),
        ({"covariances": torch.diag_embed(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))}, "smallest eigenvalue is 0"),
        ({"covariances": torch.diag_embed(torch.tensor([[1.0, -0.1], [1.0, 1.0]]))}, "smallest eigenvalue is -0.1"),
        ({"weights": torch.zeros(0), "means": torch.zeros(0, 2), "covariances": torch.zeros(0, 2, 2)}, "they sum to 0"),
    ],
    ids=str,
)
def test_mixtures_that_are_none_are_refused(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        GaussianMixture(**{"weights": WEIGHTS, "means": MEANS, "covariances": COVARIANCES, **changes})
    assert "\n" not in str(caught.value)


def test_a_mixture_from_axes_has_their_covariances():
    axes, variances = torch.linalg.qr(normal(2, 3, 3)).Q, torch.tensor([[0.1, 0.5, 2.0], [0.3, 0.2, 0.4]], dtype=torch.float64)
    world = GaussianMixture.from_axes(WEIGHTS, normal(2, 3, step=1), axes, variances)
    for k in range(2):
        expected = sum(variances[k, j] * torch.outer(axes[k, :, j], axes[k, :, j]) for j in range(3))
        assert torch.allclose(world.covariances[k], expected, rtol=0, atol=1e-15)
    assert torch.allclose(world.variances, variances.sort(1).values, rtol=1e-13)


def test_answers_of_a_mixture_written_out():
    """Component by component with inverse matrices: condition numbers below 10, numbers below 100, some tens of roundings."""
    x, alpha, sigma = normal(6, 2), 0.8, 0.6
    at_t = Level(*torch.tensor([alpha, sigma], dtype=torch.float64))
    logs, means = [], []
    for weight, mean, covariance in zip(WEIGHTS, MEANS, COVARIANCES, strict=True):
        total = alpha**2 * covariance + sigma**2 * torch.eye(2, dtype=torch.float64)
        whitened = (x - alpha * mean) @ torch.linalg.inv(total)
        logs.append(weight.log() - ((x - alpha * mean) * whitened).sum(1) / 2 - (2 * math.pi * total.det().sqrt()).log())
        means.append(mean + alpha * whitened @ covariance)
    log = torch.stack(logs, 1)
    assert torch.allclose(MIXTURE.log_components(x, at_t), log, rtol=0, atol=1e-12)
    assert torch.allclose(MIXTURE.log_prob(x, at_t), log.exp().sum(1).log(), rtol=0, atol=1e-12)
    weights = log.exp() / log.exp().sum(1, keepdim=True)
    expected = weights[:, :1] * means[0] + weights[:, 1:] * means[1]
    assert torch.allclose(MIXTURE.denoise(x, at_t), expected, rtol=0, atol=1e-12)


class Largest(TorchDispatchMode):
    """The most numbers that any operation made."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def test_no_operation_makes_a_matrix_for_each_point():
    """3,000 points in 20 dimensions, two components: no more than (B, K, D) to denoise, (B, D) to draw, never (B, D, D)."""
    world = GaussianMixture(WEIGHTS, normal(2, 20), torch.eye(20, dtype=torch.float64).expand(2, 20, 20))
    with Largest() as drawing:
        x = world.sample(3000, generator(0, "sample"))
    assert drawing.numbers == 3000 * 20
    with Largest() as denoising:
        world.denoise(x, VE(0.5))
        world.log_prob(x, VE(0.5))
    assert denoising.numbers == 3000 * 2 * 20


def test_weights_may_be_zero_and_rounded():
    """A component without weight takes no part; sums may be off by float32's rounding of a thousand weights."""
    lone = GaussianMixture(torch.tensor([0.0, 1.0]), MEANS, COVARIANCES)
    single = GaussianMixture(torch.ones(1), MEANS[1:], COVARIANCES[1:])
    x = normal(5, 2)
    assert torch.allclose(lone.denoise(x, VE(0.5)), single.denoise(x, VE(0.5)), rtol=1e-13)
    assert bool(lone.log_prob(x, VE(0.5)).isfinite().all())
    GaussianMixture(WEIGHTS * (1 + 5e-6), MEANS, COVARIANCES)


@pytest.mark.parametrize(
    ("points", "weights", "message"),
    [
        (torch.zeros(0, 2), None, r"one or more finite points .*, \(N, ...\); got \(0, 2\)"),
        (torch.zeros(5), None, r"finite points .*, \(N, ...\); got \(5,\)"),
        (torch.tensor([[0.0], [math.nan]]), None, "finite points"),
        (torch.tensor([[0.0], [math.inf]]), None, "finite points"),
        (torch.zeros(3, 2), torch.ones(2), "weights must be positive, one for each of the 3 points"),
        (torch.zeros(3, 2, dtype=torch.uint8), None, "of a floating type"),
        (torch.zeros(3, 2), torch.ones(3, 1), "one for each of the 3 points"),
        (torch.zeros(3, 2), torch.tensor([1.0, 0.0, 1.0]), "must be positive"),
        (torch.zeros(3, 2), torch.tensor([1.0, -1.0, 1.0]), "must be positive"),
        (torch.zeros(3, 2), torch.tensor([1.0, math.nan, 1.0]), "must be positive"),
        (torch.zeros(3, 2), torch.tensor([1.0, math.inf, 1.0]), "must be positive"),
    ],
    ids=str,
)
def test_data_sets_that_are_none_are_refused(points, weights, message):
    with pytest.raises(ValueError, match=message):
        Empirical(points, weights)


def test_a_single_point_is_a_data_set():
    world = Empirical(torch.full((1, 2), 3.0))
    assert torch.allclose(world.denoise(normal(4, 2), VE(0.5)), torch.full((4, 2), 3.0, dtype=torch.float64))
    assert world.sample(4, generator(0, "sample")).tolist() == [[3.0, 3.0]] * 4


def test_weights_of_any_sum_are_frequencies():
    """Within 5 standard deviations of the share: .01 at 40,000 draws of a share of .8."""
    world = Empirical(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([1.0, 8.0, 1.0]))
    shares = torch.bincount(world.sample(40_000, generator(0, "sample")).long().flatten(), minlength=3) / 40_000
    assert torch.allclose(shares, torch.tensor([0.1, 0.8, 0.1]), rtol=0, atol=0.01)


class Watched(Empirical):
    """Remembers the precision it worked in."""

    def _keys(self, dtype):
        self.worked_in = dtype
        return super()._keys(dtype)


@pytest.mark.parametrize(("sigma", "precision"), [(0.013, torch.float32), (0.0124, torch.float64)])
def test_float32_is_used_where_it_rounds_no_exponent_by_a_hundredth(sigma, precision):
    """Points -3 and 3 seen from 3: the exponents x . key / sigma^2 and key^2 / (2 sigma^2) reach (9 + 4.5) / sigma^2.

    Times 2^-23 that is .0095 for the larger sigma and .0105 for the smaller.
    """
    world = Watched(torch.tensor([[-3.0], [3.0]]))
    world.denoise(torch.tensor([[3.0], [0.1]]), VE(sigma))
    assert world.worked_in == precision
    double = Watched(torch.tensor([[-3.0], [3.0]], dtype=torch.float64))
    double.denoise(torch.tensor([[3.0], [0.1]]), VE(1.0))
    assert double.worked_in == torch.float64


@pytest.mark.parametrize("sigma", [0.0, 1e-9, 1e-6, 1e-5])
def test_a_density_below_the_smallest_noise_is_that_of_the_smallest(sigma):
    """Two points 2 apart: at one of them half the height of a Gaussian of that noise."""
    world = Empirical(torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64))
    height = -math.log(2) - math.log(2 * math.pi * max(sigma, 1e-6) ** 2)
    assert float(world.log_prob(torch.tensor([[1.0, 0.0]], dtype=torch.float64), VE(sigma))) == pytest.approx(
        height, abs=1e-3
    )  # exponents of 1e12 cancel


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_without_noise_the_answer_is_the_nearest_point_at_any_scale(scale):
    """The points are .9 of the spread apart and more, the smallest sigma is 1e-6 of it."""
    points = scale * torch.tensor([[-1.0], [0.1], [1.0]], dtype=torch.float64)
    found = Empirical(points).denoise(scale * torch.tensor([[0.3], [-0.6]], dtype=torch.float64), VE(0.0))
    assert torch.allclose(found, points[[1, 0]], rtol=1e-12, atol=0)
