"""Where the wall is: what a direct deconvolution recovers as the noise grows, and the modulation that is left to recover from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ambient.paths import VarianceExploding
from harness import records
from harness.errors import UserError
from toy.data.mixtures import MIXTURES
from toy.evaluation import normalised_errors, sub_n_mean
from toy.method import Fitted
from toy.methods import deconvolution
from toy.problem import from_world
from toy.training import Report

NOISE = (0.15, 0.25, 0.35, 0.5, 0.7, 1.0)  # over the distance of the nearest modes
COUNTS = (10_000, 1_000_000)


def modulation(noise: float) -> float:
    """exp(-2 pi^2 noise^2): what noise of standard deviation `noise` d leaves of a modulation of wavelength d in the density."""
    return math.exp(-2 * math.pi**2 * noise**2)


@dataclass(frozen=True)
class Point:
    """An entry of wall.json, which has one for each of NOISE: sub-n means with the two COUNTS, and of the Wiener filter."""

    remedy: ClassVar[str] = "delete that file, and the same command makes it again"
    noise: float
    modulation: float
    deconvolution_10000: float | None
    deconvolution_1000000: float | None
    wiener: float | None


def read_wall(file: Path) -> tuple[Point, ...]:
    """The entries of wall.json. Raises: UserError if the file is damaged."""
    points = records.read(file, tuple[Point, ...])
    if len(points) != len(NOISE):
        raise UserError(f"{file} must have {len(NOISE)} entries; found {len(points)}; {Point.remedy}")
    return points


@dataclass(frozen=True)
class Wall:
    """A task: writes the sub-n means of grid deconvolution and of the Wiener filter over noise levels and numbers of points."""

    world: str
    seed: int
    file: Path

    def __call__(self, report: Report, stop: Callable[[], bool]) -> list[dict[str, Any]]:
        """No rows of the table."""
        mixture, points = MIXTURES[self.world], list[Point]()
        for i, noise in enumerate(NOISE):
            t_n = noise * mixture.separation
            problems = [from_world(mixture.build(), VarianceExploding(), t_n, count=count, seed=self.seed) for count in COUNTS]
            grids = [(deconvolution.best_grid(problem, cells=8, stops=deconvolution.STOPS[:-2]), problem) for problem in problems]
            fits = [*grids, (Fitted(problems[-1].gaussian().denoiser(problems[-1].path)), problems[-1])]
            points.append(Point(noise, modulation(noise), *(sub_n_mean(normalised_errors(*fit, count=2000)) for fit in fits)))
            report("the wall", (i + 1) / len(NOISE), math.nan)
        records.write(self.file, points)
        return []
