"""Trained on clean data: what the network could do if nothing were missing."""

from __future__ import annotations

from toy.method import Fitted, Method, needs_clean
from toy.methods.denoising import BATCH, denoising_loss
from toy.problem import Problem
from toy.training import Trainer


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    return Fitted(trainer.train("oracle", denoising_loss(problem, lambda draw: draw.clean_batch(BATCH))))


METHOD = Method(
    name="oracle",
    title="The same network trained on clean data",
    fit=fit,
    network="oracle",
    reference=True,
    unfit=needs_clean,
)
