"""The paper's recipe: the ambient loss in x_n space, the two-sample estimator, ancestral steps, Adam."""

from __future__ import annotations

from toy.method import Fitted, Method
from toy.methods.consistent import Recipe
from toy.problem import Problem
from toy.training import Trainer

RECIPE = Recipe(
    antithetic=False,
    kernel="ancestral",
    approach="ancestral",
    weight=0.1,
    steps=(0.02, 0.2),
    crowding=1.0,
    anchored=0.0,
    optimiser="adam",
    learning_rate=2e-3,
)


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    return Fitted(trainer.train("paper", lambda h, draw: RECIPE.loss(problem, h, draw), optimiser=RECIPE.trained_by()))


METHOD = Method(
    name="paper",
    title="Ambient + consistency as in the paper (pair of samples, ancestral step, Adam)",
    fit=fit,
    network="paper",
)
