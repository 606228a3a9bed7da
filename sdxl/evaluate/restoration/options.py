"""Options of `python -m sdxl evaluate restoration`."""

from __future__ import annotations

from dataclasses import dataclass

from harness.options import Options, option
from sdxl import options


@dataclass(frozen=True)
class RestorationOptions(Options):
    """The options of the command."""

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
