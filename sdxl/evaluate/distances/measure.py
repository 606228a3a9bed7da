"""The kernel distance (KID) of two sets of features, and the floors of that distance and of Frechet's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ambient.randomness import generator
from harness.errors import UserError
from harness.metrics import frechet

SPLITS = 3  # random splits of the reference into two parts, for a floor


class Kid(NamedTuple):
    """KID as it is usually reported: mean and standard deviation over subsets; the latter is no standard error."""

    mean: float
    std: float
    subsets: int
    size: int


@dataclass(frozen=True)
class Floor:
    """Distances between `images` images of the reference and the `others`: those of two sets that differ by chance only."""

    images: int
    others: int
    frechet: float
    frechet_std: float
    kid: float


def needed(features: int) -> int:
    """The least number of images for a Frechet distance of so many features: with fewer, covariances are singular."""
    return features + 1


def kid(x: Tensor, y: Tensor, *, subsets: int, size: int, seed: int) -> Kid:
    """The unbiased MMD^2 of features (N, F), (M, F) with the kernel (a . b / F + 1)^3, over random subsets of equal size.

    It may be negative, and has no bias for few images. Source: Binkowski et al. 2018. Raises: UserError for fewer than two rows.
    """
    from torchmetrics.image.kid import poly_mmd

    size = min(size, len(x), len(y))
    if size < 2:
        raise UserError(f"KID needs at least 2 images in each set; got {len(x)} and {len(y)}")
    if size == len(x) == len(y):
        subsets = 1  # the only subset of this size
    draws = []
    for i in range(subsets):
        draw = generator(seed, "subsets of KID", i)
        some, others = (rows[torch.randperm(len(rows), generator=draw)[:size]].double() for rows in (x, y))
        draws.append(poly_mmd(some, others))
    values = torch.stack(draws)
    return Kid(float(values.mean()), float(values.std(correction=0)), subsets, size)


def floor(x: Tensor, count: int, *, subsets: int, size: int, seed: int) -> Floor | None:
    """Distances between `count` rows of x (N, F), at most half of them, and all other rows, over SPLITS random splits.

    With fewer rows than `count` the floor is an upper bound, as distances decrease with the number of images. Returns None for
    fewer than 4 rows.
    """
    count = min(count, len(x) // 2)
    if count < 2:
        return None
    draws = []
    for i in range(SPLITS):
        order = torch.randperm(len(x), generator=generator(seed, "splits of the reference", i))
        some, others = x[order[:count]], x[order[count:]]
        draws.append((frechet(others, some), kid(others, some, subsets=subsets, size=size, seed=seed).mean))
    values = torch.tensor(draws, dtype=torch.float64)
    return Floor(count, len(x) - count, float(values[:, 0].mean()), float(values[:, 0].std()), float(values[:, 1].mean()))
