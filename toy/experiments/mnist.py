"""Learn clean digits from noisy ones alone, beside every alternative.

    python -m toy mnist                                       4,000 real digits at 14x14, noise .6, every method, one seed
    python -m toy mnist --world smooth                        a smooth world fitted to them: the truth is known exactly
    python -m toy mnist --data mnist.npz --preset full        28x28, three seeds
    python -m toy mnist --clean-share 0.1                     one image in ten is clean
    python -m toy mnist --path sdxl --t-n 500                 SDXL's noise schedule; also vp and flow
    python -m toy mnist table1 | figures | memorization       the paper's Table 1, Figs. 4 to 6, Fig. 8; each has --help

Writes a run directory: config.yaml, environment.json, metrics, checkpoints, results.json, table.md, figures and report.html.
The same command resumes; Ctrl-C loses nothing.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import records
from harness.config import command_of, parse
from harness.files import write_atomically
from harness.options import option
from harness.pool import run_all
from harness.runs import Run
from toy.data.digits import Digits
from toy.experiments.fit import FORMAT, Fit, choose, say, share_networks
from toy.experiments.row import Images, KnownImages
from toy.images import classifier as features
from toy.images.scoring import BELOW, LEVELS, ImageScore
from toy.images.source import ADAM, RECIPE, ImageSource, LevelOptions, count, evaluations, sigma_n, t_n, tell_held_out
from toy.methods.consistent import recipe
from toy.paths import PATHS, RATIOS, STEPS
from toy.registry import METHODS
from toy.report import digits_page as report
from toy.report import table

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "bars": {"evaluations": 0.4, "seeds": 3, "samples": 2_000},
    "full": {"size": 28, "evaluations": 0.4, "seeds": 3, "samples": 2_000},
    "smoke": {
        "evaluations": 0.002,
        "images": 500,
        "samples": 100,
        "steps": 20,
        "method": ("oracle", "ours", "paper", "ambient-only", "early-stop", "mixture", "wiener"),
    },
}
NO_LABELS = "The images have no labels, so there is no classifier to take features from, and no Frechet distance."
COMPARED = tuple(name for name in METHODS if name != "deconvolution")


@dataclass(frozen=True)
class MnistOptions(LevelOptions):
    """What is run. `out` and `workers` do not change the results and are not part of a run's identity."""

    sigma_n: float | None = sigma_n(RATIOS.mnist)
    t_n: int | None = t_n(STEPS.mnist)
    evaluations: float = evaluations(0.1)
    method: tuple[str, ...] = option(COMPARED, "methods to compare", group="method", choices=COMPARED, metavar="NAME")
    points: int = count(1_000, "number of held-out images that errors are measured on; all, if they are fewer")
    samples: int = count(1_000, "number of images that each method generates")
    steps: int = count(50, "number of sampling steps", at_least=2, at_most=100_000)
    recipe: tuple[str, ...] = recipe()

    def __post_init__(self) -> None:
        super().__post_init__()
        RECIPE.check(self.recipe, self.method)

    def usual_level(self) -> float:
        return PATHS[self.path].usual.mnist


OPTIONS = MnistOptions


def main(argv: list[str]) -> None:
    """Run the comparison that `argv` describes."""
    config = parse(MnistOptions, argv, prog="python -m toy mnist", description=__doc__ or "", presets=PRESETS)
    digits = config.read()
    out, identity = config.opened("" if config.world == "digits" else f"{config.world}-", digits)
    problem = ImageSource(config, config.level())(config.seed)
    methods = choose(config.method, problem, named=config.method not in (COMPARED, PRESETS[config.preset].get("method")))
    with closing(Run(out, identity)) as run:
        print(f"{config.describe(digits, problem)}; {len(methods)} methods -> {out}")
        tell_held_out(config.points, problem)
        if digits.train_labels is None:
            print(NO_LABELS)
        rows = compute(config, out, methods, digits, identity)
        summary = table.summarise(rows)
        results = {"format": FORMAT, "config": identity, "summary": summary, "rows": rows}
        records.write(out / "results.json", results)
        write_atomically(out / "table.md", table.as_markdown(summary, report.columns(summary)).encode())
        report.write_comparison(out, results, digits, problem, command_of("python -m toy mnist", config, PRESETS))
        run.finish()
    print(f"\n{table.as_text(summary, report.columns(summary))}\n\nreport: {out / 'report.html'}")


def compute(
    config: MnistOptions, out: Path, methods: list[str], digits: Digits, identity: dict[str, Any]
) -> list[dict[str, Any]]:
    """Every method for every seed; the excess over the oracle's error added."""
    score = ImageScore(features.features_of(digits) if digits.train_labels is not None else None, config.samples, config.steps)
    recipe, budget = RECIPE.changed(config.recipe), 1e6 * config.evaluations
    row = (KnownImages if config.world == "smooth" else Images), len(LEVELS)
    tasks = [
        Fit(group, seed, ImageSource(config, config.level()), out, budget, config.points, identity, recipe, ADAM, score, row)
        for seed in range(config.seed, config.seed + config.seeds)
        for group in share_networks(methods)
    ]
    rows: list[dict[str, Any]] = []

    def keep(result: list[dict[str, Any]]) -> None:
        rows.extend(result)
        for row in result:
            at_n = row["mse"][len(BELOW)]
            say(row, *(("sub-n", row["sub_n"]) if "sub_n" in row else ("MSE at n", at_n)))

    run_all(tasks, workers=config.workers, done=keep)
    return over_the_oracle(rows)


def over_the_oracle(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`excess`: error over that of the clean-trained network of the same seed, less 1, at each level; where both have one."""
    oracle = {row["seed"]: row["mse"] for row in rows if row["method"] == "oracle"}

    def excess(row: dict[str, Any]) -> list[float | None]:
        pairs = zip(row["mse"], oracle[row["seed"]], strict=True)
        return [None if mine is None or least is None else mine / least - 1 for mine, least in pairs]

    return [row | {"excess": excess(row)} if row["seed"] in oracle else row for row in rows]
