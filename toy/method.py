"""What a method is: it sees a problem, may train networks, and answers with a denoiser and how to sample with it."""

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
    """A denoiser and how samples are made with it.

    Sampling runs from pure noise down to level `stop`; above 0 the denoiser then makes the last step (early stop). A
    denoiser that is known at a single level only, `only_at`, denoises data taken up to that level instead; a model that is
    no diffusion model brings its own `draw`(count, generator).
    """

    denoiser: Denoiser
    stop: float = 0.0
    only_at: float | None = None
    draw: Callable[[int, torch.Generator], Tensor] | None = None


def watched(fitted: Fitted, seen: Callable[[int], None]) -> Fitted:
    """The same; `seen` is told of how many samples the denoiser is evaluated on, before it is."""

    def denoiser(x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        seen(len(x_t))
        return fitted.denoiser(x_t, t, condition)

    return fitted._replace(denoiser=denoiser)


def always(problem: Problem) -> str | None:
    """No refusal."""
    return None


def needs_world(problem: Problem) -> str | None:
    """The refusal of a method that uses the truth."""
    return None if problem.world is not None else "it needs the clean distribution, which is unknown for these data"


def needs_clean(problem: Problem) -> str | None:
    """The refusal of a method that trains on clean data."""
    return None if problem.clean_batch is not None else "it needs clean data, and there is none"


@dataclass(frozen=True)
class Method:
    """One row of the table."""

    name: str
    title: str
    fit: Callable[[Problem, Trainer], Fitted]
    network: str | None = None  # methods with the same entry share one training
    reference: bool = False  # uses the truth: shown beside the others, not compared with them
    unfit: Callable[[Problem], str | None] = always  # why it cannot treat a problem; None if it can
