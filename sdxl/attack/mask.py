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

from dataclasses import dataclass

from ambient.config import option, parse
from sdxl import options
from sdxl.attack.options import Common
from sdxl.base import quiet

FILLS, KERNELS = ("posterior", "inpainting"), ("ancestral", "ddim")


@dataclass(frozen=True)
class Config(Common):
    """What is hidden, and who fills it."""

    out: str = options.out("runs/masked", "folder for the results")
    detector: str = option(
        "faces", "detector of the regions to hide: faces, boxes:FILE, detr:MODEL, or center:SHARE", group="data", path=":"
    )
    fill: str = option(
        "posterior", "filler of the regions: the model itself, conditioned on what is around (posterior), or the inpainting "
        "pipeline of diffusers", group="sampling", choices=FILLS,
    )  # fmt: skip
    guidance: float | None = option(
        None, "scale of classifier-free guidance, which needs --captions; 1 turns it off", group="sampling", metavar="SCALE",
        at_least=0, usual="1 for --fill posterior, 7.5 for inpainting",
    )  # fmt: skip
    resample: int = options.count(
        0, "number of times each step of --fill posterior is repeated, to fit the region to its surroundings", at_least=0,
        group="sampling", at_most=options.MOST_SAMPLES,
    )  # fmt: skip
    kernel: str = option("ancestral", "kernel of each sampling step of --fill posterior", group="sampling", choices=KERNELS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fill == "inpainting" and (self.resample or self.kernel != "ancestral"):
            raise ValueError("--resample and --kernel are of --fill posterior; the inpainting pipeline has its own scheduler")
        if self.fill == "inpainting" and self.steps < 2:
            raise ValueError("the inpainting pipeline leaves one step out: --steps must be at least 2")
        if self.guidance is not None and not self.captions:
            raise ValueError("--guidance needs --captions to guide by")
        if not self.resample:
            self.varied(self.kernel)


def main(argv: list[str]) -> None:
    """Attack as `argv` describes."""
    config = parse(Config, argv, prog="python -m sdxl attack mask", description=__doc__ or "")
    quiet()
    from sdxl.attack.holes import Holes
    from sdxl.attack.work import conduct

    conduct(Holes, config)
