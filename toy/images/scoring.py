"""The scores of a method for images: errors at fixed noise levels, and the distance of its samples from clean images."""

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
AT_N = len(BELOW)  # the place of the data's own level in LEVELS
CHUNK = 500
SHOWN = 64  # samples for the figures
RESTORED = 8  # held-out images at each level for the figures


@dataclass(frozen=True)
class ImageScore:
    """Scores a fitted method. Args: features: the reference features, or None; samples: how many to generate; steps: for each."""

    features: Features | None
    samples: int
    steps: int

    def __call__(self, fitted: Fitted, problem: Problem, *, count: int, seed: int) -> dict[str, Any]:
        """Errors by level, None where a method has none; the Frechet distance; arrays `samples` and `restored`."""
        assert problem.clean_test is not None
        test = problem.clean_test[:count]
        world = None if isinstance(problem.world, Empirical) else problem.world  # MMSE of Empirical: 0 where it knows the image
        mse: list[float | None] = []
        errors: list[float | None] = []
        restored = torch.full((len(LEVELS), RESTORED, problem.dim), torch.nan)
        for number, probe in enumerate(probes(fitted, problem, lambda _: test, LEVELS)):
            square, normalised = None, None
            if probe is not None:
                x_0, x_t, t = probe
                h = denoised(fitted, x_t, t)
                restored[number] = h[:RESTORED]
                square = float((h - x_0).square().mean())
                if world is not None:
                    exact = world.denoise(x_t, problem.path(t))
                    normalised = float(squared_norm(h - exact).mean() / squared_norm(exact - x_0).mean())
            mse.append(square)
            errors.append(normalised)
        row: dict[str, Any] = {"mse": mse}
        if world is not None:
            row |= {"errors": errors, "sub_n": sub_n_mean(errors, BELOW), "at_n": errors[AT_N]}
        samples = generate(chunked(fitted), problem, self.samples, seed=seed, steps=self.steps, kernel=SecondOrder())
        if self.features is not None:
            row["frechet"] = frechet(self.features(samples), self.features(problem.clean_test[: self.samples]))
        return row | {"arrays": {"samples": samples[:SHOWN].numpy(), "restored": restored.numpy()}}


@torch.no_grad()
def denoised(fitted: Fitted, x_t: Tensor, t: float) -> Tensor:
    """h(x_t, t), CHUNK images at a time."""
    return torch.cat([fitted.denoiser(part, t) for part in x_t.split(CHUNK)])


def chunked(fitted: Fitted) -> Fitted:
    """The same method, with a denoiser that is evaluated on CHUNK images at a time."""

    def denoiser(x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        levels = torch.as_tensor(t, dtype=torch.float64).expand(len(x_t))
        pieces = zip(x_t.split(CHUNK), levels.split(CHUNK), strict=True)
        return torch.cat([fitted.denoiser(part, level) for part, level in pieces])

    return fitted._replace(denoiser=denoiser)
