"""How a method for images is scored: error at fixed levels, and how far its samples are from clean images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ambient.losses import squared_norm
from ambient.paths import Times
from ambient.worlds import Empirical
from toy.evaluation import generate, probes, sub_n_mean
from toy.images.classifier import Features, frechet
from toy.images.multistep import SecondOrder
from toy.method import Fitted
from toy.problem import Problem

BELOW = (0.1, 0.2, 0.3, 0.5, 0.7, 0.85)  # of the data's noise; their mean is the sub-n mean of images
LEVELS = (*BELOW, 1.0, 1.5, 3.0)
AT_N = len(BELOW)  # where the data's own level stands in LEVELS
CHUNK = 500
SHOWN = 64  # samples kept for the figures
RESTORED = 8  # held-out images kept at each level


@dataclass(frozen=True)
class ImageScore:
    """Scores a fitted method. Args: features: the reference features, or None; samples: how many are made, in how many steps."""

    features: Features | None
    samples: int
    steps: int

    def __call__(self, fitted: Fitted, problem: Problem, *, count: int, seed: int) -> dict[str, Any]:
        """Errors by level, None where a method has none; the Frechet distance; arrays `samples` and `restored`."""
        assert problem.clean_test is not None
        test = problem.clean_test[:count]
        world = None if isinstance(problem.world, Empirical) else problem.world  # whose MMSE is 0 where it knows the image
        mse: list[float | None] = []
        excess: list[float | None] = []
        restored = torch.full((len(LEVELS), RESTORED, problem.dim), torch.nan)
        for number, probe in enumerate(probes(fitted, problem, lambda _: test, LEVELS)):
            found, normalised = None, None
            if probe is not None:
                x_0, x_t, t = probe
                h = denoised(fitted, x_t, t)
                restored[number] = h[:RESTORED]
                found = float((h - x_0).square().mean())
                if world is not None:
                    exact = world.denoise(x_t, problem.path(t))
                    normalised = float(squared_norm(h - exact).mean() / squared_norm(exact - x_0).mean())
            mse.append(found)
            excess.append(normalised)
        row: dict[str, Any] = {"mse": mse}
        if world is not None:
            row |= {"errors": excess, "sub_n": sub_n_mean(excess, BELOW), "at_n": excess[len(BELOW)]}
        samples = generate(chunked(fitted), problem, self.samples, seed=seed, steps=self.steps, kernel=SecondOrder())
        if self.features is not None:
            row["frechet"] = frechet(self.features(samples), self.features(problem.clean_test[: self.samples]))
        arrays = {"samples": samples[:SHOWN].numpy(), "restored": restored.numpy()}
        return {**row, "arrays": arrays}


@torch.no_grad()
def denoised(fitted: Fitted, x_t: Tensor, t: float) -> Tensor:
    """h(x_t, t), a few images at a time."""
    return torch.cat([fitted.denoiser(part, t) for part in x_t.split(CHUNK)])


def chunked(fitted: Fitted) -> Fitted:
    """The same, evaluated on a few images at a time."""

    def denoiser(x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        levels = torch.as_tensor(t, dtype=torch.float64).expand(len(x_t))
        pieces = zip(x_t.split(CHUNK), levels.split(CHUNK), strict=True)
        return torch.cat([fitted.denoiser(part, level) for part, level in pieces])

    return fitted._replace(denoiser=denoiser)
