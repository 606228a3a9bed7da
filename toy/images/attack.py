"""The noise attack: digits are noised, a model restores them, and the results are compared with its training digits.

A model restores in one step, E[X_0 | X_t], and by samples of the posterior, which the sampler draws from x_t down to 0. The
control is the same attack on equally many held-out digits, whose results are compared with the held-out digits. To a model that
has seen neither group, the two are alike.

Paper: Sec. 4.1, Sec. 4.4, Figs. 3, 8.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ambient import kernels, samplers
from ambient.paths import Path
from ambient.randomness import generator
from ambient.worlds import Empirical, World
from harness.cache import Arrays, cached
from harness.files import digest
from toy.data import worlds
from toy.data.digits import Digits
from toy.experiments.fit import interruptible
from toy.images import classifier
from toy.images.classifier import Features
from toy.images.scoring import chunked, denoised
from toy.images.source import ImageSource
from toy.method import Fitted, watched
from toy.paths import PATHS, RATIOS
from toy.problem import Problem
from toy.training import Report

VERSION = 2  # of the cached arrays; it must change whenever the attack does
GROUPS = ("training", "held out")
KINDS = {"one step": slice(0, 1), "samples": slice(1, None)}  # their places among the results for a digit
PICTURES = ("noisy", "one step", "sample")
SHOWN = 8  # digits in the pictures
KNOWN = ("memoriser", "smooth")  # models that need no training


@dataclass(frozen=True)
class Attack:
    """Scores a fitted method. Args: features; training and held_out, (N, D); levels: times of the path; sampling steps."""

    features: Features
    training: Tensor
    held_out: Tensor
    levels: tuple[float, ...]
    steps: int

    def __call__(self, fitted: Fitted, problem: Problem, *, count: int, seed: int) -> dict[str, Any]:
        """Arrays alone: `toy.images.copies` computes the numbers from all models and seeds together."""
        return {"arrays": self.on(fitted, problem.path, draws=count, seed=seed)}

    def effort(self, draws: int) -> int:
        """The number of samples on which a model is evaluated."""
        return len(self.levels) * (len(self.training) + len(self.held_out)) * (1 + draws * (self.steps + 1))

    def on(self, fitted: Fitted, path: Path, *, draws: int, seed: int) -> Arrays:
        """Similarity of each result to the nearest training digit and to the nearest held-out digit; mean square errors.

        `similarity` and `nearest` have the axes (levels, group attacked, group compared with, 1 + draws, N): the result in one
        step, then the samples. `error` is (levels, group, 1 + draws, N), and `pictures`, of training digits, is (levels, 3,
        SHOWN, D). The noise is the same for every model.
        """
        groups, (count, dim) = (self.training, self.held_out), self.training.shape
        references = [self.features(x) for x in groups]
        similarity = torch.zeros(len(self.levels), 2, 2, 1 + draws, count)
        nearest, error = similarity.to(torch.int64), similarity[:, :, 0].clone()
        pictures = torch.zeros(len(self.levels), len(PICTURES), min(SHOWN, count), dim)
        for i, t in enumerate(self.levels):
            for j, x_0 in enumerate(groups):
                source = generator(seed, f"attack on {GROUPS[j]} digits", i)
                x_t = path(t).apply(x_0, torch.randn(x_0.shape, generator=source))
                restored = [denoised(fitted, x_t, t), *self.posterior(fitted, path, x_t, t, draws, source)]
                for r, x in enumerate(restored):
                    error[i, j, r] = (x - x_0).square().mean(1)
                    for k in range(2):
                        similarity[i, j, k, r], nearest[i, j, k, r] = classifier.similarity(self.features(x), references[k])
                if j == 0:
                    shown = (x_t / path(t).alpha.float(), *restored[:2])
                    pictures[i] = torch.stack([x[:SHOWN] for x in shown])
        results = {"similarity": similarity, "nearest": nearest, "error": error, "pictures": pictures}
        return {name: value.numpy() for name, value in results.items()}

    def posterior(
        self, fitted: Fitted, path: Path, x_t: Tensor, t: float, draws: int, source: torch.Generator
    ) -> tuple[Tensor, ...]:
        """Draws from the model's law of X_0 given X_t, each shaped as x_t: sampled down to invisible noise, then denoised."""
        last = float(path.t_from_noise_to_signal(RATIOS.invisible))
        times = samplers.log_snr_grid(path, start=t, stop=last, steps=self.steps)
        x = samplers.sample_x_0(
            chunked(fitted).denoiser,
            x_t.repeat(draws, 1),
            times,
            path=path,
            kernel=kernels.euler_maruyama,
            noise=lambda _: torch.randn(draws * len(x_t), x_t.shape[1], generator=source),
        )
        return x.split(len(x_t))


@dataclass(frozen=True)
class Calibration:
    """A task: the attack on a model that is known exactly, for one seed. The cache keeps its arrays for other runs too."""

    name: str
    seed: int
    attack: Attack
    source: ImageSource
    draws: int
    images: str  # digest of all images

    def __call__(self, report: Report, stop: Callable[[], bool]) -> list[dict[str, Any]]:
        start = time.process_time()
        self.arrays(interruptible(f"score {self.name}", self.attack.effort(self.draws), report, stop))
        return [{"method": self.name, "seed": self.seed, "cpu_seconds": time.process_time() - start}]

    def arrays(self, seen: Callable[[int], None] = lambda count: None) -> Arrays:
        """The arrays of `Attack.on`; `seen` as in `watched`."""
        attack, path = self.attack, PATHS[self.source.config.path].path
        content = digest(attack.training.numpy().tobytes() + attack.held_out.numpy().tobytes())
        key = {"digest": self.images, "attacked": content, "draws": self.draws, "seed": self.seed}
        key |= {"path": self.source.config.path, "levels": attack.levels, "steps": attack.steps}
        key |= {"versions": [VERSION, classifier.VERSION, worlds.VERSION]}

        def make() -> Arrays:
            return attack.on(watched(Fitted(self.world().denoiser(path)), seen), path, draws=self.draws, seed=self.seed)

        return cached(f"attack-{self.name}", key, make)

    def world(self) -> World:
        """The perfect memoriser of the training digits, or a smooth model of all other digits."""
        if self.name == "memoriser":
            return Empirical(self.attack.training)
        return worlds.smooth(others(replace(self.source.config, images=None).digits(), len(self.attack.training)))


def others(digits: Digits, count: int) -> Digits:
    """All training digits but the first `count`, under a digest of their own."""
    labels = None if digits.train_labels is None else digits.train_labels[count:]
    return replace(digits, train=digits.train[count:], train_labels=labels, digest=f"{digits.digest}, from {count} on")
