"""Learn clean digits from noisy ones alone, beside every alternative.

    python -m toy mnist                                       4,000 real digits at 14x14, noise .6, every method, one seed
    python -m toy mnist --world smooth                        a smooth world fitted to them: the truth is known exactly
    python -m toy mnist --data mnist.npz --preset full        28x28, three seeds
    python -m toy mnist --clean-share 0.1                     one image in ten is clean
    python -m toy mnist --start related                       networks first learn clean digits 0 to 4; the data are noisy 5 to 9
    python -m toy mnist --path sdxl --t-n 500                 SDXL's noise schedule; also vp and flow
    python -m toy mnist table1 | figures | memorization       the paper's Table 1, Figs. 4 to 6, Fig. 8; each has --help

Writes a run directory: config.yaml, environment.json, metrics, checkpoints, results.json, table.md, figures and report.html.
The same command resumes; Ctrl-C loses nothing.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from harness import records
from harness.config import command_of, parse
from harness.files import write_atomically
from harness.options import option
from harness.runs import Run
from harness.tables import markdown
from harness.wording import several
from toy.data.digits import Digits
from toy.experiments.fit import FORMAT, Experiment, Rows, choose
from toy.experiments.row import Images, KnownImages
from toy.images.classifier import features_of
from toy.images.scoring import AT_N, LEVELS, ImageScore
from toy.images.source import ADAM, RECIPE, ImageSource, LevelOptions, but, count, tell_held_out
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
COMPARED = tuple(name for name in METHODS if name not in ("deconvolution", "start"))
STARTS = ("untrained", "related")


@dataclass(frozen=True)
class MnistOptions(LevelOptions):
    """The options. `out` and `workers` do not change the results and are not part of a run's identity."""

    sigma_n: float | None = but(LevelOptions, "sigma_n", usual=str(RATIOS.mnist))
    t_n: int | None = but(LevelOptions, "t_n", usual=str(STEPS.mnist))
    method: tuple[str, ...] = option(COMPARED, "methods to compare", group="method", choices=COMPARED, metavar="NAME")
    points: int = count(1_000, "number of held-out images that errors are measured on; all, if they are fewer")
    samples: int = count(1_000, "number of images that each method generates")
    steps: int = count(50, "number of sampling steps", at_least=2, at_most=100_000)
    recipe: tuple[str, ...] = recipe()
    start: str = option(
        "untrained", "network that every training starts from: an untrained one, or one that was first trained, with the same "
        "budget, on clean images of other classes; the data and the held-out images are then those of the remaining classes",
        group="model", choices=STARTS,
    )  # fmt: skip
    related: tuple[int, ...] = option(
        (), "labels of the clean images of --start related; with untrained networks, labels whose images are left out, for "
        "comparison", group="data", metavar="LABEL", at_least=0,
        usual="with --start related, the lower half of all labels, which is 0 1 2 3 4 for digits",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        RECIPE.check(self.recipe, self.method)

    def related_labels(self) -> tuple[int, ...] | None:
        return self.related if self.related or self.start == "related" else None

    def digits(self) -> Digits:
        digits = super().digits()
        return digits if self.start == "related" else replace(digits, related=None)

    def identity(self, digits: Digits) -> dict[str, Any]:
        """A run on all classes is known without the options of the start, as it was before there were any."""
        options = super().identity(digits)
        start = {"start": options.pop("start"), "related": digits.related_labels}
        del options["related"]
        return options | start if digits.related_labels else options

    def usual_level(self) -> float:
        return PATHS[self.path].usual.mnist


OPTIONS = MnistOptions


def main(argv: list[str]) -> None:
    """Run the comparison that `argv` describes."""
    config = parse(MnistOptions, argv, prog="python -m toy mnist", description=__doc__ or "", presets=PRESETS)
    digits = config.read()
    out, identity = config.opened("" if config.world == "digits" else f"{config.world}-", digits)
    source = ImageSource(config, config.level())
    problem = source(config.seed)
    methods = choose(config.method, problem, by_default=(COMPARED, PRESETS[config.preset].get("method")))
    with closing(Run(out, identity)) as run:
        print(f"{config.describe(digits, problem)}; {several(len(methods), 'method')} -> {out}")
        tell_held_out(config.points, problem)
        if digits.train_labels is None:
            print(NO_LABELS)
        if digits.related is not None:
            print(f"all networks start from one that is trained on {relatives(digits)}")
        score = ImageScore(features_of(digits) if digits.train_labels is not None else None, config.samples, config.steps)
        row = (KnownImages if config.world == "smooth" else Images), len(LEVELS)
        experiment = Experiment(config, identity, score, config.points, RECIPE.changed(config.recipe), ADAM, row)
        if digits.related is not None:
            experiment.pretrain(source, out)
            methods = ["start", *methods]
        rows = over_the_oracle(experiment.run(experiment.fits(methods, source, out), quality))
        summary = table.summarise(rows)
        results = {"format": FORMAT, "config": identity, "summary": summary, "rows": rows}
        records.write(out / "results.json", results)
        write_atomically(out / "table.md", markdown(table.cells(summary, report.columns(summary))).encode())
        report.write_comparison(out, results, digits, problem, command_of("python -m toy mnist", config, PRESETS))
        run.finish()
    print(f"\n{table.as_text(summary, report.columns(summary))}\n\nreport: {out / 'report.html'}")


def relatives(digits: Digits) -> str:
    """The clean images that train the start, in words."""
    assert digits.related is not None
    return f"{len(digits.related):,} clean images of the labels {', '.join(map(str, digits.related_labels))}"


def quality(row: dict[str, Any]) -> tuple[str, float | None]:
    """The number that the terminal shows of a row: the sub-n mean, or the error at the data's noise."""
    return ("sub-n", row["sub_n"]) if "sub_n" in row else ("MSE at n", row["mse"][AT_N])


def over_the_oracle(rows: Rows) -> Rows:
    """The rows with `excess`: the error over that of the oracle of the same seed, less 1, at each level where both have one."""
    oracle = {row["seed"]: row["mse"] for row in rows if row["method"] == "oracle"}

    def excess(row: dict[str, Any]) -> list[float | None]:
        pairs = zip(row["mse"], oracle[row["seed"]], strict=True)
        return [None if mine is None or least is None else mine / least - 1 for mine, least in pairs]

    return [row | {"excess": excess(row)} if row["seed"] in oracle else row for row in rows]
