"""The masking attack: a region of each image is hidden, a model fills it, and the filled region alone is compared.

    python -m sdxl attack mask --data photos --lora run --out masked                        faces, by the model itself
    python -m sdxl attack mask --data photos --detector detr:hustvl/yolos-small --out masked           whole objects
    python -m sdxl attack mask --data photos --detector boxes:boxes.csv --captions --out masked        your own regions
    python -m sdxl attack mask --data photos --captions --fill inpainting --base INPAINTING --out masked    the paper's Fig. 1
    python -m sdxl evaluate memorization --images masked --training masked/originals        region against region

Detectors: faces; boxes:FILE (CSV or JSON lines with key, x0, y0, x1, y1; or JSON, {key: [[x0, y0, x1, y1], ...]}; in pixels of
the image); detr:SOURCE, an object detector of transformers; center:SHARE. The largest region of each image is taken; images
without one are left out, and counted. The model sees gray in its place, and nothing that was there.
INPAINTING: diffusers/stable-diffusion-xl-1.0-inpainting-0.1, or a folder; a UNet that was not made for inpainting does as well.
Writes images/fill_0_000000.png, the filled region as a square of its own; originals/, what was there; strips/ of the first
images: the image, what the model saw, what it made of it; sheet.png, manifest.json, DONE. Noise follows from the seed and the
image's key. The same command goes on where it was stopped. For a control, attack images that the model has not seen.
Paper: Sec. 4.1, Figs. 1, 9, with captions: without them its authors found nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ambient.config import option, parse
from sdxl.attack.options import Common
from sdxl.base import quiet

FILLS, KERNELS = ("posterior", "inpainting"), ("ancestral", "ddim")


@dataclass(frozen=True)
class Config(Common):
    """What is hidden, and who fills it."""

    out: str = option("runs/masked", "folder of the results", metavar="DIR")
    detector: str = option("faces", "what finds regions: faces, boxes:FILE, detr:SOURCE, center:SHARE", metavar="WORD")
    fill: str = option(
        "posterior", "by the model itself, told what is around; or by the stock inpainting pipeline", choices=FILLS
    )
    guidance: float | None = option(
        None, "classifier-free guidance by captions; 1: none (default: 1; inpainting: 7.5, the pipeline's own)", metavar="SCALE"
    )
    resample: int = option(0, "posterior: how often each step is made again, to fit its surroundings", metavar="COUNT")
    kernel: str = option("ancestral", "posterior: the sampling step", choices=KERNELS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.known("fill", FILLS)
        self.known("kernel", KERNELS)
        if self.samples < 1 or self.resample < 0:
            raise ValueError("--samples must be at least 1, and --resample 0 or more")
        if self.fill == "inpainting" and (self.resample or self.kernel != "ancestral"):
            raise ValueError("--resample and --kernel are of --fill posterior; the inpainting pipeline has its own scheduler")
        if self.fill == "inpainting" and self.steps < 2:
            raise ValueError("the inpainting pipeline leaves one step out: --steps must be at least 2")
        if self.guidance is not None and not (self.captions and 0 <= self.guidance < math.inf):
            raise ValueError("--guidance is a number of 0 or more, and needs --captions to guide by")
        if not self.resample:
            self.varied(self.kernel)


def main(argv: list[str]) -> None:
    """Attack as `argv` describes."""
    config = parse(Config, argv, prog="python -m sdxl attack mask", description=__doc__ or "")
    quiet()
    from sdxl.attack.holes import Holes
    from sdxl.attack.work import conduct

    conduct(Holes, config)
