"""One method on one problem: fit, evaluate, write what it found."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ambient.runs import UserError, write_atomically
from toy.evaluation import against_truth
from toy.methods import METHODS, ours
from toy.methods.consistent import Recipe
from toy.problem import Problem
from toy.training import Report, Trainer
from toy.without_truth import without_truth

FORMAT = 1  # of result.json and results.json
SHOWN = 4_000  # samples kept for the figures


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

    def __call__(self, report: Report, stop: Callable[[], bool]) -> list[dict[str, Any]]:
        """Fit and evaluate each method that has no result yet; the rows."""
        return [self._one(name, report, stop) for name in self.methods]

    def _one(self, name: str, report: Report, stop: Callable[[], bool]) -> dict[str, Any]:
        folder = self.directory / "methods" / name / f"seed_{self.seed}"
        if (folder / "result.json").exists():
            return read_result(folder / "result.json")
        folder.mkdir(parents=True, exist_ok=True)
        problem, method = self.problem(self.seed), ours.with_recipe(self.recipe) if name == "ours" else METHODS[name]
        networks = self.directory / "networks" / f"seed_{self.seed}"
        trainer = Trainer(problem, networks, self.config, self.seed, self.evaluations, report, stop)
        start = time.process_time()
        fitted = method.fit(problem, trainer)
        seconds = time.process_time() - start
        score = against_truth if problem.world else without_truth
        found = score(fitted, problem, count=self.samples, seed=self.seed)
        samples = found.pop("samples")[:SHOWN].numpy()
        row = {"format": FORMAT, "method": name, "seed": self.seed, **found}
        row |= {"network_evaluations": trainer.evaluations, "cpu_seconds": round(seconds, 1)}
        field = field_below(fitted.denoiser, problem) if fitted.only_at is None and fitted.stop == 0 else {}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, samples=samples, **field)
        write_atomically(folder / "arrays.npz", buffer.getvalue())
        write_atomically(folder / "result.json", json.dumps(row).encode())
        return row


def read_result(path: Path) -> dict[str, Any]:
    """What was found before. Raises: UserError if the file is damaged or was written by another version."""
    try:
        row = json.loads(path.read_text())
        found = row["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged; delete it, and the same command evaluates that method again") from error
    if found != FORMAT:
        raise UserError(
            f"{path} is of format {found}, and this version writes {FORMAT}; take another folder, or delete that file"
        )
    return row


@torch.no_grad()
def field_below(denoiser: Callable[..., torch.Tensor], problem: Problem) -> dict[str, np.ndarray]:
    """h(x, t) - x at half the data's noise, on a grid, in one or two dimensions: where the denoiser sends each point."""
    if problem.dim > 2:
        return {}
    t = float(problem.path.t_from_ratio(0.5 * problem.path.ratio(problem.t_n)))
    line = torch.linspace(-2.2, 2.2, 200 if problem.dim == 1 else 25) * problem.data_std
    grid = torch.cartesian_prod(*[line] * problem.dim).reshape(-1, problem.dim) + problem.data_mean
    return {"grid": grid.numpy(), "field": (denoiser(grid, t) - grid).numpy()}
