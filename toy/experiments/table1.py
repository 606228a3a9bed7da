"""Table 1 of the paper on digits: models trained at several noise levels restore held-out images.

    python -m toy mnist table1                              SDXL's schedule, data at t_n = 100, 500 and 800, one seed
    python -m toy mnist table1 --method ours                with consistency, not with the ambient loss alone
    python -m toy mnist table1 --data mnist --preset full   60,000 digits, three seeds

A model trained at t_n has seen each image once, with noise of that level. All of them, and one trained on clean images, restore
the same held-out images under the same noise at t = 900, 800, 500 and 100.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ambient.randomness import generator
from harness import records
from harness.config import command_of, parse
from harness.files import write_atomically
from harness.options import option
from harness.runs import Run
from harness.statistics import mean
from harness.tables import markdown
from toy.experiments.fit import FORMAT, Experiment, Rows
from toy.experiments.row import Restored, arrays_of
from toy.images.scoring import denoised
from toy.images.source import ADAM, RECIPE, SCHEDULE, ImageOptions, ImageSource, count, tell_held_out
from toy.method import Fitted
from toy.paths import path_option
from toy.problem import Problem
from toy.report import table1_page
from toy.report.table import aligned, wrapped

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "full": {"evaluations": 0.4, "seeds": 3},
    "smoke": {"evaluations": 0.002, "images": 500, "points": 100},
}
EVALUATED = (900, 800, 500, 100)
TRAINED = ("ambient-only", "ours", "paper")
SHOWN = 4  # held-out images at each level for the figures


@dataclass(frozen=True)
class Table1Options(ImageOptions):
    """The options. `out` and `workers` do not change the results and are not part of a run's identity."""

    path: str = path_option("sdxl", ("sdxl",))
    levels: tuple[int, ...] = option(
        (100, 500, 800), "levels of the data, rising steps of the schedule, one model each", group="noise", metavar="T_N",
        at_least=1, at_most=SCHEDULE, rising=True,
    )  # fmt: skip
    method: str = option("ambient-only", "method that trains the models", group="method", choices=TRAINED, metavar="NAME")
    points: int = count(1_000, "number of held-out images to restore; all, if they are fewer")


@dataclass(frozen=True)
class Source(ImageSource):
    """Problems whose networks are trained up to the largest noise of EVALUATED."""

    def __call__(self, seed: int) -> Problem:
        problem = super().__call__(seed)
        return replace(problem, sigma_max_over_std=float(problem.path.noise_to_signal(float(EVALUATED[0]))) / problem.data_std)


@dataclass(frozen=True)
class Restoration:
    """Scores a model by the error of held-out images that it restores at each of EVALUATED; all models see the same noise."""

    def __call__(self, fitted: Fitted, problem: Problem, *, count: int, seed: int) -> dict[str, Any]:
        """`mse` per pixel at each level; arrays `errors` (levels, images) and `restored` (levels, SHOWN, D)."""
        errors, restored = [], []
        for t in EVALUATED:
            x_0, x_t = noised(problem, t, count)
            h = denoised(fitted, x_t, float(t))
            errors.append((h - x_0).square().mean(1).numpy())
            restored.append(h[:SHOWN].numpy())
        arrays = {"errors": np.stack(errors), "restored": np.stack(restored)}
        return {"mse": [float(at_t.mean(dtype=np.float64)) for at_t in errors], "arrays": arrays}


def noised(problem: Problem, t: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Held-out images, and the same images at level t."""
    assert problem.clean_test is not None
    x_0 = problem.clean_test[:count]
    noise = torch.randn(x_0.shape, generator=generator(0, "restoration", t))
    return x_0, problem.path(float(t)).apply(x_0, noise)


OPTIONS = Table1Options


def main(argv: list[str]) -> None:
    """Run what `argv` describes."""
    config = parse(Table1Options, argv, prog="python -m toy mnist table1", description=__doc__ or "", presets=PRESETS)
    digits = config.read()
    out, identity = config.opened("table1-", digits)
    problem = Source(config, config.levels[0])(config.seed)
    with closing(Run(out, identity)) as run:
        noisy = ", ".join(map(str, config.levels))
        print(f"{digits.name}: {problem.count:,} images, clean and at t_n = {noisy}; {config.method} -> {out}")
        tell_held_out(config.points, problem)
        experiment = Experiment(config, identity, Restoration(), config.points, RECIPE, ADAM, (Restored, len(EVALUATED)))
        tasks = experiment.fits(("oracle",), Source(config, EVALUATED[-1]), folder(out, 0), level=0)  # for the skip: least noise
        for level in config.levels:
            tasks += experiment.fits((config.method,), Source(config, level), folder(out, level), level=level)
        rows = experiment.run(tasks, lambda row: (f"MSE at {EVALUATED[1]}", row["mse"][1]))
        rows.sort(key=lambda row: (row["level"], row["seed"]))
        summary = summarise(out, config)
        results = {"format": FORMAT, "config": identity, "rows": rows, "summary": summary, "mean_image": of_mean_image(problem)}
        cells = table1_page.cells(results)
        records.write(out / "results.json", results)
        write_atomically(out / "table.md", markdown(cells).encode())
        write_atomically(out / "table.csv", pd.DataFrame(summary).to_csv(index=False).encode())
        command = command_of("python -m toy mnist table1", config, PRESETS)
        images = {t: tuple(x[:SHOWN].numpy() for x in noised(problem, t, config.points)) for t in EVALUATED}
        table1_page.write(out, results, images, problem, command)
        run.finish()
    verdict = wrapped(table1_page.verdict(results))
    print(f"\n{aligned(cells)}\n{table1_page.NOTE}\n\n{verdict}\n\nreport: {out / 'report.html'}")


def folder(out: Path, level: int) -> Path:
    """Where the models of a level are."""
    return out / f"t_n={level}"


def summarise(out: Path, config: Table1Options) -> Rows:
    """For each level of noise and each model: MSE per pixel, its spread, and the paired difference to the clean-trained model.

    Errors of an image are averaged over seeds first; `difference` and its standard errors are shares of the clean-trained MSE.
    """
    models, seeds = [(0, "oracle"), *((level, config.method) for level in config.levels)], range(config.seeds)
    errors = {
        level: np.stack([arrays_of(folder(out, level), name, config.seed + i)["errors"].astype(np.float64) for i in seeds])
        for level, name in models
    }
    summary = []
    for number, t in enumerate(EVALUATED):
        clean = errors[0][:, number]
        for level, _ in models:
            mine = errors[level][:, number]
            off = (mine - clean) / clean.mean()
            row = {"t": t, "t_n": level, "own": t >= level, "mse": float(mine.mean()), "std": float(mine.mean(0).std(ddof=1))}
            row |= {"difference": float(off.mean()), "error_images": mean(off.mean(0).tolist()).error}
            summary.append(row | {"error_seeds": mean(off.mean(1).tolist()).error})
    return summary


def of_mean_image(problem: Problem) -> float:
    """MSE per pixel of the mean image: the best guess without a look at the noisy image."""
    assert problem.clean_test is not None
    return float((problem.clean_test - problem.clean_test.mean(0)).square().mean())
