"""What every attack is told."""

from __future__ import annotations

from dataclasses import dataclass

from ambient.config import nearest, option
from sdxl.base import DTYPES, SDXL


@dataclass(frozen=True)
class Common:
    """What is attacked with what. Each attack adds its own."""

    out: str = option("runs/attacked", "folder of the results", metavar="DIR")
    data: str = option("", "images: a folder, the id of a dataset on the hub, or the word photographs")
    split: str = option("", "of a dataset (default: train, or its only one); of a folder of images, a folder in it")
    images: int | None = option(None, "only the first so many", metavar="COUNT")
    base: str = option(SDXL, "SDXL: a folder or a hub id")
    vae: str | None = option(None, "another VAE than the base's: a folder or a hub id")
    lora: str | None = option(None, "a run directory of `python -m sdxl train`, or a LoRA's file (default: the base alone)")
    captions: bool = option(False, "give the model the captions of the data, not none")
    caption_column: str = option("text", "of a dataset, where captions are", metavar="NAME")
    resolution: int | None = option(None, "pixels (default: the base's own)", metavar="PIXELS")
    samples: int = option(1, "of each image", metavar="COUNT")
    steps: int = option(25, "sampling steps from pure noise to a clean image", metavar="COUNT")
    seed: int = option(0, "noise follows from it and the image's key")
    dtype: str = option("auto", "of the UNet: auto (bfloat16 on a GPU, float32 on a CPU), float32, bfloat16, float16")
    dry_run: bool = option(False, "print the plan, and leave")

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError("--data is missing: the images that the model was trained on (or others, for a control)")
        self.known("dtype", ("auto", *DTYPES))
        if self.images is not None and self.images < 1:
            raise ValueError(f"--images must be at least 1; got {self.images}")

    def known(self, name: str, words: tuple[str, ...]) -> None:
        """Raises: ValueError for a word that is none of these."""
        if getattr(self, name) not in words:
            raise ValueError(f"unknown {name} {getattr(self, name)!r}{nearest(getattr(self, name), words)}")

    def varied(self, kernel: str) -> None:
        """Raises: ValueError for samples that would all be the same."""
        if kernel == "ddim" and self.samples > 1:
            raise ValueError(
                "ddim draws nothing: all its samples of an image are the same; take --samples 1, or another --kernel"
            )
