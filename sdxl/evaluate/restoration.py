"""Table 1: models trained at several levels restore the same held-out images, under the same noise, in one step.

    python -m sdxl evaluate restoration --loras runs/t100 runs/t500 runs/t800 --data held_out --out runs/table1
    python -m sdxl evaluate restoration --loras run --data photographs --split held_out --resolution 128 --base tiny
    torchrun --nproc-per-node 8 -m sdxl evaluate restoration ...                     the same numbers, sooner

Errors are mean squares over the numbers of a latent, and over those of an image in [-1, 1] after decoding. All models see the
same noise, which follows from seed, image and level, so that their errors are compared in pairs: against the first of --loras.
Never take images that a model was trained on. Writes results.json (every error), table.md, table.csv, restoration.png. The same
command goes on where it was stopped.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ambient.config import Options, option, parse
from ambient.runs import UserError, stop_requests
from harness.statistics import mean
from sdxl import options
from sdxl.base import quiet
from sdxl.evaluate import table1, tables
from sdxl.evaluate.results import Model, Restoration
from sdxl.evaluate.table1 import SPACES
from sdxl.group import Group


@dataclass(frozen=True)
class Config(Options):
    """What is restored by what."""

    out: str = options.out("runs/restoration", "folder for the results")
    base: str = options.base()
    vae: str | None = options.vae()
    loras: tuple[str, ...] = option(
        (), "LoRAs to compare: run directories of `python -m sdxl train`, or .safetensors files", group="model", metavar="LORA",
        path=True,
    )  # fmt: skip
    with_base: bool = option(True, "measure the base without a LoRA too", group="model")
    data: str = options.source("", "held-out images", required=True)
    split: str = option("", options.SPLIT, group="data", usual=options.USUAL_SPLIT, metavar="NAME")
    image_column: str = option(
        "", "column of the dataset that holds the images", group="data", metavar="NAME", usual="the first with images"
    )
    caption_column: str = option("text", "column that holds the captions", group="data", metavar="NAME")
    caption: str | None = option(
        None, "caption for images without one", group="data", metavar="TEXT", usual="such images are refused"
    )
    null_caption: bool = option(False, "use no captions", group="data")
    resolution: int = options.resolution(1024, "size in pixels to which the shorter side is resized; the rest is cropped")
    images: int | None = option(
        None, "number of images to take, from the first on; the paper takes 32", group="data", metavar="COUNT", at_least=1,
        usual="all",
    )  # fmt: skip
    levels: tuple[int, ...] = option(
        (900, 800, 500, 100), "levels, times of the schedule, to which the images are noised", group="noise", metavar="T",
        at_least=1,
    )  # fmt: skip
    pixels: bool = option(True, "decode, and measure errors of pixels too, which takes longer than to restore", group="output")
    seed: int = option(0, "seed of the noise, which follows from the seed, the image's key and the level", group="noise")
    dtype: str = options.dtype()
    vae_dtype: str = options.vae_dtype()
    dry_run: bool = options.dry_run("read the images, print the resolved plan, and exit")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.loras and not self.with_base:
            raise ValueError("--no-with-base leaves no model; give --loras")
        if self.null_caption and self.caption is not None:
            raise ValueError("--caption and --null-caption say two things of one caption; leave one of them")


def main(argv: list[str]) -> None:
    """Restore what `argv` asks for."""
    config = parse(Config, argv, prog="python -m sdxl evaluate restoration", description=__doc__ or "")
    quiet()
    from sdxl.evaluate.restorer import Job, measure  # the models take seconds to import

    group = Group()
    with closing(group):
        job = Job(config, group)
        identity = group.together(job.identity)
        if config.dry_run:
            return group.say("\n".join(f"{key}: {value}" for key, value in (asdict(config) | identity).items()))
        with group.results(config.out, identity):
            with stop_requests() as stopping:
                measure(job, stopping)
            group.on_main(lambda: table1.write(Path(config.out), results_of(job, identity)))
        group.say((Path(config.out) / "table.md").read_text() + f"-> {config.out}")


def results_of(job: Any, identity: dict[str, Any]) -> Restoration:
    """Every error, by space, model, level and image. Raises: UserError where those of another process are not here."""
    from sdxl.evaluate.restorer import known

    errors: dict[str, dict[str, Any]] = {space: {} for space in SPACES}
    alone: list[float] = []
    for number, model in enumerate(job.models):
        found = [known(job, number, i) for i in range(len(job.images))]
        if None in found:
            raise UserError(
                f"{job.file(number, found.index(None))} is not here: do all processes see the folder {job.config.out}?"
            )
        for space in SPACES if job.config.pixels else SPACES[:1]:
            errors[space][model.name] = tuple(zip(*(getattr(of, space) for of in found), strict=True))
        alone += [value for of in found if of for value in of.vae or ()]
    return Restoration(
        config=tables.asked(job.config), identity=identity, levels=tuple(job.levels), errors=errors,
        models=tuple(Model(m.name, m.t_n, m.weight) for m in job.models), images=tuple(p.key for p in job.images.pictures),
        vae_alone=mean(alone)._asdict() if alone else None,
    )  # fmt: skip
