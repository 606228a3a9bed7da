"""The effect of each option of `sdxl train` on the mini model: one change at a time, several seeds, equally many evaluations.

    python benchmarks/sdxl_ablation.py                                    all of them, three seeds: many hours of CPU
    python benchmarks/sdxl_ablation.py --only weight below --seeds 1      only variants whose names begin so

Each variant fine-tunes the mini model on noisy digits, and restores held-out digits in one step at levels above, at and below
t_n; then samples are compared with held-out digits. The number of steps is such that all variants evaluate the UNet equally
often. All is made by commands of `python -m sdxl` in directories below --out, so a stopped benchmark continues. Prints a Markdown
table and writes it beside the runs: errors and distances relative to the defaults, in percent, in pairs of the same seed.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch

from ambient.paths import Discrete
from harness import records
from harness.commands import command
from harness.config import parse
from harness.files import write_atomically
from harness.options import Options, option
from harness.statistics import mean
from harness.tables import markdown, with_error
from sdxl import options
from sdxl.__main__ import main as sdxl
from sdxl.evaluate.results import Distances, Restoration
from sdxl.mini import shipped
from sdxl.model.base import Base
from sdxl.reproduce.command import chosen, write_data
from sdxl.reproduce.experiments import FEATURES
from sdxl.reproduce.options import ReproduceOptions
from sdxl.run_command import quiet
from sdxl.train.cost import evaluations
from sdxl.train.objective import Objective
from sdxl.train.options import TrainOptions

DEFAULTS, TOGETHER = "defaults", "together"
VARIANTS: dict[str, str] = {  # options of `sdxl train`
    DEFAULTS: "",
    "weight: 0": "--weight 0",
    "weight: .001": "--weight 0.001",
    "weight: .1": "--weight 0.1",
    "weight: 1": "--weight 1",
    "fraction: .5": "--fraction 0.5",
    "fraction: 1": "--fraction 1",
    "below: 0": "--below 0",
    "below: 1": "--below 1",
    "largest step: 5": "--largest-step 5",
    "largest step: 100": "--largest-step 100",
    "kernel: Euler-Maruyama": "--kernel euler-maruyama",
    "pairs: antithetic": "--antithetic",
    "ambient: antithetic": "--antithetic-ambient",
    "space: x_n": "--space x_n",
    "min-SNR: 5": "--min-snr 5",
    "learning rate: a third": "--learning-rate 0.0003",
    "learning rate: three times": "--learning-rate 0.003",
    "decay: the last half": "--decay 0.5",
    "layers: feed-forward": "--layers feed-forward",
    "layers: convolutions": "--layers convolutions",
    "rank: 16": "--rank 16 --alpha 16",
    "rank: 64": "--rank 64 --alpha 64",
    "average: .99": "--ema 0.99",
}
FIRST_STAGE = {"consistency in the last half": 0.5, "consistency in the last quarter": 0.75}  # share of steps without it
VARIANTS |= dict.fromkeys(FIRST_STAGE, "")
USUAL = "--learning-rate 0.001 --batch 16 --micro-batch 16 --dtype float32 --no-checkpointing --tracker none"
BELOW, ABOVE = (0.75, 0.5, 0.25), (900, 800)  # levels of restoration, of t_n and of the schedule


@dataclass(frozen=True)
class AblationOptions(Options):
    """Options of benchmarks/sdxl_ablation.py."""

    out: str = options.out("runs/sdxl_ablation", "folder for the directories of all commands")
    only: tuple[str, ...] = option(
        (), "beginnings of the names of variants to run beside the defaults", metavar="NAME", usual="all"
    )
    together: str = option(
        "", "options of `python -m sdxl train` for one more variant, the best changes together: --together=\"--decay 0.5\"",
        metavar="WORDS",
    )  # fmt: skip
    seeds: int = option(3, "number of seeds, each with its own noise and training", metavar="COUNT", at_least=1)
    levels: tuple[int, ...] = option((100, 500), "levels of the data", metavar="T_N", at_least=1)
    evaluations: int = option(16_000, "number of evaluations of the UNet in each training, in samples", at_least=16)
    images: int = option(500, "number of samples of each model", at_least=65)
    workers: int = option(2, "number of processes, with one thread each", at_least=1)


@dataclass(frozen=True)
class Score:
    """Mean errors of latents, below, at and above t_n, and the Frechet distance of samples."""

    below: float
    at: float
    above: float
    frechet: float


def main(argv: list[str]) -> None:
    """Run the variants that `argv` asks for, and print the table."""
    config = parse(AblationOptions, argv, prog="python benchmarks/sdxl_ablation.py", description=__doc__ or "")
    names = [name for name in variants(config) if not config.only or name in (DEFAULTS, TOGETHER) or name.startswith(config.only)]
    begin()
    out, digits = Path(config.out), ReproduceOptions(out=config.out)
    write_data(digits, chosen(digits))
    shipped.ensure(out / "mini")
    for seed, t_n in product(range(config.seeds), config.levels):
        sdxl([*f"corrupt --resolution 32 --split train --t-n {t_n} --seed {seed}".split(), "--data", f"{out}/digits",
             "--base", f"{out}/mini", "--out", f"{out}/noisy_{t_n}_{seed}"])  # fmt: skip
    jobs = list(product(range(config.seeds), config.levels, names))
    with ProcessPoolExecutor(config.workers, get_context("spawn"), initializer=begin) as pool:
        scores = dict(zip(jobs, pool.map(score, [config] * len(jobs), *zip(*jobs, strict=True)), strict=True))
    text = "\n".join(markdown(table(config, names, t_n, scores)) for t_n in config.levels)
    write_atomically(out / "table.md", text.encode())
    print(text)


def variants(config: AblationOptions) -> dict[str, str]:
    """The options of `sdxl train` of each variant."""
    return VARIANTS | ({TOGETHER: config.together} if config.together else {})


def score(config: AblationOptions, seed: int, t_n: int, name: str) -> Score:
    """Train and measure a variant."""
    out = Path(config.out)
    folder, base = out / f"{name.replace(': ', '_').replace(' ', '_')}_{t_n}_{seed}", out / "mini"
    words = f"{USUAL} {variants(config)[name]} --seed {seed}".split()
    asked = parse(TrainOptions, [*words, "--data", "x"], prog="", description="")
    steps = steps_of(name, asked, Base(base).path(), config.evaluations)
    words += ["--consistency-from", str(round(FIRST_STAGE.get(name, 0) * steps))]
    shared = ["--base", str(base)]
    sdxl(["train", *words, *shared, "--data", f"{out}/noisy_{t_n}_{seed}", "--steps", str(steps), "--out", str(folder / "lora")])
    lora = str(folder / ("lora/ema/pytorch_lora_weights.safetensors" if asked.ema else "lora"))
    levels = [*ABOVE, t_n, *(round(share * t_n) for share in BELOW)]
    digits = ["--data", f"{out}/digits", "--split", "held_out", "--resolution", "32", "--no-pixels", "--no-with-base"]
    sdxl(["evaluate", "restoration", *shared, *digits, "--loras", lora, "--levels", *map(str, levels), "--seed", str(seed),
         "--out", str(folder / "restoration")])  # fmt: skip
    samples = f"--images {config.images} --guidance 1 --batch 50 --seed {seed}".split()
    sdxl(["generate", *shared, "--lora", lora, "--prompts", f"{out}/prompts.txt", *samples, "--out", str(folder / "samples")])
    sdxl(["evaluate", "fid", "--generated", str(folder / "samples"), "--reference", f"{out}/digits", "--split", "held_out",
         "--extractor", FEATURES, "--out", str(folder / "fid")])  # fmt: skip
    restored = records.read(folder / "restoration/results.json", Restoration)
    [errors] = restored.errors["latent"].values()
    at = dict(zip(restored.levels, (mean(of_level).mean for of_level in errors), strict=True))
    below = mean([at[round(share * t_n)] for share in BELOW]).mean
    [row] = records.read(folder / "fid/results.json", Distances).rows
    return Score(below, at[t_n], mean([at[level] for level in ABOVE]).mean, row.frechet)


def steps_of(name: str, options: TrainOptions, path: Discrete, budget: int) -> int:
    """The number of steps in which a variant evaluates the UNet `budget` times, in samples."""
    share = options.fraction * (1 - FIRST_STAGE.get(name, 0)) if options.weight else 0.0
    return round(budget / (options.batch * evaluations(Objective.of(options, path), share)))


def begin() -> None:
    """What each process does first."""
    torch.set_num_threads(1)
    quiet()


def table(config: AblationOptions, names: list[str], t_n: int, scores: dict[tuple[int, int, str], Score]) -> list[list[str]]:
    """The defaults' own numbers, then for each variant the differences from them in percent, with their standard errors."""
    keys = ("below", "at", "above", "frechet")
    rows = [[f"t_n = {t_n}, {config.seeds} seeds", "error below t_n", "at t_n", "above", "Frechet distance"]]
    for name in names:
        cells = []
        for key in keys:
            own, usual = ([getattr(scores[seed, t_n, of], key) for seed in range(config.seeds)] for of in (name, DEFAULTS))
            value = mean(own if name == DEFAULTS else [100 * (a / b - 1) for a, b in zip(own, usual, strict=True)])
            cells.append(with_error(value, ".4g") if name == DEFAULTS else f"{with_error(value, '+.1f')} %")
        rows.append([name, *cells])
    return rows


if __name__ == "__main__":
    command(main)
