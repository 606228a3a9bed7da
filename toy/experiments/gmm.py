"""Learn a clean distribution from noisy points alone, beside every alternative, where the truth is known.

    python -m toy gmm                                    five Gaussians on a ring, every method, one seed
    python -m toy gmm --preset full                      three seeds: the table of docs/results.md
    python -m toy gmm --world line3 --sigma-n 0.4        another mixture, another noise
    python -m toy gmm --data points.csv --sigma-n 0.3    your own noisy points, the truth unknown

Writes a run directory: config.yaml, environment.json, metrics, checkpoints, results.json, table.md, figures, and report.html,
which tells the story with these figures. The same command resumes; Ctrl-C loses nothing.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness import records
from harness.config import command_of, parse
from harness.files import write_atomically
from harness.options import Options, option
from harness.pool import run_all
from harness.runs import Run
from toy.data.mixtures import MIXTURES, Mixture
from toy.data.points import LARGEST_NOISE, digest_of_file, load_points
from toy.evaluation import LEVELS
from toy.experiments.fit import FORMAT, Fit, choose, say, share_networks
from toy.experiments.row import OwnPoints, Points
from toy.experiments.scoring import score_points
from toy.experiments.wall import Point, Wall, read_wall
from toy.methods.consistent import recipe
from toy.methods.recipes import OURS
from toy.paths import CONTINUOUS, PATHS, RATIOS, path_option
from toy.problem import Problem, from_points, from_world, remarks
from toy.registry import METHODS
from toy.report import figures, table
from toy.report import points_page as report_page
from toy.training import Optimiser

POINT_METHODS = tuple(name for name in METHODS if name != "mixture")  # which is for images: here worlds are mixtures
USUAL = "ring5"
LARGEST = 10_000_000  # number of points or samples
FEWEST = 100  # samples: a mean of squares over so many is already off by sqrt(2 / 100), 14 %, in one dimension

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "full": {"seeds": 3, "evaluations": 24.0},
    "smoke": {
        "evaluations": 0.02,
        "samples": 2_000,
        "method": ("exact", "ours", "paper", "ambient-only", "early-stop", "wiener"),
    },
}


@dataclass(frozen=True)
class GmmOptions(Options):
    """What is run. `out` and `workers` do not change the results and are not part of a run's identity."""

    preset: str = option(
        "default", "set of defaults: default takes minutes; full, three seeds, makes docs/results.md; smoke takes seconds",
        group="run",
    )  # fmt: skip
    out: str | None = option(
        None, "run directory", group="run", metavar="DIR", path=True, usual="in runs/, named after world or file, path and preset"
    )
    world: str | None = option(None, "built-in Gaussian mixture", group="data", choices=MIXTURES, usual=USUAL)
    sigma_n: float | None = option(
        None, "noise in the data, sigma_n / alpha_n: a standard deviation in the data's units", group="noise", above=0,
        usual=f"{RATIOS.points} of the distance between the nearest modes",
    )  # fmt: skip
    path: str = path_option("ve", CONTINUOUS)
    points: int | None = option(
        None, "number N of noisy points, which are used again and again", group="data", metavar="N", at_least=10,
        at_most=LARGEST, usual="a stream of new ones",
    )  # fmt: skip
    data: str | None = option(
        None, "file with your own noisy points, one on each row: .npy, .csv or .parquet", group="data", metavar="FILE", path=True,
        usual="points of --world",
    )  # fmt: skip
    noise_column: str | None = option(
        None, "column of --data that holds the standard deviation of each row's noise, 0 for a clean row", group="noise",
        metavar="NAME", usual="--sigma-n for all",
    )  # fmt: skip
    method: tuple[str, ...] = option(POINT_METHODS, "methods to compare", group="method", choices=POINT_METHODS, metavar="NAME")
    evaluations: float = option(
        4.0, "training budget of each network: millions of samples passed forward and backward", group="run", above=0
    )
    samples: int = option(
        20_000, "number of points and samples that each method is scored with", group="measurement", metavar="COUNT",
        at_least=FEWEST, at_most=LARGEST,
    )  # fmt: skip
    seed: int = option(0, "first seed of data, noise and weights", group="run")
    seeds: int = option(1, "number of seeds", group="run", metavar="COUNT", at_least=1, at_most=1_000)
    recipe: tuple[str, ...] = recipe()
    workers: int = option(
        2, "number of training processes, of one thread each", group="run", metavar="COUNT", at_least=1, at_most=1_000
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data is None and self.level() > LARGEST_NOISE * self.mixture().separation:
            raise ValueError(
                f"--sigma-n {self.sigma_n} drowns {self.built_in()}: at most {LARGEST_NOISE} times the modes' distance"
            )
        if self.data is None and self.noise_column is not None:
            raise ValueError("--noise-column goes with --data")
        if self.data is not None and self.points is not None:
            raise ValueError("--points goes with a built-in world, not with --data")
        if self.data is not None and self.world is not None:
            raise ValueError("--world is a built-in one, and --data are points of your own; leave one of them out")
        OURS.check(self.recipe, self.method)

    def identity(self) -> dict[str, Any]:
        """What the results depend on."""
        found = {key: value for key, value in asdict(self).items() if key not in ("out", "workers")}
        if self.path == "ve":
            del found["path"]  # runs from before there was a choice have none, and stay readable
        if self.data is None:
            return found | {"world": self.built_in()}
        return found | {"data": os.path.normpath(self.data), "data_digest": digest_of_file(self.data)}

    def folder(self) -> Path:
        """The run directory: one for each preset, path, world and file, unless the user names it."""
        what = Path(self.data).stem if self.data else self.built_in()
        parts = [what] * (what != USUAL) + [self.path] * (self.path != "ve") + [self.preset]
        return Path(self.out or f"runs/gmm-{'-'.join(parts)}")

    def built_in(self) -> str:
        """The name of the built-in world."""
        return self.world or USUAL

    def mixture(self) -> Mixture:
        """The built-in world."""
        return MIXTURES[self.built_in()]

    def level(self) -> float:
        """sigma_n of a built-in world."""
        return self.sigma_n if self.sigma_n is not None else 0.35 * self.mixture().separation


@dataclass(frozen=True)
class Source:
    """Builds the problem of a seed, in whatever process needs it."""

    config: GmmOptions

    def __call__(self, seed: int) -> Problem:
        config, process = self.config, PATHS[self.config.path]
        if config.data is None:
            t_n = float(process.time(config.level()))
            return from_world(config.mixture().build(), process.path, t_n, count=config.points, seed=seed)
        table = load_points(config.data, sigma_n=config.sigma_n, noise_column=config.noise_column)
        t_n = process.time(table.levels).float()
        x_n = process.path(t_n).like(table.points).alpha * table.points  # X_n / alpha_n is what the file holds
        return from_points(x_n, t_n, process.path, scale=table.scale, seed=seed)


OPTIONS = GmmOptions


def main(argv: list[str]) -> None:
    """Run the experiment that `argv` describes."""
    config = parse(GmmOptions, argv, prog="python -m toy gmm", description=__doc__ or "", presets=PRESETS)
    out, problem = config.folder(), Source(config)(config.seed)
    methods = choose(config.method, problem, named=config.method not in (POINT_METHODS, PRESETS[config.preset].get("method")))
    with closing(Run(out, config.identity())) as run:
        announce(config, problem, methods, out)
        rows, wall = compute(config, out, methods)
        summary = table.summarise(rows)
        results = {"format": FORMAT, "config": config.identity(), "summary": summary, "rows": rows, "wall": wall}
        records.write(out / "results.json", results)
        write_atomically(out / "table.md", table.as_markdown(summary).encode())
        if config.data is not None:
            write_samples(config, out, methods)
        figures.draw_all(out, results, problem)
        report_page.write(out, results, problem, command_of("python -m toy gmm", config, PRESETS))
        run.finish()
    print(f"\n{table.as_text(summary)}\n\nreport: {out / 'report.html'}")


def write_samples(config: GmmOptions, out: Path, methods: list[str]) -> None:
    """samples.csv: what each method generates, in the units and columns of the user's data."""
    assert config.data is not None
    data = load_points(config.data, sigma_n=config.sigma_n, noise_column=config.noise_column)
    tables = []
    for name in methods:
        with np.load(out / "methods" / name / f"seed_{config.seed}" / "arrays.npz") as arrays:
            values = arrays["samples"] * data.scale + data.centre.numpy()
        tables.append(pd.DataFrame(values, columns=data.columns).assign(method=name))
    write_atomically(out / "samples.csv", pd.concat(tables).to_csv(index=False).encode())


def announce(config: GmmOptions, problem: Problem, methods: list[str], out: Path) -> None:
    """Say what is about to happen, and warn where it cannot work."""
    amount = "a stream of points" if problem.count is None else f"{problem.count:,} points"
    what = config.data or f"{config.built_in()} ({config.mixture().title})"
    noise = (
        f"noise {problem.noise * problem.scale:.3g}, {problem.noise / problem.data_std:.2g} of the data's own standard deviation"
    )
    print(f"{what}: {amount}, {noise}; {len(methods)} methods -> {out}")
    if config.data is not None:
        columns = load_points(config.data, sigma_n=config.sigma_n, noise_column=config.noise_column).columns
        print(f"{len(columns)} coordinate{'s' * (len(columns) != 1)}: {', '.join(columns)}")
    for remark in remarks(problem):
        print(remark)


def compute(config: GmmOptions, out: Path, methods: list[str]) -> tuple[list[dict[str, Any]], tuple[Point, ...]]:
    """Every method for every seed, and the wall where the world is known: (rows, rows of the wall)."""
    wall_file, row = out / "wall.json", (Points, len(LEVELS)) if config.data is None else (OwnPoints, 0)
    budget, recipe, identity = 1e6 * config.evaluations, OURS.changed(config.recipe), config.identity()
    tasks: list[Any] = [
        Fit(group, seed, Source(config), out, budget, config.samples, identity, recipe, Optimiser(), score_points, row)
        for seed in range(config.seed, config.seed + config.seeds)
        for group in share_networks(methods)
    ]
    deconvolves = METHODS["deconvolution"].unfit(Source(config)(config.seed)) is None
    if config.preset != "smoke" and config.data is None and deconvolves and not wall_file.exists():
        tasks.append(Wall(config.built_in(), config.seed))
    rows: list[dict[str, Any]] = []

    def keep(result: list[Any]) -> None:
        if isinstance(result[0], Point):
            return records.write(wall_file, result)
        rows.extend(result)
        for row in result:
            quality = "sub_n" if "sub_n" in row else "sw2_noisy"
            say(row, quality.replace("_", "-"), row.get(quality))

    run_all(tasks, workers=config.workers, done=keep)
    return rows, read_wall(wall_file) if wall_file.exists() else ()
