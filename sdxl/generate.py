"""Images from SDXL and a LoRA: samples, the paper's early stop, or posterior samples given noisy latents.

    python -m sdxl generate --lora run --prompt "a cat" --images 16 --out images
    python -m sdxl generate --lora run --prompts captions.txt --images 10000 --out images
    python -m sdxl generate --lora run --prompt "a cat" --stop 500 --out stopped     down to t_n = 500, then denoised once
    python -m sdxl generate --lora run --posterior noisy --images 16 --out restored  what may be behind a set's noisy images
    torchrun --nproc-per-node 8 -m sdxl generate ...                                 the same images, sooner

Writes images/000000.png and so on, sheet.png, manifest.json, DONE. An image follows from the seed and its number. The same
command goes on where it was stopped.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass

from ambient.config import nearest, option, parse
from ambient.runs import stop_requests
from sdxl.base import DTYPES, SDXL, quiet
from sdxl.group import Group
from sdxl.job import Job
from sdxl.sampling import STEPS


@dataclass(frozen=True)
class Config:
    """What is painted with what."""

    out: str = option("runs/images", "folder of the images", metavar="DIR")
    base: str = option(SDXL, "SDXL: a folder or a hub id")
    vae: str | None = option(None, "another VAE than the base's: a folder or a hub id")
    lora: str | None = option(None, "a run directory of `python -m sdxl train`, or a LoRA's file (default: the base alone)")
    images: int = option(4, "how many", metavar="COUNT")
    seed: int = option(0, "an image follows from it and from the image's number")
    prompt: str = option("", "caption of all images", metavar="TEXT")
    prompts: str | None = option(None, "text file, a caption on each line; image i takes line i, and round again", metavar="FILE")
    null_caption: bool = option(False, "no caption at all, as captions dropped in training; there is nothing to guide then")
    guidance: float = option(5.0, "classifier-free guidance; 1: none", metavar="SCALE")
    steps: int = option(25, "sampling steps from pure noise to a clean image", metavar="COUNT")
    kernel: str = option("ddim", "the sampling step", choices=STEPS)
    stop: int | None = option(None, "stop at exactly this t_n and denoise once: the paper's early stop", metavar="T_N")
    posterior: str | None = option(
        None, "start from the images of this noisy set, each at its own t_n, with its caption; image i takes row i, and round "
        "again", metavar="DIR",
    )  # fmt: skip
    resolution: int | None = option(None, "pixels (default: the base's own)", metavar="PIXELS")
    dtype: str = option("auto", "of the UNet: auto (bfloat16 on a GPU, float32 on a CPU), float32, bfloat16, float16")
    batch: int = option(1, "images at a time on each process; it may change their last bits", metavar="COUNT")
    dry_run: bool = option(False, "print the plan, and leave")

    def __post_init__(self) -> None:
        for name, known in (("kernel", STEPS), ("dtype", ("auto", *DTYPES))):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}{nearest(getattr(self, name), known)}")
        for name in ("images", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1; got {getattr(self, name)}")
        if not 0 <= self.guidance < math.inf:
            raise ValueError(f"--guidance must be 0 or more, 1 for none; got {self.guidance}")
        captions = {"--prompt": self.prompt, "--prompts": self.prompts, "--null-caption": self.null_caption}
        given = [name for name, value in captions.items() if value]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} say two things of one caption; leave one of them")
        if self.posterior and (self.prompt or self.prompts):
            raise ValueError(f"--posterior has its captions with it, {given[0]} is one more; leave it, or take --null-caption")


def main(argv: list[str]) -> None:
    """Make the images that `argv` describes."""
    config = parse(Config, argv, prog="python -m sdxl generate", description=__doc__ or "")
    quiet()
    group = Group()
    with closing(group):
        job = group.together(lambda: Job(config, group))
        if config.dry_run:
            return group.say("\n".join(job.plan()))
        from sdxl.painter import paint  # the models take seconds to import

        with group.results(config.out, job.identity()), stop_requests() as stopping:
            paint(job, group, stopping)
