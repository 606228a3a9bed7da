"""Figs. 4, 5 and 6 on digits: how good samples are against the level of the data, and what they look like.

    python -m toy mnist figures                         SDXL's schedule, data at t_n = 100, 300, 500, one seed
    python -m toy mnist figures --levels 100 500 800 --preset full

At each level a network is trained with the ambient loss alone, another with consistency too; the first is also sampled with
early stop. Beside them: the network trained on clean digits, and the distance of training digits from held-out ones.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ambient import kernels, samplers
from ambient.randomness import generator
from harness import records
from harness.config import command_of, parse
from harness.files import write_atomically
from harness.options import option
from harness.runs import Run
from harness.tables import markdown
from toy.evaluation import generate
from toy.experiments.fit import FORMAT, Experiment, Rows
from toy.experiments.row import Drawn
from toy.images.classifier import Features, features_of, frechet
from toy.images.multistep import SecondOrder
from toy.images.scoring import chunked
from toy.images.source import ADAM, RECIPE, ImageOptions, ImageSource, count
from toy.levels import FINEST
from toy.method import Fitted
from toy.paths import PATHS, path_option
from toy.problem import Problem
from toy.report import figures_page
from toy.report.table import FOOTNOTE, aligned, over_seeds, show, starred, wrapped

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "full": {"evaluations": 0.3, "seeds": 3, "samples": 2_000},
    "smoke": {"evaluations": 0.002, "images": 500, "samples": 100, "steps": (10, 20)},
}
SWEEPS = {"default": slice(3), "full": slice(4), "smoke": slice(2, 3)}  # the part of `UsualLevels.sweep` that a preset takes
TRAINED = ("ours", "ambient-only", "early-stop")  # at each level
SHOWN = 8  # images in each row of the figures
POSTERIOR_STEPS = 50


@dataclass(frozen=True)
class FiguresOptions(ImageOptions):
    """The options."""

    path: str = path_option("sdxl")
    levels: tuple[float, ...] = option(
        (), "levels of the data", group="noise", metavar="T_N", usual="100 300 500 for sdxl, 0.35 0.8 1.6 for the other paths"
    )
    samples: int = count(1_000, "number of images that each model generates")
    steps: tuple[int, ...] = option(
        (25, 50, 100), "rising numbers of sampling steps; the last one counts, the others show convergence", group="measurement",
        at_least=2, at_most=100_000, rising=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.levels:
            object.__setattr__(self, "levels", PATHS[self.path].usual.sweep[SWEEPS[self.preset]])
        for level in self.levels:
            PATHS[self.path].refuse(level, self.path)


@dataclass(frozen=True)
class SampleScore:
    """The Frechet distance at each number of steps; arrays: samples, and posterior samples of held-out noisy images."""

    features: Features
    samples: int
    steps: tuple[int, ...]

    def __call__(self, fitted: Fitted, problem: Problem, *, count: int, seed: int) -> dict[str, Any]:
        assert problem.clean_test is not None
        fitted, real = chunked(fitted), self.features(problem.clean_test[: self.samples])
        made = [generate(fitted, problem, self.samples, seed=seed, steps=steps, kernel=SecondOrder()) for steps in self.steps]
        arrays = {"samples": made[-1][:SHOWN].numpy()}
        if fitted.stop == 0 and fitted.only_at is None:
            arrays["posterior"] = posterior_samples(fitted, problem, problem.held_out[0][:SHOWN], seed=seed).numpy()
        return {"frechet": [frechet(self.features(images), real) for images in made], "arrays": arrays}


def posterior_samples(fitted: Fitted, problem: Problem, x_n: Tensor, *, seed: int) -> Tensor:
    """Draws from the model's law of X_0 given X_n."""
    path, source = problem.path, generator(seed, "posterior sampling")
    times = samplers.log_snr_grid(path, start=problem.t_n, stop=0.0, steps=POSTERIOR_STEPS, last=problem.t_at(FINEST))
    options: dict[str, Any] = {"path": path, "kernel": kernels.euler_maruyama}
    return samplers.sample(fitted.denoiser, x_n, times, noise=lambda _: torch.randn(x_n.shape, generator=source), **options)


OPTIONS = FiguresOptions


def main(argv: list[str]) -> None:
    """Run what `argv` describes."""
    config = parse(FiguresOptions, argv, prog="python -m toy mnist figures", description=__doc__ or "", presets=PRESETS)
    digits = config.read()
    out, identity = config.opened("figures-", digits)
    features, sources = features_of(digits), {level: ImageSource(config, level) for level in config.levels}
    sources[config.levels[0]](config.seed)  # refuses impossible data before there is a folder
    with closing(Run(out, identity)) as run:
        levels = ", ".join(map(PATHS[config.path].named, config.levels))
        print(f"{digits.name}: {len(digits.train):,} digits at {levels} -> {out}")
        score, row = SampleScore(features, config.samples, config.steps), (Drawn, len(config.steps))
        experiment = Experiment(config, identity, score, config.samples, RECIPE, ADAM, row)
        tasks = experiment.fits(("oracle",), sources[min(config.levels)], out / "t_n=0", level=0.0)  # for the skip: least noise
        for level, source in sources.items():
            tasks += experiment.fits(TRAINED, source, out / f"t_n={level:g}", level=level)
        rows = experiment.run(tasks, lambda row: (f"FD at {config.steps[-1]} steps", row["frechet"][-1]))
        rows.sort(key=lambda row: (row["level"], row["method"], row["seed"]))
        count = min(config.samples, len(digits.test), len(digits.train))
        floor = frechet(features(digits.train[:count]), features(digits.test[:count]))
        results = {"format": FORMAT, "config": identity, "rows": rows, "summary": summarise(rows), "floor": floor, "count": count}
        records.write(out / "results.json", results)
        write_atomically(out / "table.md", markdown(cells(results)).encode())
        problems = {level: source(config.seed) for level, source in sources.items()}  # the workers have fitted their mixtures
        command = command_of("python -m toy mnist figures", config, PRESETS)
        figures_page.write(out, results, cells(results), digits, problems, command)
        run.finish()
    verdict = wrapped(figures_page.verdict(results))
    print(f"\n{aligned(cells(results))}\n{FOOTNOTE}\n\n{verdict}\n\nreport: {out / 'report.html'}")


def summarise(rows: Rows) -> Rows:
    """Over seeds, for each level and method."""
    by_model: dict[tuple[float, str], list[Any]] = {}
    for row in rows:
        by_model.setdefault((row["level"], row["method"]), []).append(row["frechet"])
    return [
        {"level": level, "method": method, "frechet": [over_seeds(list(values)) for values in zip(*distances, strict=True)]}
        for (level, method), distances in by_model.items()
    ]


def cells(results: dict[str, Any]) -> list[list[str]]:
    """The table, headings first."""
    head = ["model", "level", *(f"FD, {steps} steps" for steps in results["config"]["steps"])]
    return [head, *([starred(row["method"]), f"{row['level']:g}", *map(show, row["frechet"])] for row in results["summary"])]
