"""Ambient and consistency losses together; `paper` and `ours` are two recipes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ambient import losses
from ambient.denoisers import gaussian_mmse
from ambient.kernels import KERNELS, Kernel, matched_trace
from harness.options import Options, from_text, nearest, option, shown, types
from toy.levels import level_above, pair_below
from toy.methods import ambient_only
from toy.problem import Problem
from toy.training import Counted, Draw, Optimiser

FULL_COVARIANCE = 8  # coordinates up to which a step is matched in full


@dataclass(frozen=True)
class Recipe(Options):
    """The choices in which training with consistency can differ, each an option `--recipe NAME=VALUE`."""

    antithetic: bool = option(True, "antithetic noise in both losses, instead of the paper's ambient loss and its pair")
    kernel: str = option("matched", "kernel of the reverse step", choices=KERNELS)
    approach: str = option(
        "ddim", "kernel of the step that takes noisy data down to the level where consistency starts", choices=KERNELS
    )
    weight: float = option(1.0, "weight of the consistency loss, both losses in units of the prior's variance", at_least=0)
    steps: tuple[float, float] = option(
        (0.1, 1.0), "smallest and largest step of log(sigma / alpha)", above=0, rising=True, repeats=True
    )
    crowding: float = option(3.0, "how closely the levels crowd towards the data's, see `pair_below`", above=0)
    anchored: float = option(0.7, "share of the pairs that start at the data's level itself", at_least=0, at_most=1)
    batch: int = option(64, "samples of the consistency loss in a batch; the ambient loss has 256", at_least=1)
    start: float = option(0.1, "share of the budget spent before consistency begins", at_least=0, at_most=1)
    optimiser: str = option("soap", "optimiser", choices=("soap", "adam"))
    learning_rate: float = option(5e-3, "learning rate", above=0, below=1)

    @classmethod
    def spelled(cls, name: str) -> str:
        return f"--recipe {name}"

    def changed(self, words: tuple[str, ...]) -> Recipe:
        """This recipe with changes, key=value each. Raises: ValueError for an unknown key or a value it cannot take."""
        changes: dict[str, Any] = {}
        for word in words:
            key, equals, value = word.partition("=")
            if not equals:
                raise ValueError(f"--recipe takes KEY=VALUE; got {shown(word)}")
            if key not in types(Recipe):
                raise ValueError(f"unknown --recipe {shown(key)}{nearest(key, types(Recipe))}")
            if key in changes:
                raise ValueError(f"--recipe gives {key!r} twice")
            try:
                changes[key] = from_text(types(Recipe)[key], value.split(","))
            except ValueError as error:
                raise ValueError(f"{self.spelled(key)} {error}") from error
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


def recipe() -> Any:
    """The option `--recipe` of an experiment."""
    what = f"changes of the method ours: {', '.join(types(Recipe))}, e.g. kernel=ancestral weight=0.1"
    return option((), what, group="method", metavar="NAME=VALUE")
