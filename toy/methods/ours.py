"""Our recipe: antithetic ambient loss, antithetic consistency loss, moment-matched steps, SOAP."""

from __future__ import annotations

from toy.method import Fitted, Method
from toy.methods.consistent import Recipe
from toy.problem import Problem
from toy.training import Trainer

RECIPE = Recipe()


def with_recipe(recipe: Recipe) -> Method:
    """The method, with choices of one's own."""

    def fit(problem: Problem, trainer: Trainer) -> Fitted:
        return Fitted(trainer.train("ours", lambda h, draw: recipe.loss(problem, h, draw), optimiser=recipe.trained_by()))

    title = "Antithetic ambient + antithetic consistency, moment-matched steps"
    return Method(name="ours", title=title, fit=fit, network="ours")


METHOD = with_recipe(RECIPE)
