"""Do models copy their training digits? The noise attack on clean-trained and noisy-trained networks (Fig. 8).

    python -m toy mnist memorization                          300 digits, noisy at t_n = 100 of SDXL's schedule, one seed
    python -m toy mnist memorization --preset full            three seeds
    python -m toy mnist memorization --t-n 500                noise in which so few digits drown: the report says so
    python -m toy mnist memorization --path ve --sigma-n 0.3 --attack 0.8 1.6
    python -m toy mnist memorization --images 1000 --method ours paper mixture

The same network is trained on a few hundred digits, clean (oracle) and noisy; by default long enough to learn clean ones by
heart. Training digits are noised and restored; so are as many held-out ones. The similarity to the nearest training digit
shows which model copies. Beside them: the perfect memoriser of these digits, and a smooth model of others.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import records
from harness.config import command_of, parse
from harness.errors import UserError
from harness.options import option
from harness.runs import Run
from toy.data.digits import FEWEST, Digits
from toy.experiments.fit import FORMAT, Experiment, choose
from toy.experiments.row import arrays_of
from toy.images import copies
from toy.images.attack import KNOWN, Attack, Calibration
from toy.images.classifier import features_of
from toy.images.source import ADAM, RECIPE, ImageSource, LevelOptions, but, count
from toy.paths import PATHS, RATIOS, STEPS, UsualLevels, path_option
from toy.report import memorization_page
from toy.report.table import aligned, wrapped

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "full": {"seeds": 3, "draws": 4},
    "smoke": {"evaluations": 0.002, "images": 100, "draws": 1, "steps": 10},
}
METHODS = ("ours", "paper", "ambient-only", "sure-denoise", "mixture", "wiener", "naive")  # these denoise at every level
OTHERS = 500  # digits to which the smooth model is fitted, at least


@dataclass(frozen=True)
class MemorizationOptions(LevelOptions):
    """The options."""

    images: int | None = but(
        LevelOptions, "images", 300, help="number of training images; as many are held out, and both are attacked", usual=""
    )
    world: str = but(LevelOptions, "world", "digits", choices=("digits",))
    path: str = path_option("sdxl")
    sigma_n: float | None = but(LevelOptions, "sigma_n", usual=str(RATIOS.memorization))
    t_n: int | None = but(LevelOptions, "t_n", usual=str(STEPS.memorization))
    method: tuple[str, ...] = option(
        ("paper", "mixture"), "methods trained on noisy images, next to the network trained on clean ones", group="method",
        choices=METHODS, metavar="NAME",
    )  # fmt: skip
    attack: tuple[float, ...] = option(
        (), "levels to which images are noised for the attack", group="measurement", metavar="T",
        usual="300 500 700 for sdxl, 0.8 1.6 3.3 for the other paths",
    )  # fmt: skip
    network: str = but(LevelOptions, "network", "mlp")
    skip: str = but(LevelOptions, "skip", "scalar")
    evaluations: float = but(LevelOptions, "evaluations", 0.2)
    draws: int = count(2, "number of posterior samples for each noisy image", at_least=1, at_most=10_000)
    steps: int = count(50, "number of sampling steps", at_least=2, at_most=100_000)

    def __post_init__(self) -> None:
        super().__post_init__()
        for t in self.levels():
            PATHS[self.path].refuse(t, self.path)
            if t <= self.usual().invisible:
                raise ValueError(f"--attack {t:g} is noise that hides nothing; attack above {self.usual().invisible:g}")
            if t < self.level():
                raise ValueError(
                    f"--attack {t:g} lies below the level {self.level():g} of the data, where nothing is learned from them"
                )

    def usual(self) -> UsualLevels:
        return PATHS[self.path].usual

    def usual_level(self) -> float:
        return self.usual().memorization

    def levels(self) -> tuple[float, ...]:
        """The levels of the attack: those that the user asks for, or the usual ones from the level of the data upwards."""
        return self.attack or tuple(t for t in self.usual().attacks if t >= self.level()) or (self.level(),)


OPTIONS = MemorizationOptions


def main(argv: list[str]) -> None:
    """Run what `argv` describes."""
    config = parse(MemorizationOptions, argv, prog="python -m toy mnist memorization", description=__doc__ or "", presets=PRESETS)
    everything, process = replace(config, images=None).read(), PATHS[config.path]
    check_size(config, everything)
    out, identity = config.opened("memorization-", everything)
    features, source = features_of(everything), ImageSource(config, config.level())
    training, held_out = everything.train[: config.images], everything.test[: config.images]
    with closing(Run(out, identity)) as run:
        problem = source(config.seed)
        methods = choose(("oracle", *config.method), problem)
        levels = ", ".join(f"{t:g}" for t in config.levels())
        print(config.describe(everything, problem))
        print(f"{', '.join([*methods, *KNOWN])}, attacked at t = {levels} on {2 * len(training)} digits -> {out}", flush=True)
        times = tuple(float(process.time(level)) for level in config.levels())
        models = compute(config, out, methods, Attack(features, training, held_out, times, config.steps), source, identity)
        print("comparing the results with the digits", flush=True)
        results = {
            "format": FORMAT,
            "config": identity,
            "levels": config.levels(),
            "baselines": copies.baselines(features, training, held_out),
            "summary": copies.summarise(models, config.levels()),
            "differences": copies.differences(models, config.levels()),
        }
        records.write(out / "results.json", results)
        memorization_page.write(out, results, models, training, command_of("python -m toy mnist memorization", config, PRESETS))
        run.finish()
    for kind, table in memorization_page.tables(results).items():
        print(f"\n{kind}\n{aligned(memorization_page.brief(table))}")
    verdict = wrapped(memorization_page.verdict(results))
    print(f"\n{verdict}\n\nmore columns: {out / 'table.md'}\nreport: {out / 'report.html'}")


def check_size(config: MemorizationOptions, digits: Digits) -> None:
    """Raises: UserError if the data have too few images for training, attack and smooth model."""
    images, available, held_out = config.images or len(digits.train), len(digits.train), len(digits.test)
    most = min(available - OTHERS, held_out)
    if images <= most:
        return
    why = (
        f"leaves {max(0, available - images)} of {available} training images for the smooth model, which needs {OTHERS}"
        if images > available - OTHERS
        else f"is more than there are held-out images to attack beside them ({held_out})"
    )
    raise UserError(f"{digits.name}: --images {images} {why}; " + (f"at most {most}" if most >= FEWEST else "take other data"))


def compute(
    config: MemorizationOptions, out: Path, methods: list[str], attack: Attack, source: ImageSource, identity: dict[str, Any]
) -> copies.Models:
    """The attack on every model: its arrays by model, with one more axis in front, seeds."""
    effort = attack.effort(config.draws)
    experiment = Experiment(config, identity, attack, config.draws, RECIPE, ADAM, effort=effort)
    known = {
        name: [Calibration(name, seed, attack, source, config.draws, identity["digest"]) for seed in experiment.seeds]
        for name in KNOWN
    }
    tasks = [*experiment.fits(methods, source, out), *(task for tasks in known.values() for task in tasks)]
    experiment.run(tasks, lambda row: ("attacked", None))
    by_seed = {name: [arrays_of(out, name, seed) for seed in experiment.seeds] for name in methods}
    by_seed |= {name: [task.arrays() for task in tasks] for name, tasks in known.items()}
    return {name: {key: np.stack([one[key] for one in mine]) for key in mine[0]} for name, mine in by_seed.items()}
