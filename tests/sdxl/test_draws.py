"""The random numbers of a training step: each standard normal, and independent of every other.

Each assertion has the limit, and the power to see an error, of theory_checks/statistics_kit.py.
"""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor

from sdxl.train import objective
from sdxl.train.objective import Draws, Objective, order
from tests.faults import planted
from tests.noise import check_independent
from theory_checks.statistics_kit import mean_is

SIZE = torch.Size((4, 64, 256))  # of one image: 65,536 numbers


def streams(path, code: ModuleType = objective) -> dict[str, Tensor]:
    """All that two neighbouring images and one of another seed draw, (numbers,) each."""
    found = {}
    for name, seed, number in (("image 0", 0, 0), ("image 1", 0, 1), ("image 0 of seed 1", 1, 0)):
        draws = code.Objective(path).draw(torch.tensor([500.0]), [True], SIZE, seed=seed, numbers=[number])
        found |= {f"noise of {name}": draws.noise, f"first of the pair of {name}": draws.pair[0]}
        found |= {f"second of the pair of {name}": draws.pair[1]}
    return {name: value.flatten() for name, value in found.items()}


def test_the_noise_of_the_pair_is_independent_of_all_other_noise(tiny_base):
    check_independent(streams(tiny_base.path()))


PAIR = '"pair": torch.randn((2, *shape), generator=source)'
FAULTS = {
    "the pair reuses the ambient noise": (PAIR, '"pair": torch.stack([noise, torch.randn(shape, generator=source)])'),
    "the pair reuses its opposite": (PAIR, '"pair": torch.stack([torch.randn(shape, generator=source), -noise])'),
    "both of the pair are one draw": (PAIR, '"pair": torch.randn((1, *shape), generator=source).repeat(2, *[1] * len(shape))'),
    "the pair starts its generator anew": (PAIR, '"pair": torch.randn((2, *shape), generator=source.manual_seed(0))'),
    "noise begins anew within an image": (PAIR, '"pair": torch.randn((2, 2, *shape[1:]), generator=source).repeat(1, 2, 1, 1)'),
    "all images draw the same": ('generator(seed, "training", n)', 'generator(seed, "training", 0)'),
    "all seeds draw the same": ('generator(seed, "training", n)', 'generator(0, "training", n)'),
    "noise is too large": (PAIR, '"pair": 1.1 * torch.randn((2, *shape), generator=source)'),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_draws_are_refused(tiny_base, fault):
    with pytest.raises(AssertionError, match=r"standard errors|unique"):
        check_independent(streams(tiny_base.path(), planted(objective, FAULTS[fault])))


def test_levels_are_uniform_over_their_ranges(tiny_base):
    """t over t_n .. T; a start below t_n over 1 .. t_n; the length of a step over 1 .. 20."""
    count, t_n, top = 12_000, 500, int(tiny_base.path().t_max)
    levels, numbers = torch.full((count,), float(t_n)), list(range(count))

    def drawn(below: float) -> Draws:
        return Objective(tiny_base.path(), below=below).draw(levels, [True] * count, torch.Size((1,)), seed=0, numbers=numbers)

    draws = drawn(below=0.4)
    mean_is(draws.t, (t_n + top) / 2, 20)
    mean_is((draws.t > 600).double(), (top - 600) / (top - t_n + 1), 0.05)
    mean_is(draws.descends.double(), 0.4, 0.05)
    mean_is((draws.t - (t_n + top) / 2) * draws.noise.flatten(), 0.0, 20)
    draws = drawn(below=1.0)
    mean_is(draws.start, (1 + t_n) / 2, 20)
    mean_is((draws.start > 100).double(), (t_n - 100) / t_n, 0.05)
    mean_is((draws.start - draws.end)[draws.start >= 20], (1 + 20) / 2, 1)


def test_orders_of_epochs_are_uniform_and_independent():
    """Where image 0 stands, over many epochs: no place is preferred, whatever its place in the epoch before."""
    images, epochs = 4, 10_241
    found = torch.tensor(order(images, seed=0, numbers=list(range(images * epochs)))).reshape(epochs, images)
    place = (found == 0).double().argmax(1)
    for where in range(images):
        mean_is((place == where).double(), 1 / images, 0.05)
    mean_is((place[1:] == place[:-1]).double(), 1 / images, 0.05)
