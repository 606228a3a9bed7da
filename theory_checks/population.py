"""Population losses by quadrature, and by how much they grow when the exact denoiser is replaced by another one.

Every data loss of the paper is quadratic in h, so that for a perturbation g

    E loss(h + g) - E loss(h) = (gradient at h along g) + weight E ||g(X_t)||^2.

If the excess is weight E ||g||^2 for both g and -g, then the gradient at h vanishes, and the excess of every other denoiser is
known. The checks are in one dimension, where the expectation over (X_n, Z) is an integral over the plane.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ambient.denoisers import Denoiser
from ambient.paths import Path
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import EPS, converged, expect, nodes_at, normal_rule

PERTURBATIONS: list[Callable[[Tensor], Tensor]] = [
    lambda x: 0.4 + 0.3 * x,
    lambda x: -(0.4 + 0.3 * x),
    lambda x: (x + 0.5).sin(),
    lambda x: -(x + 0.5).sin(),
]
Loss = Callable[[Denoiser, Tensor, Tensor], Tensor]  # (h, x_n, noise) -> (B,)


def perturbed(h: Denoiser, g: Callable[[Tensor], Tensor]) -> Denoiser:
    """The denoiser h + g."""
    return lambda x_t, t, condition=None: h(x_t, t, condition) + g(x_t)


def pairs(world: GaussianMixture, path: Path, t_n: float, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes of (X_n, Z), (M, 1) each, and weights (M,); those of weight below 1e-22 are left out."""
    (x, w_x), (z, w_z) = nodes_at(world, path(t_n), nodes), normal_rule(1, nodes)
    x_n, noise, weights = x.repeat_interleave(len(z), 0), z.repeat(len(x), 1), (w_x[:, None] * w_z).flatten()
    keep = weights > 1e-22
    return x_n[keep], noise[keep], weights[keep]


def excess(
    loss: Loss, world: GaussianMixture, path: Path, *, t_n: float, t: float, weight: float, minimiser: Denoiser | None = None
) -> tuple[float, float]:
    """|excess - weight E g^2|, the largest over the perturbations of `minimiser` (default: the exact denoiser).

    Tolerance: the change when nodes are doubled, and 100 eps times the size of what is summed: the excess itself, the loss, and a
    residual of size sqrt(loss), which is a difference of numbers of size |x_n|.
    """
    h = minimiser or world.denoiser(path)

    def at(nodes: int) -> tuple[Tensor, Tensor]:
        x_n, noise, weights = pairs(world, path, t_n, nodes)
        base = loss(h, x_n, noise)
        extra = torch.stack([loss(perturbed(h, g), x_n, noise) - base for g in PERTURBATIONS])
        spread = expect(world, path(t), lambda x: torch.cat([g(x) ** 2 for g in PERTURBATIONS], 1), nodes)
        base_size = (base**2 @ weights).sqrt()
        return extra @ weights - weight * spread, (extra**2 @ weights).max().sqrt() + base_size + 4 * base_size.sqrt()

    values, bound = converged(lambda n: at(n)[0], 64, ceiling=1e-5)
    return float(values.abs().max()), bound + 100 * EPS * float(at(64)[1])


def mean_loss(loss: Loss, h: Denoiser, world: GaussianMixture, path: Path, *, t_n: float) -> tuple[Tensor, float]:
    """E loss(h) and a bound on its error."""

    def at(nodes: int) -> Tensor:
        x_n, noise, weights = pairs(world, path, t_n, nodes)
        return loss(h, x_n, noise) @ weights

    return converged(at, 64, ceiling=1e-5)
