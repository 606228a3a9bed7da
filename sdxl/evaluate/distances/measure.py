"""The kernel distance of two sets of features, by torchmetrics, and the floor of it and of Frechet's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ambient.randomness import generator
from harness.errors import UserError
from harness.metrics import frechet

SPLITS = 3  # in two parts, for a floor


class Kid(NamedTuple):
    """KID: the mean over subsets, and its standard deviation over them, as it is usually reported. It is no standard error."""

    mean: float
    std: float
    subsets: int
    size: int


@dataclass(frozen=True)
class Floor:
    """Distances of a set to itself, in two parts that share no image: what chance leaves at that number of images."""

    images: int
    others: int
    frechet: float
    frechet_std: float
    kid: float


def needed(count: int) -> int:
    """The fewest images a set for the Frechet distance of so many features: with fewer any covariance is singular."""
    return count + 1


def kid(x: Tensor, y: Tensor, *, subsets: int, size: int, seed: int) -> Kid:
    """The kernel distance (KID): the unbiased MMD^2 of the kernel (a . b / F + 1)^3, over random subsets of equal size.

    It may be negative. It holds for few images as well. Source: Binkowski et al. 2018. Raises: UserError for fewer than two rows.
    """
    from torchmetrics.image.kid import poly_mmd

    size = min(size, len(x), len(y))
    if size < 2:
        raise UserError(f"KID needs at least 2 images in each set; got {len(x)} and {len(y)}")
    if size == len(x) == len(y):
        subsets = 1  # all of them, always the same
    found = []
    for i in range(subsets):
        draw = generator(seed, "subsets of KID", i)
        some, others = (rows[torch.randperm(len(rows), generator=draw)[:size]].double() for rows in (x, y))
        found.append(poly_mmd(some, others))
    values = torch.stack(found)
    return Kid(float(values.mean()), float(values.std(correction=0)), subsets, size)


def floor(x: Tensor, count: int, *, subsets: int, size: int, seed: int) -> Floor | None:
    """Of `count` rows (half of them at most) to all the others, over SPLITS random splits; None for fewer than 4 rows.

    With fewer rows than were asked for it is larger than a set of `count` images would have it: an upper bound of their floor.
    """
    count = min(count, len(x) // 2)
    if count < 2:
        return None
    found = []
    for i in range(SPLITS):
        order = torch.randperm(len(x), generator=generator(seed, "splits of the reference", i))
        some, others = x[order[:count]], x[order[count:]]
        found.append((frechet(others, some), kid(others, some, subsets=subsets, size=size, seed=seed).mean))
    values = torch.tensor(found, dtype=torch.float64)
    return Floor(count, len(x) - count, float(values[:, 0].mean()), float(values[:, 0].std()), float(values[:, 1].mean()))
