"""Training with the ambient and the consistency loss together. The methods `paper` and `ours` are two recipes of it."""

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
from toy.levels import pair_below
from toy.method import Fitted, Method
from toy.methods.ambient_only import ambient_term
from toy.problem import Problem
from toy.training import Counted, Draw, Optimiser, Trainer

FULL_COVARIANCE = 8  # the largest number of coordinates for which a step is matched in full
EARLIER_NAMES = {  # of fields of `Recipe`
    "approach": "descent_kernel",
    "crowding": "level_power",
    "anchored": "share_at_t_n",
    "start": "warmup_share",
}


@dataclass(frozen=True)
class Recipe(Options):
    """The choices in which training with consistency can differ; each is an option `--recipe NAME=VALUE`."""

    antithetic: bool = option(True, "antithetic noise in both losses, instead of the paper's ambient loss and its pair")
    kernel: str = option("matched", "kernel of the reverse step", choices=KERNELS)
    descent_kernel: str = option(
        "ddim", "kernel of the step from the data down to the level where consistency starts", choices=KERNELS
    )
    weight: float = option(1.0, "weight of the consistency loss, both losses in units of the prior's variance", at_least=0)
    steps: tuple[float, float] = option(
        (0.1, 1.0), "smallest and largest step of log(sigma / alpha)", above=0, rising=True, repeats=True
    )
    level_power: float = option(3.0, "how near to t_n the pairs of levels start: 1 for log-uniform, more for nearer", above=0)
    share_at_t_n: float = option(0.7, "share of the pairs of levels that start at t_n itself", at_least=0, at_most=1)
    batch: int = option(64, "samples of the consistency loss in a batch; the ambient loss has 256", at_least=1)
    warmup_share: float = option(0.1, "share of the training budget that is spent before consistency", at_least=0, at_most=1)
    optimiser: str = option("soap", "optimiser", choices=("soap", "adam"))
    learning_rate: float = option(5e-3, "learning rate", above=0, below=1)

    @classmethod
    def spelled(cls, name: str) -> str:
        return f"--recipe {name}"

    def changed(self, words: tuple[str, ...]) -> Recipe:
        """This recipe with changes, key=value each. Raises: ValueError for an unknown key or a value that it cannot take."""
        changes: dict[str, Any] = {}
        for word in words:
            key, equals, value = word.partition("=")
            if not equals:
                raise ValueError(f"--recipe takes KEY=VALUE; got {shown(word)}")
            if key not in types(Recipe):
                raise ValueError(f"unknown --recipe {shown(key)}{nearest(EARLIER_NAMES.get(key, key), types(Recipe))}")
            if key in changes:
                raise ValueError(f"--recipe gives {key!r} twice")
            try:
                changes[key] = from_text(types(Recipe)[key], value.split(","))
            except ValueError as error:
                raise ValueError(f"{self.spelled(key)} {error}") from error
        return replace(self, **changes)

    def check(self, words: tuple[str, ...], methods: tuple[str, ...]) -> None:
        """Raises: ValueError as `changed` does, and for changes that none of these methods would take."""
        self.changed(words)
        if words and "ours" not in methods:
            raise ValueError("--recipe changes the method ours, which is not among those of --method")

    def loss(self, problem: Problem, denoiser: Counted, draw: Draw) -> Tensor:
        """The ambient loss and, after `warmup_share` of the budget, the weighted consistency loss; shape ()."""
        ambient = ambient_term(problem, denoiser, draw, antithetic=self.antithetic)
        if draw.progress < self.warmup_share or self.weight == 0:
            return ambient
        return ambient + self.weight * self.consistency_term(problem, denoiser, draw)

    def consistency_term(self, problem: Problem, denoiser: Counted, draw: Draw) -> Tensor:
        """The consistency loss below the data's noise, from points that one step of `descent_kernel` reaches; shape ()."""
        x_n, t_n = draw.batch(self.batch)
        x_n, t_n = x_n[t_n > 0], t_n[t_n > 0]  # there are no levels below those of clean points
        if len(x_n) == 0:
            return x_n.sum()
        t, s = pair_below(problem, t_n, draw, steps=self.steps, level_power=self.level_power, share_at_t_n=self.share_at_t_n)
        descent, kernel = (self.step(name, x_n, denoiser, draw) for name in (self.descent_kernel, self.kernel))
        with torch.no_grad():
            x_t = descent(denoiser, x_n, path=problem.path, t=t_n, s=t).draw(draw.normal(*x_n.shape))
        noise = draw.normal(2, *x_n.shape)
        loss = losses.consistency(denoiser, x_t, noise, path=problem.path, t=t, s=s, kernel=kernel, antithetic=self.antithetic)
        return (loss / gaussian_mmse(problem.path(t), problem.data_std)).mean()

    @staticmethod
    def step(name: str, x_n: Tensor, denoiser: Counted, draw: Draw) -> Kernel:
        """The kernel of that name. In many coordinates its covariance is matched by a trace with one random probe.

        Each product with the Jacobian is counted as one evaluation of the network.
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

    def method(self, name: str, title: str) -> Method:
        """The method that trains with this recipe."""

        def fit(problem: Problem, trainer: Trainer) -> Fitted:
            return Fitted(trainer.train(name, lambda h, draw: self.loss(problem, h, draw), optimiser=self.trained_by()))

        return Method(name=name, title=title, fit=fit, network=name)


def recipe() -> Any:
    """The option `--recipe` of an experiment."""
    what = f"changes of the method ours: {', '.join(types(Recipe))}, e.g. kernel=ancestral weight=0.1"
    return option((), what, group="method", metavar="NAME=VALUE")
