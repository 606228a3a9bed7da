"""Ours: antithetic losses, moment-matched steps, SOAP. The paper's: its x_n space, its pair, ancestral steps, Adam."""

from __future__ import annotations

from toy.method import Method
from toy.methods.consistent import Recipe

OURS = Recipe()
PAPER = Recipe(
    antithetic=False,
    kernel="ancestral",
    descent_kernel="ancestral",
    weight=0.1,
    steps=(0.02, 0.2),
    level_power=1.0,
    share_at_t_n=0.0,
    optimiser="adam",
    learning_rate=2e-3,
)


def ours(recipe: Recipe) -> Method:
    """The method `ours` with a recipe that the user may have changed."""
    return recipe.method("ours", "Antithetic ambient + antithetic consistency, moment-matched steps")


METHODS = (ours(OURS), PAPER.method("paper", "Ambient + consistency as in the paper (pair of samples, ancestral step, Adam)"))
