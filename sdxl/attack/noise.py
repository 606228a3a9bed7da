"""The noise attack: images are noised, the model restores them, and `evaluate memorization` tells how near it came.

    python -m sdxl attack noise --data photos --lora run --out attacked                    at t = 500 and 900, no caption
    python -m sdxl attack noise --data photos --lora run --t 900 --samples 4 --out attacked
    python -m sdxl attack noise --data photos --lora run --captions --out attacked         with the captions of the data
    torchrun --nproc-per-node 8 -m sdxl attack noise ...                                   the same images, sooner

Writes images/t500_one_step_000000.png, images/t500_sample_0_000000.png and so on; strips/ of the first images: the image, its
latent as RGB, the noisy latent, one step, samples; sheet.png, manifest.json, DONE. Noise follows from the seed and the image's
key: models attacked with one seed can be compared image by image. The same command goes on where it was stopped. For a control
attack as many images that the model has not seen. Paper: Sec. 4.1, 4.4, Figs. 2, 3, 8.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from ambient.config import nearest, option, parse
from ambient.runs import UserError, stop_requests
from sdxl.base import DTYPES, SDXL, quiet
from sdxl.group import Group
from sdxl.sampling import STEPS


@dataclass(frozen=True)
class Config:
    """What is attacked with what."""

    out: str = option("runs/attacked", "folder of the results", metavar="DIR")
    data: str = option("", "images: a folder, the id of a dataset on the hub, or the word photographs")
    split: str = option("", "of a dataset (default: train, or its only one); of a folder of images, a folder in it")
    images: int | None = option(None, "only the first so many", metavar="COUNT")
    base: str = option(SDXL, "SDXL: a folder or a hub id")
    vae: str | None = option(None, "another VAE than the base's: a folder or a hub id")
    lora: str | None = option(None, "a run directory of `python -m sdxl train`, or a LoRA's file (default: the base alone)")
    t: tuple[int, ...] = option((500, 900), "levels, times of the schedule, to which images are noised", metavar="T")
    samples: int = option(1, "posterior samples of each image and level; 0: one step alone", metavar="COUNT")
    captions: bool = option(False, "give the model the captions of the data (default: no caption)")
    caption_column: str = option("text", "of a dataset, where captions are", metavar="NAME")
    resolution: int | None = option(None, "pixels (default: the base's own)", metavar="PIXELS")
    steps: int = option(25, "sampling steps from pure noise to a clean image", metavar="COUNT")
    kernel: str = option("ancestral", "the sampling step", choices=STEPS)
    seed: int = option(0, "noise follows from it and the image's key")
    dtype: str = option("auto", "of the UNet: auto (bfloat16 on a GPU, float32 on a CPU), float32, bfloat16, float16")
    dry_run: bool = option(False, "print the plan, and leave")

    def __post_init__(self) -> None:
        for name, known in (("kernel", STEPS), ("dtype", ("auto", *DTYPES))):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}{nearest(getattr(self, name), known)}")
        if self.images is not None and self.images < 1:
            raise ValueError(f"--images must be at least 1; got {self.images}")
        if self.samples < 0 or not self.t or len(set(self.t)) < len(self.t):
            raise ValueError("--samples must be 0 or more, and --t name levels, each once")
        if self.kernel == "ddim" and self.samples > 1:
            raise ValueError(
                "ddim draws nothing: all its samples of an image are the same; take --samples 1, or another --kernel"
            )


def main(argv: list[str]) -> None:
    """Attack as `argv` describes."""
    config = parse(Config, argv, prog="python -m sdxl attack noise", description=__doc__ or "")
    if not config.data:
        raise UserError("--data is missing: the images that the model was trained on (or others, for a control)")
    quiet()
    group = Group()
    with closing(group):
        from sdxl.attack.work import Plan, carry_out
        from sdxl.survey import survey

        plan = group.together(lambda: Plan(config, group))
        seen = survey(plan.pictures, group, 8)
        group.together(lambda: plan.take(seen))
        if config.dry_run:
            return group.say("\n".join(plan.lines()))
        with group.results(config.out, plan.identity()), stop_requests() as stopping:
            carry_out(plan, group, stopping)
