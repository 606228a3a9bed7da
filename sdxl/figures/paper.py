"""The figures of the paper, and what draws each here; templates/figures.html.j2 says what each shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from sdxl.figures import attacks, numbers, samples
from sdxl.figures.runs import Missing, Runs, Shown

if TYPE_CHECKING:
    from sdxl.figures.options import FiguresOptions

FIGURES: dict[str, Callable[[Runs, FiguresOptions], Shown | Missing]] = {
    "Fig. 1": attacks.masked,
    "Fig. 2": attacks.noised,
    "Fig. 3": partial(attacks.attack_and_samples, fine_tuned=False),
    "Fig. 4": numbers.distances,
    "Table 1": numbers.restored,
    "Fig. 5": samples.behind_noise,
    "Fig. 6": samples.by_level,
    "Fig. 7": samples.prompts,
    "Fig. 8": attacks.two_models,
    "Fig. 9": attacks.filled,
    "Fig. 10": partial(attacks.attack_and_samples, fine_tuned=True),
    "Fig. 11": samples.other_data,
}
