"""One method on one problem: fit, evaluate, write what it found; and all of them, on several processes."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import Interrupted, UserError
from harness.files import write_atomically
from harness.records import fit, plain, write
from toy.experiments.row import Row, read
from toy.method import watched
from toy.methods import recipes
from toy.methods.consistent import Recipe
from toy.problem import Problem
from toy.registry import METHODS
from toy.training import Optimiser, Report, Trainer

FORMAT = 1  # of results.json


@dataclass(frozen=True)
class Fit:
    """A task: the methods that share one network, for one seed."""

    methods: tuple[str, ...]
    seed: int
    problem: Callable[[int], Problem]
    directory: Path
    evaluations: float
    samples: int
    config: dict[str, Any]
    recipe: Recipe
    optimiser: Optimiser
    score: Callable[..., dict[str, Any]]  # (fitted, problem, count=, seed=) -> numbers, and "arrays" for the figures
    row: tuple[type[Row], int] = (Row, 0)  # what the numbers make, and how many entries each list of them has
    effort: int = 0  # samples that scoring evaluates a denoiser on, where that takes long enough to be shown

    def __call__(self, report: Report, stop: Callable[[], bool]) -> list[dict[str, Any]]:
        """Fit and evaluate each method that has no result yet; the rows."""
        problem = cache(lambda: self.problem(self.seed))
        return [self._one(name, problem, report, stop) for name in self.methods]

    def _one(self, name: str, build: Callable[[], Problem], report: Report, stop: Callable[[], bool]) -> dict[str, Any]:
        folder = self.directory / "methods" / name / f"seed_{self.seed}"
        if (folder / "result.json").exists():
            return plain(read(folder / "result.json", *self.row, method=name, seed=self.seed))
        folder.mkdir(parents=True, exist_ok=True)
        problem, method = build(), recipes.ours(self.recipe) if name == "ours" else METHODS[name]
        networks = self.directory / "networks" / f"seed_{self.seed}"
        trainer = Trainer(problem, networks, self.config, self.seed, self.evaluations, report, stop, self.optimiser)
        start = time.process_time()
        fitted = method.fit(problem, trainer)
        seconds = trainer.earlier + time.process_time() - start
        seen = interruptible(f"score {name}", self.effort, report, stop)
        found = self.score(watched(fitted, seen), problem, count=self.samples, seed=self.seed)
        arrays = found.pop("arrays")
        spent = {"network_evaluations": trainer.evaluations, "cpu_seconds": round(seconds, 1)}
        row = fit({"method": name, "seed": self.seed, **found, **spent}, self.row[0], where=name)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_atomically(folder / "arrays.npz", buffer.getvalue())
        write(folder / "result.json", row)
        return plain(row)


def interruptible(what: str, effort: int, report: Report, stop: Callable[[], bool]) -> Callable[[int], None]:
    """For `watched`: shows which share of the effort is done, if it is known, and leaves when asked to; Raises: Interrupted."""
    done = 0

    def seen(count: int) -> None:
        nonlocal done
        if stop():
            raise Interrupted(f"{what}: the same command does it again")
        done += count
        if effort:
            report(what, done / effort, math.nan)

    return seen


@dataclass(frozen=True)
class AtLevel:
    """A fit whose rows say at which level the data was, 0 for clean."""

    level: float
    fit: Fit

    def __call__(self, report: Report, stop: Callable[[], bool]) -> list[dict[str, Any]]:
        def named(stage: str, share: float, loss: float) -> None:
            report(f"{stage} at {self.level:g}", share, loss)

        return [row | {"level": self.level} for row in self.fit(named, stop)]


def choose(wanted: tuple[str, ...], problem: Problem, *, named: bool) -> list[str]:
    """The methods that can treat the problem; says which cannot, and why. Raises: UserError for one, if they were named."""
    chosen = []
    for name in METHODS:
        if name in wanted:
            reason = METHODS[name].unfit(problem)
            if reason is None:
                chosen.append(name)
            elif named:
                raise UserError(f"method {name} cannot be run here: {reason}")
            else:
                print(f"left out {name}: {reason}")
    return chosen


def share_networks(methods: list[str]) -> list[tuple[str, ...]]:
    """Methods that train the same network go together; the longest trainings first."""
    groups: dict[str, list[str]] = {}
    for name in methods:
        groups.setdefault(METHODS[name].network or name, []).append(name)
    order = ("ours", "paper", "ambient-only", "sure-denoise")
    return sorted(map(tuple, groups.values()), key=lambda group: order.index(group[0]) if group[0] in order else len(order))


def say(row: dict[str, Any], quality: str, value: float | None) -> None:
    """One line on a method that is done."""
    shown = "-" if value is None else f"{value:.4f}"
    print(f"  {row['method']:14} seed {row['seed']}   {quality} {shown}   {row['cpu_seconds']:.0f} CPU s")
