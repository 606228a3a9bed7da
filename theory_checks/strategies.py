"""Hypothesis strategies for mixtures, paths, levels and points, and the fixed cases on which mutants are tried.

Everything is float64. Levels are drawn by their noise-to-signal ratio sigma / alpha, so that all three paths are tested on the
same range. The two levels of a pair may be as close as a relative gap of 1e-6.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from ambient.paths import Level, Path, RectifiedFlow, VarianceExploding, VariancePreserving
from ambient.worlds import GaussianMixture


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


@st.composite
def mixtures(draw: st.DrawFn, dims: tuple[int, ...] = (1, 2, 3), components: tuple[int, ...] = (1, 2, 3, 4)) -> GaussianMixture:
    """Mixtures that fit in a box of side 3, standard deviations along their axes in [.3, 1], weights no smaller than 1/31."""
    size, count = draw(st.sampled_from(dims)), draw(st.sampled_from(components))

    def array(low: float, high: float, *shape: int) -> Tensor:
        values = draw(st.lists(floats(low, high), min_size=math.prod(shape), max_size=math.prod(shape)))
        return torch.tensor(values, dtype=torch.float64).reshape(shape)

    weights = array(0.1, 1.0, count)
    skew = array(-1.0, 1.0, count, size, size)
    axes = torch.linalg.matrix_exp(skew - skew.mT)  # the exponential of a skew-symmetric matrix is a rotation
    covariances = axes * array(0.3, 1.0, count, 1, size) ** 2 @ axes.mT
    return GaussianMixture(weights / weights.sum(), array(-1.5, 1.5, count, size), (covariances + covariances.mT) / 2)


def paths() -> st.SearchStrategy[Path]:
    """Variance exploding, variance preserving with several rates, and rectified flow."""
    preserving = st.builds(VariancePreserving, floats(0.05, 1.0), floats(5.0, 20.0))
    return st.one_of(st.builds(VarianceExploding), preserving, st.builds(RectifiedFlow))


def time_at(path: Path, noise_to_signal: float) -> float:
    """The time at which sigma / alpha has this value, which a path must reach (all of `paths` reach up to 1)."""
    if noise_to_signal == 0:
        return 0.0
    return min(float(path.t_from_noise_to_signal(noise_to_signal)), path.t_max)


def times(path: Path, low: float = 0.05, high: float = 5.0) -> st.SearchStrategy[float]:
    """Times with sigma / alpha in [low, high] (roughly log-uniform)."""
    return floats(math.log(low), math.log(high)).map(lambda ratio: time_at(path, math.exp(ratio)))


@st.composite
def level_pairs(
    draw: st.DrawFn, path: Path, smallest_gap: float = 1e-6, clean: bool = True, low: float = 0.05, high: float = 1.0
) -> tuple[float, float]:
    """(t_n, t), t > t_n: n with sigma / alpha in [low, high] or, if `clean`, 0; t noisier by a relative gap up to 4."""
    if clean and draw(st.booleans()):
        return 0.0, time_at(path, 10 ** draw(floats(math.log10(low), 0.6)))
    ratio = draw(floats(low, high))
    return time_at(path, ratio), time_at(path, ratio * (1 + 10 ** draw(floats(math.log10(smallest_gap), 0.6))))


@st.composite
def points(draw: st.DrawFn, world: GaussianMixture, at_t: Level, count: int = 6) -> Tensor:
    """Points (count, D) within 4 standard deviations, along the axes, of a component at a level."""
    size = world.means.shape[1]
    flat = draw(st.lists(floats(-4.0, 4.0), min_size=count * size, max_size=count * size))
    k = torch.arange(count) % len(world.means)
    spread = (at_t.alpha**2 * world.variances[k] + at_t.sigma**2).sqrt() * torch.tensor(flat, dtype=torch.float64).reshape(
        count, size
    )
    return at_t.alpha * world.means[k] + torch.einsum("bij,bj->bi", world.axes[k], spread)


def likely_points(world: GaussianMixture, at_t: Level) -> Tensor:
    """A few fixed points where X_t is likely: up to 2 standard deviations from each component's mean."""
    steps = torch.linspace(-2.0, 2.0, 5, dtype=torch.float64)[:, None, None]
    spread = (at_t.alpha**2 * world.covariances.diagonal(dim1=1, dim2=2) + at_t.sigma**2).sqrt()
    return (at_t.alpha * world.means + steps * spread).flatten(0, 1)


class Example(NamedTuple):
    """A fixed case on which mutants are tried."""

    name: str
    world: GaussianMixture
    path: Path
    t_n: float
    t: float


def _mixture(weights: list[float], means: list[list[float]], covariances: list[list[list[float]]]) -> GaussianMixture:
    return GaussianMixture(*(torch.tensor(values, dtype=torch.float64) for values in (weights, means, covariances)))


SKEWED = _mixture([0.3, 0.7], [[-1.2], [0.7]], [[[0.16]], [[0.36]]])  # one dimension, two unequal modes
TILTED = _mixture(  # two dimensions, correlated, not centred
    [0.5, 0.2, 0.3],
    [[1.0, 0.4], [-0.9, 0.8], [0.1, -1.1]],
    [[[0.30, 0.12], [0.12, 0.20]], [[0.15, -0.05], [-0.05, 0.40]], [[0.5, 0.0], [0.0, 0.1]]],
)
EXAMPLES = [
    Example(f"{shape}, {name}", world, path, time_at(path, 0.35), time_at(path, 0.8))
    for shape, world in (("skewed", SKEWED), ("tilted", TILTED))
    for name, path in (("VE", VarianceExploding()), ("VP", VariancePreserving()), ("flow", RectifiedFlow()))
]
EXAMPLES_1D = [example for example in EXAMPLES if example.world is SKEWED]
WITH_ALPHA = [example for example in EXAMPLES if isinstance(example.path, VariancePreserving)]  # alpha is not 1 there
