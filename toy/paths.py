"""The noise processes that `--path` names, with the usual noise of the data on each.

A *level* is how a user writes an amount of noise. On the paths of SDXL's schedule it is a step. On all other paths it is
sigma / alpha, the noise of the data once they are divided by alpha: equal levels are then equal noise, whatever the path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ambient.paths import Discrete, Path, RectifiedFlow, VarianceExploding, VariancePreserving
from harness.options import option

RATIO_WORDS = "Noise is given as s_t / a_t, the noise of a point once it is divided by a_t."


@dataclass(frozen=True)
class UsualLevels:
    """The levels that the experiments take where the user gives none."""

    points: float | None  # of `toy gmm`, in units of the distance between the nearest modes
    mnist: float
    memorization: float
    sweep: tuple[float, ...]  # of `toy mnist figures`; the last one is in the preset full alone
    attacks: tuple[float, ...]
    invisible: float  # noise up to this level hides nothing of an image


RATIOS = UsualLevels(0.35, 0.6, 0.35, (0.35, 0.8, 1.6, 5.0), (0.8, 1.6, 3.3), 0.02)
STEPS = UsualLevels(None, 500, 100, (100.0, 300.0, 500.0, 800.0), (300.0, 500.0, 700.0), 1.0)  # 0.34, 0.8, 1.6, 3.3, 5.0


@dataclass(frozen=True)
class NoiseProcess:
    """A line of `PATHS`.

    Args: formula: for --help. caption: what a page says of alpha and sigma. option: the option that gives the level of the data.
    largest: the largest level; on the variance-preserving path the levels of training then still end below its last time.
    level_is_time: the level is itself the time t of the path.
    """

    path: Path
    formula: str
    caption: str
    usual: UsualLevels = RATIOS
    option: str = "sigma_n"
    largest: float = 100.0
    level_is_time: bool = False

    def time(self, level: Tensor | float) -> Tensor:
        """The time at which the path has this level; float64, shape as given."""
        return torch.as_tensor(level).double() if self.level_is_time else self.path.t_from_noise_to_signal(level)

    def refuse(self, level: float, name: str) -> None:
        """Raises: ValueError for a level that the path, which is called `name`, does not have."""
        if self.usual is STEPS and level not in range(1, int(self.largest) + 1):
            raise ValueError(f"on the {name} path a level is one of the steps 1 .. {self.largest:g}; got {level:g}")
        if not 0 < level <= self.largest:
            raise ValueError(
                f"on the {name} path a level is sigma / alpha, a standard deviation above 0 and at most {self.largest:g}; "
                f"got {level:g}"
            )

    def named(self, level: float) -> str:
        """A level of the data in a label: t_n = 500, or sigma_n = 0.6 where the level is not the time."""
        return f"{'t_n' if self.level_is_time else 'sigma_n'} = {level:g}"


PATHS = {
    "ve": NoiseProcess(
        VarianceExploding(), "variance exploding, X_t = X_0 + sigma Z", "On this page a_t = 1 at every level.", level_is_time=True
    ),
    "vp": NoiseProcess(
        VariancePreserving(),
        "variance preserving, alpha^2 + sigma^2 = 1",
        f"The path is variance preserving: a_t^2 + s_t^2 = 1. {RATIO_WORDS}",
        largest=40.0,
    ),
    "flow": NoiseProcess(
        RectifiedFlow(),
        "rectified flow, alpha = 1 - t and sigma = t",
        f"The path is that of rectified flow: a_t = 1 - t and s_t = t. {RATIO_WORDS}",
    ),
    "sdxl": NoiseProcess(
        Discrete.scaled_linear(),
        "the 1,000 steps of SDXL's schedule",
        "The levels are the 1,000 of SDXL's schedule: a_t falls from 1 to 0.07, and a_t^2 + s_t^2 = 1.",
        usual=STEPS,
        option="t_n",
        largest=999.0,
        level_is_time=True,
    ),
}


CONTINUOUS = tuple(name for name, process in PATHS.items() if process.usual is RATIOS)


def path_option(default: str, choices: tuple[str, ...] = tuple(PATHS)) -> Any:
    """The option `--path` of an experiment."""
    words = "; ".join(f"{name}, {PATHS[name].formula}" for name in choices)
    return option(default, f"noise process X_t = alpha X_0 + sigma Z: {words}", group="noise", choices=choices)
