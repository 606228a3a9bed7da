"""The mixture fitted to noisy points: shapes, reproducibility, what is refused, and data that are few, constant or huge."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from ambient import noisy_mixture
from ambient.paths import Level, RectifiedFlow, VarianceExploding, VariancePreserving
from ambient.subspace import SubspaceMixture
from tests.ambient.doubles import normal

VE = VarianceExploding()
KINDS = torch.arange(300) % 3
CLEAN = 3 * normal(3, 6)[KINDS] + 0.5 * normal(300, 6, step=1)
NOISY = CLEAN + 0.5 * normal(300, 6, step=2)
ROUNDING = 1e-3  # 1e-7 of points below 10, a thousandfold: it turns axes whose variances differ by a thousandth of them
FEW: dict[str, Any] = {"warm_up": (2, 200), "sweeps": 2}


def numbers(world: SubspaceMixture) -> list[torch.Tensor]:
    return [
        world.mixture.weights,
        world.mixture.means,
        world.mixture.covariances,
        world.basis,
        world.rest_variances,
        world.centre,
    ]


def healthy(world: SubspaceMixture, x: torch.Tensor, at: Level) -> None:
    """All numbers finite, all variances positive, answers too; the weights are a distribution."""
    assert all(bool(v.isfinite().all()) for v in [*numbers(world), world.denoise(x, at), world.log_prob(x, at)])
    assert float(world.mixture.variances.min()) > 0
    assert float(world.mixture.weights.sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("leading", [1, 4, 6, 100])
def test_shapes_and_types(leading, dtype):
    world = noisy_mixture.fit(NOISY.to(dtype), VE(0.5), KINDS, leading_count=leading, **FEW)
    inside = min(leading, 6)
    assert [tuple(v.shape) for v in numbers(world)] == [(3,), (3, inside), (3, inside, inside), (6, 6), (6 - inside,), (6,)]
    assert {v.dtype for v in numbers(world)} == {torch.float32}
    healthy(world, NOISY, VE(0.5))


def test_the_same_points_give_the_same_bits():
    before = torch.random.get_rng_state()
    first, again = (noisy_mixture.fit(NOISY, VE(0.5), KINDS, **FEW) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(numbers(first), numbers(again), strict=True))


def test_the_points_are_left_alone():
    x, labels = NOISY.float(), KINDS.clone()
    before = x.clone()
    noisy_mixture.fit(x, VE(0.5), labels, **FEW)
    assert torch.equal(x, before)
    assert torch.equal(labels, KINDS)


def test_one_level_for_all_is_a_level_for_each():
    once = noisy_mixture.fit(NOISY, VE(0.5), KINDS, **FEW)
    for at in (VE(torch.full((300,), 0.5)), VE(torch.tensor([0.5]))):
        each = noisy_mixture.fit(NOISY, at, KINDS, **FEW)
        assert all(torch.equal(a, b) for a, b in zip(numbers(once), numbers(each), strict=True))


def test_scaled_points_of_another_path_are_the_same_points():
    """x / alpha and sigma / alpha are what is used."""
    at = VariancePreserving()(0.3)
    ratio = float(at.sigma / at.alpha)
    noisy = CLEAN + ratio * normal(300, 6, step=2)
    one, other = (noisy_mixture.fit(*pair, KINDS, **FEW) for pair in ((noisy, VE(ratio)), (at.alpha * noisy, at)))
    x = normal(5, 6)
    assert torch.allclose(one.denoise(x, VE(0.3)), other.denoise(x, VE(0.3)), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 2.0**40, 1e12])
def test_units_do_not_matter(scale):
    """Though the fourth powers of such points leave float32."""
    scaled = Level(VE(0.5).alpha, scale * VE(0.5).sigma)
    one = noisy_mixture.fit(NOISY, VE(0.5), KINDS, leading_count=4, **FEW)
    other = noisy_mixture.fit(scale * NOISY, scaled, KINDS, leading_count=4, **FEW)
    x = normal(5, 6)
    assert torch.allclose(other.denoise(scale * x, scaled) / scale, one.denoise(x, VE(0.5)), rtol=0, atol=ROUNDING)


def test_the_first_sweeps_see_the_first_points_alone():
    """The weights are those of the first 250 points, but for the basis, which all points turn and the pull feels a little."""
    options: dict[str, Any] = {"warm_up": (2, 250), "leading_count": 6}
    moved = torch.cat([NOISY[:250], NOISY[:50] + 5])
    ours, first, all_points = (
        noisy_mixture.fit(x, VE(0.5), KINDS[: len(x)], sweeps=sweeps, **options).mixture.weights
        for x, sweeps in ((NOISY[:250], 0), (moved, 0), (moved, 2))
    )
    assert float((first - ours).abs().max()) < 1e-3
    assert float((all_points - ours).abs().max()) > 1e-2


def test_sweeps_of_both_kinds_make_the_points_likelier():
    """From a first guess that says nothing: of the first points, of all, of each more."""
    stages = [(0, 0), (5, 0), (5, 3), (10, 8)]
    worlds = [noisy_mixture.fit(NOISY, VE(0.5), torch.arange(300) // 7 % 3, warm_up=(f, 200), sweeps=all_) for f, all_ in stages]
    likelihoods = [float(world.log_prob(NOISY, VE(0.5)).mean()) for world in worlds]
    assert min(after - before for before, after in itertools.pairwise(likelihoods)) > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_n": NOISY[:9], "labels": KINDS[:9]}, "a mixture needs at least 10 points, also for the warm-up; got 9 points"),
        ({"warm_up": (2, 9)}, "got 300 points, and 9 for the warm-up"),
        ({"labels": KINDS[:-1]}, r"shape \(N, D\), labels \(N,\); got \(300, 6\) and \(299,\)"),
        ({"labels": KINDS[:, None]}, r"got \(300, 6\) and \(300, 1\)"),
        ({"labels": KINDS[:0]}, r"got \(300, 6\) and \(0,\)"),
        ({"x_n": NOISY[:, 0]}, r"got \(300,\) and"),
        ({"x_n": NOISY[:, :0]}, r"got \(300, 0\) and"),
        ({"x_n": NOISY.reshape(300, 1, 2, 3)}, r"got \(300, 1, 2, 3\)"),
        ({"labels": KINDS - 1}, "got the label -1 and leading_count = 128"),
        ({"leading_count": 0}, "leading_count at least 1; got the label 0 and leading_count = 0"),
        ({"leading_count": -3}, "leading_count = -3"),
        ({"at_n": VE(torch.full((299,), 0.5))}, "one for each of the 300 samples"),
        ({"at_n": RectifiedFlow()(1.0)}, "must be finite"),
        ({"x_n": NOISY / 0}, "must be finite"),
        ({"x_n": NOISY * math.nan}, "must be finite, with a standard deviation between 1e-15 and 1e15; it is nan"),
        ({"x_n": NOISY * 1e16}, "deviation between 1e-15 and 1e15; it is .*e"),
        ({"x_n": NOISY * 1e-20}, "deviation between 1e-15 and 1e15; it is .*e-20"),
    ],
    ids=str,
)
def test_points_that_cannot_be_fitted_are_refused(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        noisy_mixture.fit(**{"x_n": NOISY, "at_n": VE(0.5), "labels": KINDS, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("t", [0.0, 0.5])
@pytest.mark.parametrize(
    "labels",
    {
        "a label never used": 2 * KINDS,
        "one used of many": 0 * KINDS + 19,
        "a component of one point": torch.where(torch.arange(300) < 4, torch.arange(300) + 3, KINDS),
        "a fold without points of one": (torch.arange(300) % 5 == 0).long(),
        "a component in one fold alone": (torch.arange(300) % 5 > 0).long(),
        "a hundred components": torch.arange(300) % 100,
        "one component": 0 * KINDS,
        "not whole numbers by type": KINDS.float(),
    }.items(),
    ids=lambda item: item[0],
)
def test_any_first_guess_is_survived(labels, t):
    x = CLEAN + t * normal(300, 6, step=2)
    world = noisy_mixture.fit(x, VE(t), labels[1], **FEW)
    healthy(world, x, VE(t))
    assert len(world.mixture.weights) == int(labels[1].max()) + 1


def test_a_component_without_points_takes_no_part():
    ours = noisy_mixture.fit(NOISY, VE(0.5), KINDS, **FEW)
    more = noisy_mixture.fit(NOISY, VE(0.5), torch.where(KINDS == 2, 5, KINDS), **FEW)
    assert torch.equal(more.mixture.weights[[2, 3, 4]], torch.zeros(3))
    x = normal(5, 6)
    assert torch.allclose(more.denoise(x, VE(0.5)), ours.denoise(x, VE(0.5)), rtol=0, atol=ROUNDING)


def test_differences_below_chance_are_chance():
    """Two scatter matrices of 100 points that differ by a hundredth, a tenth of a standard error: both become their mean."""
    scatter = torch.stack([torch.eye(3), 1.01 * torch.eye(3)])
    shrunk = noisy_mixture._shrunk(scatter, torch.tensor([100.0, 100.0]))
    assert torch.allclose(shrunk, 1.005 * torch.eye(3).expand(2, 3, 3), rtol=0, atol=1e-6)


def test_folds_count_by_their_points():
    """Two clusters of 400 points, one in one fold of five and one in the others: C = 4 I, four directions.

    The mean of 4 variances is off by sqrt(2 / (400 * 4)) of 4.25 = .15 and 5 such are allowed; a fold too few is off by .8.
    """
    kinds = (torch.arange(2000) % 5 == 0).long()
    x = (100 * kinds[:, None] + 2 * normal(2000, 4)) + 0.5 * normal(2000, 4, step=1)
    world = noisy_mixture.fit(x, VE(0.5), kinds, leading_count=4, **FEW)
    assert (world.mixture.variances.mean(1) - 4).abs().tolist() == pytest.approx([0, 0], abs=0.75)


def test_clusters_far_apart_keep_their_small_variances():
    """Float32 rounds the squares of points at 1e4 by 10. A mean of 3 variances of 100 points is off by .1, by .5 at most."""
    x = 1e4 * KINDS[:, None] + normal(300, 3) + 0.1 * normal(300, 3, step=1)
    world = noisy_mixture.fit(x, VE(0.1), KINDS, **FEW)
    assert world.mixture.variances.mean(1).tolist() == pytest.approx([1, 1, 1], abs=0.5)


@pytest.mark.parametrize("count", [10, 12, 40])
@pytest.mark.parametrize("t", [0.0, 0.5])
def test_fewer_points_than_directions(count, t):
    x = normal(count, 60) + t * normal(count, 60, step=1)
    healthy(noisy_mixture.fit(x, VE(t), torch.arange(count) % 3, leading_count=50, **FEW), x, VE(t))


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_constant_pixels(sigma, scale):
    """A third of the coordinates do not vary: their variances fall to the floor, which float32 must still tell from 0."""
    x_0 = scale * normal(400, 30) * (torch.arange(30) >= 10)
    x = x_0 + sigma * normal(400, 30, step=1)
    world = noisy_mixture.fit(x, VE(sigma), torch.arange(400) % 3, leading_count=30, **FEW)
    healthy(world, x, VE(0.5))
    constant = world.denoise(x_0 + 0.5 * normal(400, 30, step=2), VE(0.5))[:, :10]
    assert float(constant.square().mean()) < 0.1 * 0.25


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e4])
@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_points_that_are_all_one(value, sigma):
    x = torch.full((60, 4), value, dtype=torch.float64) + sigma * normal(60, 4)
    world = noisy_mixture.fit(x, VE(sigma), torch.arange(60) % 2, **FEW)
    healthy(world, x, VE(0.5))
    off = (world.denoise(x, VE(0.5)) - value).square().mean().sqrt()  # sigma if nothing is removed; the mean of 60 is off by .13
    assert float(off) <= 1e-6 * value + 0.5 * sigma


def test_copies_of_a_few_points():
    x = normal(3, 6)[KINDS]
    healthy(noisy_mixture.fit(x, VE(0.0), KINDS, **FEW), x, VE(0.1))


def test_one_enormous_point_leaves_numbers():
    x = torch.cat([NOISY[:-1], torch.full((1, 6), 1e14, dtype=torch.float64)])
    healthy(noisy_mixture.fit(x, VE(0.5), KINDS, **FEW), NOISY, VE(0.5))


def test_points_of_little_weight_lose_scatter_and_noise_alike():
    """A thousandth of all weights leaves counts, means, scatter matrices and noise as they are, within float32's rounding."""
    weight, variance = torch.linspace(0.01, 1, 300), torch.linspace(1, 9, 300)
    given = torch.nn.functional.one_hot(KINDS).float()
    sums = [noisy_mixture._statistics(NOISY.float(), given, torch.zeros(3, 6), w, variance) for w in (weight, weight / 1000)]
    for whole, little in zip(*(each.of_folds([0, 1, 2, 3, 4]) for each in sums), strict=True):
        assert torch.allclose(whole, little, rtol=1e-4, atol=1e-4)
