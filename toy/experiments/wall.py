"""Where the wall is: what a direct deconvolution recovers as the noise grows, and the modulation that is left to recover from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ambient.paths import VarianceExploding
from toy.data.mixtures import MIXTURES
from toy.evaluation import normalised_errors, sub_n_mean
from toy.methods import deconvolution, wiener
from toy.problem import from_world

NOISE = (0.15, 0.25, 0.35, 0.5, 0.7, 1.0)  # over the distance of the nearest modes
COUNTS = (10_000, 1_000_000)


def modulation(noise: float) -> float:
    """What is left of a modulation of wavelength d in the density of data with noise `noise` d: exp(-2 pi^2 noise^2)."""
    return math.exp(-2 * math.pi**2 * noise**2)


@dataclass(frozen=True)
class Wall:
    """A task: sub-n means of grid deconvolution and of the Wiener filter over noise levels and numbers of points."""

    world: str
    seed: int

    def __call__(self, report: Callable[[str, float, float], None], stop: Callable[[], bool]) -> list[dict[str, Any]]:
        """One row a noise level."""
        mixture, rows = MIXTURES[self.world], []
        for i, noise in enumerate(NOISE):
            row: dict[str, Any] = {"noise": noise, "modulation": modulation(noise)}
            t_n = noise * mixture.separation
            problems = [from_world(mixture.build(), VarianceExploding(), t_n, count=count, seed=self.seed) for count in COUNTS]
            for count, problem in zip(COUNTS, problems, strict=True):
                fitted = deconvolution.best_grid(problem, cells=8, stops=deconvolution.STOPS[:-2])
                row[f"deconvolution_{count}"] = sub_n_mean(normalised_errors(fitted, problem, count=2000))
            row["wiener"] = sub_n_mean(normalised_errors(wiener.filter_of(problems[-1]), problems[-1], count=2000))
            rows.append(row)
            report("the wall", (i + 1) / len(NOISE), math.nan)
        return rows
