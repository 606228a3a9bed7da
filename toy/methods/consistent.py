"""Ambient and consistency losses together; `paper` and `ours` are two recipes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ambient import losses
from ambient.config import nearest
from ambient.denoisers import gaussian_mmse
from ambient.kernels import KERNELS, Kernel, matched_trace
from toy.levels import level_above, pair_below
from toy.methods import ambient_only
from toy.problem import Problem
from toy.training import Counted, Draw, Optimiser

FULL_COVARIANCE = 8  # coordinates up to which a step is matched in full


@dataclass(frozen=True)
class Recipe:
    """The choices in which training with consistency can differ."""

    antithetic: bool = True  # both losses; otherwise the paper's ambient loss and its pair
    kernel: str = "matched"
    approach: str = "ddim"  # the step that takes noisy data down to the level where consistency starts
    weight: float = 1.0  # of the consistency loss, both losses in units of the prior's variance
    steps: tuple[float, float] = (0.1, 1.0)  # of log(sigma / alpha), smallest and largest
    crowding: float = 3.0  # of those levels towards the data's, see `pair_below`
    anchored: float = 0.7  # share that starts at the data's level itself
    batch: int = 64  # samples of the consistency loss; the ambient loss has 256
    start: float = 0.1  # share of the budget spent before consistency begins
    optimiser: str = "soap"
    learning_rate: float = 5e-3

    def __post_init__(self) -> None:
        for name in (self.kernel, self.approach):
            if name not in KERNELS:
                raise ValueError(f"unknown kernel {name!r}{nearest(name, KERNELS)}")
        if self.optimiser not in ("soap", "adam"):
            raise ValueError(f"optimiser must be soap or adam; got {self.optimiser!r}")
        if not (0 < self.steps[0] <= self.steps[1] < math.inf and self.batch >= 1 and 0 < self.learning_rate < 1):
            raise ValueError("steps must be positive and in order, batch at least 1, learning_rate between 0 and 1")
        if not (
            0 <= self.weight < math.inf and 0 <= self.anchored <= 1 and 0 <= self.start <= 1 and 0 < self.crowding < math.inf
        ):
            raise ValueError("weight must not be negative, crowding positive, anchored and start between 0 and 1")

    def changed(self, words: tuple[str, ...]) -> Recipe:
        """This recipe with changes, key=value each. Raises: ValueError for an unknown key or a value it cannot take."""
        known, changes = {field.name: getattr(self, field.name) for field in fields(self)}, {}
        for word in words:
            key, equals, value = word.partition("=")
            if not equals:
                raise ValueError(f"--recipe takes KEY=VALUE; got {word!r}")
            if key not in known:
                raise ValueError(f"unknown recipe key {key!r}{nearest(key, known)}")
            if key in changes:
                raise ValueError(f"--recipe gives {key!r} twice")
            try:
                changes[key] = _as(known[key], value)
            except ValueError as error:
                raise ValueError(f"recipe {key} takes a value like {known[key]}; got {value!r}") from error
        return replace(self, **changes)

    def check(self, words: tuple[str, ...], methods: tuple[str, ...]) -> None:
        """Raises: ValueError as `changed`, and for changes that none of these methods would take."""
        self.changed(words)
        if words and "ours" not in methods:
            raise ValueError("--recipe changes the method ours, which is not among those of --method")

    def loss(self, problem: Problem, denoiser: Counted, draw: Draw) -> Tensor:
        """The ambient term, and after `start` the weighted consistency term."""
        term = ambient_only.ambient_term if self.antithetic else plain_ambient_term
        ambient = term(problem, denoiser, draw)
        if draw.progress < self.start or self.weight == 0:
            return ambient
        return ambient + self.weight * self.consistency_term(problem, denoiser, draw)

    def consistency_term(self, problem: Problem, denoiser: Counted, draw: Draw) -> Tensor:
        """Consistency below the data's noise, from points reached by one step of the kernel."""
        x_n, t_n = draw.batch(self.batch)
        x_n, t_n = x_n[t_n > 0], t_n[t_n > 0]  # clean points have no levels below them
        if len(x_n) == 0:
            return x_n.sum()
        t, s = pair_below(problem, t_n, draw, steps=self.steps, crowding=self.crowding, anchored=self.anchored)
        approach, kernel = (self.step(name, x_n, denoiser, draw) for name in (self.approach, self.kernel))
        with torch.no_grad():
            x_t = approach(denoiser, x_n, path=problem.path, t=t_n, s=t).draw(draw.normal(*x_n.shape))
        noise = draw.normal(2, *x_n.shape)
        loss = losses.consistency(denoiser, x_t, noise, path=problem.path, t=t, s=s, kernel=kernel, antithetic=self.antithetic)
        return (loss / gaussian_mmse(problem.path(t), problem.data_std)).mean()

    @staticmethod
    def step(name: str, x_n: Tensor, denoiser: Counted, draw: Draw) -> Kernel:
        """The kernel of that name; the full covariance gives way to its trace, by one probe, where it would cost too much.

        Each Jacobian product is counted as an evaluation.
        """
        dim = x_n.shape[1]
        if name == "matched" and dim <= FULL_COVARIANCE:
            denoiser.evaluations += len(x_n) * dim
        elif name.startswith("matched"):
            denoiser.evaluations += len(x_n)
            return partial(matched_trace, probe=draw.normal(*x_n.shape))
        return KERNELS[name]

    def trained_by(self) -> Optimiser:
        """The optimiser of this recipe."""
        return Optimiser(name=self.optimiser, learning_rate=self.learning_rate)


def plain_ambient_term(problem: Problem, denoiser: Counted, draw: Draw) -> Tensor:
    """The paper's ambient loss, in x_n space, all levels weighing alike otherwise."""
    x_n, t_n = draw.batch(ambient_only.BATCH)
    t = level_above(problem, t_n, draw)
    loss = losses.ambient(denoiser, x_n, draw.normal(*x_n.shape), path=problem.path, t_n=t_n, t=t)
    return (loss / gaussian_mmse(problem.path(t), problem.data_std)).mean()


def _as(example: Any, text: str) -> Any:
    if isinstance(example, bool):
        if text not in ("true", "false"):
            raise ValueError
        return text == "true"
    if isinstance(example, tuple):
        low, high = text.split(",")
        return float(low), float(high)
    return type(example)(text)
