"""The network from which all others start: trained on clean images of other classes than the data's."""

from __future__ import annotations

from toy.method import Fitted, Method
from toy.methods.denoising import BATCH, denoising_loss
from toy.problem import Problem
from toy.training import Trainer


def pretrain(trainer: Trainer) -> None:
    """Train a network on the related images, or load it if that is done; all networks of the trainer then start from it.

    It is trained as the oracle is, at all levels. It corrects the same skip as the networks that start from it.
    """
    loss = denoising_loss(trainer.problem, lambda draw: draw.related_batch(BATCH))
    trainer.start = trainer.train("start", loss)


def fit(problem: Problem, trainer: Trainer) -> Fitted:
    """The start itself, which has seen nothing of the data but the moments and the skip that were fitted to them."""
    assert trainer.start is not None
    return Fitted(trainer.start)


def needs_related(problem: Problem) -> str | None:
    """Why there is no such start for a problem; None if there is one."""
    return None if problem.related_batch is not None else "networks start from it with --start related alone"


METHOD = Method(
    name="start",
    title="The network that all others start from: trained on clean images of other classes alone",
    fit=fit,
    network="start",
    unfit=needs_related,
)
