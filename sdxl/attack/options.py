"""What every attack is told."""

from __future__ import annotations

from dataclasses import dataclass

from ambient.config import Options, option
from sdxl import options


@dataclass(frozen=True)
class Common(Options):
    """What is attacked with what. Each attack adds its own."""

    out: str = options.out("runs/attacked", "folder for the results")
    data: str = options.source("", "images to attack: those the model was trained on, or others for a control", required=True)
    split: str = option("", options.SPLIT, group="data", metavar="NAME", usual=options.USUAL_SPLIT)
    images: int | None = options.first_images()
    base: str = options.base()
    vae: str | None = options.vae()
    lora: str | None = options.lora()
    captions: bool = option(False, "give the model the captions of the data instead of none", group="data")
    caption_column: str = option("text", "column that holds the captions", group="data", metavar="NAME")
    resolution: int | None = options.resolution(None, "size of the square images in pixels", usual="the base's own")
    samples: int = options.count(1, "number of samples of each image", group="sampling", at_most=options.MOST_SAMPLES)
    steps: int = options.steps()
    seed: int = option(0, "seed of the noise, which follows from the seed and the image's key", group="sampling")
    dtype: str = options.dtype()
    dry_run: bool = options.dry_run()

    def varied(self, kernel: str) -> None:
        """Raises: ValueError for samples that would all be the same."""
        if kernel == "ddim" and self.samples > 1:
            raise ValueError(
                "ddim draws nothing: all its samples of an image are the same; take --samples 1, or another --kernel"
            )
