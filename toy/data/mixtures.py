"""The built-in Gaussian mixtures. The distance of a mixture's nearest modes is the unit of the data's noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ambient.worlds import GaussianMixture


@dataclass(frozen=True)
class Mixture:
    """A named world and the smallest distance d between two of its means."""

    title: str
    build: Callable[[], GaussianMixture]

    @property
    def separation(self) -> float:
        """d, in the units of the data."""
        return float(torch.pdist(self.build().means).min())


def ring5() -> GaussianMixture:
    """Five components of different shapes and weights on a ring of radius 1.5."""
    angles = 2 * torch.pi * torch.arange(5, dtype=torch.float64) / 5 + 0.3
    means = 1.5 * torch.stack([angles.cos(), angles.sin()], 1)
    spreads = torch.tensor([[0.35, 0.15], [0.25, 0.25], [0.30, 0.12], [0.20, 0.35], [0.28, 0.15]], dtype=torch.float64)
    turns = torch.tensor([0.4, 0.0, 1.2, 2.0, 2.8], dtype=torch.float64)
    axes = torch.stack([torch.stack([turns.cos(), -turns.sin()], 1), torch.stack([turns.sin(), turns.cos()], 1)], 1)
    weights = torch.tensor([0.25, 0.15, 0.25, 0.15, 0.20], dtype=torch.float64)
    return GaussianMixture(weights, means, axes @ torch.diag_embed(spreads**2) @ axes.mT)


def line3() -> GaussianMixture:
    """Three unequal components on a line."""
    means = torch.tensor([[-1.8], [0.0], [1.4]], dtype=torch.float64)
    spreads = torch.tensor([0.25, 0.15, 0.30], dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64), means, (spreads**2)[:, None, None])


def grid9() -> GaussianMixture:
    """Nine round components on a square grid."""
    steps = torch.tensor([-1.5, 0.0, 1.5], dtype=torch.float64)
    means = torch.cartesian_prod(steps, steps)
    weights = torch.tensor([1, 2, 1, 2, 4, 2, 1, 2, 1], dtype=torch.float64)
    return GaussianMixture(weights / weights.sum(), means, 0.04 * torch.eye(2, dtype=torch.float64).expand(9, 2, 2))


def simplex8() -> GaussianMixture:
    """Eight components in eight dimensions, at the corners of a simplex, each long in one direction of its own."""
    eye = torch.eye(8, dtype=torch.float64)
    covariances = 0.04 * eye + 0.25 * torch.einsum("ki,kj->kij", eye.roll(1, 0), eye.roll(1, 0))
    return GaussianMixture(torch.full((8,), 1 / 8, dtype=torch.float64), 1.5 * eye - 1.5 / 8, covariances)


MIXTURES = {
    "ring5": Mixture("five unequal components on a ring, 2-D", ring5),
    "grid9": Mixture("nine round components on a grid, 2-D", grid9),
    "line3": Mixture("three components on a line, 1-D", line3),
    "simplex8": Mixture("eight elongated components in 8-D", simplex8),
}
