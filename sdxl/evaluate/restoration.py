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

from ambient.config import nearest, option, parse
from ambient.runs import UserError, stop_requests
from harness.statistics import mean
from sdxl.base import DTYPES, SDXL, quiet
from sdxl.evaluate import table1, tables
from sdxl.evaluate.table1 import SPACES
from sdxl.group import Group


@dataclass(frozen=True)
class Config:
    """What is restored by what."""

    out: str = option("runs/restoration", "folder of the results", metavar="DIR")
    base: str = option(SDXL, "SDXL: a folder or a hub id")
    vae: str | None = option(None, "another VAE than the base's: a folder or a hub id")
    loras: tuple[str, ...] = option((), "run directories of `python -m sdxl train`, or LoRAs' files", metavar="LORA")
    with_base: bool = option(True, "also the base alone")
    data: str = option("", "held-out images: a folder, a dataset on the hub, or the word photographs")
    split: str = option("", "of the images, if they are a dataset")
    image_column: str = option("", "of a dataset (default: its first with images)", metavar="NAME")
    caption_column: str = option("text", "where captions are", metavar="NAME")
    caption: str | None = option(None, "for images without one", metavar="TEXT")
    null_caption: bool = option(False, "no captions at all")
    resolution: int = option(1024, "pixels: the shorter side is resized to it, the rest cut off", metavar="PIXELS")
    images: int | None = option(None, "only the first so many; the paper: 32", metavar="COUNT")
    levels: tuple[int, ...] = option((900, 800, 500, 100), "times to noise to", metavar="T")
    pixels: bool = option(True, "also decode, which takes longer than to restore")
    seed: int = option(0, "the noise follows from it, the image's key and the level")
    dtype: str = option("auto", "of the UNet: auto (bfloat16 on a GPU, float32 on a CPU), float32, bfloat16, float16")
    vae_dtype: str = option("float32", "the VAE computes in; SDXL's own overflows in float16", choices=tuple(DTYPES))
    dry_run: bool = option(False, "read the images, print the plan, and leave")

    def __post_init__(self) -> None:
        for name, kinds in (("dtype", ("auto", *DTYPES)), ("vae_dtype", tuple(DTYPES))):
            if getattr(self, name) not in kinds:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}{nearest(getattr(self, name), kinds)}")
        for name in ("images", "resolution"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1; got {getattr(self, name)}")
        if not self.data:
            raise ValueError("--data is missing: held-out images, a folder, the id of a dataset, or the word photographs")
        if not self.loras and not self.with_base:
            raise ValueError("--no-with-base leaves no model; give --loras")
        if not self.levels:
            raise ValueError("--levels names no level")
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


def results_of(job: Any, identity: dict[str, Any]) -> dict[str, Any]:
    """Every error, by space, model, level and image. Raises: UserError where those of another process are not here."""
    from sdxl.evaluate.restorer import known

    errors: dict[str, dict[str, list[list[float]]]] = {space: {} for space in SPACES}
    alone: list[float] = []
    for number, model in enumerate(job.models):
        found = [known(job.file(number, i)) for i in range(len(job.images))]
        if None in found:
            raise UserError(
                f"{job.file(number, found.index(None))} is not here: do all processes see the folder {job.config.out}?"
            )
        for space in SPACES if job.config.pixels else SPACES[:1]:
            errors[space][model.name] = [list(row) for row in zip(*(of[space] for of in found if of), strict=True)]
        alone += [value for of in found if of for value in of.get("vae", [])]
    keys = [p.key for p in job.images.pictures]
    models = [{"name": m.name, "t_n": m.t_n, "weight": m.weight} for m in job.models]
    about = {"config": tables.asked(job.config), "identity": identity, "levels": job.levels, "models": models, "images": keys}
    return about | {"errors": errors, "vae_alone": mean(alone)._asdict() if alone else None}
