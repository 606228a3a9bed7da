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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness import records
from harness.config import command_of, parse
from harness.files import write_atomically
from harness.options import Options, option
from harness.runs import Run
from harness.tables import markdown
from harness.wording import several
from toy.data.mixtures import MIXTURES, Mixture
from toy.data.points import LARGEST_NOISE, Table, digest_of_file, load_points
from toy.evaluation import LEVELS
from toy.experiments.fit import FORMAT, Experiment, Rows, choose
from toy.experiments.row import OwnPoints, Points, arrays_of
from toy.experiments.scoring import score_points
from toy.experiments.wall import Point, Wall, read_wall
from toy.methods.consistent import recipe
from toy.methods.recipes import OURS
from toy.paths import CONTINUOUS, PATHS, RATIOS, path_option
from toy.problem import Problem, from_points, from_world, remarks
from toy.registry import METHODS
from toy.report import figures, pages, table
from toy.training import Optimiser

POINT_METHODS = tuple(name for name in METHODS if name not in ("mixture", "start"))  # these are for images
USUAL = "ring5"
LARGEST = 10_000_000  # number of points or samples
FEWEST = 100  # samples: in one dimension the mean of their squares has a relative error of sqrt(2 / 100), 14 %

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
    """The options. `out` and `workers` do not change the results and are not part of a run's identity."""

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
                f"--sigma-n {self.sigma_n} drowns {self.built_in()}: at most {LARGEST_NOISE * self.mixture().separation:.3g}, "
                f"{LARGEST_NOISE} times the distance of the modes"
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
        found = self.without("out", "workers")
        if self.path == "ve":
            del found["path"]  # runs from before there was a choice have none, and stay readable
        if self.data is None:
            return found | {"world": self.built_in()}
        return found | {"data": os.path.normpath(self.data), "data_digest": digest_of_file(self.data)}

    def read(self) -> Table:
        """The user's own points."""
        assert self.data is not None
        return load_points(self.data, sigma_n=self.sigma_n, noise_column=self.noise_column)

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
    """Builds the problem of a seed; it can be sent to another process."""

    config: GmmOptions

    def __call__(self, seed: int) -> Problem:
        config, process = self.config, PATHS[self.config.path]
        if config.data is None:
            t_n = float(process.time(config.level()))
            return from_world(config.mixture().build(), process.path, t_n, count=config.points, seed=seed)
        table = config.read()
        t_n = process.time(table.levels).float()
        x_n = process.path(t_n).like(table.points).alpha * table.points  # X_n / alpha_n is what the file holds
        return from_points(x_n, t_n, process.path, scale=table.scale, seed=seed)


OPTIONS = GmmOptions


def main(argv: list[str]) -> None:
    """Run the experiment that `argv` describes."""
    config = parse(GmmOptions, argv, prog="python -m toy gmm", description=__doc__ or "", presets=PRESETS)
    out, problem = config.folder(), Source(config)(config.seed)
    methods = choose(config.method, problem, by_default=(POINT_METHODS, PRESETS[config.preset].get("method")))
    with closing(Run(out, config.identity())) as run:
        announce(config, problem, methods, out)
        rows, wall = compute(config, out, methods)
        summary = table.summarise(rows)
        results = {"format": FORMAT, "config": config.identity(), "summary": summary, "rows": rows, "wall": wall}
        records.write(out / "results.json", results)
        write_atomically(out / "table.md", markdown(table.cells(summary)).encode())
        if config.data is not None:
            write_samples(config.read(), out, methods, config.seed)
        figures.draw_all(out, results, problem)
        pages.write_points(out, results, problem, command_of("python -m toy gmm", config, PRESETS))
        run.finish()
    print(f"\n{table.as_text(summary)}\n\nreport: {out / 'report.html'}")


def write_samples(data: Table, out: Path, methods: list[str], seed: int) -> None:
    """samples.csv: what each method generates, in the units and columns of the user's data."""
    tables = []
    for name in methods:
        samples = arrays_of(out, name, seed)["samples"] * data.scale + data.centre.numpy()
        tables.append(pd.DataFrame(samples, columns=data.columns).assign(method=name))
    write_atomically(out / "samples.csv", pd.concat(tables).to_csv(index=False).encode())


def announce(config: GmmOptions, problem: Problem, methods: list[str], out: Path) -> None:
    """Say what the run will do, and warn where it cannot work."""
    amount = "a stream of points" if problem.count is None else f"{problem.count:,} points"
    what = config.data or f"{config.built_in()} ({config.mixture().title})"
    of_spread = problem.noise / problem.data_std
    noise = f"noise {problem.noise * problem.scale:.3g}, {of_spread:.2g} of the data's own standard deviation"
    print(f"{what}: {amount}, {noise}; {several(len(methods), 'method')} -> {out}")
    if config.data is not None:
        columns = config.read().columns
        print(f"{several(len(columns), 'coordinate')}: {', '.join(columns)}")
    for remark in remarks(problem):
        print(remark)


def compute(config: GmmOptions, out: Path, methods: list[str]) -> tuple[Rows, tuple[Point, ...]]:
    """Every method for every seed, and the wall where the world is known: (rows, entries of wall.json)."""
    source, wall_file = Source(config), out / "wall.json"
    row, recipe = (Points, len(LEVELS)) if config.data is None else (OwnPoints, 0), OURS.changed(config.recipe)
    experiment = Experiment(config, config.identity(), score_points, config.samples, recipe, Optimiser(), row)
    tasks: list[Any] = experiment.fits(methods, source, out)
    has_wall = config.preset != "smoke" and config.data is None and not wall_file.exists()
    if has_wall and METHODS["deconvolution"].unfit(source(config.seed)) is None:
        tasks.append(Wall(config.built_in(), config.seed, wall_file))
    rows = experiment.run(tasks, lambda row: ("sub-n", row["sub_n"]) if "sub_n" in row else ("sw2-noisy", row.get("sw2_noisy")))
    return rows, read_wall(wall_file) if wall_file.exists() else ()
