"""One method on one problem: fit, evaluate, write the result; and all methods of a run, on several processes."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import Interrupted, UserError
from harness.files import write_atomically
from harness.pool import Task, run_all
from harness.records import fit, plain, write
from toy.experiments.row import Row, folder_of, networks_of, read
from toy.method import watched
from toy.methods import recipes
from toy.methods.consistent import Recipe
from toy.methods.start import pretrain
from toy.problem import Problem
from toy.registry import METHODS
from toy.training import Optimiser, Report, Trainer

FORMAT = 1  # of results.json
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Experiment:
    """What all fits of a run have in common.

    Args: config: the options of the command. identity: what the results depend on. score: (fitted, problem, count=, seed=) ->
    numbers, and "arrays" for the figures. count: how many points or images `score` takes. row: the record of the numbers, and
    the number of entries in each of its lists. effort: samples on which `score` evaluates a denoiser, if its progress is shown.
    """

    config: Any
    identity: dict[str, Any]
    score: Callable[..., dict[str, Any]]
    count: int
    recipe: Recipe
    optimiser: Optimiser
    row: tuple[type[Row], int] = (Row, 0)
    effort: int = 0

    @property
    def seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.config.seeds)

    def fits(
        self, methods: Iterable[str], source: Callable[[int], Problem], directory: Path, level: float | None = None
    ) -> list[Fit]:
        """A fit for each seed and network. `level`: of the data, where a run has several; 0 for clean data."""
        groups = share_networks(methods)
        return [Fit(group, seed, source, directory, self, level) for seed in self.seeds for group in groups]

    def trainer(self, problem: Problem, directory: Path, seed: int, report: Report, stop: Callable[[], bool]) -> Trainer:
        """The trainer of all networks of a seed."""
        networks, budget = networks_of(directory, seed), 1e6 * self.config.evaluations
        return Trainer(problem, networks, self.identity, seed, budget, report, stop, self.optimiser)

    def pretrain(self, source: Callable[[int], Problem], directory: Path) -> None:
        """Train the network of each seed from which all others start, unless that is done."""
        missing = [seed for seed in self.seeds if not (networks_of(directory, seed) / "start" / "DONE").exists()]
        tasks = [Pretraining(seed, source, directory, self) for seed in missing]
        if tasks:
            run_all(tasks, workers=self.config.workers, done=lambda _: None)

    def run(self, tasks: Sequence[Task], quality: Callable[[dict[str, Any]], tuple[str, float | None]]) -> Rows:
        """The rows of all tasks, each printed when it is there with the name and value that `quality` gives it."""
        rows: Rows = []

        def keep(done: Rows) -> None:
            rows.extend(done)
            for row in done:
                (name, value), level = quality(row), f" {row['level']:g}" if "level" in row else ""
                number = "-" if value is None else f"{value:.4f}"
                print(f"  {row['method'] + level:14} seed {row['seed']}   {name} {number}   {row['cpu_seconds']:.0f} CPU s")

        run_all(tasks, workers=self.config.workers, done=keep)
        return rows


@dataclass(frozen=True)
class Pretraining:
    """A task: the training of the network from which all networks of a seed start."""

    seed: int
    source: Callable[[int], Problem]
    directory: Path
    experiment: Experiment

    def __call__(self, report: Report, stop: Callable[[], bool]) -> None:
        pretrain(self.experiment.trainer(self.source(self.seed), self.directory, self.seed, report, stop))


@dataclass(frozen=True)
class Fit:
    """A task: the methods that share one network, for one seed."""

    methods: tuple[str, ...]
    seed: int
    source: Callable[[int], Problem]
    directory: Path
    experiment: Experiment
    level: float | None = None

    def __call__(self, report: Report, stop: Callable[[], bool]) -> Rows:
        """Fit and evaluate each method that has no result yet; the rows of all."""

        def at_level(stage: str, share: float, loss: float) -> None:
            report(f"{stage} at {self.level:g}", share, loss)

        problem = cache(lambda: self.source(self.seed))
        shown, level = (report, {}) if self.level is None else (at_level, {"level": self.level})
        return [self._one(name, problem, shown, stop) | level for name in self.methods]

    def _one(self, name: str, build: Callable[[], Problem], report: Report, stop: Callable[[], bool]) -> dict[str, Any]:
        of, folder = self.experiment, folder_of(self.directory, name, self.seed)
        if (folder / "result.json").exists():
            return plain(read(folder / "result.json", *of.row, method=name, seed=self.seed))
        folder.mkdir(parents=True, exist_ok=True)
        problem, method = build(), recipes.ours(of.recipe) if name == "ours" else METHODS[name]
        trainer = of.trainer(problem, self.directory, self.seed, report, stop)
        start = time.process_time()
        if problem.related_batch is not None and method.network:
            pretrain(trainer)
        fitted = method.fit(problem, trainer)
        seconds = time.process_time() - start + trainer.earlier * (name == self.methods[0])  # the first trains for all
        seen = interruptible(f"score {name}", of.effort, report, stop)
        scores = of.score(watched(fitted, seen), problem, count=of.count, seed=self.seed)
        arrays = scores.pop("arrays")
        spent = {"network_evaluations": trainer.evaluations, "cpu_seconds": round(seconds, 1)}
        row = fit({"method": name, "seed": self.seed, **scores, **spent}, of.row[0], where=name)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_atomically(folder / "arrays.npz", buffer.getvalue())
        write(folder / "result.json", row)
        return plain(row)


def interruptible(what: str, effort: int, report: Report, stop: Callable[[], bool]) -> Callable[[int], None]:
    """A function for `watched` that reports the share of the effort that is done, if the effort is known.

    The function raises Interrupted when `stop` says so.
    """
    done = 0

    def seen(count: int) -> None:
        nonlocal done
        if stop():
            raise Interrupted(f"{what}: the same command does it again")
        done += count
        if effort:
            report(what, done / effort, math.nan)

    return seen


def choose(wanted: tuple[str, ...], problem: Problem, *, by_default: tuple[Any, ...] = ()) -> list[str]:
    """The methods of `wanted` that can treat the problem, in the order of the tables; says which cannot, and why.

    Raises: UserError for a method that cannot, unless `wanted` is one of the selections that are taken by default.
    """
    chosen = []
    for name in (name for name in METHODS if name in wanted):
        reason = METHODS[name].unfit(problem)
        if reason is None:
            chosen.append(name)
        elif wanted not in by_default:
            raise UserError(f"method {name} cannot be run here: {reason}")
        else:
            print(f"left out {name}: {reason}")
    return chosen


def share_networks(methods: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of methods that train the same network; the longest trainings first."""
    groups: dict[str, list[str]] = {}
    for name in methods:
        groups.setdefault(METHODS[name].network or name, []).append(name)
    order = ("ours", "paper", "ambient-only", "sure-denoise")
    return sorted(map(tuple, groups.values()), key=lambda group: order.index(group[0]) if group[0] in order else len(order))
