"""A method: a function of a problem that may train networks, and returns a denoiser and a way to sample with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ambient.denoisers import Denoiser
from ambient.paths import Times
from toy.problem import Problem
from toy.training import Trainer


class Fitted(NamedTuple):
    """A denoiser and the way in which samples are made with it.

    Sampling goes from pure noise down to time `stop`; if that is above 0, the denoiser makes the last step (early stop). A
    denoiser that exists at the time `only_at` alone denoises data that are noised up to that time instead. A model that is no
    diffusion model has a sampler of its own, `draw`(count, generator).
    """

    denoiser: Denoiser
    stop: float = 0.0
    only_at: float | None = None
    draw: Callable[[int, torch.Generator], Tensor] | None = None


def watched(fitted: Fitted, seen: Callable[[int], None]) -> Fitted:
    """The same method; before each evaluation of its denoiser, `seen` is called with the number of samples."""

    def denoiser(x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        seen(len(x_t))
        return fitted.denoiser(x_t, t, condition)

    return fitted._replace(denoiser=denoiser)


def always(problem: Problem) -> str | None:
    """No reason against any problem."""
    return None


def needs_world(problem: Problem) -> str | None:
    """Why a method that uses the truth cannot treat a problem; None if it can."""
    return None if problem.world is not None else "it needs the clean distribution, which is unknown for these data"


def needs_clean(problem: Problem) -> str | None:
    """Why a method that trains on clean data cannot treat a problem; None if it can."""
    return None if problem.clean_batch is not None else "it needs clean data, and there is none"


@dataclass(frozen=True)
class Method:
    """One row of the table."""

    name: str
    title: str
    fit: Callable[[Problem, Trainer], Fitted]
    network: str | None = None  # methods with the same entry share one training
    reference: bool = False  # uses the truth: stands beside the other methods and is not compared with them
    unfit: Callable[[Problem], str | None] = always  # why it cannot treat a problem; None if it can
